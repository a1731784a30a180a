"""Backbones by their names in files.

A file names partinr's backbones by fixed short names, which do not depend on modules, and other backbones by the dotted
paths of their classes.
"""

from __future__ import annotations

from typing import Any

from partinr.backbones.base import Backbone
from partinr.backbones.bicubic import Bicubic
from partinr.backbones.diner import Diner
from partinr.backbones.finer import Finer
from partinr.backbones.fourier import Fourier
from partinr.backbones.gauss import Gauss
from partinr.backbones.hash_grid import HashGrid
from partinr.backbones.incode import Incode
from partinr.backbones.mfn import Mfn
from partinr.backbones.relu_pe import ReluPE
from partinr.backbones.siren import Siren
from partinr.backbones.sl2a import Sl2a
from partinr.backbones.staf import Staf
from partinr.backbones.wire import Wire
from partinr.base.errors import PartinrError
from partinr.base.trust import named_class

BUILT_IN: dict[str, type[Backbone]] = {
    "bicubic": Bicubic,
    "diner": Diner,
    "finer": Finer,
    "fourier": Fourier,
    "gauss": Gauss,
    "hash_grid": HashGrid,
    "incode": Incode,
    "mfn": Mfn,
    "relu_pe": ReluPE,
    "siren": Siren,
    "sl2a": Sl2a,
    "staf": Staf,
    "wire": Wire,
}
"""partinr's backbones by name. Files contain the names, so a name never changes its meaning."""

_NAMES = {kind: name for name, kind in BUILT_IN.items()}


def backbone_name(backbone: Backbone) -> str:
    """The name of a backbone in files."""
    return _NAMES.get(type(backbone)) or class_path(backbone)


def class_path(backbone: Backbone) -> str:
    """The dotted path of a backbone's class, for the ``_target_`` of a configuration."""
    return f"{type(backbone).__module__}.{type(backbone).__qualname__}"


def load_backbone(name: str, options: dict[str, Any]) -> Backbone:
    """A backbone by its name, or by the dotted path of its class, and its options.

    Raises:
        PartinrError: the class is missing, not trusted (:mod:`partinr.base.trust`), or refuses the options.
    """
    kind = BUILT_IN.get(name) or named_class(name)
    if not (isinstance(kind, type) and issubclass(kind, Backbone)):
        raise PartinrError(f"{name} is no backbone; the model file is damaged")
    return kind(**options)

"""Couplings: what the networks of a signal's regions have in common (the key ``global_network``)."""

from __future__ import annotations

from typing import get_args

from partinr.base.errors import PartinrError
from partinr.model.coupling.base import (
    NONE,
    SHARED,
    Added,
    CoupledGroup,
    Coupling,
    GlobalNetwork,
    Places,
    Sharing,
    Team,
    groups_of,
)
from partinr.model.coupling.layers import Layers
from partinr.model.coupling.modulate import Modulate

__all__ = [
    "NONE",
    "SHARED",
    "Added",
    "CoupledGroup",
    "Coupling",
    "GlobalNetwork",
    "Layers",
    "Modulate",
    "Places",
    "Sharing",
    "Team",
    "coupling_of",
    "groups_of",
]

_BY_VALUE: dict[object, Coupling] = {
    False: NONE,
    True: Added(),
    "add": Added(),
    "layers": Layers(),
    "modulate": Modulate(),
}


def coupling_of(value: object) -> Coupling:
    """The coupling for a value of ``global_network``.

    Raises:
        PartinrError: the value is none of the choices.
    """
    if isinstance(value, bool | str) and value in _BY_VALUE:
        return _BY_VALUE[value]
    choices = ", ".join(("false", "true", *get_args(get_args(GlobalNetwork)[1])))
    raise PartinrError(f"global_network={value!r}; choose from {choices}")

"""Makes ``import torchvision`` succeed where its compiled part cannot be loaded.

The torchvision that package registries serve for Linux is built for CUDA. Beside a CPU-only torch, its extension does
not load. torchvision tolerates that, but then registers fake kernels for two operators that nobody has defined, and the
import ends with "operator torchvision::nms does not exist" (pytorch/vision #9085). Lightning, torchmetrics and
segmentation-models-pytorch import torchvision and fail with it. Defining the two schemas is enough: the import
succeeds, and torchvision still refuses, with a clear message, to run operators that have no kernel.

Where the extension loads, or torchvision is absent, nothing is defined.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

# Both operators' signature; torchvision/_meta_registrations.py gives them their fake kernels (torchvision 0.28).
_OPERATORS = ("nms", "qnms")
_EXTENSIONS = ("_C", "_C_stable")  # before torchvision 0.29, and from there on
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# torch.library removes definitions when the object that made them is collected.
_libraries: list[Any] = []


class _Finder(MetaPathFinder):
    """Repairs torchvision at its first import, without finding it.

    It is a hook because libraries import torchvision: a function would have to be called before every import of one of
    them, also in notebooks. Importing torch at once instead would cost ``partinr --help`` a second.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Mend torchvision if it is imported; never finds anything."""
        if fullname == "torchvision":
            _define_missing_operators(PathFinder.find_spec(fullname, path))


def mend() -> None:
    """Make the first import of torchvision succeed. Costs nothing until then; a second call does nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def mended() -> bool:
    """Whether torchvision was imported and had to be mended."""
    return bool(_libraries)


def _define_missing_operators(spec: ModuleSpec | None) -> None:
    """Define the operators' schemas, unless torchvision's extension does so itself.

    Args:
        spec: spec of torchvision; None if it is not installed.
    """
    if spec is None or spec.origin is None:
        return
    import torch

    if _extension_loads(Path(spec.origin).parent):
        return
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(name + _SIGNATURE)
        _libraries.append(library)


def _extension_loads(package: Path) -> bool:
    """Whether the extension loads, as torchvision's own extension.py would; a second load of the file is free."""
    import torch

    finder = FileFinder(str(package), (ExtensionFileLoader, EXTENSION_SUFFIXES))
    found = next((spec for spec in map(finder.find_spec, _EXTENSIONS) if spec is not None), None)
    if found is None or found.origin is None:
        return False
    try:
        torch.ops.load_library(found.origin)
    except OSError:
        return False
    return True

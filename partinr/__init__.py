"""partinr: fit an image by parts. Implicit neural representations, one small network a region, trained as one stack.

::

    import partinr

    image = partinr.load_image("photo.png")  # float32 [H, W, C] in [0, 1], RGB
    partition = partinr.partition.Grid(rows=3, cols=3)(image)
    model = partinr.PiecewiseINR(partition, partinr.backbones.Siren(hidden_features=170))
    result = partinr.fit(model, image, steps=1500, lr=1e-4)  # .curve, .psnr, .seconds
    picture = model.render(scale=2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from partinr.base import _torchvision, later, moved
from partinr.base.version import __version__

# Before anything imports torchvision: torchmetrics, Lightning and segmentation-models-pytorch do.
_torchvision.mend()
moved.install()

# Loaded when first asked for: torch and Lightning take seconds to import, and `partinr --help` needs neither.
_LAZY = {
    "Album": "partinr.model.album",
    "FitResult": "partinr.regimes",
    "FitSettings": "partinr.regimes",
    "Partition": "partinr.partition",
    "PartinrError": "partinr.base.errors",
    "PiecewiseINR": "partinr.model.inr",
    "builtin_image": "partinr.signals",
    "fit": "partinr.api",
    "load": "partinr.api",
    "load_image": "partinr.signals",
    "load_run": "partinr.api",
    "load_runs": "partinr.api",
}
_SUBPACKAGES = ("backbones", "coords", "partition", "regimes", "report", "samplers", "signals", "spec")

__all__ = [
    "Album",
    "FitResult",
    "FitSettings",
    "PartinrError",
    "Partition",
    "PiecewiseINR",
    "__version__",
    "backbones",
    "builtin_image",
    "coords",
    "fit",
    "load",
    "load_image",
    "load_run",
    "load_runs",
    "partition",
    "regimes",
    "report",
    "samplers",
    "signals",
]

if TYPE_CHECKING:
    from partinr import backbones, coords, partition, regimes, report, samplers, signals
    from partinr.api import fit, load, load_run, load_runs
    from partinr.base.errors import PartinrError
    from partinr.model.album import Album
    from partinr.model.inr import PiecewiseINR
    from partinr.partition import Partition
    from partinr.regimes import FitResult, FitSettings
    from partinr.signals import builtin_image, load_image


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return later.load(f"{_LAZY[name]}:{name}")
    if name in _SUBPACKAGES:
        return later.imported(f"partinr.{name}")
    raise AttributeError(f"module 'partinr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

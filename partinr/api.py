"""Loads runs and models in notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.section import fill
from partinr.base.text import normal
from partinr.model.inr import PiecewiseINR
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import MANIFEST, WEIGHTS, of_image

_MOST_NAMES = 12
"""Limit of image names in a message."""


@dataclass(frozen=True)
class LoadedRun:
    """The content of a run directory.

    Attributes:
        path: path of the run directory.
        config: the composed configuration, plain containers.
        manifest: the content of ``run.json``.
        curve: one row per evaluation, see :data:`partinr.runs.layout.CURVE_COLUMNS`.
    """

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    curve: list[dict[str, float]]

    @property
    def status(self) -> str:
        """``running``, ``completed``, ``failed`` or ``interrupted``."""
        return str(self.manifest["status"])

    @property
    def psnr(self) -> float | None:
        """PSNR in dB at the last evaluation; None before the first."""
        return self.curve[-1]["psnr"] if self.curve else None

    @property
    def seconds(self) -> float:
        """Seconds of training up to the last evaluation."""
        return self.curve[-1]["seconds"] if self.curve else 0.0

    def model(self, image: str | None = None) -> PiecewiseINR:
        """The fitted model.

        Args:
            image: name of one image of a run with several.

        Raises:
            PartinrError: the run has no weights yet, they are damaged, the image is unknown, or the run learned an
                initialisation.
        """
        return PiecewiseINR.load(weights_of(RunDirectory(self.path), image))


def load_run(path: str | Path) -> LoadedRun:
    """Read a run directory.

    Raises:
        PartinrError: it is not a run directory, or a file is damaged.
    """
    run = RunDirectory.open(path)
    return LoadedRun(run.path, run.config(), run.manifest(), run.curve())


def load(path: str | Path, image: str | None = None) -> PiecewiseINR:
    """Read a fitted model: an ``inr.safetensors``, or the run directory that holds one.

    Args:
        path: path of the file or directory.
        image: name of one image of a run with several.

    Raises:
        PartinrError: there is no model, it is damaged, the image is unknown, or the run learned an initialisation.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return PiecewiseINR.load(weights_of(RunDirectory.open(path), image))
    return PiecewiseINR.load(path / WEIGHTS if path.is_dir() else path)


def weights_of(run: RunDirectory, image: str | None) -> Path:
    """The file with the weights of a run, or of one of its images.

    Raises:
        PartinrError: ``image`` is missing or unknown for a run of several images, given for a run of one signal, or the
            run learned an initialisation.
    """
    instead = run.regime.instead.get("render")
    if instead is not None:
        raise PartinrError(fill(instead, run.manifest(), run.config(), run.path))
    names = run.images()
    if image is None and not names:
        return run.file(WEIGHTS)
    if not names:
        raise PartinrError(f"{run.path} fitted one image; leave out the image {image!r}")
    forms = {normal(name): name for name in names}
    if image is None or normal(image) not in forms:
        shown = ", ".join(names[:_MOST_NAMES]) + (" …" if len(names) > _MOST_NAMES else "")
        missing = "" if image is None else f", and {image!r} is none of them"
        raise PartinrError(
            f"{run.path} fitted {len(names)} images{missing}; choose one with --image NAME, in Python with "
            f"image=NAME: {shown}"
        )
    return run.file(of_image(forms[normal(image)], WEIGHTS))

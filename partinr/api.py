"""What a notebook does with runs that are there already."""

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
"""So many images are named to whoever has to choose one."""


@dataclass(frozen=True)
class LoadedRun:
    """A run directory, read.

    Attributes:
        path: where it is.
        config: the composed configuration, plain containers.
        manifest: the content of ``run.json``.
        curve: a row an evaluation, see :data:`partinr.runs.layout.CURVE_COLUMNS`.
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
        """At the last evaluation, in dB; None before the first."""
        return self.curve[-1]["psnr"] if self.curve else None

    @property
    def seconds(self) -> float:
        """Of training, up to the last evaluation."""
        return self.curve[-1]["seconds"] if self.curve else 0.0

    def model(self, image: str | None = None) -> PiecewiseINR:
        """The fitted model.

        Args:
            image: of a run that fitted several images, the name of one.

        Raises:
            PartinrError: the run has left no weights yet, they are damaged, it has no such image, or it learned an
                initialisation.
        """
        return PiecewiseINR.load(weights_of(RunDirectory(self.path), image))


def load_run(path: str | Path) -> LoadedRun:
    """Read a run directory.

    Raises:
        PartinrError: it is none, or a file of it is damaged.
    """
    run = RunDirectory.open(path)
    return LoadedRun(run.path, run.config(), run.manifest(), run.curve())


def load(path: str | Path, image: str | None = None) -> PiecewiseINR:
    """Read a fitted model: an ``inr.safetensors``, or the run directory that holds one.

    Args:
        path: of the file or the directory.
        image: of a run that fitted several images, the name of one.

    Raises:
        PartinrError: there is none, it is damaged, the run has no such image, or it learned an initialisation.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return PiecewiseINR.load(weights_of(RunDirectory.open(path), image))
    return PiecewiseINR.load(path / WEIGHTS if path.is_dir() else path)


def weights_of(run: RunDirectory, image: str | None) -> Path:
    """The file with the weights of a run, or of one of its images.

    Raises:
        PartinrError: the run is for several images and ``image`` is none of them, or for one signal and one is named,
            or it is for none, as it learned an initialisation.
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

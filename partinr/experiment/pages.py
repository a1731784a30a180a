"""``partinr view`` and ``partinr compare -o``: write pages to look closely at images and fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from partinr.api import load
from partinr.base.errors import PartinrError
from partinr.base.notes import print_note
from partinr.base.terminal import short
from partinr.coords import scaled_shape
from partinr.experiment.fitted import fitted_signal
from partinr.report.comparison import Comparison
from partinr.report.media import media_of, picture_of
from partinr.report.page import write_comparison
from partinr.report.slices import Block, write_slices
from partinr.report.viewer import Fit, check_size, shrunk, shrunk_shape, stage_of, write_view
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import FITTED, SIGNAL, of_image
from partinr.runs.subject import Subject

VIEW = "view.html"

_FURTHER = {"observation": "what the loss sees", "best_picture": "the best point of the curve"}
"""Words for pictures that only some runs keep, by their role."""


def make_view(
    run: Path, output: Path | None, *, against: Path | None = None, image: str | None = None, scale: float = 1
) -> Path:
    """Write the page of a run. A picture that is too large for a page is shrunk, and a note says how far.

    Args:
        run: the run directory.
        output: the file; by default ``view.html`` next to the pictures.
        against: a run on the same image to compare the fit with, instead of with the image.
        image: the name of one image, for a run that fitted several.
        scale: factor on the image's resolution for drawing the fit, 1 or more.

    Returns:
        path of the page.

    Raises:
        PartinrError: a run has no fit of an image or no image to compare it with, the images of two runs differ, or
            ``scale`` makes it too large for a page.
    """
    directory = RunDirectory.open(run)
    if against is None:
        seen = [_seen(directory, image, scale)]
        title = f"{seen[0].image}, {directory.manifest().get('name') or directory.path.resolve().name}"
        facts = seen[0].facts
    else:
        names = Comparison.of([run, against]).names
        seen = _alike([run, against], names, image, scale)
        title = f"{seen[0].image}: {' against '.join(names)}"
        facts = [f"{name}: {', '.join(each.facts[1:])}" for name, each in zip(names, seen, strict=True)]
    output = directory.file(of_image(image, VIEW)) if output is None else output
    word = seen[0].subject.words[0]
    pictures = [(word, run, SIGNAL), *((each.fit.name, each.run, FITTED) for each in seen)]
    found = [(name, media_of(own, RunDirectory(own).manifest(), part, image)) for name, own, part in pictures]
    for each in seen:
        for role, words in _FURTHER.items():
            name = f"{words} of {each.fit.name}" if against else words
            found.append((name, picture_of(RunDirectory.open(each.run), role, image)))
    media = [{"name": name, **element} for name, element in found if element is not None]
    blocks = [replace(each.block, name=each.fit.name) for each in seen if each.block is not None]
    if blocks:
        return write_slices(output, blocks, title=title, facts=facts, media=media)
    fits = [each.fit for each in seen]
    return write_view(output, seen[0].pixels, fits, title=title, facts=facts, word=word, media=media)


def make_comparison(comparison: Comparison, output: Path, *, image: str | None = None) -> Path:
    """Write the page of a comparison: settings, curves, numbers, and, where possible, a slider between pictures.

    Args:
        comparison: the runs.
        output: the file.
        image: the name of one image, for runs that fitted several.

    Returns:
        path of the page.

    Raises:
        PartinrError: the file cannot be written, or an image of that name was not fitted.
    """
    stage, note = None, ""
    try:
        seen = _alike([record.path for record in comparison.records], comparison.names, image, 1)
        stage = stage_of(seen[0].pixels, [each.fit for each in seen], seen[0].subject.words[0])
    except PartinrError as error:
        if image is not None:
            raise
        note = f"There is no slider: {error}."
    return write_comparison(comparison, output, stage, note)


@dataclass(frozen=True)
class _Seen:
    """A fit with its image."""

    pixels: np.ndarray
    fit: Fit
    image: str
    """The name of the image."""
    facts: list[str]
    """The size of the image, then facts about the fit."""
    run: Path
    """The run directory."""
    subject: Subject
    block: Block | None = None
    """All of a volume, of which the pixels are slices."""


def _alike(runs: Sequence[Path], names: Sequence[str], image: str | None, scale: float) -> list[_Seen]:
    """The fits of one image by several runs.

    Raises:
        PartinrError: a run has no fit of an image, or the images differ.
    """
    seen = [_seen(RunDirectory.open(run), image, scale) for run in runs]
    for run, each in zip(runs[1:], seen[1:], strict=True):
        if not np.array_equal(seen[0].pixels, each.pixels):
            raise PartinrError(
                f"{short(runs[0])} and {short(run)} fitted different {seen[0].subject.words[1]}; partinr compare shows "
                "them side by side"
            )
    return [replace(each, fit=replace(each.fit, name=name)) for each, name in zip(seen, names, strict=True)]


def _seen(run: RunDirectory, image: str | None, scale: float) -> _Seen:
    """A run's fit of an image.

    Raises:
        PartinrError: the run has none, or ``scale`` makes it too large for a page.
    """
    model = load(run.path, image)
    kind = model.kind(0)
    if not kind.drawn:
        raise PartinrError(
            f"{run.path} fitted a {len(model.partition.shape)}-D signal, which is no picture; "
            "use partinr.load(…).render()"
        )
    if scale != 1 and not kind.is_picture:
        raise PartinrError(f"--scale is for images, and {run.path} fitted another signal ({kind.name}); leave it out")
    signal, fitted, upright = fitted_signal(run, image, model), model.render(), kind.upright()
    block = None
    if upright is not None:
        block = Block(signal, fitted.numpy(), model.partition.labels.numpy(), upright, kind.low, kind.high)
    pixels, fit, labels = kind.picture(signal), kind.picture(fitted), kind.label_plane(model.partition.labels)
    error = None if kind.is_picture else kind.error_picture(signal, fitted)
    shape = labels.shape
    larger, smaller = scaled_shape(shape, scale), shrunk_shape(shape)
    if larger != shape:
        check_size(larger)
    manifest = run.manifest()
    subject = Subject.of(manifest)
    metrics = manifest.get("metrics", {}) if image is None else manifest["images"][image]
    quality = metrics.get(subject.leading.key)
    facts = [
        kind.size(model.partition.shape),
        f"{model.partition.regions:,} region{'s' * (model.partition.regions > 1)}",
        f"{model.parameter_count:,} parameters",
    ]
    facts += [legend] if (legend := kind.legend(model.partition.shape)) else []
    if isinstance(quality, float):
        facts.append(f"{subject.leading.name} {subject.leading.written(quality)}")
    if larger != shape:
        facts.append(f"the fit is drawn at {larger[0]}×{larger[1]}")
    if smaller != shape:
        said = f"{smaller[0]}×{smaller[1]} pixels, {max(smaller) / max(shape):.3g} of the resolution"
        print_note(f"the picture is too large for a page, and is shown at {said}; partinr render draws all of it")
        facts.append(f"shown at {said}")
        pixels, fit = shrunk(pixels, smaller) / 255, shrunk(fit, smaller) / 255
        rows, columns = (np.arange(few) * many // few for few, many in zip(smaller, shape, strict=True))
        labels = labels[rows[:, None], columns]
        error = None if error is None else shrunk(error, smaller) / 255
    fine = None if larger == shape else kind.picture(model.render(scale))
    shown = Fit(fit, labels, fine, error, kind.error_scaled, wiped=kind.wiped)
    name = image or manifest.get("signal", {}).get("name") or run.path.resolve().name
    return _Seen(pixels, shown, name, facts, run.path, subject, block)

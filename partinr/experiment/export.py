"""``partinr export``: stores weights in fewer bits, and measures the loss of quality."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from partinr.api import load
from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.terminal import terminal
from partinr.experiment.fitted import fitted_signal
from partinr.metrics.rate import MeanRate, Rate, at_rate, best_of, codec_rates, mean_rates
from partinr.model.fit_rates import fit_rates, name_of
from partinr.model.quantise import Bits, Per
from partinr.pictures.draw import to_uint8
from partinr.runs.directory import RunDirectory


def export(runs: Sequence[Path], output: Path | None, *, bits: Bits, per: Per, image: str | None = None) -> None:
    """Measure the fits of runs in every precision, print and save the results, and write one fit to a file.

    Args:
        runs: run directories.
        output: file for one image of one run; None to measure only.
        bits: bits per weight in the file.
        per: which weights share a scale.
        image: name of one image of a run with several; None for all of them and their mean.

    Raises:
        PartinrError: a run has no fit of an image or no image to compare with, or a file cannot be written.
    """
    if output is not None and len(runs) > 1:
        raise PartinrError(f"{output} is one file for {len(runs)} runs; give one run, or leave out -o to measure them")
    console = Console(stderr=True)
    codecs: dict[str, list[Rate]] = {}
    for path in runs:
        run = RunDirectory.open(path)
        # A file holds one image: if none of several is named, reading the weights says so.
        several = run.images() if image is None and output is None else []
        names = track(several, "measuring", console=console, transient=True, disable=not console.is_terminal)
        measured = []
        for name in names if several else [image]:
            rates, file = _measure(run, name, name_of(bits, per), codecs)
            _keep(run, mean_rates([rates]), name)
            measured.append(rates)
        means = mean_rates(measured)
        if several:
            _keep(run, means, None)
            click.echo(f"{path}: mean over {len(several)} image{'s' * (len(several) != 1)}")
        elif len(runs) > 1:
            click.echo(f"{path}")
        terminal().print(_table(means))
        if output is not None:
            try:
                write_atomically(output, file)
            except OSError as error:
                raise PartinrError(f"cannot write {output}: {error.strerror}; choose another with -o") from error
            rate = next(rate for rate in means if rate.setting == name_of(bits, per))
            click.echo(f"{output}  {rate.setting}, {len(file):,} bytes, {rate.psnr:.2f} dB")


def _measure(
    run: RunDirectory, image: str | None, setting: str, codecs: dict[str, list[Rate]]
) -> tuple[list[Rate], bytes]:
    """The rates of a fit in every precision, those of an image in JPEG and WebP, and the file of one precision.

    Args:
        run: the run directory.
        image: name of one image of a run with several.
        setting: precision of the file.
        codecs: known rates of images by content, to be extended, since runs often share images.

    Raises:
        PartinrError: the run has no fit of an image, or no image to compare with.
    """
    model = load(run.path, image)
    pixels = fitted_signal(run, image, model)
    # A map that follows from the rule's options costs no bits, as the run says.
    free = run.manifest().get("partition", {}).get("bits") == 0
    fits = {rate.setting: (rate, file) for rate, file in fit_rates(model, pixels, free)}
    content = f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
    if content not in codecs:
        picture = model.kind(0).is_picture and model.channels in (1, 3)
        codecs[content] = codec_rates(to_uint8(pixels)) if picture else []
    return [*(rate for rate, _ in fits.values()), *codecs[content]], fits[setting][1]


_COUNTS = ("bits", "weight_bits", "scale_bits", "label_bits", "file_bytes", "deflated_bytes")
"""Attributes of a rate that are sums over several images."""


def _keep(run: RunDirectory, rates: Sequence[MeanRate], image: str | None) -> None:
    """Write rates into the run directory; ``image`` names one of several images.

    Raises:
        PartinrError: the file cannot be written.
    """
    step = run.manifest().get("steps", 0)
    rows = [
        {
            "step": step,
            **{name: getattr(rate, name) for name in ("coder", "setting", "bpp", "psnr")},
            **{name: sum(getattr(each, name) for each in rate.of) for name in _COUNTS},
        }
        for rate in rates
    ]
    try:
        run.write_rate(rows, image)
    except OSError as error:
        raise PartinrError(f"cannot keep this in {run.path}: {error.strerror}; its owner can") from error


def _table(rates: Sequence[MeanRate]) -> Table:
    fits = [rate for rate in rates if rate.coder == "fit"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("weights in", no_wrap=True)
    headings = ("bpp", "weights", "scales", "labels", "file", "deflated", "PSNR dB", "change", "JPEG", "WebP")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for rate in fits:
        parts = (
            rate.per_pixel(lambda each: each.weight_bits),
            rate.per_pixel(lambda each: each.scale_bits),
            rate.per_pixel(lambda each: each.label_bits),
            rate.per_pixel(lambda each: 8 * each.file_bytes),
            rate.per_pixel(lambda each: 8 * each.deflated_bytes),
        )
        others = (_beside(rate, [each for each in rates if each.coder == coder]) for coder in ("jpeg", "webp"))
        table.add_row(
            rate.setting,
            f"{rate.bpp:.3f}",
            *(f"{part:.3f}" for part in parts),
            f"{rate.psnr:.2f}",
            _change(rate.psnr - fits[0].psnr) if rate is not fits[0] else "",
            *others,
        )
    return table


def _change(psnr: float) -> str:
    """A change in dB, with its sign unless it rounds to zero."""
    return f"{psnr:+.2f}" if round(psnr, 2) else "0.00"


def _beside(rate: MeanRate, codec: Sequence[MeanRate]) -> str:
    """PSNR of a codec at the bits of a fit, marked with > if the codec's best quality needs fewer."""
    psnr = at_rate(codec, rate.bpp)
    if psnr is None and codec and (best := best_of(codec)).bpp < rate.bpp:
        return f">{best.psnr:.2f}"
    return "–" if psnr is None else f"{psnr:.2f}"

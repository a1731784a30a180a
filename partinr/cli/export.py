"""``partinr export``: weights in fewer bits, and what that costs in quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from partinr.api import load
from partinr.cli.fitted import fitted_image
from partinr.cli.terminal import terminal
from partinr.errors import PartinrError
from partinr.files import write_atomically
from partinr.quantise import Bits, Per
from partinr.rate import Rate, at_rate, best_of, codec_rates, fit_rates, name_of
from partinr.run import RunDirectory


def export(runs: Sequence[Path], output: Path | None, *, bits: Bits, per: Per, image: str | None = None) -> None:
    """Measure the fits of runs in every precision, say and keep what was found, and write one of them to a file.

    Args:
        runs: run directories.
        output: the file, of one run; None to measure only.
        bits: of a weight in the file.
        per: what has a scale of its own in it.
        image: of a run that fitted several images, the name of one.

    Raises:
        PartinrError: a run has no fit of an image or nothing to compare it with, or a place cannot be written.
    """
    if output is not None and len(runs) > 1:
        raise PartinrError(f"{output} is one file for {len(runs)} runs; give one run, or leave out -o to measure them")
    for path in runs:
        run = RunDirectory.open(path)
        model = load(path, image)
        shape = model.partition.shape
        if len(shape) != 2:
            raise PartinrError(f"{path} fitted a {len(shape)}-D signal; only fits of images are measured and exported")
        pixels = fitted_image(run, image, (*shape, model.channels))
        manifest = run.manifest()
        # Of a grid, and of all that a rule does without looking, the run says that the map costs nothing.
        free = manifest.get("partition", {}).get("bits") == 0
        found = {rate.setting: (rate, file) for rate, file in fit_rates(model, pixels, free)}
        codecs = codec_rates(pixels)
        fits = [rate for rate, _ in found.values()]
        step = manifest.get("steps", 0)
        rows = [{"step": step, "bits": rate.bits, "bpp": rate.bpp, **asdict(rate)} for rate in [*fits, *codecs]]
        if len(runs) > 1:
            click.echo(f"{path}")
        terminal().print(_table(fits, codecs))
        if output is not None:
            rate, file = found[name_of(bits, per)]
            try:
                write_atomically(output, file)
            except OSError as error:
                raise PartinrError(f"cannot write {output}: {error.strerror}; choose another with -o") from error
            click.echo(f"{output}  {rate.setting}, {rate.file_bytes:,} bytes, {rate.psnr:.2f} dB")
        try:
            run.write_rate(rows, image)
        except OSError as error:
            raise PartinrError(f"cannot keep this in {path}: {error.strerror}; its owner can") from error


def _table(fits: Sequence[Rate], codecs: Sequence[Rate]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("weights in", no_wrap=True)
    headings = ("bpp", "weights", "scales", "labels", "file", "deflated", "PSNR dB", "change", "JPEG", "WebP")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for rate in fits:
        area = rate.pixels
        others = (_beside(rate, [each for each in codecs if each.coder == coder]) for coder in ("jpeg", "webp"))
        table.add_row(
            rate.setting,
            f"{rate.bpp:.3f}",
            *(f"{part / area:.3f}" for part in (rate.weight_bits, rate.scale_bits, rate.label_bits)),
            *(f"{8 * size / area:.3f}" for size in (rate.file_bytes, rate.deflated_bytes)),
            f"{rate.psnr:.2f}",
            f"{rate.psnr - fits[0].psnr:+.2f}" if rate is not fits[0] else "",
            *others,
        )
    return table


def _beside(rate: Rate, codec: Sequence[Rate]) -> str:
    """What a codec leaves in the bits of a fit; in fewer, at its best quality, with a mark."""
    psnr = at_rate(codec, rate.bpp)
    if psnr is None and codec and (best := best_of(codec)).bpp < rate.bpp:
        return f">{best.psnr:.2f}"
    return "–" if psnr is None else f"{psnr:.2f}"

"""The subcommands that draw or measure a fit, or draw the partitions of an image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partinr.base.later import Later
from partinr.base.notes import BAD_INPUT
from partinr.cli.options import RUN
from partinr.cli.options import output as output_option

if TYPE_CHECKING:
    from partinr.experiment import export as exporting
    from partinr.experiment import pages
    from partinr.experiment import partitions as drawing_rules
    from partinr.experiment import render as rendering
else:
    exporting = Later("partinr.experiment.export")
    drawing_rules = Later("partinr.experiment.partitions")
    rendering = Later("partinr.experiment.render")
    pages = Later("partinr.experiment.pages")


@click.command()
@click.argument("run", metavar="RUN", type=RUN)
@output_option(required=True, help="The PNG, TIFF or NPY to write, or a file of the signal's kind: a WAV of a sound.")
@click.option("--scale", type=float, metavar="S", help="Factor on the resolution of the fitted signal; 1 by default.")
@click.option(
    "--size", metavar="H,W", help="Height and width of the picture in pixels, instead of --scale; samples of a sound."
)
@click.option("--rate", type=float, metavar="R", help="Samples per second of a sound, frames per second of a film.")
@click.option("--spacing", type=float, metavar="D", help="Distance of the samples of a volume or field, in its unit.")
@click.option(
    "--crop",
    metavar="Y0:Y1,X0:X1",
    help="A part of the fitted image, in its pixels: 0:64,100.5:164.5; all by default. Other signals have a range of "
    "samples for each axis.",
)
@click.option(
    "--depth",
    type=click.Choice(["8", "16", "float"]),
    help="Bits per channel, or 32-bit floats (TIFF, NPY); by default 8, and float for NPY.",
)
@click.option(
    "--show",
    "field",
    type=click.Choice(["value", "gradient", "laplacian"]),
    default="value",
    show_default=True,
    help="The image, or derivatives of the fitted function, per pixel of the fitted image: the length of the gradient "
    "(in an NPY of floats both components, down and right), or the Laplacian.",
)
@click.option(
    "--range",
    "top",
    type=float,
    metavar="R",
    help="Draw gradients with R white and 0 black, Laplacians with -R black and 0 grey; by default a suitable R.",
)
@click.option("--image", metavar="NAME", help="The image, for a run of several images.")
@click.option("--smooth", is_flag=True, help="Smooth the staircase borders between regions.")
def render(run: Path, output: Path, **options: Any) -> None:
    """Draw the fitted image, or write the fitted sound, film or volume, at any resolution.

    RUN is a run directory, or the inr.safetensors of one. Memory does not grow with the picture.
    """
    click.echo(rendering.render_run(run, output, **options))


@click.command()
@click.argument("run", metavar="RUN", type=RUN)
@output_option(help="The file to write; view.html next to the run's pictures by default.")
@click.option("--against", metavar="RUN", type=RUN, help="Compare the fit with this run's instead of with the image.")
@click.option("--image", metavar="NAME", help="The image, for a run of several images.")
@click.option(
    "--scale",
    type=click.FloatRange(1),
    default=1.0,
    show_default=True,
    help="Factor on the image's resolution for drawing the fit.",
)
def view(run: Path, output: Path | None, **options: Any) -> None:
    """Write an HTML file to pan and zoom in an image and its fit, for any browser, without a server."""
    click.echo(f"view  {pages.make_view(run, output, **options)}")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=RUN)
@output_option(help="The safetensors file to write, for one run.")
@click.option("--bits", type=click.Choice(["8", "16"]), default="8", show_default=True, help="Bits per weight.")
@click.option(
    "--per",
    type=click.Choice(["channel", "tensor"]),
    default="channel",
    show_default=True,
    help="Weights that share a scale: each row of a network's weights (channel), or each tensor of a network.",
)
@click.option("--image", metavar="NAME", help="Only this image, for a run of several images; -o needs it.")
def export(runs: tuple[Path, ...], output: Path | None, bits: str, **options: Any) -> None:
    """Shrink a fit to 8 or 16 bits per weight, and measure size and loss.

    partinr.load reads the file like the run's own. The table has a row for each precision, in bits per pixel: weights,
    scales and label map; the real file, also deflated; and PSNR, with that of JPEG and WebP at the same number of bits.
    rate.csv next to the run's weights keeps it, and partinr report draws it. For a run of several images, the table has
    means over the images.
    """
    exporting.export(runs, output, bits=8 if bits == "8" else 16, **options)


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="IMAGE... [RULE.KEY=VALUE]...")
@click.option(
    "--regions",
    default="9",
    show_default=True,
    metavar="N[,N...]",
    help="Number of regions; each of several numbers makes a row.",
)
@click.option(
    "--rules",
    metavar="RULE[,RULE...]",
    help="Partition rules; by default all, except those for other signals and those that lack a required option.",
)
@click.option("--size", type=int, metavar="N", help="Centre crop to a square of this many pixels per side.")
@click.option("--max-side", type=int, metavar="N", help="Shrink to this many pixels on the longer side.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the rules that draw random numbers.",
)
@click.option(
    "--config-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="A folder with your own partition/RULE.yaml.",
)
@output_option(default="partitions.png", show_default=True, help="The PNG or PDF to write.")
def partitions(words: tuple[str, ...], output: Path, **options: Any) -> None:
    """Draw the partition that each rule makes of an image or another signal.

    IMAGE is a file, or the name of a built-in image such as astronaut; data=film stands for another signal, with
    data.KEY=VALUE as in a run. RULE.KEY=VALUE sets an option of a rule, as
    partition.KEY=VALUE does in a run: semantic.merge=boundary, mask.path=masks.
    """
    sys.exit(0 if drawing_rules.show_partitions(words, output, **options) else BAD_INPUT)

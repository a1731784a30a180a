"""The subcommands, and what ``partinr --help`` says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import click

from partinr.base.version import __version__
from partinr.experiment import plugins


class _Application(click.Group):
    """A group whose help also explains what is not a subcommand."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(
            "partinr fits an image by parts: one small network a region, all trained as one stack.\n\n"
            "Run a fit:      partinr partition=grid data.path=photo.png\n"
            "Fit a folder:   partinr data=folder data.path=photos\n"
            "Learn to learn: partinr experiment=meta_text_both_grid\n"
            "Run a sweep:    partinr -m partition=none,grid seed=0,1,2\n"
            "Run a study:    partinr experiment=demo\n"
            "Compare runs:   partinr report outputs/runs\n"
            "Compare rules:  partinr partitions photo.png\n"
            "Test the claim: partinr experiment=hypothesis_1d, then partinr hypothesis RUN\n\n"
        )
        with formatter.section("Groups (GROUP=NAME)"):
            formatter.write_dl([(group, ", ".join(names)) for group, names in plugins.groups().items()])
        added = [plugin for plugin in plugins.installed() if plugin.adds]
        if added:
            with formatter.section("Plug-ins, and what of the above they add"):
                formatter.write_dl([(plugin.title, ", ".join(plugin.adds)) for plugin in added])
        with formatter.section("Keys (KEY=VALUE; all of them, each explained, are in conf/)"):
            formatter.write_dl(
                [
                    ("data.path, data.size", "image file; centre crop and resize to so many pixels"),
                    ("partition.regions", "how many regions; or partition.rows and partition.cols"),
                    ("backbone.match_params", "parameters in all, whatever the partition: a fair comparison"),
                    ("backbone.hidden_features", "or the width of each network"),
                    ("optimizer.lr", "learning rate"),
                    ("max_steps, max_seconds", "when a run ends; also target_psnr"),
                    ("seed", "of initialisation and sampling"),
                    ("hydra.run.dir", "the run directory, if not one of its own below outputs/"),
                ]
            )
        with formatter.section("Options"):
            formatter.write_dl(
                [
                    ("-m, --multirun", "run every combination of comma-separated values"),
                    ("--cfg job", "print the composed configuration and stop"),
                    ("--config-dir DIR", "a folder of further groups, such as a partition rule of your own"),
                    ("--version", "print the version"),
                    ("--hydra-help", "all options of Hydra"),
                    ("debug=trace", "show tracebacks"),
                ]
            )
        self.format_commands(ctx, formatter)
        plugins.print_complaints()


@click.group(cls=_Application, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="partinr", message="%(prog)s %(version)s")
def commands() -> None:
    """Fit an image by parts."""


@commands.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN_OR_SWEEP_DIR...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write; report.html in the first directory by default.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write PNG and PDF figures and the table as CSV.",
)
@click.option("--title", help="Heading of the page.")
@click.option(
    "--watch",
    type=click.FloatRange(1),
    is_flag=False,
    flag_value=10.0,
    metavar="[SECONDS]",
    help="Make the page again, every 10 seconds or as often as said, until all runs are over; Ctrl-C ends it.",
)
def report(
    paths: tuple[Path, ...], output: Path | None, figures: Path | None, title: str | None, watch: float | None
) -> None:
    """Compare runs: one HTML file with curves, pictures and a table."""
    from partinr.report import REPORT, collect, make_report, watch_runs, write_figures

    if watch is None:
        written = make_report(paths, output, figures=figures, title=title)
    else:
        written = paths[0] / REPORT if output is None else output
        watch_runs(paths, written, watch, click.echo, title)
        if figures is not None:
            write_figures(collect(paths), figures)
    click.echo(f"report   {written}")
    if figures is not None:
        click.echo(f"figures  {figures}")


@commands.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN_OR_SWEEP_DIR...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write: .md, .tex (booktabs) or .csv (every column and digit).",
)
@click.option("--no-seconds", is_flag=True, help="Without what a clock measured: for runs that shared a machine.")
def table(paths: tuple[Path, ...], output: Path | None, no_seconds: bool) -> None:
    """Print the report's table as Markdown, or write it as Markdown, LaTeX or CSV."""
    from partinr.report import make_table

    text = make_table(paths, output, clocks=not no_seconds)
    click.echo(text.rstrip("\n") if output is None else f"table    {output}")


@commands.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The PNG, TIFF or NPY to write.")
@click.option("--scale", type=float, metavar="S", help="Times the resolution of the fitted image; 1 by default.")
@click.option("--size", metavar="H,W", help="Height and width of the picture in pixels, instead.")
@click.option(
    "--crop", metavar="Y0:Y1,X0:X1", help="A part of the fitted image, in its pixels: 0:64,100.5:164.5; all by default."
)
@click.option(
    "--depth",
    type=click.Choice(["8", "16", "float"]),
    help="Bits a channel, or 32-bit floats (TIFF, NPY); by default 8, and float for NPY.",
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
    help="Draw derivatives with R white and 0 black, Laplacians with -R black and 0 grey; by default R suits them.",
)
@click.option("--image", metavar="NAME", help="Which image, of a run that fitted several.")
@click.option("--smooth", is_flag=True, help="Smooth the borders between regions, which are stairs of pixels.")
def render(
    run: Path,
    output: Path,
    scale: float | None,
    size: str | None,
    crop: str | None,
    depth: Any,
    field: Any,
    top: float | None,
    image: str | None,
    smooth: bool,
) -> None:
    """Draw the fitted image at any resolution.

    RUN is a run directory, or the inr.safetensors of one. Memory does not grow with the picture.
    """
    from partinr.cli.render import render_run

    click.echo(
        render_run(
            run,
            output,
            image=image,
            scale=scale,
            size=size,
            crop=crop,
            depth=depth,
            field=field,
            top=top,
            smooth=smooth,
        )
    )


@commands.command()
@click.argument("run", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write; view.html beside the run's pictures by default.",
)
@click.option("--image", metavar="NAME", help="Which image, of a run that fitted several.")
@click.option(
    "--scale",
    type=click.FloatRange(1),
    default=1.0,
    show_default=True,
    help="Times the resolution of the image that the fit is drawn at.",
)
def view(run: Path, output: Path | None, image: str | None, scale: float) -> None:
    """Pan and zoom in an image against its fit: one HTML file, for any browser, without a server."""
    from partinr.cli.view import make_view

    click.echo(f"view  {make_view(run, output, image=image, scale=scale)}")


@commands.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN_DIR...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The safetensors file to write, of one run.")
@click.option("--bits", type=click.Choice(["8", "16"]), default="8", show_default=True, help="Of a weight in the file.")
@click.option(
    "--per",
    type=click.Choice(["channel", "tensor"]),
    default="channel",
    show_default=True,
    help="What has a scale: each row of the weights of each network, or each tensor of each network.",
)
@click.option("--image", metavar="NAME", help="Only this image, of a run that fitted several; -o needs one.")
def export(
    runs: tuple[Path, ...], output: Path | None, bits: str, per: Literal["channel", "tensor"], image: str | None
) -> None:
    """Shrink a fit to 8 or 16 bits a weight, and say what it takes and loses.

    The file is read by partinr.load like the run's own. The table has all precisions in bits per pixel: weights, scales
    and label map, and beside them the real file, also deflated; and PSNR, with that of JPEG and WebP of the same image
    in the same bits. It is kept in rate.csv beside the run's weights, and partinr report draws it. Of a run that fitted
    several images each is measured, and the table is the mean over them.
    """
    from partinr.cli.export import export as shrink

    shrink(runs, output, bits=8 if bits == "8" else 16, per=per, image=image)


@commands.command()
@click.argument("words", nargs=-1, required=True, metavar="IMAGE... [RULE.KEY=VALUE]...")
@click.option(
    "--regions", default="9", show_default=True, metavar="N[,N...]", help="How many; several make a row each."
)
@click.option(
    "--rules",
    metavar="RULE[,RULE...]",
    help="Which partition rules; by default all, those that need an option (mask, smp) when they are given it.",
)
@click.option("--size", type=int, metavar="N", help="Centre crop to a square and resize it to so many pixels.")
@click.option("--max-side", type=int, metavar="N", help="Shrink to so many pixels on the longer side.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Of the rules that draw lots."
)
@click.option(
    "--config-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="A folder with partition/RULE.yaml of your own.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="partitions.png",
    show_default=True,
    help="The PNG or PDF to write.",
)
def partitions(
    words: tuple[str, ...],
    regions: str,
    rules: str | None,
    size: int | None,
    max_side: int | None,
    seed: int,
    config_dir: Path | None,
    output: Path,
) -> None:
    """Draw what every partition rule makes of an image.

    IMAGE is a file, or the name of a built-in image such as astronaut. RULE.KEY=VALUE sets an option of a rule, as
    partition.KEY=VALUE does in a run: semantic.merge=boundary, mask.path=masks.
    """
    from partinr.base.notes import BAD_INPUT
    from partinr.cli.partitions import show_partitions

    sound = show_partitions(
        words,
        output,
        regions=regions,
        rules=rules,
        size=size,
        max_side=max_side,
        seed=seed,
        config_dir=config_dir,
    )
    sys.exit(0 if sound else BAD_INPUT)


@commands.command()
@click.argument("run", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Also if it says that it is running on another host.")
def resume(run: Path, force: bool) -> None:
    """Go on with a run that was stopped, in its own directory."""
    from partinr.experiment.execute import resume as go_on
    from partinr.experiment.show import show_outcomes

    outcome = go_on(run, force)
    show_outcomes([outcome])
    sys.exit(outcome.exit_code)


@commands.command()
@click.argument("run", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="The new run; RUN_DIR_rerun by default."
)
def rerun(run: Path, output: Path | None) -> None:
    """Run the same again in a new directory, and say whether the curve is the same.

    Every column but the clocks is compared, bit by bit. The exit code is 0 if they are the same and 1 if not; the first
    row that differs is shown then, and what differs in versions, hardware, threads, git commit, signal and code.
    """
    from partinr.cli.rerun import rerun as run_again

    sys.exit(run_again(run, output))


@commands.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN_OR_SWEEP_DIR...", type=click.Path(path_type=Path))
@click.option("--status", metavar="STATE[,STATE...]", help="Only runs in these states, such as failed,died.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def runs(paths: tuple[Path, ...], status: str | None, as_json: bool) -> None:
    """List runs: state, progress, time to go, PSNR, and why those that failed did.

    States: running, queued, completed, interrupted (stopped, and said so), died (says that it is running, but its
    process is gone), failed, and damaged (its run.json cannot be read).
    """
    from partinr.cli.runs import show_runs

    show_runs(paths, status, as_json)


@commands.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN_OR_SWEEP_DIR...", type=click.Path(path_type=Path))
@click.option("--offline", is_flag=True, help="Send nothing; write W&B runs into the run directories.")
@click.option("--project", metavar="NAME", help="W&B's project, if not the one the run was started with.")
@click.option("--entity", metavar="NAME", help="User or team, likewise.")
@click.option("--study", metavar="NAME", help="W&B's group, likewise.")
@click.option("--timeout", type=float, metavar="SECONDS", help="How long each run may take to be sent.")
def sync(
    paths: tuple[Path, ...],
    offline: bool,
    project: str | None,
    entity: str | None,
    study: str | None,
    timeout: float | None,
) -> None:
    """Make a whole W&B run of each run directory, also after several resumes or offline pieces.

    run.json, curve.csv and the pictures say what is in it, whatever logger the run had; it replaces what W&B has.
    """
    from partinr.cli.sync import sync_runs

    whole = sync_runs(paths, offline=offline, project=project, entity=entity, study=study, timeout=timeout)
    sys.exit(0 if whole else 1)


@commands.command()
@click.argument("study", metavar="STUDY_DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="spec.json",
    help="Also write the spec; without a server it goes to dashboard.json in STUDY_DIR by default.",
)
@click.option("--project", metavar="NAME", help="W&B's project, if not the one the runs were started with.")
@click.option("--entity", metavar="NAME", help="User or team, likewise.")
@click.option("--study", "name", metavar="NAME", help="W&B's group, likewise.")
def dashboard(study: Path, output: Path | None, project: str | None, entity: str | None, name: str | None) -> None:
    """Build a W&B workspace and report: curves, time to quality, pictures.

    Needs partinr[dashboard].
    """
    from partinr.cli.dashboard import make_dashboard

    make_dashboard(study, output, project=project, entity=entity, name=name)


@commands.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN_OR_SWEEP_DIR...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also draw it: a PNG or PDF to write.")
def hypothesis(paths: tuple[Path, ...], output: Path | None) -> None:
    """Say how steps grow with boundaries: laws, weights and a verdict, from runs with regime=threshold."""
    from partinr.cli.hypothesis import show_settings
    from partinr.studies import settings_of, write_growth

    settings = settings_of(paths)
    show_settings(settings)
    if output is not None:
        click.echo(f"figure  {write_growth(settings, output)}")


@commands.command()
def doctor() -> None:
    """Say what is installed, where a run would compute, and what is amiss."""
    from partinr.cli.doctor import examine

    sys.exit(0 if examine() else 1)

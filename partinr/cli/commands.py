"""The subcommands, and the text of ``partinr --help``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from partinr.base.later import Later
from partinr.base.version import __version__
from partinr.cli import completion, drawing, papers
from partinr.cli.clean import clean_up
from partinr.cli.compare import compare
from partinr.cli.dashboard import make_dashboard
from partinr.cli.doctor import examine
from partinr.cli.hypothesis import show_settings
from partinr.cli.importing import import_file
from partinr.cli.options import KNOWN_RUNS, PLACES, RUN, RUN_OR_SWEEP, RUNS
from partinr.cli.options import output as output_option
from partinr.cli.runs import show_runs
from partinr.cli.sync import sync_runs
from partinr.experiment import plugins
from partinr.experiment.show import show_outcomes
from partinr.runs.leftovers import KINDS

if TYPE_CHECKING:
    from partinr import studies
    from partinr.experiment import execute
    from partinr.experiment import rerun as rerunning
else:
    studies = Later("partinr.studies")
    execute = Later("partinr.experiment.execute")
    rerunning = Later("partinr.experiment.rerun")


class _Application(click.Group):
    """A group whose help also explains the Hydra application."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Subcommands, which can only be the first word, and overrides."""
        first = [] if ctx._protected_args else super().shell_complete(ctx, incomplete)
        return [*first, *completion.overrides(incomplete)]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(
            "partinr fits an image by parts: one small network per region, all trained as one stack.\n\n"
            "Fit an image:   partinr photo.png max_seconds=10\n"
            "Choose how:     partinr data.path=photo.png partition=grid backbone=siren\n"
            "Fit a folder:   partinr data=folder data.path=photos\n"
            "Learn to learn: partinr experiment=meta_text_both_grid\n"
            "Run a sweep:    partinr -m partition=none,grid seed=0,1,2\n"
            "Run a study:    partinr experiment=demo\n"
            "Compare runs:   partinr report outputs/runs, or two: partinr compare last:2 last\n"
            "Compare rules:  partinr partitions photo.png\n"
            "Test the claim: partinr experiment=hypothesis_1d, then partinr hypothesis RUN\n\n"
        )
        with formatter.section("Groups (GROUP=NAME)"):
            formatter.write_dl([(group, ", ".join(names)) for group, names in plugins.groups().items()])
        for group in ("experiment", "case"):
            choices = plugins.described(group)
            width = max(map(len, choices), default=0)
            with formatter.section(f"{group.capitalize()}s ({group}=NAME)"):
                # Not by write_dl, which breaks lines at the width of the terminal.
                formatter.write("".join(f"  {name:<{width}}  {said}\n" for name, said in choices.items()))
        added = [plugin for plugin in plugins.installed() if plugin.adds]
        if added:
            with formatter.section("Plug-ins, and their choices among the above"):
                formatter.write_dl([(plugin.title, ", ".join(plugin.adds)) for plugin in added])
        with formatter.section("Keys (KEY=VALUE; all of them, each explained, are in conf/)"):
            formatter.write_dl(
                [
                    ("data.path, data.size", "image file; centre crop and resize to so many pixels"),
                    ("partition.regions", "how many regions; or partition.rows and partition.cols"),
                    ("backbone.match_params", "total number of parameters, whatever the partition"),
                    ("backbone.hidden_features", "or the width of each network"),
                    ("optimizer.lr", "learning rate"),
                    ("max_steps, max_seconds", "when a run ends; also target_psnr"),
                    ("seed", "of initialisation and sampling"),
                    ("hydra.run.dir", "the run directory; by default a new one below outputs/"),
                ]
            )
        with formatter.section("Options"):
            formatter.write_dl(
                [
                    ("-m, --multirun", "run every combination of comma-separated values"),
                    ("--cfg job", "print the composed configuration and stop"),
                    ("--config-dir DIR", "a folder of further groups, such as your own partition rules"),
                    ("--version", "print the version"),
                    ("--hydra-help", "all options of Hydra"),
                    ("debug=trace", "show tracebacks"),
                ]
            )
        self.format_commands(ctx, formatter)
        formatter.write(
            "\nRUN is a run directory, last, last:2 (the run before), or the start of a run's name or hash.\n"
        )
        plugins.print_complaints()


@click.group(cls=_Application, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="partinr", message="%(prog)s %(version)s")
def commands() -> None:
    """Fit an image by parts."""


@commands.command()
@click.argument("run", metavar="RUN", type=RUN)
@click.option("--force", is_flag=True, help="Resume even if the run claims to be running on another host.")
@PLACES
def resume(run: Path, force: bool, changes: tuple[str, ...]) -> None:
    """Continue a stopped run in its own directory."""
    outcome = execute.resume(run, force, changes=changes)
    show_outcomes([outcome])
    sys.exit(outcome.exit_code)


@commands.command()
@click.argument("run", metavar="RUN", type=RUN)
@output_option(metavar="DIR", help="The new run; RUN_rerun by default.")
@PLACES
def rerun(run: Path, output: Path | None, changes: tuple[str, ...]) -> None:
    """Repeat a run in a new directory, and compare the curves.

    RUN may also be a run that partinr sent to W&B: wandb:ENTITY/PROJECT/ID.

    All columns except the clocks are compared, bit by bit. The exit code is 0 if the curves are the same, else 1. In
    the latter case the first differing row is printed, and differences in versions, hardware, threads, git commit,
    signal and code.
    """
    name, place = str(run), str(run).removeprefix(rerunning.WANDB)
    if place != name and not run.exists():
        sys.exit(rerunning.rerun_from_wandb(place, output, changes))
    sys.exit(rerunning.rerun(run, output, changes))


@commands.command()
@KNOWN_RUNS
@click.option("--status", metavar="STATE[,STATE...]", help="Only runs in these states, such as failed,died.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only runs with this setting or result: partition=grid,mask, optimizer.lr=1e-3, 'psnr>30'; repeatable.",
)
@click.option("--sort", "order", metavar="[-]KEY", help="Sort by a setting or result, such as psnr; with -, downwards.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def runs(
    paths: tuple[Path, ...], status: str | None, conditions: tuple[str, ...], order: str | None, as_json: bool
) -> None:
    """List runs with settings, state, progress, remaining time, PSNR, and reasons for failures.

    There is a column for each setting that differs. Without a path, all runs below outputs are listed.

    States: running, queued, completed, interrupted (stopped and saved), died (recorded as running, but its process is
        gone), failed, and damaged (its run.json cannot be read).
    """
    show_runs(paths, status, as_json, conditions=conditions, order=order)


@commands.command()
@KNOWN_RUNS
@click.option("-f", "--force", is_flag=True, help="Remove them; without it, nothing is removed.")
@click.option("--only", metavar="KIND[,KIND...]", help=f"Only these kinds: {', '.join(KINDS)}.")
def clean(paths: tuple[Path, ...], force: bool, only: str | None) -> None:
    """List what failed and superseded runs have left, or remove it.

    Each item has its size. Nothing is removed without --force. Running and completed runs stay, and those that partinr
    resume can continue. Without a path, outputs is searched.
    """
    sys.exit(0 if clean_up(paths, force, only) else 1)


@commands.command()
@RUNS
@click.option("--offline", is_flag=True, help="Send nothing; write W&B runs into the run directories.")
@click.option("--project", metavar="NAME", help="W&B's project; by default the one the run was started with.")
@click.option("--entity", metavar="NAME", help="User or team, likewise.")
@click.option("--group", "--study", "group", metavar="NAME", help="W&B's group, likewise.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Limit of time for sending each run.")
def sync(paths: tuple[Path, ...], **options: Any) -> None:
    """Make one complete W&B run from each run directory, even after several resumes or offline parts.

    It uses run.json, curve.csv and the pictures, whatever logger the run had, and replaces the data on W&B.
    """
    sys.exit(0 if sync_runs(paths, **options) else 1)


@commands.command()
@click.argument("study", metavar="STUDY_DIR", type=RUN_OR_SWEEP)
@output_option(
    metavar="spec.json", help="Also write the spec; without a server it goes to dashboard.json in STUDY_DIR by default."
)
@click.option("--project", metavar="NAME", help="W&B's project; by default the one the runs were started with.")
@click.option("--entity", metavar="NAME", help="User or team, likewise.")
@click.option("--group", "--study", "group", metavar="NAME", help="W&B's group, likewise.")
def dashboard(study: Path, output: Path | None, **options: Any) -> None:
    """Build a W&B workspace and report: curves, time to quality, pictures.

    Needs partinr[dashboard].
    """
    make_dashboard(study, output, **options)


@commands.command()
@RUNS
@output_option(help="Also draw it: a PNG or PDF to write.")
def hypothesis(paths: tuple[Path, ...], output: Path | None) -> None:
    """Fit laws of growth of steps with boundaries to runs with regime=threshold; print weights and a verdict."""
    settings = studies.settings_of(paths)
    show_settings(settings)
    if output is not None:
        click.echo(f"figure  {studies.write_growth(settings, output)}")


@commands.command()
def doctor() -> None:
    """Check the installation: packages, the device for runs, plug-ins."""
    sys.exit(0 if examine() else 1)


for command in (
    papers.report,
    papers.table,
    compare,
    import_file,
    drawing.render,
    drawing.view,
    drawing.export,
    drawing.partitions,
):
    commands.add_command(command)

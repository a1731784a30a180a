"""Remakes the small size of every study from nothing, and what the repository shows of it.

    make studies                                        # all of them
    make studies ARGS="paper_siren_table hypothesis_1d" # some
    make studies ARGS="--output outputs/studies"        # in this folder; the same again goes on where it stopped

Each study is one command, `partinr -m experiment=NAME size=small`. Its table, and what it was made with, replace those
between the marks in the study's README; `small/` beside it gets the table with every digit, and the figures. Runs share
the machine here, so the tables have no seconds.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from partinr.report import RunRecord, collect, make_table, write_figures
from partinr.report.notices import commit_of, machine_of

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Small:
    """The small size of a study.

    Attributes:
        folder: of its README, beside this file.
        figures: those of the report that are kept, by what they begin and end with.
        own: the table and the figure are those of table.py beside the README.
    """

    folder: str
    figures: tuple[str, ...] = ("curve-*-steps.png",)
    own: bool = False


STUDIES = {
    "paper_siren_table": Small("paper"),
    "paper_relu_table": Small("paper"),
    "paper_meta_table": Small("paper", ("learning-*-inner-steps.png",)),
    "grid_speedup": Small("grid_speedup"),
    "mask_source": Small("mask_source"),
    "hypothesis_1d": Small("hypothesis"),
    "hypothesis_2d": Small("hypothesis"),
    "boundaries": Small("boundaries", own=True),
    "regions": Small("regions", own=True),
}
"""By the name of the experiment."""


def python(*arguments: str) -> str:
    """What a Python program says on the standard output; one that fails ends this program."""
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(arguments)} ended with exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


def carry_out(name: str, output: Path, jobs: int) -> None:
    """Run a study; what is there already is kept."""
    python(
        *("-m", "partinr", "-m", f"experiment={name}", "size=small"),
        *(f"hydra.sweep.dir={output / name}", f"cache_dir={output / 'cache'}"),
        *("hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"),
    )


def show(name: str, output: Path) -> None:
    """Put what came of a study into its README."""
    study = STUDIES[name]
    sweep = output / name
    records = collect([sweep])
    kept = HERE / study.folder / "small"
    kept.mkdir(exist_ok=True)
    figure = kept / f"{name}.png"
    if study.own:
        shown, pictures = python(str(HERE / study.folder / "table.py"), str(sweep), "-o", str(figure)), [figure]
    elif "trials" in records[0].regime.files:
        said = python("-m", "partinr", "hypothesis", str(sweep), "-o", str(figure)).split("figure ")[0].strip()
        shown, pictures = f"```\n{said}\n```\n", [figure]
    else:
        make_table([sweep], kept / f"{name}.csv")
        shown = make_table([sweep], clocks=False)
        pictures = figures(records, study.figures, kept, name)
    lines = [made_with(name, records), "", shown, *(f"![{path.stem}](small/{path.name})" for path in pictures)]
    put(HERE / study.folder / "README.md", name, "\n".join(lines))


def figures(records: Sequence[RunRecord], patterns: Sequence[str], folder: Path, name: str) -> list[Path]:
    """Those figures of the report that are kept, with the study in their names."""
    kept = []
    with tempfile.TemporaryDirectory() as made:
        write_figures(records, made)
        for pattern in patterns:
            for path in sorted(Path(made).glob(pattern)):
                kept.append(folder / f"{name}-{path.name}")
                shutil.copyfile(path, kept[-1])
    return kept


def made_with(name: str, records: Sequence[RunRecord]) -> str:
    """The command, and on what its runs ran, when, and from which commit."""

    def each(values: Sequence[str]) -> str:
        return " and ".join(dict.fromkeys(value for value in values if value))

    machines = each([machine_of(record) for record in records])
    torch = each([str(record.manifest["versions"]["torch"]) for record in records])
    commits = each([commit_of(record) for record in records])
    dates = sorted({str(record.manifest["finished"])[:10] for record in records})
    seeds = len({record.seed for record in records})
    runs = f"{len(records)} run{'s' * (len(records) != 1)}, {seeds} seed{'s' * (seeds != 1)}"
    return (
        f"`partinr -m experiment={name} size=small`: {runs}. {machines}; torch {torch}; commit {commits}; "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}."
    )


def put(readme: Path, name: str, text: str) -> None:
    """Replace what is between the marks of a study in a README."""
    begin, end = f"<!-- small: {name} -->\n", f"<!-- end: {name} -->\n"
    page = readme.read_text(encoding="utf-8")
    block = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(block.findall(page)) != 1:
        sys.exit(f"{readme} has no marks for {name}: {begin.strip()} and {end.strip()} on lines of their own")
    readme.write_text(block.sub(lambda _: f"{begin}{text}\n{end}", page), encoding="utf-8")


def main() -> None:
    """Remake those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--output", type=Path, help="of the runs; by default a folder of its own below outputs/")
    parser.add_argument("--jobs", type=int, default=-1, help="runs at once; one a core by default")
    given = parser.parse_args()
    if unknown := [name for name in given.studies if name not in STUDIES]:
        parser.error(f"there is no {unknown[0]}; choose from {', '.join(STUDIES)}")
    output = given.output or Path(f"outputs/studies_{datetime.now():%Y-%m-%d_%H-%M-%S}")
    for name in given.studies or STUDIES:
        print(f"== {name}", flush=True)
        carry_out(name, output, given.jobs)
    # Not before: what it writes would be taken for a change of the code by the runs that follow.
    for name in given.studies or STUDIES:
        show(name, output)


if __name__ == "__main__":
    main()

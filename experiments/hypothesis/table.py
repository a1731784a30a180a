"""The tables of this study, from the data beside this file.

    python experiments/hypothesis/table.py trials steps.csv public.csv
    python experiments/hypothesis/table.py simulations simulations.csv
    python experiments/hypothesis/table.py read NAME=RUN ...   # writes steps.csv: the trials of run directories
    python experiments/hypothesis/table.py public 1D 2D        # writes public.csv, from the trials of the public code

"steps": medians at the fewest, median and most boundaries. "exponential behind": its BIC minus that of the best law.
The trials of the public code (1999kevin/INR-Partition, motivation_fit: boundaries or cells, draw, steps) are not
part of this repository; public.csv has numbers that follow from them.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from partinr.runs.directory import RunDirectory
from partinr.runs.records import collect
from partinr.studies import Trials, fit_laws

HERE = Path(__file__).parent
CAP = 4000
"""Where the public code stops, and takes a trial for converged."""

PUBLISHED = 59
"""Most boundaries of the published study on a line."""

LONGER = ("one network", "one network, ω0 40")
"""Settings with more boundaries."""

COLUMNS = (
    *("setting", "trials", "capped", "boundaries", "steps", "p, 95 % interval", "p by halves"),
    *("best law", "weights", "exponential behind", "lack of fit"),
)

Row = Mapping[str, str]


def read(name: str) -> list[dict[str, str]]:
    """The rows of a file, by default beside this one."""
    with (HERE / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(name: str, rows: Iterable[Row]) -> None:
    """Write rows into a file beside this one."""
    found = list(rows)
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def show(rows: Iterable[Row]) -> None:
    """Print rows as Markdown."""
    found = list(rows)
    print("| " + " | ".join(found[0]) + " |")
    print("|" + "---|" * len(found[0]))
    for row in found:
        print("| " + " | ".join(row.values()) + " |")


def judged(setting: str, trials: Trials) -> Row:
    """What the laws say of the trials of a setting."""
    growth = fit_laws(trials)
    counts = np.unique(trials.boundaries)
    shown = (counts[0], counts[(len(counts) - 1) // 2], counts[-1])
    medians = [float(np.median(trials.steps[trials.boundaries == count])) for count in shown]
    low, high = growth.base_interval
    weights = (f"{fit.law.name} {fit.weight:.2f}" for fit in growth.fits if fit.weight >= 0.005)
    best = growth.best
    values = (
        setting,
        str(len(trials.steps)),
        str(int(trials.censored.sum())),
        ", ".join(f"{count:.0f}" for count in shown),
        ", ".join(f"{median:,.0f}" for median in medians),
        f"{growth.base:.4f} ({low:.4f} to {high:.4f})",
        ", ".join(f"{half.base:.4f} {half.where}" for half in growth.halves),
        f"{best.law.name}{'' if growth.clear else ', undecided'}: {best.formula}",
        ", ".join(weights),
        f"{growth.fit('exponential').bic - best.bic:.1f}",
        f"{growth.lack_of_fit:.2g}",
    )
    return dict(zip(COLUMNS, values, strict=True))


def trials_of(rows: Iterable[Row], abscissa: str = "boundaries") -> Trials:
    """Trials from rows with ``steps`` and perhaps ``censored``."""
    numbers = [(float(row[abscissa]), float(row["steps"]), row.get("censored")) for row in rows]
    boundaries, steps = np.array([number[:2] for number in numbers]).T
    censored = [steps >= CAP if mark is None else mark == "1" for _, steps, mark in numbers]
    return Trials(boundaries, steps, np.array(censored))


def trials(own: str, judged_already: str) -> None:
    """Print what the laws say of each setting, and of the public code's trials."""
    ours: dict[str, list[dict[str, str]]] = {}
    for row in read(own):
        # A setting with more boundaries than the published study is judged by those of the study, too.
        if row["setting"] in LONGER and int(row["boundaries"]) <= PUBLISHED:
            ours.setdefault(f"{row['setting']}, to {PUBLISHED}", []).append(row)
        ours.setdefault(row["setting"], []).append(row)
    show([*(judged(name, trials_of(rows)) for name, rows in ours.items()), *read(judged_already)])


def simulations(file: str) -> None:
    """Print how often each planted law is named, another one is, or none."""
    kept = read(file)
    rows = []
    for formula in dict.fromkeys(row["planted"] for row in kept):
        own = [row for row in kept if row["planted"] == formula]
        name = own[0]["law"]
        said, fewer = (Counter(row[key] for row in own) for key in ("said", "fewer"))
        others = {law: count for law, count in fewer.items() if law not in (name, "undecided")}
        rows.append(
            {
                "planted": formula,
                "law": name,
                "named": str(said[name]),
                "undecided": str(said["undecided"]),
                "another": str(len(own) - said[name] - said["undecided"]),
                "another, by the four laws without the fifth": ", ".join(f"{n} {law}" for law, n in others.items())
                or "0",
            }
        )
    show(rows)


def read_runs(named: list[str]) -> None:
    """Keep the trials of run directories, each under the name of its setting; runs of one name are pooled."""
    rows = []
    for setting, _, folder in (each.partition("=") for each in named):
        for record in collect([folder]):
            for row in RunDirectory(record.path).steps():
                numbers = {key: f"{row[key]:g}" for key in ("boundaries", "draw", "steps", "censored")}
                rows.append({"setting": setting, **numbers})
    write("steps.csv", rows)


def read_public(files: list[str]) -> None:
    """Keep what the laws say of the trials of the public code."""
    rows = []
    for file, (name, abscissa) in zip(files, (("line", "boundaries"), ("plane", "cells")), strict=True):
        with Path(file).open(newline="", encoding="utf-8") as opened:
            rows.append(judged(f"public code, {name}", trials_of(csv.DictReader(opened), abscissa)))
    write("public.csv", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["trials", "simulations", "read", "public"])
    parser.add_argument("paths", nargs="+", help="files, or NAME=RUN for read")
    given = parser.parse_args()
    if given.what == "trials":
        trials(*given.paths)
    elif given.what == "simulations":
        simulations(*given.paths)
    elif given.what == "read":
        read_runs(given.paths)
    else:
        read_public(given.paths)

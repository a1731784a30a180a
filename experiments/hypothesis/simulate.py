"""Can the laws be told apart? Plants each of them in simulated trials of the published protocol, and fits all five.

    python experiments/hypothesis/simulate.py              # 100 draws a law, two minutes; writes simulations.csv
    python experiments/hypothesis/simulate.py --draws 10

30 numbers of boundaries × 5 draws; the steps scatter by a log-normal factor with sigma 0.25, and one trial in ten meets
the cap. "fewer" in the CSV file is what the four laws without the fifth, the offset power law, say of the same trials.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partinr.studies import Growth, Trials, fit_laws

HERE = Path(__file__).parent
FIFTH = "offset power law"

Numbers = NDArray[np.float64]
Steps = Callable[[Numbers], Numbers]

BOUNDARIES: Numbers = np.repeat(np.arange(1.0, 60, 2), 5)

PLANTED: Mapping[str, tuple[str, Steps]] = {
    "40 · 1.08^b": ("exponential", lambda b: 40 * 1.08**b),
    "20 · b^1.2": ("power law", lambda b: 20 * b**1.2),
    "22 + 0.0105 · b^3": (FIFTH, lambda b: 22 + 0.0105 * b**3),
    "40 + 0.15 · b^2.4": (FIFTH, lambda b: 40 + 0.15 * b**2.4),
    "60 + 2 b + 0.6 b²": ("quadratic", lambda b: 60 + 2 * b + 0.6 * b**2),
    "200 + 40 b": ("linear", lambda b: 200 + 40 * b),
}
"""By formula: the name of the law, and its steps."""


def simulate(law: Steps, draw: int, sigma: float = 0.25, capped: float = 0.1) -> Trials:
    """Trials that follow a law, a part of which meets the cap."""
    scatter = np.exp(sigma * np.random.default_rng(draw).standard_normal(BOUNDARIES.size))
    steps = np.ceil(law(BOUNDARIES) * scatter)
    cap = np.quantile(steps, 1 - capped)
    return Trials(BOUNDARIES, np.minimum(steps, cap), steps > cap)


def said(growth: Growth) -> str:
    """The law that is clearly favoured; ``undecided`` if none is."""
    return growth.best.law.name if growth.clear else "undecided"


def rows(formula: str, draws: int) -> list[dict[str, str | int]]:
    """What is said of each draw of a planted law."""
    name, law = PLANTED[formula]
    found: list[dict[str, str | int]] = []
    for draw in range(draws):
        growth = fit_laws(simulate(law, draw))
        fewer = replace(growth, fits=tuple(fit for fit in growth.fits if fit.law.name != FIFTH))
        row: dict[str, str | int] = {"planted": formula, "law": name, "draw": draw, "best": growth.best.law.name}
        found.append({**row, "said": said(growth), "fewer": said(fewer)})
    return found


def main() -> None:
    """Write what is said of every draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100, help="draws of each law")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "simulations.csv", help="the file to write")
    given = parser.parse_args()
    found = [row for formula in PLANTED for row in rows(formula, given.draws)]
    with given.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main()

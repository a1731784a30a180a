"""The table of this study, from its run directories.

    python experiments/hypothesis/table.py outputs/hypothesis

"R²": of the logarithm of the steps of single trials, capped ones as censored, exponential and power law. "R² of means":
likewise of the mean logarithm of each number of boundaries, by least squares and with capped trials as if they had
converged at the cap, which is how the public code looks at its runs.
"""

from __future__ import annotations

import sys

import numpy as np

from partinr.studies import Trials, settings_of


def of_means(trials: Trials, logarithmic: bool) -> float:
    """R² of a straight line through the mean logarithms, over the boundaries or over their logarithm."""
    counts = np.unique(trials.boundaries)
    means = [trials.log_steps[trials.boundaries == count].mean() for count in counts]
    return float(np.corrcoef(np.log(counts) if logarithmic else counts, means)[0, 1] ** 2)


def main(folders: list[str]) -> None:
    """Print it as Markdown, a row a setting."""
    print("| setting | parameters | trials | capped | R² | R² of means | p, 95 % interval | weights | lack of fit |")
    print("|---|---:|---:|---:|---|---|---|---|---:|")
    for setting in settings_of(folders):
        trials, growth = setting.trials, setting.growth
        low, high = growth.base_interval
        raw = "{:.2f}, {:.2f}".format(*(growth.fit(name).r_squared for name in ("exponential", "power law")))
        means = f"{of_means(trials, False):.2f}, {of_means(trials, True):.2f}"
        capped = int(trials.censored.sum())
        weights = ", ".join(f"{fit.law.name} {fit.weight:.2f}" for fit in growth.fits if fit.weight >= 0.005)
        print(
            f"| {setting.label} | {setting.parameters:,} | {len(trials.steps)} | {capped} | {raw} | {means} | "
            f"{growth.base:.4f} ({low:.4f} to {high:.4f}) | {weights} | {growth.lack_of_fit:.2g} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])

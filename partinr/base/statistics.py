"""Statistics of comparisons: tests, corrections, intervals, and times that some runs never reach.

- Student 1908 and Welch 1947: tests of two means.
- Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
- Efron, Better bootstrap confidence intervals, Journal of the American Statistical Association 82, 1987 (BCa).
- Royston and Parmar, Restricted mean survival time, BMC Medical Research Methodology 13, 2013.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 9_999
"""Samples of a bootstrap."""

_CHUNK = 1_000_000
"""Numbers of samples that are drawn at once."""


def paired(pairs: Sequence[tuple[float, float]]) -> float:
    """The two-sided p-value of a paired t-test of at least two pairs."""
    differences = [first - second for first, second in pairs]
    mean, variance = statistics.fmean(differences), statistics.variance(differences) / len(differences)
    return _p_value(mean, variance, len(differences) - 1)


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p-value of Welch's t-test of two samples of at least two numbers each."""
    parts = [(statistics.variance(sample) / len(sample), len(sample) - 1) for sample in (first, second)]
    variance = sum(part for part, _ in parts)
    # Welch and Satterthwaite's degrees of freedom.
    freedom = variance**2 / sum(part**2 / count for part, count in parts) if variance else 1.0
    return _p_value(statistics.fmean(first) - statistics.fmean(second), variance, freedom)


def _p_value(difference: float, variance: float, freedom: float) -> float:
    """The probability of a difference of this size or more if the means are equal, by Student's distribution."""
    from scipy import special  # here, since its import takes a third of a second

    if not variance:
        return 0.0 if difference else 1.0
    return float(2 * special.stdtr(freedom, -abs(difference) / math.sqrt(variance)))


def critical_values(level: float, points: int) -> list[float]:
    """The size of Student's t from which a two-sided test is significant, for 1 / degrees of freedom from 0 to 1.

    Args:
        level: level of significance.
        points: number of values, at equal distances of 1 / degrees of freedom.
    """
    from scipy import special  # here, since its import takes a third of a second

    freedoms = [math.inf, *((points - 1) / place for place in range(1, points))]
    return [float(-special.stdtrit(min(freedom, 1e9), level / 2)) for freedom in freedoms]


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, adjusted so that any false positive has at most the level's probability."""
    adjusted, highest = list(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def restricted_means(*groups: Sequence[tuple[float, bool]]) -> tuple[list[float], float]:
    """The mean time to an event in each group, of which every time counts at most the same horizon.

    Until the horizon every run was watched, so late runs are not left out and none has to be extrapolated. The mean is
    a lower bound of the mean time; it is the mean time if every run arrived.

    Args:
        groups: of each run the time of its arrival and True, or of its end and False.

    Returns:
        the means, and the horizon: the first end of a run that had not arrived, infinite if all arrived.
    """
    horizon = min((time for group in groups for time, arrived in group if not arrived), default=math.inf)
    return [statistics.fmean(min(time, horizon) for time, _ in group) for group in groups], horizon


def bootstrap(
    columns: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    level: float = 0.95,
) -> tuple[float, float]:
    """The BCa interval of a statistic of means over pairs, with pairs drawn whole; the same numbers every time.

    Args:
        columns: measurements of each pair, ``[columns][pairs]``, of at least two pairs.
        statistic: from means ``[columns, n]`` to ``[n]``, such as the difference or ratio of the rows.
        level: probability that the interval covers the true value.
    """
    import numpy as np
    from scipy import special

    pairs, rng = columns.shape[1], np.random.default_rng(0)
    each = max(1, _CHUNK // pairs)
    sizes = [min(each, RESAMPLES - start) for start in range(0, RESAMPLES, each)]
    drawn = np.concatenate([statistic(columns[:, rng.integers(pairs, size=(n, pairs))].mean(axis=2)) for n in sizes])
    value = statistic(columns.mean(axis=1, keepdims=True))[0]
    without = statistic((columns.sum(axis=1, keepdims=True) - columns) / (pairs - 1))
    centred = without.mean() - without
    spread = (centred**2).sum()
    if not spread > 0 or np.ptp(drawn) == 0:
        return float(value), float(value)
    skew = (centred**3).sum() / (6 * spread**1.5)
    # Ties count half, as for the rank of a percentile.
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = special.ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    edges = bias + special.ndtri([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(drawn, special.ndtr(bias + edges / (1 - skew * edges)))
    return float(low), float(high)

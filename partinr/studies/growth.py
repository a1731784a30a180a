"""How do steps grow with boundaries? Laws of growth, fitted to single trials of which some met the cap.

The error model is the same for all laws, so that their likelihoods can be compared: the steps of a trial are the law's
times a log-normal factor,

    log(steps) = log(law(boundaries)) + sigma · e,    e normal,

with one sigma for all boundaries, since trials scatter by a factor and not by a number of steps. A trial that met the
cap is right-censored: it counts with the probability of more steps than the cap, not as if it had converged there. Laws
and sigma are fitted by maximum likelihood to the raw trials, and nothing is averaged or smoothed before.

Laws are compared by the Bayesian information criterion and the weights that follow from it as Akaike's do from his. The
quadratic contains the linear law, and AICc would prefer it in one of six samples of which the linear law is true,
however large; with BIC that becomes rarer the more trials there are.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from partinr.base.errors import PartinrError

Numbers = NDArray[np.float64]

CLEAR = 0.95
"""From this weight on a law is said to be favoured clearly.

Laws that contain it do not count there: where it is true they are true as well, and BIC cannot give it more than
sqrt(n) times their weight. Such a law must only be behind it, by :data:`BEHIND`.
"""

BEHIND = 2.0
"""Difference in BIC from which on there is something to be said against a law (Raftery 1995: positive evidence)."""

_SMALLEST = 1e-3
"""Value of sigma: steps are whole numbers, and trials that are exactly alike would have none."""

LACK = 0.01
"""Below this probability of as much lack of fit by chance a law is said not to describe the trials."""


@dataclass(frozen=True, eq=False)
class Trials:
    """What is fitted.

    Attributes:
        boundaries: ``[n]``, above 0: how many there are, or the length of the edges of an image.
        steps: ``[n]``, 1 or more; of a trial that met the cap, the cap.
        censored: ``[n]``, whether it did.

    Raises:
        PartinrError: too few trials, or too few numbers of boundaries, or all met the cap.
    """

    boundaries: Numbers
    steps: Numbers
    censored: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check that laws can be told apart."""
        counts = np.unique(self.boundaries)
        if len(counts) < 4 or len(self.steps) < 8:
            raise PartinrError(
                f"{len(self.steps)} trials of {len(counts)} numbers of boundaries cannot tell laws of growth apart; "
                "there must be 8 of 4 at least: give more data.counts or data.draws, or more images"
            )
        converged = np.unique(self.boundaries[~self.censored])
        if len(converged) < 3:
            raise PartinrError(
                f"{int(self.censored.sum())} of {len(self.steps)} trials met the cap, and the others are of fewer than "
                "3 numbers of boundaries; give more max_steps, a higher regime.threshold, or smaller data.counts"
            )

    @property
    def log_steps(self) -> Numbers:
        """``[n]``."""
        return np.log(self.steps)


class Law(ABC):
    """A law of growth, in parameters that may have any value.

    Every law is positive from the smallest to the largest number of boundaries. They are given as ``t``, 0 at the
    smallest and 1 at the largest, and the parameters are mostly logarithms of steps at the ends, so that all fits are
    equally well scaled.
    """

    name: ClassVar[str]
    parameters: ClassVar[int]
    """How many, sigma not counted."""
    contains: ClassVar[frozenset[str]] = frozenset()
    """Laws that are special cases of it."""

    @abstractmethod
    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """The logarithm of the steps, and its derivatives.

        Args:
            theta: ``[parameters]``.
            boundaries: ``[n]``.
            low: smallest of the fitted ones.
            high: largest.

        Returns:
            ``[n]`` and ``[n, parameters]``.
        """

    @abstractmethod
    def start(self, ends: tuple[float, float, float]) -> list[Numbers]:
        """Where to begin.

        Args:
            ends: the logarithm of about the steps at the smallest, middle and largest number of boundaries.
        """

    @abstractmethod
    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """The law with its numbers, of the boundaries b."""


class _LogLinear(Law):
    """A straight line in the logarithm of the steps over some scale of the boundaries."""

    parameters = 2

    @abstractmethod
    def scale(self, boundaries: Numbers) -> Numbers:
        """The scale."""

    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """See :meth:`Law.log`."""
        first, last = self.scale(np.array([low, high]))
        t = (self.scale(boundaries) - first) / (last - first)
        slopes = np.stack([1 - t, t], axis=1)
        return slopes @ theta, slopes

    def start(self, ends: tuple[float, float, float]) -> list[Numbers]:
        """See :meth:`Law.start`."""
        return [np.array([ends[0], ends[2]])]

    def slope(self, theta: Numbers, low: float, high: float) -> float:
        """Of the line."""
        first, last = self.scale(np.array([low, high]))
        return float((theta[1] - theta[0]) / (last - first))


class Exponential(_LogLinear):
    """``a · p^b``."""

    name = "exponential"

    def scale(self, boundaries: Numbers) -> Numbers:
        """The boundaries themselves."""
        return boundaries

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        slope = self.slope(theta, low, high)
        return f"{math.exp(theta[0] - slope * low):.4g} · {math.exp(slope):.4f}^b"


class Power(_LogLinear):
    """``a · b^k``."""

    name = "power law"

    def scale(self, boundaries: Numbers) -> Numbers:
        """Their logarithm."""
        return np.log(boundaries)

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        slope = self.slope(theta, low, high)
        return f"{math.exp(theta[0] - slope * math.log(low)):.4g} · b^{slope:.3f}"


class Linear(Law):
    """``a + c · b``."""

    name = "linear"
    parameters = 2

    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """See :meth:`Law.log`."""
        t = (boundaries - low) / (high - low)
        pieces = np.stack([(1 - t) * np.exp(theta[0]), t * np.exp(theta[1])], axis=1)
        steps = pieces.sum(axis=1)
        return np.log(steps), pieces / steps[:, None]

    def start(self, ends: tuple[float, float, float]) -> list[Numbers]:
        """See :meth:`Law.start`."""
        return [np.array([ends[0], ends[2]])]

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        slope = (math.exp(theta[1]) - math.exp(theta[0])) / (high - low)
        return f"{math.exp(theta[0]) - slope * low:.4g} {slope:+.4g} b"


class Quadratic(Law):
    """``a + c · b + d · b²``.

    With A and B at the ends it is ``(sqrt(A) (1 - t) - sqrt(B) t)² + 2 w t (1 - t)``, and positive between them for
    every w above 0 and for no other.
    """

    name = "quadratic"
    parameters = 3
    contains = frozenset({"linear"})

    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """See :meth:`Law.log`."""
        t = (boundaries - low) / (high - low)
        left, right = (1 - t) * np.exp(theta[0] / 2), t * np.exp(theta[1] / 2)
        middle = 2 * t * (1 - t) * np.exp(theta[2])
        steps = (left - right) ** 2 + middle
        by_theta = np.stack([(left - right) * left, (right - left) * right, middle], axis=1)
        return np.log(steps), by_theta / steps[:, None]

    def start(self, ends: tuple[float, float, float]) -> list[Numbers]:
        """A straight line, and the parabola through the three points."""
        low, middle, high = ends
        line = 2 * math.log((math.exp(low / 2) + math.exp(high / 2)) / math.sqrt(2))
        # At t = 1/2 it is (sqrt(A) - sqrt(B))² / 4 + w / 2.
        through = 2 * math.exp(middle) - (math.exp(low / 2) - math.exp(high / 2)) ** 2 / 2
        second = math.log(through) if through > 0 else line - 2
        return [np.array([low, high, line]), np.array([low, high, second])]

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        a, b, w = np.exp(theta)
        # In t: A + c t + d t².
        d = a + b + 2 * math.sqrt(a * b) - 2 * w
        c = b - a - d
        width = high - low
        square = d / width**2
        slope = c / width - 2 * square * low
        return f"{a - slope * low - square * low**2:.4g} {slope:+.4g} b {square:+.4g} b²"


LAWS: tuple[Law, ...] = (Exponential(), Power(), Quadratic(), Linear())


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to trials.

    Attributes:
        law: which.
        theta: its parameters.
        sigma: of the logarithm of the steps.
        log_likelihood: at its largest.
        bic: Bayesian information criterion; lower is better.
        weight: of the law among all that were fitted, 0 … 1.
        r_squared: how much of the variance of the logarithm of the steps it accounts for, 1 at most: without capped
            trials the R² of regression; with them both variances are those of the largest likelihood.
        formula: with its numbers.
        low: smallest number of boundaries.
        high: largest.
    """

    law: Law
    theta: Numbers
    sigma: float
    log_likelihood: float
    bic: float
    weight: float
    r_squared: float
    formula: str
    low: float
    high: float

    def __call__(self, boundaries: Numbers) -> Numbers:
        """The steps of the law: the median of the trials with so many boundaries."""
        return np.exp(self.law.log(self.theta, boundaries, self.low, self.high)[0])


@dataclass(frozen=True, eq=False)
class Growth:
    """What trials say about the law of growth.

    Attributes:
        trials: what was fitted.
        fits: of all laws, the best first.
        base: p of the exponential law ``a · p^b``.
        base_interval: its 95 % interval by profile likelihood.
        lack_of_fit: of the best law: the probability that trials which follow it lie as far from it as these.
    """

    trials: Trials
    fits: tuple[Fit, ...]
    base: float
    base_interval: tuple[float, float]
    lack_of_fit: float

    @property
    def best(self) -> Fit:
        """The law of the highest weight."""
        return self.fits[0]

    def fit(self, name: str) -> Fit:
        """The fit of a law."""
        return next(fit for fit in self.fits if fit.law.name == name)

    @property
    def clear(self) -> bool:
        """Whether the best law is favoured clearly."""
        best = self.best
        rivals = [fit for fit in self.fits if best.law.name not in fit.law.contains]
        above = [fit for fit in self.fits if best.law.name in fit.law.contains]
        among = best.weight / sum(fit.weight for fit in rivals)
        return among >= CLEAR and all(fit.bic - best.bic >= BEHIND for fit in above)

    @property
    def _falls(self) -> tuple[float, float] | None:
        """Where the best law falls, if that is over more than a tenth of the numbers of boundaries."""
        grid = np.linspace(self.best.low, self.best.high, 201)
        falling = np.flatnonzero(np.diff(self.best(grid)) < 0)
        if len(falling) <= len(grid) // 10:
            return None
        return float(grid[falling[0]]), float(grid[falling[-1] + 1])

    @property
    def verdict(self) -> str:
        """What the trials say, in a few sentences."""
        best, second = self.fits[:2]
        ahead = f"weight {best.weight:.2f}, {second.bic - best.bic:.1f} in BIC before the {_noun(second.law)}"
        if self.clear:
            said = f"The trials favour the {_noun(best.law)} clearly ({ahead})."
        else:
            said = f"Undecided: the {_noun(best.law)} is ahead, but not clearly ({ahead})."
        if self.lack_of_fit < LACK:
            said += (
                " It is the best of the four and no good description: trials that follow it would lie so far from it "
                f"in {_chance(self.lack_of_fit)} of all samples."
            )
        if falls := self._falls:
            said += f" It falls from {falls[0]:.3g} to {falls[1]:.3g}: it describes the trials and is no law of growth."
        low, high = self.base_interval
        if low <= 1 <= high:
            said += " Growth with boundaries is not shown: the interval of p contains 1."
        return said


def _noun(law: Law) -> str:
    return law.name if law.name.endswith("law") else f"{law.name} law"


def _chance(probability: float) -> str:
    return "fewer than 1 in 10,000" if probability < 1e-4 else f"{probability:.2%}"


def fit_laws(trials: Trials, laws: Sequence[Law] = LAWS) -> Growth:
    """Fit laws to trials and compare them.

    Args:
        trials: of one setting.
        laws: the exponential must be among them.
    """
    n = len(trials.steps)
    low, high = float(trials.boundaries.min()), float(trials.boundaries.max())
    spread = _spread(trials)
    found = []
    for law in laws:
        theta, sigma, likelihood = _fit(law, trials, low, high)
        bic = (law.parameters + 1) * math.log(n) - 2 * likelihood
        explained, formula = 1 - (sigma / spread) ** 2, law.formula(theta, low, high)
        found.append(Fit(law, theta, sigma, likelihood, bic, 0.0, explained, formula, low, high))
    weights = special.softmax([-fit.bic / 2 for fit in found])
    weighted = [replace(fit, weight=float(weight)) for fit, weight in zip(found, weights, strict=True)]
    fits = tuple(sorted(weighted, key=lambda fit: fit.bic))
    exponential = next(fit for fit in fits if isinstance(fit.law, Exponential))
    base, interval = _base(exponential, trials)
    return Growth(trials, fits, base, interval, _lack_of_fit(fits[0], trials))


def _loss(
    theta: Numbers, log_sigma: float, law: Law, trials: Trials, low: float, high: float
) -> tuple[float, Numbers, float]:
    """The negative logarithm of the likelihood, and its derivatives by ``theta`` and ``log_sigma``."""
    mean, by_theta = law.log(theta, trials.boundaries, low, high)
    value, by_mean, by_log_sigma = _normal_loss(mean, math.exp(log_sigma), trials.log_steps, trials.censored)
    return value, by_theta.T @ by_mean, by_log_sigma


def _normal_loss(
    mean: Numbers, sigma: float, log_steps: Numbers, censored: NDArray[np.bool_]
) -> tuple[float, Numbers, float]:
    """The same by the mean of each trial's logarithm."""
    z = (log_steps - mean) / sigma
    tail = special.log_ndtr(-z)
    seen = 0.5 * z**2 + math.log(sigma) + 0.5 * math.log(2 * math.pi)
    hazard = _hazard(z)
    by_mean = -np.where(censored, hazard, z) / sigma
    by_log_sigma = np.where(censored, -hazard * z, 1 - z**2).sum()
    return float(np.where(censored, -tail, seen).sum()), by_mean, float(by_log_sigma)


def _hazard(z: Numbers) -> Numbers:
    """Of a normal variable: its density over the probability of more."""
    return np.exp(-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - special.log_ndtr(-z))


def _fit(law: Law, trials: Trials, low: float, high: float) -> tuple[Numbers, float, float]:
    """Parameters, sigma and the logarithm of the likelihood, at its largest."""

    def loss(x: Numbers) -> tuple[float, Numbers]:
        value, by_theta, by_log_sigma = _loss(x[:-1], x[-1], law, trials, low, high)
        return value, np.append(by_theta, by_log_sigma)

    ends = _ends(trials, low, high)
    # Far out the likelihood is flat, and its logarithm not finite any more.
    about = float(trials.log_steps.max()) + 20
    bounds = [(-about, about)] * law.parameters + [(math.log(_SMALLEST), 4.0)]
    best = min(
        (
            optimize.minimize(loss, np.append(start, math.log(0.5)), jac=True, method="L-BFGS-B", bounds=bounds)
            for start in law.start(ends)
        ),
        key=lambda result: float(result.fun),
    )
    return best.x[:-1], math.exp(best.x[-1]), -float(best.fun)


def _spread(trials: Trials) -> float:
    """Sigma where the steps do not depend on the boundaries."""

    def loss(x: Numbers) -> tuple[float, Numbers]:
        value, by_mean, by_log_sigma = _normal_loss(
            np.full_like(trials.log_steps, x[0]), math.exp(x[1]), trials.log_steps, trials.censored
        )
        return value, np.array([by_mean.sum(), by_log_sigma])

    start = np.array([trials.log_steps.mean(), math.log(max(_SMALLEST, trials.log_steps.std()))])
    bounds = [(None, None), (math.log(_SMALLEST), 4.0)]
    return math.exp(optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x[1])


def _ends(trials: Trials, low: float, high: float) -> tuple[float, float, float]:
    """About the logarithm of the steps at the smallest, middle and largest number of boundaries."""
    slope, level = np.polyfit(trials.boundaries - low, trials.log_steps, 1)
    width = high - low
    return float(level), float(level + slope * width / 2), float(level + slope * width)


def _base(fit: Fit, trials: Trials) -> tuple[float, tuple[float, float]]:
    """The p of ``a · p^b``, and where the profile of the likelihood has fallen by what 95 % allow."""
    width = fit.high - fit.low
    best = (fit.theta[1] - fit.theta[0]) / width
    allowed = fit.log_likelihood - stats.chi2.ppf(0.95, 1) / 2

    def profile(slope: float) -> float:
        """The logarithm of the likelihood at a given slope, less what is allowed."""

        def loss(x: Numbers) -> tuple[float, Numbers]:
            theta = np.array([x[0], x[0] + slope * width])
            value, by_theta, by_log_sigma = _loss(theta, x[1], fit.law, trials, fit.low, fit.high)
            return value, np.array([by_theta.sum(), by_log_sigma])

        # The line turns about its middle, where the trials are.
        start = [fit.theta.mean() - slope * width / 2, math.log(fit.sigma)]
        return -float(optimize.minimize(loss, start, jac=True, method="L-BFGS-B").fun) - allowed

    def edge(direction: int) -> float:
        reach = 4 * fit.sigma / (width * math.sqrt(len(trials.steps)))
        while profile(best + direction * reach) > 0:
            reach *= 2
        return float(optimize.brentq(lambda slope: profile(slope), best, best + direction * reach, xtol=1e-7))

    return math.exp(best), (math.exp(edge(-1)), math.exp(edge(1)))


def _lack_of_fit(fit: Fit, trials: Trials) -> float:
    """The probability of as much lack of fit by chance.

    By the ratio of likelihoods against a mean of its own for each number of boundaries, as a variable of the F
    distribution; numbers of which all trials met the cap agree with any mean that is high enough.
    """
    counts = np.unique(trials.boundaries[~trials.censored])
    inside = np.isin(trials.boundaries, counts)
    log_steps, censored = trials.log_steps[inside], trials.censored[inside]
    group = np.searchsorted(counts, trials.boundaries[inside])
    seen = int((~censored).sum())
    degrees, left = len(counts) - fit.law.parameters, seen - len(counts)
    if degrees < 1 or left < 1:
        return 1.0
    mean, sigma = np.log(fit(counts)), fit.sigma
    for _ in range(500):
        # Expectation and maximisation: trials that met the cap stand where they are expected to have ended.
        z = (log_steps - mean[group]) / sigma
        hazard = _hazard(z)
        expected = np.where(censored, mean[group] + sigma * hazard, log_steps)
        variance = np.where(censored, sigma**2 * (1 + z * hazard - hazard**2), 0.0)
        before = mean, sigma
        mean = np.bincount(group, expected) / np.bincount(group)
        sigma = max(_SMALLEST, math.sqrt(((expected - mean[group]) ** 2 + variance).mean()))
        if max(abs(mean - before[0]).max(), abs(sigma - before[1])) < 1e-8:
            break
    free = -_normal_loss(mean[group], sigma, log_steps, censored)[0]
    # Without censoring the ratio of likelihoods is that of two sums of squares, and this is exact. As a chi-squared
    # variable it would be too large with so many means.
    ratio = (math.expm1(2 * max(0.0, free - fit.log_likelihood) / seen)) * left / degrees
    return float(stats.f.sf(ratio, degrees, left))

"""Fits laws of the growth of steps with boundaries to single trials, some of which reached the cap.

All laws have the same error model, so that their likelihoods are comparable: the steps of a trial are those of the law
times a log-normal factor,

    log(steps) = log(law(boundaries)) + sigma · e,    e normal,

with one sigma for all boundaries, since trials scatter by a factor and not by a number of steps. A trial that reached
the cap is right-censored: it contributes the probability of more steps than the cap, instead of counting as converged.
Maximum likelihood fits laws and sigma to the raw trials; nothing is averaged or smoothed first.

The Bayesian information criterion compares the laws, and their weights follow from it like Akaike weights from AIC. The
quadratic contains the linear law, and the power law with an offset contains the linear and the plain power law. If the
linear law is true, AICc would prefer the quadratic in one of six samples of any size; with BIC this becomes rarer with
more trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from partinr.base.errors import PartinrError
from partinr.studies.laws import LAWS, Exponential, Law, Numbers

CLEAR = 0.95
"""Weight from which a law counts as clearly favoured.

Laws that contain it are left out of the weight: they are true whenever it is, and BIC cannot give it more than sqrt(n)
times their weight. Such laws only have to be behind by :data:`BEHIND`.
"""

BEHIND = 2.0
"""Difference in BIC that counts against a law (Raftery 1995: positive evidence)."""

_SMALLEST = 1e-3
"""Lower bound of sigma, needed since steps are whole numbers and identical trials would make it 0."""

_SIGMAS = (math.log(_SMALLEST), 4.0)
"""Bounds of the logarithm of sigma."""

Loss = Callable[[Numbers], tuple[float, Numbers]]
"""A function of parameters and its derivatives."""

LACK = 0.01
"""Level of the test for lack of fit: below this probability, a law does not describe the trials."""


@dataclass(frozen=True, eq=False)
class Trials:
    """The trials that laws are fitted to.

    Attributes:
        boundaries: ``[n]``, above 0: number of boundaries, or length of the edges of an image.
        steps: ``[n]``, 1 or more; the cap for a trial that reached it.
        censored: ``[n]``, whether a trial reached the cap.

    Raises:
        PartinrError: there are too few trials or numbers of boundaries, or all trials reached the cap.
    """

    boundaries: Numbers
    steps: Numbers
    censored: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Refuse trials that cannot distinguish laws."""
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
        """Logarithms of the steps, ``[n]``."""
        return np.log(self.steps)


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to trials.

    Attributes:
        law: the law.
        theta: its parameters.
        sigma: standard deviation of the logarithm of the steps.
        log_likelihood: maximum of the log-likelihood.
        bic: Bayesian information criterion; lower is better.
        weight: weight of the law among all fitted laws, 0 … 1.
        r_squared: fraction of the variance of log(steps) that the law explains, at most 1. Without capped trials this
            is the R² of regression; with them, both variances are maximum-likelihood estimates.
        formula: the law with its numbers.
        low: smallest number of boundaries.
        high: largest number of boundaries.
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
        """The steps that the law predicts: the median over trials with this number of boundaries."""
        return np.exp(self.law.log(self.theta, boundaries, self.low, self.high)[0])


@dataclass(frozen=True, eq=False)
class Half:
    """The exponential law of the trials on one side of the middle number of boundaries.

    Attributes:
        where: the side, ``below 30`` or ``from 30 on``.
        base: p of ``a · p^b`` there.
        base_interval: its 95 % interval by profile likelihood.
    """

    where: str
    base: float
    base_interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.base_interval
        return f"{self.base:.4f} ({low:.4f} to {high:.4f}) {self.where}"


@dataclass(frozen=True, eq=False)
class Growth:
    """The comparison of all laws on some trials.

    Attributes:
        trials: the trials.
        fits: one per law, the best first.
        base: p of the exponential law ``a · p^b``.
        base_interval: its 95 % interval by profile likelihood.
        lack_of_fit: the probability that trials which follow the best law are as far from it as these.
    """

    trials: Trials
    fits: tuple[Fit, ...]
    base: float
    base_interval: tuple[float, float]
    lack_of_fit: float

    @property
    def best(self) -> Fit:
        """The fit with the highest weight."""
        return self.fits[0]

    def fit(self, name: str) -> Fit:
        """The fit of a law."""
        return next(fit for fit in self.fits if fit.law.name == name)

    @cached_property
    def halves(self) -> tuple[Half, ...]:
        """Factors p below and from the median number of boundaries on; empty if a half has too few trials for a law."""
        return _halves(self.trials)

    @property
    def clear(self) -> bool:
        """Whether the best law is clearly favoured."""
        best = self.best
        rivals = [fit for fit in self.fits if best.law.name not in fit.law.contains]
        above = [fit for fit in self.fits if best.law.name in fit.law.contains]
        among = best.weight / sum(fit.weight for fit in rivals)
        return among >= CLEAR and all(fit.bic - best.bic >= BEHIND for fit in above)

    @property
    def _falls(self) -> tuple[float, float] | None:
        """The interval in which the best law falls if it is longer than a tenth of the range; else None."""
        grid = np.linspace(self.best.low, self.best.high, 201)
        falling = np.flatnonzero(np.diff(self.best(grid)) < 0)
        if len(falling) <= len(grid) // 10:
            return None
        return float(grid[falling[0]]), float(grid[falling[-1] + 1])

    @property
    def verdict(self) -> str:
        """The conclusion in a few sentences."""
        best, second = self.fits[:2]
        ahead = f"weight {best.weight:.2f}, {second.bic - best.bic:.1f} in BIC before the {_noun(second.law)}"
        if self.clear:
            said = f"The trials favour the {_noun(best.law)} clearly ({ahead})."
        else:
            said = f"Undecided: the {_noun(best.law)} is ahead, but not clearly ({ahead})."
        if self.lack_of_fit < LACK:
            said += (
                " It is the best of the five and no good description: trials that follow it would lie so far from it "
                f"in {_chance(self.lack_of_fit)} of all samples."
            )
        if falls := self._falls:
            said += f" It falls from {falls[0]:.3g} to {falls[1]:.3g}: it describes the trials and is no law of growth."
        if self.halves and max(h.base_interval[0] for h in self.halves) > min(h.base_interval[1] for h in self.halves):
            said += f" p is not constant: {' and '.join(map(str, self.halves))}."
        low, high = self.base_interval
        if low <= 1 <= high:
            said += " Growth with boundaries is not shown: the interval of p contains 1."
        return said


def _noun(law: Law) -> str:
    return law.name if law.name.endswith("law") else f"{law.name} law"


def _chance(probability: float) -> str:
    return "fewer than 1 in 10,000" if probability < 1e-4 else f"{probability:.2%}"


def fit_laws(trials: Trials) -> Growth:
    """Fit laws to trials and compare them.

    Args:
        trials: trials of one setting.
    """
    found = [_fit(law, trials) for law in LAWS]
    weights = special.softmax([-fit.bic / 2 for fit in found])
    weighted = [replace(fit, weight=float(weight)) for fit, weight in zip(found, weights, strict=True)]
    fits = tuple(sorted(weighted, key=lambda fit: fit.bic))
    exponential = next(fit for fit in fits if isinstance(fit.law, Exponential))
    base, interval = _base(exponential, trials)
    return Growth(trials, fits, base, interval, _lack_of_fit(fits[0], trials))


def _normal_loss(
    mean: Numbers, log_sigma: float, log_steps: Numbers, censored: NDArray[np.bool_]
) -> tuple[float, Numbers, float]:
    """The negative log-likelihood of trials, and its derivatives by the mean of each and by ``log_sigma``."""
    sigma = math.exp(log_sigma)
    z = (log_steps - mean) / sigma
    tail = stats.norm.logsf(z)
    density = stats.norm.logpdf(z)
    hazard = np.exp(density - tail)
    value = np.where(censored, -tail, log_sigma - density).sum()
    by_mean = -np.where(censored, hazard, z) / sigma
    by_log_sigma = np.where(censored, -hazard * z, 1 - z**2).sum()
    return float(value), by_mean, float(by_log_sigma)


def _minimised(loss: Loss, start: Numbers, bounds: list[tuple[float, float]] | None = None) -> optimize.OptimizeResult:
    return optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)


def _fit(law: Law, trials: Trials) -> Fit:
    """The law at the maximum of its likelihood, without a weight."""
    low, high = float(trials.boundaries.min()), float(trials.boundaries.max())

    def loss(x: Numbers) -> tuple[float, Numbers]:
        mean, by_theta = law.log(x[:-1], trials.boundaries, low, high)
        value, by_mean, by_log_sigma = _normal_loss(mean, x[-1], trials.log_steps, trials.censored)
        return value, np.append(by_theta.T @ by_mean, by_log_sigma)

    ends = _ends(trials, low, high)
    # Far from the maximum the likelihood is flat, and its logarithm is not finite.
    about = float(trials.log_steps.max()) + 20
    bounds = [(-about, about)] * law.parameters + [_SIGMAS]
    fits = (_minimised(loss, np.append(start, math.log(0.5)), bounds) for start in law.start(ends))
    best = min(fits, key=lambda result: float(result.fun))
    theta, sigma, likelihood = best.x[:-1], math.exp(best.x[-1]), -float(best.fun)
    bic = (law.parameters + 1) * math.log(len(trials.steps)) - 2 * likelihood
    explained, formula = 1 - (sigma / _spread(trials)) ** 2, law.formula(theta, low, high)
    return Fit(law, theta, sigma, likelihood, bic, 0.0, explained, formula, low, high)


def _spread(trials: Trials) -> float:
    """Sigma if the steps did not depend on the boundaries."""
    log_steps, censored = trials.log_steps, trials.censored

    def loss(x: Numbers) -> tuple[float, Numbers]:
        value, by_mean, by_log_sigma = _normal_loss(np.full_like(log_steps, x[0]), x[1], log_steps, censored)
        return value, np.array([by_mean.sum(), by_log_sigma])

    start = np.array([log_steps.mean(), math.log(max(_SMALLEST, log_steps.std()))])
    return math.exp(_minimised(loss, start, [(-math.inf, math.inf), _SIGMAS]).x[1])


def _ends(trials: Trials, low: float, high: float) -> tuple[float, float, float]:
    """Approximate logarithms of the steps at the smallest, middle and largest number of boundaries."""
    slope, level = np.polyfit(trials.boundaries - low, trials.log_steps, 1)
    width = high - low
    return float(level), float(level + slope * width / 2), float(level + slope * width)


def _base(fit: Fit, trials: Trials) -> tuple[float, tuple[float, float]]:
    """The p of ``a · p^b``, and its 95 % interval by profile likelihood."""
    width = fit.high - fit.low
    best = (fit.theta[1] - fit.theta[0]) / width
    allowed = fit.log_likelihood - stats.chi2.ppf(0.95, 1) / 2

    def profile(slope: float) -> float:
        """The log-likelihood at a given slope, minus the threshold of the interval."""

        def loss(x: Numbers) -> tuple[float, Numbers]:
            mean, _ = fit.law.log(np.array([x[0], x[0] + slope * width]), trials.boundaries, fit.low, fit.high)
            value, by_mean, by_log_sigma = _normal_loss(mean, x[1], trials.log_steps, trials.censored)
            return value, np.array([by_mean.sum(), by_log_sigma])

        # The line rotates about its middle, where the trials are.
        start = np.array([fit.theta.mean() - slope * width / 2, math.log(fit.sigma)])
        return -float(_minimised(loss, start, [(-math.inf, math.inf), _SIGMAS]).fun) - allowed

    def edge(direction: int) -> float:
        reach = 4 * fit.sigma / (width * math.sqrt(len(trials.steps)))
        while profile(best + direction * reach) > 0:
            reach *= 2
        return float(optimize.brentq(profile, best, best + direction * reach, xtol=1e-7))

    return math.exp(best), (math.exp(edge(-1)), math.exp(edge(1)))


def _halves(trials: Trials) -> tuple[Half, ...]:
    """The exponential law on both sides of the median number of boundaries; none if a side has too few trials."""
    middle = float(np.median(trials.boundaries))
    below = trials.boundaries < middle
    halves = []
    for where, own in ((f"below {middle:.3g}", below), (f"from {middle:.3g} on", ~below)):
        try:
            half = Trials(trials.boundaries[own], trials.steps[own], trials.censored[own])
        except PartinrError:
            return ()
        halves.append(Half(where, *_base(_fit(Exponential(), half), half)))
    return tuple(halves)


def _lack_of_fit(fit: Fit, trials: Trials) -> float:
    """The probability of this much lack of fit by chance.

    The likelihood is compared with that of a free mean for each number of boundaries, and the ratio is treated as
    F-distributed. Numbers whose trials all reached the cap agree with any sufficiently high mean.
    """
    counts = np.unique(trials.boundaries[~trials.censored])
    inside = np.isin(trials.boundaries, counts)
    log_steps, censored = trials.log_steps[inside], trials.censored[inside]
    group = np.searchsorted(counts, trials.boundaries[inside])
    seen = int((~censored).sum())
    degrees, left = len(counts) - fit.law.parameters, seen - len(counts)
    if degrees < 1 or left < 1:
        return 1.0

    def loss(x: Numbers) -> tuple[float, Numbers]:
        value, by_mean, by_log_sigma = _normal_loss(x[:-1][group], x[-1], log_steps, censored)
        return value, np.append(np.bincount(group, by_mean), by_log_sigma)

    start = np.append(np.log(fit(counts)), math.log(fit.sigma))
    free = -float(_minimised(loss, start, [(-math.inf, math.inf)] * len(counts) + [_SIGMAS]).fun)
    # Without censoring this is exact, since the ratio of likelihoods is that of two sums of squares. With so many
    # means, a chi-squared approximation would be too large.
    ratio = (math.expm1(2 * max(0.0, free - fit.log_likelihood) / seen)) * left / degrees
    return float(stats.f.sf(ratio, degrees, left))

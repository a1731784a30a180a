"""Statistics agree with SciPy, with published examples and with simulations."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from partinr.base import statistics
from partinr.base.statistics import bootstrap, critical_values, holm, paired, restricted_means, welch


def test_the_tests_are_those_of_scipy():
    first, second = [30.1, 30.4, 29.8, 31.0], [29.0, 30.2, 28.8]
    assert welch(first, second) == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue, abs=1e-5)
    pairs = list(zip(first, second, strict=False))
    assert paired(pairs) == pytest.approx(stats.ttest_rel(first[:3], second).pvalue, abs=1e-5)
    assert welch([1.0, 3.0], [2.0, 2.5]) == pytest.approx(
        stats.ttest_ind([1.0, 3.0], [2.0, 2.5], equal_var=False).pvalue, abs=1e-4
    )
    assert (welch([1, 1], [2, 2]), welch([1, 1], [1, 1]), paired([(1, 2), (2, 3)])) == (0, 1, 0)


def test_critical_values_decide_as_the_tests_do():
    values = critical_values(0.05, 201)
    places = np.linspace(0, 1, len(values))
    assert values[0] == pytest.approx(1.959964)
    for freedom in (1, 1.3, 1.9, 2.7, 4, 9.5, 30, 400):
        exact = stats.t.ppf(0.975, freedom)
        assert np.interp(1 / freedom, places, values) == pytest.approx(exact, rel=1e-3)


def test_holm_is_the_textbook_example():
    # Goeman and Solari 2014, and R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def difference(means):
    return means[0] - means[1]


def ratio(means):
    return means[0] / means[1]


@pytest.mark.parametrize("statistic", [difference, ratio])
def test_the_bootstrap_is_that_of_scipy(statistic):
    rng = np.random.default_rng(1)
    columns = rng.gamma(2.0, size=(2, 12)) + 1
    theirs = stats.bootstrap(
        tuple(columns),
        lambda a, b, axis: statistic(np.stack([a.mean(axis=axis), b.mean(axis=axis)])),
        n_resamples=9_999,
        paired=True,
        method="BCa",
        rng=np.random.default_rng(2),
    ).confidence_interval
    found = bootstrap(columns, statistic)
    assert found == pytest.approx(tuple(theirs), abs=0.03 * (theirs.high - theirs.low))
    assert bootstrap(columns, statistic) == found
    assert bootstrap(np.array([[2.0, 3.0, 4.0], [1.0, 2.0, 3.0]]), difference) == (1.0, 1.0)


def test_the_interval_covers_the_mean_nearly_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        shared = rng.normal(0, 5, 24)
        low, high = bootstrap(np.stack([shared + rng.normal(1, 1, 24), shared]), difference)
        covered += low <= 1 <= high
    # 95 %, somewhat less with 24 pairs, give or take three standard deviations of 200 samples.
    assert 178 <= covered <= 199


def test_the_restricted_mean_is_the_area_under_the_curve_of_kaplan_and_meier():
    group = [(120.0, True), (300.0, True), (500.0, False), (410.0, True), (600.0, False), (550.0, True)]
    (mean,), horizon = restricted_means(group)
    assert horizon == 500
    watched = stats.CensoredData(
        uncensored=[time for time, arrived in group if arrived], right=[time for time, arrived in group if not arrived]
    )
    curve = stats.ecdf(watched).sf
    times = [0.0, *(float(time) for time in curve.quantiles if time < horizon), horizon]
    area = sum((end - start) * curve.evaluate(start) for start, end in pairwise(times))
    assert mean == pytest.approx(area)
    assert mean == pytest.approx((120 + 300 + 500 + 410 + 500 + 500) / 6)
    # Groups that are compared share the horizon; where all arrive, it is the mean.
    assert restricted_means(group, [(700.0, True)]) == ([mean, 500.0], 500.0)
    assert restricted_means([(3.0, True), (5.0, True)]) == ([4.0], math.inf)

"""Divides a total number of parameters between regions.

``equal``
    every region's network has the same width (Liu et al., ICCV 2023).
``area``
    parameters in proportion to the samples of a region.
``detail``
    parameters in proportion to the gradient energy of a region, so that regions with more detail get more.
``balanced``
    parameters in proportion to a low power of the gradient energy (:data:`BALANCE`). The error of a region falls as a
    power of its parameters, so the least total error gives hard regions only somewhat more.
``error``
    by a low power (:data:`BY_ERROR`) of the squared error of a region after a short fit with equal widths, which only a
    run can make (:mod:`partinr.regimes.fit.probe`).

Widths are rounded to a geometric ladder, so that similar regions share a stack: a few stacks of equal networks are
fast, a hundred different networks are not. Widths of ``balanced`` differ less, so its ladder is finer.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from partinr.backbones import Backbone
from partinr.backbones.base import width_between
from partinr.base.environment import door
from partinr.base.errors import PartinrError, check_choice
from partinr.partition import Grid, Partition, PartitionRule
from partinr.signals import region_detail

Capacity = Literal["equal", "area", "detail", "balanced", "error"]
CAPACITIES: tuple[str, ...] = get_args(Capacity)

BALANCE = 0.2
"""Power of the gradient energy in ``balanced``; 0 would be ``equal``, 1 ``detail`` (experiments/fast)."""

BY_ERROR = 0.35
"""Power of the error in ``error``. If the error of a region falls as its parameters to the power -a, the least total
error gives each region parameters in proportion to the power 1 / (1 + a) of its error at equal widths. a is about 2."""

PROBED: tuple[str, ...] = ("error",)
"""Those that follow from the error of a short fit."""

LEAST_ERROR = 1e-3
"""Least error of a region, in parts of the mean, so that a region that a short fit meets exactly gets parameters."""

STEPS_TO_DOUBLE = {"area": 2, "detail": 2, "balanced": 16, "error": 16}
"""Number of ladder steps in which the width doubles: with 2 a width differs by at most 19 % from the proportional one,
with 16 by 2 %."""

NARROWEST = 4
"""Least width, unless equal networks are narrower. One or two sines per layer do not even fit a flat sky."""


PARAMETERS_A_REGION = {"cpu": 370, "cuda": 370}
"""Approximate parameters of a region with ``partition.regions=auto``.

The number for CPUs was fitted (experiments/fast); the one for GPUs is a guess.
"""

FEWEST_SAMPLES = 64
"""Least samples of a region with ``partition.regions=auto``."""


def best_regions(parameters: int, samples: int, device: str = "cpu") -> int:
    """The number of regions with which a parameter budget reaches high quality fastest.

    More regions with thinner networks cost less per step and contain fewer boundaries each, but fewer pixels share a
    network. In a sweep over 128² to 512² pixels and 12,500 to 400,000 parameters, the best networks had 280 to 510
    parameters. Differences within that range were noise, so one number serves all cases.

    Args:
        parameters: total number.
        samples: number of samples of the signal.
        device: ``cpu`` or ``cuda``.
    """
    return max(1, min(round(parameters / PARAMETERS_A_REGION[device]), samples // FEWEST_SAMPLES))


@door
def settle_regions(rule: PartitionRule, backbone: Backbone, signal: Tensor, device: str = "cpu") -> PartitionRule:
    """A rule whose ``regions="auto"`` is replaced by a number; any other rule unchanged.

    Args:
        rule: the rule.
        backbone: its ``match_params`` is the budget. Since widths are whole numbers, the result is the number of
            regions near the best one that comes closest to the budget.
        signal: float32 ``[*grid, C]``; a grid has nearly square or cubic boxes.
        device: ``cpu`` or ``cuda``.

    Raises:
        PartinrError: a width is given instead of a budget.
    """
    if getattr(rule, "regions", None) != "auto":
        return rule
    budget = backbone.match_params
    if backbone.hidden_features is not None or budget is None:
        raise PartinrError(
            "partition.regions=auto follows from a number of parameters; give backbone.match_params and "
            "backbone.hidden_features=null, or a number of regions"
        )
    shape, channels = tuple(signal.shape[:-1]), signal.shape[-1]
    best = best_regions(budget, math.prod(shape), device)
    if not isinstance(rule, Grid):
        return rule.about(best)
    near = range(max(1, round(0.8 * best)), round(1.25 * best) + 1)
    grids = {_nearly_cubes(regions, shape) for regions in near}

    def cost(grid: tuple[int, ...]) -> float:
        """Distance of a grid from the budget and, with less weight, from the best number of regions."""
        regions = math.prod(grid)
        width = backbone.width_for(budget, regions, len(shape), channels)
        parameters = regions * backbone.with_width(width).parameters(len(shape), channels)
        return abs(math.log(parameters / budget)) + 0.1 * abs(math.log(regions / best))

    grid = min(sorted(grids), key=cost)
    options = {"rows": grid[0], "cols": grid[1]} if len(grid) == 2 else {"shape": grid}
    return dataclasses.replace(rule, regions=None, **options)


def _nearly_cubes(regions: float, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Parts along each axis, for about ``regions`` nearly square or cubic parts of a grid of samples."""
    if not shape:
        return ()
    wanted = (regions * shape[0] ** len(shape) / math.prod(shape)) ** (1 / len(shape))
    first = min(shape[0], max(1, round(wanted)))
    return first, *_nearly_cubes(regions / first, shape[1:])


@door
def shares(capacity: Capacity, partition: Partition, signal: Tensor, error: Tensor | None = None) -> Tensor:
    """The fraction of all parameters that each region should have.

    Args:
        capacity: the rule.
        partition: partition of the signal.
        signal: float32 ``[*grid, C]``.
        error: float64 ``[*grid]``, squared error of each sample after a short fit, for those that are :data:`PROBED`.

    Returns:
        float64 ``[R]``, above 0, summing to 1.

    Raises:
        PartinrError: the capacity is unknown, or it follows from an error that is not given.
    """
    check_choice("capacity", capacity, CAPACITIES)
    sizes = partition.sizes.double()
    weights = torch.ones_like(sizes)
    if capacity == "area":
        weights = sizes
    elif capacity in PROBED:
        if error is None:
            raise PartinrError(f"capacity={capacity} follows from the error of a short fit; choose capacity=balanced")
        found = torch.bincount(partition.labels.reshape(-1), weights=error.reshape(-1).double())
        weights = found.clamp(min=LEAST_ERROR * float(found.mean()) or 1.0) ** BY_ERROR
    elif capacity != "equal":
        detail = region_detail(signal.detach().cpu(), partition.labels, partition.regions)
        weights = detail if capacity == "detail" else detail**BALANCE
    return weights / weights.sum()


@door
def widths(
    capacity: Capacity, backbone: Backbone, partition: Partition, signal: Tensor, error: Tensor | None = None
) -> tuple[int, ...] | None:
    """The hidden width of each region's network.

    Args:
        capacity: how parameters are divided.
        backbone: the total is its ``match_params``, or that of R networks with its ``hidden_features``.
        partition: partition of the signal.
        signal: float32 ``[*grid, C]``.
        error: as for :func:`shares`.

    Returns:
        R widths whose parameters come as close to the total as the ladder allows; None for ``equal``, where all
        networks have the width of the backbone.

    Raises:
        PartinrError: the total is too small for R networks, or as for :func:`shares`.
    """
    deserved = shares(capacity, partition, signal, error)
    if capacity == "equal":
        return None
    features = len(partition.shape), signal.shape[-1]
    equal = backbone.sized(partition.regions, *features).hidden_features
    assert equal is not None
    if backbone.hidden_features is None and backbone.match_params is not None:
        budget = backbone.match_params
    else:
        budget = partition.regions * backbone.with_width(equal).parameters(*features)

    @cache
    def cost(width: int) -> int:
        return backbone.with_width(width).parameters(*features)

    steps = STEPS_TO_DOUBLE[capacity]
    rungs = [round(steps * math.log2(width_between(budget * share, cost) / equal)) for share in deserved.tolist()]

    def at(base: float) -> tuple[int, ...]:
        narrowest = min(NARROWEST, equal)
        return tuple(max(narrowest, round(base * 2 ** (rung / steps))) for rung in rungs)

    def total(chosen: tuple[int, ...]) -> int:
        return sum(count * cost(width) for width, count in Counter(chosen).items())

    # Move the ladder as a whole until the total fits.
    low, high = 0.0, 1.0
    while total(at(high)) < budget:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if total(at(middle)) < budget else (low, middle)
    return min(at(low), at(high), key=lambda chosen: abs(total(chosen) - budget))

"""How many parameters each region gets, at the same number in all.

``equal``
    every region's network has the same width (Liu et al., ICCV 2023).
``area``
    parameters in proportion to the samples of a region.
``detail``
    parameters in proportion to the gradient energy of a region: where there is more to see, there is more to see it
    with.

Widths are steps of a ladder, each the square root of two times the one below, so that regions that deserve about the
same share one stack: a few stacks of equal networks are fast, a hundred different networks are not.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import torch
from torch import Tensor

from partinr.backbones import Backbone
from partinr.base.errors import PartinrError
from partinr.partition import Grid, Partition, PartitionRule
from partinr.signals import region_detail

Capacity = Literal["equal", "area", "detail"]
CAPACITIES: tuple[str, ...] = get_args(Capacity)

STEPS_TO_DOUBLE = 2
"""Steps of the ladder while the width doubles: a region is at most 19 % wider or narrower than its share."""

NARROWEST = 4
"""No network is narrower than this, unless the equal ones are: a sine or two a layer do not fit even a flat sky."""


PARAMETERS_A_REGION = {"cpu": 370, "cuda": 370}
"""What ``partition.regions=auto`` gives a region, about.

The CPU's figure is fitted (experiments/fast); a GPU's is the same until it is measured there.
"""

FEWEST_SAMPLES = 64
"""No region gets fewer samples than this by ``partition.regions=auto``."""


def best_regions(parameters: int, samples: int, device: str = "cpu") -> int:
    """The number of regions with which a parameter budget reaches the best quality soonest.

    More regions of thinner networks cost less a step and meet fewer boundaries each, but what a network knows is shared
    by fewer pixels. In a sweep over 128² to 512² pixels and 12,500 to 400,000 parameters the best ones had 280 to 510
    parameters each, and the loss by any of these in place of the best was within the noise; so it is one number.

    Args:
        parameters: in all.
        samples: of the signal.
        device: ``cpu`` or ``cuda``.
    """
    return max(1, min(round(parameters / PARAMETERS_A_REGION[device]), samples // FEWEST_SAMPLES))


def settle_regions(rule: PartitionRule, backbone: Backbone, signal: Tensor, device: str = "cpu") -> PartitionRule:
    """A rule with ``regions="auto"`` as one that knows how many; any other as it is.

    Args:
        rule: the rule.
        backbone: whose ``match_params`` is the budget. Widths are whole numbers: of the numbers of regions near the
            best one, that is taken with which the parameters come nearest to it.
        signal: float32 ``[*grid, C]``; an image is cut into rectangles that are nearly squares.
        device: ``cpu`` or ``cuda``: what is soonest is a matter of the device.

    Raises:
        PartinrError: the width of the networks is given, so that there is no budget.
    """
    if not isinstance(rule, Grid) or rule.regions != "auto":
        return rule
    budget = backbone.match_params
    if backbone.hidden_features is not None or budget is None:
        raise PartinrError(
            "partition.regions=auto follows from a number of parameters; give backbone.match_params and "
            "backbone.hidden_features=null, or a number of regions"
        )
    shape, channels = tuple(signal.shape[:-1]), signal.shape[-1]
    best = best_regions(budget, math.prod(shape), device)
    near = range(max(1, round(0.8 * best)), round(1.25 * best) + 1)
    grids = {_nearly_squares(regions, shape) for regions in near}

    def cost(grid: tuple[int, ...]) -> float:
        """By how much a grid misses the budget, and, of less weight, the best number."""
        regions = math.prod(grid)
        width = backbone.width_for(budget, regions, len(shape), channels)
        parameters = regions * backbone.with_width(width).parameters(len(shape), channels)
        return abs(math.log(parameters / budget)) + 0.1 * abs(math.log(regions / best))

    grid = min(sorted(grids), key=cost)
    if len(grid) == 1:
        return dataclasses.replace(rule, regions=grid[0])
    return dataclasses.replace(rule, regions=None, rows=grid[0], cols=grid[1])


def _nearly_squares(regions: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """About so many parts of a grid of samples: how many along each axis."""
    if len(shape) != 2:
        return (min(regions, math.prod(shape)),)
    rows = min(shape[0], max(1, round(math.sqrt(regions * shape[0] / shape[1]))))
    return rows, min(shape[1], max(1, round(regions / rows)))


def shares(capacity: Capacity, partition: Partition, signal: Tensor) -> Tensor:
    """What part of all parameters each region should have.

    Args:
        capacity: by what.
        partition: of the signal.
        signal: float32 ``[*grid, C]``.

    Returns:
        float64 ``[R]``, above 0, summing to 1.

    Raises:
        PartinrError: there is no such capacity.
    """
    if capacity not in CAPACITIES:
        raise PartinrError(f"capacity={capacity!r} is unknown; choose from {', '.join(CAPACITIES)}")
    sizes = partition.sizes.double()
    weights = torch.ones_like(sizes)
    if capacity == "area":
        weights = sizes
    elif capacity == "detail":
        weights = region_detail(signal.detach().cpu(), partition.labels, partition.regions)
    return weights / weights.sum()


def widths(capacity: Capacity, backbone: Backbone, partition: Partition, signal: Tensor) -> tuple[int, ...] | None:
    """The hidden width of each region's network.

    Args:
        capacity: how parameters are shared out.
        backbone: its ``match_params``, or what R networks of its ``hidden_features`` have, is the number in all.
        partition: of the signal.
        signal: float32 ``[*grid, C]``.

    Returns:
        R widths whose parameters come as near to the number in all as the ladder allows; None for ``equal``, where the
        backbone's own width is everybody's.

    Raises:
        PartinrError: the number is too small for so many networks.
    """
    deserved = shares(capacity, partition, signal)
    if capacity == "equal":
        return None
    features = len(partition.shape), signal.shape[-1]
    equal = backbone.sized(partition.regions, *features).hidden_features
    assert equal is not None
    if backbone.hidden_features is None and backbone.match_params is not None:
        budget = backbone.match_params
    else:
        budget = partition.regions * backbone.with_width(equal).parameters(*features)
    rungs = [
        round(STEPS_TO_DOUBLE * math.log2(backbone.width_for(budget * share, 1, *features) / equal))
        for share in deserved.tolist()
    ]

    def at(base: float) -> tuple[int, ...]:
        narrowest = min(NARROWEST, equal)
        return tuple(max(narrowest, round(base * 2 ** (rung / STEPS_TO_DOUBLE))) for rung in rungs)

    def total(chosen: tuple[int, ...]) -> int:
        return sum(backbone.with_width(width).parameters(*features) for width in chosen)

    # The ladder as a whole is moved until the total fits.
    low, high = 0.0, 1.0
    while total(at(high)) < budget:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if total(at(middle)) < budget else (low, middle)
    return min(at(low), at(high), key=lambda chosen: abs(total(chosen) - budget))

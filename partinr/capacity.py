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
from partinr.errors import PartinrError
from partinr.partition import Grid, Partition, PartitionRule
from partinr.signals import region_detail

Capacity = Literal["equal", "area", "detail"]
CAPACITIES: tuple[str, ...] = get_args(Capacity)

STEPS_TO_DOUBLE = 2
"""Steps of the ladder while the width doubles: a region is at most 19 % wider or narrower than its share."""

NARROWEST = 4
"""No network is narrower than this, unless the equal ones are: a sine or two a layer do not fit even a flat sky."""


PARAMETERS_A_REGION = {"cpu": 330, "cuda": 330}
"""What ``partition.regions=auto`` gives a region, see :func:`best_regions`."""

FEWEST_SAMPLES = 64
"""No region gets fewer samples than this by ``partition.regions=auto``."""


def best_regions(parameters: int, samples: int, device: str = "cpu") -> int:
    """The number of regions with which a parameter budget reaches the best quality soonest.

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
        backbone: whose ``match_params`` is the budget.
        signal: float32 ``[*grid, C]``; an image is cut into rectangles that are nearly squares.
        device: ``cpu`` or ``cuda``: what is soonest is a matter of the device.

    Raises:
        PartinrError: the width of the networks is given, so that there is no budget.
    """
    if not isinstance(rule, Grid) or rule.regions != "auto":
        return rule
    if backbone.hidden_features is not None or backbone.match_params is None:
        raise PartinrError(
            "partition.regions=auto follows from a number of parameters; give backbone.match_params and "
            "backbone.hidden_features=null, or a number of regions"
        )
    shape = tuple(signal.shape[:-1])
    regions = best_regions(backbone.match_params, math.prod(shape), device)
    if len(shape) != 2:
        return dataclasses.replace(rule, regions=min(regions, shape[0]))
    rows = min(shape[0], max(1, round(math.sqrt(regions * shape[0] / shape[1]))))
    return dataclasses.replace(rule, regions=None, rows=rows, cols=min(shape[1], max(1, round(regions / rows))))


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

"""Which regions contribute to a sample, and with which weight, if regions overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from partinr.coords import AxisSamples

_AT_ONCE = 2**22
"""Pairs of a point and a sample around it that are processed at a time, to limit memory."""


@dataclass(frozen=True)
class Cover:
    """The networks that contribute to the samples of a grid: P pairs of a sample and a network.

    Attributes:
        sample: int64 ``[P]``, ascending row-major positions in the grid; each sample at least once.
        network: int64 ``[P]``, the number of a region, or of a network that stands for no region.
        weight: float64 ``[P]``, of the network's value there.
    """

    sample: Tensor
    network: Tensor
    weight: Tensor


def blended_cover(labels: Tensor, near: Tensor, axes: Sequence[AxisSamples], overlap: int) -> Cover:
    """A partition of unity: each region's indicator, smoothed by a raised cosine.

    The region of a sample fills its cell, and the outermost cells extend beyond the edge. The weight of a region at a
    point is the mean of its indicator around the point, weighted along each axis by ``(1 + cos(pi t / overlap)) / (2
    overlap)`` for distances ``t`` up to ``overlap`` cells. So the weights of all regions sum to 1 everywhere, do not
    depend on the resolution, have continuous slopes, and are 1 or 0 farther than ``overlap`` from any border. For a
    grid of rectangles they are products of ramps along the axes.

    Args:
        labels: int64 ``[*grid]``.
        near: bool ``[*grid]``, the samples that have one of another region within ``overlap`` steps along the axes.
        axes: the points, along each axis.
        overlap: in samples of ``labels``, 1 or more.
    """
    flat = labels.reshape(-1)
    shape = [len(axis) for axis in axes]
    own, mixed = labels, near
    for number, axis in enumerate(axes):
        own, mixed = (each.index_select(number, axis.cells) for each in (own, mixed))
    own, mixed = own.reshape(-1), mixed.reshape(-1)
    alone = (~mixed).nonzero().squeeze(1)
    samples, regions, weights = [alone], [own[alone]], [torch.ones(len(alone), dtype=torch.float64)]
    around_axes = [_shares(n, axis, overlap) for n, axis in zip(labels.shape, axes, strict=True)]
    beyond = int(flat.max()) + 1
    around = (2 * overlap + 1) ** labels.ndim
    for points in mixed.nonzero().squeeze(1).split(max(1, _AT_ONCE // around)):
        place = torch.unravel_index(points, shape)
        index, weight = torch.zeros(len(points), 1, dtype=torch.int64), torch.ones(len(points), 1, dtype=torch.float64)
        for at, n, (cells, shares) in zip(place, labels.shape, around_axes, strict=True):
            index = (index[:, :, None] * n + cells[at][:, None]).flatten(1)
            weight = (weight[:, :, None] * shares[at][:, None]).flatten(1)
        for each in _by_label(points, flat[index], weight, beyond):
            for found, part in zip((samples, regions, weights), each, strict=True):
                found.append(part)
    sample = torch.cat(samples)
    order = torch.argsort(sample, stable=True)
    return Cover(sample[order], torch.cat(regions)[order], torch.cat(weights)[order])


def _shares(n: int, axis: AxisSamples, overlap: int) -> tuple[Tensor, Tensor]:
    """For each point along an axis of ``n`` samples: the samples around it, and the weight of each.

    Returns:
        int64 and float64 ``[m, 2 overlap + 1]``; the weights of a point sum to 1.
    """
    cells = axis.cells[:, None] + torch.arange(-overlap, overlap + 2)
    # The integral of the raised cosine up to each edge; the outermost edges lie beyond its end.
    edge = ((cells - (axis.coords[:, None] + 1) * n / 2) / overlap).clamp(-1, 1)
    below = (1 + edge + torch.sin(torch.pi * edge) / torch.pi) / 2
    below[:, 0], below[:, -1] = 0, 1
    return cells[:, :-1].clamp(0, n - 1), below.diff(dim=1)


def _by_label(points: Tensor, labels: Tensor, weights: Tensor, beyond: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The sum of the weights of each label around each point, as triples of point, label and sum.

    Args:
        points: int64 ``[P]``.
        labels: int64 ``[P, K]``, around each point.
        weights: float64 ``[P, K]``.
        beyond: larger than any label.
    """
    found = []
    label = labels.amin(1)
    while len(points):
        weight = (weights * (labels == label[:, None])).sum(1)
        has = weight > 0
        found.append((points[has], label[has], weight[has]))
        label = labels.where(labels > label[:, None], beyond).amin(1)
        more = label < beyond
        points, labels, weights, label = points[more], labels[more], weights[more], label[more]
    return found

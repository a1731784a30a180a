"""Merging segments to a given number of regions.

The segments are split into connected components and merged, two neighbours at a time, until the requested number is
left. Two segments are neighbours if their samples touch at a side, edge or corner. The order of merging:

``smallest``
    the smallest region into its smallest neighbour (Liu et al., ICCV 2023).
``boundary``
    the two regions with the weakest common border: the mean Euclidean difference of the channels across it. Specks
    have strong borders and would all survive, so they go first: while there are any, the smallest one is merged across
    its weakest border.
``balanced``
    regions of similar size. The two with the smallest product of their sizes are merged: merging i and j adds 2 s_i s_j
    to the sum of squared sizes, and for a given number of regions that sum is least if all are equal. Afterwards,
    segments at a border change sides as long as that lowers the sum and no region falls apart.
``balanced_detail``
    the same with gradient energy instead of size: regions that are equally hard to fit.

Ties go to the lower number of a region, so that the result is determined. A region keeps its number when it absorbs
another; of an unordered pair, the one with more neighbours does.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from partinr.base.later import Later
from partinr.signals import region_detail

if TYPE_CHECKING:
    from scipy import ndimage
    from skimage import measure
else:
    ndimage = Later("scipy.ndimage")
    measure = Later("skimage.measure")

Merging = Literal["smallest", "boundary", "balanced", "balanced_detail"]
MERGINGS: tuple[str, ...] = get_args(Merging)

Labels = NDArray[np.int64]

_SPECK = 16
"""A region is a speck if it is this many times smaller than an equal part of the image."""

_PASSES = 10
"""The most rounds in which segments may change sides."""


def renumber(labels: NDArray[np.integer]) -> Labels:
    """The same regions, numbered 0 … R-1 by their first pixel, row by row, from any whole numbers."""
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.empty(len(values), dtype=np.int64)
    order[np.argsort(first)] = np.arange(len(values))
    return order[inverse].reshape(labels.shape)


def components(labels: NDArray[np.integer]) -> Labels:
    """The parts of each segment that touch at sides or corners, numbered as :func:`renumber` does.

    Args:
        labels: whole numbers ``[*grid]``.
    """
    return renumber(measure.label(renumber(labels), background=-1, connectivity=labels.ndim))


def specks(labels: NDArray[np.integer], below: int) -> NDArray[np.bool_]:
    """Where the connected part of a region that a sample is in is small or thin.

    Args:
        labels: whole numbers ``[*grid]``.
        below: a part of fewer samples is small, and one in which no square or cube of a quarter of them fits is thin.

    Returns:
        bool ``[*grid]``.
    """
    parts = components(labels)
    small = np.bincount(parts.reshape(-1)) < below
    # The sum keeps the root of a perfect power whole.
    side = min(int((below / 4) ** (1 / parts.ndim) + 1e-9), *parts.shape)
    if side > 1:
        extremes = (ndimage.minimum_filter, ndimage.maximum_filter)
        lowest, highest = (extreme(parts, size=side, mode="constant", cval=-1) for extreme in extremes)
        small |= np.bincount(parts[lowest == highest], minlength=len(small)) == 0
    found: NDArray[np.bool_] = small[parts]
    return found


def without_specks(labels: NDArray[np.integer], below: int) -> Labels:
    """The regions, with each sample of the :func:`specks` in the region of the nearest one that is in none.

    Args:
        labels: whole numbers ``[*grid]``.
        below: a smaller part is a speck; none remains, unless the whole map consists of specks.
    """
    while (small := specks(labels, below)).any() and not small.all():
        nearest = ndimage.distance_transform_edt(small, return_distances=False, return_indices=True)
        labels = labels[tuple(nearest)]
    return renumber(labels)


def merge(labels: NDArray[np.integer], regions: int, rule: Merging, image: NDArray[np.float32]) -> Labels:
    """Merge neighbours until ``regions`` are left.

    Args:
        labels: whole numbers ``[*grid]``.
        regions: requested number, 1 or more.
        rule: order of merging, see the module.
        image: ``[*grid, C]``, for the rules that compare values.

    Returns:
        int64 ``[*grid]``, numbered as :func:`renumber` does; unmerged if there are no more than ``regions``.
    """
    labels = renumber(labels)
    count = int(labels.max()) + 1
    if count <= regions:
        return labels
    graph = _Graph(labels, image, rule)
    if rule == "smallest":
        graph.absorb(regions, float("inf"), graph.smallest_neighbour)
    elif rule == "boundary":
        graph.absorb(regions, labels.size / (_SPECK * regions), graph.weakest_neighbour)
        graph.join_weakest(regions)
    else:
        neighbours, measure = [list(around) for around in graph.edges], list(graph.measure)
        graph.join_smallest(regions)
        return renumber(_evened(graph.representatives(), neighbours, measure)[labels])
    return renumber(graph.representatives()[labels])


def without_small(labels: NDArray[np.integer], below: int, image: NDArray[np.float32]) -> Labels:
    """The regions, with each one of fewer than ``below`` samples merged into its smallest neighbour.

    Args:
        labels: whole numbers ``[*grid]``.
        below: a smaller region is merged, the smallest first; the last one stays whatever its size.
        image: ``[*grid, C]``.
    """
    labels = renumber(labels)
    if np.bincount(labels.reshape(-1)).min() >= below:
        return labels
    graph = _Graph(labels, image, "smallest")
    graph.absorb(1, below, graph.smallest_neighbour)
    return renumber(graph.representatives()[labels])


class _Graph:
    """Regions as nodes with a measure, borders as edges with a strength."""

    def __init__(self, labels: Labels, image: NDArray[np.float32], rule: Merging) -> None:
        count = int(labels.max()) + 1
        self.measure: list[float] = np.bincount(labels.reshape(-1), minlength=count).tolist()
        if rule == "balanced_detail":
            self.measure = region_detail(torch.from_numpy(image), torch.from_numpy(labels), count).tolist()
        self.into = list(range(count))
        self.left = count
        # For each pair of neighbours, from both sides: the sum of the differences across the border, and its length.
        self.edges: list[dict[int, tuple[float, float]]] = [{} for _ in range(count)]
        for first, second, difference, length in _borders(labels, image):
            self.edges[first][second] = self.edges[second][first] = (difference, length)

    def representatives(self) -> Labels:
        """For each original region, the one that it is part of now."""
        into = np.array(self.into, dtype=np.int64)
        while not np.array_equal(further := into[into], into):
            into = further
        return into

    def absorb(self, regions: int, below: float, target_of: Callable[[int], int]) -> None:
        """Merge the smallest region into a neighbour, until ``regions`` are left or the smallest measures ``below``."""
        heap = [(size, region) for region, size in enumerate(self.measure)]
        heapq.heapify(heap)
        while self.left > regions:
            size, region = heapq.heappop(heap)
            if self.into[region] != region or size != self.measure[region]:
                continue
            if size >= below:
                break
            target = target_of(region)
            self._join(region, target)
            heapq.heappush(heap, (self.measure[target], target))

    def smallest_neighbour(self, region: int) -> int:
        """The neighbour with the smallest measure."""
        return min(self.edges[region], key=lambda other: (self.measure[other], other))

    def weakest_neighbour(self, region: int) -> int:
        """The neighbour across the weakest border."""
        return min(self.edges[region], key=lambda other: (self._contrast(region, other), other))

    def join_weakest(self, regions: int) -> None:
        """Merge the two regions with the weakest border, until ``regions`` are left."""
        heap = [(self._contrast(a, b), a, b) for a, around in enumerate(self.edges) for b in around if a < b]
        heapq.heapify(heap)
        while self.left > regions:
            contrast, a, b = heapq.heappop(heap)
            if b not in self.edges[a] or contrast != self._contrast(a, b):
                continue  # outdated: the border has changed since, and was pushed again then
            kept, others = self._join_pair(a, b)
            for other in others:
                heapq.heappush(heap, (self._contrast(kept, other), min(kept, other), max(kept, other)))

    def join_smallest(self, regions: int) -> None:
        """Merge the two regions with the smallest product of their measures, until ``regions`` are left."""
        # A pair waits at its larger region, ordered by the measure of the smaller one, and each region enters the heap
        # with the first pair that waits there. So when a region absorbs many small ones in turn, one product changes
        # each time, instead of one for each neighbour. Measures only grow: an outdated entry comes up too early, and
        # is corrected then.
        waiting: list[list[tuple[float, int]]] = [[] for _ in self.edges]
        entered: list[tuple[float, int, int, int] | None] = [None] * len(self.edges)
        heap: list[tuple[float, int, int, int]] = []

        def enter(a: int) -> None:
            if self.into[a] == a and waiting[a]:
                measure, b = waiting[a][0]
                entry, before = (self.measure[a] * measure, min(a, b), max(a, b), a), entered[a]
                if before is None or entry < before:
                    entered[a] = entry
                    heapq.heappush(heap, entry)

        def wait(a: int, b: int) -> None:
            if (self.measure[a], a) < (self.measure[b], b):
                a, b = b, a
            heapq.heappush(waiting[a], (self.measure[b], b))
            enter(a)

        for a, around in enumerate(self.edges):
            for b in around:
                if a < b:
                    wait(a, b)
        while self.left > regions:
            entry = heapq.heappop(heap)
            product, low, high, a = entry
            if entered[a] != entry:
                continue  # outdated: a smaller product was entered since
            entered[a] = None
            measure, b = waiting[a][0]
            if (product, low, high) == (self.measure[a] * measure, min(a, b), max(a, b)):
                heapq.heappop(waiting[a])
                if b in self.edges[a] and measure == self.measure[b]:
                    kept, others = self._join_pair(a, b)
                    for other in others:
                        wait(kept, other)
                elif b in self.edges[a]:
                    wait(a, b)
            enter(a)

    def _contrast(self, a: int, b: int) -> float:
        difference, length = self.edges[a][b]
        return difference / length

    def _join_pair(self, a: int, b: int) -> tuple[int, list[int]]:
        """Merge a pair; returns the region that is kept, and the result of :meth:`_join`."""
        gone, kept = sorted((a, b), key=lambda region: (len(self.edges[region]), -region))
        return kept, self._join(gone, kept)

    def _join(self, gone: int, kept: int) -> list[int]:
        """Make ``gone`` part of ``kept``; returns the neighbours whose edge to ``kept`` has changed."""
        self.into[gone] = kept
        self.left -= 1
        self.measure[kept] += self.measure[gone]
        edges = self.edges[gone]
        self.edges[gone] = {}
        del edges[kept], self.edges[kept][gone]
        for other, (difference, length) in edges.items():
            before = self.edges[kept].get(other, (0.0, 0.0))
            after = (before[0] + difference, before[1] + length)
            del self.edges[other][gone]
            self.edges[kept][other] = self.edges[other][kept] = after
        return list(edges)


def _evened(region: Labels, neighbours: Sequence[Sequence[int]], measure: Sequence[float]) -> Labels:
    """Move segments to a neighbouring region where that makes the two more equal.

    Args:
        region: region of each segment.
        neighbours: neighbours of each segment.
        measure: measure of each segment.

    Returns:
        the region of each segment afterwards; none becomes empty or falls apart.
    """
    of: list[int] = region.tolist()
    whole: list[float] = np.bincount(region, measure, len(region)).tolist()
    # Large ones first: the small ones then even out the rest.
    order = sorted(range(len(of)), key=lambda segment: (-measure[segment], segment))
    for _ in range(_PASSES):
        moved = False
        for segment in order:
            home = of[segment]
            around = {of[other] for other in neighbours[segment]} - {home}
            if not around:
                continue
            target = min(around, key=lambda other: (whole[other], other))
            # Moving m from a to b changes the sum of squares by 2 m (m + b - a).
            gain = whole[home] - whole[target] > measure[segment] * (1 + 1e-9)
            if gain and _holds_without(segment, of, neighbours):
                of[segment] = target
                whole[home] -= measure[segment]
                whole[target] += measure[segment]
                moved = True
        if not moved:
            break
    return np.array(of, dtype=np.int64)


def _holds_without(segment: int, of: Sequence[int], neighbours: Sequence[Sequence[int]]) -> bool:
    """Whether the region of a segment stays connected, and not empty, without it."""
    home = of[segment]
    ends = [other for other in neighbours[segment] if of[other] == home]
    if not ends:
        return False  # the segment is the whole region
    # Searches from all ends at once, a step each in turn, until all have met or one runs out. A region that falls apart
    # mostly loses a small part, and the search of the large part then ends early.
    reached = {end: number for number, end in enumerate(ends)}
    met = list(range(len(ends)))
    fronts = {number: deque([end]) for number, end in enumerate(ends)}
    turns = deque(fronts)
    while len(fronts) > 1:
        number = turns.popleft()
        if number not in fronts:
            continue
        front = fronts[number]
        if not front:
            return False
        for other in neighbours[front.popleft()]:
            if of[other] != home or other == segment:
                continue
            if other not in reached:
                reached[other] = number
                front.append(other)
                continue
            holder = reached[other]
            while met[holder] != holder:
                holder = met[holder]
            if holder != number:
                met[holder] = number
                front.extend(fronts.pop(holder))
        turns.append(number)
    return True


def _borders(labels: Labels, image: NDArray[np.float32]) -> Iterator[tuple[int, int, float, float]]:
    """Each pair of neighbours once: lower label, higher label, sum of the differences, length of the border."""
    count = int(labels.max()) + 1
    codes, differences = [], []
    ahead, behind, all_of_it = slice(1, None), slice(None, -1), slice(None)
    # Each direction once: of an image down, across, and along both diagonals.
    steps = (step for step in itertools.product((1, 0, -1), repeat=labels.ndim) if step > (0,) * labels.ndim)
    for step in sorted(steps, key=lambda step: (np.count_nonzero(step), *(-each for each in step))):
        here = tuple({1: behind, 0: all_of_it, -1: ahead}[each] for each in step)
        there = tuple({1: ahead, 0: all_of_it, -1: behind}[each] for each in step)
        first, second = labels[here], labels[there]
        at = first != second
        low, high = np.minimum(first[at], second[at]), np.maximum(first[at], second[at])
        codes.append(low * count + high)
        differences.append(np.linalg.norm(image[here][at] - image[there][at], axis=-1))
    pairs, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    sums = np.bincount(inverse, np.concatenate(differences), len(pairs))
    lengths = np.bincount(inverse, minlength=len(pairs))
    yield from zip((pairs // count).tolist(), (pairs % count).tolist(), sums.tolist(), lengths.tolist(), strict=True)

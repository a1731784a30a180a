"""Components and merging, compared with a plain version that measures everything before every step."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from partinr.partition import merge as merge_module
from partinr.partition.merge import MERGINGS, components, merge, renumber
from partinr.signals import gradient_energy
from tests.covering import cases, covering

BOX = {axes: np.ones((3,) * axes) for axes in (1, 2, 3)}
SHAPES = [(1, 12), (12, 1), (2, 9), (7, 8), (9, 6), (12, 13), (14,), (3, 5, 4)]


def random_map(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Segments that need not hang together, and a picture in steps of 1/8: its sums have no last bit to differ in."""
    rng = np.random.default_rng(seed)
    shape = SHAPES[seed % len(SHAPES)]
    labels = rng.integers(0, rng.integers(2, 20), shape)
    if seed % 3:  # larger ones, with straight borders
        labels = labels[tuple(slice((side + 1) // 2) for side in shape)]
        for axis in range(len(shape)):
            labels = labels.repeat(2, axis=axis)
        labels = labels[tuple(slice(side) for side in shape)]
    return labels, (rng.integers(0, 9, (*shape, 1)) / 8).astype(np.float32)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def same_regions(first: np.ndarray, second: np.ndarray) -> bool:
    pairs = {*zip(first.reshape(-1).tolist(), second.reshape(-1).tolist(), strict=True)}
    return len(pairs) == len(np.unique(first)) == len(np.unique(second))


# ---------------------------------------------------------------------------------------------------------------------
# Numbers and components


@covering(seed=range(6), dtype=[np.uint8, np.int16, np.uint16, np.int64])
def test_regions_are_numbered_in_the_order_in_which_they_begin(seed, dtype):
    labels, _ = random_map(seed)
    found = renumber(labels.astype(dtype))
    assert found.dtype == np.int64
    assert same_regions(found, labels)
    assert list(dict.fromkeys(found.reshape(-1).tolist())) == list(range(len(np.unique(labels))))


def test_what_numbers_the_segments_had_does_not_matter():
    for rule in cases(*MERGINGS):
        labels, image = random_map(5)
        others = np.random.default_rng(0).choice(10**9, labels.max() + 1, replace=False)[labels] - 5 * 10**8
        assert np.array_equal(renumber(others), renumber(labels))
        assert np.array_equal(components(others), components(labels))
        assert np.array_equal(merge(others, 3, rule, image), merge(labels, 3, rule, image))


def test_components_are_the_pieces_that_hang_together_at_sides_and_corners():
    for seed in range(8):
        labels, _ = random_map(seed)
        expected, count = np.zeros(labels.shape, int), 0
        for segment in np.unique(labels):
            parts, found = label(labels == segment, BOX[labels.ndim])
            expected += np.where(parts > 0, parts + count, 0)
            count += found
        found = components(labels)
        assert int(found.max()) + 1 == count
        assert np.array_equal(found, renumber(expected))
        assert np.array_equal(components(found), found)


def test_corners_hold_a_segment_together():
    assert components(np.indices((6, 6)).sum(axis=0) % 2).max() == 1


# ---------------------------------------------------------------------------------------------------------------------
# Merging, one step at a time

Choose = Callable[[dict[int, float], dict[tuple[int, int], float]], tuple[int, int]]


def borders(labels: np.ndarray, image: np.ndarray) -> dict[tuple[int, int], float]:
    """Mean difference across each border: pairs of pixels that touch at a side or a corner."""
    sums: dict[tuple[int, int], list[float]] = {}
    steps = [step for step in itertools.product((-1, 0, 1), repeat=labels.ndim) if step > (0,) * labels.ndim]
    for here, step in itertools.product(np.ndindex(labels.shape), steps):
        there = tuple(place + by for place, by in zip(here, step, strict=True))
        inside = all(0 <= place < side for place, side in zip(there, labels.shape, strict=True))
        if inside and labels[here] != labels[there]:
            pair = (int(labels[here]), int(labels[there]))
            difference = float(np.sqrt(np.square(image[here] - image[there]).sum()))
            sums.setdefault((min(pair), max(pair)), []).append(difference)
    return {pair: sum(differences) / len(differences) for pair, differences in sums.items()}


def step_by_step(labels: np.ndarray, regions: int, image: np.ndarray, energy: np.ndarray, choose: Choose) -> np.ndarray:
    labels = renumber(labels)
    while (
        len(measure := {int(region): float(energy[labels == region].sum()) for region in np.unique(labels)}) > regions
    ):
        gone, kept = choose(measure, borders(labels, image))
        labels[labels == gone] = kept
    return renumber(labels)


def neighbours(region: int, pairs: dict[tuple[int, int], float]) -> list[int]:
    return [a + b - region for a, b in pairs if region in (a, b)]


def smallest_into_smallest(measure, pairs):
    gone = min(measure, key=lambda region: (measure[region], region))
    return gone, min(neighbours(gone, pairs), key=lambda region: (measure[region], region))


def of_a_pair(pair, pairs):
    """The one with more neighbours takes in the other."""
    kept = max(pair, key=lambda region: (len(neighbours(region, pairs)), -region))
    return sum(pair) - kept, kept


def least_product(measure, pairs):
    return of_a_pair(min(pairs, key=lambda pair: (measure[pair[0]] * measure[pair[1]], pair)), pairs)


def test_smallest_against_the_plain_procedure():
    for seed in range(8):
        labels, image = random_map(seed)
        for regions in (1, 2, 5):
            expected = step_by_step(labels, regions, image, np.ones(labels.shape), smallest_into_smallest)
            assert np.array_equal(merge(labels, regions, "smallest", image), expected)


@pytest.mark.parametrize("seed", range(8))
def test_boundary_against_the_plain_procedure(seed):
    labels, image = random_map(seed)
    for regions in (1, 2, 5):

        def choose(measure, pairs, speck=labels.size / (16 * regions)):
            smallest = min(measure, key=lambda region: (measure[region], region))
            if measure[smallest] < speck:
                around = neighbours(smallest, pairs)
                return smallest, min(around, key=lambda o: (pairs[min(o, smallest), max(o, smallest)], o))
            return of_a_pair(min(pairs, key=lambda pair: (pairs[pair], pair)), pairs)

        expected = step_by_step(labels, regions, image, np.ones(labels.shape), choose)
        assert np.array_equal(merge(labels, regions, "boundary", image), expected)


@pytest.mark.parametrize("seed", range(8))
def test_balanced_against_the_plain_procedure(seed, monkeypatch):
    monkeypatch.setattr(merge_module, "_PASSES", 0)  # without the changes of side that follow
    labels, image = random_map(seed)
    for regions in (1, 2, 5):
        expected = step_by_step(labels, regions, image, np.ones(labels.shape), least_product)
        assert np.array_equal(merge(labels, regions, "balanced", image), expected)


@pytest.mark.parametrize("seed", range(8))
def test_balanced_detail_against_the_plain_procedure(seed, monkeypatch):
    monkeypatch.setattr(merge_module, "_PASSES", 0)
    labels, _ = random_map(seed)
    image = noise(labels.shape, seed)
    energy = gradient_energy(torch.from_numpy(image)).double().numpy() + 1e-4
    for regions in (1, 2, 5):
        expected = step_by_step(labels, regions, image, energy, least_product)
        assert np.array_equal(merge(labels, regions, "balanced_detail", image), expected)


# ---------------------------------------------------------------------------------------------------------------------
# What every rule keeps


@covering(seed=range(8), rule=MERGINGS)
def test_nothing_is_split_nothing_falls_apart_and_the_number_is_exact(rule, seed):
    labels, image = random_map(seed)
    parts = components(labels)
    count = int(parts.max()) + 1
    for regions in (1, 2, 3, 7, count):
        merged = merge(parts, regions, rule, image)
        assert merged.dtype == np.int64
        assert np.unique(merged).tolist() == list(range(min(regions, count)))
        for part in range(count):
            assert len(np.unique(merged[parts == part])) == 1
        for region in range(int(merged.max()) + 1):
            assert label(merged == region, BOX[merged.ndim])[1] == 1


def test_no_more_segments_than_wanted_are_left_as_they_are():
    for rule in cases(*MERGINGS):
        labels, image = random_map(3)
        count = len(np.unique(labels))
        for regions in cases(count, count + 1, 10**12):
            assert np.array_equal(merge(labels, regions, rule, image), renumber(labels))


def test_one_region_is_everything():
    for rule in cases(*MERGINGS):
        for shape in cases((1, 1), (1, 9), (9, 1), (5, 7)):
            labels = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape)
            assert merge(labels, 1, rule, noise(shape)).tolist() == np.zeros(shape).tolist()


def test_what_is_given_stays_as_it_was():
    for rule in cases(*MERGINGS):
        labels, image = random_map(7)
        before = labels.copy(), image.copy()
        merge(labels, 2, rule, image)
        assert np.array_equal(labels, before[0])
        assert np.array_equal(image, before[1])


def test_specks_do_not_survive_the_boundaries():
    # The strongest borders of all are those of the specks; without a word about size they would be the regions.
    image = np.zeros((24, 24, 3), np.float32)
    image[:, 12:] = 0.1
    labels = (image[:, :, 0] > 0).astype(np.int64)
    for number, (row, col) in enumerate([(3, 3), (9, 20), (15, 7), (20, 17)]):
        labels[row, col], image[row, col] = number + 2, 1
    merged = merge(labels, 2, "boundary", image)
    assert np.array_equal(merged, np.indices((24, 24))[1] // 12)


@pytest.mark.parametrize(("size", "kept"), [(9, False), (10, True)])
def test_a_speck_is_less_than_a_sixteenth_of_an_equal_share(size, kept):
    # Two halves that are nearly alike, and something bright between them. Of two regions of 320 pixels a sixteenth of
    # a share is ten pixels.
    labels = np.repeat([[0, 1]], 80, axis=1).repeat(2, axis=0)
    labels[0, 75 : 75 + size] = 2
    image = np.array([[0.1], [0.2], [1.0]], np.float32)[labels]
    merged = merge(labels, 2, "boundary", image)
    assert np.array_equal(merged, labels == 2 if kept else labels > 0)


@covering(rule=MERGINGS, ground=["first", "later"])
def test_a_region_with_many_neighbours_costs_no_more_than_its_neighbours(rule, ground, monkeypatch):
    # Each speck that the ground takes in changes what the others have to do with it; doing them all again each time
    # would be a million steps.
    specks = 900
    if ground == "first":
        labels = np.zeros((60, 60), np.int64)
        labels[1::2, 1::2] = np.arange(1, specks + 1).reshape(30, 30)
    else:
        # All specks are in the first row, so that their numbers are lower than that of the ground below them; what is
        # between them is part of another large segment.
        labels = np.full((9, 2 * specks), 1)
        labels[1:4] = specks + 2
        labels[0, ::2] = np.where(np.arange(specks) > 0, np.arange(specks) + 1, 0)
    taken = 0

    def heappop(heap, pop=heapq.heappop):
        nonlocal taken
        taken += 1
        return pop(heap)

    monkeypatch.setattr(heapq, "heappop", heappop)
    assert len(np.unique(merge(labels, 3, rule, noise(labels.shape)))) == 3
    assert taken < 20 * specks


# ---------------------------------------------------------------------------------------------------------------------
# Balance


def squares(labels: np.ndarray, energy: np.ndarray | None = None) -> float:
    weights = None if energy is None else energy.reshape(-1)
    return float(np.square(np.bincount(labels.reshape(-1), weights)).sum())


@pytest.mark.parametrize("seed", range(8))
def test_balanced_is_more_even_than_smallest(seed):
    rng = np.random.default_rng(seed)
    labels = components(rng.integers(0, 4, (20, 24)).repeat(2, axis=0))
    image = noise(labels.shape)
    for regions in (2, 5, 9):
        balanced, smallest = merge(labels, regions, "balanced", image), merge(labels, regions, "smallest", image)
        assert squares(balanced) <= squares(smallest)
        assert squares(balanced) < 1.25 * labels.size**2 / regions


@pytest.mark.parametrize("seed", range(4))
def test_balanced_detail_is_more_even_in_detail(seed):
    rng = np.random.default_rng(seed)
    labels = components(rng.integers(0, 4, (20, 24)).repeat(2, axis=0))
    image = noise(labels.shape, seed)
    image[:, :8] *= 0.1  # a quiet third
    energy = gradient_energy(torch.from_numpy(image)).double().numpy() + 1e-4
    by_detail, by_size = merge(labels, 6, "balanced_detail", image), merge(labels, 6, "balanced", image)
    assert squares(by_detail, energy) < squares(by_size, energy)


@covering(seed=range(6), rule=["balanced", "balanced_detail"])
def test_after_balancing_no_segment_would_change_sides(rule, seed, monkeypatch):
    labels = components(np.random.default_rng(seed).integers(0, 5, (9, 12)))
    image = noise(labels.shape, seed)
    energy = np.ones(labels.shape)
    if rule == "balanced_detail":
        energy = gradient_energy(torch.from_numpy(image)).double().numpy() + 1e-4
    merged = merge(labels, 4, rule, image)
    least = squares(merged, energy)
    for segment, region in itertools.product(range(int(labels.max()) + 1), range(4)):
        moved = np.where(labels == segment, region, merged)
        whole = len(np.unique(moved)) == 4 and all(label(moved == other, BOX[2])[1] == 1 for other in range(4))
        assert not whole or squares(moved, energy) >= least * (1 - 1e-6)
    monkeypatch.setattr(merge_module, "_PASSES", 0)
    assert least <= squares(merge(labels, 4, rule, image), energy)


def test_where_there_is_no_detail_the_size_counts():
    labels = components(np.random.default_rng(0).integers(0, 4, (20, 24)).repeat(2, axis=0))
    image = np.full((*labels.shape, 3), 0.3, np.float32)
    by_detail, by_size = merge(labels, 5, "balanced_detail", image), merge(labels, 5, "balanced", image)
    assert squares(by_detail) < 1.1 * squares(by_size)


def test_equal_pieces_are_shared_out_equally():
    labels = np.arange(64).reshape(8, 8)
    for regions in (2, 4, 8, 16):
        sizes = np.bincount(merge(labels, regions, "balanced", noise((8, 8))).reshape(-1))
        assert sizes.max() - sizes.min() <= 1

"""The contract of a partition, whatever made it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.partition import Grid, Partition, PartitionRule, Whole
from partinr.signals import Source
from tests.covering import covering


def test_refused():
    for labels, said in [
        (torch.tensor([[0, 2], [2, 0]]), "no sample has label 1"),
        (torch.tensor([[1, 2], [2, 1]]), "no sample has label 0"),
        (torch.tensor([[0, -1]]), "number the regions from 0"),
        (torch.tensor([[0.0, 1.0]]), "give whole numbers"),
        (torch.tensor([[True, False]]), "give whole numbers"),
        (torch.tensor([[0j]]), "give whole numbers"),
        (torch.empty(0, 4, dtype=torch.int64), "one label for each sample"),
        (torch.empty(0, dtype=torch.int64), "one label for each sample"),
        (torch.tensor(0), "one label for each sample"),
        (torch.tensor([0, 10**13]), "no sample has label 1"),
    ]:
        with pytest.raises(PartinrError, match=said) as caught:
            Partition(labels)
        assert "\n" not in str(caught.value)


def test_any_whole_number_type_is_taken():
    for dtype in [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16]:
        partition = Partition(torch.tensor([[0, 1, 1], [2, 0, 1]]).to(dtype))
        assert partition.labels.dtype == torch.int64
        assert partition.labels.tolist() == [[0, 1, 1], [2, 0, 1]]


def test_numpy_labels_are_taken():
    assert Partition(np.array([[0, 1]], dtype=np.int32)).labels.tolist() == [[0, 1]]  # type: ignore[arg-type]


@covering(6, shape=[(7, 5), (1, 9), (11,), (3, 4, 5)], width=[1, 2, 20])
def test_near_a_border_is_what_has_another_region_within_reach(shape, width):
    labels = torch.randint(2, shape, generator=torch.Generator().manual_seed(0)).cummax(-1).values
    labels[(0,) * len(shape)], labels[(-1,) * len(shape)] = 0, 1
    found = Partition(labels).near_border(width)
    for place in itertools.product(*map(range, shape)):
        around = labels[tuple(slice(max(0, i - width), i + width + 1) for i in place)]
        assert found[place] == bool((around != labels[place]).any())


def test_one_region_has_no_border():
    assert not Partition(torch.zeros(4, 6, dtype=torch.int64)).near_border(3).any()


def test_every_sample_is_in_exactly_one_region():
    generator = torch.Generator().manual_seed(0)
    for shape, regions in [((7, 5), 4), ((1, 9), 9), ((11,), 3), ((6, 6), 1)]:
        labels = torch.randperm(int(torch.tensor(shape).prod()), generator=generator).reshape(shape) % regions
        partition = Partition(labels)
        assert partition.shape == shape
        assert partition.regions == regions
        assert int(partition.sizes.sum()) == labels.numel()
        assert partition.sizes.tolist() == [int((labels == region).sum()) for region in range(regions)]


def test_frozen_and_independent_of_what_it_was_made_from():
    labels = torch.tensor([[0, 1], [1, 0]])
    partition = Partition(labels)
    labels.fill_(7)
    assert partition.labels.tolist() == [[0, 1], [1, 0]]
    with pytest.raises(dataclasses.FrozenInstanceError):
        partition.labels = labels  # type: ignore[misc]


def test_labels_at_follows_the_cells():
    labels = torch.tensor([[0, 1, 2], [3, 4, 5]])
    partition = Partition(labels)
    assert torch.equal(partition.labels_at((2, 3)), labels)
    assert torch.equal(partition.labels_at((4, 9)), labels.repeat_interleave(2, 0).repeat_interleave(3, 1))
    assert partition.labels_at((1, 1)).shape == (1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Other resolutions

SHAPES = [(1, 1), (1, 9), (6, 8), (7, 5), (11,), (1,)]


def scattered(shape: tuple[int, ...], regions: int, seed: int = 0) -> Partition:
    order = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(seed))
    return Partition((order % min(regions, math.prod(shape))).reshape(shape))


def scaled(partition: Partition, scale: float) -> tuple[int, ...]:
    return tuple(max(1, round(scale * n)) for n in partition.shape)


@covering(8, shape=SHAPES, scale=[1, 3, 5], smooth=[False, True])
def test_old_samples_keep_their_labels(shape, scale, smooth):
    partition = scattered(shape, 4)
    labels = partition.labels_at(scaled(partition, scale), smooth)
    assert labels.dtype == torch.int64
    # At an odd scale the middle one of the new samples sits where the old one sat.
    assert torch.equal(labels[tuple(slice(scale // 2, None, scale) for _ in shape)], partition.labels)


@covering(8, shape=SHAPES, scale=[0.5, 1, 1.7, 2, 3])
def test_a_point_has_the_label_of_the_cell_that_holds_it(shape, scale):
    partition = scattered(shape, 5)
    target = scaled(partition, scale)
    labels = partition.labels_at(target)
    for place in itertools.product(*map(range, target)):
        centre = [Fraction(2 * j + 1, 2 * m) for j, m in zip(place, target, strict=True)]
        cell = tuple(math.floor(at * n) for at, n in zip(centre, shape, strict=True))
        assert labels[place] == partition.labels[cell]


@covering(
    10,
    case=[
        ((12, 18), {"rows": 3, "cols": 3}),
        ((8, 16), {"rows": 4, "cols": 8}),
        ((20,), {"regions": 5}),
        ((10, 14), {"rows": 3, "cols": 4}),
        ((7, 9), {"rows": 7, "cols": 2}),
        ((13,), {"regions": 4}),
    ],
    scale=[0.5, 1, 2, 3],
    smooth=[False, True],
)
def test_rectangles_stay_the_same_rectangles(case, scale, smooth):
    shape, options = case
    partition = Grid(**options)(torch.zeros(*shape, 1))
    target = scaled(partition, scale)
    labels = partition.labels_at(target, smooth)
    counts = [options["regions"]] if len(shape) == 1 else [options["rows"], options["cols"]]
    if all(n % count == 0 and m % count == 0 for n, m, count in zip(shape, target, counts, strict=True)):
        assert torch.equal(labels, Grid(**options)(torch.zeros(*target, 1)).labels)
    for place in itertools.product(*map(range, target)):
        number = 0
        for j, m, n, count in zip(place, target, shape, counts, strict=True):
            # Rectangle k ends where its last whole sample does.
            ends = [Fraction(-(-(k + 1) * n // count), n) for k in range(count)]
            number = number * count + sum(end <= Fraction(2 * j + 1, 2 * m) for end in ends)
        assert labels[place] == number


def test_smooth_makes_slopes_of_stairs():
    def half_plane(n: int, angle: float, offset: float) -> torch.Tensor:
        x = (torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5
        return (math.cos(angle) * x[:, None] + math.sin(angle) * x[None, :] > offset).long()

    for angle in (0.4, 0.6, math.pi / 4, 1.0, 1.2, 2.2, 3 * math.pi / 4, 2.6):
        wrong = {False: 0, True: 0}
        for offset in torch.linspace(-0.05, 0.05, 7).tolist():
            partition, truth = Partition(half_plane(16, angle, offset)), half_plane(128, angle, offset)
            for smooth in wrong:
                wrong[smooth] += int((partition.labels_at((128, 128), smooth) != truth).sum())
        assert wrong[True] < 0.9 * wrong[False], angle


def test_a_border_along_an_axis_stays_where_it_is():
    labels = torch.zeros(6, 8, dtype=torch.int64)
    labels[:, 3:] = 1
    for partition in (Partition(labels), Partition(labels.T)):
        for scale in (0.5, 2, 3, 7):
            target = scaled(partition, scale)
            assert torch.equal(partition.labels_at(target, smooth=True), partition.labels_at(target))


def test_smooth_may_take_the_last_pixel_of_a_line_but_not_its_centre():
    labels = torch.zeros(9, 9, dtype=torch.int64)
    labels[4, 4] = 1
    partition = Partition(labels)
    smooth = partition.labels_at((72, 72), smooth=True)
    assert 0 < int(smooth.sum()) < int(partition.labels_at((72, 72)).sum())
    assert torch.equal(smooth, smooth.T)
    assert torch.equal(smooth, smooth.flip(0))


@spec
class Stripes(PartitionRule):
    width: int = 1

    def labels(self, signal):
        return torch.arange(signal.shape[1]).div(self.width, rounding_mode="floor").expand(signal.shape[:-1])


@spec
class Stubborn(PartitionRule):
    def labels(self, signal):
        return torch.zeros(3, 3, dtype=torch.int64)


@spec
class Gappy(PartitionRule):
    def labels(self, signal):
        return torch.full(signal.shape[:-1], 2)


def test_a_rule_of_ones_own_is_one_class():
    partition = Stripes(width=2)(torch.zeros(2, 5, 3))
    assert partition.labels.tolist() == [[0, 0, 1, 1, 2]] * 2
    assert Stripes.title == "stripes"
    with pytest.raises(PartinrError, match=r"Stripes\.width"):
        Stripes(width="2")  # type: ignore[arg-type]


def test_what_a_rule_gives_is_checked():
    with pytest.raises(PartinrError, match=r"Stubborn gave labels of shape \[3, 3\] for a grid of \[2, 5\]"):
        Stubborn()(torch.zeros(2, 5, 3))
    with pytest.raises(PartinrError, match="without a gap"):
        Gappy()(torch.zeros(2, 5, 3))


def test_a_rule_without_labels_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        PartitionRule()  # type: ignore[abstract]


def test_a_rule_may_look_at_where_the_signal_is_from():
    source = Source(name="photo")

    @spec
    class Named(Whole):
        def labels_of(self, signal, source):
            assert source is None or source.name == "photo"
            return torch.arange(signal.shape[0] if source else 1)[:, None].expand(signal.shape[:-1])

    signal = torch.zeros(3, 1, 3)
    assert Named()(signal, source).regions == 3
    with pytest.raises(PartinrError, match="no sample has"):
        Partition(Named()(signal, source).labels + 1)
    assert Whole()(signal, source).regions == Named()(signal).regions == 1


def test_a_signal_without_samples_is_refused():
    for shape in ((0, 3, 3), (3, 0, 1), (0, 1)):
        with pytest.raises(PartinrError, match="give one with samples"):
            Whole()(torch.zeros(shape))


def test_the_time_is_the_rules_own():
    partition = Whole()(torch.zeros(3, 3, 1))
    assert partition.seconds is not None
    assert partition.seconds >= 0
    assert partition.notice is None
    assert Partition(partition.labels).seconds is None


def test_whole_is_one_region():
    for shape in [(4, 6, 3), (1, 1, 1), (9, 1)]:
        partition = Whole()(torch.zeros(shape))
        assert partition.regions == 1
        assert partition.shape == shape[:-1]
        assert Whole.title == "none"

"""What each sampler draws: of which network, with which weights, and the same after a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.samplers import Edges, Evos, Expansive, Int, Nint, Pool, Sampler, Uniform
from partinr.samplers.evos import laplacian
from partinr.samplers.quotas import highest, quotas

SIGNALS = [torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) for shape in ((4, 6, 2), (5, 3, 2))]
SIZES = (10, 14, 15)
SAMPLES = sum(SIZES)
EVERY = [Uniform(fraction=0.3), Edges(fraction=0.3), Evos(), Int(), Nint(), Expansive()]


def pool(points: int = 13, seed: int = 3) -> Pool:
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(1))
    return Pool(SIGNALS, order, SIZES, points, seed)


@dataclass
class Seen:
    """A look at residuals that are made up."""

    residuals: Tensor
    kernels: int = 0

    @property
    def kernel(self) -> Tensor:
        self.kernels += 1
        return self.residuals.square().sum(1).roll(5)


def look(seed: int) -> Seen:
    return Seen(torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(seed)))


def begun(sampler: Sampler, points: int = 20) -> Any:
    """The draws, of whatever kind."""
    return sampler.begin(pool(points))


def drawn(draws: Any, steps: int, start: int = 0, of: int = 40) -> list[list[int]]:
    """The rows of some steps, as the loop asks for them."""
    found = []
    for step in range(start, start + steps):
        if draws.due(step):
            draws.look(step, step / of, look(step))
        draws.points = draws.count(step / of)
        rows = draws.draw(step)
        found.append(list(range(SAMPLES)) if rows is None else rows.tolist())
    return found


def test_rows_and_grids_are_each_others_inverse() -> None:
    own = pool()
    values = torch.arange(2.0 * SAMPLES).reshape(-1, 2)
    grids = own.grids(values)
    assert [each.shape for each in grids] == [each.shape for each in SIGNALS]
    for channel in range(2):
        assert torch.equal(own.rows([each[..., channel] for each in grids]), values[:, channel])


@pytest.mark.parametrize("total", [0, 1, 7, 38, 39])
def test_quotas_are_whole_and_proportional(total: int) -> None:
    found = quotas(SIZES, total)
    assert sum(found) == total
    assert all(abs(own - total * size / SAMPLES) < 1 and own <= size for own, size in zip(found, SIZES, strict=True))


def test_the_highest_of_each_network() -> None:
    scores = torch.rand(SAMPLES, generator=torch.Generator().manual_seed(0))
    chosen, start = highest(scores, SIZES, [3, 0, 15]), 0
    for size, count in zip(SIZES, [3, 0, 15], strict=True):
        own, picked = scores[start : start + size], chosen[start : start + size]
        assert int(picked.sum()) == count
        if 0 < count < size:
            assert own[picked].min() > own[~picked].max()
        start += size


@pytest.mark.parametrize("sampler", EVERY, ids=lambda each: each.title)
def test_draws_follow_from_the_seed_and_go_on_from_a_checkpoint(sampler: Sampler) -> None:
    whole = drawn(sampler.begin(pool()), 30)
    assert whole == drawn(sampler.begin(pool()), 30)
    for step, rows in enumerate(whole):
        assert rows == sorted(rows)
        grown = round(step * 10 // 40 / 10 * 26) if isinstance(sampler, Int) else 0
        assert len(rows) == 13 + grown
        assert len(set(rows)) == len(rows) or not sampler.blends
    distinct = len(set(map(tuple, whole)))
    assert distinct == {"evos": 5, "expansive": 5}.get(sampler.title, distinct)
    if sampler.title in ("uniform", "edges", "nint"):
        assert distinct > 20
    first, second = sampler.begin(pool()), sampler.begin(pool())
    assert drawn(first, 17) == whole[:17]
    second.restore(first.state())
    assert drawn(second, 13, start=17) == whole[17:]


def test_int_takes_the_largest_errors_and_more_of_them_and_looks_less_often() -> None:
    draws = begun(Int(longest=10), 13)
    draws.look(0, 0.0, look(0))
    rows = draws.draw(0)
    assert rows is not None
    error = look(0).residuals.abs().sum(1)
    assert torch.equal(rows, torch.nonzero(highest(error, SIZES, quotas(SIZES, 13))).squeeze(1))
    assert [draws.count(progress) for progress in (0.0, 0.09, 0.1, 0.95, 1.0)] == [13, 13, 16, 36, SAMPLES]
    assert [
        begun(each, 13).count(0.5) for each in (Int(ratio="linear"), Int(ratio="cosine"), Int(ratio="constant"))
    ] == [26, 26, 13]
    looks = [0]
    for step in range(1, 100):
        if draws.due(step):
            looks.append(step)
            draws.look(step, step / 100, look(step))
    assert looks[:26] == list(range(26))
    assert looks[-2] - looks[-3] in (8, 10)
    draws.points = SAMPLES
    assert draws.draw(100) is None


def test_evos_selects_by_both_errors_and_mutates() -> None:
    draws = begun(Evos(first_interval=10, last_interval=5))
    assert [draws.interval(progress) for progress in (0.0, 0.5, 1.0)] == [10, 7, 5]
    seen = look(4)
    rows = [set(each) for each in _steps(draws, seen, 9)]
    stable = set.intersection(*rows)
    counts = quotas(SIZES, 10)
    errors = seen.residuals.square().mean(1)
    details = draws.scores["detail"]
    both = highest(errors, SIZES, counts) & highest(details, SIZES, counts)
    either = highest(errors, SIZES, counts) | highest(details, SIZES, counts)
    chosen, _ = draws.choice()
    assert int(chosen.sum()) == 10
    assert bool((both <= chosen).all())
    assert bool((chosen <= either).all())
    assert stable == set(torch.nonzero(chosen).squeeze(1).tolist())
    assert len(set.union(*rows)) == SAMPLES  # the mutations are all others, in turns
    # By the error alone, as for a sound.
    alone = begun(Evos(laplacian=0))
    alone.look(0, 0.0, seen)
    assert torch.equal(alone.choice()[0], highest(errors, SIZES, counts))


def _steps(draws: Any, seen: Seen, steps: int) -> list[list[int]]:
    draws.look(0, 0.0, seen)
    return [draws.draw(step).tolist() for step in range(steps)]


def test_the_laplacian_along_any_number_of_axes() -> None:
    line = torch.tensor([1.0, 4.0, 9.0, 16.0]).unsqueeze(-1)
    assert laplacian(line).squeeze(-1).tolist() == [2.0, 2.0, 2.0, -23.0]  # 0 beyond the ends
    plane = torch.zeros(5, 5, 1)
    plane[2, 2] = 1
    assert laplacian(plane)[1:4, 1:4, 0].tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def test_nint_goes_by_the_kernel_less_and_less() -> None:
    sampler = Nint(refresh=3, kernel=0.5, random=0.25)
    draws, kernels, parts = begun(sampler), [], []
    for step in range(12):
        seen = look(step)
        assert draws.due(step)
        draws.look(step, 0.0, seen)
        kernels.append(seen.kernels)
        parts.append(draws.part(draws.looks - 1))
        rows = draws.draw(step)
        assert rows is not None
        assert len(rows) == 20
    assert kernels == [1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0]
    assert parts[::3] == pytest.approx([0.5 * math.exp(-2 * each) for each in range(4)])
    first = begun(sampler)
    first.look(0, 0.0, look(7))
    chosen, _ = first.choice()
    by_kernel = highest(first.scores["kernel"], SIZES, quotas(quotas(SIZES, 15), 10))
    assert bool((by_kernel <= chosen).all())
    assert int(chosen.sum()) == 15
    with pytest.raises(PartinrError, match="parts of one step; give less"):
        Nint(kernel=0.5, random=0.6)


def test_the_loss_of_expansive_supervision_is_that_of_all_samples() -> None:
    draws = begun(Expansive())
    anchors, _ = draws.choice()
    assert draws.weights is not None
    values = torch.rand(SAMPLES, generator=torch.Generator().manual_seed(8))
    found = []
    for step in range(3000):
        if draws.due(step):
            draws.look(step, 0.0, look(0))
        rows = draws.draw(step)
        assert rows is not None
        assert set(torch.nonzero(anchors).squeeze(1).tolist()) <= set(rows.tolist())
        found.append(float((draws.weights[rows, 0] * values[rows]).sum() / 20))
    assert sum(found) / len(found) == pytest.approx(float(values.mean()), rel=0.01)


def test_edges_are_drawn_more_often_and_weighted_as_asked() -> None:
    signal = torch.zeros(1, 20, 1)
    signal[:, 10:] = 1
    own = Pool([signal], torch.arange(20), (20,), 8, 0)
    counts = {}
    for correction in (1.0, 0.0):
        draws = Edges(correction=correction).begin(own)
        counted = torch.zeros(20)
        for step in range(300):
            rows = draws.draw(step)
            assert rows is not None
            counted += torch.bincount(rows, minlength=20)
        counts[correction] = counted
        assert draws.weights is not None
        expected = counted / counted.sum() * draws.weights.squeeze(1)
        assert float(expected.sum()) == pytest.approx(1, abs=0.05)
        assert (draws.weights.max() == draws.weights.min()) == (correction == 0)
    assert float(counts[1.0][9:11].sum()) > 0.85 * 2400
    assert torch.equal(counts[0.0], counts[1.0])

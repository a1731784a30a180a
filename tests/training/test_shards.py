"""Shares: dealt evenly, and a network learns the same in any of them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition
from partinr.regimes import Optimizer, PerNetwork
from partinr.training.samples import Samples
from partinr.training.shards import Shard, deal, hand_over, narrow_state, widen_state
from tests.covering import covering

WIDTHS = (4, 9, 4, 6, 9)
OPTIMIZERS = {
    "adam": Optimizer(name="adam", lr=1e-2),
    "sgd": Optimizer(name="sgd", lr=1e-2, options={"momentum": 0.9}),
    "rmsprop": Optimizer(name="rmsprop", lr=1e-3, options={"momentum": 0.5, "centered": True}),
    "muon": PerNetwork(name="muon", lr=1e-2, adamw_lr=1e-2),
    "soap": PerNetwork(lr=1e-2, options={"precondition_frequency": 2}),
}
# With networks of every width, without some widths, and nothing at all.
SHARES = [[0, 1, 2, 3, 4], [0, 2, 4], [1], [3, 4], []]
ONE_OR_SEVERAL = {"one width": None, "several widths": WIDTHS}


# -- dealing ------------------------------------------------------------------------------------------------------


def test_every_network_is_dealt_once_and_the_work_is_even() -> None:
    for hands in [1, 2, 3, 7]:
        work = (torch.rand(40, generator=torch.Generator().manual_seed(hands)) ** 3 + 0.01).tolist()
        dealt = deal(work, hands)
        assert sorted(itertools.chain(*dealt)) == list(range(40))
        assert all(hand == sorted(hand) for hand in dealt)
        loads = [sum(work[network] for network in hand) for hand in dealt]
        # Graham 1969: within a third of what is possible; which is no less than an equal part, or than the largest.
        assert max(loads) <= 4 / 3 * max(sum(work) / hands, max(work))


def test_the_largest_first() -> None:
    for work, dealt in [
        ([1.0, 1.0, 1.0, 1.0], [[0, 2], [1, 3]]),
        ([1.0, 5.0, 2.0, 2.0], [[1], [0, 2, 3]]),
        ([3.0, 1.0], [[0], [1]]),
    ]:
        assert deal(work, 2) == dealt


# -- taking and giving back ---------------------------------------------------------------------------------------


@pytest.fixture
def model(widths: tuple[int, ...] | None) -> PiecewiseINR:
    labels = (torch.arange(72).reshape(8, 9) // 9).clamp(max=4)
    backbone = Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0)
    return PiecewiseINR(Partition(labels), backbone, widths=widths)


@pytest.fixture
def take(model: PiecewiseINR) -> Any:
    """Takes some of the networks, numbered, each with its samples and weights."""
    signal = torch.rand(8, 9, 3, generator=torch.Generator().manual_seed(0))
    batch = model.batch(signal)
    weights = torch.rand(72, 1, generator=torch.Generator().manual_seed(1))
    return lambda networks: Shard.take(
        model, batch, batch.coords, batch.targets, weights, torch.tensor(networks).long()
    )


def rows_of(share: Shard, values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value[share.rows[name]] for name, value in values.items()}


@covering(networks=SHARES, widths=ONE_OR_SEVERAL)
def test_what_is_taken_and_given_back(model: PiecewiseINR, take: Any, networks: list[int]) -> None:
    before = {name: value.detach().clone() for name, value in model.stack.items()}
    share, whole = take(networks), take(SHARES[0])
    assert share.whole == (len(networks) == 5)
    for name, value in share.params.items():
        assert torch.equal(value, before[name][share.rows[name]])
        assert (value is model.stack[name]) == share.whole
    if networks:
        at = slice(None) if share.samples is None else share.samples
        alone = model(share.coords, share.sizes, share.params)
        torch.testing.assert_close(alone, model(whole.coords, whole.sizes)[at])
        assert torch.equal(share.targets, whole.targets[at])
        assert share.weights is not None
        assert torch.equal(share.weights, whole.weights[at])
    for value in share.params.values():
        value.data += 1
    share.give_back(model)
    for name, value in model.stack.items():
        expected = before[name].clone()
        expected[share.rows[name]] += 1
        assert torch.equal(value, expected), name


@covering(networks=SHARES, drawn=[[], [0], [3, 20, 21, 40, 71], list(range(72))], widths=ONE_OR_SEVERAL)
def test_drawn_samples_among_a_share(model: PiecewiseINR, take: Any, networks: list[int], drawn: list[int]) -> None:
    batch = model.batch(torch.rand(8, 9, 3))
    share, samples = take(networks), torch.tensor(drawn, dtype=torch.int64)
    (part,) = share.drawn(samples, lambda positions: positions.float().unsqueeze(1))
    expected = [sample for sample in drawn if int(batch.network[sample]) in networks]
    # The importance is asked for by positions in the whole batch.
    positions = [round(float(weight)) for weight in part.weights] if share.weights is None else expected
    assert positions == expected
    assert torch.equal(part.coords, batch.coords[expected])
    assert part.sizes == tuple(sum(int(batch.network[s]) == network for s in drawn) for network in networks)


# -- portions of the samples ---------------------------------------------------------------------------------------


@covering(
    portions=[2, 3],
    networks=[[0, 1, 2, 3, 4], [0, 2, 4]],
    drawn={"all": None, "some": [3, 3, 20, 21, 40, 71], "fewer than portions": [70]},
    widths=ONE_OR_SEVERAL,
)
def test_portions_of_a_share(
    model: PiecewiseINR, take: Any, portions: int, networks: list[int], drawn: list[int] | None
) -> None:
    """Every sample is in one portion, each network is divided evenly, and errors and gradients add up."""
    share = take(networks)
    parts = [dataclasses.replace(share, portion=(portions, number)) for number in range(portions)]

    def samples(of: Shard) -> list[Samples]:
        return of.every if drawn is None else of.drawn(torch.tensor(drawn))

    add_up(model, share, samples, parts)
    sizes = torch.tensor([samples(part)[0].sizes for part in parts])
    assert (sizes.amax(0) - sizes.amin(0)).max() <= 1


@covering(portions=[2, 3], points=[None, 11], kind=[{"overlap": 2}, {"overlap": 1, "global_network": True}])
def test_portions_of_networks_that_share_samples(portions: int, points: int | None, kind: dict[str, Any]) -> None:
    labels = (torch.arange(72).reshape(8, 9) // 9).clamp(max=4)
    backbone = Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0)
    model = PiecewiseINR(Partition(labels), backbone, **kind)
    signal = torch.rand(8, 9, 3, generator=torch.Generator().manual_seed(0))
    batch = model.batch(signal)
    networks = torch.arange(model.networks)
    share, *parts = (
        Shard.take(model, batch, batch.coords, batch.by_sample(signal.reshape(-1, 3)), None, networks, portion)
        for portion in [(1, 0), *((portions, number) for number in range(portions))]
    )
    drawn = (
        None
        if points is None
        else torch.randperm(72, generator=torch.Generator().manual_seed(1))[:points].sort().values
    )
    add_up(model, share, lambda of: of.every if drawn is None else of.drawn(drawn), parts)
    if drawn is None:
        sizes = torch.tensor(
            [[sum(each) for each in zip(*(own.sizes for own in part.every), strict=True)] for part in parts]
        )
        # One sample each of those with the same networks, of which a network has a few kinds.
        assert (sizes.amax(0) - sizes.amin(0)).max() <= 3


def add_up(model: PiecewiseINR, share: Shard, samples: Any, parts: list[Shard]) -> None:
    """The parts have the samples of the whole once each, and its error and gradients as their sum."""
    trained = list(share.params.values())
    expected: list[Tensor] = []
    found: list[list[Tensor]] = []
    for of in (share, *parts):
        error = sum(each.squared_error(model, share.params) for each in samples(of))
        assert isinstance(error, Tensor)
        values = [error.detach(), *torch.autograd.grad(error, trained)]
        if of is share:
            expected = values
        else:
            found.append(values)
    for value, pieces in zip(expected, zip(*found, strict=True), strict=True):
        torch.testing.assert_close(torch.stack(pieces).sum(0), value, atol=1e-4, rtol=1e-4)
    rows = [
        torch.cat([torch.cat([each.targets for each in samples(of)]) for of in those]) for those in ([share], parts)
    ]
    assert torch.equal(*(each.sort(0).values for each in rows))


# -- an optimiser and its shares ----------------------------------------------------------------------------------


def learn(model: PiecewiseINR, share: Shard, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps if share.sizes else 0):
        optimizer.zero_grad()
        error = (model(share.coords, share.sizes, share.params) - share.targets).square()
        error.sum().div(216).backward()
        optimizer.step()


@pytest.fixture
def learnt(model: PiecewiseINR, take: Any) -> Any:
    """The whole stack's parameters after 6 steps, and its optimiser's state after 3, by the name of the optimiser."""

    def go(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        share = take(SHARES[0])
        start = {name: value.detach().clone() for name, value in model.stack.items()}
        optimizer = OPTIMIZERS[name].build_stack(model, share.params)
        learn(model, share, optimizer, 3)
        half = {name: value.detach().clone() for name, value in model.stack.items()}
        state = optimizer.state_dict()
        state = {**state, "state": {key: _copy(entry) for key, entry in state["state"].items()}}
        learn(model, share, optimizer, 3)
        end = {name: value.detach().clone() for name, value in model.stack.items()}
        model.stack.load_state_dict(half)
        assert not all(torch.equal(start[name], end[name]) for name in start)
        return half, end, state

    return go


def _copy(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in entry.items()}


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)


@covering(8, name=list(OPTIMIZERS), networks=SHARES, widths=ONE_OR_SEVERAL)
def test_a_share_goes_on_where_the_whole_stack_was(
    model: PiecewiseINR, take: Any, learnt: Any, name: str, networks: list[int]
) -> None:
    half, end, state = learnt(name)
    share = take(networks)
    optimizer = OPTIMIZERS[name].build_stack(model, share.params)
    optimizer.load_state_dict(narrow_state(state, share, model))
    learn(model, share, optimizer, 3)
    close({key: value.detach() for key, value in share.params.items()}, rows_of(share, end))
    share.give_back(model)
    others = torch.tensor([network for network in range(5) if network not in networks]).long()
    for key, rows in model.rows(others).items():
        assert torch.equal(model.stack[key][rows], half[key][rows])


@covering(8, name=list(OPTIMIZERS), networks=SHARES, widths=ONE_OR_SEVERAL)
def test_the_rest_of_a_share_goes_on(
    model: PiecewiseINR, take: Any, learnt: Any, name: str, networks: list[int]
) -> None:
    _, end, state = learnt(name)
    whole = take(SHARES[0])
    optimizer = OPTIMIZERS[name].build_stack(model, whole.params)
    optimizer.load_state_dict(state)
    share = take(networks)
    hand_over(optimizer, whole, share)
    assert optimizer.param_groups[0]["params"] == list(share.params.values())
    learn(model, share, optimizer, 3)
    close({key: value.detach() for key, value in share.params.items()}, rows_of(share, end))


@covering(8, name=list(OPTIMIZERS), networks=SHARES, widths=ONE_OR_SEVERAL)
def test_a_state_there_and_back(model: PiecewiseINR, take: Any, learnt: Any, name: str, networks: list[int]) -> None:
    _, _, state = learnt(name)
    share = take(networks)
    narrow = narrow_state(state, share, model)
    wide = widen_state(narrow, share, model)
    assert wide["param_groups"] == state["param_groups"]
    for number, (key, own) in enumerate(share.params.items()):
        for entry, value in state["state"][number].items():
            if not isinstance(value, Tensor) or value.ndim == 0:
                assert narrow["state"][number][entry] == wide["state"][number][entry] == value
                continue
            assert narrow["state"][number][entry].shape == own.shape[:1] + value.shape[1:]
            rows = share.rows[key]
            mask = torch.zeros(len(value), dtype=torch.bool)
            mask[rows] = True
            assert torch.equal(wide["state"][number][entry][mask], value[mask])
            assert not wide["state"][number][entry][~mask].any()

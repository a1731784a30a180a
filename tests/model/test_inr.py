"""A partition and a stack of networks as one model: what it evaluates, by its own parameters and by others."""

from __future__ import annotations

import pytest
import torch

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.coords import grid_coords
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from tests.covering import cases, covering
from tests.model.small_models import FRAMES, PARTITIONS, SMALL, signal_on

each = covering(partition=PARTITIONS, frame=FRAMES)


@pytest.mark.parametrize("partition", PARTITIONS.values(), ids=PARTITIONS)
def test_the_batch_holds_every_sample_once_with_its_own_coordinates(partition):
    model = PiecewiseINR(partition, SMALL)
    signal = signal_on(partition)
    batch = model.batch(signal)
    flat = partition.labels.reshape(-1)
    assert sorted(batch.order.tolist()) == list(range(flat.numel()))
    assert torch.equal(batch.network, flat[batch.order])
    assert (batch.network.diff() >= 0).all()
    assert batch.sizes == tuple(partition.sizes.tolist())
    assert torch.equal(batch.targets, signal.reshape(-1, 3)[batch.order])
    torch.testing.assert_close(batch.coords, grid_coords(partition.shape).float()[batch.order], rtol=0, atol=0)


def test_a_local_frame_gives_every_region_a_grid_of_its_own():
    partition = Grid(rows=2, cols=3)(torch.zeros(4, 9, 1))
    model = PiecewiseINR(partition, SMALL, channels=1, frame="local")
    batch = model.batch(torch.rand(4, 9, 1))
    for coords in batch.coords.split(batch.sizes):
        torch.testing.assert_close(coords, grid_coords((2, 3)).float())
    fine = partition.labels_at((8, 18))
    for region in range(6):
        torch.testing.assert_close(model.coords_at(fine)[fine.reshape(-1) == region], grid_coords((4, 6)).float())


@each
def test_a_sample_is_seen_by_its_own_network_alone(partition, frame):
    model = PiecewiseINR(partition, SMALL, frame=frame)
    before = model.render()
    with torch.no_grad():
        for value in model.stack.values():
            value[-1] += 0.3
    changed = (model.render() != before).any(-1)
    assert not changed[partition.labels != partition.regions - 1].any()
    assert changed[partition.labels == partition.regions - 1].all()


@covering(partition=PARTITIONS, frame=FRAMES, engine=["auto", "batched"])
def test_all_engines_agree(partition, frame, engine):
    model = PiecewiseINR(partition, SMALL, frame=frame, engine=engine)
    loop = PiecewiseINR(partition, SMALL, frame=frame, engine="loop")
    torch.testing.assert_close(model.render(), loop.render(), rtol=1e-5, atol=1e-5)


@covering(partition=PARTITIONS, chunk=[3, 1, 7, 1000])
def test_in_chunks_equals_at_once(partition, chunk):
    model = PiecewiseINR(partition, SMALL).double()
    batch = model.batch(signal_on(partition))
    coords = batch.coords.double()
    torch.testing.assert_close(
        model.evaluate(coords, batch.sizes, chunk=chunk), model(coords, batch.sizes), rtol=1e-12, atol=1e-12
    )


def test_evaluation_leaves_no_gradient():
    model = PiecewiseINR(PARTITIONS["grid"], SMALL)
    batch = model.batch(signal_on(model.partition))
    assert not model.evaluate(batch.coords, batch.sizes).requires_grad
    assert not model.render().requires_grad
    assert model(batch.coords, batch.sizes).requires_grad


def test_a_signal_that_does_not_fit_is_refused():
    for shape, channels in [((7, 10), 1), ((7, 10), 4), ((10, 7), 3), ((7, 9), 3)]:
        model = PiecewiseINR(PARTITIONS["grid"], SMALL)
        with pytest.raises(PartinrError, match=r"the signal (lies on a grid of|has \d channels)"):
            model.batch(torch.rand(*shape, channels))


def test_options_out_of_range_are_refused():
    for options, said in cases(
        ({"frame": "lokal"}, "choose from global, local"),
        ({"engine": "fast"}, "choose from auto, loop, batched"),
        ({"channels": 0}, "channels=0"),
    ):
        with pytest.raises(PartinrError, match=said):
            PiecewiseINR(PARTITIONS["grid"], SMALL, **options)


def test_the_seed_is_the_initialisation():
    start = [PiecewiseINR(PARTITIONS["grid"], SMALL, seed=seed).stack["weight_1"] for seed in (0, 0, 1)]
    assert torch.equal(start[0], start[1])
    assert not torch.equal(start[0], start[2])


def test_making_a_model_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    PiecewiseINR(PARTITIONS["grid"], Siren(match_params=2000))
    assert torch.equal(state, torch.random.get_rng_state())


def test_match_params_counts_over_all_regions():
    for partition in (PARTITIONS["whole"], PARTITIONS["grid"]):
        model = PiecewiseINR(partition, Siren(match_params=5000))
        assert model.parameter_count == pytest.approx(5000, rel=0.05)
        assert model.parameter_count == sum(p.numel() for p in model.parameters())
    lone, parts = (PiecewiseINR(PARTITIONS[k], Siren(match_params=5000)) for k in ("whole", "grid"))
    assert parts.macs_per_sample < lone.macs_per_sample / 4


# ---------------------------------------------------------------------------------------------------------------------
# Other parameters than its own


def test_forward_with_other_parameters():
    model = PiecewiseINR(PARTITIONS["scattered"], SMALL)
    other = PiecewiseINR(PARTITIONS["scattered"], SMALL, seed=1)
    batch = model.batch(signal_on(model.partition))
    fast = {name: value.detach() for name, value in other.stack.items()}
    assert torch.equal(model(batch.coords, batch.sizes, fast), other(batch.coords, batch.sizes))


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_gradients_of_a_step_of_an_inner_loop(engine):
    """Second order, through one inner step, against finite differences and against torch.func."""
    model = PiecewiseINR(
        PARTITIONS["scattered"], Siren(hidden_features=3, hidden_layers=0, first_omega_0=4.0), channels=1, engine=engine
    ).double()
    signal = signal_on(model.partition, 1).double()
    batch = model.batch(signal)
    coords, targets = batch.coords.double(), batch.targets
    names = list(model.stack)

    def loss(params):
        return (model(coords, batch.sizes, params) - targets).square().mean()

    def after_one_step(*tensors):
        params = dict(zip(names, tensors, strict=True))
        gradients = torch.autograd.grad(loss(params), tensors, create_graph=True)
        return loss({n: p - 0.1 * g for n, p, g in zip(names, tensors, gradients, strict=True)})

    start = tuple(model.stack[name].detach().clone().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(after_one_step, start)

    def functional(params):
        gradients = torch.func.grad(loss)(params)
        return loss({name: value - 0.1 * gradients[name] for name, value in params.items()})

    expected = torch.autograd.grad(after_one_step(*start), start)
    found = torch.func.grad(functional)({name: value.detach() for name, value in zip(names, start, strict=True)})
    for name, gradient in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name], gradient)
    first_order = torch.func.grad(loss)({name: value.detach() for name, value in zip(names, start, strict=True)})
    assert any(not torch.allclose(found[name], first_order[name]) for name in names)
    assert all(parameter.grad is None for parameter in model.parameters())


@covering(8, engine=["auto", "loop", "batched", "fused"], widths=[None, [4, 4, 5, 20]], weighted=[False, True])
def test_the_squared_error_is_that_of_the_values(engine, widths, weighted):
    partition = Partition(torch.arange(4).repeat_interleave(torch.tensor([5, 1, 9, 6]))[None])
    model = PiecewiseINR(partition, Siren(hidden_features=5, hidden_layers=1), widths=widths, engine=engine)
    batch = model.batch(torch.rand(1, 21, 3, generator=torch.Generator().manual_seed(0)))
    weights = torch.rand(21, 1) if weighted else None
    found = model.squared_error(batch.coords, batch.targets, batch.sizes, weights)
    difference = (model(batch.coords, batch.sizes) - batch.targets).square()
    expected = (difference if weights is None else difference * weights).sum()
    torch.testing.assert_close(found, expected)
    wanted = list(model.parameters())
    for one, other in zip(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("widths", [None, [4, 4, 5, 20]], ids=["one width", "three widths"])
def test_some_of_the_networks_alone_give_what_they_give_among_the_others(widths):
    partition = Partition(torch.arange(4).repeat_interleave(torch.tensor([5, 1, 9, 6]))[None])
    model = PiecewiseINR(partition, Siren(hidden_features=5, hidden_layers=1), widths=widths)
    batch = model.batch(torch.rand(1, 21, 3))
    values = model(batch.coords, batch.sizes)
    for some in ([0], [3], [1, 2], [0, 2, 3], [0, 1, 2, 3]):
        networks = torch.tensor(some)
        rows = model.rows(networks)
        params = {name: value[rows[name]] for name, value in model.stack.items()}
        mine = torch.isin(batch.network, networks)
        alone = model(batch.coords[mine], [batch.sizes[n] for n in some], params)
        torch.testing.assert_close(alone, values[mine])

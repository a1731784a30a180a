"""Parameters a region: shares, widths, and networks of several widths as one model."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from partinr.api import fit
from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.model.capacity import (
    CAPACITIES,
    PARAMETERS_A_REGION,
    STEPS_TO_DOUBLE,
    best_regions,
    settle_regions,
    shares,
    widths,
)
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, KMeans, Octree, Partition, Random, Semantic, Superpixel, Whole
from partinr.regimes import FitSettings, Optimizer, make_trainer
from tests.covering import cases, covering

SMALL = Siren(hidden_features=6, hidden_layers=1, first_omega_0=9.0)
UNEVEN = Partition(torch.tensor([[0, 1, 1, 1], [2, 1, 1, 3], [2, 1, 1, 3]]))
WIDTHS = (3, 8, 3, 5)


def _signal(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(4))


def _parameters(backbone, chosen):
    return sum(dataclasses.replace(backbone, hidden_features=w, match_params=None).parameters(2, 3) for w in chosen)


# -- shares ---------------------------------------------------------------------------------------------------------


def test_shares_are_parts_of_one():
    for capacity in cases(*CAPACITIES):
        found = shares(capacity, UNEVEN, _signal(3, 4), _signal(3, 4).mean(-1))
        assert found.shape == (4,)
        assert (found > 0).all()
        assert float(found.sum()) == pytest.approx(1)


def test_by_area_a_pixel_is_worth_the_same_everywhere():
    assert shares("area", UNEVEN, _signal(3, 4)).tolist() == pytest.approx([1 / 12, 7 / 12, 2 / 12, 2 / 12])


def test_by_detail_a_busy_region_gets_more_than_a_flat_one_of_its_size():
    image = torch.full((8, 8, 3), 0.5)
    image[:, 5:] = _signal(8, 3)
    left, right = shares("detail", Grid(rows=1, cols=2)(image), image).tolist()
    assert 0 < left < 0.01 < 0.99 < right


def test_detail_counts_along_every_axis():
    for shape in [(40,), (8, 8), (6, 4, 5)]:
        for axis in range(len(shape)):
            signal = torch.full((*shape, 2), 0.5)
            half = signal.narrow(axis, 0, shape[axis] // 2)
            half.copy_(_signal(*shape)[..., :2].narrow(axis, 0, shape[axis] // 2))
            cut = [1] * len(shape)
            cut[axis] = 2
            busy, flat = shares("detail", Grid(shape=tuple(cut))(signal), signal).tolist()
            assert busy > 5 * flat


def test_balanced_lies_between_equal_and_detail():
    image = torch.full((8, 8, 3), 0.5)
    image[:, 4:] = _signal(8, 4)
    partition = Grid(rows=1, cols=2)(image)
    equal, balanced, detail = (shares(capacity, partition, image)[1] for capacity in ("equal", "balanced", "detail"))
    assert equal < balanced < detail


def test_of_flat_regions_the_larger_gets_more():
    found = shares("detail", UNEVEN, torch.full((3, 4, 3), 0.5))
    assert found.tolist() == pytest.approx([1 / 12, 7 / 12, 2 / 12, 2 / 12])


# -- widths ---------------------------------------------------------------------------------------------------------


def test_equal_leaves_the_backbone_its_width():
    assert widths("equal", SMALL, UNEVEN, _signal(3, 4)) is None


@pytest.mark.parametrize(
    "backbone", [Siren(match_params=20_000), Siren(hidden_features=30), ReluPE(match_params=60_000)]
)
@pytest.mark.parametrize("capacity", ["area", "detail", "balanced"])
def test_the_number_in_all_stays_and_widths_are_few(backbone, capacity):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24).repeat_interleave(torch.arange(24) ** 2 + 1)
    labels = labels[torch.randperm(len(labels), generator=generator)][: 4 * (len(labels) // 4)]
    labels = torch.unique(labels, return_inverse=True)[1].reshape(4, -1)
    partition = Partition(labels)
    signal = _signal(*labels.shape)
    chosen = widths(capacity, backbone, partition, signal)
    assert chosen is not None
    equal = PiecewiseINR(partition, backbone).parameter_count
    model = PiecewiseINR(partition, backbone, widths=chosen)
    assert model.parameter_count == _parameters(backbone, chosen)
    near = 0.01 if capacity == "balanced" else 0.05
    assert abs(model.parameter_count / (backbone.match_params or equal) - 1) < near
    # Shares from 1 to 530: nine doublings, of the width half as many; a fifth as many for the fifth root.
    assert len(set(chosen)) <= (16 if capacity == "balanced" else 10)
    order = shares(capacity, partition, signal).argsort().tolist()
    assert all(chosen[a] <= chosen[b] for a, b in itertools.pairwise(order))
    assert min(chosen) < max(chosen)


def test_a_network_is_about_as_wide_as_its_share_says():
    labels = torch.zeros(16, 64, dtype=torch.int64)
    labels[:, 48:] = 1
    backbone = Siren(match_params=40_000)
    partition = Partition(labels)
    chosen = widths("area", backbone, partition, _signal(16, 64))
    assert chosen is not None
    mine = [_parameters(backbone, [width]) for width in chosen]
    # Three quarters and a quarter, each up to half a step of the ladder, which is twice that in parameters.
    assert mine[0] / mine[1] == pytest.approx(3, rel=2 ** (2 / STEPS_TO_DOUBLE["area"]) - 1)


@covering(capacity=["area", "detail"], rule=[Whole(), Random(regions=4)])
def test_where_all_regions_are_alike_all_widths_are(capacity, rule):
    signal = torch.full((8, 8, 3), 0.5)
    partition = rule(signal)
    chosen = widths(capacity, Siren(match_params=5_000), partition, signal)
    model = PiecewiseINR(partition, Siren(match_params=5_000), widths=chosen)
    assert len(model.groups) == 1
    assert model.backbone.hidden_features == PiecewiseINR(partition, Siren(match_params=5_000)).backbone.hidden_features


def test_refused():
    with pytest.raises(PartinrError, match="capacity='size' is unknown; choose from equal, area, detail"):
        shares("size", UNEVEN, _signal(3, 4))  # type: ignore[arg-type]
    with pytest.raises(PartinrError, match="match_params=5 is too few"):
        widths("area", Siren(match_params=5), UNEVEN, _signal(3, 4))
    for bad in ((3, 3, 3), (3, 0, 3, 3)):
        with pytest.raises(PartinrError, match="give one a region, 1 or more"):
            PiecewiseINR(UNEVEN, SMALL, widths=bad)


# -- one model of several widths ------------------------------------------------------------------------------------


@pytest.fixture(params=["global", "local"])
def model(request):
    return PiecewiseINR(UNEVEN, SMALL, widths=WIDTHS, frame=request.param, seed=3)


def _apart(model: PiecewiseINR, params: dict[str, torch.Tensor], coords: torch.Tensor) -> torch.Tensor:
    """Every sample of the image by its own region's network, one at a time: no batch, no sorting, no engine."""
    values = torch.zeros(model.partition.labels.numel(), 3)
    for group in model.groups:
        for number, region in enumerate(group.networks):
            own = {name: params[f"{group.prefix}{name}"][number] for name in group.names}
            at = model.partition.labels.reshape(-1) == region
            values = values.index_put((at.nonzero()[:, 0],), group.backbone.apply(own, coords[at], F.linear))
    return values.reshape(*model.partition.shape, 3)


def test_every_region_has_a_network_of_its_width(model):
    assert {region: group.backbone.hidden_features for group in model.groups for region in group.networks} == dict(
        enumerate(WIDTHS)
    )
    assert model.parameter_count == _parameters(SMALL, WIDTHS)


def test_outputs_and_gradients_are_those_of_separate_networks(model):
    batch = model.batch(_signal(3, 4))
    values = batch.unsort(model(batch.coords, batch.sizes)).reshape(3, 4, 3)
    coords = model.coords_at(model.partition.labels)
    expected = _apart(model, dict(model.stack), coords)
    torch.testing.assert_close(values, expected)
    names = list(model.stack)
    found = torch.autograd.grad(values.square().sum(), [model.stack[name] for name in names])
    for name, gradient, other in zip(
        names, found, torch.autograd.grad(expected.square().sum(), [model.stack[n] for n in names]), strict=True
    ):
        torch.testing.assert_close(gradient, other, msg=name)


def test_other_parameters_pass_through(model):
    other = {name: value.detach() + 0.1 for name, value in model.stack.items()}
    batch = model.batch(_signal(3, 4))
    values = batch.unsort(model(batch.coords, batch.sizes, other)).reshape(3, 4, 3)
    torch.testing.assert_close(values, _apart(model, other, model.coords_at(model.partition.labels)))


def test_rendering_and_chunks_follow_the_regions(model):
    expected = _apart(model, dict(model.stack), model.coords_at(model.partition.labels)).clamp(0, 1)
    torch.testing.assert_close(model.render(), expected.detach())
    fine = model.render(3)
    torch.testing.assert_close(fine[1::3, 1::3], expected.detach())
    batch = model.batch(_signal(3, 4))
    whole = model.evaluate(batch.coords, batch.sizes)
    for chunk in (1, 5, 11):
        torch.testing.assert_close(model.evaluate(batch.coords, batch.sizes, chunk), whole)


def test_a_region_without_a_sample_costs_nothing_and_breaks_nothing(model):
    assert model.render(shape=(1, 1)).shape == (1, 1, 3)
    values = model(torch.zeros(2, 2), (0, 0, 2, 0))
    assert values.shape == (2, 3)
    values.sum().backward()


def test_work_is_counted_pixel_by_pixel(model):
    macs = [dataclasses.replace(SMALL, hidden_features=width).macs(2, 3) for width in WIDTHS]
    mean = sum(size * mine for size, mine in zip(UNEVEN.sizes.tolist(), macs, strict=True)) / 12
    assert model.macs_per_sample == round(mean)


def test_saved_and_loaded(model, tmp_path):
    (tmp_path / "inr.safetensors").write_bytes(model.to_bytes())
    loaded = PiecewiseINR.load(tmp_path / "inr.safetensors")
    assert loaded.widths == WIDTHS
    assert torch.equal(loaded.render(2), model.render(2))
    assert loaded.architecture() == model.architecture()


def test_it_learns_every_region(model):
    for settings in cases({}, {"points_per_step": 5, "loss": "region"}):
        signal = _signal(3, 4)
        result = fit(
            model,
            signal,
            steps=400,
            optimizer=Optimizer(lr=3e-3),
            settings=FitSettings(collapse_db=None, **settings),
            trainer=make_trainer(accelerator="cpu"),
        )
        error = (model.render() - signal).square().mean(-1)
        start = (
            (PiecewiseINR(UNEVEN, SMALL, widths=WIDTHS, frame=model.frame, seed=3).render() - signal).square().mean(-1)
        )
        for region in range(4):
            assert float(error[UNEVEN.labels == region].mean()) < 0.2 * float(start[UNEVEN.labels == region].mean())
        assert result.curve[-1]["macs"] == 400 * settings.get("points_per_step", 12) * model.macs_per_sample


def test_resumed_equals_unbroken(tmp_path):
    signal = _signal(3, 4)
    options: dict[str, Any] = {"lr": 1e-2, "settings": FitSettings(points_per_step=7, loss="region")}

    def run(steps, **further):
        model = PiecewiseINR(UNEVEN, SMALL, widths=WIDTHS)
        trainer = make_trainer(accelerator="cpu")
        return fit(model, signal, steps=steps, trainer=trainer, **options, **further), trainer

    unbroken, _ = run(30)
    _, trainer = run(12)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed, _ = run(30, ckpt_path=tmp_path / "last.ckpt")
    for name, value in unbroken.model.stack.items():
        assert torch.equal(value, resumed.model.stack[name])
    with pytest.raises(PartinrError, match="its widths is"):
        fit(
            PiecewiseINR(UNEVEN, SMALL, widths=WIDTHS[::-1]),
            signal,
            steps=30,
            trainer=make_trainer(accelerator="cpu"),
            ckpt_path=tmp_path / "last.ckpt",
            **options,
        )


def test_the_best_number_of_regions_is_near_the_sweeps():
    for parameters, samples, fewest, most in [
        (25_000, 256**2, 49, 121),  # what the sweep found, see experiments/fast/regions.csv
        (100_000, 256**2, 169, 361),
        (400_000, 256**2, 729, 1444),
        (200_000, 320**2, 361, 729),
        (10, 256**2, 1, 1),
        (10**9, 640, 10, 10),
    ]:
        assert fewest <= best_regions(parameters, samples) <= most


def test_more_parameters_more_regions_and_never_none():
    counts = [best_regions(parameters, 256**2) for parameters in (1, 10**3, 10**4, 10**5, 10**6, 10**9)]
    assert counts == sorted(counts)
    assert counts[0] == 1


def test_auto_regions_are_nearly_squares_or_cubes():
    for shape in [(64, 64), (40, 90), (7, 300), (500,), (10_000,), (24, 30, 20), (2, 80, 80)]:
        signal = torch.rand(*shape, 3)
        rule = settle_regions(Grid(regions="auto"), Siren(match_params=20_000), signal)
        regions = rule(signal).regions
        wanted = best_regions(20_000, signal[..., 0].numel())
        assert regions == pytest.approx(wanted, rel=0.35)
        if wanted == round(20_000 / PARAMETERS_A_REGION["cpu"]) and len(shape) == 2:  # and not all the samples allow
            assert regions * Siren(match_params=20_000).sized(regions, len(shape), 3).parameters(
                len(shape), 3
            ) == pytest.approx(20_000, rel=0.05)
        assert isinstance(rule, Grid)
        sides = [n / count for n, count in zip(shape, rule.counts or (), strict=True)]
        if min(shape) > 15:
            assert max(sides) / min(sides) < 1.7


def test_auto_regions_need_a_budget():
    with pytest.raises(PartinrError, match="give backbone"):
        settle_regions(Grid(regions="auto"), Siren(hidden_features=8), torch.rand(8, 8, 3))
    with pytest.raises(PartinrError, match="settle_regions"):
        Grid(regions="auto")(torch.rand(8, 8, 3))


@pytest.mark.parametrize("rule", [KMeans, Octree, Random, Semantic, Superpixel, Whole])
def test_auto_regions_of_other_rules(rule: Any) -> None:
    signal = torch.rand(32, 40, 3, generator=torch.Generator().manual_seed(0))
    found: Any = settle_regions(rule(regions="auto"), Siren(match_params=4000), signal)
    assert found.regions == (1 if rule is Whole else best_regions(4000, 32 * 40))
    assert found(signal).regions <= found.regions
    if rule is not Whole:
        with pytest.raises(PartinrError, match="settle_regions"):
            rule(regions="auto")(signal)


def test_other_rules_are_as_they_are():
    rule = Grid(rows=2, cols=3)
    assert settle_regions(rule, Siren(hidden_features=8), torch.rand(8, 8, 3)) is rule

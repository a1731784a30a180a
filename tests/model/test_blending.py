"""Networks that share places: regions that overlap, and one network for the whole signal."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch

from partinr.api import fit
from partinr.backbones import HashGrid, Siren
from partinr.base.errors import PartinrError
from partinr.coords import axis_samples, grid_coords
from partinr.metrics.quality import seam
from partinr.model.album import Album
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition, Whole
from partinr.regimes import Constant, FitModule, FitSettings, Optimizer, StopRule, make_trainer
from partinr.regimes.meta import LearnedStart
from tests.covering import covering

BACKBONE = Siren(hidden_features=5, hidden_layers=1, first_omega_0=5.0)
RAGGED = Partition(torch.tensor([[0] * 5 + [1] * 6] * 4 + [[0, 0, 2, 2, 2, 2, 1, 1, 1, 1, 1]] * 5))
KINDS: list[dict[str, Any]] = [{"overlap": 2}, {"global_network": True}, {"overlap": 1, "global_network": True}]


def _signal(seed=0, shape=(9, 11)):
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed))


def _module(model, signal, **settings) -> FitModule:
    return FitModule(
        model,
        signal,
        optimizer=Optimizer(lr=1e-3),
        schedule=Constant(),
        stop=StopRule(max_steps=10),
        settings=FitSettings(**settings),
    )


def _fit(model, signal, **options):
    return fit(model, signal, trainer=make_trainer(accelerator="cpu"), **options)


def _one_by_one(model: PiecewiseINR, shape) -> torch.Tensor:
    """The sum over networks of each one's value everywhere times its weight: plain torch, no batch, no stack."""
    backbone = model.backbone
    assert isinstance(backbone, Siren)
    samples, regions = torch.Size(shape).numel(), model.partition.regions
    total = torch.zeros(samples, 3, dtype=torch.float64)
    axes = [axis_samples(n, m) for n, m in zip(model.partition.shape, shape, strict=True)]
    cover = model.partition.cover_on(axes, model.overlap)
    for network in range(model.networks):
        params = {name: value[network].double() for name, value in model.stack.items()}
        weight = torch.ones(samples, 1, dtype=torch.float64)
        coords = grid_coords(shape)
        if network < regions:
            weight *= 0
            weight[cover.sample[cover.network == network], 0] = cover.weight[cover.network == network]
            if model.frame == "local":
                near = (model.partition.labels == network).nonzero().double()
                size = torch.tensor(model.partition.shape, dtype=torch.float64)
                low = (near.amin(0) - model.overlap).clamp(min=0) / size * 2 - 1
                high = torch.minimum(near.amax(0) + 1 + model.overlap, size) / size * 2 - 1
                coords = (coords - (low + high) / 2) / ((high - low) / 2)
        h = torch.sin(backbone.first_omega_0 * (coords @ params["weight_0"].T + params["bias_0"]))
        h = torch.sin(backbone.omega_0 * (h @ params["weight_1"].T + params["bias_1"]))
        total = total + weight * (h @ params["weight_2"].T + params["bias_2"])
    return total.reshape(*shape, 3)


@covering(6, engine=["auto", "loop", "batched", "tiled"], kind=KINDS, frame=["global", "local"])
def test_loss_and_gradients_are_those_of_the_weighted_sum(kind, frame, engine):
    signal = _signal()
    model = PiecewiseINR(RAGGED, BACKBONE, frame=frame, engine=engine, **kind)
    expected = (_one_by_one(model, (9, 11)) - signal).square().mean()
    wanted = torch.autograd.grad(expected, list(model.stack.values()))
    loss = _module(model, signal).loss(0)
    found = torch.autograd.grad(loss, list(model.stack.values()))
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    for own, of_all in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, of_all.float(), rtol=1e-3, atol=2e-5 * float(of_all.abs().max()) + 1e-7)


@covering(4, kind=KINDS, frame=["global", "local"], scale=[1, 2.5])
def test_rendering_is_the_weighted_sum_at_any_resolution(kind, frame, scale):
    model = PiecewiseINR(RAGGED, BACKBONE, frame=frame, **kind)
    with torch.no_grad():
        for name in ("weight_2", "bias_2"):  # into [0, 1], where nothing is clamped away
            model.stack[name].mul_(0.2)
        model.stack["bias_2"].add_(0.4)
        shape = tuple(round(n * scale) for n in (9, 11))
        torch.testing.assert_close(
            model.render(scale), _one_by_one(model, shape).float().clamp(0, 1), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_picture_is_what_was_trained_and_what_is_loaded(kind, tmp_path):
    signal = _signal()
    model = PiecewiseINR(RAGGED, BACKBONE, frame="local", **kind)
    result = _fit(model, signal, steps=20, lr=1e-2)
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]
    module = _module(model, signal)
    torch.testing.assert_close(model.render(), module.reconstructions()[0].clamp(0, 1), rtol=0, atol=1e-6)
    path = tmp_path / "inr.safetensors"
    path.write_bytes(model.to_bytes())
    loaded = PiecewiseINR.load(path)
    assert loaded.architecture() == model.architecture()
    assert torch.equal(loaded.render(2), model.render(2))


@pytest.mark.parametrize("overlap", [0, 2])
def test_nothing_to_blend_is_the_plain_model_bit_by_bit(overlap):
    signal = _signal()
    partition = RAGGED if overlap == 0 else Whole()(signal)
    plain = PiecewiseINR(partition, BACKBONE, frame="local")
    model = PiecewiseINR(partition, BACKBONE, frame="local", overlap=overlap, global_network=overlap > 0)
    assert model.architecture() == plain.architecture()
    first, second = (_fit(each, signal, steps=10, lr=1e-2) for each in (plain, model))
    assert [row["psnr"] for row in first.curve] == [row["psnr"] for row in second.curve]
    assert torch.equal(plain.render(2), model.render(2))


def test_blended_regions_do_not_jump():
    # Fresh networks have nothing to do with each other; seen finer and finer, only the blended ones meet.
    worst = {}
    for overlap, scale in itertools.product((0, 2), (4, 32)):
        model = PiecewiseINR(RAGGED, BACKBONE, frame="local", overlap=overlap)
        picture = model.render(scale)
        worst[overlap, scale] = max(float(picture.diff(dim=axis).abs().max()) for axis in (0, 1))
    assert worst[2, 32] < 0.2 * worst[2, 4]
    assert worst[0, 32] > 0.8 * worst[0, 4]


def test_blending_mends_the_seams_of_a_smooth_image():
    y, x = grid_coords((24, 24)).reshape(24, 24, 2).unbind(-1)
    signal = torch.stack([0.5 + 0.3 * torch.sin(3 * x + y), 0.5 + 0.3 * x * y, 0.5 - 0.2 * y], -1).float()
    found = {}
    for overlap in (0, 2):
        model = PiecewiseINR(Grid(rows=3, cols=3)(signal), BACKBONE, frame="local", overlap=overlap)
        result = _fit(model, signal, steps=150, lr=5e-3)
        found[overlap] = seam(result.model.render(), signal, model.partition)
    assert found[2]["jump_error"] < 0.7 * found[0]["jump_error"]


@covering(6, points=[9, 1, 33, 99], kind=KINDS, settings=[{}, {"loss": "region"}, {"border_weight": 4.0}])
def test_the_loss_of_drawn_points_is_unbiased(kind, settings, points):
    signal = _signal()
    model = PiecewiseINR(RAGGED, BACKBONE, **kind)
    whole = _module(model, signal, **settings).loss(0)
    module = _module(model, signal, points_per_step=points, **settings)
    pieces = [module.loss(step) for step in range(99 // points)]
    torch.testing.assert_close(torch.stack(pieces).mean(), whole)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_several_images_are_fitted_as_each_alone(kind):
    signals = {"a": _signal(0), "b": _signal(1, (8, 12)), "c": _signal(2, (8, 12))}
    partitions = {"a": RAGGED, "b": Grid(rows=2, cols=2)(signals["b"]), "c": Whole()(signals["c"])}
    made = {name: PiecewiseINR(partition, BACKBONE, frame="local", **kind) for name, partition in partitions.items()}
    album = Album(made)
    result = _fit(album, list(signals.values()), steps=15, lr=3e-3)
    for number, (name, model) in enumerate(made.items()):
        alone = _fit(model, signals[name], steps=15, lr=3e-3)
        torch.testing.assert_close(album.member(number).render(2), alone.model.render(2), rtol=0, atol=1e-4)
        of_image = [row["psnr"] for row in result.image_curve if row["image"] == name]
        assert of_image == pytest.approx([row["psnr"] for row in alone.curve], abs=1e-2)
    assert album.macs_per_sample == pytest.approx(
        sum(made[name].macs_per_sample * signals[name][..., 0].numel() for name in made)
        / sum(signal[..., 0].numel() for signal in signals.values()),
        abs=1,
    )


def test_the_global_network_is_within_the_budget():
    backbone = Siren(match_params=20_000, hidden_layers=2)
    partition = Grid(rows=4, cols=4)(torch.rand(16, 16, 3))
    plain, model = (PiecewiseINR(partition, backbone, global_network=each) for each in (False, True))
    assert (plain.networks, model.networks) == (16, 17)
    assert model.parameter_count == sum(value.numel() for value in model.stack.values())
    assert model.parameter_count == pytest.approx(20_000, rel=0.05)
    assert model.backbone == backbone.with_width(backbone.width_for(20_000, 17, 2, 3))
    # Every pixel goes through two networks.
    assert model.macs_per_sample == 2 * model.backbone.macs(2, 3)


def test_an_overlap_costs_what_lies_in_it():
    signal = torch.rand(12, 12, 3)
    partition = Grid(rows=1, cols=2)(signal)
    model = PiecewiseINR(partition, BACKBONE, overlap=2)
    assert model.parameter_count == PiecewiseINR(partition, BACKBONE).parameter_count
    assert model.batch(signal).sizes == (12 * 8, 12 * 8)
    assert model.macs_per_sample == round(BACKBONE.macs(2, 3) * 16 / 12)


def test_no_network_sees_more_than_its_frame():
    # A table of features has nothing beyond [-1, 1].
    signal = _signal()
    model = PiecewiseINR(RAGGED, HashGrid(hidden_features=4), frame="local", overlap=3, global_network=True)
    assert float(model.batch(signal).coords.abs().max()) < 1
    _fit(model, signal, steps=2)


def test_a_resumed_run_goes_on_bit_by_bit(tmp_path):
    signal = _signal()
    curves = []
    for cut in (False, True):
        trainer = make_trainer(accelerator="cpu")
        options: dict[str, Any] = {"optimizer": Optimizer(lr=1e-2), "settings": FitSettings(points_per_step=40)}
        model = PiecewiseINR(RAGGED, BACKBONE, overlap=1, global_network=True)
        if cut:
            fit(model, signal, steps=8, trainer=trainer, **options)
            trainer.save_checkpoint(tmp_path / "last.ckpt")
            model = PiecewiseINR(RAGGED, BACKBONE, overlap=1, global_network=True)
            trainer = make_trainer(accelerator="cpu")
            options["ckpt_path"] = tmp_path / "last.ckpt"
        result = fit(model, signal, steps=20, trainer=trainer, **options)
        curves.append({row["step"]: row["psnr"] for row in result.curve})
    assert curves[0] == curves[1]
    other = PiecewiseINR(RAGGED, BACKBONE, global_network=True)
    with pytest.raises(PartinrError, match=r"its overlap is 1, here it is None"):
        fit(other, signal, steps=20, trainer=make_trainer(accelerator="cpu"), **options)


@pytest.mark.parametrize("kind", KINDS[:2], ids=str)
def test_what_cannot_be_is_refused(kind):
    signal = _signal()
    model = PiecewiseINR(RAGGED, BACKBONE, **kind)
    with pytest.raises(PartinrError, match=r"freeze_at_psnr takes regions out .* leave one of the two out"):
        _module(model, signal, freeze_at_psnr=30.0)
    with pytest.raises(PartinrError, match=r"draws for each network by itself, .* choose sampler=uniform"):
        _module(model, signal, points_per_step=9, sampling="error")
    if "global_network" in kind:
        with pytest.raises(PartinrError, match=r"twice the mean of each region; leave one of the two out"):
            _module(model, signal, begin_at_mean=True)
    with pytest.raises(PartinrError, match=r"a region each to themselves; leave init out"):
        LearnedStart(BACKBONE).begin(model)


def test_blended_regions_may_begin_at_the_mean_of_what_they_see():
    signal = _signal()
    first, mean = (
        fit(
            PiecewiseINR(RAGGED, BACKBONE, overlap=2),
            signal,
            steps=1,
            lr=1e-9,
            settings=FitSettings(begin_at_mean=each),
            trainer=make_trainer(accelerator="cpu"),
        )
        for each in (False, True)
    )
    assert mean.curve[0]["psnr"] > first.curve[0]["psnr"]
    batch = mean.model.batch(signal)
    for network, bias in enumerate(mean.model.stack["bias_2"]):
        torch.testing.assert_close(bias, batch.targets[batch.network == network].mean(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_crop_and_bands_are_parts_of_the_whole(kind, monkeypatch):
    model = PiecewiseINR(RAGGED, BACKBONE, frame="local", **kind)
    whole = model.render(4)
    torch.testing.assert_close(model.render(4, crop=[(2, 7), (3, 10)]), whole[8:28, 12:40], rtol=0, atol=1e-5)
    monkeypatch.setattr("partinr.model.inr.BAND", 100)
    torch.testing.assert_close(model.render(4), whole, rtol=0, atol=1e-5)
    with pytest.raises(PartinrError, match="no gradient of networks that are blended"):
        model.render(field="gradient")


def test_bad_options_are_refused():
    for overlap in (-1, 33):
        with pytest.raises(PartinrError, match=f"overlap={overlap}; give 0 to 32 samples"):
            PiecewiseINR(RAGGED, BACKBONE, overlap=overlap)
    with pytest.raises(PartinrError, match=r"one width; leave capacity=equal"):
        PiecewiseINR(RAGGED, dataclasses.replace(BACKBONE), widths=[4, 5, 6], global_network=True)
    # Several widths work with an overlap.
    _fit(PiecewiseINR(RAGGED, BACKBONE, widths=[4, 5, 6], overlap=1), _signal(), steps=2)

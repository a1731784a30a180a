"""The ordinary regime: what it minimises, where it stops, and what it says when it fails."""

from __future__ import annotations

import itertools
import logging
import math

import lightning as L
import numpy as np
import pytest
import torch

from partinr.api import fit
from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.coords import grid_coords
from partinr.metrics.quality import SEAM_BAND, psnr, seam
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition, Whole
from partinr.regimes import (
    Constant,
    Cosine,
    FitModule,
    FitSettings,
    Optimizer,
    Plateau,
    StopRule,
    WarmUp,
    make_trainer,
)
from partinr.runs.layout import CLOCK_COLUMNS
from partinr.training.trainer import run_fit
from tests.covering import cases, covering

TINY = Siren(hidden_features=4, hidden_layers=0, first_omega_0=5.0)


def draw(module, step):
    return module.sampler.draws.draw(step)


def _rows(curve: list[dict[str, float]]) -> list[dict[str, str]]:
    """A curve without its clock, every digit kept; text, because NaN is never equal to itself."""
    return [{name: repr(value) for name, value in row.items() if name not in CLOCK_COLUMNS} for row in curve]


# ---------------------------------------------------------------------------------------------------------------------
# Right on an image that is not square


def _gradient(height: int, width: int) -> torch.Tensor:
    """Smooth everywhere, different along both axes."""
    y, x = grid_coords((height, width)).reshape(height, width, 2).unbind(-1)
    channels = [
        0.5 + 0.3 * torch.sin(2 * y + 0.3),
        0.5 + 0.3 * torch.sin(2 * x + 0.3),
        0.5 + 0.2 * torch.cos(2 * (x + y)),
    ]
    return torch.stack(channels, -1).float()


def _neighbour_error(picture: torch.Tensor, image: torch.Tensor, axis: int) -> float:
    """How wrong the differences between neighbours along an axis are, as a fraction of those differences."""
    wrong = picture.diff(dim=axis) - image.diff(dim=axis)
    return float(wrong.square().mean().sqrt() / image.diff(dim=axis).square().mean().sqrt())


def _fit_gradient(small_fit, shape, rule, **options):
    image = _gradient(*shape)
    backbone = Siren(hidden_features=16, hidden_layers=1, first_omega_0=3.0, omega_0=5.0)
    model = PiecewiseINR(rule(image), backbone, **options)
    result = small_fit(image, model=model, steps=300, lr=1e-2, schedule=Cosine())
    return result.psnr, *(_neighbour_error(model.render(), image, axis) for axis in (0, 1))


@pytest.mark.parametrize(
    ("shape", "rule", "frame"),
    [
        ((24, 36), Whole(), "global"),
        ((36, 24), Grid(rows=2, cols=3), "local"),
    ],
)
def test_vertical_and_horizontal_neighbours_are_fitted_alike(small_fit, shape, rule, frame):
    psnr, vertical, horizontal = _fit_gradient(small_fit, shape, rule, frame=frame)
    assert psnr > 38
    assert max(vertical, horizontal) < 0.4
    assert 1 / 2.5 < vertical / horizontal < 2.5


def test_the_test_above_sees_swapped_axes(small_fit):
    # The published code's fault: coordinates laid out width-major, pixels height-major.
    psnr, vertical, horizontal = _fit_gradient(small_fit, (24, 36), Grid(rows=2, cols=3), layout="public_code")
    assert psnr < 38
    assert min(vertical, horizontal) > 1


# ---------------------------------------------------------------------------------------------------------------------
# What a step is


def _separate(
    model: PiecewiseINR, signal: torch.Tensor, steps: int, lr: float, clip: float
) -> list[dict[str, torch.Tensor]]:
    """Each region's network trained alone: plain torch, its own Adam, its own samples, no stack."""
    spec = model.backbone
    assert isinstance(spec, Siren)
    trained = []
    flat, labels = signal.reshape(-1, signal.shape[-1]).double(), model.partition.labels.reshape(-1)
    coords = grid_coords(model.partition.shape).float().double()
    for region in range(model.partition.regions):
        params = {name: value[region].detach().double().requires_grad_() for name, value in model.stack.items()}
        optimizer = torch.optim.Adam(params.values(), lr=lr, fused=False, foreach=False)
        x, y = coords[labels == region], flat[labels == region]
        for _ in range(steps):
            h = x
            for layer in range(spec.hidden_layers + 2):
                h = h @ params[f"weight_{layer}"].T + params[f"bias_{layer}"]
                if layer <= spec.hidden_layers:
                    h = torch.sin((spec.omega_0 if layer else spec.first_omega_0) * h)
            optimizer.zero_grad()
            # This region's part of the mean over the whole image.
            ((h - y).square().sum() / flat.numel()).backward()
            torch.nn.utils.clip_grad_norm_(params.values(), clip)
            optimizer.step()
        trained.append(params)
    return trained


@covering(engine=["loop", "batched"], precision=["32-true", "64-true"], clip=[None, 0.03])
def test_training_a_stack_is_training_its_networks_apart(small_fit, signal, engine, precision, clip):
    labels = Grid(regions=4)(signal).labels.clone()
    labels[:2, :2] = 3  # ragged
    backbone = Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0)
    model = PiecewiseINR(Partition(labels), backbone, engine=engine)
    expected = _separate(model, signal, steps=25, lr=3e-3, clip=clip or math.inf)
    small_fit(signal, model=model, steps=25, optimizer=Optimizer(lr=3e-3, clip_norm=clip), precision=precision)
    tolerance = 1e-9 if precision == "64-true" else 2e-4
    for name, value in model.stack.items():
        for region in range(4):
            torch.testing.assert_close(value[region].double(), expected[region][name], rtol=0, atol=tolerance)


def _module(signal, partition, *, stop=None, seed=0, **settings) -> FitModule:
    model = PiecewiseINR(partition, TINY, channels=signal.shape[-1])
    return FitModule(
        model,
        signal,
        optimizer=Optimizer(lr=1e-3),
        schedule=Constant(),
        stop=StopRule(max_steps=10) if stop is None else stop,
        settings=FitSettings(**settings),
        seed=seed,
    )


UNEQUAL = Partition(torch.tensor([[0] * 9] * 4 + [[0, 0, 1, 1, 1, 1, 1, 2, 2]] * 2))


def test_the_loss_is_the_mean_over_the_image(signal):
    module = _module(signal, UNEQUAL)
    expected = (module.reconstructions()[0] - signal).square().mean()
    torch.testing.assert_close(module.loss(0), expected)


def test_the_loss_by_region_is_the_mean_of_the_regions_means(signal):
    module = _module(signal, UNEQUAL, loss="region")
    error = (module.reconstructions()[0] - signal).square()
    expected = torch.stack([error[UNEQUAL.labels == region].mean() for region in range(3)]).mean()
    torch.testing.assert_close(module.loss(0), expected)
    assert not torch.isclose(expected, error.mean())


@pytest.mark.parametrize("loss", ["image", "region"])
@pytest.mark.parametrize("weight", [0.25, 4.0])
def test_border_weights_keep_the_mean(signal, loss, weight):
    module = _module(signal, UNEQUAL, loss=loss, border_weight=weight, border_width=1)
    error = (module.reconstructions()[0] - signal).square().mean(-1)
    factor = torch.where(UNEQUAL.near_border(1), weight, 1.0)
    if loss == "image":
        expected = (error * factor).sum() / factor.sum()
    else:
        regions = [UNEQUAL.labels == region for region in range(3)]
        expected = torch.stack([(error * factor)[at].sum() / factor[at].sum() for at in regions]).mean()
    torch.testing.assert_close(module.loss(0), expected)
    assert not torch.isclose(module.loss(0), _module(signal, UNEQUAL, loss=loss).loss(0), rtol=1e-3)


@pytest.mark.parametrize("partition", [UNEQUAL, Whole()(torch.rand(6, 9, 3))])
def test_a_border_weight_of_1_or_without_a_border_is_no_weight(signal, partition):
    # Of one region, and of a band that takes the whole image in, all samples count alike.
    plain = _module(signal, partition).loss(0)
    assert torch.equal(_module(signal, partition, border_weight=1.0, border_width=3).loss(0), plain)
    torch.testing.assert_close(_module(signal, partition, border_weight=5.0, border_width=9).loss(0), plain)


def test_a_border_weight_moves_the_error_to_the_inside(small_fit):
    # Noise, which few features cannot fit: what the border gains the inside pays for.
    noise = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0))
    found = {}
    for weight in (1.0, 30.0):
        settings = {"border_weight": weight, "border_width": SEAM_BAND}
        result = small_fit(noise, steps=300, lr=1e-2, settings=settings)
        found[weight] = seam(result.model.render(), noise, result.model.partition)
    assert found[30.0]["psnr_band"] > found[1.0]["psnr_band"] + 0.2
    assert found[30.0]["psnr_inside"] < found[1.0]["psnr_inside"] - 0.2


@covering(points=[1, 6, 18, 54], loss=["image", "region"], weight=[3.0, 1.0])
def test_the_loss_of_drawn_points_is_unbiased(signal, loss, weight, points):
    # 54 samples: an epoch divides into pieces without a rest, and their mean equals the whole except for rounding.
    whole = _module(signal, UNEQUAL, loss=loss, border_weight=weight).loss(0)
    module = _module(signal, UNEQUAL, loss=loss, border_weight=weight, points_per_step=points)
    for epoch in range(3):
        pieces = []
        for piece in range(54 // points):
            pieces.append(module.loss(epoch * (54 // points) + piece))
        torch.testing.assert_close(torch.stack(pieces).mean(), whole)


def test_an_epoch_sees_no_sample_twice_and_all_samples_alike(signal):
    for points in cases(1, 5, 20, 28, 54):
        module = _module(signal, UNEQUAL, points_per_step=points)
        pieces = 54 // points
        epochs = 150
        seen = torch.zeros(54)
        for epoch in range(epochs):
            drawn = []
            for piece in range(pieces):
                samples = draw(module, epoch * pieces + piece)
                assert len(samples) == points
                assert (samples.diff() > 0).all()
                drawn += samples.tolist()
            assert len(set(drawn)) == len(drawn) == pieces * points
            seen[drawn] += 1
        # Every sample is in an epoch with the same probability p: five standard deviations of a binomial.
        p = pieces * points / 54
        assert float((seen - epochs * p).abs().max()) <= 5 * math.sqrt(epochs * p * (1 - p)) + 1e-6


def test_the_drawing_follows_from_seed_and_step_alone(signal):
    def drawn(seed, step):
        module = _module(signal, UNEQUAL, points_per_step=7, seed=seed)
        return draw(module, step).tolist()

    walked = _module(signal, UNEQUAL, points_per_step=7)
    for step in range(20):
        assert draw(walked, step).tolist() == drawn(0, step)
    assert drawn(0, 3) != drawn(1, 3)
    assert drawn(0, 3) != drawn(0, 3 + 7)


def test_drawing_leaves_the_global_generator_alone(signal):
    module = _module(signal, UNEQUAL, points_per_step=7)
    state = torch.random.get_rng_state()
    draw(module, 0)
    assert torch.equal(state, torch.random.get_rng_state())


# ---------------------------------------------------------------------------------------------------------------------
# The curve


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"settings": {"points_per_step": 10}, "schedule": Plateau(patience=0, threshold=1.0)},
        {"settings": {"loss": "region"}, "optimizer": "sgd", "precision": "bf16-mixed"},
    ],
    ids=str,
)
def test_the_same_fit_twice_is_the_same_curve_bit_by_bit(small_fit, signal, options):
    first, second = (small_fit(signal, steps=30, lr=1e-2, **options) for _ in range(2))
    assert _rows(first.curve) == _rows(second.curve)
    assert torch.equal(first.model.render(), second.model.render())


def test_another_seed_draws_another_curve(small_fit, signal):
    first, second = (small_fit(signal, steps=5, seed=seed, settings={"points_per_step": 10}) for seed in (0, 1))
    assert _rows(first.curve)[0] == _rows(second.curve)[0]
    assert first.curve[-1]["loss"] != second.curve[-1]["loss"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_curve_does_not_depend_on_how_steps_are_chunked(small_fit, signal, precision, monkeypatch):
    # Under autocast weights are cast once and kept: a cast that outlives an optimiser step would be an old one.
    options = {"steps": 40, "lr": 1e-2, "precision": precision, "settings": {"evaluate_every": 20}}
    long = small_fit(signal, **options)
    monkeypatch.setattr("partinr.training.loop.CHUNK_SECONDS", 0.0)
    short = small_fit(signal, **options)
    assert _rows(long.curve) == _rows(short.curve)


def test_half_precision_learns_too(small_fit, signal):
    result = small_fit(signal, steps=200, lr=1e-2, precision="bf16-mixed")
    assert result.failure is None
    assert result.psnr > result.curve[0]["psnr"] + 15
    assert all(value.dtype == torch.float32 for value in result.model.stack.values())


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_what_is_measured_is_what_the_model_gives(small_fit, signal, precision, tmp_path):
    result = small_fit(signal, steps=60, lr=1e-2, precision=precision)
    (tmp_path / "inr.safetensors").write_bytes(result.model.to_bytes())
    loaded = PiecewiseINR.load(tmp_path / "inr.safetensors")
    assert result.psnr == pytest.approx(psnr(result.model.render(), signal), abs=1e-4)
    assert result.psnr == pytest.approx(psnr(loaded.render(), signal), abs=1e-4)


def test_what_a_row_says(small_fit, signal):
    result = small_fit(signal, steps=23, lr=1e-2)
    curve, model = result.curve, result.model
    assert [row["step"] for row in curve] == [0, *(s for s in range(1, 23) if s in {row["step"] for row in curve}), 23]
    assert {1, 2, 5, 10, 20, 23} <= {row["step"] for row in curve}
    for row in curve:
        assert row["macs"] == row["step"] * 54 * model.macs_per_sample
        assert row["lr"] == 1e-2
    assert [row["seconds"] for row in curve] == sorted(row["seconds"] for row in curve)
    assert curve[0]["seconds"] == 0
    last = curve[-1]
    assert (result.psnr, result.ssim, result.steps) == (last["psnr"], pytest.approx(last["ssim"], nan_ok=True), 23)
    assert result.seconds == last["seconds"]
    assert result.psnr_best == max(row["psnr"] for row in curve)


def test_the_loss_of_a_row_is_that_of_the_step_before_it(small_fit, signal):
    curve = small_fit(signal, steps=6, lr=1e-2, settings={"evaluate_every": 1}).curve
    # The first loss is of the untrained network, at step 0 and again when the first step was taken.
    assert curve[1]["loss"] == pytest.approx(curve[0]["loss"], rel=1e-5)
    assert all(b["loss"] < a["loss"] for a, b in itertools.pairwise(curve[1:]))


def test_macs_count_the_points_that_a_step_sees(small_fit, signal):
    result = small_fit(signal, steps=4, settings={"points_per_step": 10})
    assert result.curve[-1]["macs"] == 4 * 10 * result.model.macs_per_sample


def test_a_schedule_moves_step_by_step(small_fit, signal):
    for schedule, factor in [
        (Constant(), lambda s: 1),
        (WarmUp(warmup_steps=4), lambda s: min(1, (s + 1) / 5)),
        (Cosine(final=0.1), lambda s: 0.1 + 0.9 * (1 + math.cos(math.pi * s / 12)) / 2),
    ]:
        curve = small_fit(signal, steps=12, lr=0.5e-3, schedule=schedule, settings={"evaluate_every": 1}).curve
        assert [row["lr"] for row in curve] == pytest.approx([0.5e-3 * factor(step) for step in range(13)])


def test_a_plateau_moves_with_evaluations(small_fit, signal, monkeypatch):
    told = iter([20.0, 21.0, 21.0, 21.0, 25.0, 25.0, 25.0])
    monkeypatch.setattr("partinr.regimes.fit.evaluated.psnr", lambda *_: next(told))
    schedule = Plateau(factor=0.5, patience=0, threshold=0.1, min_lr=0.0)
    curve = small_fit(signal, steps=12, lr=8.0e-3, schedule=schedule, settings={"evaluate_every": 2}).curve
    # Evaluation 0 comes before there is anything to wait for.
    assert [row["lr"] for row in curve] == pytest.approx([8e-3, 8e-3, 4e-3, 2e-3, 2e-3, 1e-3, 0.5e-3])


# ---------------------------------------------------------------------------------------------------------------------
# Where it stops


def test_at_the_last_step(small_fit, signal):
    for steps in [1, 2, 17]:
        result = small_fit(signal, steps=steps)
        assert (result.stop, result.steps, result.failure) == ("max_steps", steps, None)


def test_at_a_psnr(small_fit, signal):
    longer = small_fit(signal, steps=100, lr=1e-2)
    target = longer.curve[len(longer.curve) // 2]["psnr"]
    result = small_fit(signal, steps=100, lr=1e-2, target_psnr=target)
    assert (result.stop, result.failure) == ("target_psnr", None)
    assert result.psnr >= target
    assert all(row["psnr"] < target for row in result.curve[:-1])
    assert _rows(result.curve) == _rows(longer.curve)[: len(result.curve)]


def test_at_a_psnr_that_is_there_before_the_first_step(small_fit, signal):
    result = small_fit(signal, steps=100, target_psnr=-100.0)
    assert (result.stop, result.steps, len(result.curve)) == ("target_psnr", 0, 1)


def test_at_a_psnr_that_is_never_reached(small_fit, signal):
    assert small_fit(signal, steps=3, target_psnr=500.0).stop == "max_steps"


def test_after_seconds_of_training(small_fit, signal, clock):
    # A chunk of steps takes a hundredth of a second on this clock.
    result = small_fit(signal, steps=None, seconds=0.095, settings={"evaluate_every": 1})
    assert (result.stop, result.failure) == ("max_seconds", None)
    assert result.seconds == pytest.approx(0.10)
    assert result.curve[-1]["step"] == result.steps == 10


def test_evaluations_take_a_tenth_of_the_time_where_only_seconds_limit_a_run(small_fit, signal, clock, monkeypatch):
    # On this clock, a step and an evaluation take a hundredth of a second each.
    monkeypatch.setattr("partinr.training.loop.CHUNK_SECONDS", 0.0)
    usual = [row["step"] for row in small_fit(signal, steps=150).curve]
    assert usual[:4] == [0, 1, 2, 3]
    limited = small_fit(signal, steps=None, seconds=1.495).curve
    assert limited[-1]["step"] == 150
    assert {row["step"] for row in limited} < set(usual)
    assert 4 < len(limited) <= 16
    # The first does not count, and what the others take is known from the second on.
    for others, row in enumerate(limited[2:], start=2):
        assert others <= row["step"] / 10
    both = small_fit(signal, steps=150, seconds=1000.0).curve
    assert [row["step"] for row in both] == usual
    explicit = small_fit(signal, steps=None, seconds=0.295, settings={"evaluate_every": 1, "evaluate_at": [3]}).curve
    assert [row["step"] for row in explicit] == list(range(31))


def test_time_that_runs_out_between_evaluations_ends_with_one(small_fit, signal, clock):
    result = small_fit(signal, steps=None, seconds=0.035, settings={"evaluate_every": 10**6})
    assert result.stop == "max_seconds"
    assert [row["step"] for row in result.curve] == [0, result.steps]
    assert result.seconds == pytest.approx(0.04)


def test_evaluation_counts_as_no_training(small_fit, signal, clock, monkeypatch):
    def slow(*_):
        clock.now += 1000
        return 0.5

    monkeypatch.setattr("partinr.signals.kinds.image.ssim", slow)
    seen = []

    class Watch(L.Callback):
        def on_train_end(self, trainer, pl_module):
            seen.append((pl_module.clock.training, pl_module.clock.evaluation))

    result = small_fit(signal, steps=20, seconds=500.0, callbacks=(Watch(),))
    assert result.stop == "max_steps"
    assert result.seconds < 1
    ((training, evaluation),) = seen
    assert training == result.seconds
    assert evaluation == pytest.approx(1000 * len(result.curve), rel=0.01)


# ---------------------------------------------------------------------------------------------------------------------
# Where it fails


class Weights(L.Callback):
    """Keeps the weights after every evaluation."""

    def __init__(self) -> None:
        self.kept: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if len(pl_module.curve) > len(self.kept):
            self.kept.append({name: value.detach().clone() for name, value in pl_module.model.stack.items()})


def _equal(weights, model) -> bool:
    return all(torch.equal(value, model.stack[name]) for name, value in weights.items())


def test_a_run_that_diverges_fails_with_its_best_weights(small_fit, signal):
    for steps in [1, 2, 50]:
        model = PiecewiseINR(Grid(regions=4)(signal), TINY)
        start = {name: value.detach().clone() for name, value in model.stack.items()}
        result = small_fit(signal, model=model, steps=steps, lr=1e300, optimizer="sgd")
        assert result.stop is None
        assert result.failure is not None
        assert "nan after" in result.failure
        assert "lower optimizer.lr" in result.failure
        assert "\n" not in result.failure
        assert result.steps <= 2
        assert _equal(start, model)
        assert math.isfinite(result.psnr_best)
        assert model.render().isfinite().all()


def _told(monkeypatch, values):
    told = iter(values)
    monkeypatch.setattr("partinr.regimes.fit.evaluated.psnr", lambda *_: next(told))


def test_a_curve_that_collapses_fails_with_its_best_weights(small_fit, signal, monkeypatch):
    _told(monkeypatch, [10.0, 30.0, 31.0, 20.9, 20.0, 5.0])
    monkeypatch.setattr("partinr.training.loop.CHUNK_SECONDS", 0.0)
    weights = Weights()
    result = small_fit(signal, steps=50, lr=1e-2, settings={"evaluate_every": 2}, callbacks=(weights,))
    assert result.failure is not None
    assert "collapsed: 5.0 dB after 10 steps, 31.0 dB at best" in result.failure
    assert (result.stop, result.steps, result.psnr_best) == (None, 10, 31.0)
    # The call that took the first step had evaluated step 0 as well; then a call a step: steps 1, 2, 4, 6 …
    assert not _equal(weights.kept[-1], result.model)
    assert sum(_equal(kept, result.model) for kept in weights.kept) == 1


def test_a_curve_that_only_shakes_goes_on(small_fit, signal, monkeypatch):
    for values, margin in [
        ([30.0, 10.0, 10.0, 30.5, 10.0, 10.0, 30.0], 10.0),  # spikes, two evaluations long
        ([30.0, 20.1, 20.1, 20.1, 20.1, 20.1, 20.1], 10.0),  # low, but not so low
        ([30.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], None),  # allowed to continue
        ([30.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0], 25.0),
    ]:
        _told(monkeypatch, values)
        result = small_fit(signal, steps=6, settings={"evaluate_every": 1, "collapse_db": margin})
        assert (result.stop, result.failure) == ("max_steps", None)


def test_a_completed_run_keeps_its_last_weights_not_its_best(small_fit, signal, monkeypatch):
    _told(monkeypatch, [10.0, 30.0, 29.0, 28.0])
    weights = Weights()
    result = small_fit(signal, steps=3, lr=1e-2, settings={"evaluate_every": 1}, callbacks=(weights,))
    assert (result.psnr, result.psnr_best) == (28.0, 30.0)
    assert _equal(weights.kept[-1], result.model)


# ---------------------------------------------------------------------------------------------------------------------
# What it is given


@pytest.mark.parametrize("shape", [(8, 8, 1), (1, 1, 3), (1, 7, 3), (9, 1, 1), (40, 1), (12, 2)])
def test_any_signal_on_a_regular_grid(small_fit, shape):
    signal = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    for rule in (Whole(), Grid(regions=min(3, math.prod(shape[:-1])))):
        result = small_fit(signal, rule(signal), steps=5)
        assert result.stop == "max_steps"
        assert result.model.render().shape == shape
        assert math.isfinite(result.psnr)


def test_a_region_a_pixel_fits_every_pixel(small_fit):
    signal = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(0))
    result = small_fit(signal, Partition(torch.arange(12).reshape(3, 4)), TINY, steps=300, lr=2e-2, schedule=Cosine())
    assert result.psnr > 60


def test_another_backbone(small_fit, signal):
    result = small_fit(signal, backbone=ReluPE(hidden_features=8, hidden_layers=1, frequencies=4), steps=200, lr=1e-2)
    assert result.psnr > result.curve[0]["psnr"] + 10


def test_a_signal_that_is_none_is_refused_before_training(small_fit, signal):
    for broken in [
        lambda s: s * 255,
        lambda s: s - 0.9,
        lambda s: s.index_fill(0, torch.tensor([1]), math.nan),
        lambda s: s.index_fill(0, torch.tensor([1]), math.inf),
    ]:
        model = PiecewiseINR(Grid(regions=4)(signal), TINY)
        start = {name: value.detach().clone() for name, value in model.stack.items()}
        with pytest.raises(PartinrError, match=r"in \[0, 1\]"):
            small_fit(broken(signal), model=model, steps=3)
        assert _equal(start, model)


def test_a_signal_in_double_precision_is_the_same_signal(small_fit, signal):
    first, second = (small_fit(values, steps=10) for values in (signal, signal.double()))
    assert _rows(first.curve) == _rows(second.curve)


def test_the_signal_stays_as_it_was(small_fit, signal):
    before = signal.clone()
    small_fit(signal, steps=3)
    assert torch.equal(signal, before)


def test_options_that_cannot_be_are_refused_before_training(small_fit, signal):
    for options, said in cases(
        ({"steps": None}, "no certain end"),
        ({"steps": 0}, "max_steps=0"),
        ({"lr": 0.0}, "lr=0"),
        ({"optimizer": "adan"}, "did you mean adam"),
        ({"optimizer": Optimizer(options={"betas": [2, 3]})}, "refuses its options"),
        ({"schedule": WarmUp(), "steps": 20}, "leaves nothing"),
        ({"settings": {"points_per_step": 55}}, "more than the 54 samples"),
        ({"settings": {"points_per_step": 0}}, "points_per_step=0"),
        ({"settings": {"loss": "median"}}, "loss='median'"),
        ({"settings": {"evaluate_at": [0]}}, r"evaluate_at\.0=0"),
        ({"settings": {"evaluate_every": 0}}, "evaluate_every=0"),
        ({"settings": {"evaluations_per_decade": 0}}, "evaluations_per_decade=0"),
        ({"settings": {"collapse_db": 0.0}}, "collapse_db=0"),
    ):
        model = PiecewiseINR(Grid(regions=4)(signal), TINY)
        with pytest.raises(PartinrError, match=said):
            small_fit(signal, model=model, **options)


def test_an_optimiser_that_refuses_is_found_before_the_training(signal):
    model = PiecewiseINR(Grid(regions=4)(signal), TINY)
    with pytest.raises(PartinrError, match="refuses its options"):
        fit(model, signal, optimizer=Optimizer(options={"betas": [2, 3]}), trainer=make_trainer(accelerator="cpu"))


def test_a_model_of_another_partition_is_refused(small_fit, signal):
    model = PiecewiseINR(Grid(regions=4)(torch.zeros(9, 6, 3)), TINY)
    with pytest.raises(PartinrError, match="make the partition from this signal"):
        small_fit(signal, model=model, steps=1)


def test_flags_that_lightning_refuses():
    for accelerator, precision in [("abacus", "32-true"), ("cpu", "7-true"), ("cpu", "")]:
        with pytest.raises(
            PartinrError, match=f"trainer.accelerator={accelerator} with trainer.precision={precision}"
        ) as caught:
            make_trainer(accelerator=accelerator, precision=precision)
        assert "\n" not in str(caught.value)


def test_a_fit_is_quiet(small_fit, signal, capfd):
    before = [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")]
    small_fit(signal, steps=3)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert before == [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")]


def test_the_defaults_of_a_notebook():
    image = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(0))
    model = PiecewiseINR(Grid(rows=2, cols=2)(image), TINY)
    result = fit(model, image, steps=3)
    assert result.model is model
    assert len(result.curve) == 4
    again = fit(model, image, steps=2)
    assert again.curve[0]["psnr"] == pytest.approx(result.psnr, abs=1e-4), "a second fit goes on from the first"


def test_a_slurm_job_of_several_tasks_is_no_group_to_join(small_fit, signal, monkeypatch):
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert small_fit(signal, steps=2).steps == 2


def test_numpy_seeds_and_global_generators_are_left_alone(small_fit, signal):
    np.random.seed(3)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    small_fit(signal, steps=3, settings={"points_per_step": 10})
    assert torch.equal(torch.rand(3), expected)


def test_run_fit_gives_what_the_module_holds(signal):
    module = _module(signal, UNEQUAL)
    result = run_fit(module, make_trainer(accelerator="cpu"))
    assert result.curve is module.curve
    assert result.steps == module.step == 10


@pytest.mark.parametrize("tf32", [True, False])
def test_the_precision_of_cuda_products_is_the_runs_own(signal, tf32):
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    seen = []

    class Look(L.Callback):
        def on_train_start(self, *_):
            seen.append(products.fp32_precision)

    run_fit(_module(signal, UNEQUAL), make_trainer(accelerator="cpu", tf32=tf32, callbacks=[Look()]))
    assert seen == ["tf32" if tf32 else "ieee"]
    assert products.fp32_precision == before


def test_callbacks_that_hook_into_a_step_are_called_in_every_one(signal):
    called = []

    class Hook(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            called.append(optimizer)

    hooked, plain = _module(signal, UNEQUAL), _module(signal, UNEQUAL)
    with_hook, without = make_trainer(accelerator="cpu", callbacks=[Hook()]), make_trainer(accelerator="cpu")
    run_fit(hooked, with_hook)
    run_fit(plain, without)
    assert len(called) == hooked.step == 10
    assert with_hook.global_step == without.global_step == 10
    for name, value in plain.model.stack.items():
        # Without the hook the engine takes the steps itself, with another order of operations.
        torch.testing.assert_close(hooked.model.stack[name], value, rtol=1e-4, atol=1e-5)

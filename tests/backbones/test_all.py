"""What every backbone has to do. One with a YAML in conf/backbone is in here by that."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch.utils.flop_counter import FlopCounterMode

import partinr
from partinr import backbones
from partinr.backbones import Backbone, load_backbone
from partinr.base.errors import PartinrError
from partinr.model.album import Album
from partinr.model.capacity import widths
from partinr.model.inr import PiecewiseINR
from partinr.model.stack import NetworkStack
from partinr.partition import Grid, Partition
from partinr.regimes.meta import LearnedStart, TaskBatch, check_meta_gradient, outer_gradients
from partinr.training.shards import Shard
from tests.covering import covering

CONF = Path(__file__).parents[2] / "conf" / "backbone"
CHOICES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CONF.glob("*.yaml"))}
# Options that make another function of it.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "siren, scaled": ("siren", {"weight_scale": 2.0}),
    "siren, normalised and factorised": ("siren", {"batch_norm": True, "factorisation": 0.5}),
    "fourier, few": ("fourier", {"frequencies": 3}),
    "finer, high": ("finer", {"first_bias": 3.0}),
    "mfn, fourier": ("mfn", {"filter": "fourier"}),
    "hash_grid, tiny": ("hash_grid", {"table_size": 7, "levels": 3, "coarsest": 2, "finest": 9}),
}
CASES = {**{name: (name, {}) for name in CHOICES}, **VARIANTS}
as_chosen = pytest.mark.parametrize("case", CHOICES)

SIZES = (5, 0, 3, 9)


def make(case: str, **options: Any) -> Backbone:
    """A backbone as its YAML and the options have it."""
    name, own = CASES[case]
    settings = {**CHOICES[name], **own, **options}
    if "hidden_layers" not in CHOICES[name]:  # no network
        settings.pop("hidden_layers", None)
    return load_backbone(settings.pop("_target_"), settings)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def small(case: str) -> Backbone:
    return make(case, hidden_features=5, hidden_layers=1)


def samples(count: int, axes: int = 2, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    coords = 2 * torch.rand(count, axes, dtype=torch.float64, generator=generator) - 1
    return coords, torch.rand(count, channels, dtype=torch.float64, generator=generator)


def learned(stack: NetworkStack) -> dict[str, torch.Tensor]:
    return {name: value for name, value in stack.stack.items() if value.requires_grad}


# -- the choice ---------------------------------------------------------------------------------------------------


def test_the_yaml_says_what_the_class_does():
    for name in CHOICES:
        kind = type(make(name))
        assert kind is getattr(backbones, kind.__name__)
        assert kind.title == name
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        assert {key: value for key, value in CHOICES[name].items() if key != "_target_"} == {
            **defaults,
            "match_params": 100_000,
        }


# -- initialisation and counts ------------------------------------------------------------------------------------


@as_chosen
def test_networks_start_differently_and_from_the_seed_alone(small):
    first, again, other = (small.init(3, 2, 3, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    for name, value in first.items():
        assert value.shape[0] == 3
        assert torch.equal(value, again[name])
        if value.min() < value.max():  # biases and gains may start as constants
            assert not torch.equal(value, other[name])
            assert not torch.equal(value[0], value[1])


def test_only_what_is_learned_counts(small):
    stack = NetworkStack(small, 4, in_features=2)
    assert set(stack.stack) - set(learned(stack)) == small.fixed
    assert stack.parameter_count == 4 * small.parameters(2, 3) == sum(each.numel() for each in learned(stack).values())


@covering(case=list(CASES), networks=[1, 16])
def test_no_other_width_is_nearer_to_the_budget(case, networks):
    budget = 20_000
    sized = make(case, match_params=budget).sized(networks, 2, 3)
    assert sized.hidden_features is not None
    off = abs(networks * sized.parameters(2, 3) - budget)
    for width in {max(1, sized.hidden_features - 1), sized.hidden_features + 1}:
        assert off <= abs(networks * sized.with_width(width).parameters(2, 3) - budget)
    assert make(case, match_params=100_000).sized(1, 2, 3).parameters(2, 3) == pytest.approx(100_000, rel=0.02)


def test_macs_are_what_torch_counts(small):
    params = {name: value[0] for name, value in small.init(1, 2, 3, None).items()}
    with FlopCounterMode(display=False) as counter:
        small.apply(params, torch.rand(11, 2), F.linear)
    # A multiply-accumulate is two operations; eleven samples.
    assert counter.get_total_flops() == 2 * (11 * small.macs(2, 3) + small.macs_a_pass(2, 3))


# -- a stack ------------------------------------------------------------------------------------------------------


@covering(case=list(CASES), axes=[1, 2])
def test_stacked_equals_separate(small, axes):
    stack = NetworkStack(small, len(SIZES), in_features=axes, engine="loop", seed=1).double()
    coords, targets = samples(sum(SIZES), axes)
    names, found = list(learned(stack)), []
    for engine in ("auto", "loop", "batched"):
        stack.engine = engine
        error = stack.squared_error(coords, targets, SIZES)
        found.append((stack(coords, SIZES), torch.autograd.grad(error, list(learned(stack).values()))))
    for network, (x, y) in enumerate(zip(coords.split(SIZES), targets.split(SIZES), strict=True)):
        own = {name: value[network].detach().requires_grad_() for name, value in stack.stack.items()}
        alone = small.apply(own, x, F.linear)
        expected = torch.autograd.grad((alone - y).square().sum(), [own[name] for name in names])
        for values, gradients in found:
            torch.testing.assert_close(values.split(SIZES)[network], alone)
            torch.testing.assert_close([gradient[network] for gradient in gradients], list(expected))


@as_chosen
def test_a_pure_function_of_its_parameters(small):
    stack, other = (NetworkStack(small, len(SIZES), in_features=2, seed=seed).double() for seed in (1, 2))
    coords, _ = samples(sum(SIZES))
    given = {name: value.detach().clone() for name, value in other.stack.items()}
    assert torch.equal(stack(coords, SIZES, params=given), other(coords, SIZES))
    assert not torch.equal(stack(coords, SIZES), other(coords, SIZES))


@as_chosen
def test_one_function_for_many_points_and_for_few(small):
    # No number of a sample depends on the others in its batch.
    stack = NetworkStack(small, 1, in_features=2).double()
    coords, _ = samples(12)
    torch.testing.assert_close(stack(coords, [12])[3:5], stack(coords[3:5], [2]))


def test_the_gradient_and_its_gradient_are_the_true_ones(case):
    stack = NetworkStack(make(case, hidden_features=3, hidden_layers=1), 2, in_features=2, channels=1).double()
    coords, targets = samples(7, channels=1)
    names, start = zip(*stack.stack.items(), strict=True)
    # In the midst of training: tables that start near 0, and biases at it, would hide a fault.
    generator = torch.Generator().manual_seed(3)
    tensors = [
        (value.detach() + 0.1 * torch.randn(value.shape, dtype=value.dtype, generator=generator)).requires_grad_(
            name not in stack.backbone.fixed
        )
        for name, value in zip(names, start, strict=True)
    ]

    def error(*given: torch.Tensor) -> torch.Tensor:
        return stack.squared_error(coords, targets, [4, 3], None, dict(zip(names, given, strict=True)), twice=True)

    assert torch.autograd.gradcheck(error, tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(error, tensors, fast_mode=True)


@as_chosen
def test_engines_that_are_for_others_refuse_it(case):
    backbone = make(case, hidden_features=4)
    if backbone.title != "siren":
        for engine in ("fused", "tiled"):
            with pytest.raises(PartinrError, match=f"engine={engine} is for chains of sines, .* not for"):
                NetworkStack(backbone, 2, in_features=2, engine=engine)


@as_chosen
def test_under_autocast_the_values_are_about_the_same(small):
    stack = NetworkStack(small, 2, in_features=2)
    coords = samples(40)[0].float()
    exact = stack(coords, [25, 15])
    with torch.autocast("cpu", torch.bfloat16):
        values = stack(coords, [25, 15])
    assert values.dtype == torch.float32
    assert float(((values - exact).norm() / exact.norm()).detach()) < 0.1


# -- a model ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """Two flat halves of 12×12 pixels with a bright square in one."""
    image = torch.full((24, 24, 3), 0.2)
    image[:, 12:] = torch.tensor([0.7, 0.4, 0.5])
    image[6:12, 3:9] = 0.9
    return image


@pytest.fixture(scope="module")
def cuts(image: torch.Tensor) -> dict[str, Partition]:
    return {
        "none": partinr.partition.Whole()(image),
        "grid": Grid(regions=4)(image),
        "semantic": partinr.partition.Semantic(regions=3)(image),
    }


@covering(case=list(CHOICES), cut=["grid", "none", "semantic"])
def test_twenty_steps(case, cut, cuts, image):
    model = PiecewiseINR(cuts[cut], make(case, hidden_features=6))
    before = {name: value.detach().clone() for name, value in model.stack.items()}
    result = partinr.fit(model, image, steps=20, lr=2e-3)
    assert [row["step"] for row in result.curve][-1] == 20
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]
    for name, value in model.stack.items():
        assert torch.equal(value, before[name]) == (name in model.backbone.fixed), name


@as_chosen
def test_a_kept_model_is_the_same(small, cuts, tmp_path):
    model = PiecewiseINR(cuts["grid"], small, widths=[4, 6, 4, 8], seed=3)
    path = tmp_path / "inr.safetensors"
    path.write_bytes(model.to_bytes())
    again = PiecewiseINR.load(path)
    assert again.backbone == model.backbone
    for name, value in model.stack.items():
        assert torch.equal(again.stack[name], value)
        assert again.stack[name].requires_grad == value.requires_grad
    for scale in (1, 2) if small.between else (1,):
        assert torch.equal(again.render(scale), model.render(scale))


@as_chosen
def test_capacity_by_area_gives_the_larger_region_more(case, image):
    labels = torch.zeros(24, 24, dtype=torch.int64)
    labels[:, 18:] = 1
    found = widths("area", make(case, match_params=20_000), Partition(labels), image)
    assert found is not None
    assert found[0] > found[1]
    model = PiecewiseINR(Partition(labels), make(case, match_params=20_000), widths=found)
    assert model.parameter_count == pytest.approx(20_000, rel=0.2)


@as_chosen
def test_an_album_has_the_networks_of_its_images(small, cuts, image):
    members = {
        name: PiecewiseINR(cut, small, seed=seed) for seed, (name, cut) in enumerate(itertools.islice(cuts.items(), 2))
    }
    album = Album(members)
    for number, member in enumerate(members.values()):
        torch.testing.assert_close(album.member(number).render(), member.render(), rtol=0, atol=0)
    assert album.parameter_count == sum(member.parameter_count for member in members.values())


@as_chosen
def test_a_share_is_trained_as_the_whole_is(small, cuts, image):
    model = PiecewiseINR(cuts["grid"], small)
    batch = model.batch(image)
    share = Shard.take(model, batch, batch.coords, batch.targets, None, torch.tensor([1, 3]))
    assert {name for name, value in share.params.items() if not value.requires_grad} == small.fixed
    own, whole = learned(model), {name: value for name, value in share.params.items() if value.requires_grad}
    assert isinstance(share.coords, torch.Tensor)
    expected = torch.autograd.grad(model.squared_error(batch.coords, batch.targets, batch.sizes), list(own.values()))
    error = model.squared_error(share.coords, share.targets, share.sizes, None, share.params)
    for gradient, one in zip(torch.autograd.grad(error, list(whole.values())), expected, strict=True):
        torch.testing.assert_close(gradient, one[[1, 3]], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for value in whole.values():
            value.add_(1)
    before = {name: value.detach().clone() for name, value in model.stack.items()}
    share.give_back(model)
    for name, value in model.stack.items():
        moved = (value != before[name]).flatten(1).any(1).tolist()
        assert moved == [False, name in whole, False, name in whole]


# -- learning to learn --------------------------------------------------------------------------------------------


@covering(case=list(CASES), order=[("maml", False), ("maml", True), ("fomaml", False)])
def test_the_meta_gradient_is_the_true_one(case, order):
    check_meta_gradient(LearnedStart(make(case, hidden_features=8), seed=1), *order)


@covering(case=list(CHOICES), algorithm=["maml", "reptile"])
def test_a_start_is_learned_all_but_what_is_fixed(small, algorithm, image, cuts, tmp_path):
    start = LearnedStart(small, inner_lr=1e-3, inner_steps=2)
    batch = TaskBatch.of([image, 1 - image], [cuts["grid"]] * 2, "global")
    outer_gradients(start, batch, batch.context("region"), batch.weights(), algorithm=algorithm)
    for name, value in start.networks.stack.items():
        assert (value.grad is None) == (name in small.fixed), name
    assert set(start.adapted) == set(start.networks.stack) - small.fixed
    assert start.parameter_count == small.parameters(2, 3)

    path = tmp_path / "initialisation.safetensors"
    path.write_bytes(start.to_bytes())
    model = PiecewiseINR(cuts["grid"], small, seed=9)
    LearnedStart.load(path).begin(model)
    for name, value in start.networks.stack.items():
        assert torch.equal(model.stack[name], value.expand_as(model.stack[name]))


@as_chosen
def test_layers_name_every_learned_parameter_once(small):
    layers = small.layers()
    if layers is not None:
        names = [name for layer in layers for name in layer]
        assert sorted(names) == sorted(set(small.init(1, 2, 3, None)) - small.fixed)
        # ANIL adapts the last: it has to be the output layer.
        assert len(layers) == 3
        start = LearnedStart(small, adapt_layers=1)
        assert {value.shape[1] for name, value in start.networks.stack.items() if name in start.adapted} == {3}

"""Networks that share parameters: the features of a global network in each layer, or shared modulated layers."""

from __future__ import annotations

import itertools
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from partinr.api import fit
from partinr.backbones import Finer, Fourier, Gauss, Mfn, Mlp, ReluPE, Siren, Wire
from partinr.base.errors import PartinrError
from partinr.coords import grid_coords
from partinr.model.album import Album
from partinr.model.coupling.layers import global_network
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition, Whole
from partinr.regimes import FitSettings, Optimizer, make_trainer
from partinr.training.clipping import clip_networks
from partinr.training.per_network import PerNetwork
from tests.covering import covering

BACKBONE = Siren(hidden_features=4, hidden_layers=1, first_omega_0=5.0)
RAGGED = Partition(torch.tensor([[0] * 5 + [1] * 4] * 3 + [[0, 0, 2, 2, 2, 2, 1, 1, 1]] * 4))
MUON = partial(PerNetwork, name="muon", adamw_lr=1e-2)
MODES: tuple[Any, ...] = ("layers", "modulate")


def _signal(seed: int = 0, shape: tuple[int, ...] = (7, 9)) -> torch.Tensor:
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed))


def _fit(model: Any, signal: Any, **options: Any) -> Any:
    return fit(model, signal, trainer=make_trainer(accelerator="cpu"), **options)


def _stirred(model: PiecewiseINR) -> PiecewiseINR:
    """The model with other weights, so that no gain or shift is 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for value in model.stack.values():
            value += 0.05 * torch.randn(value.shape, generator=generator)
    return model


@covering(
    mode=MODES,
    frame=("global", "local"),
    backbone=(
        Siren(hidden_features=2, hidden_layers=1, first_omega_0=3.0, omega_0=3.0),
        Finer(hidden_features=2, hidden_layers=1, first_omega_0=2.0, omega_0=2.0),
        Gauss(hidden_features=2, hidden_layers=0, sigma=0.5),
        ReluPE(hidden_features=2, hidden_layers=1, frequencies=1),
        Fourier(hidden_features=2, hidden_layers=0, scale=0.5, factorisation=0.5),
    ),
)
def test_gradients_are_those_of_finite_differences(mode: Any, frame: Any, backbone: Mlp) -> None:
    partition = Partition(torch.tensor([[0, 0, 1], [0, 1, 1]]))
    model = _stirred(PiecewiseINR(partition, backbone, frame=frame, channels=1, global_network=mode)).double()
    batch = model.batch(torch.rand(2, 3, 1))
    coords, names = batch.coords.double(), [name for name, value in model.stack.items() if value.requires_grad]

    def values(*params: torch.Tensor) -> torch.Tensor:
        return model(coords, batch.sizes, {**model.stack, **dict(zip(names, params, strict=True))})

    assert torch.autograd.gradcheck(values, [model.stack[name] for name in names])


@covering(mode=MODES, frame=("global", "local"))
def test_the_stack_is_each_network_by_itself(mode: Any, frame: Any) -> None:
    """Every network written down in plain torch, at twice the resolution."""
    model = _stirred(PiecewiseINR(RAGGED, BACKBONE, frame=frame, global_network=mode))
    p = {name: value.detach().double() for name, value in model.stack.items()}
    labels = RAGGED.labels.repeat_interleave(2, 0).repeat_interleave(2, 1)
    own, everywhere = model.coords_at(labels).double(), grid_coords(labels.shape)
    wanted = torch.empty(len(own), 3, dtype=torch.float64)
    for n in range(3):
        x, z = own, everywhere
        for layer, omega in ((0, 5.0), (1, 30.0)):
            weight, bias = p[f"shared/weight_{layer}"][0], p[f"shared/bias_{layer}"][0]
            if mode == "layers":
                x = torch.sin(omega * F.linear(x, p[f"weight_{layer}"][n], p[f"bias_{layer}"][n]))
                z = torch.sin(omega * F.linear(z, weight, bias))
                merge = p["shared/merge_weight"][0], p["shared/merge_bias"][0]
                x = torch.sin(30 * F.linear(torch.cat([x, z], 1), *merge))
            else:
                x = (1 + p[f"gain_{layer}"][n]) * F.linear(x, weight, bias) + p[f"shift_{layer}"][n]
                x = torch.sin(omega * x)
        here = labels.reshape(-1) == n
        wanted[here] = F.linear(x, p["weight_2"][n], p["bias_2"][n])[here]
    torch.testing.assert_close(model.render(2).reshape(-1, 3).double(), wanted.clamp(0, 1), rtol=0, atol=2e-5)


def test_without_global_features_layers_are_an_uncoupled_stack() -> None:
    model = PiecewiseINR(RAGGED, BACKBONE, frame="local", global_network="layers")
    deeper = PiecewiseINR(RAGGED, Siren(hidden_features=4, hidden_layers=3, first_omega_0=5.0), frame="local")
    merge = model.stack["shared/merge_weight"].data[..., :4], model.stack["shared/merge_bias"].data
    with torch.no_grad():
        model.stack["shared/merge_weight"][..., 4:] = 0
        for number, name in enumerate(("0", None, "1", None, "2")):
            parts = merge if name is None else (model.stack[f"weight_{name}"], model.stack[f"bias_{name}"])
            for kind, part in zip(("weight", "bias"), parts, strict=True):
                deeper.stack[f"{kind}_{number}"].copy_(part.expand_as(deeper.stack[f"{kind}_{number}"]))
    assert torch.allclose(model.render(3), deeper.render(3), atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_several_images_are_fitted_as_each_alone(mode: Any) -> None:
    signals = {"a": _signal(0), "b": _signal(1), "c": _signal(2, (4, 4)), "d": _signal(3, (4, 4))}
    partitions = {"a": RAGGED, "b": RAGGED, "c": Grid(rows=2, cols=1)(signals["c"]), "d": Whole()(signals["d"])}
    made = {
        name: PiecewiseINR(partition, BACKBONE, frame="local", global_network=mode)
        for name, partition in partitions.items()
    }
    album = Album(made)
    assert album.parameter_count == sum(model.parameter_count for model in made.values())
    _fit(album, list(signals.values()), steps=3, lr=3e-3)
    for number, (name, model) in enumerate(made.items()):
        alone = _fit(model, signals[name], steps=3, lr=3e-3)
        torch.testing.assert_close(album.member(number).render(2), alone.model.render(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_shared_parameters_are_within_the_budget(mode: Any) -> None:
    backbone, partition = Siren(match_params=20_000, hidden_layers=2), Grid(rows=4, cols=4)(torch.rand(16, 16, 3))
    model = PiecewiseINR(partition, backbone, global_network=mode, seed=None)
    assert model.parameter_count == sum(value.numel() for value in model.stack.values())
    assert model.parameter_count == pytest.approx(20_000, rel=0.05)
    width, own = model.backbone.hidden_features, model.backbone.macs(2, 3)
    assert width is not None
    assert isinstance(model.backbone, Siren)
    if mode == "layers":
        wide = global_network(model.backbone, 16, (2, 3)).hidden_features
        assert wide is not None
        shared = wide * (2 + 1 + 2 * (wide + 1))
        assert shared == pytest.approx((shared + 16 * model.backbone.parameters(2, 3)) / 10, rel=0.1)
        own += wide * (2 + 2 * wide) + 3 * width * (width + wide)
    assert model.macs_per_sample == own
    with pytest.raises(PartinrError, match=f"too few: with global_network={mode}, 16 networks one feature wide"):
        PiecewiseINR(partition, Siren(match_params=50), global_network=mode)


@covering(mode=MODES, overlap=(0, 1), points=(None, 20), clip=(None, 0.1), optimizer={"adam": Optimizer, "muon": MUON})
def test_a_resumed_run_goes_on_bit_by_bit(
    mode: Any, overlap: int, points: int | None, clip: float | None, optimizer: Any, tmp_path: Any
) -> None:
    curves = []
    options: dict[str, Any] = {"settings": FitSettings(points_per_step=points, evaluate_every=1)}
    options["optimizer"] = optimizer(lr=1e-2, clip_norm=clip)
    for cut in (False, True):
        trainer = make_trainer(accelerator="cpu")
        if cut:
            fit(_model(mode, overlap), _signal(), steps=2, trainer=trainer, **options)
            trainer.save_checkpoint(tmp_path / "last.ckpt")
            trainer, options["ckpt_path"] = make_trainer(accelerator="cpu"), tmp_path / "last.ckpt"
        result = fit(_model(mode, overlap), _signal(), steps=4, trainer=trainer, **options)
        curves.append({row["step"]: row["psnr"] for row in result.curve})
    assert curves[0] == curves[1]


def _model(mode: Any, overlap: int = 0) -> PiecewiseINR:
    return PiecewiseINR(RAGGED, BACKBONE, frame="local", overlap=overlap, global_network=mode)


@covering(mode=MODES, overlap=(0, 1), bits=(None, 16))
def test_a_file_holds_the_model(mode: Any, overlap: int, bits: Any, tmp_path: Any) -> None:
    model = _stirred(_model(mode, overlap))
    (tmp_path / "inr.safetensors").write_bytes(model.to_bytes(bits))
    read = PiecewiseINR.load(tmp_path / "inr.safetensors")
    assert (read.global_network, read.architecture()) == (mode, model.architecture())
    torch.testing.assert_close(read.render(2), model.render(2), rtol=0, atol=0 if bits is None else 5e-3)
    torch.testing.assert_close(read.render(2, crop=[(2, 6), (1, 9)]), read.render(2)[4:12, 2:18], rtol=0, atol=1e-5)
    if overlap == 0:
        assert read.render(2, field="gradient").shape == (14, 18, 3, 2)


def test_shared_parameters_are_clipped_and_selected_by_themselves() -> None:
    model = _model("layers")
    optimizer = torch.optim.SGD(model.stack.values(), lr=0.0)
    clip_networks(optimizer, model, 0.5)
    for value in model.stack.values():
        value.grad = torch.ones_like(value)
    optimizer.step()
    for shared, count in ((False, 3), (True, 1)):
        grads = [value.grad for name, value in model.stack.items() if name.startswith("shared/") == shared]
        norms = torch.cat([each.flatten(1) for each in grads if each is not None], 1).norm(dim=1)
        torch.testing.assert_close(norms, torch.full((count,), 0.5))
    rows = model.rows(torch.tensor([0, 2]))
    assert (rows["weight_0"].tolist(), rows["shared/merge_bias"].tolist()) == ([0, 2], [0])


@pytest.mark.parametrize("mode", MODES)
def test_what_cannot_be_is_refused(mode: Any) -> None:
    with pytest.raises(PartinrError, match=r"freeze_at_psnr takes regions out .* leave one of the two out"):
        _fit(_model(mode), _signal(), steps=1, settings=FitSettings(freeze_at_psnr=30.0))
    with pytest.raises(PartinrError, match=f"with global_network={mode} all networks have one width; leave capacity"):
        PiecewiseINR(RAGGED, BACKBONE, widths=[4, 5, 6], global_network=mode)
    for backbone in (Wire(hidden_features=4), Mfn(hidden_features=4), Siren(hidden_features=4, batch_norm=True)):
        with pytest.raises(PartinrError, match=f"backbone {backbone.title} is not made of .* give global_network=add"):
            PiecewiseINR(RAGGED, backbone, global_network=mode)
    with pytest.raises(PartinrError, match="global_network='both'; choose from false, true, add, layers, modulate"):
        PiecewiseINR(RAGGED, BACKBONE, global_network="both")  # type: ignore[arg-type]


def test_engines_agree() -> None:
    signal, found = _signal(), []
    for mode, engine in itertools.product(MODES, ("loop", "batched", "auto")):
        model = _stirred(PiecewiseINR(RAGGED, BACKBONE, global_network=mode, engine=engine))  # type: ignore[arg-type]
        batch = model.batch(signal)
        error = model.squared_error(batch.coords, batch.targets, batch.sizes)
        found.append(torch.cat([each.flatten() for each in torch.autograd.grad(error, list(model.stack.values()))]))
    for first, second in itertools.pairwise(found):
        if len(first) == len(second):
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("mode", [False, True, "layers", "modulate"])
def test_another_process_knows_whether_networks_share(mode: Any) -> None:
    model = _model(mode)
    assert pickle.loads(pickle.dumps(model)).together == model.together == bool(mode)

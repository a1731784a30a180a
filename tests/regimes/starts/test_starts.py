"""First layers that were trained on other signals: how they are trained, and where they go."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from partinr.backbones import Fourier, Siren
from partinr.base.errors import PartinrError
from partinr.model.frequency import spectrum
from partinr.model.inr import PiecewiseINR
from partinr.model.stack import NetworkStack
from partinr.partition import Grid
from partinr.regimes.starts import Fitted, Noise, Shared, Task
from partinr.regimes.starts.noise import noise
from partinr.signals.identity import SignalIdentity

SMALL = Siren(hidden_features=4, hidden_layers=1, first_omega_0=5.0, omega_0=3.0)


def context(cache_dir: Path | None = None, continued: bool = False) -> Any:
    said: list[str] = []
    return SimpleNamespace(
        cache_dir=cache_dir,
        continued=continued,
        engine="batched",
        device_type="cpu",
        begun={},
        note=said.append,
        said=said,
    )


def fitted(widths: tuple[int, ...] | None = None, backbone: Any = SMALL, frame: Any = "global") -> Fitted:
    signal = torch.rand(8, 6, 3, generator=torch.Generator().manual_seed(1))
    model = PiecewiseINR(Grid(rows=2, cols=2)(signal), backbone, widths=widths, frame=frame, engine="batched", seed=5)
    return Fitted("", model, signal, SignalIdentity.of("", signal))


def task(signals: int = 2) -> Task:
    generator = torch.Generator().manual_seed(3)
    coords = torch.rand(10, 2, generator=generator) * 2 - 1
    return Task(coords, torch.tensor([0] * 6 + [1] * 4), torch.rand(signals, 10, 3, generator=generator))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight.mT + bias.unsqueeze(-2)


def test_an_encoder_is_trained_as_by_hand() -> None:
    start, work = Noise(count=2, steps=3, lr=1e-2, seed=7), task()
    found = start.trained(SMALL, work, "batched")
    params = {name: nn.Parameter(value) for name, value in NetworkStack(SMALL, 1, in_features=2, seed=7).stack.items()}
    heads = SMALL.init(4, 2, 3, torch.Generator().manual_seed(7))
    own = [{name: nn.Parameter(heads[name][n]) for name in ("weight_2", "bias_2")} for n in range(4)]
    optimizer = torch.optim.Adam([*params.values(), *(value for each in own for value in each.values())], lr=1e-2)
    for _ in range(3):
        errors = []
        for number, head in enumerate(own):  # of a signal both networks, then of the next
            mine = {**{name: params[name][0] for name in ("weight_0", "bias_0", "weight_1", "bias_1")}, **head}
            rows = work.network == number % 2
            errors.append(
                (SMALL.apply(mine, work.coords[rows], linear) - work.targets[number // 2, rows]).square().sum()
            )
        optimizer.zero_grad()
        (torch.stack(errors).sum() / work.targets.numel()).backward()
        optimizer.step()
    assert set(found) == {"weight_0", "bias_0", "weight_1", "bias_1"}
    for name, value in found.items():
        torch.testing.assert_close(value, params[name].detach(), atol=1e-5, rtol=1e-4)


def test_the_gradient_of_shared_layers_is_the_true_one() -> None:
    work = task()
    stack = NetworkStack(SMALL, 1, in_features=2, engine="batched", seed=1).double()
    coords, targets = work.coords.double().repeat(2, 1), work.targets.double().reshape(-1, 3)

    def error(weight: Tensor, head: Tensor) -> Tensor:
        params = {name: value.expand(4, *value.shape[1:]) for name, value in stack.stack.items()}
        params |= {"weight_1": weight.expand(4, 4, 4), "weight_2": head}
        return stack.squared_error(coords, targets, [6, 4, 6, 4], params=params)

    weight = stack.stack["weight_1"].detach().clone().requires_grad_()
    head = stack.stack["weight_2"].detach().repeat(4, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(error, (weight, head))


@pytest.mark.parametrize("frame", ["global", "local"])
def test_every_network_begins_with_the_encoder_of_its_width(frame: str, tmp_path: Path) -> None:
    each, before = fitted((4, 4, 6, 4), frame=frame), fitted((4, 4, 6, 4), frame=frame).model.stack
    start, given = Noise(count=2, steps=2), context(tmp_path)
    start.begin([each], given)
    for name, value in each.model.stack.items():
        if name.endswith("_2"):
            assert torch.equal(value, before[name])
        else:
            assert not torch.equal(value, before[name])
            assert torch.equal(value, value[:1].expand_as(value))
    assert (given.begun["start"]["made"], given.begun["start"]["kept"]) == (2, 0)
    assert given.begun["start"]["macs"] > 0
    again, kept = fitted((4, 4, 6, 4), frame=frame), context(tmp_path)
    start.begin([again], kept)
    assert (kept.begun["start"]["made"], kept.begun["start"]["kept"]) == (0, 2)
    assert kept.begun["seconds"]["start"] == given.begun["seconds"]["start"] > 0
    assert "is from the cache; it took" in kept.said[0]
    assert all(torch.equal(value, each.model.stack[name]) for name, value in again.model.stack.items())


def test_a_damaged_cache_is_made_again_and_a_checkpoint_has_the_weights(tmp_path: Path) -> None:
    start, given = Noise(count=2, steps=1), context(tmp_path)
    start.begin([fitted()], given)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    again, resumed = context(tmp_path), context(tmp_path, continued=True)
    start.begin([fitted()], again)
    assert again.begun["start"]["made"] == 1
    start.begin([fitted()], resumed)
    assert not resumed.begun


def test_fixed_frequencies_go_with_the_layers_and_layers_must_be_known() -> None:
    backbone = Fourier(hidden_features=4, hidden_layers=1)
    each = fitted(backbone=backbone)
    Noise(count=2, steps=1, layers=1).begin([each], context())
    frequencies, second = (each.model.stack[name] for name in ("frequencies", "weight_1"))
    assert torch.equal(frequencies, frequencies[:1].expand_as(frequencies))
    assert not torch.equal(second, second[:1].expand_as(second))
    with pytest.raises(PartinrError, match=r"start.layers=3 of the 3 layers of fourier; give 1 to 2"):
        Noise(count=2, steps=1, layers=3).begin([fitted(backbone=backbone)], context())


@pytest.mark.parametrize("shape", [(4096,), (64, 64), (16, 16, 16)])
def test_the_spectrum_of_noise_falls_as_it_should(shape: tuple[int, ...]) -> None:
    white, red = (noise(shape, 2, alpha, torch.Generator().manual_seed(0)) for alpha in (0.0, 2.0))
    assert (float(red.min()), float(red.max())) == (0, 1)
    last = len(spectrum(white)) // 2
    ratio = spectrum(red) / spectrum(white)
    assert float(ratio[:2].mean()) > 4 * float(ratio[last:].mean())
    assert torch.equal(noise(shape, 2, 0.0, torch.Generator().manual_seed(0)), white)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of another size than the fitted one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_the_regions_of_other_signals_are_trained_on(photos: Path) -> None:
    each = fitted((4, 6, 4, 4))
    tasks = Shared(signals=str(photos), count=2).tasks(each, context())
    assert [(len(own.coords), int(own.network[-1]) + 1) for own in tasks] == [(36, 3), (12, 1)]
    assert tasks[0].targets.shape == (2, 36, 3)
    batch = each.model.batch(each.signal)
    assert torch.equal(torch.cat([own.coords for own in tasks]), batch.coords)
    as_set = Shared(signals={"_target_": "partinr.signals.FolderData", "path": str(photos)}, count=2)
    assert torch.equal(as_set.tasks(each, context())[1].targets, tasks[1].targets)


def test_a_start_must_not_know_the_signal(photos: Path) -> None:
    each = fitted()
    Image.fromarray((each.signal * 255).round().byte().numpy()).save(photos / "0.png")
    with pytest.raises(PartinrError, match=r"0 of start.signals is the signal that is fitted, .*; take it out"):
        Shared(signals=str(photos), count=2).tasks(each, context())
    with pytest.raises(PartinrError, match=r"fewer than start.count=4 signals; give fewer"):
        Shared(signals=str(photos), count=4).tasks(each, context())
    grey = {"_target_": "partinr.signals.FolderData", "path": str(photos), "channels": "grey"}
    with pytest.raises(PartinrError, match=r"2 axes and 1 channels, the fitted signal 2 and 3; give "):
        Shared(signals=grey, count=1).tasks(each, context())


def test_a_backbone_without_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Siren, "layers", lambda self: None)
    with pytest.raises(PartinrError, match=r"siren does not say which its layers are .*; leave start=random"):
        Noise(count=1, steps=1).begin([fitted()], context())

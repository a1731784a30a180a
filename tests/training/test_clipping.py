"""Gradients whose norm is limited, for each network of a stack by itself."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from partinr.regimes import Optimizer, PerNetwork
from partinr.training.clipping import clip_networks
from tests.small_fits import Fit

MOST = 0.5


@pytest.mark.parametrize("widths", [None, (4, 3, 4, 3)])
def test_each_network_is_clipped_as_torch_would_clip_it_alone(widths: tuple[int, ...] | None) -> None:
    backbone = Siren(hidden_features=4, hidden_layers=1)
    model = PiecewiseINR(Grid(rows=2, cols=2)(torch.rand(4, 4, 3)), backbone, widths=widths)
    generator = torch.Generator().manual_seed(0)
    before, expected = {}, {}
    for name, value in model.stack.items():
        before[name] = value.detach().clone()
        if value.requires_grad:
            gradient = torch.rand(value.shape, dtype=value.dtype, generator=generator)
            # The gradient of the last network of a stack stays below the limit.
            gradient[-1] *= 1e-3
            value.grad, expected[name] = gradient, gradient.clone()
    for group in model.groups:
        names = [f"{group.prefix}{name}" for name in group.names]
        for network in range(len(group.networks)):
            alone = [torch.nn.Parameter(before[name][network]) for name in names if name in expected]
            for value, name in zip(alone, (name for name in names if name in expected), strict=True):
                value.grad = expected[name][network]
            norm = torch.nn.utils.clip_grad_norm_(alone, MOST)
            assert (norm > MOST) == (network < len(group.networks) - 1)
            for value, name in zip(alone, (name for name in names if name in expected), strict=True):
                expected[name][network] = value.grad  # type: ignore[assignment]
    optimizer = torch.optim.SGD(model.stack.values(), lr=1.0)
    clip_networks(optimizer, model, MOST)
    optimizer.step()
    for name, gradient in expected.items():
        torch.testing.assert_close(before[name] - model.stack[name].detach(), gradient)


def test_every_way_to_take_a_step_clips(small_fit: Fit, signal: Tensor) -> None:
    class Hook(L.Callback):
        def on_after_backward(self, *_: Any) -> None:
            """Steps go through Lightning."""

    def stack(optimizer: Optimizer, **given: Any) -> dict[str, Tensor]:
        return dict(small_fit(signal, steps=10, optimizer=optimizer, **given).model.stack)

    clipped = Optimizer(name="sgd", lr=0.5, clip_norm=0.01)
    plain = stack(clipped)
    wrapped, drawn = stack(clipped, callbacks=(Hook(),)), stack(clipped, settings={"points_per_step": 54})
    free = stack(Optimizer(name="sgd", lr=0.5))
    for name, value in plain.items():
        torch.testing.assert_close(wrapped[name], value)
        torch.testing.assert_close(drawn[name], value)
        assert not torch.allclose(free[name], value)
    # Each of ten steps moves each network by 0.5 · 0.01 at most, and by that much where it is clipped.
    begun = PiecewiseINR(Grid(regions=4)(signal), Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0)).stack
    moved = sum((value - begun[name]).flatten(1).square().sum(1) for name, value in plain.items()).sqrt()
    assert bool((moved <= 10 * 0.5 * 0.01 + 1e-6).all())


def test_optimisers_of_whole_matrices_clip_too(small_fit: Fit, signal: Tensor) -> None:
    # Muon does not care for the length of a matrix's gradient, but AdamW's epsilon does.
    found = [
        small_fit(signal, steps=3, optimizer=PerNetwork(name="muon", lr=1e-3, adamw_lr=1e-3, clip_norm=clip)).model
        for clip in (None, 1e-9)
    ]
    assert not torch.allclose(*(model.stack["bias_0"] for model in found))


def test_a_limit_of_nothing_is_refused() -> None:
    for wrong in (0.0, -1.0, float("inf")):
        with pytest.raises(PartinrError, match="clip_norm="):
            Optimizer(clip_norm=wrong)

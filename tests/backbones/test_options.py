"""Options of backbones: factors of the weights, and batch normalisation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Backbone, Finer, Incode, Siren
from partinr.backbones.batch_norm import PROBES, probe_points
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.model.stack import NetworkStack
from partinr.partition import Grid


def drawn(backbone: Backbone, networks: int = 1) -> dict[str, torch.Tensor]:
    return backbone.init(networks, 2, 3, torch.Generator().manual_seed(0))


def test_factors_do_not_change_the_start():
    backbone, plain = Finer(hidden_features=5, factorisation=1.0), Finer(hidden_features=5)
    params = {name: value[0].double() for name, value in drawn(backbone).items()}
    x = 2 * torch.rand(9, 2, dtype=torch.float64) - 1
    product = {
        name: value * params[name.replace("weight", "scale")].exp()[:, None] if name.startswith("weight") else value
        for name, value in params.items()
    }
    torch.testing.assert_close(backbone.apply(params, x, F.linear), plain.apply(product, x, F.linear))
    for layer, bound in ((0, 1 / 2), (1, (6 / 5) ** 0.5 / 30)):
        assert float(product[f"weight_{layer}"].abs().max()) <= bound * (1 + 1e-6)


def test_factors_start_as_in_the_paper():
    params = drawn(Siren(hidden_features=40, factorisation=0.5), 40)
    for layer in range(5):
        scale = params[f"scale_{layer}"]
        assert scale.shape == (40, 3 if layer == 4 else 40)
        assert float(scale.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(scale.std()) == pytest.approx(0.1, rel=0.15)
    plain = Siren(hidden_features=40)
    assert Siren(hidden_features=40, factorisation=0.5).parameters(2, 3) == plain.parameters(2, 3) + 4 * 40 + 3


def test_the_formula_of_batch_normalisation():
    backbone = Siren(hidden_features=6, hidden_layers=2, first_omega_0=5.0, batch_norm=True)
    params = {name: value[0].double() for name, value in drawn(backbone).items()}
    params["gain_2"], params["shift_1"] = params["gain_2"] + 0.5, params["shift_1"] + 0.3
    x = 2 * torch.rand(9, 2, dtype=torch.float64) - 1
    every = torch.cat([probe_points(2, x), x])  # the layers see both, and are measured at the first
    hidden = torch.sin(5 * (every @ params["weight_0"].T + params["bias_0"]))
    for layer in (1, 2):
        norm = torch.nn.BatchNorm1d(6, momentum=1.0, dtype=torch.float64)
        z = 30 * (hidden @ params[f"weight_{layer}"].T + params[f"bias_{layer}"])
        norm(z[:PROBES])
        assert norm.running_var is not None
        norm.running_var *= (PROBES - 1) / PROBES  # torch keeps the unbiased variance for evaluation
        norm.weight.data, norm.bias.data = params[f"gain_{layer}"], params[f"shift_{layer}"]
        hidden = torch.sin(norm.eval()(z))
    expected = hidden @ params["weight_3"].T + params["bias_3"]
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected[PROBES:].detach())


def test_the_points_are_spread_evenly():
    for axes in (1, 2, 3):
        points = probe_points(axes, torch.zeros(1, dtype=torch.float64))
        assert points.shape == (PROBES, axes)
        assert float(points.abs().max()) < 1
        assert float(points.mean(0).abs().max()) < 0.03
        torch.testing.assert_close(
            points.T.cov(correction=0).reshape(axes, axes).diag(),
            torch.full((axes,), 1 / 3).double(),
            rtol=0.03,
            atol=0,
        )


def test_a_normalised_network_renders_alike_at_any_resolution():
    image = torch.rand(9, 9, 3)
    model = PiecewiseINR(Grid(regions=2)(image), Siren(hidden_features=4, batch_norm=True), frame="local")
    torch.testing.assert_close(model.render(3)[1::3, 1::3], model.render())


def test_the_points_count_as_work():
    backbone = Siren(hidden_features=8, hidden_layers=1, batch_norm=True)
    stack = NetworkStack(backbone, 2, in_features=2)
    passes = PROBES * (2 * 8 + 2 * 8 * 8)
    assert backbone.macs_a_pass(2, 3) == passes
    assert stack.mean_macs([100, 0]) == round(backbone.macs(2, 3) + passes / 100)


def test_a_change_of_frame_is_folded_into_plain_weights_only():
    assert Siren(hidden_features=4).affine_inputs() == Incode(hidden_features=4).affine_inputs() is not None
    for other in (Siren(hidden_features=4, factorisation=1.0), Siren(hidden_features=4, batch_norm=True)):
        assert other.affine_inputs() is None


@pytest.mark.parametrize("options", [{"factorisation": 1.0}, {"batch_norm": True}])
def test_kernels_are_for_plain_sines(options: dict[str, Any]):
    with pytest.raises(PartinrError, match="such as a plain backbone=siren, not for siren; choose engine=auto"):
        NetworkStack(Siren(hidden_features=4, **options), 2, in_features=2, engine="fused")

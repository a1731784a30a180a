"""DINER: a coordinate for each sample, what lies between them, initialisation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Diner, Siren
from partinr.base.errors import PartinrError
from partinr.coords import grid_coords
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition


def test_the_formula():
    backbone = Diner(hidden_features=5, hidden_layers=1, cells=4, omega_0=7.0, first_omega_0=3.0)
    params = {name: value[0].double() for name, value in backbone.init(1, 2, 3, None).items()}
    params["table"] = torch.randn(16, 2, dtype=torch.float64)
    inner = Siren(hidden_features=5, hidden_layers=1, omega_0=7.0, first_omega_0=3.0)
    # A table row for each sample, in row-major order.
    expected = inner.apply(params, params["table"], F.linear)
    torch.testing.assert_close(backbone.apply(params, grid_coords((4, 4)), F.linear), expected)


def test_each_sample_has_an_entry_of_its_own():
    for shape, cells in (((7,), 7), ((5, 3), 5), ((16, 16), 16), ((97, 4), 100), ((3, 2, 4), 4), ((50_000,), 50_000)):
        backbone = Diner(hidden_features=2, cells=cells, coordinates=1)
        table = torch.arange(cells ** len(shape), dtype=torch.float32).unsqueeze(-1)
        found = backbone.encode({"table": table}, grid_coords(shape).float(), F.linear)
        assert len(found.unique()) == len(found), shape


def test_initialisation():
    params = Diner(hidden_features=8, cells=9).init(20, 2, 3, torch.Generator().manual_seed(0))
    assert params["table"].shape == (20, 81, 2)
    assert 0.99e-4 < float(params["table"].abs().max()) <= 1e-4


def test_it_is_rendered_at_its_own_samples_only():
    labels = torch.tensor([0, 0, 1, 1, 1, 1]).expand(6, 6).contiguous()
    model = PiecewiseINR(Partition(labels), Diner(hidden_features=4, cells=6), frame="local", seed=1)
    whole = model.render()
    torch.testing.assert_close(model.render(crop=((1, 4), (0, 5))), whole[1:4, :5])
    for options in ({"scale": 2}, {"shape": (3, 3)}, {"crop": ((0.5, 5.5), (0, 6))}):
        with pytest.raises(PartinrError, match="backbone=diner has no values between the samples"):
            model.render(**options)


def test_derivatives_are_zero():
    model = PiecewiseINR(Partition(torch.zeros(4, 4, dtype=torch.int64)), Diner(hidden_features=4, cells=4))
    assert model.render(field="gradient").eq(0).all()

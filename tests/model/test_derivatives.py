"""Gradient and Laplacian of what was fitted, against analysis and against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from partinr import backbones
from partinr.backbones import Backbone, Siren
from partinr.base.errors import PartinrError
from partinr.coords import Frame
from partinr.engines import EngineName
from partinr.model.derivatives import derivatives
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from tests.covering import covering

SMOOTH: dict[str, Backbone] = {
    "siren": Siren(hidden_features=6, hidden_layers=2, first_omega_0=9.0, omega_0=5.0),
    "gauss": backbones.Gauss(hidden_features=6, hidden_layers=1, sigma=0.5),
    "wire": backbones.Wire(hidden_features=5, hidden_layers=1, omega_0=4.0, scale_0=1.0),
    "mfn": backbones.Mfn(hidden_features=5, hidden_layers=1, input_scale=6.0),
    "fourier": backbones.Fourier(hidden_features=6, scale=1.0),
    "finer": backbones.Finer(hidden_features=6, hidden_layers=1, first_omega_0=4.0, omega_0=4.0),
}
PARTITIONS = {
    "grid": Grid(rows=2, cols=3)(torch.zeros(8, 21, 1)),
    "scattered": Partition(torch.randperm(48, generator=torch.Generator().manual_seed(0)).reshape(6, 8) % 5),
    "one axis": Grid(regions=3)(torch.zeros(13, 1)),
}


@pytest.fixture(params=["global", "local"])
def frame(request: pytest.FixtureRequest) -> Frame:
    own: Frame = request.param
    return own


def _values_around(model: PiecewiseINR, shift: torch.Tensor) -> torch.Tensor:
    """The values of each sample's own network at a small offset: ``shift`` in samples along each axis."""
    labels = model.partition.labels
    batch = model.batch(torch.zeros(*labels.shape, model.channels))
    steps = model._frames.steps(labels.shape, labels.reshape(-1))
    coords = model._frames.coords(labels).double() + shift * steps
    values = model(coords[batch.order], batch.sizes)
    return batch.unsort(values).reshape(*labels.shape, model.channels)


@covering(name=list(SMOOTH), cut=list(PARTITIONS), frame=["global", "local"])
def test_derivatives_against_finite_differences(name: str, cut: str, frame: Frame) -> None:
    partition = PARTITIONS[cut]
    model = PiecewiseINR(partition, SMOOTH[name], channels=2, frame=frame, seed=1).double()
    axes, h = len(partition.shape), 1e-4
    with torch.no_grad():
        here = _values_around(model, torch.zeros(axes))
        there = [
            [_values_around(model, sign * h * torch.eye(axes, dtype=torch.float64)[axis]) for sign in (-1, 1)]
            for axis in range(axes)
        ]
    gradient = torch.stack([(after - before) / (2 * h) for before, after in there], dim=-1)
    laplacian = sum(((after - 2 * here + before) / h**2 for before, after in there), torch.zeros(()))
    found = model.render(field="gradient")
    assert found.shape == (*partition.shape, 2, axes)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, gradient.float(), rtol=1e-4, atol=1e-5)
    found = model.render(field="laplacian")
    assert found.shape == (*partition.shape, 2)
    torch.testing.assert_close(found, laplacian.float(), rtol=1e-3, atol=1e-4)


def _plane_wave(partition: Partition, frame: Frame) -> PiecewiseINR:
    """One network a region, each of them ``sin(w · x)`` exactly: of the frame's coordinates."""
    backbone = Siren(hidden_features=1, hidden_layers=0, first_omega_0=2.0)
    model = PiecewiseINR(partition, backbone, channels=1, frame=frame).double()
    with torch.no_grad():
        model.stack["weight_0"][:] = torch.tensor([[1.5, -0.5]])
        model.stack["bias_0"].zero_()
        model.stack["weight_1"].fill_(1.0)
        model.stack["bias_1"].zero_()
    return model


@pytest.mark.parametrize("scale", [1, 3])
def test_an_analytic_function_in_units_of_the_fitted_image(scale: int, frame: Frame) -> None:
    height, width = 6, 10
    model = _plane_wave(Grid(rows=2, cols=2)(torch.zeros(height, width, 1)), frame)
    # A region's frame is half as large as the whole, so from pixel to pixel it goes twice as far.
    times = 2 if frame == "local" else 1
    rate = torch.tensor([3.0, -1.0], dtype=torch.float64) * times * 2 / torch.tensor([height, width])
    y = (torch.arange(scale * height, dtype=torch.float64) + 0.5) / scale
    x = (torch.arange(scale * width, dtype=torch.float64) + 0.5) / scale
    if frame == "local":
        y, x = y % (height / 2) - height / 4, x % (width / 2) - width / 4
    else:
        y, x = y - height / 2, x - width / 2
    angle = rate[0] * y[:, None] + rate[1] * x
    gradient = angle.cos()[..., None, None] * rate
    torch.testing.assert_close(model.render(scale, field="gradient"), gradient.float(), rtol=1e-5, atol=1e-6)
    laplacian = -(angle.sin() * rate.square().sum())[..., None]
    torch.testing.assert_close(model.render(scale, field="laplacian"), laplacian.float(), rtol=1e-5, atol=1e-6)


def test_a_crop_has_the_derivatives_of_the_whole(frame: Frame) -> None:
    model = PiecewiseINR(PARTITIONS["grid"], SMOOTH["siren"], frame=frame).double()
    for field in ("gradient", "laplacian"):
        whole = model.render(2, field=field)
        part = model.render(2, field=field, crop=((1, 6), (4, 21)))
        torch.testing.assert_close(part, whole[2:12, 8:42], rtol=1e-6, atol=1e-7)


@covering(engine=["auto", "loop", "batched", "fused", "tiled"], widths=[None, [4, 6, 4, 5, 6, 4]])
def test_every_engine_and_width(engine: EngineName, widths: list[int] | None) -> None:
    model = PiecewiseINR(PARTITIONS["grid"], SMOOTH["siren"], engine=engine, widths=widths, seed=2)
    plain = PiecewiseINR(PARTITIONS["grid"], SMOOTH["siren"], engine="loop", widths=widths, seed=2)
    for field in ("gradient", "laplacian"):
        torch.testing.assert_close(model.render(field=field), plain.render(field=field), rtol=1e-4, atol=1e-4)


def test_in_chunks() -> None:
    for chunk in [1, 7, 10**6]:
        model = PiecewiseINR(PARTITIONS["scattered"], SMOOTH["siren"]).double()
        batch = model.batch(torch.zeros(6, 8, 3))
        coords, steps = batch.coords.double(), torch.ones(48, 2)
        for field in ("gradient", "laplacian"):
            whole = derivatives(model, coords, batch.sizes, steps, field)
            torch.testing.assert_close(derivatives(model, coords, batch.sizes, steps, field, chunk), whole)


def test_a_function_of_planes_has_no_laplacian(frame: Frame) -> None:
    for backbone in (
        backbones.ReluPE(hidden_features=4, hidden_layers=0, frequencies=1),
        backbones.HashGrid(hidden_features=4, levels=2, coarsest=2, finest=3),
    ):
        model = PiecewiseINR(PARTITIONS["grid"], backbone, frame=frame)
        assert model.render(field="gradient").isfinite().all()
        assert model.render(field="laplacian").isfinite().all()
    with torch.no_grad():
        # Of no coordinate at all.
        model.stack["tables"].zero_()
    for field in ("gradient", "laplacian"):
        assert not model.render(field=field).any()


def test_it_leaves_nothing_behind() -> None:
    model = PiecewiseINR(PARTITIONS["grid"], SMOOTH["siren"])
    with torch.no_grad():  # whatever is around it
        found = model.render(field="laplacian")
    assert not found.requires_grad
    assert all(value.grad is None and value.requires_grad for value in model.parameters())
    assert math.isfinite(float(found.sum()))


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(PartinrError, match="field='curl' is unknown; choose from value, gradient, laplacian"):
        PiecewiseINR(PARTITIONS["grid"], SMOOTH["siren"]).render(field="curl")  # type: ignore[arg-type]

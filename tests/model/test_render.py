"""Rendering: any resolution, any part, in bands or at once."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.model import inr
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from tests.covering import cases, covering
from tests.model.small_models import FRAMES, PARTITIONS, SMALL, signal_on

each = covering(partition=PARTITIONS, frame=FRAMES)


@each
def test_render_is_what_training_sees(partition, frame):
    model = PiecewiseINR(partition, SMALL, frame=frame)
    batch = model.batch(signal_on(partition))
    seen = batch.unsort(model(batch.coords, batch.sizes)).reshape(*partition.shape, 3)
    picture = model.render()
    assert picture.dtype == torch.float32
    torch.testing.assert_close(picture, seen.detach().clamp(0, 1), rtol=0, atol=0)


@covering(partition=PARTITIONS, frame=FRAMES, scale=[3, 5])
def test_a_render_at_an_odd_scale_goes_through_the_fitted_samples(partition, frame, scale):
    model = PiecewiseINR(partition, SMALL, frame=frame)
    middle = tuple(slice(scale // 2, None, scale) for _ in partition.shape)
    torch.testing.assert_close(model.render(scale)[middle], model.render(), rtol=0, atol=2e-5)


@covering(partition=PARTITIONS, scale=[0.5, 1.5, 2, 4])
def test_render_shapes(partition, scale):
    picture = PiecewiseINR(partition, SMALL).render(scale)
    assert picture.shape == (*(max(1, round(n * scale)) for n in partition.shape), 3)
    assert picture.isfinite().all()
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1


def test_render_on_a_given_shape():
    model = PiecewiseINR(PARTITIONS["grid"], SMALL)
    assert model.render(shape=(3, 40)).shape == (3, 40, 3)
    assert torch.equal(model.render(shape=(14, 20)), model.render(2))


@pytest.mark.parametrize("frame", FRAMES)
def test_a_finer_render_is_smooth_within_a_region_and_breaks_between(frame):
    model = PiecewiseINR(Grid(rows=1, cols=2)(torch.zeros(4, 8, 1)), SMALL, channels=1, frame=frame)
    with torch.no_grad():
        model.stack["bias_2"][0], model.stack["bias_2"][1] = 0.25, 0.75
        model.stack["weight_2"] *= 0.01
    fine = model.render(8)[..., 0]
    jumps = (fine[:, 1:] - fine[:, :-1]).abs().amax(0)
    assert int(jumps.argmax()) == 31
    assert float(jumps[31]) > 0.3
    assert float(jumps[torch.arange(63) != 31].max()) < 0.1


def test_render_refuses():
    for bad in cases({"scale": 0}, {"scale": -2}, {"scale": float("nan")}, {"shape": (3,)}, {"shape": (0, 4)}):
        with pytest.raises(PartinrError, match=r"give"):
            PiecewiseINR(PARTITIONS["grid"], SMALL).render(**bad)


@each
def test_a_model_in_double_precision_renders(partition, frame):
    # What training with trainer.precision=64-true leaves behind.
    model = PiecewiseINR(partition, SMALL, frame=frame)
    picture = model.render()
    double = model.double().render()
    assert double.dtype == torch.float32
    torch.testing.assert_close(double, picture, rtol=0, atol=1e-5)


@covering(9, partition=PARTITIONS, samples=[1, 30, 10**6], smooth=[False, True], frame=FRAMES)
def test_bands_are_the_picture_piece_by_piece(partition, frame, smooth, samples):
    model = PiecewiseINR(partition, SMALL, frame=frame).double()
    for field in ("value", "gradient", "laplacian"):
        whole = model.render(2.6, smooth=smooth, field=field)
        bands = list(model.bands(model.raster(2.6), smooth=smooth, field=field, samples=samples))
        row = math.prod(whole.shape[1 : len(partition.shape)])
        assert all(len(band) == max(1, samples // row) for band in bands[:-1])
        torch.testing.assert_close(torch.cat(bands), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_large_picture_comes_out_of_many_bands_as_it_does_out_of_one(frame, monkeypatch):
    model = PiecewiseINR(PARTITIONS["scattered"], SMALL, frame=frame)
    whole = model.render(7)
    monkeypatch.setattr(inr, "BAND", 50)
    torch.testing.assert_close(model.render(7), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_large_render_at_scale_1_is_the_reconstruction_of_the_training(frame, monkeypatch):
    # Larger than a band and a chunk, as a photograph is: pieces are cut otherwise than in training.
    monkeypatch.setattr(inr, "BAND", 5_000)
    partition = Grid(rows=3, cols=3)(torch.zeros(150, 201, 3))
    for backbone in (Siren(hidden_features=24), Siren(hidden_features=90, hidden_layers=1), ReluPE(match_params=9000)):
        model = PiecewiseINR(partition, backbone, frame=frame)
        batch = model.batch(signal_on(partition))
        trained = batch.unsort(model.evaluate(batch.coords, batch.sizes, chunk=7_000)).reshape(150, 201, 3)
        torch.testing.assert_close(model.render(), trained.clamp(0, 1), rtol=0, atol=1e-6)


@covering(9, partition=PARTITIONS, scale=[1, 2, 5], smooth=[False, True], frame=FRAMES)
def test_a_crop_is_a_part_of_the_picture(partition, frame, smooth, scale):
    model = PiecewiseINR(partition, SMALL, frame=frame).double()
    whole = model.render(scale, smooth=smooth)
    for start in (0, 1):
        crop = [(min(start, n - 1), n - start if n > 2 * start else n) for n in partition.shape]
        cut = tuple(slice(scale * low, scale * high) for low, high in crop)
        part = model.render(scale, smooth=smooth, crop=crop)
        torch.testing.assert_close(part, whole[cut], rtol=1e-6, atol=1e-7)


def test_a_crop_within_a_pixel():
    model = PiecewiseINR(PARTITIONS["grid"], SMALL).double()
    whole = model.render(40)
    part = model.render(crop=((3.3, 3.4), (0.05, 9.7)), shape=(4, 386))
    assert part.shape == (4, 386, 3)
    torch.testing.assert_close(part, whole[132:136, 2:388], rtol=1e-6, atol=1e-7)
    assert model.render(40, crop=((0, 0.1), (0, 1))).shape == (4, 40, 3)


def test_a_crop_that_is_no_part_is_refused():
    for crop in cases(
        [(0, 7)],
        [(0, 8), (0, 10)],
        [(-1, 7), (0, 10)],
        [(3, 3), (0, 10)],
        [(5, 2), (0, 10)],
        [(0, math.nan)] * 2,
        [(0, 1e-9)] * 2,
    ):
        with pytest.raises(PartinrError, match=r"is no part of the fitted signal; give one within 0:7,0:10"):
            PiecewiseINR(PARTITIONS["grid"], SMALL).render(crop=crop)


def test_more_samples_than_can_be_told_apart_are_refused():
    with pytest.raises(PartinrError, match="too many to be told apart; give fewer"):
        PiecewiseINR(PARTITIONS["grid"], SMALL).raster(shape=(2**62, 1))


MEMORY = """
import torch
from pathlib import Path
from partinr.model import inr
from partinr.backbones import Siren
from partinr.callbacks.manifest import peak_memory
from partinr.pictures.write import write_picture
from partinr.partition import Partition

inr.BAND = 2**16
torch.set_num_threads(1)
blocks = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.5
labels = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1).long()
model = inr.PiecewiseINR(Partition(labels), Siren(hidden_features=2, hidden_layers=0), frame="local")
peaks = []
for side in (500, 2500):
    axes = model.raster(shape=(side, side))
    for name in ("x.png", "x.tif", "x.npy"):
        bands = (band.numpy() for band in model.bands(axes, smooth=True))
        write_picture(Path(name), (side, side, 3), "float" if name.endswith("npy") else "8", bands)
    peaks.append(peak_memory(torch.device("cpu")))
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_picture():
    # As floats the larger one takes 75 MB.
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 12e6

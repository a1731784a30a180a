"""A partition and a stack of networks as one model: evaluation, rendering, keeping."""

from __future__ import annotations

import copy
import json
import math
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.coords import grid_coords
from partinr.model import inr
from partinr.model.inr import PiecewiseINR
from partinr.model.serialise import checksum
from partinr.partition import Grid, Partition, Whole
from tests.covering import covering

SMALL = Siren(hidden_features=6, hidden_layers=1, first_omega_0=9.0)


PARTITIONS = {
    "whole": Whole()(torch.zeros(5, 8, 3)),
    "grid": Grid(rows=2, cols=3)(torch.zeros(7, 10, 3)),
    "scattered": Partition(torch.tensor([[0, 0, 3, 1], [2, 0, 1, 1], [0, 2, 0, 1]])),
    "a region a pixel": Partition(torch.arange(6).reshape(2, 3)),
    "one pixel": Partition(torch.zeros(1, 1, dtype=torch.int64)),
    "one axis": Grid(regions=4)(torch.zeros(19, 1)),
}


@pytest.fixture(params=PARTITIONS)
def partition(request):
    return PARTITIONS[request.param]


FRAMES = ["global", "local"]
each = covering(partition=PARTITIONS, frame=FRAMES)


def _signal(partition: Partition, channels: int = 3) -> torch.Tensor:
    return torch.rand(*partition.shape, channels, generator=torch.Generator().manual_seed(4))


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation


def test_the_batch_holds_every_sample_once_with_its_own_coordinates(partition):
    model = PiecewiseINR(partition, SMALL)
    signal = _signal(partition)
    batch = model.batch(signal)
    flat = partition.labels.reshape(-1)
    assert sorted(batch.order.tolist()) == list(range(flat.numel()))
    assert torch.equal(batch.network, flat[batch.order])
    assert (batch.network.diff() >= 0).all()
    assert batch.sizes == tuple(partition.sizes.tolist())
    assert torch.equal(batch.targets, signal.reshape(-1, 3)[batch.order])
    torch.testing.assert_close(batch.coords, grid_coords(partition.shape).float()[batch.order], rtol=0, atol=0)


def test_a_local_frame_gives_every_region_a_grid_of_its_own():
    partition = Grid(rows=2, cols=3)(torch.zeros(4, 9, 1))
    model = PiecewiseINR(partition, SMALL, channels=1, frame="local")
    batch = model.batch(torch.rand(4, 9, 1))
    for coords in batch.coords.split(batch.sizes):
        torch.testing.assert_close(coords, grid_coords((2, 3)).float())
    fine = partition.labels_at((8, 18))
    for region in range(6):
        torch.testing.assert_close(model.coords_at(fine)[fine.reshape(-1) == region], grid_coords((4, 6)).float())


@each
def test_a_sample_is_seen_by_its_own_network_alone(partition, frame):
    model = PiecewiseINR(partition, SMALL, frame=frame)
    before = model.render()
    with torch.no_grad():
        for value in model.stack.values():
            value[-1] += 0.3
    changed = (model.render() != before).any(-1)
    assert not changed[partition.labels != partition.regions - 1].any()
    assert changed[partition.labels == partition.regions - 1].all()


@covering(partition=PARTITIONS, frame=FRAMES, engine=["auto", "batched"])
def test_all_engines_agree(partition, frame, engine):
    model = PiecewiseINR(partition, SMALL, frame=frame, engine=engine)
    loop = PiecewiseINR(partition, SMALL, frame=frame, engine="loop")
    torch.testing.assert_close(model.render(), loop.render(), rtol=1e-5, atol=1e-5)


@covering(partition=PARTITIONS, chunk=[3, 1, 7, 1000])
def test_in_chunks_equals_at_once(partition, chunk):
    model = PiecewiseINR(partition, SMALL).double()
    batch = model.batch(_signal(partition))
    coords = batch.coords.double()
    torch.testing.assert_close(
        model.evaluate(coords, batch.sizes, chunk=chunk), model(coords, batch.sizes), rtol=1e-12, atol=1e-12
    )


def test_evaluation_leaves_no_gradient():
    model = PiecewiseINR(PARTITIONS["grid"], SMALL)
    batch = model.batch(_signal(model.partition))
    assert not model.evaluate(batch.coords, batch.sizes).requires_grad
    assert not model.render().requires_grad
    assert model(batch.coords, batch.sizes).requires_grad


def test_a_signal_that_does_not_fit_is_refused():
    for shape, channels in [((7, 10), 1), ((7, 10), 4), ((10, 7), 3), ((7, 9), 3)]:
        model = PiecewiseINR(PARTITIONS["grid"], SMALL)
        with pytest.raises(PartinrError, match=r"the signal (lies on a grid of|has \d channels)"):
            model.batch(torch.rand(*shape, channels))


def test_options_out_of_range_are_refused():
    for options, said in [
        ({"frame": "lokal"}, "choose from global, local"),
        ({"engine": "fast"}, "choose from auto, loop, batched"),
        ({"channels": 0}, "channels=0"),
    ]:
        with pytest.raises(PartinrError, match=said):
            PiecewiseINR(PARTITIONS["grid"], SMALL, **options)


def test_the_seed_is_the_initialisation():
    start = [PiecewiseINR(PARTITIONS["grid"], SMALL, seed=seed).stack["weight_1"] for seed in (0, 0, 1)]
    assert torch.equal(start[0], start[1])
    assert not torch.equal(start[0], start[2])


def test_making_a_model_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    PiecewiseINR(PARTITIONS["grid"], Siren(match_params=2000))
    assert torch.equal(state, torch.random.get_rng_state())


def test_match_params_counts_over_all_regions():
    for partition in (PARTITIONS["whole"], PARTITIONS["grid"]):
        model = PiecewiseINR(partition, Siren(match_params=5000))
        assert model.parameter_count == pytest.approx(5000, rel=0.05)
        assert model.parameter_count == sum(p.numel() for p in model.parameters())
    lone, parts = (PiecewiseINR(PARTITIONS[k], Siren(match_params=5000)) for k in ("whole", "grid"))
    assert parts.macs_per_sample < lone.macs_per_sample / 4


# ---------------------------------------------------------------------------------------------------------------------
# Other parameters than its own


def test_forward_with_other_parameters():
    model = PiecewiseINR(PARTITIONS["scattered"], SMALL)
    other = PiecewiseINR(PARTITIONS["scattered"], SMALL, seed=1)
    batch = model.batch(_signal(model.partition))
    fast = {name: value.detach() for name, value in other.stack.items()}
    assert torch.equal(model(batch.coords, batch.sizes, fast), other(batch.coords, batch.sizes))


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_gradients_of_a_step_of_an_inner_loop(engine):
    """Second order, through one inner step, against finite differences and against torch.func."""
    model = PiecewiseINR(
        PARTITIONS["scattered"], Siren(hidden_features=3, hidden_layers=0, first_omega_0=4.0), channels=1, engine=engine
    ).double()
    signal = _signal(model.partition, 1).double()
    batch = model.batch(signal)
    coords, targets = batch.coords.double(), batch.targets
    names = list(model.stack)

    def loss(params):
        return (model(coords, batch.sizes, params) - targets).square().mean()

    def after_one_step(*tensors):
        params = dict(zip(names, tensors, strict=True))
        gradients = torch.autograd.grad(loss(params), tensors, create_graph=True)
        return loss({n: p - 0.1 * g for n, p, g in zip(names, tensors, gradients, strict=True)})

    start = tuple(model.stack[name].detach().clone().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(after_one_step, start)

    def functional(params):
        gradients = torch.func.grad(loss)(params)
        return loss({name: value - 0.1 * gradients[name] for name, value in params.items()})

    expected = torch.autograd.grad(after_one_step(*start), start)
    found = torch.func.grad(functional)({name: value.detach() for name, value in zip(names, start, strict=True)})
    for name, gradient in zip(names, expected, strict=True):
        torch.testing.assert_close(found[name], gradient)
    first_order = torch.func.grad(loss)({name: value.detach() for name, value in zip(names, start, strict=True)})
    assert any(not torch.allclose(found[name], first_order[name]) for name in names)
    assert all(parameter.grad is None for parameter in model.parameters())


# ---------------------------------------------------------------------------------------------------------------------
# Rendering


@each
def test_render_is_what_training_sees(partition, frame):
    model = PiecewiseINR(partition, SMALL, frame=frame)
    batch = model.batch(_signal(partition))
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
    for bad in [{"scale": 0}, {"scale": -2}, {"scale": float("nan")}, {"shape": (3,)}, {"shape": (0, 4)}]:
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
        batch = model.batch(_signal(partition))
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
    for crop in [
        [(0, 7)],
        [(0, 8), (0, 10)],
        [(-1, 7), (0, 10)],
        [(3, 3), (0, 10)],
        [(5, 2), (0, 10)],
        [(0, math.nan)] * 2,
        [(0, 1e-9)] * 2,
    ]:
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


# ---------------------------------------------------------------------------------------------------------------------
# Keeping

MODELS = {
    "siren": lambda: PiecewiseINR(PARTITIONS["scattered"], SMALL, frame="local", engine="batched", seed=3),
    "relu_pe": lambda: PiecewiseINR(PARTITIONS["one axis"], ReluPE(hidden_features=5, frequencies=4), channels=1),
    "matched": lambda: PiecewiseINR(PARTITIONS["grid"], Siren(match_params=3000)),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_kept_comes_back_to_the_bit(name, tmp_path):
    model = MODELS[name]()
    path = tmp_path / "inr.safetensors"
    path.write_bytes(model.to_bytes())
    loaded = PiecewiseINR.load(path)
    assert loaded.architecture() == model.architecture()
    assert loaded.backbone == model.backbone
    assert loaded.engine == model.engine
    assert torch.equal(loaded.partition.labels, model.partition.labels)
    for key, value in model.stack.items():
        assert torch.equal(loaded.stack[key], value)
    assert torch.equal(loaded.render(2), model.render(2))
    assert loaded.to_bytes() == model.to_bytes()
    assert PiecewiseINR.load(str(path)).parameter_count == model.parameter_count


def test_every_part_of_the_architecture_tells_models_apart():
    signal = torch.zeros(4, 6, 3)
    models = [
        PiecewiseINR(Grid(rows=2, cols=2)(signal), SMALL),
        PiecewiseINR(Grid(rows=1, cols=4)(signal), SMALL),
        PiecewiseINR(Grid(rows=2, cols=2)(torch.zeros(6, 4, 3)), SMALL),
        PiecewiseINR(Grid(rows=2, cols=2)(signal), SMALL, channels=1),
        PiecewiseINR(Grid(rows=2, cols=2)(signal), SMALL, frame="local"),
        PiecewiseINR(Grid(rows=2, cols=2)(signal), Siren(hidden_features=6, hidden_layers=1)),
        PiecewiseINR(Grid(rows=2, cols=2)(signal), ReluPE(hidden_features=6, hidden_layers=1)),
    ]
    assert len({json.dumps(model.architecture(), sort_keys=True) for model in models}) == len(models)
    again = PiecewiseINR(Grid(regions=4)(signal), SMALL, seed=9, engine="loop")
    assert again.architecture() == models[0].architecture()


def test_a_copy_is_a_model_of_its_own():
    model = MODELS["siren"]()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.stack["bias_0"] += 1
    assert not torch.equal(twin.render(), model.render())


def _rewritten(data: bytes, change) -> bytes:
    """A safetensors file with its header changed, and its checksum as well."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    meta = json.loads(header["__metadata__"]["partinr"])
    del meta["sha256"]
    meta = change(meta) or meta
    if isinstance(meta, dict):
        meta["sha256"] = checksum(meta, load(data))
    header["__metadata__"]["partinr"] = json.dumps(meta)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


LIES = [
    lambda meta: meta.update(format=99),
    lambda meta: meta.update(format="1"),
    lambda meta: meta.update(backbone="no.such.Backbone"),
    lambda meta: meta.update(backbone="partinr.partition.Grid"),
    lambda meta: meta.update(backbone="Siren"),
    lambda meta: meta.update(backbone=3),
    lambda meta: meta.update(options=[1]),
    lambda meta: meta["options"].update(hidden_features=5),
    lambda meta: meta["options"].update(hidden_layers=2),
    lambda meta: meta["options"].update(colour="red"),
    lambda meta: meta.update(channels=1),
    lambda meta: meta.update(channels="3"),
    lambda meta: meta.update(frame="galactic"),
    lambda meta: meta.update(engine="warp"),
    lambda meta: meta.pop("options"),
    lambda meta: [meta],
    lambda meta: "text",
]


def test_a_header_that_lies_is_refused(tmp_path):
    path, data = tmp_path / "inr.safetensors", MODELS["siren"]().to_bytes()
    for number, change in enumerate(LIES):
        path.write_bytes(_rewritten(data, change))
        with pytest.raises(PartinrError) as caught:
            PiecewiseINR.load(path)
        assert "\n" not in str(caught.value), number


def test_a_label_map_that_is_not_the_models_is_refused(tmp_path):
    model = MODELS["siren"]()
    data = model.to_bytes()
    labels = model.partition.labels.int().numpy().tobytes()
    swapped = model.partition.labels.flip(1).int().numpy().tobytes()
    assert data.count(labels) == 1
    path = tmp_path / "inr.safetensors"
    path.write_bytes(data.replace(labels, swapped))
    with pytest.raises(PartinrError, match="damaged"):
        PiecewiseINR.load(path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    data = MODELS["siren"]().to_bytes()
    path = tmp_path / "inr.safetensors"
    for length in [*range(0, 64, 3), *range(64, len(data), 397), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(PartinrError, match=r"is not a readable partinr model: it is cut off, .*; take an"):
            PiecewiseINR.load(path)


def test_a_damaged_byte_never_ends_in_a_traceback(tmp_path):
    data = bytearray(MODELS["siren"]().to_bytes())
    path = tmp_path / "inr.safetensors"
    refused = 0
    places = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:100].tolist()
    for place in places:
        broken = data.copy()
        broken[place] ^= 0x15
        path.write_bytes(broken)
        try:
            PiecewiseINR.load(path)
        except PartinrError:
            refused += 1
    assert refused == 100


def test_other_files_are_refused(tmp_path):
    for content in [b"", b"not a model", b"\x00" * 100, b"\xff" * 100, b"\x89PNG\r\n\x1a\n" + bytes(99)]:
        path = tmp_path / "photo.png"
        path.write_bytes(content)
        with pytest.raises(
            PartinrError, match=r"no such file at all; .* give the inr\.safetensors of a run directory$"
        ):
            PiecewiseINR.load(path)


def test_somebody_elses_safetensors_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(PartinrError, match=r"is not a readable partinr model: something else wrote it; give the inr\."):
        PiecewiseINR.load(tmp_path / "other.safetensors")


def test_a_missing_file_is_refused(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(PartinrError, match=r"give the inr\.safetensors"):
            PiecewiseINR.load(path)


@covering(8, engine=["auto", "loop", "batched", "fused"], widths=[None, [4, 4, 5, 20]], weighted=[False, True])
def test_the_squared_error_is_that_of_the_values(engine, widths, weighted):
    partition = Partition(torch.arange(4).repeat_interleave(torch.tensor([5, 1, 9, 6]))[None])
    model = PiecewiseINR(partition, Siren(hidden_features=5, hidden_layers=1), widths=widths, engine=engine)
    batch = model.batch(torch.rand(1, 21, 3, generator=torch.Generator().manual_seed(0)))
    weights = torch.rand(21, 1) if weighted else None
    found = model.squared_error(batch.coords, batch.targets, batch.sizes, weights)
    difference = (model(batch.coords, batch.sizes) - batch.targets).square()
    expected = (difference if weights is None else difference * weights).sum()
    torch.testing.assert_close(found, expected)
    wanted = list(model.parameters())
    for one, other in zip(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("widths", [None, [4, 4, 5, 20]], ids=["one width", "three widths"])
def test_some_of_the_networks_alone_give_what_they_give_among_the_others(widths):
    partition = Partition(torch.arange(4).repeat_interleave(torch.tensor([5, 1, 9, 6]))[None])
    model = PiecewiseINR(partition, Siren(hidden_features=5, hidden_layers=1), widths=widths)
    batch = model.batch(torch.rand(1, 21, 3))
    values = model(batch.coords, batch.sizes)
    for some in ([0], [3], [1, 2], [0, 2, 3], [0, 1, 2, 3]):
        networks = torch.tensor(some)
        rows = model.rows(networks)
        params = {name: value[rows[name]] for name, value in model.stack.items()}
        mine = torch.isin(batch.network, networks)
        alone = model(batch.coords[mine], [batch.sizes[n] for n in some], params)
        torch.testing.assert_close(alone, values[mine])

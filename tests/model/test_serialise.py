"""Keeping a model: it comes back to the bit, and no damaged file is taken for one."""

from __future__ import annotations

import copy
import json
import struct

import pytest
import torch
from safetensors.torch import load

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.model.serialise import checksum
from partinr.partition import Grid
from tests.model.small_models import PARTITIONS, SMALL

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

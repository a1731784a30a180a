"""Weights in few bits: how far they are off, what they take, and files that are read like any other."""

import copy
import json
import math
import random
from contextlib import suppress
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from partinr.backbones import Fourier, HashGrid, Siren, Wire
from partinr.base.errors import PartinrError
from partinr.model.inr import FORMAT, PiecewiseINR
from partinr.model.quantise import CODED, PACKED, SCALES, Bits, Per, dequantise, pack, quantise, unpack, weight_bits
from partinr.model.serialise import serialise
from partinr.partition import Grid, Random
from tests.covering import covering

PRECISIONS: list[tuple[Bits, Per]] = [(8, "tensor"), (8, "channel"), (16, "tensor"), (16, "channel")]
NONE: list[tuple[Any, Any]] = [(4, "channel"), (8, "row")]

SIGNAL = torch.zeros(12, 10, 3)


def stack(networks=3):
    """Weights of several sizes: networks and rows differ by orders of magnitude."""
    generator = torch.Generator().manual_seed(0)
    size = 10.0 ** -torch.arange(networks)
    rows = 4.0 ** torch.arange(5)
    return {
        "weight": torch.randn(networks, 5, 9, generator=generator) * size[:, None, None] * rows[:, None],
        "bias": torch.randn(networks, 5, generator=generator) * size[:, None],
    }


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_a_weight_is_off_by_half_a_step_of_its_own_group(bits, per):
    tensors = stack()
    packed = quantise(tensors, bits, per)
    back = dequantise(packed)
    for name, value in tensors.items():
        own_bits = bits if name == "weight" else 16
        # A scale is rounded up by at most the precision of its type.
        step = (1 + 2 * 2**-7) / (2 ** (own_bits - 1) - 1)
        axes = (2,) if per == "channel" and name == "weight" else tuple(range(1, value.ndim))
        largest = value.abs().amax(axes, keepdim=True)
        assert (back[name] - value).abs().le(largest * step / 2).all()
        assert packed[name].dtype == {8: torch.int8, 16: torch.int16}[own_bits]
        assert int(packed[name].abs().max()) <= 2 ** (own_bits - 1) - 1
        assert packed[f"{name}{SCALES}"].numel() == largest.numel()


def test_finer_is_nearer():
    tensors = stack()
    errors = [
        float((dequantise(quantise(tensors, bits, per))["weight"] - tensors["weight"]).square().mean())
        for bits, per in PRECISIONS
    ]
    assert errors == sorted(errors, reverse=True)


def test_networks_do_not_know_each_other():
    tensors = stack()
    for per in ("tensor", "channel"):
        whole = quantise(tensors, 8, per)
        for network in range(3):
            alone = quantise({name: value[network : network + 1] for name, value in tensors.items()}, 8, per)
            assert all(torch.equal(alone[name][0], whole[name][network]) for name in whole)


def test_the_smallest_and_the_largest_weights():
    for value in [0.0, 1e-30, 1e-38, 1e30]:
        for bits in (8, 16):
            back = dequantise(quantise({"weight": torch.full((1, 2, 3), value)}, bits, "channel"))["weight"]
            torch.testing.assert_close(back, torch.full((1, 2, 3), value), rtol=1e-2, atol=1e-38)


def test_what_it_takes_is_what_is_there():
    tensors = stack()
    tensors["short"] = tensors["weight"][..., :2]
    short = 3 * 5 * 2
    weights, biases = 3 * 5 * 9, 3 * 5
    assert weight_bits(tensors) == (32 * (weights + biases + short), 0)
    assert weight_bits(quantise(tensors, 8, "tensor")) == (8 * weights + 16 * (biases + short), 16 * (3 + 3 + 3))
    assert weight_bits(quantise(tensors, 16, "channel")) == (16 * (weights + biases + short), 16 * (3 * 5 + 3 + 3))
    # What is most of the numbers, as a table of features, has the bits that were asked for.
    kept = weight_bits(quantise(tensors, 8, "tensor", fixed={"weight"}))
    assert kept == (32 * weights + 16 * biases + 8 * short, 16 * (3 + 3))


def test_what_has_no_meaning_is_refused():
    for bits, per in NONE:
        with pytest.raises(PartinrError, match="choose from"):
            quantise(stack(), bits, per)
    with pytest.raises(PartinrError, match="weight has weights that are not finite"):
        quantise({"weight": torch.tensor([[1.0, math.nan]])}, 8, "tensor")


# ---------------------------------------------------------------------------------------------------------------------
# Files


BACKBONES = {
    "siren": Siren(hidden_features=6, hidden_layers=1),
    "fourier": Fourier(hidden_features=6, hidden_layers=1, frequencies=4),
    "wire": Wire(hidden_features=4, hidden_layers=1),
    "hash_grid": HashGrid(hidden_features=4, hidden_layers=1, levels=2, table_size=16),
}


@covering(name=list(BACKBONES), frame=["global", "local"])
def test_a_small_file_is_read_like_any_other(name, frame, tmp_path):
    model = PiecewiseINR(Grid(rows=2, cols=2)(SIGNAL), BACKBONES[name], frame=frame)
    for bits, per in PRECISIONS:
        off = 2e-3 if bits == 16 else 0.05
        file = tmp_path / f"{bits}-{per}.safetensors"
        file.write_bytes(model.to_bytes(bits, per))
        back = PiecewiseINR.load(file)
        assert back.architecture() == model.architecture()
        assert float((back.render() - model.render()).abs().mean()) < off
        assert {value.dtype for value in back.stack.values()} == {torch.float32}
        for kept in model.untrained:
            assert torch.equal(back.stack[kept], model.stack[kept])


def test_networks_of_several_widths_and_a_map_of_lots(tmp_path):
    partition = Random(regions=3)(SIGNAL)
    model = PiecewiseINR(partition, Siren(hidden_layers=1, hidden_features=4), widths=[4, 6, 4])
    file = tmp_path / "small.safetensors"
    file.write_bytes(model.to_bytes(16))
    back = PiecewiseINR.load(file)
    assert torch.equal(back.partition.labels, partition.labels)
    assert back.widths == (4, 6, 4)
    torch.testing.assert_close(back.render(), model.render(), rtol=0, atol=2e-3)


def test_the_file_has_a_byte_a_weight_and_says_so(tmp_path):
    model = PiecewiseINR(Grid(rows=2, cols=2)(torch.zeros(64, 64, 3)), Siren(hidden_features=24, hidden_layers=2))
    file = tmp_path / "small.safetensors"
    file.write_bytes(model.to_bytes(8, "tensor"))
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["partinr"])
    assert header[PACKED] == {"bits": 8, "per": "tensor"}
    assert model.parameter_count < file.stat().st_size < 1.5 * model.parameter_count
    # The other keeps four bytes a weight, and four a pixel for the label map.
    assert len(model.to_bytes()) > 4 * (model.parameter_count + 64 * 64)


def test_a_damaged_small_file_is_refused(tmp_path):
    for change in [
        lambda tensors: tensors.pop(f"0.weight{SCALES}"),
        lambda tensors: tensors.update({f"0.weight{SCALES}": torch.ones(4, 1, 1, 1)}),
        lambda tensors: tensors.update({f"0.weight{SCALES}": torch.ones(4, 9, 9)}),
        lambda tensors: tensors.update({f"0.weight{SCALES}": torch.full((4, 1, 1), math.inf)}),
        lambda tensors: tensors.update({f"more{SCALES}": torch.ones(4, 1, 1)}),
        lambda tensors: tensors.pop(f"{CODED}0"),
        lambda tensors: tensors.update({f"{CODED}1": tensors[f"{CODED}0"].clone()}),
        lambda tensors: tensors.update({f"{CODED}0": tensors[f"{CODED}0"][:30]}),
        lambda tensors: tensors.update({f"{CODED}0": tensors[f"{CODED}0"][:0]}),
    ]:
        model = PiecewiseINR(Grid(rows=2, cols=2)(SIGNAL), Siren(hidden_features=6, hidden_layers=1))
        said, tensors = pack(dict(model.stack), model.partition.labels, 8, "channel")
        names = sorted(name for name in tensors if name.endswith(SCALES))
        first = next(name for name in names if tensors[name].ndim == 3).removesuffix(SCALES)
        renamed = {name.replace(first, "0.weight"): value for name, value in tensors.items()}
        change(renamed)
        with pytest.raises(ValueError, match=r"."):
            unpack({**said, "shape": [12, 10]}, renamed, "labels")

        file = tmp_path / "small.safetensors"
        file.write_bytes(model.to_bytes(8))
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
        tensors = {name.replace(first, "0.weight"): value for name, value in load_file(file).items()}
        change(tensors)
        save_file({name.replace("0.weight", first): value for name, value in tensors.items()}, file, metadata)
        with pytest.raises(PartinrError, match=r"small\.safetensors"):
            PiecewiseINR.load(file)


SHAPES: list[Any] = [[12], [12, 10, 1], [2**20, 2**20], [0, 10], [-12, -10], ["12", 10], None, [12, 10.5], []]


def test_forged_small_files_give_a_model_or_one_error(tmp_path):
    # With a correct checksum, since a forger can compute it.
    model = PiecewiseINR(Grid(rows=2, cols=2)(SIGNAL), Siren(hidden_features=6, hidden_layers=1))
    said, tensors = pack(dict(model.stack), model.partition.labels, 8, "channel")
    header = {"format": FORMAT, "engine": model.engine, **model.architecture(), **said}
    rng = random.Random(0)
    read = 0
    for _ in range(200):
        forged, forged_header = dict(tensors), copy.deepcopy(header)
        name = rng.choice(sorted(forged))
        kind = rng.randrange(4)
        if kind == 0:
            data = forged[name].view(torch.uint8).clone()
            data.view(-1)[rng.randrange(data.numel())] ^= rng.randrange(1, 256)
            forged[name] = data.view(forged[name].dtype)
        elif kind == 1:
            code = forged[f"{CODED}0"].clone()
            code[rng.randrange(len(code))] ^= rng.randrange(1, 256)
            forged[f"{CODED}0"] = code
        elif kind == 2:
            forged[name] = forged[name].to(rng.choice([torch.uint8, torch.int8, torch.int16, torch.int64, torch.float]))
        else:
            shape = rng.choice(
                [[12], [12, 10, 1], [2**20, 2**20], [0, 10], [-12, -10], ["12", 10], None, [12, 10.5], []]
            )
            forged_header["shape"] = shape
        file = tmp_path / "forged.safetensors"
        file.write_bytes(serialise("partinr", forged_header, forged))
        # Anything else than a model or a PartinrError ends the test.
        with suppress(PartinrError):
            PiecewiseINR.load(file)
            read += 1
    # Other weights are weights as well.
    assert 0 < read < 150

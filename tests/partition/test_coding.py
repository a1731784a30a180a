"""What a label map costs: a real coder that loses nothing, at every size and number of regions."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.partition import Grid, Partition, Random
from partinr.partition.coding import coded_bits, decode_labels, encode_labels


@pytest.fixture
def written(monkeypatch) -> list[bytes]:
    """Every file that the coder writes."""
    files: list[bytes] = []
    save = Image.Image.save

    def keep(self: Image.Image, buffer: Any, *args: Any, **options: Any) -> None:
        save(self, buffer, *args, **options)
        files.append(buffer.getvalue())

    monkeypatch.setattr(Image.Image, "save", keep)
    return files


def decoded(file: bytes) -> torch.Tensor:
    """The labels in a file: red times 256, green, blue times 65,536."""
    with Image.open(io.BytesIO(file)) as image:
        assert image.format == "WEBP"
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), dtype=np.int64), -1, 0)
    return torch.from_numpy(256 * red + green + 65_536 * blue)


def shuffled(shape: tuple[int, ...], regions: int) -> torch.Tensor:
    order = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(0))
    return (order % regions).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "regions"),
    [((1, 1), 1), ((7, 5), 1), ((7, 5), 2), ((40, 30), 256), ((40, 30), 257), ((40, 30), 1200), ((300, 300), 70_000)],
)
def test_the_labels_are_in_the_file(shape, regions, written):
    labels = shuffled(shape, regions)
    bits = coded_bits(labels)
    [file] = written
    assert torch.equal(decoded(file), labels)
    assert bits == 8 * len(file)


@pytest.mark.parametrize("shape", [(1,), (9,), (20_000,), (40_000,), (1, 16_384), (16_384, 1), (17_000, 2), (3, 4, 5)])
def test_a_map_of_any_shape_is_in_as_many_files_as_it_takes(shape, written):
    labels = shuffled(shape, min(5, math.prod(shape)))
    assert coded_bits(labels) == sum(8 * len(file) for file in written)
    rows = labels.reshape(-1, shape[-1])
    tiles = [decoded(file) for file in written]
    assert torch.equal(torch.cat(tiles, dim=0 if rows.shape[0] > rows.shape[1] else 1), rows)


def test_a_map_of_the_rule_alone_costs_nothing(picture):
    signal = picture("noise", (20, 30))
    for rule in (Grid(), Random()):
        partition = rule(signal)
        assert partition.bits == 0
        assert coded_bits(partition.labels) == Partition(partition.labels).bits > 0


def test_the_same_map_costs_the_same():
    labels = shuffled((20, 30), 9)
    assert coded_bits(labels) == coded_bits(labels.clone()) == coded_bits(labels.T.contiguous().T)
    assert Partition(labels).bits == Partition(labels.to(torch.int32)).bits


def test_order_is_cheaper_than_disorder(picture):
    signal = picture("noise", (64, 96))
    grid, lots = (coded_bits(rule(signal).labels) for rule in (Grid(), Random()))
    # Nine equally likely labels, drawn by lot, cannot be had for less than their entropy.
    assert lots > math.log2(9) * 64 * 96
    assert lots > 20 * grid
    assert coded_bits(torch.zeros(64, 96, dtype=torch.int64)) <= grid


def test_the_files_are_read_back():
    for shape in [(1,), (9,), (20_000,), (7, 5), (1, 16_384), (3, 4, 5)]:
        labels = shuffled(shape, min(300, math.prod(shape)))
        files = encode_labels(labels)
        assert torch.equal(decode_labels(files, shape), labels)
        for wrong in ([], [*files, files[0]], [files[0][:-4][: len(files[0]) // 2], *files[1:]], [b"", *files[1:]]):
            with pytest.raises(ValueError, match="label map"):
                decode_labels(wrong, shape)
        with pytest.raises(ValueError, match="label map"):
            decode_labels(files, (*shape[:-1], shape[-1] + 1))

"""Coordinates that are computed for the rows that are asked for."""

from __future__ import annotations

import pytest
import torch

from partinr.coords import Frame, Layout
from partinr.model import batch as batches
from partinr.model.batch import RegionBatch, region_batch
from partinr.model.computed import ComputedCoords, some
from partinr.model.frames import Frames
from partinr.partition import Partition

SHAPES = ((4, 5, 7), (3, 9, 2))


def both(
    monkeypatch: pytest.MonkeyPatch, shapes: tuple[tuple[int, ...], ...], frame: Frame, layout: Layout | None = None
) -> tuple[RegionBatch, RegionBatch]:
    """A batch with a table of coordinates, and the same one without."""
    generator = torch.Generator().manual_seed(0)
    partitions = [Partition(torch.randint(0, 3, shape, generator=generator)) for shape in shapes]
    frames = [Frames.of(each, frame, layout=layout) for each in partitions]
    signals = [torch.rand(*shape, 2, generator=generator) for shape in shapes]
    table = region_batch(signals, partitions, frames)
    monkeypatch.setattr(batches, "TABLE", 0)
    return table, region_batch(signals, partitions, frames)


@pytest.mark.parametrize("frame", ["global", "local"])
@pytest.mark.parametrize("shapes", [SHAPES, SHAPES[:1], ((37,),), ((6, 11),)])
def test_rows_have_the_bits_of_a_table(
    monkeypatch: pytest.MonkeyPatch, shapes: tuple[tuple[int, ...], ...], frame: Frame
) -> None:
    table, computed = both(monkeypatch, shapes, frame)
    assert isinstance(computed.points, ComputedCoords)
    assert torch.equal(computed.coords, table.coords)
    rows = torch.arange(0, len(table.order), 4)
    assert torch.equal(computed.points[rows], table.coords[rows])
    assert torch.equal(some(computed.points, rows)[3:9], table.coords[rows][3:9])
    assert computed.points.double()[rows].dtype == torch.float64


def test_scrambled_coordinates_too(monkeypatch: pytest.MonkeyPatch) -> None:
    table, computed = both(monkeypatch, ((6, 11),), "global", "public_code")
    assert torch.equal(computed.coords, table.coords)

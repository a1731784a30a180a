"""A stack for new labels has the values of the stack before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import partinr
from partinr.backbones import Siren, load_backbone
from partinr.model.album import Album
from partinr.model.inherit import Heirs
from partinr.partition import Grid, Partition

CHOICES = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[2] / "conf" / "backbone").glob("*.yaml"))
}


def _divided(partition: Partition) -> tuple[Partition, torch.Tensor]:
    """Every region but the first in two, along the last axis; the new ones get the numbers behind the others."""
    labels, parents = partition.labels.clone(), [*range(partition.regions)]
    for region in range(1, partition.regions):
        last = (partition.labels == region).nonzero()[:, -1].amax()
        here = partition.labels == region
        here[..., : int(last) - 1] = False
        labels[here] = len(parents)
        parents.append(region)
    return Partition(labels), torch.tensor(parents)


@pytest.mark.parametrize("frame", ["global", "local"])
@pytest.mark.parametrize("name", CHOICES)
def test_divided_regions_keep_their_values(name, frame):
    settings = {**CHOICES[name], "hidden_features": 6, "match_params": None}
    backbone = load_backbone(settings.pop("_target_"), settings)
    if frame == "local" and backbone.affine_inputs() is None:
        return
    for shape in ((16,), (9, 12), (4, 6, 8)) if name == "siren" else ((9, 12),):
        partition = Grid(regions=2)(torch.zeros(*shape, 3))
        model = partinr.PiecewiseINR(partition, backbone, frame=frame)
        after, parents = _divided(partition)
        heirs = Heirs.of(model, [after], [parents])
        assert heirs.model.regions == 3
        # High frequencies magnify the rounding errors of a batch of another size.
        torch.testing.assert_close(heirs.model.member(0).render(), model.render(), atol=2e-4, rtol=0)
        for parameter, value in model.stack.items():
            assert torch.equal(heirs.model.stack[parameter][:1], value[:1]), "a region that stays keeps its bits"


def test_an_album_and_overlapping_regions_keep_their_values_too():
    partitions = [Grid(regions=number)(torch.zeros(12, 12, 3)) for number in (2, 3)]
    backbone = Siren(hidden_features=6, hidden_layers=1)
    members = [partinr.PiecewiseINR(each, backbone, frame="local", overlap=1, seed=7) for each in partitions]
    album = Album(dict(zip("ab", members, strict=True)))
    divided = [_divided(each) for each in partitions]
    heirs = Heirs.of(album, [each for each, _ in divided], [each for _, each in divided])
    for number in range(2):
        expected = album.member(number).render()
        torch.testing.assert_close(heirs.model.member(number).render(), expected, atol=1e-5, rtol=0)

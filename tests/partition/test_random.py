"""The control: regions of equal size that know nothing of the image."""

from __future__ import annotations

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.partition import Random
from tests.covering import cases, covering


@covering(shape=[(31, 17), (1, 1), (2, 3), (1, 500), (500, 1), (60,), (3, 4, 5)], regions=[2, 1, 9, 60])
def test_every_sample_is_in_one_of_equally_large_regions(shape, regions):
    signal = torch.zeros(*shape, 3)
    if regions > signal[..., 0].numel():
        with pytest.raises(PartinrError, match=f"partition.regions={regions} is more than the .* samples") as caught:
            Random(regions=regions)(signal)
        assert "\n" not in str(caught.value)
        return
    partition = Random(regions=regions)(signal)
    assert partition.shape == shape
    assert partition.regions == regions
    assert int(partition.sizes.max() - partition.sizes.min()) <= 1


def test_the_seed_decides_and_the_image_does_not():
    labels = Random()(torch.zeros(20, 30, 3)).labels
    assert torch.equal(Random()(torch.rand(20, 30, 1)).labels, labels)
    others = [Random(seed=seed)(torch.zeros(20, 30, 3)).labels for seed in (1, 2, 2**63 - 1)]
    for other in others:
        assert not torch.equal(other, labels)
    assert Random.free
    assert not Random.cached
    assert Random()(torch.zeros(20, 30, 3)).bits == 0


def test_neighbours_are_no_more_alike_than_chance():
    labels = Random(regions=4)(torch.zeros(200, 200, 1)).labels
    for steps in ((0, 1), (1, 0), (1, 1), (0, 7)):
        alike = (labels == labels.roll(steps, dims=(0, 1))).double().mean()
        assert float(alike) == pytest.approx(0.25, abs=0.02)


def test_options_are_checked_when_it_is_made():
    for options in cases({"regions": 0}, {"regions": None}, {"seed": -1}, {"seed": 2**63}, {"rows": 2}):
        with pytest.raises(PartinrError, match=rf"Random\.{next(iter(options))}"):
            Random(**options)

"""Superpixels: they follow edges, their number is right even in noise, and their options do what they say."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from partinr.base.errors import PartinrError, PartinrWarning
from partinr.partition import Superpixel
from tests.covering import cases, covering

METHODS = ["slic", "felzenszwalb"]


def found(picture, **options) -> int:
    return Superpixel(regions=None, **options)(picture).regions


def test_an_edge_is_followed_exactly():
    for method in cases(*METHODS):
        # A slanted edge, which no grid has.
        rows, cols = np.indices((48, 64))
        inside = torch.from_numpy((3 * rows + 2 * cols) % 1000 > 120)
        signal = torch.where(inside[..., None], torch.tensor([0.9, 0.8, 0.1]), torch.tensor([0.1, 0.2, 0.6]))
        rule = Superpixel(method=method, regions=2, sigma=0.0, merge="boundary")
        assert torch.equal(rule(signal).labels, inside.long())


@covering(kind=["noise", "two", "scene"], shape=[(1, 3000), (5, 1000), (64, 64)])
def test_slic_gives_the_number_even_where_there_is_nothing_but_fragments(kind, shape, picture, pieces):
    for options in ({}, {"sigma": 0.0}, {"regions": 100}, {"compactness": 1e-6}, {"connected": False}):
        rule = Superpixel(**options)
        partition = rule(picture(kind, shape))
        assert partition.regions == rule.regions
        assert pieces(partition.labels) == rule.regions or not rule.connected


def test_there_are_more_superpixels_than_regions(picture):
    signal = picture("scene", (60, 80))
    for regions in (3, 30, 300, 1000):
        assert Superpixel(regions=regions)(signal).regions == regions
    # Without a number they are what SLIC makes of it, about as many as asked for.
    assert 60 <= found(signal) <= 140
    assert 12 <= found(signal, superpixels=20) <= 30
    assert 250 <= found(signal, superpixels=400) <= 550


def test_as_many_regions_as_there_are_pixels(picture):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartinrWarning)
        for regions in (48, 10**12):
            assert Superpixel(regions=regions, superpixels=2**31 - 1)(picture("noise", (6, 8))).regions == 48


def test_options_do_what_they_say(picture):
    signal = picture("scene", (60, 80))
    counts = [found(signal, method="felzenszwalb", scale=scale) for scale in (1.0, 100.0, 10_000.0)]
    assert counts[0] > counts[1] > counts[2] >= 1
    for smallest in (1, 20, 500):
        sizes = Superpixel(regions=None, method="felzenszwalb", min_size=smallest, connected=False)(signal).sizes
        assert int(sizes.min()) >= smallest
    # The higher the compactness, the squarer: the more of its bounding box a superpixel fills.
    filled = []
    for compactness in (0.1, 1000.0):
        labels = Superpixel(regions=None, compactness=compactness)(signal).labels
        places = [(labels == region).nonzero() for region in labels.unique()]
        filled.append(np.mean([len(at) / int((at.amax(0) - at.amin(0) + 1).prod()) for at in places]))
    assert filled[1] > filled[0] + 0.1
    assert not torch.equal(Superpixel(sigma=0.0)(signal).labels, Superpixel(sigma=3.0)(signal).labels)


def test_the_ends_of_the_options_are_no_edge_to_fall_over(picture):
    for options in cases(
        {"compactness": 1e-6},
        {"compactness": 1e9},
        {"sigma": 100.0},
        {"method": "felzenszwalb", "scale": 1e-6},
        {"method": "felzenszwalb", "scale": 1e9},
        {"method": "felzenszwalb", "sigma": 100.0},
        {"method": "felzenszwalb", "min_size": 2**31 - 1},
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PartinrWarning)
            assert Superpixel(**options)(picture("scene", (20, 30))).regions >= 1


def test_options_are_checked_when_it_is_made():
    for options, said in cases(
        ({"scale": 10.0}, "partition.scale is no option of partition.method=slic; leave it out, or choose the other"),
        ({"min_size": 5}, "partition.min_size is no option of partition.method=slic"),
        ({"method": "felzenszwalb", "superpixels": 9}, "superpixels is no option of partition.method=felzenszwalb"),
        ({"method": "felzenszwalb", "compactness": 9.0}, "compactness is no option of partition.method=felzenszwalb"),
        ({"method": "quickshift"}, r"Superpixel\.method='quickshift'.*'slic' or 'felzenszwalb'"),
        ({"superpixels": 0}, r"Superpixel\.superpixels=0"),
        ({"compactness": 0.0}, r"Superpixel\.compactness=0\.0"),
        ({"compactness": 1e300}, r"Superpixel\.compactness=1e\+300"),
        ({"method": "felzenszwalb", "min_size": 2**31}, r"Superpixel\.min_size="),
        ({"method": "felzenszwalb", "scale": float("nan")}, r"Superpixel\.scale=nan"),
        ({"sigma": -1.0}, r"Superpixel\.sigma=-1\.0"),
    ):
        with pytest.raises(PartinrError, match=said) as caught:
            Superpixel(**options)
        assert "\n" not in str(caught.value)


def test_the_version_of_scikit_image_is_part_of_what_a_map_depends_on():
    assert "skimage" in Superpixel().fingerprint()

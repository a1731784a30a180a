"""k-means: every pixel with the nearest mean, exactly the number of clusters, at every size and weight."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from partinr.base.errors import PartinrError, PartinrWarning
from partinr.partition import KMeans
from tests.covering import cases, covering


def features(signal: torch.Tensor, position: float) -> torch.Tensor:
    """Colour and weighted place of every pixel."""
    height, width = signal.shape[:2]
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows, cols], dim=-1).double() * position / max(height, width)
    return torch.cat([signal.expand(height, width, 3).double(), place], dim=-1).reshape(height * width, -1)


@covering(position=[0.0, 0.3, 3.0], channels=[3, 1])
def test_every_pixel_is_with_the_nearest_mean(position, channels, picture):
    signal = picture("noise", (24, 30), channels)
    for seed in range(4):
        # So many iterations that nothing moves any more.
        labels = KMeans(regions=7, position=position, iterations=1000, seed=seed)(signal).labels.reshape(-1)
        points = features(signal, position)
        means = torch.stack([points[labels == region].mean(dim=0) for region in range(7)])
        distance = torch.cdist(points, means, compute_mode="donot_use_mm_for_euclid_dist")
        own = distance.gather(1, labels[:, None])[:, 0]
        assert bool((own <= distance.amin(dim=1) + 1e-9).all())


def test_colours_alone_are_found_wherever_they_lie(pieces):
    of = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (12, 16)))
    colours = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.2, 0.2], [0.2, 0.9, 0.2], [0.2, 0.2, 0.9]])
    partition = KMeans(regions=4, position=0.0)(colours[of])
    pairs = {*zip(partition.labels.reshape(-1).tolist(), of.reshape(-1).tolist(), strict=True)}
    assert len(pairs) == 4
    assert pieces(partition.labels) > 4
    connected = KMeans(regions=4, position=0.0, connected=True)(colours[of])
    assert pieces(connected.labels) == connected.regions == 4


def test_position_alone_makes_compact_regions(picture, pieces):
    # So heavy that the picture does not matter.
    labels = KMeans(position=1e6)(picture("noise", (30, 40))).labels
    assert torch.equal(labels, KMeans(position=1e6)(picture("two", (30, 40), 1)).labels)
    assert pieces(labels) == 9


@covering(shape=[(1, 9), (3, 3), (5, 7), (1, 300)], kind=["flat", "two", "noise"])
def test_as_many_regions_as_there_are_pixels_and_no_more(kind, shape, picture):
    signal, pixels = picture(kind, shape), shape[0] * shape[1]
    assert KMeans(regions=pixels)(signal).regions == pixels
    assert KMeans(regions=pixels - 1)(signal).regions == pixels - 1
    with pytest.warns(PartinrWarning, match=f"found {pixels} regions .* fewer than the {10**12} asked for"):
        assert KMeans(regions=10**12)(signal).regions == pixels


def test_as_many_regions_as_there_are_colours_if_the_place_does_not_count():
    for values in [1, 2, 5]:
        of = np.random.default_rng(0).permutation(60) % values
        signal = torch.from_numpy(of.reshape(6, 10, 1) / 8).float()
        assert KMeans(position=0.0, regions=values)(signal).regions == values
        with pytest.warns(PartinrWarning, match=f"found {values} region"):
            assert KMeans(position=0.0, regions=values + 1)(signal).regions == values


@covering(position=[0.0, 1e-300, 1e-160, 1e-20, 1e-6, 1.0, 1e6], kind=["noise", "flat"])
def test_no_weight_is_an_edge_to_fall_over(kind, position, picture):
    signal = picture(kind, (20, 24))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartinrWarning)
        partition = KMeans(position=position)(signal)
    # A place that counts so little is lost in single precision.
    assert partition.regions == 9 or (kind == "flat" and position <= 1e-6)


def test_many_regions(picture):
    for regions in [64, 1000, 3000]:
        assert KMeans(regions=regions)(picture("scene", (60, 80))).regions == regions


def test_of_a_large_picture_every_pixel_has_a_region(picture):
    # More pixels than the centres are found from.
    signal = picture("scene", (200, 300))
    partition = KMeans(regions=5, iterations=100)(signal)
    points, labels = features(signal, 1.0), partition.labels.reshape(-1)
    means = torch.stack([points[labels == region].mean(dim=0) for region in range(5)])
    nearest = torch.cdist(points, means).argmin(dim=1)
    assert float((nearest == labels).double().mean()) > 0.98


def test_the_seed_decides(picture):
    signal = picture("noise", (20, 24))
    same, other = KMeans(seed=0)(signal).labels, KMeans(seed=1)(signal).labels
    assert torch.equal(KMeans(seed=0)(signal).labels, same)
    assert not torch.equal(other, same)
    assert KMeans(seed=10**30)(signal).regions == 9


def test_more_iterations_fit_better(picture):
    signal = picture("noise", (40, 50))
    points, costs = features(signal, 1.0), []
    for iterations in (1, 5, 200):
        labels = KMeans(iterations=iterations)(signal).labels.reshape(-1)
        costs.append(
            sum(float((group - group.mean(0)).square().sum()) for group in (points[labels == n] for n in range(9)))
        )
    assert costs[0] > costs[1] > costs[2]


def test_sounds_are_told_apart_by_their_spectra():
    time = np.arange(4000)
    notes = [0.5 + 0.4 * np.sin(2 * np.pi * time / period) for period in (60, 9, 60, 23)]
    signal = torch.from_numpy(np.concatenate(notes)[:, None].astype(np.float32))
    labels = KMeans(regions=3, spectrum=256, position=0.0)(signal).labels
    inner = [labels[start + 300 : start + 3700] for start in (0, 4000, 8000, 12_000)]
    assert [each.unique().tolist() for each in inner] == [[0], [1], [0], [2]]
    assert KMeans(regions=4, spectrum=256, connected=True)(signal).regions == 4
    with pytest.raises(PartinrError, match="compares the spectra of a sound, and this signal has 2 axes; leave it out"):
        KMeans(spectrum=256)(torch.zeros(4, 4, 1))


def test_options_are_checked_when_it_is_made():
    for options, said in cases(
        ({"regions": None}, r"KMeans\.regions=None"),
        ({"position": -1.0}, r"KMeans\.position=-1\.0"),
        ({"position": float("nan")}, r"KMeans\.position=nan"),
        ({"position": float("inf")}, r"KMeans\.position=inf"),
        ({"position": 1e160}, r"KMeans\.position=1e\+160"),
        ({"iterations": 0}, r"KMeans\.iterations=0"),
        ({"seed": -1}, r"KMeans\.seed=-1"),
    ):
        with pytest.raises(PartinrError, match=said):
            KMeans(**options)

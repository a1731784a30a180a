"""What every rule that follows the image keeps, whatever the image is."""

from __future__ import annotations

import dataclasses
import json
import random
import warnings
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from partinr.base.errors import PartinrError, PartinrWarning
from partinr.base.spec import spec
from partinr.partition import ImageSegmentation, KMeans, Partition, Random, Segmentation, Semantic, Superpixel
from partinr.partition.merge import MERGINGS, components, merge, renumber
from partinr.partition.segmentation import as_rgb, pooled, resized
from tests.covering import cases, covering

QUICK = {
    "slic": Superpixel(),
    "felzenszwalb": Superpixel(method="felzenszwalb"),
    "kmeans": KMeans(),
    "kmeans connected": KMeans(connected=True),
}
# Each call of it is a process.
RULES = {**QUICK, "semantic": Semantic()}

TINY = [(1, 1), (2, 3), (3, 5), (1, 500), (500, 1)]


def quietly(rule, signal) -> Partition:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartinrWarning)
        return rule(signal)


def check(rule, partition: Partition, signal, pieces) -> None:
    """A region for every pixel, numbered without a gap, no more than wanted, and in one piece if that was wanted."""
    assert partition.shape == tuple(signal.shape[:-1])
    assert partition.labels.unique().tolist() == list(range(partition.regions))
    assert partition.regions <= rule.regions
    assert (partition.notice is None) == (partition.regions == rule.regions)
    assert partition.seconds is not None
    assert partition.seconds >= 0
    if rule.connected:
        assert pieces(partition.labels) == partition.regions


# ---------------------------------------------------------------------------------------------------------------------
# The rules there are


@covering(16, shape=[*TINY, (20, 20)], kind=["flat", "two", "noise", "ramp", "scene"], name=list(QUICK))
def test_tiny_and_empty_pictures(name, shape, kind, picture, pieces):
    for channels in (1, 3):
        signal = picture(kind, shape, channels)
        check(QUICK[name], quietly(QUICK[name], signal), signal, pieces)


def test_tiny_and_empty_pictures_of_hfs(picture, pieces):
    for kind, shape in [
        ("flat", (1, 1)),
        ("noise", (2, 3)),
        ("noise", (1, 500)),
        ("two", (500, 1)),
        ("flat", (20, 20)),
    ]:
        signal = picture(kind, shape, 1 if kind == "two" else 3)
        check(Semantic(), quietly(Semantic(), signal), signal, pieces)


@pytest.mark.parametrize("name", RULES)
def test_exactly_as_many_regions_as_asked_for(name, picture, pieces):
    signal = picture("scene", (60, 80))
    for regions in (1, 2, 9, 14) if name in QUICK else (9, 14):
        rule = dataclasses.replace(RULES[name], regions=regions)
        partition = rule(signal)
        assert partition.regions == regions
        check(rule, partition, signal, pieces)


@covering(merge=MERGINGS, name=["slic", "felzenszwalb", "kmeans connected"])
def test_every_way_of_merging_gives_them(name, merge, picture, pieces):
    signal = picture("scene", (40, 60))
    rule = dataclasses.replace(QUICK[name], merge=merge)
    check(rule, partition := rule(signal), signal, pieces)
    assert partition.regions == 9


@pytest.mark.parametrize("name", [*RULES, "random"])
def test_the_same_every_time_and_no_dice_of_others_are_thrown(name, picture, monkeypatch):
    rule, signal = {**RULES, "random": Random()}[name], picture("scene", (60, 80))
    before = signal.clone()
    found = []
    threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for seed in (1, 2):
            # Other seeds, and another number of threads.
            torch.set_num_threads(seed)
            cv2.setNumThreads(seed)
            monkeypatch.setenv("OMP_NUM_THREADS", str(seed))
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
            found.append(rule(signal).labels)
            assert torch.equal(torch.get_rng_state(), states[0])
            assert str(np.random.get_state()) == states[1]
            assert random.getstate() == states[2]
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    assert torch.equal(found[0], found[1])
    assert torch.equal(signal, before)


def test_grey_is_three_equal_channels(picture):
    for name in RULES:
        grey = picture("scene", (40, 60), 1)
        assert torch.equal(quietly(RULES[name], grey).labels, quietly(RULES[name], grey.repeat(1, 1, 3)).labels)


@covering(
    name=["slic", "kmeans", "kmeans connected"],
    shape=[(400,), (16, 18), (12, 10, 14), (1, 20, 20)],
    channels=[1, 2, 3, 5],
)
def test_signals_of_any_axes_and_channels(name, shape, channels, picture, pieces):
    signal = picture("scene", shape, channels)
    check(QUICK[name], partition := QUICK[name](signal), signal, pieces)
    assert partition.regions == 9


def test_supervoxels_follow_a_ball(picture):
    places = np.indices((20, 24, 16)).astype(np.float32)
    inside = np.square(places - np.array([9, 12, 8])[:, None, None, None]).sum(0) < 36
    for channels in (1, 2, 3):
        signal = torch.from_numpy(np.repeat(0.2 + 0.6 * inside[..., None], channels, -1).astype(np.float32))
        partition = Superpixel(regions=2, merge="boundary", sigma=0.0)(signal)
        assert torch.equal(partition.labels, torch.from_numpy(inside).long())


@covering(name=["semantic", "felzenszwalb"], shape=[(500, 1), (4, 6, 4), (4, 6, 2), (3, 4, 6, 2)])
def test_what_is_no_image_is_refused_by_rules_for_images(name, shape):
    rule = RULES[name]
    if name == "felzenszwalb" and len(shape) < 4:
        assert quietly(rule, torch.zeros(shape)).regions == 1
        return
    said = "partition=semantic needs an image .*; choose partition=grid or" if name == "semantic" else "method=slic"
    with pytest.raises(PartinrError, match=said) as caught:
        rule(torch.zeros(shape))
    assert "\n" not in str(caught.value)


def test_regions_of_one_frame_are_held_through_a_film(picture):
    film = picture("scene", (5, 20, 30))
    film[3] = picture("scene", (20, 30))
    held: list[tuple[Any, Tensor]] = [
        (KMeans(held=3), film[3]),
        (Blocks(held="mean"), film.mean(0)),
        (Superpixel(held=0), film[0]),
    ]
    for rule, image in held:
        labels = quietly(rule, film).labels
        expected = quietly(dataclasses.replace(rule, held=None), image).labels
        assert torch.equal(labels, expected.expand(5, -1, -1))
    for rule, signal, said in [
        (KMeans(held=5), film, "behind the last of 5 frames; give 0 … 4"),
        (KMeans(held="mean"), film[0], "and this one has 2; leave it out"),
        (Semantic(), film, "or hold the regions of one frame with partition.held=0 or mean"),
    ]:
        with pytest.raises(PartinrError, match=said):
            rule(signal)


def test_a_large_signal_is_pooled():
    for shape in [(9000,), (100, 90), (30, 20, 16), (1, 9000, 1), (2, 3, 9000)]:
        values = torch.linspace(0, 1, int(np.prod(shape))).reshape(*shape, 1).repeat_interleave(5, -1)
        seen = pooled(values, 4096)
        assert 2000 < seen[..., 0].numel() <= 4096
        assert (seen.ndim, seen.shape[-1]) == (values.ndim, 5)
        assert float(seen.mean()) == pytest.approx(float(values.mean()), abs=0.02)
    assert pooled(values, 10**6) is values


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slic", "kmeans connected", "semantic"])
def test_a_picture_of_twelve_million_pixels(name):
    coarse = np.random.default_rng(0).random((40, 30, 3), dtype=np.float32)
    signal = torch.from_numpy(np.clip(cv2.resize(coarse, (3000, 4000), interpolation=cv2.INTER_CUBIC), 0, 1))
    partition = RULES[name](signal)
    assert partition.shape == (4000, 3000)
    assert partition.regions == 9
    assert int(partition.sizes.min()) > 0


# ---------------------------------------------------------------------------------------------------------------------
# A rule of one's own


@spec
class Blocks(ImageSegmentation):
    """Squares of 4×4 pixels in five segments, no two adjacent ones alike, with unusual numbers."""

    def segments(self, image):
        rows, cols = np.indices(image.shape[:2]) // 4
        return 10**6 * ((rows + 2 * cols) % 5) - 3


@spec
class Seen(ImageSegmentation):
    """Everything in one segment; keeps what it was shown."""

    def segments(self, image):
        LOOKED_AT.append(image)
        return np.zeros(image.shape[:2], np.int32)


LOOKED_AT: list[np.ndarray] = []


def test_segments_are_taken_apart_and_merged(picture):
    for rule in cases(*MERGINGS):
        signal = picture("noise", (16, 12))
        segments = Blocks().segments(signal.numpy())
        for regions in cases(1, 2, 5):
            expected = merge(components(segments), regions, rule, signal.numpy())
            assert np.array_equal(Blocks(regions=regions, merge=rule)(signal).labels, expected)


@spec
class Speckled(ImageSegmentation):
    """Two halves, a pixel at a corner, and two in the middle."""

    def segments(self, image):
        found = (np.indices(image.shape[:2])[1] >= image.shape[1] // 2).astype(np.int32)
        found[0, 0], found[8, 8:10] = 2, 3
        return found


def test_no_region_of_a_small_picture_has_only_a_few_pixels(picture):
    for connected in (True, False):
        partition = quietly(Speckled(connected=connected), picture("noise", (16, 16)))
        assert partition.sizes.tolist() == [128, 128]
        assert partition.notice == "partition=speckled found 2 regions in this signal, fewer than the 9 asked for"


def test_no_number_means_as_many_as_there_are(picture):
    signal = picture("noise", (16, 12))
    segments = Blocks().segments(signal.numpy())
    apart = Blocks(regions=None)(signal)
    together = Blocks(regions=None, connected=False)(signal)
    assert np.array_equal(apart.labels, components(segments))
    assert np.array_equal(together.labels, renumber(segments))
    assert (apart.regions, together.regions) == (12, 5)
    assert apart.notice is together.notice is None


def test_fewer_than_wanted_is_said_once_and_goes_on(picture):
    signal = picture("noise", (8, 8))
    rule = Blocks(regions=500)
    with pytest.warns(PartinrWarning) as caught:
        partition = rule(signal)
    [said] = [str(warning.message) for warning in caught]
    assert said == partition.notice
    assert said == f"partition=blocks found {partition.regions} regions in this signal, fewer than the 500 asked for"
    assert "\n" not in said


def test_one_region_has_no_plural(picture):
    with pytest.warns(PartinrWarning, match="found 1 region in this signal, fewer than the 9 asked for"):
        Seen()(picture("noise", (8, 8)))


def test_fewer_than_wanted_may_stop_it(picture):
    signal = picture("noise", (8, 8))
    with pytest.raises(PartinrError, match=r"fewer than the 500 asked for; .*partition\.fewer=continue") as caught:
        Blocks(regions=500, fewer="stop")(signal)
    assert "\n" not in str(caught.value)
    assert Blocks(regions=2, fewer="stop")(signal).notice is None


def test_a_large_picture_is_looked_at_small(picture):
    for shape, most in [((100, 100), 4096), ((30, 400), 5000), ((65, 64), 4096), ((1, 9000), 4096)]:
        signal = picture("ramp", shape)
        LOOKED_AT.clear()
        Seen(max_pixels=most, regions=1)(signal)
        [seen] = LOOKED_AT
        height, width = seen.shape[:2]
        assert seen.dtype == np.float32
        assert most / 2 < height * width <= most
        assert shape[0] == 1 or height / width == pytest.approx(shape[0] / shape[1], rel=0.1)
        assert float(seen.mean()) == pytest.approx(float(signal.mean()), abs=0.01)


def test_a_picture_that_is_not_too_large_is_looked_at_as_it_is(picture):
    for channels in (1, 3):
        signal = picture("noise", (64, 64), channels)
        LOOKED_AT.clear()
        Seen(max_pixels=4096, regions=1)(signal)
        assert np.array_equal(LOOKED_AT[0], signal.expand(64, 64, 3).numpy())


def test_a_pixel_has_the_label_of_the_place_where_it_lies(picture, pieces):
    for shape in [(100, 100), (90, 133), (1, 9000), (9000, 1)]:
        signal = picture("noise", shape)
        rule = Blocks(max_pixels=4096, regions=None)
        LOOKED_AT.clear()
        Seen(max_pixels=4096, regions=1)(signal)
        small = Partition(torch.from_numpy(components(rule.segments(LOOKED_AT[0]))))
        partition = rule(signal)
        assert torch.equal(partition.labels, small.labels_at(shape))
        assert partition.regions == small.regions
        assert pieces(partition.labels) == partition.regions


@covering(
    rule=[Semantic, Superpixel, KMeans, Blocks],
    wrong=[
        ({"regions": 0}, r"\.regions"),
        ({"regions": 2.0}, r"\.regions"),
        ({"merge": "largest"}, r"\.merge='largest'.*'smallest'"),
        ({"connected": 1}, r"\.connected"),
        ({"fewer": "warn"}, r"\.fewer='warn'.*'continue' or 'stop'"),
        ({"max_pixels": 100}, r"\.max_pixels"),
        ({"max_pixels": 10**9}, r"\.max_pixels"),
        ({"segments": 3}, r"no option"),
    ],
)
def test_options_are_checked_when_it_is_made(rule, wrong):
    options, said = wrong
    with pytest.raises(PartinrError, match=said) as caught:
        rule(**options)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_tells_rules_options_and_versions_apart():
    for rule in cases(Semantic, Superpixel, KMeans):
        prints = [
            json.dumps(made.fingerprint(), sort_keys=True)
            for made in (rule(), rule(regions=3), rule(merge="balanced"), rule(max_pixels=5 * 10**5), Blocks())
        ]
        assert len(set(prints)) == len(prints)
        assert rule().fingerprint() == rule().fingerprint()
        assert {"rule", "partinr", "cv2", "regions", "max_pixels"} <= rule().fingerprint().keys()
        assert rule.cached
        assert not rule.free


def test_a_rule_without_segments_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Segmentation()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="abstract"):
        ImageSegmentation()  # type: ignore[abstract]


# ---------------------------------------------------------------------------------------------------------------------
# Images on their way to an algorithm


def test_an_image_for_an_algorithm_is_its_own(picture):
    signal = picture("noise", (4, 5))
    image = as_rgb(signal)
    assert image.flags["C_CONTIGUOUS"]
    image[:] = 0
    assert float(signal.max()) > 0


def test_resized_keeps_to_its_bounds(picture):
    for shape in [(1, 1), (1, 7), (9, 2), (20, 30), (31, 17), (3, 400)]:
        image, pixels = picture("noise", shape).numpy(), shape[0] * shape[1]
        for least, most in ((1, None), (pixels, pixels), (1, 10**6)):
            assert np.array_equal(resized(image, min_pixels=least, max_pixels=most), image)
        for factor in (2, 10, 1000):
            large = resized(image, min_pixels=factor * pixels, max_pixels=None)
            assert large.size >= 3 * factor * pixels
            assert large.shape[0] >= shape[0]
            assert large.shape[1] >= shape[1]
            small = resized(image, max_pixels=max(1, pixels // factor))
            assert small.size <= 3 * max(1, pixels // factor)
            for made in (large, small):
                assert made.dtype == np.float32
                assert made.shape[2] == 3
                assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.parametrize("bounds", [{"min_pixels": 5000}, {"max_pixels": 100}])
def test_resizing_keeps_what_is_flat_flat_and_a_ramp_in_place(bounds):
    flat = resized(np.full((20, 30, 3), 0.3, np.float32), **bounds)
    assert np.allclose(flat, 0.3, atol=1e-6)
    rows, cols = (np.arange(20) + 0.5) / 20, (np.arange(30) + 0.5) / 30
    ramp = np.stack(np.broadcast_arrays(rows[:, None], cols[None, :], 0.5), axis=-1).astype(np.float32)
    made = resized(ramp, **bounds)
    rows, cols = (np.arange(len(made)) + 0.5) / len(made), (np.arange(made.shape[1]) + 0.5) / made.shape[1]
    assert np.abs(made[:, :, 0] - rows[:, None]).max() < 0.02
    assert np.abs(made[:, :, 1] - cols[None, :]).max() < 0.02

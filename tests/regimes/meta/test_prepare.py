"""Label maps of a whole set: made once, found again, and what is said of those that cannot be made."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.partition import Grid, KMeans, LabelCache, Semantic, Superpixel
from partinr.regimes.meta import prepare as module
from partinr.regimes.meta.prepare import prepare_partitions
from partinr.signals import FolderData, SmoothData

ITEMS = SmoothData(shape=[8, 8], train_items=5).train()


@pytest.fixture
def cache(tmp_path):
    return LabelCache(tmp_path / "cache")


def maps(cache: LabelCache) -> list[str]:
    return sorted(file.name for file in cache.folder.glob("*.npz"))


@pytest.mark.parametrize("workers", [0, 2])
def test_made_once_and_found_again(cache, workers):
    rule = KMeans(regions=3)
    first = prepare_partitions(ITEMS, rule, cache, workers=workers)
    assert (first.found, first.made, first.fewer) == (0, 5, 0)
    assert maps(cache) == sorted(f"{cache.key(rule, item.load())}.npz" for item in ITEMS)
    again = prepare_partitions(ITEMS, rule, cache, workers=workers)
    assert (again.found, again.made) == (5, 0)
    assert str(again).startswith("5 label maps: 5 found, 0 made in 0.")


def test_another_rule_or_another_signal_is_another_map(cache):
    prepare_partitions(ITEMS[:3], KMeans(regions=3), cache, workers=0)
    assert prepare_partitions(ITEMS, KMeans(regions=3), cache, workers=0).found == 3
    assert prepare_partitions(ITEMS, KMeans(regions=2), cache, workers=0).found == 0


def test_of_a_complete_set_nothing_is_read(cache, monkeypatch):
    prepare_partitions(ITEMS, KMeans(regions=3), cache, workers=0)
    monkeypatch.setattr(type(ITEMS[0]), "load", None)
    assert prepare_partitions(ITEMS, KMeans(regions=3), cache, workers=0).found == 5


def test_a_file_that_has_changed_is_looked_at_again(cache, tmp_path):
    Image.fromarray(np.zeros((6, 6, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    data = FolderData(path=str(tmp_path))
    rule = KMeans(regions=2)
    assert prepare_partitions(data.train(), rule, cache, workers=0).made == 1
    Image.fromarray(np.full((6, 6, 3), 9, dtype=np.uint8)).save(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", (1, 1))
    assert prepare_partitions(data.train(), rule, cache, workers=0).made == 1
    assert prepare_partitions(data.train(), rule, cache, workers=0).made == 0


def test_a_damaged_note_is_as_good_as_none(cache):
    prepare_partitions(ITEMS, KMeans(regions=3), cache, workers=0)
    (note,) = cache.folder.glob("complete-*.json")
    for content in ("", "[]", '{"fewer": null}', "{}"):
        note.write_text(content)
        assert prepare_partitions(ITEMS, KMeans(regions=3), cache, workers=0).found == 5


def test_nothing_to_do(cache):
    for rule, where, items in [
        (None, cache, ITEMS),
        (Grid(regions=4), cache, ITEMS),
        (KMeans(), None, ITEMS),
        (KMeans(), cache, []),
    ]:
        done = prepare_partitions(items, rule, where)
        assert (done.found, done.made, done.seconds) == (0, 0, 0)
    assert not cache.folder.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_fewer_regions_are_counted_and_a_failure_names_the_signal(cache, workers):
    options: Any = {"method": "felzenszwalb", "scale": 1e6}
    done = prepare_partitions(ITEMS, Superpixel(**options), cache, workers=workers)
    assert done.fewer == 5
    assert str(done).endswith("5 have fewer regions than were asked for")
    assert prepare_partitions(ITEMS, Superpixel(**options), cache, workers=workers).fewer == 5
    with pytest.raises(PartinrError, match=r"^smooth-0: partition=superpixel found") as caught:
        prepare_partitions(ITEMS, Superpixel(**options, fewer="stop"), cache, workers=workers)
    assert "\n" not in str(caught.value)


def test_hfs_in_several_processes(cache):
    done = prepare_partitions(ITEMS[:2], Semantic(regions=2), cache, workers=2)
    assert (done.made, len(maps(cache))) == (2, 2)


def test_a_bar_only_on_a_terminal(cache, monkeypatch, capsys):
    prepare_partitions(ITEMS, KMeans(regions=2), cache, workers=0)
    assert capsys.readouterr() == ("", "")
    console = module.Console

    def terminal(stderr: bool) -> object:
        return console(stderr=stderr, force_terminal=True)

    monkeypatch.setattr(module, "Console", terminal)
    prepare_partitions(ITEMS, KMeans(regions=3), cache, workers=0)
    assert "label maps" in capsys.readouterr().err

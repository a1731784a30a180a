"""Label maps that are found again: for the same signal and rule and nothing else, whatever became of the file."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.partition import Grid, ImageSegmentation, KMeans, LabelCache, PartitionRule, Random, Whole, make

MADE: list[Any] = []


@spec
class Counted(ImageSegmentation):
    """Columns of ``width`` pixels; keeps count of how often it was carried out."""

    regions: int | None = None
    width: int = 2
    seed: int = 0

    def segments(self, image):
        MADE.append(self)
        return np.indices(image.shape[:2])[1] // self.width


@spec
class Known(PartitionRule):
    """Costly, and yet nothing that depends on the signal."""

    free: ClassVar[bool] = True
    cached: ClassVar[bool] = True
    path: Path = Path("x")
    extra: Any = None

    def labels(self, signal):
        MADE.append(self)
        return torch.arange(signal[..., 0].numel()).reshape(signal.shape[:-1])


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    MADE.clear()


@pytest.fixture
def cache(tmp_path) -> LabelCache:
    return LabelCache(tmp_path / "deep" / "cache")


@pytest.fixture
def signal(picture) -> torch.Tensor:
    return picture("noise", (6, 7))


def files(cache: LabelCache) -> list[Path]:
    return sorted(cache.folder.iterdir()) if cache.folder.exists() else []


# ---------------------------------------------------------------------------------------------------------------------
# Found, or made


def test_what_was_made_is_found_again(cache, signal):
    first = make(Counted(), signal, cache=cache)
    again = make(Counted(), signal.clone(), cache=cache)
    assert len(MADE) == 1
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.labels, Counted()(signal).labels)
    assert again.seconds == first.seconds
    assert (again.free, again.notice, again.bits) == (first.free, first.notice, first.bits)
    assert len(files(cache)) == 1


def test_another_signal_or_option_is_another_map(cache, signal):
    small = signal.clone()
    small[5, 6, 2] += 2**-20
    signals = [signal, small, signal.reshape(7, 6, 3), signal[:, :, :1], signal[:5], signal.flip(1)]
    for other in signals:
        make(Counted(), other, cache=cache)
    rules = [Counted(width=3), Counted(seed=1), Counted(regions=3), Counted(max_pixels=5000), Counted(merge="balanced")]
    for rule in rules:
        make(rule, signal, cache=cache)
    assert len(MADE) == len(files(cache)) == len(signals) + len(rules)
    for other in signals:
        assert torch.equal(make(Counted(), other, cache=cache).labels, Counted.labels(Counted(), other))
    MADE.clear()
    for rule in rules:
        make(rule, signal, cache=cache)
    assert not MADE


def test_rules_of_the_same_options_are_told_apart(cache, signal):
    assert cache.key(KMeans(), signal) != cache.key(Counted(), signal)
    assert cache.key(KMeans(), signal) == LabelCache(Path("elsewhere")).key(KMeans(), signal)


def test_how_a_signal_lies_in_memory_does_not_matter(cache, signal):
    turned = signal.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not turned.is_contiguous()
    assert cache.key(Counted(), turned) == cache.key(Counted(), signal)
    assert cache.key(Counted(), signal.requires_grad_()) == cache.key(Counted(), signal.detach())


@pytest.mark.parametrize("regions", [1, 2, 256, 257, 70_000])
def test_every_number_of_regions_is_kept(regions, cache):
    signal = torch.zeros(max(regions, 3), 1)
    made = make(Known(), signal, cache=cache)
    [file] = files(cache)
    assert torch.equal(make(Known(), signal, cache=cache).labels, made.labels)
    assert len(MADE) == 1
    assert file.stat().st_size < 600 + 3 * len(signal)


def test_a_map_that_costs_nothing_costs_nothing_when_it_is_found(cache, signal):
    for _ in range(2):
        partition = make(Known(), signal, cache=cache)
        assert partition.free
        assert partition.bits == 0
    assert len(MADE) == 1


def test_options_are_told_apart_or_refused(cache, signal):
    assert cache.key(Known(path=Path("a")), signal) != cache.key(Known(path=Path("b")), signal)
    # As text, two long arrays may be the same.
    with pytest.raises(TypeError):
        cache.key(Known(extra=np.zeros(9)), signal)


@pytest.mark.parametrize("rule", [Whole(), Grid(rows=2, cols=3), Random(regions=4)])
def test_what_is_cheap_is_not_kept(rule, cache, signal):
    assert torch.equal(make(rule, signal, cache=cache).labels, rule(signal).labels)
    assert not cache.folder.exists()


# ---------------------------------------------------------------------------------------------------------------------
# Fewer regions than wanted


def test_what_is_to_be_said_is_said_every_time(cache, signal):
    notices = [make(Counted(regions=9), signal, cache=cache).notice for _ in range(3)]
    assert len(MADE) == 1
    assert notices == ["partition=counted found 4 regions in this signal, fewer than the 9 asked for"] * 3


def test_what_is_to_stop_stops_every_time(cache, signal):
    make(Counted(regions=9), signal, cache=cache)
    for _ in range(2):
        with pytest.raises(PartinrError, match="found 4 regions"):
            make(Counted(regions=9, fewer="stop"), signal, cache=cache)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def npz(**arrays: Any) -> bytes:
    np.savez("made.npz", **arrays)
    return Path("made.npz").read_bytes()


def test_a_damaged_file_is_made_anew_and_mended(cache, signal):
    expected = make(Counted(), signal, cache=cache)
    [file] = files(cache)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    flips = [bytes([*whole[:at], whole[at] ^ 255, *whole[at + 1 :]]) for at in range(0, len(whole), 3)]
    damaged = [
        *(whole[:length] for length in rng.choice(len(whole), 20, replace=False)),
        *flips,
        b"",
        b"not a file of NumPy's",
        b"\x93NUMPY",
        npz(labels=expected.labels.numpy()),
        npz(labels=expected.labels.numpy()[:, :5], seconds=1.0),
        npz(labels=expected.labels.numpy() + 1, seconds=1.0),
        npz(labels=expected.labels.numpy() - 1, seconds=1.0),
        npz(labels=np.full((6, 7), "a"), seconds=1.0),
        npz(labels=expected.labels.numpy(), seconds=np.zeros(3)),
    ]
    for content in damaged:
        file.write_bytes(content)
        assert torch.equal(make(Counted(), signal, cache=cache).labels, expected.labels)
        MADE.clear()
        assert torch.equal(make(Counted(), signal, cache=cache).labels, expected.labels)
        assert not MADE, "it was not mended"
        assert files(cache) == [file]


def test_a_file_may_be_deleted_at_any_time(cache, signal):
    for _ in range(2):
        make(Counted(), signal, cache=cache)
        files(cache)[0].unlink()
    cache.folder.rmdir()
    make(Counted(), signal, cache=cache)
    assert len(MADE) == 3


def test_several_threads_may_share_a_folder(cache, signal):
    found: list[torch.Tensor] = []

    def go() -> None:
        for width in (1, 2, 3, 1, 2, 3):
            partition = make(Counted(width=width), signal, cache=cache)
            assert torch.equal(partition.labels[0], torch.arange(7) // width)
            found.append(partition.labels)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 24
    assert [file.suffix for file in files(cache)] == [".npz"] * 3


OTHER = """
import sys, torch
from pathlib import Path
from partinr.partition import KMeans, LabelCache, make
signal = torch.linspace(0, 1, 300).reshape(10, 10, 3)
for seed in range(20):
    print(make(KMeans(seed=seed), signal, cache=LabelCache(Path(sys.argv[1]))).labels.tolist())
"""


@pytest.mark.slow
def test_several_processes_may_share_a_folder(cache):
    def start() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", OTHER, cache.folder], stdout=subprocess.PIPE, text=True)

    with start() as first, start() as second:
        said = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert said[0] == said[1]
    assert [file.suffix for file in files(cache)] == [".npz"] * 20
    # They are found by a third, here.
    signal = torch.linspace(0, 1, 300).reshape(10, 10, 3)
    assert f"{make(KMeans(seed=7), signal, cache=cache).labels.tolist()}\n" in said[0]
    assert len(files(cache)) == 20


@pytest.mark.parametrize("what", ["a file in its place", "no permission", "no space"])
def test_a_folder_that_cannot_be_written_is_one_line(what, cache, signal, monkeypatch):
    if what == "a file in its place":
        cache.folder.parent.write_text("")
    else:
        error = PermissionError(13, "Permission denied") if what == "no permission" else OSError(28, "No space left")

        def refuse(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(
        PartinrError, match=r"^cannot keep a label map in .*: .*cache_dir=PATH, .*cache_dir=null$"
    ) as caught:
        make(Counted(), signal, cache=cache)
    assert "\n" not in str(caught.value)
    assert "None" not in str(caught.value)
    monkeypatch.undo()
    if what != "a file in its place":
        assert files(cache) == []


def test_a_rule_of_ones_own_that_is_edited_is_another_rule(tmp_path, monkeypatch):
    file = tmp_path / "edited_rule.py"
    text = (
        "from partinr.partition import ImageSegmentation\nfrom partinr.base.spec import spec\n\n\n@spec\n"
        "class Mine(ImageSegmentation):\n    def segments(self, image):\n"
        "        return (image[..., 0] > 0.5).astype(int)\n"
    )
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    rule = importlib.import_module("edited_rule").Mine()
    before = rule.fingerprint()
    assert rule.fingerprint() == before
    file.write_text(text.replace("0.5", "0.9"))
    assert rule.fingerprint() != before

"""Digests of files: what has not changed is not read again, and what has is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from partinr.base.digests import FILE, Digests

OLD = 1_600_000_000 * 10**9


def settled(path: Path, content: str) -> Path:
    """A file that was written long ago."""
    path.write_text(content)
    os.utime(path, ns=(OLD, OLD))
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    plain = Path.open

    def counting(self: Path, *arguments: Any, **named: Any) -> Any:
        names.append(self.name)
        return plain(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", counting)
    return names


def test_a_folder_is_read_once(tmp_path: Path, opened: list[str]) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    folder.mkdir()
    files = [settled(folder / f"{number}.png", str(number)) for number in range(2000)]
    opened.clear()
    digests = Digests(cache)
    first = digests.of_files(folder, files)
    digests.save()
    assert sum(name.endswith(".png") for name in opened) == 2000
    opened.clear()
    # Another process finds them too; only what has changed is read.
    assert Digests(cache).of_files(folder, reversed(files)) == first
    assert opened == [FILE]
    settled(files[7], "x")
    assert Digests(cache).of_files(folder, files) != first
    assert opened.count("7.png") == len([name for name in opened if name.endswith(".png")]) == 2  # written and read
    opened.clear()
    Digests(cache).of_files(folder, files, verify=True)
    assert sum(name.endswith(".png") for name in opened) == 2000


def test_the_digest_is_that_of_the_content_and_the_names(tmp_path: Path) -> None:
    one, two = settled(tmp_path / "a", "a"), settled(tmp_path / "b", "b")
    digests = Digests()
    assert digests.of(one) == hashlib.sha256(b"a").hexdigest()
    assert digests.of_files(tmp_path, [one]) == digests.of(one)
    both = digests.of_files(tmp_path, [one, two])
    two.rename(tmp_path / "c")
    assert digests.of_files(tmp_path, [one, tmp_path / "c"]) != both
    with pytest.raises(FileNotFoundError):
        digests.of_files(tmp_path, [])


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    digests, path = Digests(tmp_path / "cache"), tmp_path / "mask"
    # The same size, inode and, on a coarse clock, time.
    for content in "ab":
        path.write_text(content)
        assert digests.of(path) == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"x": 3}', b'{"x": [1, 2]}', b"\xff"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: bytes) -> None:
    path = settled(tmp_path / "mask", "a")
    (tmp_path / FILE).write_bytes(damage)
    digests = Digests(tmp_path)
    expected = hashlib.sha256(b"a").hexdigest()
    assert digests.of(path) == expected
    digests.save()
    assert str(path) in (tmp_path / FILE).read_text()
    assert Digests(tmp_path).of(path) == expected


def test_two_processes_share_a_cache(tmp_path: Path, opened: list[str]) -> None:
    paths = [settled(tmp_path / name, name) for name in "ab"]
    caches = [Digests(tmp_path / "cache") for _ in paths]
    for digests, path in zip(caches, paths, strict=True):
        digests.of(path)
    for digests in caches:
        digests.save()
    opened.clear()
    both = Digests(tmp_path / "cache")
    assert [both.of(path) for path in paths] == [hashlib.sha256(name.encode()).hexdigest() for name in "ab"]
    assert opened == [FILE]

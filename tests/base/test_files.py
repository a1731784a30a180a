"""Whole files at any moment."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from partinr.base.files import write_atomically, write_new


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


WRITER = """
import itertools, sys
from pathlib import Path
from partinr.base.files import write_atomically
path = Path(sys.argv[1])
for number in itertools.count():
    write_atomically(path, bytes([number % 251]) * 300_000)
"""


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    path, rng = tmp_path / "file", random.Random(0)
    path.write_bytes(bytes(300_000))
    met = set()
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", WRITER, path]) as process:
            start, before = time.monotonic(), path.read_bytes()
            while path.read_bytes() == before:  # until it has come to writing
                assert process.poll() is None
                assert time.monotonic() < start + 60
            end = time.monotonic() + rng.uniform(0, 0.1)
            while time.monotonic() < end:
                met.add(content := path.read_bytes())
                assert content == content[:1] * 300_000
            process.kill()
        met.add(content := path.read_bytes())
        assert content == content[:1] * 300_000
    assert len(met) > 3


@pytest.mark.parametrize(
    ("write", "step"), [(write_atomically, "fsync"), (write_atomically, "replace"), (write_new, "fsync")]
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    write: Callable[[Path, bytes], None], step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "file", b"new")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_write_makes_folders_and_keeps_the_usual_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o027)
    try:
        # Another thread that makes a file meanwhile must not meet another mask.
        monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the mask is the whole process's"))
        write_atomically(tmp_path / "deep" / "er" / "file", b"x")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "er" / "file").stat().st_mode) == 0o640


def test_a_new_file_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    for number, link in enumerate((os.link, unsupported)):
        monkeypatch.setattr(os, "link", link)
        path = tmp_path / str(number) / "file"
        write_new(path, b"first")
        with pytest.raises(FileExistsError):
            write_new(path, b"second")
        assert (path.read_bytes(), names(path.parent)) == (b"first", ["file"])

"""A claim: one owner, told by the system's lock; another machine's by its last sign of life."""

import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from partinr.base import lock as lease
from partinr.base.lock import LEASE_SECONDS, TakenError, claim, is_held

HOLD = """
import sys
from pathlib import Path
from partinr.base.lock import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claim"


def of_another_host(path: Path, age: float) -> None:
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    touched = time.time() - age
    os.utime(path, (touched, touched))


def test_one_owner_at_a_time(path: Path) -> None:
    assert not is_held(path)
    with claim(path):
        assert is_held(path)
        with pytest.raises(TakenError) as taken, claim(path):
            pass
        assert taken.value.owner == {"host": platform.node(), "pid": os.getpid()}
        assert taken.value.seconds is None
        with pytest.raises(TakenError), claim(path, force=True):
            pass  # what is locked is never taken
    assert not is_held(path)
    with claim(path):
        pass


def test_a_claim_ends_with_what_it_was_held_for(path: Path) -> None:
    with pytest.raises(ValueError, match="no"), claim(path):
        raise ValueError("no")
    assert not is_held(path)


def test_a_dead_process_holds_nothing(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert is_held(path)
    with pytest.raises(TakenError) as taken, claim(path):
        pass
    assert taken.value.owner["pid"] == process.pid
    process.kill()
    process.communicate()
    assert not is_held(path)
    with claim(path):
        assert is_held(path)


def test_looking_takes_nothing(path: Path) -> None:
    path.touch()
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # somebody looks
    assert not is_held(path)
    os.close(descriptor)
    before = (path.stat().st_mtime_ns, list(path.parent.iterdir()))
    assert not is_held(path)
    assert (path.stat().st_mtime_ns, list(path.parent.iterdir())) == before


@pytest.mark.parametrize("age", [0.0, LEASE_SECONDS - 20])
def test_another_hosts_claim_is_believed_for_a_while(path: Path, age: float) -> None:
    of_another_host(path, age)
    assert is_held(path)
    with pytest.raises(TakenError) as taken, claim(path):
        pass
    assert taken.value.owner["host"] == "elsewhere"
    assert taken.value.seconds is not None
    assert abs(taken.value.seconds - (LEASE_SECONDS - age)) < 10
    with claim(path, force=True):
        pass


def test_another_hosts_claim_ends_by_itself(path: Path) -> None:
    of_another_host(path, LEASE_SECONDS + 1)
    assert not is_held(path)
    with claim(path):
        pass


def test_the_clock_of_this_machine_does_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_another_host(path, 0.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert is_held(path)


def test_a_holder_gives_signs_of_life(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    with claim(path):
        os.utime(path, (0, 0))
        end = time.monotonic() + 30
        while path.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_obstacle(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with claim(path):
        pass
    of_another_host(path, 0.0)
    with pytest.raises(TakenError), claim(path):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_what_is_damaged_is_nobodys(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert not is_held(path)
    with claim(path):
        pass

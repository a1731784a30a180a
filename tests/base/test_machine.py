"""What ``/proc`` and ``/sys`` tell of the machine, on made-up trees and on this one."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from partinr.base import machine
from partinr.base.machine import Moment, Waits, cpu_seconds

STAT = "(a name) R 1) {} 0 0\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up system: 5 threads run, 2 of them of this process, which has 3."""
    files = {
        "proc/loadavg": "3.66 3.00 2.87 5/147 16499\n",
        "proc/stat": "cpu  240 148 475 405 9 0 56 250 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n",
        "proc/cpuinfo": "model name\t: x\ncpu MHz\t\t: 2000.0\ncpu MHz\t\t: 3000.0\n",
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/job/cpu.stat": "usage_usec 9\nthrottled_usec 1500000\n",
    }
    for number, state in enumerate("RSR"):
        task = f"proc/{os.getpid()}/task/{number}"
        files |= {
            f"{task}/stat": f"{number} {STAT.format(state)}",
            f"{task}/schedstat": f"{number}000000000 250000000 7\n",
        }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "SYS", tmp_path / "sys")
    return tmp_path


def test_a_moment(tree: Path) -> None:
    assert Moment.now() == Moment(load=3.66, runnable=5, own=2, mhz=2500.0)
    policy = tree / "sys/devices/system/cpu/cpufreq/policy0"
    policy.mkdir(parents=True)
    (policy / "scaling_cur_freq").write_text("1800000\n")
    assert Moment.now().mhz == 1800.0


def test_waits_are_differences(tree: Path) -> None:
    before = Waits.now()
    assert (before.throttled, before.stolen) == (1.5, 250 / os.sysconf("SC_CLK_TCK"))
    task = tree / f"proc/{os.getpid()}/task"
    (task / "1/schedstat").write_text("3000000000 1250000000 9\n")
    (task / "9").mkdir()
    (task / "9/schedstat").write_text("500000000 125000000 1\n")  # a thread that is new counts from its start
    (task / "0/schedstat").unlink()  # one that has ended does not count
    (tree / "proc/self/cgroup").write_text("3:cpuset:/\n2:cpu,cpuacct:/old\n")
    old = tree / "sys/fs/cgroup/cpu/old"
    old.mkdir(parents=True)
    (old / "cpu.stat").write_text("nr_throttled 2\nthrottled_time 2000000000\n")
    assert Waits.now().since(before) == {"ran": 2.5, "waited": 1.125, "throttled": 0.5, "stolen": 0.0}


def test_on_other_systems_nothing_is_known(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tree / "none")
    monkeypatch.setattr(machine, "SYS", tree / "none")
    assert Moment.now() == Moment(None, None, 0, None)
    assert all(math.isnan(value) for value in Waits.now().since(Waits.now()).values())


def _work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_children_count() -> None:
    context = multiprocessing.get_context("spawn")
    before, own = cpu_seconds(), time.process_time()
    child = context.Process(target=_work, args=(0.2,))
    child.start()
    seen = 0.0
    while child.is_alive():
        seen = max(seen, cpu_seconds() - before)
        time.sleep(0.01)
    child.join()
    own = time.process_time() - own
    assert seen > 0.1, "while it runs"
    assert cpu_seconds() - before - own > 0.15, "and afterwards"

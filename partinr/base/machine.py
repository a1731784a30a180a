"""What the system tells of its cores: who runs on them, and how long threads wait for one.

Everything is read from ``/proc`` and ``/sys`` of Linux. What cannot be read, or on another system, is None.
"""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path

import psutil

PROC = Path("/proc")
SYS = Path("/sys")

READINGS = 3


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_seconds() -> float:
    """CPU seconds of this process so far: of its threads, of its child processes, and of those that have ended."""
    living = _children()  # first, since it collects those that have ended
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(_cpu_seconds_of, living))


def _cpu_seconds_of(pid: int) -> float:
    with suppress(psutil.Error):
        return sum(psutil.Process(pid).cpu_times()[:4])  # user, system, and both of its own children
    return 0.0


def _children() -> list[int]:
    """The processes that this one started through :mod:`multiprocessing`."""
    return [child.pid for child in active_children() if child.pid is not None]


@dataclass(frozen=True)
class Moment:
    """The machine at one time."""

    load: float | None
    """Load average over the last minute."""
    runnable: int | None
    """Threads of the whole machine that run or wait for a core."""
    own: int
    """How many of them belong to this process and the children that it started."""
    mhz: float | None
    """Mean clock frequency of the cores [MHz]."""

    @classmethod
    def now(cls) -> Moment:
        """The machine now: of three readings within some milliseconds, that with the fewest other threads.

        Most threads run for less than that, and keep no core from anybody.
        """
        load = _words(PROC / "loadavg")
        if len(load) < 4:
            return cls(None, None, 0, _mhz())
        readings = []
        for _ in range(READINGS):
            running = int(_words(PROC / "loadavg")[3].partition("/")[0])
            readings.append((running, sum(_runnable_of(pid) for pid in (os.getpid(), *_children()))))
            time.sleep(0.001)
        running, own = min(readings, key=lambda each: each[0] - each[1])
        return cls(float(load[0]), running, own, _mhz())


def _runnable_of(pid: int) -> int:
    # The state follows the name of the program, which is in brackets and may hold any character.
    states = (_text(task / "stat").rpartition(")")[2].split() for task in _tasks(pid))
    return sum(1 for state in states if state and state[0] == "R")


def _mhz() -> float | None:
    said = [_text(each) for each in SYS.glob("devices/system/cpu/cpufreq/policy*/scaling_cur_freq")]
    found = [float(each) / 1000 for each in said if each.strip().isdecimal()]
    if not found:
        lines = _text(PROC / "cpuinfo").splitlines()
        found = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class Waits:
    """Seconds since the start of threads, control group and machine, so that only differences count."""

    threads: dict[str, tuple[float, float]]
    """For each thread of this process: seconds on a core, and seconds ready to run without one. Empty if unknown."""
    throttled: float | None
    """Seconds that the quota of the control group kept its threads off the cores."""
    stolen: float | None
    """Seconds that a hypervisor kept the machine off the cores."""

    @classmethod
    def now(cls) -> Waits:
        """The seconds up to now."""
        threads = {}
        for task in _tasks(os.getpid()):
            counts = _words(task / "schedstat")
            if len(counts) == 3:
                threads[task.name] = (float(counts[0]) / 1e9, float(counts[1]) / 1e9)
        total = _words(PROC / "stat")[:9]
        stolen = float(total[8]) / os.sysconf("SC_CLK_TCK") if len(total) == 9 else None
        return cls(threads, _throttled(), stolen)

    def since(self, before: Waits) -> dict[str, float]:
        """The seconds in between: ``ran`` and ``waited`` of all threads, ``throttled``, ``stolen``; NaN if unknown."""
        ran = waited = 0.0 if self.threads else math.nan
        for name, (on_core, ready) in self.threads.items():
            then = before.threads.get(name, (0.0, 0.0))
            ran, waited = ran + on_core - then[0], waited + ready - then[1]
        throttled, stolen = _passed(self.throttled, before.throttled), _passed(self.stolen, before.stolen)
        return {"ran": ran, "waited": waited, "throttled": throttled, "stolen": stolen}


def _passed(now: float | None, before: float | None) -> float:
    return math.nan if now is None or before is None else now - before


def _throttled() -> float | None:
    for line in _text(PROC / "self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        # Version 2 has one tree and counts in microseconds, version 1 a tree for each controller and nanoseconds.
        if controllers == "":
            folder, key, unit = SYS / f"fs/cgroup{path}", "throttled_usec", 1e6
        elif "cpu" in controllers.split(","):
            folder, key, unit = SYS / f"fs/cgroup/cpu{path}", "throttled_time", 1e9
        else:
            continue
        for found in _lines_of(folder / "cpu.stat"):
            if found[0] == key:
                return float(found[1]) / unit
    return None


def _lines_of(path: Path) -> Iterable[list[str]]:
    return (words for line in _text(path).splitlines() if len(words := line.split()) == 2)


def _tasks(pid: int) -> Iterator[Path]:
    with suppress(OSError):
        yield from (PROC / f"{pid}/task").iterdir()


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    """The content of a file; empty if it cannot be read, as the thread may have ended."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""

"""The rule that says whether the seconds of a run hold, or other work took part of the machine.

``run.json`` has the facts. The machine was shared if one of these signs shows:

1. **Waiting.** The threads of the run were ready to run and had no core for more than :data:`WAITED` of the time in
   which they could have run, or :data:`LOST` of it for a single thread. This counts only for a single process with no
   more threads than cores, as threads would wait for each other otherwise. The same holds, with :data:`LOST`, for the
   time in which the quota of the control group stopped them, or a hypervisor the whole machine.
2. **Crowd.** At two of the three moments (start, middle, end) the threads of the run and other runnable threads were
   more than the cores. Where the waiting is known, it must be :data:`CROWDED` of a core or more, because threads of low
   priority take nothing. This sign is for machines of many cores: the delay of one thread holds up all others there,
   and is a small part of the time.
3. **Pace.** Over the whole training, both the steps and the CPU seconds per wall second were less than :data:`SLOW` of
   those of its best stretch. One alone shows nothing: threads that spin use CPU seconds while they wait for each other,
   and steps may become slower by themselves.

A run without these facts, such as one of an older version, is not marked, nor is one of less than :data:`LEAST` seconds
of training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from partinr.base.section import lookup

SIGN = "†"
"""Mark of seconds that were measured while the machine was shared."""

LEAST = 0.5
"""Seconds of training from which a run is judged. A single time slice of another program matters in shorter ones, whose
seconds nobody compares."""

LOST = 0.1
"""Lost part of the time that a thread wanted to run. On a quiet machine a single thread loses 1 %."""

WAITED = 0.23
"""Likewise where several threads share the work. They wake each other many times a second and wait for a moment each
time: on a quiet machine with two cores up to 19 % with the smallest steps, beside a busy neighbour 28 to 44 %."""

CROWDED = 0.1
"""Seconds of waiting per second, over all threads."""

SLOW = 0.8
"""Pace against that of the best stretch."""

STRETCH = 0.5
"""Least seconds of training of a stretch, since the pace of shorter ones varies by itself."""

_LOSSES = {
    "waited": "its threads spent {} of their time waiting for a core",
    "throttled": "the quota of its control group stopped it for {} of its time",
    "stolen": "the host took the cores of its virtual machine for {} of its time",
}


def sharing(manifest: Mapping[str, Any]) -> str | None:
    """What shows that other work took part of the machine, as a clause; None if nothing does.

    Args:
        manifest: content of ``run.json``.
    """
    number = partial(_number, manifest)
    wall = number("seconds.training")
    if wall is None or wall < LEAST:
        return None
    threads, cores = number("machine.threads"), number("hardware.cores")
    fits = number("hardware.devices") in (None, 1) and (threads is None or cores is None or threads <= cores)
    ran, waited = number("machine.ran"), number("machine.waited")
    for key, words in _LOSSES.items():
        lost = number(f"machine.{key}")
        limit = WAITED if key == "waited" and threads != 1 else LOST
        if lost and ran and lost > limit * (lost + ran) and (key != "waited" or fits):
            return words.format(f"{lost / (lost + ran):.0%}")
    every = number("machine.cores")
    others = [number(f"machine.{moment}.others") for moment in ("start", "middle", "end")]
    if threads is not None and every is not None:
        crowded = [each for each in others if each and each + threads > every]
        lightly = waited is not None and waited < CROWDED * (wall + (number("seconds.evaluation") or 0.0))
        if len(crowded) >= 2 and not lightly:
            return f"{min(crowded):.0f} other thread{'s' * (min(crowded) > 1)} wanted its {every:.0f} cores"
    steps, cpu = number("machine.pace.steps"), number("machine.pace.cpu")
    if steps is not None and cpu is not None and max(steps, cpu) < SLOW:
        return f"its steps per second were {steps:.0%} of its best stretch, its CPU seconds {cpu:.0%}"
    return None


def pace(curve: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Steps and CPU seconds per wall second over the whole training, against those of the best stretch.

    Args:
        curve: rows of ``curve.csv``.

    Returns:
        ``steps`` and ``cpu``, 1 for a steady pace; NaN for a run of a single stretch.
    """
    stretches: list[tuple[float, float]] = []
    first = before = next(iter(curve), {})
    for row in curve:
        if row["seconds"] - before["seconds"] >= STRETCH:
            stretches.append(_rates(before, row))
            before = row
    if len(stretches) < 2:
        return {"steps": math.nan, "cpu": math.nan}
    best, whole = map(max, zip(*stretches, strict=True)), _rates(first, curve[-1])
    names = ("steps", "cpu")
    return {name: one / most if most else math.nan for name, one, most in zip(names, whole, best, strict=True)}


def footnote(runs: Iterable[tuple[str, str | None]]) -> str | None:
    """The footnote of the sign; None if no machine was shared.

    Args:
        runs: for each run its name and what :func:`sharing` says of it.
    """
    runs = list(runs)
    shared = [(name, said) for name, said in runs if said is not None]
    if not shared:
        return None
    name, said = shared[0]
    if len(runs) > 1:
        said = f"{len(shared)} of {len(runs)} runs, such as {name}: {said}"
    return f"{SIGN} Shared machine: {said}. Compare steps or CPU seconds."


def _rates(before: Mapping[str, float], row: Mapping[str, float]) -> tuple[float, float]:
    """Steps and CPU seconds per second between two rows of a curve."""
    seconds = row["seconds"] - before["seconds"]
    cpu = row.get("cpu_seconds", math.nan) - before.get("cpu_seconds", math.nan)
    return (row["step"] - before["step"]) / seconds, cpu / seconds


def _number(manifest: Mapping[str, Any], path: str) -> float | None:
    """A number of ``run.json``; None for what is missing or no number."""
    found = lookup(path, manifest, {})
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None

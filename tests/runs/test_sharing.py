"""The rule that marks seconds of a shared machine, on made-up records."""

from __future__ import annotations

import math
from typing import Any

import pytest

from partinr.runs.sharing import footnote, pace, sharing


def facts(
    ran: float | None = 19.0,
    waited: float | None = 0.5,
    others: tuple[float | None, ...] = (0, 0, 0),
    threads: int = 2,
    cores: int = 2,
    every: int | None = None,
    training: float | None = 10.0,
    devices: int = 1,
    **machine: Any,
) -> dict[str, Any]:
    """``run.json`` of a run of 10 s on two cores, quiet by default."""
    moments = dict(zip(("start", "middle", "end"), ({"load": 2.0, "others": each} for each in others), strict=True))
    spent = {"ran": ran, "waited": waited, "throttled": 0.0, "stolen": 0.0}
    return {
        "seconds": {"training": training, "evaluation": 1.0},
        "hardware": {"cores": cores, "devices": devices},
        "machine": {"cores": every or cores, "threads": threads, **moments, **spent, "pace": None, **machine},
    }


@pytest.mark.parametrize(
    ("found", "said"),
    [
        # As measured on two cores: beside a busy loop, and with nobody else.
        (facts(ran=6.8, waited=3.85, others=(1, 1, 1)), "its threads spent 36% of their time waiting for a core"),
        (facts(ran=6.8, waited=0.12), None),
        # A neighbour on the other core, and one of low priority.
        (facts(ran=9.9, waited=0.1, others=(1, 1, 1), threads=1), None),
        (facts(ran=19.0, waited=0.3, others=(1, 1, 1)), None),
        # Its own threads wait for each other; with others it is another matter.
        (facts(ran=19.0, waited=30.0, threads=8), None),
        (facts(ran=12.0, waited=30.0, threads=8, others=(0, 1, 1)), "1 other thread wanted its 2 cores"),
        (facts(ran=4.2, waited=0.62, devices=2), None),
        (facts(ran=4.2, waited=2.1, others=(1, 1, 1), devices=2), "1 other thread wanted its 2 cores"),
        # One of 64 threads waits, and all others for it.
        (facts(ran=600.0, waited=9.0, others=(1, 2, 1), threads=64, cores=64), "1 other thread wanted its 64 cores"),
        (facts(ran=600.0, waited=9.0, others=(0, 2, 0), threads=64, cores=64), None),
        # Two cores of a machine of 64, whose others are busy with other work.
        (facts(others=(20, 20, 20), every=64), None),
        # Where the waiting cannot be read.
        (facts(ran=None, waited=None, others=(3, 0, 2)), "2 other threads wanted its 2 cores"),
        (facts(ran=None, waited=None, others=(0, 0, 2)), None),
        (facts(ran=None, waited=None, others=(None, None, None)), None),
        # A quota, a hypervisor.
        (facts(throttled=20.0), "the quota of its control group stopped it for 51% of its time"),
        (facts(stolen=4.0), "the host took the cores of its virtual machine for 17% of its time"),
        (facts(stolen=0.4), None),
        # The pace: both have to fall.
        (
            facts(ran=None, waited=None, pace={"steps": 0.6, "cpu": 0.7}),
            "its steps per second were 60% of its best stretch, its CPU seconds 70%",
        ),
        (facts(pace={"steps": 0.6, "cpu": 1.0}), None),
        (facts(pace={"steps": 1.0, "cpu": 0.6}), None),
        (facts(pace={"steps": 0.6, "cpu": None}), None),
        # Nothing to judge by: a run of a moment, one that has not begun, older ones, and what somebody edited.
        (facts(ran=0.2, waited=0.2, training=0.3), None),
        (facts(training=None), None),
        ({"seconds": {"training": 10.0}, "hardware": {"cores": 2}}, None),
        ({"seconds": None, "machine": "fast"}, None),
    ],
)
def test_the_rule(found: dict[str, Any], said: str | None) -> None:
    assert sharing(found) == said


def curve(*stretches: tuple[float, int, float]) -> list[dict[str, float]]:
    """Rows after stretches of so many seconds, steps and CPU seconds."""
    rows = [{"step": 0.0, "seconds": 0.0, "cpu_seconds": 0.0}]
    for stretch in stretches:
        rows.append(
            {key: before + more for (key, before), more in zip(rows[-1].items(), _ordered(stretch), strict=True)}
        )
    return rows


def _ordered(stretch: tuple[float, int, float]) -> tuple[float, float, float]:
    seconds, steps, cpu = stretch
    return steps, seconds, cpu


def test_the_pace_is_that_of_the_best_stretch() -> None:
    # A neighbour comes after 4 of 10 seconds, and the first steps are too short to say anything.
    found = pace(curve((0.01, 10, 0.0), (1.99, 200, 4.0), (2.0, 200, 4.0), (6.0, 300, 8.0)))
    assert found == pytest.approx({"steps": 0.71 / 1.05, "cpu": 0.8}, rel=1e-3)
    assert pace(curve((1.0, 100, 2.0), (1.0, 100, 2.0))) == pytest.approx({"steps": 1.0, "cpu": 1.0})
    # Stopped for a while, as by a laptop's lid.
    stopped = pace(curve((1.0, 100, 2.0), (10.0, 100, 2.0)))
    assert sharing(facts(pace=stopped)) is not None


def test_without_a_pace() -> None:
    assert all(math.isnan(value) for rows in ([], curve((5.0, 100, 9.0))) for value in pace(rows).values())
    older = [{"step": row["step"], "seconds": row["seconds"]} for row in curve((1.0, 9, 0.0), (1.0, 9, 0.0))]
    found = pace(older)
    assert found["steps"] == 1.0
    assert math.isnan(found["cpu"])


def test_the_footnote_counts() -> None:
    assert footnote([]) is footnote([("a", None), ("b", None)]) is None
    assert footnote([("a", "it waited")]) == "† Shared machine: it waited. Compare steps or CPU seconds."
    assert footnote([("a", None), ("b", "it waited"), ("c", "so")]) == (
        "† Shared machine: 2 of 3 runs, such as b: it waited. Compare steps or CPU seconds."
    )

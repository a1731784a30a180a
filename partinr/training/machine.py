"""What else the machine did while a run trained, for readers who compare seconds."""

from __future__ import annotations

from typing import Any

from partinr.base.machine import Moment, Waits
from partinr.training.ranks import Ranks

EVERY = 0.5
"""Least seconds of training between two looks at the machine."""


class MachineLog:
    """The state of the machine from time to time, and how long the threads of a run waited for a core.

    A resumed run continues the log of its checkpoint.
    """

    def __init__(self) -> None:
        self._moments: list[tuple[float, dict[str, float | None]]] = []
        self._sums: dict[str, float] = {}
        self._before: Waits | None = None
        self._due = 0.0

    def look(self, seconds: float, ranks: Ranks, last: bool = False) -> None:
        """Look at the machine if it is time. Every process has to call this.

        The looks become rarer as the run goes on. There is one when a process begins and one at the end.

        Args:
            seconds: seconds of training so far, the same in all processes.
            ranks: the processes of the run.
            last: whether the run has ended.
        """
        if self._before is not None and seconds < self._due and not last:
            return
        moment, waits = Moment.now(), Waits.now()
        if self._before is not None:
            passed = waits.since(self._before)
            passed["ran"], passed["waited"] = ranks.total(passed["ran"], passed["waited"])
            self._sums = {key: self._sums.get(key, 0.0) + value for key, value in passed.items()}
        (own,) = ranks.total(moment.own)
        others = None if moment.runnable is None else max(0, moment.runnable - int(own))
        self._moments.append((seconds, {"load": moment.load, "others": others, "mhz": moment.mhz}))
        self._before, self._due = waits, seconds + max(EVERY, seconds / 20)

    def facts(self) -> dict[str, Any]:
        """The state at ``start``, ``middle`` and ``end`` of the training so far, and sums of seconds."""
        if not self._moments:
            return {}
        half = self._moments[-1][0] / 2
        middle = min(self._moments, key=lambda each: abs(each[0] - half))
        chosen = {"start": self._moments[0], "middle": middle, "end": self._moments[-1]}
        return {**{key: moment for key, (_, moment) in chosen.items()}, **self._sums}

    def state(self) -> dict[str, Any]:
        """The log in plain types, for a checkpoint."""
        return {"moments": list(self._moments), "sums": dict(self._sums)}

    def continue_from(self, state: dict[str, Any] | None) -> None:
        """Continue the log of a checkpoint; None for one of a version without it."""
        if state is not None:
            self._moments, self._sums = list(state["moments"]), dict(state["sums"])

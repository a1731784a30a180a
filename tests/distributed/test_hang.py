"""One of several processes hangs: the run ends, and says which. One that works for long does not."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from typing import Any

import lightning as L
import pytest

from partinr.training import watch
from partinr.training.nodes import RankError


class Stops(L.Callback):
    """Stops its process after the first steps, as the system or a debugger might."""

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *rest: Any) -> None:
        if trainer.global_rank == 1 and module.step >= 5:
            os.kill(os.getpid(), signal.SIGSTOP)


class Works(L.Callback):
    """Keeps the others waiting."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *rest: Any) -> None:
        if trainer.global_rank == 1 and self.seconds:
            time.sleep(self.seconds)
            self.seconds = 0


@pytest.mark.slow
def test_one_that_is_stopped_is_not_waited_for(fit_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 4.0)
    began = time.monotonic()
    with pytest.raises(RankError, match=r"^rank 1 of 2 processes has not answered for 4 seconds; was it stopped"):
        fit_on(2, steps=100_000, callbacks=(Stops(),))
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_one_that_works_for_long_is_waited_for(fit_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 4.0)
    assert fit_on(2, steps=5, callbacks=(Works(8.0),)).stop == "max_steps"


def test_an_answer_behind_the_last_beat_is_heard() -> None:
    here, there = multiprocessing.Pipe()
    for said in (b"", b"", pickle.dumps("done")):
        there.send_bytes(said)
    there.close()
    rank = watch.Rank(0, Process(), here, silence=3.0)  # type: ignore[arg-type]
    rank.listen()
    assert (rank.answer, rank.silence, rank.pipe_ended) == ("done", 0.0, True)
    here.close()


class Pipe:
    """Has nothing to say."""


class Process:
    """Runs until it is killed."""

    sentinel = 1
    exitcode = None

    def kill(self) -> None:
        self.exitcode = -9

    def join(self) -> None:
        pass


@pytest.mark.parametrize("gap", [0.0, 10_000.0], ids=["awake", "asleep itself"])
def test_only_time_that_one_was_awake_oneself_counts(gap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = [0.0], [0.0]

    def wait(objects: Any, timeout: float) -> list[Any]:
        # The second look comes late.
        now[0] += timeout + (gap if len(looks) == 2 else 0)
        looks.append(now[0])
        return [Process.sentinel] if rank.process.exitcode else []

    monkeypatch.setattr(watch, "wait", wait)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    rank = watch.Rank(0, Process(), Pipe())  # type: ignore[arg-type]
    with pytest.raises(RankError, match="rank 0 of 1 processes has not answered for 300 seconds"):
        watch.wait_for([rank])
    assert watch.SILENCE_SECONDS <= len(looks) * watch.BEAT_SECONDS <= watch.SILENCE_SECONDS + 5

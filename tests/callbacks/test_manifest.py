"""``run.json``: what it says at each end of a run. And what stops a run."""

from __future__ import annotations

import math
import os
import pickle
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.base.version import __version__
from partinr.callbacks import Interruption, Manifest
from partinr.callbacks.interruption import WARNING
from partinr.callbacks.manifest import git_state, hardware, peak_memory, versions
from partinr.runs.directory import RunDirectory, in_job
from partinr.runs.layout import WEIGHTS

IDENTITY = {"name": "astronaut grid siren", "config_hash": "0123456789abcdef", "signal_name": "astronaut"}


@pytest.fixture
def interruption() -> Interruption:
    return Interruption()


@pytest.fixture
def manifest(run: RunDirectory, interruption: Interruption) -> Manifest:
    callback = Manifest(IDENTITY, interruption, started=time.perf_counter() - 5)
    callback.bind(run)
    return callback


def test_it_says_what_the_run_is(manifest: Manifest, make_regime: Any, trainer: Any, run: RunDirectory) -> None:
    regime = make_regime(step=40)
    regime.clock.training, regime.clock.evaluation = 2.5, 0.5
    manifest.on_train_start(trainer, regime)
    said = run.manifest()
    assert (said["status"], said["finished"], said["metrics"]["psnr"]) == ("running", None, None)
    assert "sharpness" not in said["metrics"]  # it takes time, so it is computed once
    assert run.alive
    regime.evaluate(30.0)
    regime.evaluate(29.0)
    regime.stop_reason = "max_steps"
    manifest.on_fit_end(trainer, regime)
    said = run.manifest()
    assert said["status"] == "completed"
    assert said["message"] is None
    assert {name: said[name] for name in ("name", "config_hash", "seed", "regions")} == {
        "name": "astronaut grid siren",
        "config_hash": "0123456789abcdef",
        "seed": 3,
        "regions": 2,
    }
    assert said["metrics"] == {"psnr": 29.0, "ssim": 0.5, "psnr_best": 30.0, "sharpness": 0.5}
    assert (said["steps"], said["stop"], said["points_per_step"]) == (40, "max_steps", 24)
    assert said["seconds"] == {
        "partition": 0.25,
        "setup": pytest.approx(5, abs=2),
        "training": 2.5,
        "evaluation": 0.5,
        "saved": None,
    }
    assert said["signal"] == {"name": "astronaut", "shape": [6, 4, 3], "sha256": "0123"}
    assert said["started"] <= said["finished"]
    assert run.file(WEIGHTS).read_bytes() == b"weights"
    assert not run.alive


def test_each_of_several_images_keeps_its_weights(
    manifest: Manifest, make_regime: Any, trainer: Any, run: RunDirectory
) -> None:
    manifest.on_fit_end(trainer, make_regime(names=("one", "two")))
    assert sorted(run.path.rglob(WEIGHTS)) == [run.file(f"images/{name}/{WEIGHTS}") for name in ("one", "two")]


@pytest.mark.parametrize(
    ("failure", "stop", "received", "status", "message"),
    [
        ("the loss is nan", None, None, "failed", "the loss is nan"),
        ("the loss is nan", None, 15, "failed", "the loss is nan"),
        (None, None, 15, "interrupted", "stopped from outside (SIGTERM)"),
        (None, None, None, "interrupted", "stopped"),
        (None, "max_seconds", 15, "completed", None),
    ],
)
def test_it_says_how_the_run_ended(
    manifest: Manifest,
    interruption: Interruption,
    make_regime: Any,
    trainer: Any,
    run: RunDirectory,
    failure: str | None,
    stop: str | None,
    received: int | None,
    status: str,
    message: str | None,
) -> None:
    interruption.received = received
    regime = make_regime(failure=failure, stop_reason=stop)
    regime.evaluate(math.nan)
    manifest.on_fit_end(trainer, regime)
    said = run.manifest()
    assert (said["status"], said["message"], said["stop"]) == (status, message, stop)
    assert said["metrics"]["psnr"] is None
    assert run.file(WEIGHTS).exists()


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RuntimeError("out of\n  memory"), "failed", "RuntimeError: out of memory"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt:"),
        (SystemExit(143), "interrupted", "SystemExit: 143"),
        (ValueError("x" * 999), "failed", "ValueError: " + "x" * 488),
    ],
)
def test_an_exception_leaves_a_line(
    manifest: Manifest,
    make_regime: Any,
    trainer: Any,
    run: RunDirectory,
    error: BaseException,
    status: str,
    message: str,
) -> None:
    manifest.on_exception(trainer, make_regime(), error)
    said = run.manifest()
    assert (said["status"], said["message"]) == (status, message)
    assert said["metrics"] == {"psnr": None, "ssim": None, "psnr_best": None}


def test_where_and_with_what() -> None:
    found = hardware(torch.device("cpu"))
    assert (found["device"], found["threads"], found["gpu"]) == ("cpu", torch.get_num_threads(), None)
    assert found["cores"] >= 1
    assert isinstance(found["cpu"], str)
    assert 1e7 < peak_memory(torch.device("cpu")) < 1e12
    assert versions()["partinr"] == __version__
    assert set(versions()) > {"python", "torch", "lightning", "numpy"}
    assert versions()["torch"] == torch.__version__


def test_the_commit_is_that_of_the_checkout() -> None:
    state = git_state()
    top = subprocess.run(
        ["git", "rev-parse", "--show-toplevel", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    if top.returncode:
        assert state == {"commit": None, "dirty": False, "diff": None}
    else:
        assert re.fullmatch("[0-9a-f]{40}", state["commit"])
        assert state["commit"] == top.stdout.split()[-1]
        assert isinstance(state["dirty"], bool)
        assert re.fullmatch("[0-9a-f]{64}" if state["dirty"] else "None", str(state["diff"]))


# -- interruption -------------------------------------------------------------------------------------------------

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_at_the_next_step(
    interruption: Interruption, make_regime: Any, trainer: Any, number: signal.Signals
) -> None:
    before, regime, heard = handlers(), make_regime(), []
    with interruption.listening():
        # What Lightning does to it when a fit begins.
        signal.signal(signal.SIGTERM, lambda *_: heard.append("by Lightning"))
        interruption.on_train_start(trainer, regime)
        interruption.on_train_batch_end(trainer, regime, None, None, 0)
        assert not trainer.should_stop
        os.kill(os.getpid(), number)
        assert interruption.received == number
        assert handlers() == [signal.SIG_DFL] * 3  # for those in a hurry
        interruption.on_train_batch_end(trainer, regime, None, None, 1)
        assert trainer.should_stop
    assert handlers() == before
    assert not heard


def test_a_signal_before_the_first_step_is_not_lost(interruption: Interruption, make_regime: Any, trainer: Any) -> None:
    with interruption.listening():
        os.kill(os.getpid(), signal.SIGINT)
        interruption.on_train_start(trainer, make_regime())
        assert handlers() == [signal.SIG_DFL] * 3
        interruption.on_train_batch_end(trainer, make_regime(), None, None, 0)
    assert trainer.should_stop


def test_under_nohup_a_closed_terminal_stops_nothing(make_regime: Any, trainer: Any) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interruption = Interruption(job=False)
        with interruption.listening():
            interruption.on_train_start(trainer, make_regime())
            os.kill(os.getpid(), signal.SIGHUP)
            interruption.on_train_batch_end(trainer, make_regime(), None, None, 0)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert interruption.received is None
    assert not trainer.should_stop


def test_the_handlers_come_back_after_an_exception(interruption: Interruption) -> None:
    before = handlers()
    with pytest.raises(RuntimeError, match="memory"), interruption.listening():
        raise RuntimeError("out of memory")
    assert handlers() == before


def test_a_thread_listens_to_nothing(interruption: Interruption, make_regime: Any, trainer: Any) -> None:
    before, inside = handlers(), []

    def work() -> None:
        with interruption.listening():
            interruption.on_train_start(trainer, make_regime())
            inside.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [before] == inside
    assert handlers() == before


# -- several processes --------------------------------------------------------------------------------------------


def test_a_second_process_says_nothing(
    manifest: Manifest, make_regime: Any, second: Any, run: RunDirectory, trainer: Any
) -> None:
    before = run.manifest()
    regime = make_regime()
    manifest.on_train_start(second, regime)
    manifest.on_fit_end(second, regime)
    manifest.on_exception(second, regime, RuntimeError("lost"))
    assert run.manifest() == before
    assert not run.file(WEIGHTS).exists()


def test_the_process_that_started_the_others_says_what_they_could_not(
    manifest: Manifest, make_regime: Any, trainer: Any, run: RunDirectory
) -> None:
    there = Manifest(IDENTITY, Interruption(), started=time.perf_counter())
    there.bind(run)
    regime = make_regime(step=40)
    regime.evaluate(30.0)
    there.on_train_start(trainer, regime)
    told = run.manifest()
    # Here nothing was trained: what the other one wrote stays.
    manifest.on_exception(trainer, make_regime(), PartinrError("rank 1 of 2 processes was killed"))
    said = run.manifest()
    assert (said["status"], said["message"]) == ("failed", "rank 1 of 2 processes was killed")
    assert said["finished"] is not None
    for key in ("steps", "metrics", "seconds", "signal", "hardware"):
        assert said[key] == told[key], key


def test_a_signal_that_another_process_heard(interruption: Interruption, make_regime: Any, second: Any) -> None:
    interruption.on_train_batch_end(second, make_regime(), None, None, 0)
    assert not second.should_stop
    second.agreed = int(signal.SIGTERM)
    interruption.on_train_batch_end(second, make_regime(), None, None, 1)
    assert second.should_stop
    assert interruption.results() == signal.SIGTERM
    other = Interruption()
    other.recover(interruption.results())
    assert other.received == signal.SIGTERM


def test_a_signal_is_passed_on(interruption: Interruption) -> None:
    heard: list[int] = []
    with interruption.listening(forward=heard.append):
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    sent = pickle.loads(pickle.dumps(interruption))  # with what was heard before the others were started
    assert sent.received == signal.SIGTERM


# -- in a cluster's job -------------------------------------------------------------------------------------------


def test_in_a_job_a_signal_may_come_often_and_a_warning_counts_most(make_regime: Any, trainer: Any) -> None:
    interruption = Interruption(job=True)
    heard: list[int] = []
    signals = (*SIGNALS, WARNING)
    before = [signal.getsignal(number) for number in signals]
    with interruption.listening():
        with interruption.listening(forward=heard.append):
            interruption.on_train_start(trainer, make_regime())
            for number in (signal.SIGTERM, signal.SIGTERM, WARNING, signal.SIGTERM):
                os.kill(os.getpid(), number)
            assert interruption.received == WARNING
            interruption.on_train_batch_end(trainer, make_regime(), None, None, 0)
            assert trainer.should_stop
        # Between two runs it listens all the same, but there is nobody to tell.
        os.kill(os.getpid(), WARNING)
    assert heard == [signal.SIGTERM, signal.SIGTERM, WARNING, signal.SIGTERM]
    assert [signal.getsignal(number) for number in signals] == before


def test_a_job_is_known_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    assert not in_job()
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    assert in_job()

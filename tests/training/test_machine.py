"""CPU seconds beside wall seconds, and the log of the machine: over processes and over checkpoints."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from partinr.base.machine import Moment, Waits
from partinr.runs.sharing import sharing
from partinr.training.clock import Clock
from partinr.training.machine import MachineLog
from partinr.training.ranks import ALONE, Ranks

CPU = torch.device("cpu")


class ThreeRanks(Ranks):
    """Three processes: the others took twice the wall seconds, and as many CPU seconds."""

    def most(self, *values: float) -> list[float]:
        return [2 * value for value in values]

    def total(self, *values: float) -> list[float]:
        return [3 * value for value in values]


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time, the machine and its waits, turned by hand."""

    class Hand:
        wall = cpu = 0.0
        moment = Moment(load=1.0, runnable=3, own=2, mhz=None)
        waits = Waits({"1": (0.0, 0.0)}, throttled=None, stolen=0.0)

        def perf_counter(self) -> float:
            return self.wall

    made = Hand()
    monkeypatch.setattr("partinr.training.clock.time", made)
    monkeypatch.setattr("partinr.training.clock.cpu_seconds", lambda: made.cpu)
    monkeypatch.setattr("partinr.training.machine.Moment.now", lambda: made.moment)
    monkeypatch.setattr("partinr.training.machine.Waits.now", lambda: made.waits)
    return made


@pytest.mark.parametrize(("ranks", "wall", "cpu"), [(ALONE, 2.0, 3.0), (ThreeRanks(), 4.0, 9.0)])
def test_the_slowest_counts_in_wall_seconds_and_all_in_cpu_seconds(
    hand: Any, ranks: Ranks, wall: float, cpu: float
) -> None:
    clock = Clock()
    for kind in ("training", "evaluation"):
        hand.wall, hand.cpu = hand.wall + 50, hand.cpu + 70  # what happens between counts nowhere
        with clock.run(kind, CPU, ranks):
            hand.wall, hand.cpu = hand.wall + 2, hand.cpu + 3
    assert (clock.training, clock.evaluation) == (wall, wall)
    assert (clock.training_cpu, clock.evaluation_cpu) == (cpu, cpu)


def test_the_log_has_start_middle_and_end(hand: Any) -> None:
    log = MachineLog()
    assert log.facts() == {}
    for tenth in range(41):
        hand.moment = replace(hand.moment, load=tenth / 10)
        hand.waits = Waits({"1": (tenth / 10, tenth / 40)}, throttled=None, stolen=0.0)
        log.look(tenth / 10, ALONE, last=tenth == 40)
    found = log.facts()
    assert [found[moment]["load"] for moment in ("start", "middle", "end")] == [0.0, 2.0, 4.0]
    assert found["middle"] == {"load": 2.0, "others": 1, "mhz": None}
    assert (found["ran"], found["waited"]) == (pytest.approx(4.0), pytest.approx(1.0))
    assert math.isnan(found["throttled"])
    machine = {"machine": {"threads": 1, **found}, "seconds": {"training": 4.0}, "hardware": {"cores": 2}}
    assert sharing(machine) == "its threads spent 20% of their time waiting for a core"


def test_threads_of_all_processes_are_its_own(hand: Any) -> None:
    log = MachineLog()
    hand.moment = replace(hand.moment, runnable=7)
    log.look(0.0, ThreeRanks())
    assert log.facts()["start"]["others"] == 1


def test_a_resumed_run_goes_on_with_its_log(hand: Any) -> None:
    before = MachineLog()
    before.look(0.0, ALONE)
    hand.waits = Waits({"1": (2.0, 1.0)}, None, 0.0)
    before.look(1.0, ALONE, last=True)
    again = MachineLog()
    again.continue_from(before.state())
    hand.waits = Waits({"1": (50.0, 50.0)}, None, 0.0)  # of another process, before its training
    hand.moment = replace(hand.moment, load=9.0)
    again.look(1.0, ALONE)
    hand.waits = Waits({"1": (53.0, 50.5)}, None, 0.0)
    again.look(2.0, ALONE, last=True)
    found = again.facts()
    assert (found["start"]["load"], found["end"]["load"], found["ran"], found["waited"]) == (1.0, 9.0, 5.0, 1.5)


def test_of_an_older_checkpoint_no_cpu_seconds_are_known(small_fit: Any, signal: torch.Tensor, tmp_path: Any) -> None:
    import lightning as L

    class Keep(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            if pl_module.step == 2:
                trainer.save_checkpoint(tmp_path / "old.ckpt")

    small_fit(signal, steps=2, callbacks=(Keep(),))
    kept = torch.load(tmp_path / "old.ckpt", weights_only=True)
    for key in ("cpu_seconds", "machine"):
        del kept["partinr"][key]
    for row in kept["partinr"]["curve"]:
        del row["cpu_seconds"]
    torch.save(kept, tmp_path / "old.ckpt")
    result = small_fit(signal, steps=4, ckpt_path=tmp_path / "old.ckpt")
    assert result.steps == 4
    assert "cpu_seconds" not in result.curve[0]
    assert math.isnan(result.curve[-1]["cpu_seconds"])
    assert result.seconds > 0

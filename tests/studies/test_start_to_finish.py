"""experiments/benchmarks/start_to_finish.py: every second has one row, and the functions that it counts exist."""

from __future__ import annotations

import importlib
import importlib.util
import time
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "benchmarks" / "start_to_finish.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("start_to_finish", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_function_that_is_counted_exists(script: Any) -> None:
    for path, phase in script.WRAPPED.items():
        module, _, name = path.partition(":")
        assert callable(attrgetter(name)(importlib.import_module(module)))
        assert phase in script.PHASES


def test_each_second_belongs_to_the_innermost_phase(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    ledger = script.Ledger()

    def wait(seconds: float) -> None:
        now[0] += seconds

    wait(1)
    with ledger.inside("training"):
        wait(10)
        ledger.wrap(wait, "imports")(100)
        wait(20)
    ledger.begin_run()
    with ledger.inside("evaluation"):
        wait(1000)
    first, second = ledger.end()
    assert first == {"rest": 1, "training": 30, "imports": 100}
    assert second == {"rest": 0, "evaluation": 1000}
    assert "| **all** | **131.00** | **1000.00** |" in script.table({"first": first, "second": second})


@pytest.mark.slow
def test_a_run_and_a_sweep(script: Any) -> None:
    tiny = (
        "data.size=16",
        "partition.regions=4",
        "backbone.hidden_features=4",
        "max_steps=3",
        "callbacks.pictures=null",
    )
    (alone,) = script.measure(tiny)
    assert alone.keys() >= {"start", "imports", "compose", "data", "partition", "kernels", "training", "files", "exit"}
    sweep = script.measure(["-m", *tiny, "seed=0,1"])
    assert ["training" in run for run in sweep] == [True, True]
    assert ("exit" in sweep[0], "exit" in sweep[1]) == (False, True)

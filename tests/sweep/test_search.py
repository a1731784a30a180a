"""A search by Optuna is kept in the folder of its sweep: the same command continues it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.utils import instantiate
from omegaconf import OmegaConf

from partinr.base.errors import PartinrError
from partinr.runs.directory import find_runs
from partinr.sweep.search import FILE, search_sweeper

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
# Optuna imports SQLAlchemy in an older way.
pytestmark = pytest.mark.filterwarnings("ignore:.*declarative_base")

Search = Callable[..., list[dict[str, float]]]


@pytest.fixture
def search() -> Search:
    """Searches for the number nearest to 3 in a folder, and gives the trials that were launched."""

    def begin(folder: str, trials: int, seed: int | None = 0, stop: int = 99) -> list[dict[str, float]]:
        Plugins.instance()
        kind = search_sweeper()
        assert kind is not None
        node = OmegaConf.create({"_target_": "optuna.samplers.TPESampler", "seed": seed, "n_startup_trials": 2})
        launched: list[dict[str, float]] = []

        def launch(overrides: list[list[str]], initial_job_idx: int) -> list[Any]:
            if len(launched) >= stop:
                raise SystemExit(130)
            found = [
                {key: float(value) for key, _, value in (each.partition("=") for each in own)} for own in overrides
            ]
            launched.extend(found)
            return [SimpleNamespace(return_value=-((each["x"] - 3) ** 2)) for each in found]

        params = OmegaConf.create({"x": "interval(0, 10)"})
        sweeper = kind(instantiate(node), "maximize", None, None, trials, 1, 0.5, None, None, params)
        Path(folder).mkdir(exist_ok=True)
        sweeper.sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": folder}, "sweeper": {"sampler": node}}})
        sweeper.sweeper.launcher = SimpleNamespace(launch=launch)
        sweeper.sweeper.hydra_context = object()
        sweeper.sweep([])
        return launched

    return begin


def test_a_search_that_was_stopped_continues_as_if_it_had_not(search: Search, capsys: Any) -> None:
    whole = search("whole", 6)
    assert len({each["x"] for each in whole}) == 6
    with pytest.raises(SystemExit):
        search("stopped", 6, stop=3)
    (kept,) = json.loads(Path("stopped", FILE).read_bytes())["searches"]
    assert kept["trials"] == whole[:4], "the trial that was stopped is among them"
    assert search("stopped", 6) == whole
    best = min(whole, key=lambda each: abs(each["x"] - 3))
    assert f"best     x={best['x']}: " in capsys.readouterr().out


def test_without_a_seed_the_trials_are_those_of_the_file(search: Search) -> None:
    first = search("free", 3, seed=None)
    assert search("free", 5, seed=None)[:3] == first


def test_a_damaged_file_is_named(search: Search) -> None:
    Path("bad").mkdir()
    Path("bad", FILE).write_text("{")
    with pytest.raises(PartinrError, match=r"bad/search.json; remove it to begin anew"):
        search("bad", 1)


@pytest.mark.slow
def test_a_search_keeps_its_runs_and_cuts_no_value(tiny: Any) -> None:
    asked = ["-m", "sweep=optuna_fast", "max_steps=1", "callbacks.pictures=null", "hydra.sweep.dir=sweep"]
    assert tiny(*asked, "hydra.sweeper.n_trials=1").code == 0
    answer = tiny(*asked, "hydra.sweeper.n_trials=2")
    assert (answer.code, len(find_runs("sweep"))) == (0, 2)
    assert "2 completed (1 of them before)" in answer.out
    assert "…" not in answer.out

"""The pytest plugin of ``mutants.py``: which test runs, how it ends, and which tests a mutant gets."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CONTEXT = "MUTANTS_CONTEXT"
_outcomes: dict[str, str] = {}
_state: dict[str, Any] = {"mutant": None, "passed": [], "begun": 0.0, "by": None, "late": False}


def _shared(fixture: Any) -> str:
    return f"{fixture.baseid}::{fixture.argname}".replace(" ", "_")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that have run; to kill mutants keep their tests alone."""
    if "MUTANTS_CHOSEN" in os.environ:
        wanted = set().union(*_chosen().values())
        kept = [item for item in items if item.nodeid in wanted]
    else:
        out = Path(os.environ["MUTANTS_OUT"])
        done = {line.split("\t")[0] for line in out.read_text("utf-8").splitlines()} if out.exists() else set()
        kept = [item for item in items if item.nodeid not in done]
    config.hook.pytest_deselected(items=list(set(items) - set(kept)))
    items[:] = kept


def _chosen() -> dict[str, list[str]]:
    """The tests of each mutant, in order."""
    return json.loads(Path(os.environ["MUTANTS_CHOSEN"]).read_text("utf-8"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Fork a process for each mutant; pytest's own loop runs the mutant's tests there."""
    if "MUTANTS_CHOSEN" not in os.environ:
        return None
    items = {item.nodeid: item for item in session.items}
    for mutant, tests in _chosen().items():
        _state["mutant"] = mutant
        if session.testsfailed and len(_chosen()) > 1:
            raise pytest.UsageError("the tests cannot be collected, with every mutant off")
        if session.testsfailed:
            _record("killed", "collection")
        elif (child := os.fork()) == 0:
            os.environ["MUTANTS_ACTIVE"] = mutant
            _state["begun"] = time.monotonic()
            session.items = [items[test] for test in tests if test in items]
            return None
        elif os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0:
            _record("killed", "the end of the process")
    _state["mutant"] = None
    return True


def _record(outcome: str, by: str | None) -> None:
    record = {"mutant": int(_state["mutant"]), "outcome": outcome, "by": by, "passed": _state["passed"]}
    with open(os.environ["MUTANTS_OUT"], "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    print(f"\n{record['mutant']}: {outcome} by {by}", flush=True)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Iterator[None]:
    """What a shared fixture reaches counts for each test that uses it."""
    was = os.environ.get(CONTEXT, "")
    if fixturedef.scope != "function":
        os.environ[CONTEXT] = _shared(fixturedef)
    try:
        return (yield)
    finally:
        os.environ[CONTEXT] = was


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test has passed if all of its phases have."""
    report: Any = yield
    if _outcomes.get(item.nodeid, "passed") == "passed":
        _outcomes[item.nodeid] = report.outcome
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Name the running test to the probes of this process and of those that it starts, and note its end."""
    os.environ[CONTEXT] = item.nodeid
    begun = time.monotonic()
    result: Any = yield
    outcome, took = _outcomes.get(item.nodeid, "failed"), time.monotonic() - begun
    if "MUTANTS_CHOSEN" in os.environ:
        if outcome != "failed":
            _state["passed"].append(item.nodeid)
        elif _state["by"] is None:
            _state["by"] = item.nodeid
        if time.monotonic() - _state["begun"] > float(os.environ["MUTANTS_LIMIT"]):
            _state["late"], item.session.shouldstop = True, "time"
    else:
        shared = {defs[-1] for defs in item._fixtureinfo.name2fixturedefs.values() if defs[-1].scope != "function"}  # type: ignore[attr-defined]
        fixtures = " ".join(sorted(map(_shared, shared)))
        with open(os.environ["MUTANTS_OUT"], "a", encoding="utf-8") as file:
            file.write(f"{item.nodeid}\t{outcome}\t{took:.3f}\t{fixtures}\n")
    return result


def pytest_sessionfinish(exitstatus: int) -> None:
    """Say what became of the mutant."""
    if "MUTANTS_ACTIVE" in os.environ:
        left = "survived in time" if _state["late"] else "survived"
        left = "pytest failed" if exitstatus == pytest.ExitCode.INTERNAL_ERROR else left
        _record("killed" if _state["by"] else left, _state["by"])

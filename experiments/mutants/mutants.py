"""Random mutants of the package, and what a test suite makes of them.

A mutant is one small fault in one line: a flipped comparison, a dropped term, a number off by one, a swapped axis, a
negated condition, a swapped operator. A seed draws them. There are three commands, each of which goes on where it was
stopped::

    python mutants.py draw TREE RESULTS --number 60 --seed 16
    python mutants.py cover TREE RESULTS --suite new -n 2 tests/test_coords.py tests/partition
    python mutants.py kill TREE RESULTS --suite new --first old

TREE is a checkout that nobody else uses, because the tool rewrites its sources. RESULTS is a folder outside of it. The
suite is a name for the tests that lie in the checkout.

``cover`` puts a probe at each mutant's place and runs the suite once, to learn which tests reach which mutant.
Pytest gets the arguments that the tool does not know. What a shared fixture reaches counts for each test that uses it,
and what a child process reaches counts for the test that started it. A place outside every function is reached by
importing; its tests are those that reach another mutant of the file, and those of the test files beside it.

``kill`` puts one mutant after the other in place and runs the tests that reach it to the first failure: one case
of each test function before the other cases, and the nearest folder first. ``--first`` names another suite; its test
that killed the mutant comes first of all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _draw import Mutant, draw

HERE = Path(__file__).resolve().parent
FILES = (
    "coords.py",
    "partition/*.py",
    "engines/*.py",
    "model/*.py",
    "training/*.py",
    "regimes/**/*.py",
    "experiment/*.py",
    "runs/*.py",
)
PROBE = """import os

_seen = set()


def hit(mutant):
    test = os.environ.get("MUTANTS_CONTEXT", "")
    if (test, mutant) not in _seen and "MUTANTS_HITS" in os.environ:
        _seen.add((test, mutant))
        with open(os.environ["MUTANTS_HITS"], "a", encoding="utf-8") as file:
            file.write(f"{mutant}\\t{test}\\n")


def on(mutant):
    return os.environ.get("MUTANTS_ACTIVE") == str(mutant)
"""
"""A module for the package: ``hit`` notes a mutant once for each test, ``on`` says whether it is the one that is on."""


class Suite:
    """The stored results of one suite of tests on the drawn mutants."""

    def __init__(self, tree: Path, results: Path, name: str) -> None:
        self.tree = tree
        self.results = results
        self.mutants = [Mutant(**mutant) for mutant in json.loads((results / "mutants.json").read_text("utf-8"))]
        self.tests, self.hits = results / f"{name}.tests", results / f"{name}.hits"
        self._killed, self._log = results / f"{name}.killed", results / f"{name}.log"

    def cover(self, arguments: Sequence[str]) -> None:
        """Run the tests that have not run yet, with a probe at each mutant."""
        probed = [(i, each) for i, each in enumerate(self.mutants) if not (each.at_import or each.stored)]
        changes = [(each, f"(_hit({i}) or ({each.before}))") for i, each in probed]
        self._pytest_on(changes, arguments, MUTANTS_OUT=self.tests, MUTANTS_HITS=self.hits)

    def kill(self, limit: float, first: dict[int, Any]) -> None:
        """Run each mutant's tests to the first failure, and store what came of it.

        One process collects the tests for all mutants inside functions, which it turns on one by one; the others need
        an import of their own.
        """
        reached, seconds = self._reached(), {test: float(took) for test, _, took, _ in _lines(self.tests)}
        records, todo = self.records(), {}
        for i, mutant in enumerate(self.mutants):
            record = records.get(i, {"outcome": "no coverage", "passed": []})
            killers = {first[i]["by"]} & set(seconds) if i in first else set()
            left = (reached[i] | killers) - set(record["passed"])
            if left and record["outcome"] in ("survived", "no coverage", "pytest failed"):
                todo[i] = _in_order(mutant.file, left, killers, seconds)
        inside = [i for i in todo if not (self.mutants[i].at_import or self.mutants[i].stored)]
        switches = [
            (self.mutants[i], f"({self.mutants[i].after} if _on({i}) else {self.mutants[i].before})") for i in inside
        ]
        self._kill(switches, {i: todo[i] for i in inside}, limit)
        for i in todo.keys() - set(inside):
            self._kill([(self.mutants[i], self.mutants[i].after)], {i: todo[i]}, limit)

    def records(self) -> dict[int, Any]:
        """What came of each mutant, by its number."""
        records: dict[int, Any] = {}
        for line in self._killed.read_text("utf-8").splitlines() if self._killed.exists() else ():
            record = json.loads(line)
            before = records.get(record["mutant"], {"passed": []})
            records[record["mutant"]] = record | {"passed": [*before["passed"], *record["passed"]]}
        return records

    def _kill(self, changes: Sequence[tuple[Mutant, str]], todo: dict[int, list[str]], limit: float) -> None:
        chosen = self.results / "chosen.json"
        chosen.write_text(json.dumps(todo), "utf-8")
        files = sorted({test.split("::")[0] for tests in todo.values() for test in tests})
        variables = {"MUTANTS_OUT": self._killed, "MUTANTS_CHOSEN": chosen, "MUTANTS_LIMIT": limit}
        self._pytest_on(changes, ["-x", "-n0", "--timeout=100", *files], **variables)

    def _pytest_on(self, changes: Sequence[tuple[Mutant, str]], arguments: Sequence[str], **variables: Any) -> None:
        """Run pytest on changed sources, and put them back."""
        were: dict[Path, bytes] = {}
        environment = {name: str(value) for name, value in variables.items()}
        environment |= {"PYTHONPATH": f"{self.tree}{os.pathsep}{HERE}", "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"OMP_NUM_THREADS": "1"}
        plugins = ["-p", "_mutants_plugin", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", *plugins, "-q", "-m", "not slow", *arguments]
        probe = self.tree / "partinr" / "_probe.py"
        probe.write_text(PROBE, "utf-8")
        try:
            for mutant, text in sorted(changes, key=lambda change: -change[0].start):
                path = self.tree / mutant.file
                source = path.read_bytes()
                were.setdefault(path, source)
                path.write_bytes(source[: mutant.start] + text.encode() + source[mutant.end :])
            for path in were:
                head, future, tail = path.read_text("utf-8").rpartition("from __future__ import annotations\n")
                path.write_text(f"{head}{future}from partinr._probe import hit as _hit, on as _on\n{tail}", "utf-8")
            with self._log.open("a") as log:
                subprocess.run(
                    command, cwd=self.tree, env=os.environ | environment, stdout=log, stderr=log, check=False
                )
        finally:
            probe.unlink()
            for path, source in were.items():
                path.write_bytes(source)

    def _reached(self) -> dict[int, set[str]]:
        """The tests of each mutant; a test that fails without a mutant is none."""
        users, passed = defaultdict(set), set()
        for test, outcome, _, fixtures in _lines(self.tests):
            if outcome == "passed":
                passed.add(test)
                for context in (test, *fixtures.split()):
                    users[context].add(test)
        reached: dict[int, set[str]] = defaultdict(set)
        for number, context in _lines(self.hits):
            reached[int(number)] |= users[context]
        for i, mutant in enumerate(self.mutants):
            if mutant.at_import or mutant.stored:
                others = [reached[j] for j, other in enumerate(self.mutants) if other.file == mutant.file and j != i]
                reached[i] = set().union(*others, {test for test in passed if _distance(mutant.file, test) < 2})
        return reached


def _in_order(file: str, tests: set[str], killers: set[str], seconds: dict[str, float]) -> list[str]:
    """The killers, then the quickest case of each test function, then the others; in each part the nearest first."""
    quickest: dict[str, str] = {}
    for test in sorted(tests, key=lambda test: (seconds.get(test, 0.0), test)):
        quickest.setdefault(test.split("[")[0], test)

    def key(test: str) -> tuple[Any, ...]:
        took, other = seconds.get(test, 0.0), quickest[test.split("[")[0]] != test
        return test not in killers, took > 10, other, _distance(file, test), test.split("::")[0], took

    return sorted(tests, key=key)


def _distance(file: str, test: str) -> int:
    """0: one of the module's own tests; 1: one of its folder's; 2: another."""
    module, path = Path(file), Path(test.split("::")[0])
    if path.stem == f"test_{module.stem}":
        return 0
    return 1 if path.parent.name == module.parent.name else 2


def _lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def main() -> None:
    """Draw, cover or kill."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("command", choices=("draw", "cover", "kill"))
    parser.add_argument("tree", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--suite", default="suite")
    parser.add_argument("--first", default="")
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--files", nargs="*", default=FILES, help="patterns below the package's folder")
    parser.add_argument("--limit", type=float, default=300, help="seconds of passing tests that let a mutant survive")
    options, arguments = parser.parse_known_args()
    tree, results = options.tree.resolve(), options.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    if options.command == "draw":
        mutants = draw(tree / "partinr", options.files, options.number, options.seed)
        (results / "mutants.json").write_text(json.dumps([asdict(each) for each in mutants], indent=1), "utf-8")
        return
    suite = Suite(tree, results, options.suite)
    if options.command == "cover":
        suite.cover(arguments)
    else:
        suite.kill(options.limit, Suite(tree, results, options.first).records() if options.first else {})


if __name__ == "__main__":
    main()

"""Where each second goes from the command to the prompt: of one run, and of a sweep of three in one process.

    python experiments/benchmarks/start_to_finish.py [--image FILE] [--parameters 500000] [--seconds 10] [OVERRIDE...]

Each second belongs to one row, the innermost: an import within the set-up is an import. "rest" is what no other row
counts: argument parsing, callbacks of Lightning, waiting. The first run of a sweep pays for imports and kernels.
"""

from __future__ import annotations

import argparse
import builtins
import functools
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PHASES = {
    "start": "start of Python",
    "imports": "imports",
    "compose": "compose and queue",
    "data": "data: read and hash",
    "partition": "partition and model",
    "kernels": "kernels: load, start threads",
    "training": "training",
    "evaluation": "evaluation",
    "pictures": "pictures",
    "seam": "seams",
    "files": "files: curve, run.json, weights, checkpoint",
    "rest": "rest",
    "exit": "exit",
}

WRAPPED = {
    "partinr.cli.app:hydra_app": "compose",
    "partinr.experiment.execute:execute": "rest",
    "partinr.experiment.execute:resume": "rest",
    "partinr.experiment.execute:origin": "data",
    "partinr.regimes.base:RunContext.read": "data",
    "partinr.regimes.base:RunContext.cut": "partition",
    "partinr.regimes.base:RunContext.model": "partition",
    "partinr.engines.numba_start:fault": "kernels",
    "partinr.training.stack_loop:StackLoop.on_train_start": "kernels",
    "partinr.callbacks:Pictures.on_fit_start": "pictures",
    "partinr.callbacks:Pictures.on_train_batch_end": "pictures",
    "partinr.callbacks:Pictures.on_fit_end": "pictures",
    "partinr.regimes.fit.evaluated:seam": "seam",
    "partinr.callbacks:CurveFile._write": "files",
    "partinr.callbacks:Manifest._write": "files",
    "partinr.callbacks:Manifest.on_fit_end": "files",
    "partinr.callbacks:LastCheckpoint.save": "files",
    "partinr.runs.directory:RunDirectory.create": "files",
}
"""Functions and methods, by ``module:name``, and the phase that their time belongs to."""


class Ledger:
    """Seconds by phase. Each moment belongs to the innermost phase."""

    def __init__(self) -> None:
        self.parts: list[dict[str, float]] = [{}]
        self._open = ["rest"]
        self._since = time.perf_counter()

    def _close(self) -> None:
        now = time.perf_counter()
        phase = self._open[-1]
        self.parts[-1][phase] = self.parts[-1].get(phase, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def inside(self, phase: str) -> Iterator[None]:
        """Count the time of the block for a phase."""
        self._close()
        self._open.append(phase)
        try:
            yield
        finally:
            self._close()
            self._open.pop()

    def wrap(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """The function, with its time counted for a phase."""

        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            with self.inside(phase):
                return function(*args, **options)

        return wrapped

    def begin_run(self) -> None:
        """Count for the next run from now on; what was counted so far belongs to the first one."""
        self._close()
        if "training" in self.parts[-1]:
            self.parts.append({})

    def end(self) -> list[dict[str, float]]:
        """Seconds by phase of each run."""
        self._close()
        return self.parts


def child(output: Path, arguments: list[str]) -> None:
    """Execute a command line in this process, and write its ledger with the times of begin and end."""
    begun = time.perf_counter()
    ledger = Ledger()
    _count_imports(ledger)
    later = importlib.import_module("partinr.base.later")
    later.own_process()
    for path, phase in WRAPPED.items():
        module, _, name = path.partition(":")
        owner: Any = later.imported(module)
        *outer, last = name.split(".")
        for each in outer:
            owner = getattr(owner, each)
        plain = vars(owner)[last]
        wrapped = ledger.wrap(getattr(plain, "__func__", plain), phase)
        setattr(owner, last, classmethod(wrapped) if isinstance(plain, classmethod) else wrapped)
    _count_clock(ledger)
    try:
        importlib.import_module("partinr.cli.main").main(arguments)
    finally:
        output.write_text(json.dumps({"begun": begun, "runs": ledger.end(), "ended": time.perf_counter()}))


def _count_imports(ledger: Ledger) -> None:
    plain, plain_module = builtins.__import__, importlib.import_module

    def statement(name: str, *rest: Any, **options: Any) -> Any:
        if name in sys.modules and not (rest and len(rest) > 2 and rest[2]):
            return plain(name, *rest, **options)
        with ledger.inside("imports"):
            return plain(name, *rest, **options)

    builtins.__import__ = statement
    importlib.import_module = ledger.wrap(plain_module, "imports")


def _count_clock(ledger: Ledger) -> None:
    from partinr.experiment import execute
    from partinr.training.clock import Clock

    plain, prepare = Clock.run, execute._prepare

    @contextmanager
    def run(self: Clock, kind: Any, *rest: Any) -> Iterator[None]:
        with ledger.inside(kind), plain(self, kind, *rest):
            yield

    def prepared(*args: Any, **options: Any) -> Any:
        ledger.begin_run()
        return prepare(*args, **options)

    Clock.run, execute._prepare = run, prepared  # type: ignore[method-assign, assignment]


def measure(arguments: list[str]) -> list[dict[str, float]]:
    """Seconds by phase of each run of a command line, from the command to the prompt."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "ledger.json"
        start = time.perf_counter()
        command = [sys.executable, __file__, "--child", str(output), *arguments, f"output_dir={folder}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        end = time.perf_counter()
        said = json.loads(output.read_text())
    runs: list[dict[str, float]] = said["runs"]
    # On Linux, the clock of all processes is the same.
    runs[0]["start"], runs[-1]["exit"] = said["begun"] - start, end - said["ended"]
    return runs


def table(columns: dict[str, dict[str, float]]) -> str:
    """The phases of some runs as a Markdown table."""
    lines = [f"| seconds | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for phase, title in PHASES.items():
        lines.append(f"| {title} | {' | '.join(f'{run.get(phase, 0.0):.2f}' for run in columns.values())} |")
    lines.append(f"| **all** | {' | '.join(f'**{sum(run.values()):.2f}**' for run in columns.values())} |")
    beside = (sum(run.values()) - run.get("training", 0.0) for run in columns.values())
    lines.append(f"| beside training | {' | '.join(f'{each:.2f}' for each in beside)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure one run and a sweep of three, and print the table."""
    if sys.argv[1:2] == ["--child"]:
        return child(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", help="an image file; by default a built-in one")
    parser.add_argument("--parameters", type=int, default=500_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    given, overrides = parser.parse_known_args()
    arguments = ["experiment=fast", f"backbone.match_params={given.parameters}", f"max_seconds={given.seconds}"]
    arguments += [] if given.image is None else [f"data.path={given.image}"]
    measure([*arguments, "max_seconds=0.01", *overrides])  # so that files are in the system's memory
    (alone,) = measure([*arguments, *overrides])
    sweep = measure(["-m", *arguments, "seed=0,1,2", *overrides])
    print(table({"one run": alone, **{f"sweep, run {n}": run for n, run in enumerate(sweep, 1)}}))


if __name__ == "__main__":
    main()

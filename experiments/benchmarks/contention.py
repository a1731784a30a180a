"""Beside a busy neighbour: the steps of a run while another process computes on one of two cores.

    python experiments/benchmarks/contention.py

Each figure is the number of steps that one run, in a process of its own, takes in the same number of seconds: with two
threads and with one, on the quiet machine and beside a process that does nothing but count. Rounds take turns, and
medians are shown. Nothing else may run. The neighbour and one of the two threads have to share a core, so a fair share
of two cores for three is two thirds of the quiet rate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _common import where

CASES = {
    "fast, 100 K": ["experiment=fast", "data.size=256", "backbone.match_params=100000"],
    "fast, 500 K": ["experiment=fast", "backbone.match_params=500000"],
    "9 × 170, fp32": ["experiment=paper_siren", "partition=grid", "backbone.hidden_features=170", "data.size=256"],
}
CASES["9 × 170, bf16"] = [*CASES["9 × 170, fp32"], "trainer.precision=bf16-mixed"]

COUNT = "while True: pass"


@contextmanager
def neighbour(there: bool) -> Iterator[None]:
    """A process that keeps a core busy, or none."""
    process = subprocess.Popen([sys.executable, "-c", COUNT]) if there else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def steps(words: list[str], threads: int, seconds: float) -> float:
    """The steps of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "partinr", *words, f"max_seconds={seconds}", "max_steps=null"]
        command += ["trainer.accelerator=cpu", f"hydra.run.dir={folder}/run"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run = json.loads(Path(folder, "run", "run.json").read_text())
        # A run ends with the step that passes the limit.
        return float(run["steps"] * seconds / run["seconds"]["training"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="training of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    given = parser.parse_args()
    print(f"Steps in {given.seconds:g} s. {where()}\n")
    print("| run | quiet | busy | one thread, quiet | one thread, busy | busy / quiet | busy / one thread, busy |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in given.cases:
        found: dict[tuple[int, bool], list[float]] = {}
        for _ in range(given.rounds):
            for threads in (2, 1):
                for busy in (False, True):
                    with neighbour(busy):
                        found.setdefault((threads, busy), []).append(steps(CASES[name], threads, given.seconds))
        quiet, busy, one, one_busy = (statistics.median(each) for each in found.values())
        print(
            f"| {name} | {quiet:,.1f} | {busy:,.1f} | {one:,.1f} | {one_busy:,.1f} | {busy / quiet:.0%} | "
            f"{busy / one_busy:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

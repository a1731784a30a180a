"""Whether two checkouts compute the same numbers, and in the same time: the safety net of a change of structure.

    python experiments/benchmarks/compare_trees.py --base COMMIT            # this checkout against a commit
    python experiments/benchmarks/compare_trees.py --old PATH --new PATH    # two checkouts that are there already
    python experiments/benchmarks/compare_trees.py --base COMMIT --timings  # CPU seconds a step

Both checkouts carry out the same tiny runs through the command line. Curves are compared digit by digit, in all columns
but the clock's; the exit code is 1 if one differs. Nothing is kept, since curves are equal on one machine only.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parents[2]
CURVES = ("curve.csv", "images.csv", "steps.csv")
CLOCKS = ("seconds", "cpu_seconds")

ALWAYS = "cache_dir=null trainer.accelerator=cpu callbacks.progress=null callbacks.pictures=null"
SMALL = "trainer.threads=1 data.size=32 max_steps=20 optimizer.lr=1e-3"
NARROW = f"{SMALL} backbone.hidden_features=12"
GRID = f"{NARROW} partition=grid partition.regions=4"
FOLDER = f"{GRID} data=folder data.path=photos"
FREEZE = "regime.freeze_at_psnr=16 max_steps=80 optimizer.lr=3e-3"
META = (
    "trainer.threads=1 regime=meta data=smooth data.shape=[16,16] data.train_items=12 data.val_items=3 max_steps=6 "
    "partition=grid partition.regions=4 backbone.hidden_features=12 backbone.first_omega_0=10 optimizer.lr=1e-3 "
    "regime.inner_lr=1e-2 regime.validation_steps=4"
)
THRESHOLD = (
    "trainer.threads=1 regime=threshold partition=none backbone.hidden_features=16 backbone.first_omega_0=10 "
    "max_steps=120 optimizer.lr=3e-3"
)
DDP = "trainer=ddp trainer.devices=2"

RUNS: dict[str, list[str]] = {
    "none": [f"{NARROW} partition=none"],
    "grid": [f"{GRID} seed=3"],
    "semantic capacity=detail": [
        f"{SMALL} data.size=64 partition=semantic partition.regions=5 capacity=detail backbone.match_params=3000"
    ],
    "overlap": [f"{GRID} overlap=2"],
    "global_network": [f"{GRID} global_network=true"],
    "overlap global_network points": [f"{GRID} overlap=2 global_network=true regime.points_per_step=300"],
    "folder": [FOLDER],
    "sampling=error": [f"{GRID} regime.points_per_step=256 regime.sampling=error"],
    "freeze_at_psnr": [f"{GRID} {FREEZE}"],
    "freeze_at_psnr folder": [f"{FOLDER} {FREEZE}"],
    "meta": [META],
    "meta fomaml test": [f"{META} regime.algorithm=fomaml regime.partition_in=test regime.inner_lr_kind=global"],
    "meta reptile": [f"{META} regime.algorithm=reptile regime.inner_lr_kind=static"],
    "init": [
        f"{META} regime.initialisation=region",
        f"{SMALL} partition=grid partition.regions=4 init=run-0 init_steps=3",
    ],
    "threshold": [f"{THRESHOLD} data=steps data.shape=[200] data.counts=[1,3] data.draws=2 regime.points_per_step=200"],
    "threshold folder": [
        f"{THRESHOLD} data=folder data.path=photos data.size=16 regime.points_per_step=null regime.threshold=0.02"
    ],
    "experiment=fast": [
        "experiment=fast trainer.threads=1 data.size=32 backbone.match_params=4000 max_steps=30 max_seconds=null"
    ],
    "two processes": [f"{GRID} {DDP}"],
    "two processes folder": [f"{FOLDER} {DDP} regime.points_per_step=600"],
    "two processes meta": [f"{META} {DDP}"],
    "resumed": [
        f"{GRID} schedule=plateau regime.loss=region max_steps=8",
        f"{GRID} schedule=plateau regime.loss=region ckpt_path=run-0/checkpoints/last.ckpt",
    ],
    "border_weight": [f"{GRID} regime.border_weight=3 coords.frame=local optimizer=adamw schedule=cosine"],
    "muon finer": [f"{GRID} optimizer=muon backbone=finer"],
    "hash_grid": [f"{GRID} backbone=hash_grid backbone.table_size=64 backbone.levels=4 coords.frame=local"],
    "bf16 relu_pe": [f"{GRID} trainer.precision=bf16-mixed backbone=relu_pe backbone.hidden_features=32"],
}
"""The commands of each run. The last one's curves are compared; number i has the run directory ``run-i``."""


# -- workers ---------------------------------------------------------------------------------------------------------


def environment(tree: Path) -> dict[str, str]:
    """What makes a process use a checkout, its benchmarks included."""
    path = os.pathsep.join(map(str, (tree, tree / "experiments/benchmarks")))
    return {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}


class Worker:
    """A process of a checkout that answers requests, a line each."""

    def __init__(self, tree: Path, work: str) -> None:
        # -P: the benchmarks are the checkout's, not those beside this file.
        command = [sys.executable, "-P", __file__, work]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment(tree), stdin=pipe, stdout=pipe, text=True)

    def ask(self, request: str) -> str:
        """The answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(request, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"a worker ended with {self.process.wait()}")
        return line


# -- curves ----------------------------------------------------------------------------------------------------------


def make_photos(folder: Path) -> None:
    """Three generated images of unequal sizes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in {"a": (40, 32, 3), "b": (32, 48, 3), "c": (36, 36, 3)}.items():
        rows, cols, _ = np.indices(shape) / 8
        waves = np.sin(rows + cols * rng.uniform(0.5, 2)) + (rows > 2) + rng.normal(0, 0.1, shape)
        Image.fromarray(np.clip(60 * waves + 90, 0, 255).astype(np.uint8)).save(folder / f"{name}.png")


def serve_runs() -> None:
    """Be the worker of one checkout: fork a process for each command, from one that has imported everything."""
    answers = os.fdopen(os.dup(1), "w")
    import partinr.cli
    import partinr.regimes

    for line in sys.stdin:
        folder, words, log = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            for stream in (1, 2):
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            partinr.cli.main(words)  # ends the process
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def carry_out(worker: Worker, commands: list[str], folder: Path) -> str:
    """What is wrong with the runs of a checkout; empty if nothing is."""
    make_photos(folder / "photos")
    log = folder / "log"
    for number, command in enumerate(commands):
        words = [*command.split(), *ALWAYS.split(), f"hydra.run.dir=run-{number}"]
        code = int(worker.ask(json.dumps([str(folder), words, str(log)])))
        if code != 0:
            return f"exit code {code}: {' '.join(log.read_text().split())[-500:]}"
    return ""


def curves(run: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of all curves of a run as they are written, without the clock's columns."""
    found = {}
    for name in CURVES:
        if (run / name).is_file():
            with (run / name).open(newline="") as file:
                found[name] = [
                    {key: cell for key, cell in row.items() if key not in CLOCKS} for row in csv.DictReader(file)
                ]
    return found


def difference(old: Path, new: Path) -> str:
    """The first difference between the curves of two runs; empty if there is none."""
    ours, theirs = curves(old), curves(new)
    if ours.keys() != theirs.keys():
        return f"files {', '.join(ours)}; now {', '.join(theirs)}"
    for name in ours:
        for number, (one, other) in enumerate(itertools.zip_longest(ours[name], theirs[name], fillvalue={})):
            for key in {**one, **other}:
                if one.get(key) != other.get(key):
                    return f"{name} row {number + 1}: {key} was {one.get(key)} and is {other.get(key)}"
    return ""


def compare(old: Path, new: Path, names: list[str]) -> int:
    """Print a line a run; the number of runs that differ."""
    wrong = 0
    workers = [Worker(tree, "--serve-runs") for tree in (old, new)]
    print("| run | rows | |\n|---|---:|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            places = Path(folder, "old"), Path(folder, "new")
            faults = [carry_out(worker, RUNS[name], place) for worker, place in zip(workers, places, strict=True)]
            runs = [place / f"run-{len(RUNS[name]) - 1}" for place in places]
            said = "; ".join(filter(None, faults)) or difference(*runs)
            rows = sum(map(len, curves(runs[1]).values()))
            wrong += bool(said) or rows == 0
            print(f"| {name} | {rows} | {said or ('equal' if rows else 'no curve')} |", flush=True)
    for worker in workers:
        worker.process.kill()
    print(f"\n{wrong} of {len(names)} runs differ" if wrong else f"\nall {len(names)} runs are equal")
    return wrong


# -- timings --------------------------------------------------------------------------------------------------------

TURN = 0.3
"""Seconds that a turn lasts, about."""

FIT_STEPS = 100


Case = Callable[[], tuple[Callable[[], object], int]]
"""Makes a call, and says how many steps that is."""


def cases() -> dict[str, Case]:
    """What is timed, by name, from the benchmarks of a checkout."""
    import _common
    import engines
    import loop_overhead
    import meta
    import steps
    import torch

    def engine(name: str, regions: int, width: int, layers: int, side: int, kind: str) -> Case:
        return lambda: (_common.step_of(name, _common.sizes_of(regions, side * side, kind), width, layers), 1)

    def stack(regions: int, width: int, layers: int, side: int, bf16: bool) -> Case:
        image = torch.rand(side, side, 3, generator=torch.Generator().manual_seed(0))
        backbone = steps.Siren(hidden_features=width, hidden_layers=layers)
        return lambda: (
            steps.stack_step(steps.PiecewiseINR(steps.Grid(regions=regions)(image), backbone), image, bf16),
            1,
        )

    def outer(width: int, layers: int) -> Case:
        return lambda: (meta.stacked(meta.Case(width, layers)), 1)

    def fit(partition: str) -> Case:
        return lambda: (lambda: loop_overhead.run(partition), loop_overhead.STEPS)

    loop_overhead.STEPS = 100
    found = {f"engines auto {shape}": engine("auto", *shape) for shape in engines.SHAPES}
    for shape in ((9, 57, 3, 128, "even"), (256, 32, 2, 256, "ragged")):
        found |= {f"engines {name} {shape}": engine(name, *shape) for name in engines.ENGINES}
    for shape in _common.SHAPES:
        found |= {f"steps {shape} {'bf16' if bf16 else 'fp32'}": stack(*shape, bf16) for bf16 in (False, True)}
    found |= {f"meta {shape}": outer(*shape) for shape in meta.SHAPES}
    return found | {f"loop_overhead {partition}": fit(partition) for partition in ("none", "grid")}


def serve_timings() -> None:
    """Be the worker of one checkout: time cases as they are asked for, a line a request, a line an answer.

    A request is ``cases``, which lists them; the name of one, to warm it up; or how many calls a turn has.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a run prints is no answer
    made = cases()
    call: Callable[[], object] = time.monotonic
    steps = 1
    for line in map(str.strip, sys.stdin):
        if line == "cases":
            print(*made, sep="\t", file=answers, flush=True)
            continue
        if line.isdecimal():
            start = time.process_time()
            for _ in range(int(line)):
                call()
            print((time.process_time() - start) / (int(line) * steps), file=answers, flush=True)
            continue
        call, steps = made[line]()
        call()
        start = time.monotonic()
        call()
        print(max(1, round(TURN / (time.monotonic() - start))), file=answers, flush=True)


def measure(old: Path, new: Path, only: str, pairs: int, limit: float) -> int:
    """Print a line a case, the slowest first; how many are slower than ``limit``."""
    workers = [Worker(tree, "--serve-timings") for tree in (old, new)]
    rows = []
    for name in (case for case in workers[0].ask("cases").split("\t") if only in case):
        calls = min(int(worker.ask(name)) for worker in workers)
        times = [[float(worker.ask(str(calls))) for worker in workers] for _ in range(pairs)]
        before, after = (statistics.median(column) for column in zip(*times, strict=True))
        rows.append((statistics.median(other / one for one, other in times), before, after, name))
        print(f"{rows[-1][0]:.3f}  {name}", file=sys.stderr, flush=True)
    for worker in workers:
        worker.process.kill()
    print(f"Medians of {pairs} interleaved pairs.\n\n| case | CPU ms before | now | ratio |\n|---|---:|---:|---:|")
    for ratio, before, after, name in sorted(rows, reverse=True):
        print(f"| {name} | {1e3 * before:.2f} | {1e3 * after:.2f} | {ratio:.3f} |")
    return sum(ratio > limit for ratio, *_ in rows)


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A commit of this repository, checked out in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "base")
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), commit], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


def main() -> int:
    """Compare, and say with the exit code whether the two are the same."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", default="HEAD", help="the commit to compare with, where --old is not given")
    parser.add_argument("--old", type=Path, help="a checkout to compare with")
    parser.add_argument("--new", type=Path, default=HERE, help="the checkout in question; this one by default")
    parser.add_argument("--only", default="", help="the runs or cases with this in their name")
    parser.add_argument("--timings", action="store_true", help="compare CPU seconds instead of curves")
    parser.add_argument("--pairs", type=int, default=10, help="of timings")
    parser.add_argument("--limit", type=float, default=1.05, help="the ratio of timings that is too slow")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        old = asked.old or stack.enter_context(worktree(asked.base))
        if asked.timings:
            return measure(old.resolve(), asked.new.resolve(), asked.only, asked.pairs, asked.limit) > 0
        names = [name for name in RUNS if asked.only in name]
        return compare(old.resolve(), asked.new.resolve(), names) > 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve-runs"]:
        serve_runs()
    elif sys.argv[1:] == ["--serve-timings"]:
        serve_timings()
    else:
        sys.exit(main())

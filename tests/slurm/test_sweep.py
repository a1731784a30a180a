"""Runs on a Slurm that does everything wrong: each is there once, and as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from partinr.runs.layout import CLOCK_COLUMNS

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.timeout(1200)]

COUNTED = """
import os
import time
from lightning import Callback

class Counted(Callback):
    # A run takes seconds, so that the test can catch it running; the log says who completes it.
    def __init__(self, file, seconds):
        self.file, self.seconds = file, seconds

    def on_train_batch_end(self, trainer, module, *arguments):
        time.sleep(self.seconds)

    def on_fit_end(self, trainer, module):
        if module.stop_reason is not None:
            with open(self.file, "a") as file:
                file.write(f"{module.seed}\\n")
"""

WORDS = (
    *("partition=grid,kmeans", "seed=0,1,2", "data=image", "data.path=a.png,b.png"),
    *("data.size=16", "partition.regions=4", "backbone.match_params=500", "engine=batched", "max_steps=60"),
    *("regime.evaluate_every=4", "regime.points_per_step=100", "schedule=cosine", "trainer.threads=1"),
    *("trainer.accelerator=cpu", "cache_dir=null", "callbacks.checkpoint.every_seconds=0"),
    *("callbacks.progress=null", "callbacks.pictures=null"),
)
FAULTS = 5
RUNS = 12


def curves(sweep: Path) -> dict[str, list[dict[str, str]]]:
    found = {}
    for path in sweep.glob("*/curve.csv"):
        with path.open(newline="") as file:
            rows = [
                {key: value for key, value in row.items() if key not in CLOCK_COLUMNS} for row in csv.DictReader(file)
            ]
        found[path.parent.name] = rows
    return found


def statuses(sweep: Path) -> Counter[str]:
    return Counter(json.loads(path.read_bytes())["status"] for path in sweep.glob("*/run.json"))


def command(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "partinr", "-m", *WORDS, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def in_the_act(cluster: Any) -> list[psutil.Process]:
    """The processes that carry out runs."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if (
                "submitit.core._submit" in process.cmdline()
                and process.environ().get("SLURM_CONF") == os.environ["SLURM_CONF"]
            ):
                found.append(process)
    return found


def test_runs_under_faults(cluster: Any, tmp_path: Path, until: Any) -> None:
    cluster.mend()
    rng = random.Random(0)
    for name in "ab":
        Image.effect_noise((24, 24), rng.randint(20, 90)).convert("RGB").save(tmp_path / f"{name}.png")
    (cluster.folder / "counted.py").write_text(COUNTED)
    counted = ("+callbacks.counted._target_=counted.Counted", f"+callbacks.counted.file={tmp_path}/completed")
    launcher = (
        *("hydra/launcher=submitit_slurm", "hydra.launcher.runs_per_job=3", "hydra.launcher.timeout_min=30"),
        *("hydra.launcher.partition=low", "hydra.launcher.retries=20", "hydra.sweep.dir=disturbed"),
    )
    sweep = tmp_path / "disturbed"
    process = command(*launcher, *counted, "+callbacks.counted.seconds=0.15")
    done: Counter[str] = Counter()
    try:
        until(lambda: len(curves(sweep)) >= 3, cluster.queue, 300)
        while sum(done.values()) < FAULTS and process.poll() is None:
            kind = rng.choice(["kill", "requeue", "node"] if done["node"] < 1 else ["kill", "requeue"])
            running = in_the_act(cluster)
            if kind == "node":
                cluster.lose_node("n3")
                time.sleep(1)
                cluster.start_node("n3")
                done["node"] += 1
            elif running:
                victim = rng.choice(running)
                with suppress(psutil.NoSuchProcess):
                    if kind == "kill":
                        victim.kill()
                    else:
                        job = victim.environ()
                        cluster.ask("scontrol", "requeue", job["SLURM_JOB_ID"], check=False)
                    done[kind] += 1
            time.sleep(rng.uniform(2, 5))
        out, _ = process.communicate(timeout=900)
    finally:
        process.kill()
        process.wait()
    print(dict(done), out[-3000:])
    assert sum(done.values()) >= 4, done
    assert process.returncode == 0, out
    assert statuses(sweep) == {"completed": RUNS}
    # None was carried out to its end twice.
    assert Counter((tmp_path / "completed").read_text().split()) == Counter({str(seed): RUNS // 3 for seed in range(3)})
    before = {path: path.stat().st_ino for path in sweep.glob("*/run.json")}
    again = command(*launcher, *counted, "+callbacks.counted.seconds=0.15")
    out, _ = again.communicate(timeout=200)
    assert again.returncode == 0, out
    assert f"{RUNS} runs: {RUNS} completed ({RUNS} of them before)" in out
    assert {path: path.stat().st_ino for path in sweep.glob("*/run.json")} == before
    calm = command("hydra.sweep.dir=calm")
    out, _ = calm.communicate(timeout=300)
    assert calm.returncode == 0, out
    # Not by name, of which the callback is a part.
    disturbed, undisturbed = (sorted(curves(each).values(), key=str) for each in (sweep, tmp_path / "calm"))
    assert disturbed == undisturbed

"""What Lightning's loop, the clocks and the callbacks cost, against a bare loop that does the same optimiser steps.

    python experiments/benchmarks/loop_overhead.py

Both fit the demo's image with the demo's settings. The bare loop is nothing but forward, loss, backward and Adam; the
run is `partinr`'s own, with every callback, and its training seconds as well as its wall time without set-up are
compared: the wall time counts evaluations, pictures and checkpoints too.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import hydra
import torch
from _common import where

from partinr.experiment import config, names
from partinr.experiment.conf import conf_dir
from partinr.experiment.execute import execute

ROUNDS = 5
STEPS = 300


def compose(partition: str) -> config.DictConfig:
    """The demo's configuration."""
    names.register_resolvers()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        return hydra.compose("train", ["experiment=demo", f"partition={partition}", f"max_steps={STEPS}"])


def bare(partition: str) -> float:
    """Seconds of the bare loop."""
    from partinr.model.inr import PiecewiseINR

    settings = config.read(compose(partition))
    signal = settings.data.load()
    model = PiecewiseINR(settings.partition(signal), settings.backbone)
    batch = model.batch(signal)
    optimizer = torch.optim.Adam(model.stack.values(), lr=settings.optimizer.lr, fused=True)
    start = time.perf_counter()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = (model(batch.coords, batch.sizes) - batch.targets).square().mean()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def run(partition: str) -> tuple[float, float]:
    """Training seconds of a run, and its wall time from the end of the set-up on."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        manifest = execute(compose(partition), Path(folder) / "run", []).run.manifest()
        wall = time.perf_counter() - start
    return manifest["seconds"]["training"], wall - manifest["seconds"]["setup"]


def main() -> None:
    """Print the table."""
    print(f"{STEPS} steps of the demo, medians of {ROUNDS} interleaved rounds. {where()}\n")
    print(
        "| partition | bare loop s | training seconds | ratio | wall s with evaluation, pictures, checkpoint | ratio |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for partition in ("none", "grid"):
        bare(partition), run(partition)
        rounds = [(bare(partition), *run(partition)) for _ in range(ROUNDS)]
        plain, training, wall = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratios = f"{training / plain:.3f} | {wall:.2f} | {wall / plain:.3f}"
        print(f"| {partition} | {plain:.2f} | {training:.2f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()

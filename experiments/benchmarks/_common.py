"""What the benchmarks share: interleaved timing, steps to time, and a line that says on what.

They run on the GPU where there is one; ``CUDA_VISIBLE_DEVICES=`` in front of the command hides it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.callbacks.manifest import git_state, hardware
from partinr.engines import EngineName
from partinr.engines.base import AdamSettings, Observations
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition
from partinr.training.clock import keep_freed_memory

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

keep_freed_memory()  # as a run does; it helps all contenders

# Regions, width, hidden layers, pixels a side: few wide networks, many narrow ones, a great many thin ones.
SHAPES = [(9, 170, 3, 256), (256, 32, 2, 256), (1024, 9, 2, 512)]
if DEVICE.type == "cuda":
    SHAPES += [(9, 170, 3, 1024), (256, 32, 2, 1024), (1024, 9, 2, 1024)]


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    seconds: float = 0.5,
    budget: float = float("inf"),
) -> dict[str, float]:
    """Median seconds a call, each contender timed in turn, round after round, so that a busy moment hits all alike.

    Args:
        contenders: what to call, by name; each is called once first, to warm up.
        rounds: how often each has its turn.
        seconds: how long a turn lasts at least.
        budget: a contender whose turns have taken so many seconds has no further ones; each has one.
    """
    for call in contenders.values():
        call()
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    spent = dict.fromkeys(contenders, 0.0)
    for _ in range(rounds):
        for name, call in contenders.items():
            if spent[name] >= budget:
                continue
            _synchronise()
            calls, start = 0, time.perf_counter()
            # The GPU's queue is short beside a turn, so this may ask the clock without waiting for the GPU.
            while calls == 0 or time.perf_counter() - start < seconds:
                call()
                calls += 1
            _synchronise()
            turn = time.perf_counter() - start
            samples[name].append(turn / calls)
            spent[name] += turn
    return {name: statistics.median(values) for name, values in samples.items()}


def _synchronise() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def sizes_of(regions: int, pixels: int, kind: str = "even") -> tuple[int, ...]:
    """Even sizes, or ``ragged`` ones that fall geometrically over a factor of a hundred."""
    weights = torch.ones(regions) if kind == "even" else torch.logspace(0, -2, regions)
    sizes = (weights / weights.sum() * pixels).long().clamp(min=1)
    sizes[0] += pixels - sizes.sum()
    return tuple(sizes.tolist())


def adam_step(
    loss_of: Callable[[], Tensor], optimizer: torch.optim.Optimizer, bf16: bool = False
) -> Callable[[], None]:
    """Forward, loss, backward and update, ready to be called.

    Args:
        loss_of: forward and loss.
        optimizer: of the parameters.
        bf16: do forward and loss under autocast to bfloat16, as ``trainer.precision=bf16-mixed`` does.
    """

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16):
            loss = loss_of()
        loss.backward()
        optimizer.step()

    return step


def step_of(
    engine: EngineName, sizes: Sequence[int], width: int, layers: int, bf16: bool = False, points: int | None = None
) -> Callable[[], None]:
    """One Adam step of a stack of SIRENs on random samples, ready to be called.

    Args:
        engine: how the stack is evaluated.
        sizes: samples of each network.
        width: of the networks.
        layers: hidden layers.
        bf16: under autocast to bfloat16.
        points: draw so many samples for each step, as ``regime.points_per_step`` does; None for all.

    Raises:
        PartinrError: the engine has no kernels for such networks on this device.
    """
    # A line of samples, in pieces of these sizes.
    partition = Partition(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[None])
    model = PiecewiseINR(partition, Siren(hidden_features=width, hidden_layers=layers), engine=engine)
    model.check_engine(DEVICE)
    model.to(DEVICE)
    batch = model.batch(torch.rand(1, sum(sizes), 3, generator=torch.Generator().manual_seed(0)))
    coords, targets = batch.coords.to(DEVICE), batch.targets.to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    left: list[Tensor] = []

    def loss_of_all() -> Tensor:
        return model.squared_error(coords, targets, batch.sizes) / targets.numel()

    def loss_of_drawn() -> Tensor:
        assert points is not None
        if not left:
            order = torch.randperm(sum(sizes))
            left.extend(piece for piece in order.split(points) if len(piece) == points)
        samples = left.pop().sort().values
        drawn, on_device = batch.count(samples), samples.to(DEVICE)
        return model.squared_error(coords[on_device], targets[on_device], drawn) / (3 * points)

    return adam_step(loss_of_all if points is None else loss_of_drawn, optimizer, bf16)


STEPS = 4
"""Number of steps in a call of :func:`steps_of_run`."""


def steps_of_run(sizes: Sequence[int], width: int, layers: int, bf16: bool = False) -> Callable[[], None]:
    """STEPS steps of Adam as a run takes them: by the engine itself, if it can. For arguments see :func:`step_of`."""
    partition = Partition(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[None])
    model = PiecewiseINR(partition, Siren(hidden_features=width, hidden_layers=layers)).to(DEVICE)
    batch = model.batch(torch.rand(1, sum(sizes), 3, generator=torch.Generator().manual_seed(0)))
    observed = Observations(batch.coords.to(DEVICE), batch.targets.to(DEVICE), batch.sizes)
    kept = {value: (torch.zeros_like(value), torch.zeros_like(value)) for value in model.parameters()}
    run = model.adam(
        observed.coords, observed.sizes, dict(model.stack), kept.__getitem__, AdamSettings((0.9, 0.9), 1e-8)
    )
    rates = np.tile(np.array([1e-6, 1, 1], dtype=np.float32), (STEPS, 1))
    if run is None:
        step = step_of("auto", sizes, width, layers, bf16)

        def plain() -> None:
            for _ in range(STEPS):
                step()

        return plain

    def call() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16):
            run.take(observed, 1 / observed.targets.numel(), rates)

    return call


def where() -> str:
    """Machine, versions and commit, for the head of a table."""
    machine = hardware(DEVICE)
    commit = (git_state()["commit"] or "no commit")[:10] + ("+changes" if git_state()["dirty"] else "")
    device = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
    return f"{device}; torch {torch.__version__.split('+')[0]}; commit {commit}; {time.strftime('%Y-%m-%d')}"

"""What the benchmarks share: interleaved timing, and a line that says on what."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from partinr.backbones import Siren
from partinr.callbacks.manifest import git_state, hardware
from partinr.inr import PiecewiseINR
from partinr.partition import Partition
from partinr.stack import Engine


def interleaved(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 7, seconds: float = 0.5
) -> dict[str, float]:
    """Median seconds a call, each contender timed in turn, round after round, so that a busy moment hits all alike.

    Args:
        contenders: what to call, by name; each is called once first, to warm up.
        rounds: how often each has its turn.
        seconds: how long a turn lasts at least.
    """
    for call in contenders.values():
        call()
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            calls, start = 0, time.perf_counter()
            while calls == 0 or time.perf_counter() - start < seconds:
                call()
                calls += 1
            samples[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(values) for name, values in samples.items()}


def step_of(engine: Engine, sizes: Sequence[int], width: int, layers: int) -> Callable[[], None]:
    """One Adam step of a stack of SIRENs on random samples, on CUDA where there is one, ready to be called.

    Args:
        engine: how the stack is evaluated.
        sizes: samples of each network.
        width: of the networks.
        layers: hidden layers.

    Raises:
        PartinrError: the engine has no kernels for such networks on this device.
    """
    # A line of samples, in pieces of these sizes.
    partition = Partition(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[None])
    model = PiecewiseINR(partition, Siren(hidden_features=width, hidden_layers=layers), engine=engine)
    batch = model.batch(torch.rand(1, sum(sizes), 3, generator=torch.Generator().manual_seed(0)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.check_device(device)
    model.to(device)
    coords, targets = batch.coords.to(device), batch.targets.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss = (model(coords, batch.sizes) - targets).square().mean()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def where() -> str:
    """Machine, versions and commit, for the head of a table."""
    machine = hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    commit = (git_state()["commit"] or "no commit")[:10] + ("+changes" if git_state()["dirty"] else "")
    device = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
    return f"{device}; torch {torch.__version__.split('+')[0]}; commit {commit}; {time.strftime('%Y-%m-%d')}"

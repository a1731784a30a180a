"""What an outer step of learning to learn costs: a stack, heads that all see every pixel, and networks one by one.

    python experiments/benchmarks/meta.py

One second-order outer gradient (MAML, learned rates for every parameter and step) of a meta-batch of four images of 64²
pixels in 2×2 regions, three inner steps, fp32:

* partinr: all networks of all tasks in one pass, each on its own samples; the same with inner steps computed again on
  the way back; and the same task by task;
* masked: the plain way to write the method. A task's heads each evaluate every pixel, and a mask takes the pixels of
  its region out of each. Heads go one after the other, or as one batched product. The meta-batch's objective is
  differentiated as a whole or, which that code could do as well, task by task;
* separate: a network at a time on its own samples, ``torch.func.grad`` inside ``torch.func.grad``.

All give the same gradients, which is checked first. Peak memory is that of a process of its own, above what it has when
its imports, its data and a step on a few pixels are done. Ratios are to the first line; times are medians of
interleaved turns.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from _common import DEVICE, interleaved, where
from torch import Tensor

from partinr.backbones import Siren
from partinr.partition import Grid
from partinr.regimes.meta import LearnedStart, TaskBatch, outer_gradients

TASKS, ROWS, STEPS, SIDE = 4, 2, 3, 64
SHAPES = [(128, 3), (32, 3)]  # width, hidden layers
OMEGA = 30.0
# Ten times the paper's: without the second order the gradients would be seen to differ.
LR = 1e-4
SAME = 2e-5
"""Of the norm of each gradient: what single precision leaves of it."""

Params = dict[str, Tensor]
Step = Callable[[], None]


class Case:
    """What is learned, and the tasks."""

    def __init__(self, width: int, layers: int, side: int = SIDE) -> None:
        generator = torch.Generator().manual_seed(0)
        self.layers = layers
        self.signals = [torch.rand(side, side, 3, generator=generator) for _ in range(TASKS)]
        self.partition = Grid(rows=ROWS, cols=ROWS)(self.signals[0])
        self.regions = self.partition.regions
        backbone = Siren(hidden_features=width, hidden_layers=layers, first_omega_0=OMEGA, omega_0=OMEGA)
        self.start = LearnedStart(backbone, inner_steps=STEPS, inner_lr=LR).to(DEVICE)
        self.batch = self.tasks(range(TASKS))
        # Row-major, as code without a region batch has them.
        flat = self.partition.labels.reshape(-1)
        order = torch.argsort(self.batch.order[: flat.numel()])
        self.coords = self.batch.coords[: flat.numel()][order]
        self.targets = [signal.reshape(-1, 3).to(DEVICE) for signal in self.signals]
        self.mask = F.one_hot(flat).T.unsqueeze(-1).float().to(DEVICE)
        self.inside = [(flat == region).nonzero().squeeze(1).to(DEVICE) for region in range(self.regions)]
        # Of each pixel, one over the samples and channels of its region.
        self.weights = (1 / (3 * self.partition.sizes.float()))[flat].unsqueeze(1).to(DEVICE)

    def tasks(self, which: range) -> TaskBatch:
        """Some of the tasks as a region batch."""
        return TaskBatch.of([self.signals[task] for task in which], [self.partition] * len(which), "global").to(DEVICE)

    def gradients(self) -> Params:
        """Of all that is learned."""
        found = {}
        for name, value in self.start.named_parameters():
            assert value.grad is not None
            found[name] = value.grad
        return found


# -- partinr --------------------------------------------------------------------------------------------------------


def stacked(case: Case, recompute: bool = False) -> Step:
    """All tasks in one pass."""

    def step() -> None:
        case.start.zero_grad()
        context = case.batch.context("region")
        outer_gradients(case.start, case.batch, context, case.batch.weights(), recompute=recompute)

    return step


def stacked_by_task(case: Case) -> Step:
    """A task's regions in one pass."""
    lone = [case.tasks(range(task, task + 1)) for task in range(TASKS)]

    def step() -> None:
        case.start.zero_grad()
        for batch in lone:
            outer_gradients(case.start, batch, batch.context("region"), batch.weights(TASKS), tasks=TASKS)

    return step


# -- every head on every pixel --------------------------------------------------------------------------------------


def head(params: Mapping[str, Tensor], x: Tensor, layers: int) -> Tensor:
    """One network ``[n, d]`` to ``[n, c]``."""
    for layer in range(layers + 1):
        x = torch.sin(OMEGA * F.linear(x, params[f"weight_{layer}"], params[f"bias_{layer}"]))
    return F.linear(x, params[f"weight_{layers + 1}"], params[f"bias_{layers + 1}"])


def heads(params: Mapping[str, Tensor], x: Tensor, layers: int) -> Tensor:
    """All heads as batched products: ``[R, n, d]`` to ``[R, n, c]``."""
    for layer in range(layers + 2):
        x = torch.baddbmm(params[f"bias_{layer}"].unsqueeze(1), x, params[f"weight_{layer}"].transpose(1, 2))
        if layer <= layers:
            x = torch.sin(OMEGA * x)
    return x


def masked(case: Case, batched: bool, by_task: bool) -> Step:
    """Every head on every pixel, then masks."""
    stack = dict(case.start.networks.stack.items())
    rates = dict(case.start.rates.raw.items())

    def picture(params: Mapping[str, Tensor]) -> Tensor:
        if batched:
            return (heads(params, case.coords.expand(case.regions, -1, -1), case.layers) * case.mask).sum(0)
        values = torch.zeros_like(case.targets[0])
        for region in range(case.regions):
            own = {name: value[region] for name, value in params.items()}
            values = values + head(own, case.coords, case.layers) * case.mask[region]
        return values

    def task_objective(targets: Tensor) -> Tensor:
        params: Mapping[str, Tensor] = {
            name: value.expand(case.regions, *value.shape[1:]) for name, value in stack.items()
        }
        for step in range(STEPS):
            error = (case.weights * (picture(params) - targets).square()).sum()
            slopes = torch.autograd.grad(error, list(params.values()), create_graph=True)
            params = {
                name: value - rates[name][step] * slope
                for (name, value), slope in zip(params.items(), slopes, strict=True)
            }
        return F.mse_loss(picture(params), targets) / TASKS

    def step() -> None:
        case.start.zero_grad()
        if by_task:
            for targets in case.targets:
                task_objective(targets).backward()
        else:
            torch.stack([task_objective(targets) for targets in case.targets]).sum().backward()

    return step


# -- a network at a time --------------------------------------------------------------------------------------------


def separate(case: Case) -> Step:
    """As many runs as there are networks."""

    def error(params: Params, x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(head(params, x, case.layers), y)

    def objective(params: Params, rates: Params, x: Tensor, y: Tensor, share: float) -> Tensor:
        for step in range(STEPS):
            slopes = torch.func.grad(error)(params, x, y)
            params = {name: value - rates[name][step] * slopes[name] for name, value in params.items()}
        return share * error(params, x, y)

    by_both = torch.func.grad(objective, argnums=(0, 1))
    stack = {name: value.detach()[0] for name, value in case.start.networks.stack.items()}
    rates = {name: value.detach()[:, 0] for name, value in case.start.rates.raw.items()}

    def step() -> None:
        case.start.zero_grad()
        for targets, inside in itertools.product(case.targets, case.inside):
            share = len(inside) / len(targets) / TASKS
            by_params, by_rates = by_both(stack, rates, case.coords[inside], targets[inside], share)
            for name in stack:
                for value, slope in (
                    (case.start.networks.stack[name], by_params[name][None]),
                    (case.start.rates.raw[name], by_rates[name][:, None]),
                ):
                    value.grad = slope if value.grad is None else value.grad.add_(slope)

    return step


WAYS: dict[str, Callable[[Case], Step]] = {
    "partinr": stacked,
    "partinr, recompute": lambda case: stacked(case, recompute=True),
    "partinr, task by task": stacked_by_task,
    "masked, head by head": lambda case: masked(case, batched=False, by_task=False),
    "masked, batched": lambda case: masked(case, batched=True, by_task=False),
    "masked, head by head, task by task": lambda case: masked(case, batched=False, by_task=True),
    "masked, batched, task by task": lambda case: masked(case, batched=True, by_task=True),
    "separate": separate,
}


# -- what is measured -----------------------------------------------------------------------------------------------


def check(case: Case) -> None:
    """See that all ways give the same gradients, and that the second order has its part in them."""
    expected: Params = {}
    for name, way in WAYS.items():
        way(case)()
        found = {key: value.clone() for key, value in case.gradients().items()}
        expected = expected or found
        for key, value in found.items():
            off = float((value - expected[key]).norm() / expected[key].norm())
            assert off < SAME, f"{name}: {key} is off by {off:.1e}"
    case.start.zero_grad()
    outer_gradients(case.start, case.batch, case.batch.context("region"), case.batch.weights(), algorithm="fomaml")
    name = "networks.stack.weight_1"
    first = case.gradients()[name]
    assert float((first - expected[name]).norm() / expected[name].norm()) > 100 * SAME, "the first order would do"


def peak(way: str, width: int, layers: int) -> float:
    """Megabytes that a way takes, beside what there is before."""
    small = Case(width, layers, side=8)
    small.start.networks.engine = "tiled" if DEVICE.type == "cpu" else "auto"  # the kernels are there, too
    WAYS[way](small)()
    small.start.networks.engine = "auto"
    WAYS[way](small)()
    case = Case(width, layers)
    step = WAYS[way](case)
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    before = _status("VmRSS")
    step()
    return (_status("VmHWM") - before) / 2**10


def _status(field: str) -> int:
    """Kilobytes."""
    found = re.search(rf"{field}:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def main() -> None:
    """Print the table."""
    what = f"{TASKS} tasks of {SIDE}² pixels, {ROWS}×{ROWS} regions, {STEPS} inner steps, fp32"
    print(f"One second-order outer gradient, {what}. {where()}\n")
    print("| width × hidden layers | way | ms | to partinr | peak MB | to partinr |")
    print("|---|---|---:|---:|---:|---:|")
    for width, layers in SHAPES:
        case = Case(width, layers)
        check(case)
        times = interleaved({name: way(case) for name, way in WAYS.items()}, rounds=5, seconds=0.1, budget=6.0)
        peaks = {}
        for name in WAYS:
            command = [sys.executable, __file__, "--peak", json.dumps([name, width, layers])]
            peaks[name] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for name in WAYS:
            print(
                f"| {width} × {layers} | {name} | {1e3 * times[name]:.0f} | {times[name] / times['partinr']:.2f} "
                f"| {peaks[name]:.0f} | {peaks[name] / peaks['partinr']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        print(peak(*json.loads(sys.argv[2])))
    else:
        main()

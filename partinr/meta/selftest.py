"""A self-test of the meta-gradient, on a case of a few numbers, before a run begins.

An inner gradient without its graph makes second-order MAML a first-order one, and so does a compiled inner objective:
neither says a word, the curves only come out lower. So the gradient that a run is about to use is compared with finite
differences of what it is the gradient of.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from partinr.errors import PartinrError
from partinr.meta.learned import Algorithm, LearnedStart, outer_gradients
from partinr.meta.tasks import TaskBatch
from partinr.partition import Partition

TOLERANCE = 5e-3
"""Relative. Over fifty tiny cases of each of several kinds single precision was off by 6e-4 at most, and the other
order by 6e-3 at least: that of a ReLU network whose last layer is adapted. Mostly it is a tenth or more."""

DIRECTIONS = 4
"""In which the gradients are compared: along a single one the orders may happen to agree."""


def check_meta_gradient(start: LearnedStart, algorithm: Algorithm, recompute: bool) -> None:
    """See that the meta-gradient of a run is the one that its algorithm asks for.

    A tiny network of the same architecture and the same kind of rates, adapted to two tiny tasks, by the engine and in
    the way of the run; but without its autocast.

    Args:
        start: of the run; it is not touched.
        algorithm: of the run; nothing is done for those without a gradient through the inner steps.
        recompute: whether the run computes inner steps anew.

    Raises:
        PartinrError: the gradient is not the one it should be.
    """
    if algorithm not in ("maml", "fomaml"):
        return
    tiny, batch = _tiny(start)
    what = f"the meta-gradient of regime.algorithm={algorithm} with engine={start.networks.engine} on {start.device}"
    cure = "choose another engine, such as engine=loop, or another torch"
    try:
        # In bfloat16 rounding is as large as what is looked for.
        with torch.autocast(start.device.type, enabled=False):
            used = _along(tiny, batch, algorithm, recompute)
    except RuntimeError as error:
        # How torch says that something has no second derivative: compiled code, a function with a gradient of its own.
        raise PartinrError(f"{what} cannot be computed: {str(error).splitlines()[0]}; {cure}") from error
    true = _true(tiny, batch, algorithm)
    off = float((used - true).norm() / true.norm())
    # Put so that what is no number is wrong too.
    if not off <= TOLERANCE:
        raise PartinrError(f"{what} is wrong, by {off:.1%} of what is right; {cure}")


def _tiny(start: LearnedStart) -> tuple[LearnedStart, TaskBatch]:
    generator = torch.Generator().manual_seed(0)
    networks = start.networks
    tiny = LearnedStart(
        networks.backbone.with_width(6),
        in_features=networks.in_features,
        channels=networks.channels,
        inner_steps=min(2, start.inner_steps),
        # Large enough for the second order to count: the rates of a run may begin where it is a rounding error.
        inner_lr=1e-2,
        inner_lr_kind=start.rates.kind,
        inner_lr_positive=start.rates.positive,
        inner_loss=start.inner_loss,
        adapt_layers=start.adapt_layers,
        engine=networks.engine,
    ).to(start.device)
    shape = (4,) * networks.in_features
    labels = torch.zeros(shape, dtype=torch.int64)
    labels[1:] = 1
    signals = [torch.rand(*shape, networks.channels, generator=generator) for _ in range(2)]
    return tiny, TaskBatch.of(signals, [Partition(labels)] * 2, start.frame).to(start.device)


def _along(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm, recompute: bool) -> Tensor:
    """The gradient in the way of the run, along each direction: float64 ``[DIRECTIONS]``."""
    outer_gradients(
        start, batch, batch.context(start.inner_loss), batch.weights(), algorithm=algorithm, recompute=recompute
    )
    slopes = {name: value.grad for name, value in start.networks.stack.items()}
    found = [
        sum(float((slope.double() * way[name]).sum()) for name, slope in slopes.items() if slope is not None)
        for way in _ways(start)
    ]
    start.zero_grad(set_to_none=True)
    return torch.tensor(found, dtype=torch.float64)


def _ways(start: LearnedStart) -> list[dict[str, Tensor]]:
    """Directions in the initialisation: the parameters themselves, which are of any size, with signs by lot."""
    generator = torch.Generator().manual_seed(1)
    stack = {name: value.detach().double() for name, value in start.networks.stack.items()}
    return [
        {
            name: value * torch.randint(2, value.shape, generator=generator).mul(2).sub(1).to(value)
            for name, value in stack.items()
        }
        for _ in range(DIRECTIONS)
    ]


def _true(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm) -> Tensor:
    """The same by finite differences, in double precision, by the plain engine."""
    exact = copy.deepcopy(start).double()
    exact.networks.engine = "loop"
    batch = batch.to(batch.coords.device, torch.float64)
    context, weights = batch.context(start.inner_loss), batch.weights()
    begin = {name: value.detach().clone() for name, value in exact.networks.stack.items()}
    # The inner gradients of the first-order one are constants: taken where it begins, and added along the way.
    *_, end = exact.adapt(batch, context, exact.inner_steps, order="none")
    first = exact.start(batch)
    moves = {name: (end[name] - first[name]).detach() for name in end}

    def objective(way: dict[str, Tensor], step: float) -> float:
        with torch.no_grad():
            for name, value in exact.networks.stack.items():
                value.copy_(begin[name] + step * way[name])
        if algorithm == "fomaml":
            fast = {name: value + moves[name] for name, value in exact.start(batch).items()}
        else:
            *_, fast = exact.adapt(batch, context, exact.inner_steps, order="none")
        with torch.no_grad():
            return float(exact.error(batch, fast, weights))

    # So small that hardly ever a kink of a ReLU is stepped over, where the inner gradient jumps and no derivative is.
    h = 1e-7
    found = [(objective(way, h) - objective(way, -h)) / (2 * h) for way in _ways(start)]
    return torch.tensor(found, dtype=torch.float64)

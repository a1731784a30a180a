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

TOLERANCE = 0.02
"""Relative: what single precision and a finite step leave; the first-order gradient is off by far more."""


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
    # Put so that what is no number is wrong too.
    if not abs(used - true) <= TOLERANCE * abs(true):
        raise PartinrError(f"{what} is wrong: {used:.6g} where {true:.6g} is right; {cure}")


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


def _along(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm, recompute: bool) -> float:
    """The gradient in the way of the run, along a fixed direction."""
    outer_gradients(
        start, batch, batch.context(start.inner_loss), batch.weights(), algorithm=algorithm, recompute=recompute
    )
    found = sum(float((value.grad.double() * way).sum()) for value, way in _ways(start) if value.grad is not None)
    start.zero_grad(set_to_none=True)
    return found


def _ways(start: LearnedStart) -> list[tuple[Tensor, Tensor]]:
    """The initialisation with a direction in it: that of the parameters themselves, which are of any size."""
    return [(value, value.detach().double()) for value in start.networks.stack.values()]


def _true(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm) -> float:
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

    def objective(step: float) -> float:
        with torch.no_grad():
            for name, value in exact.networks.stack.items():
                value.copy_(begin[name] * (1 + step))
        if algorithm == "fomaml":
            fast = {name: value + moves[name] for name, value in exact.start(batch).items()}
        else:
            *_, fast = exact.adapt(batch, context, exact.inner_steps, order="none")
        with torch.no_grad():
            return float(exact.error(batch, fast, weights))

    h = 1e-5
    return (objective(h) - objective(-h)) / (2 * h)

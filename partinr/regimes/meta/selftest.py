"""A self-test of the meta-gradient, on a case of a few numbers, before a run begins.

An inner gradient without its graph makes second-order MAML a first-order one, and so does a compiled inner objective:
neither says a word, the curves only come out lower. So the gradient that a run is about to use is compared with finite
differences of what it is the gradient of.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.partition import Partition
from partinr.regimes.meta.learned import Algorithm, LearnedStart, outer_gradients
from partinr.regimes.meta.tasks import TaskBatch

TOLERANCE = 5e-3
"""Relative. Over fifty tiny cases of each of a dozen kinds single precision was off by 6e-4 at most, and the other
order by 6e-3 at least: that of a ReLU network whose last layer is adapted; mostly it is a tenth or more."""

RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The inner rates of the case: the first with which the inner steps are not too long. Those of a run may begin where
the second order is a rounding error."""

CHAOS = 0.9
"""Relative: where the first-order gradient is further from the true one, inner steps are too long, and rounding grows
along them as well. Networks of high frequencies come there early: at a rate of 1e-2 single precision was off by up to
0.3 with Gaussian, Gabor and variable-periodic activations."""

SEEDS = 8
"""Of the first initialisation of the case, tried in turn: a ReLU network of a few features may begin with all of them
off."""

MEASURABLE = 1e-7
"""Finite differences see a derivative to some 1e-10."""

DIRECTIONS = 4
"""In which the gradients are compared: along a single one the orders may happen to agree."""


def check_meta_gradient(
    start: LearnedStart,
    algorithm: Algorithm,
    recompute: bool,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """See that the meta-gradient of a run is the one that its algorithm asks for.

    The same architecture and kind of rates, adapted to two tiny tasks, by the engine and in the way of the run, but
    without its autocast and without TF32. The gradient by the initialisation is compared, and that by the rates.

    Args:
        start: of the run; it is not touched.
        algorithm: of the run; nothing is done for those without a gradient through the inner steps.
        recompute: whether the run computes inner steps anew.
        device: where the run computes; None for where its parameters are.
        dtype: of the parameters while it computes; None for what they are.

    Raises:
        PartinrError: the gradient is not the one it should be.
    """
    if algorithm not in ("maml", "fomaml"):
        return
    device = start.device if device is None else device
    dtype = next(iter(start.networks.stack.values())).dtype if dtype is None else dtype
    tiny, batch, true = _case(start, algorithm)
    tiny, batch = tiny.to(device, dtype), batch.to(device, dtype)
    what = f"the meta-gradient of regime.algorithm={algorithm} with engine={start.networks.engine} on {device}"
    cure = "choose another engine, such as engine=loop, or another torch"
    try:
        # In bfloat16, and in TF32, rounding is as large as what is looked for.
        with torch.autocast(device.type, enabled=False), _all_digits():
            used = _along(tiny, batch, algorithm, recompute)
    except RuntimeError as error:
        # How torch says that something has no second derivative: compiled code, a function with a gradient of its own.
        raise PartinrError(f"{what} cannot be computed: {str(error).splitlines()[0]}; {cure}") from error
    for part, found in used.items():
        off = float((found - true[part]).norm() / true[part].norm())
        # Put so that what is no number is wrong too.
        if not off <= TOLERANCE:
            by = "" if part == "networks" else ", by its learning rates,"
            raise PartinrError(f"{what}{by} is wrong, by {off:.1%} of what is right; {cure}")


def _case(start: LearnedStart, algorithm: Algorithm) -> tuple[LearnedStart, TaskBatch, dict[str, Tensor]]:
    """The same architecture and kind of rates, two tiny tasks, and the true gradient."""
    generator = torch.Generator().manual_seed(0)
    networks = start.networks
    shape = (4,) * networks.in_features
    labels = torch.zeros(shape, dtype=torch.int64)
    labels[1:] = 1
    signals = [torch.rand(*shape, networks.channels, generator=generator) for _ in range(2)]
    batch = TaskBatch.of(signals, [Partition(labels)] * 2, start.frame)

    def case(seed: int, rate: float) -> LearnedStart:
        return LearnedStart(
            networks.backbone,
            in_features=networks.in_features,
            channels=networks.channels,
            inner_steps=min(2, start.inner_steps),
            inner_lr=rate,
            inner_lr_kind=start.rates.kind,
            inner_lr_positive=start.rates.positive,
            inner_loss=start.inner_loss,
            adapt_layers=start.adapt_layers,
            engine=networks.engine,
            seed=seed,
        )

    for seed, rate in itertools.product(range(SEEDS), RATES):
        tiny = case(seed, rate)
        true, first = _true(tiny, batch, "maml"), _true(tiny, batch, "fomaml")
        size = true["networks"].norm()
        if size > MEASURABLE and (true["networks"] - first["networks"]).norm() <= CHAOS * size:
            break
    return tiny, batch, true if algorithm == "maml" else first


@contextmanager
def _all_digits() -> Iterator[None]:
    """Single-precision products on CUDA with all their digits."""
    products: Any = torch.backends.cuda.matmul
    # From torch 2.9 on; the older name must not be used beside it.
    name, exact = ("fp32_precision", "ieee") if hasattr(products, "fp32_precision") else ("allow_tf32", False)
    before = getattr(products, name)
    setattr(products, name, exact)
    try:
        yield
    finally:
        setattr(products, name, before)


def _parts(start: LearnedStart) -> dict[str, dict[str, Tensor]]:
    """What is learned: the initialisation, and the rates if they are."""
    parts = {"networks": {name: each for name, each in start.networks.stack.items() if each.requires_grad}}
    return {**parts, "rates": dict(start.rates.raw.items())} if start.rates.learned else parts


def _along(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm, recompute: bool) -> dict[str, Tensor]:
    """The gradient in the way of the run, along each direction in each part: float64 ``[DIRECTIONS]``."""
    outer_gradients(
        start, batch, batch.context(start.inner_loss), batch.weights(), algorithm=algorithm, recompute=recompute
    )
    found = {
        part: [
            sum(
                float((value.grad.double().cpu() * way[name]).sum())
                for name, value in values.items()
                if value.grad is not None
            )
            for way in _ways(values)
        ]
        for part, values in _parts(start).items()
    }
    start.zero_grad(set_to_none=True)
    return {part: torch.tensor(along, dtype=torch.float64) for part, along in found.items()}


def _ways(values: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Directions in a part: the numbers themselves, which are of any size, with signs by lot."""
    generator = torch.Generator().manual_seed(1)
    begin = {name: value.detach().cpu().double() for name, value in values.items()}
    return [
        {
            name: value * torch.randint(2, value.shape, generator=generator).mul(2).sub(1).to(value)
            for name, value in begin.items()
        }
        for _ in range(DIRECTIONS)
    ]


def _true(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm) -> dict[str, Tensor]:
    """The same by finite differences, in double precision, by the plain engine, on the CPU."""
    exact = copy.deepcopy(start).cpu().double()
    exact.networks.engine = "loop"
    batch = batch.to(torch.device("cpu"), torch.float64)
    context, weights = batch.context(start.inner_loss), batch.weights()
    rates = exact.rates_for(batch)

    def adapted() -> Iterator[dict[str, Tensor]]:
        return exact.adapt(batch, context, exact.inner_steps, order="none")

    with torch.no_grad():
        # The inner gradients of the first-order one are constants: taken where it begins, and added along the way.
        places = [exact.start(batch), *adapted()]
        slopes = [
            {name: (here[name] - there[name]) / rate for name, rate in rates(step).items()}
            for step, (here, there) in enumerate(itertools.pairwise(places))
        ]

    def objective() -> float:
        with torch.no_grad():
            fast: dict[str, Tensor] = dict(exact.start(batch))
            if algorithm == "fomaml":
                for step, slope in enumerate(slopes):
                    fast.update({name: fast[name] - rate * slope[name] for name, rate in rates(step).items()})
            else:
                *_, fast = adapted()
            return float(exact.error(batch, fast, weights))

    def derivative(values: Mapping[str, Tensor], way: Mapping[str, Tensor]) -> float:
        begin = {name: value.detach().clone() for name, value in values.items()}
        # So small that hardly ever a kink of a ReLU is stepped over, where the inner gradient jumps and no derivative
        # is.
        h = 1e-7
        at = []
        for step in (h, -h, 0.0):
            with torch.no_grad():
                for name, value in values.items():
                    value.copy_(begin[name] + step * way[name])
            if step:
                at.append(objective())
        return (at[0] - at[1]) / (2 * h)

    return {
        part: torch.tensor([derivative(values, way) for way in _ways(values)], dtype=torch.float64)
        for part, values in _parts(exact).items()
    }

"""A self-test of the meta-gradient on a case of a few numbers, before a run begins.

An inner gradient without its graph silently turns second-order MAML into a first-order one, and so does a compiled
inner objective: only the curves come out lower. So the gradient that a run is about to use is compared with finite
differences of its objective. A cache keeps what has passed: the test runs once for each backbone, engine, device and
version of torch.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.version import __version__
from partinr.engines.base import exact_products
from partinr.partition import Partition
from partinr.regimes.meta.learned import Algorithm, LearnedStart, outer_gradients
from partinr.regimes.meta.tasks import TaskBatch

TOLERANCE = 5e-3
"""Relative. Over fifty tiny cases of each of a dozen kinds single precision was off by 6e-4 at most, and the other
order by 6e-3 at least: that of a ReLU network whose last layer is adapted. Mostly it is off by a tenth or more."""

RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Inner rates of the case, tried in turn until the inner steps are not too long. With the rates of a run the second
order may be a rounding error."""

CHAOS = 0.9
"""Relative: where the first-order gradient is further from the true one, inner steps are too long, and rounding grows
along them too. Networks of high frequencies come there early: at a rate of 1e-2 single precision was off by up to 0.3
with Gaussian, Gabor and variable-periodic activations."""

SEEDS = 8
"""First initialisations of the case, tried in turn: a ReLU network of a few features may begin with all of them off."""

MEASURABLE = 1e-7
"""Finite differences see a derivative to some 1e-10."""

DIRECTIONS = 4
"""Directions in which gradients are compared: along a single one the orders may happen to agree."""


@door
def check_meta_gradient(
    start: LearnedStart,
    algorithm: Algorithm,
    recompute: bool,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    cache: Path | None = None,
) -> None:
    """Check that a run's meta-gradient, by the initialisation and by the rates, is the one its algorithm asks for.

    The same architecture and kind of rates are adapted to two tiny tasks, by the engine and in the way of the run, but
    without its autocast and without TF32. This also makes the kernels, before the clock of the training runs.

    Args:
        start: the run's; it is not touched.
        algorithm: the run's; there is nothing to check for those without a gradient through the inner steps.
        recompute: whether the run computes inner steps anew.
        device: where the run computes; None for where its parameters are.
        dtype: of the parameters while it computes; None for what they are.
        cache: folder in which it is kept what has passed; None for nowhere.

    Raises:
        PartinrError: the gradient is wrong.
    """
    if algorithm not in ("maml", "fomaml"):
        return
    device = start.device if device is None else device
    dtype = next(iter(start.networks.stack.values())).dtype if dtype is None else dtype
    passed = None if cache is None else cache / "meta_gradient" / _key(start, algorithm, recompute, device, dtype)
    known = passed is not None and passed.is_file()
    batch = _tasks(start)
    tiny, true = (_tiny(start, 0, RATES[0]), {}) if known else _case(start, batch, algorithm)
    what = f"the meta-gradient of regime.algorithm={algorithm} with engine={start.networks.engine} on {device}"
    cure = "choose another engine, such as engine=loop, or another torch"
    try:
        # In bfloat16, and in TF32, rounding is as large as what is looked for.
        with torch.autocast(device.type, enabled=False), exact_products():
            used = _along(tiny.to(device, dtype), batch.to(device, dtype), algorithm, recompute)
    except RuntimeError as error:
        # How torch says that something has no second derivative: compiled code, a function with a gradient of its own.
        raise PartinrError(f"{what} cannot be computed: {str(error).splitlines()[0]}; {cure}") from error
    for part, right in true.items():
        off = float((used[part] - right).norm() / right.norm())
        # Put so that NaN is wrong too.
        if not off <= TOLERANCE:
            by = "" if part == "networks" else ", by its learning rates,"
            raise PartinrError(f"{what}{by} is wrong, by {off:.1%} of what is right; {cure}")
    if passed is not None and not known:
        with suppress(OSError):  # then it is tested again next time
            write_atomically(passed, b"")


def _key(start: LearnedStart, algorithm: Algorithm, recompute: bool, device: torch.device, dtype: torch.dtype) -> str:
    """32 hexadecimal digits of everything that the outcome depends on."""
    of_the_case = {"cells": 1, "inner_lr": None, "inner_steps": min(2, start.inner_steps)}
    about = {
        **start.architecture(),
        **of_the_case,
        "engine": start.networks.engine,
        "algorithm": algorithm,
        "recompute": recompute,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": dtype,
        "versions": (__version__, torch.__version__),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _tasks(start: LearnedStart) -> TaskBatch:
    """Two tiny tasks of two regions."""
    generator = torch.Generator().manual_seed(0)
    shape = (4,) * start.networks.in_features
    labels = torch.zeros(shape, dtype=torch.int64)
    labels[1:] = 1
    signals = [torch.rand(*shape, start.networks.channels, generator=generator) for _ in range(2)]
    return TaskBatch.of(signals, [Partition(labels)] * 2, start.frame)


def _tiny(start: LearnedStart, seed: int, rate: float) -> LearnedStart:
    """The same architecture and kind of rates."""
    networks = start.networks
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


def _case(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm) -> tuple[LearnedStart, dict[str, Tensor]]:
    """A start whose second order can be measured, and the true gradient."""
    for seed, rate in itertools.product(range(SEEDS), RATES):
        tiny = _tiny(start, seed, rate)
        true, first = _true(tiny, batch, "maml"), _true(tiny, batch, "fomaml")
        size = true["networks"].norm()
        if size > MEASURABLE and (true["networks"] - first["networks"]).norm() <= CHAOS * size:
            break
    return tiny, true if algorithm == "maml" else first


def _parts(start: LearnedStart) -> dict[str, dict[str, Tensor]]:
    """The learned parts: the initialisation, and the rates if they are learned."""
    parts = {"networks": {name: each for name, each in start.networks.stack.items() if each.requires_grad}}
    return {**parts, "rates": dict(start.rates.raw.items())} if start.rates.learned else parts


def _along(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm, recompute: bool) -> dict[str, Tensor]:
    """The gradient as the run computes it, along each direction in each part: float64 ``[DIRECTIONS]``."""
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
    """Directions in a part: its numbers, which are of any size, with random signs."""
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
    """The same by finite differences, in double precision on the CPU, by plain torch."""
    exact = copy.deepcopy(start).cpu().double()
    exact.networks.engine = "loop"
    batch = batch.to(torch.device("cpu"), torch.float64)
    context, weights = batch.context(start.inner_loss), batch.weights()
    rates = exact.rates_for(batch)

    def adapted() -> Iterator[dict[str, Tensor]]:
        return exact.adapt(batch, context, exact.inner_steps, order="none")

    with torch.no_grad():
        # The first-order algorithm takes inner gradients for constants: computed once, and added along the way.
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
        # So small that it hardly ever steps over a kink of a ReLU, where the inner gradient jumps.
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

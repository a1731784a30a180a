"""A self-test of the meta-gradient on a tiny case, before a run begins.

An inner gradient without its graph silently turns second-order MAML into first-order MAML, and so does a compiled inner
objective. Only lower curves would show it. The test therefore compares the gradient that a run is about to use with
finite differences of its objective. A cache records what has passed, so the test runs once for each backbone, engine,
device and version of torch.
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
from partinr.engines.base import cuda_products
from partinr.partition import Partition
from partinr.regimes.meta.learned import INNER, Algorithm, LearnedStart, outer_gradients
from partinr.regimes.meta.tasks import TaskBatch

TOLERANCE = 5e-3
"""Relative tolerance. In fifty tiny cases of each of a dozen kinds, single precision was off by at most 6e-4, and a
gradient of the wrong order by at least 6e-3 (for a ReLU network whose last layer is adapted), mostly by 0.1 or more."""

RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Inner rates of the case, tried in turn until the inner steps are short enough. With the rates of a run, the
second-order term may be as small as a rounding error."""

CHAOS = 0.9
"""Relative limit on the distance of the first-order gradient from the true one. Beyond it, inner steps are too long,
and rounding errors grow along them. Networks with high frequencies reach it early: at a rate of 1e-2, single precision
was off by up to 0.3 with Gaussian, Gabor and variable-periodic activations."""

SEEDS = 8
"""Seeds of the case, tried in turn: all features of a tiny ReLU network may be off at the start."""

MEASURABLE = 1e-7
"""Finite differences resolve a derivative to about 1e-10."""

DIRECTIONS = 4
"""Directions in which gradients are compared. Along a single one, first and second order may agree by chance."""


@door
def check_meta_gradient(
    start: LearnedStart,
    algorithm: Algorithm,
    recompute: bool,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    cache: Path | None = None,
) -> None:
    """Check that a run's meta-gradient, by initialisation and rates, is correct for its algorithm.

    The check adapts the same architecture and kind of rates to two tiny tasks, with the engine and settings of the run
    but without autocast and TF32. This also compiles the kernels before the clock runs.

    Args:
        start: the start of the run; not changed.
        algorithm: the algorithm of the run. Those without a gradient through the inner steps need no check.
        recompute: whether the run recomputes inner steps.
        device: device of the run; None for that of its parameters.
        dtype: type of the parameters in the run; None for the current one.
        cache: folder for records of passed checks; None to keep none.

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
        # In bfloat16 and TF32, rounding errors are as large as the errors to find.
        with torch.autocast(device.type, enabled=False), cuda_products(tf32=False):
            used = _along(tiny.to(device, dtype), batch.to(device, dtype), algorithm, recompute)
    except RuntimeError as error:
        # torch raises this if compiled code or a custom function has no second derivative.
        raise PartinrError(f"{what} cannot be computed: {str(error).splitlines()[0]}; {cure}") from error
    for part, right in true.items():
        off = float((used[part] - right).norm() / right.norm())
        # Written so that NaN counts as wrong.
        if not off <= TOLERANCE:
            by = "" if part == "networks" else ", by its learning rates,"
            raise PartinrError(f"{what}{by} is wrong, by {off:.1%} of what is right; {cure}")
    if passed is not None and not known:
        with suppress(OSError):  # the next run then repeats the check
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
    networks, of_run = start.networks, start.architecture()
    features = {"in_features": networks.in_features, "channels": networks.channels, "engine": networks.engine}
    inner = {name: of_run[name] for name in INNER}
    own = {"inner_steps": min(2, start.inner_steps), "inner_lr": rate, "seed": seed}
    return LearnedStart(networks.backbone, **{**features, **inner, **own})


def _case(start: LearnedStart, batch: TaskBatch, algorithm: Algorithm) -> tuple[LearnedStart, dict[str, Tensor]]:
    """A start whose second-order term can be measured, and its true gradient."""
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
    """The gradient that the run computes, along each direction in each part: float64 ``[DIRECTIONS]``."""
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
    """Directions in a part: its values with random signs, which scales them to the part."""
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
    """The true gradient by finite differences, in double precision with plain torch on the CPU."""
    exact = copy.deepcopy(start).cpu().double()
    exact.networks.engine = "loop"
    batch = batch.to(torch.device("cpu"), torch.float64)
    context, weights = batch.context(start.inner_loss), batch.weights()
    rates = exact.rates_for(batch)

    def adapted() -> Iterator[dict[str, Tensor]]:
        return exact.adapt(batch, context, exact.inner_steps, order="none")

    with torch.no_grad():
        # The first-order algorithm treats inner gradients as constants: they are computed once and then added.
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
        # So small that it rarely crosses a kink of a ReLU, where the inner gradient jumps.
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

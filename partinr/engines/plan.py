"""Assigns each network to the cheapest of several engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.base.environment import door
from partinr.engines.base import AdamRun, Architecture, Engine, Observations, Shape, Stack
from partinr.engines.batched import BATCHED, numbered
from partinr.engines.cache import NETWORK_BYTES, kept
from partinr.engines.chain import chain_network, chain_of, products, widths_of
from partinr.engines.loop import LOOP

PLAIN: tuple[Engine, ...] = (LOOP, BATCHED)
"""The engines that use torch's operations: they support every network, precision, transform and order of derivative."""


@dataclass(frozen=True)
class Part:
    """Networks that one engine evaluates.

    Attributes:
        engine: the engine.
        sizes: samples of each network.
    """

    engine: Engine
    sizes: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Number of samples of all networks."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Plan:
    """The parts of a stack.

    Attributes:
        parts: the parts, in the order of their networks and samples.
        networks: int64 ``[N]``, the networks in that order; None if it is the stack's order.
        samples: int64 ``[M]``, the samples in that order; None likewise.
        inverse: int64 ``[M]``, the permutation back to the stack's order; None likewise.
    """

    parts: tuple[Part, ...]
    networks: Tensor | None = None
    samples: Tensor | None = None
    inverse: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Approximate size in bytes, including the sizes as Python objects."""
        indices = (self.networks, self.samples, self.inverse)
        networks = sum(len(part.sizes) for part in self.parts)
        return sum(each.nbytes for each in indices if each is not None) + NETWORK_BYTES * networks


@kept(lambda plan: plan.nbytes)
@door
def make_plan(engines: tuple[Engine, ...], shape: Shape, sizes: tuple[int, ...], device: torch.device) -> Plan:
    """The plan that assigns each network to the cheapest of some engines; on ties, to the first.

    Args:
        engines: engines that accept the stack.
        shape: cost of a network.
        sizes: samples of each network.
        device: device of the evaluation and of the index tensors.
    """
    counts = np.array(sizes, dtype=np.int64)
    choice = np.stack([engine.cost(shape, counts, device) for engine in engines]).argmin(axis=0)
    order = np.argsort(choice, kind="stable")
    used, begins = np.unique(choice[order], return_index=True)
    pieces = np.split(counts[order], begins[1:])
    parts = tuple(Part(engines[number], tuple(own.tolist())) for number, own in zip(used, pieces, strict=True))
    if np.array_equal(order, np.arange(len(sizes))):
        return Plan(parts)
    networks = torch.from_numpy(order)
    starts, own = torch.from_numpy(np.cumsum(counts) - counts)[networks], torch.from_numpy(counts)[networks]
    samples = torch.repeat_interleave(starts, own) + numbered(own)
    return Plan(parts, networks.to(device), samples.to(device), torch.argsort(samples).to(device))


def plan_of(engines: tuple[Engine, ...], stack: Stack, sizes: tuple[int, ...], device: torch.device) -> Plan:
    """The plan of a stack; see :func:`make_plan`."""
    one = len(engines) == 1
    return Plan((Part(engines[0], sizes),)) if one else make_plan(engines, stack.architecture.shape, sizes, device)


def only_engine(
    engines: tuple[Engine, ...], stack: Stack, sizes: tuple[int, ...], device: torch.device
) -> Engine | None:
    """The engine that evaluates all networks; None if there are several."""
    parts = plan_of(engines, stack, sizes, device).parts
    return parts[0].engine if len(parts) == 1 else None


def values(engines: tuple[Engine, ...], stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Values ``[M, c]`` of N networks, each by the cheapest of some engines that accept the stack."""
    plan = plan_of(engines, stack, sizes, coords.device)
    if len(plan.parts) == 1:
        return plan.parts[0].engine.values(stack, coords, sizes)
    params = stack.params
    if plan.networks is not None and plan.samples is not None:
        params = {name: value.index_select(0, plan.networks) for name, value in params.items()}
        coords = coords.index_select(0, plan.samples)
    counts = [len(part.sizes) for part in plan.parts]
    cut = {name: value.split(counts) for name, value in params.items()}
    found = [
        part.engine.values(Stack(stack.architecture, {name: own[i] for name, own in cut.items()}), x, part.sizes)
        for i, (part, x) in enumerate(zip(plan.parts, coords.split([p.samples for p in plan.parts]), strict=True))
        if len(x) > 0 or len(coords) == 0
    ]
    result = torch.cat(found)
    return result if plan.inverse is None else result.index_select(0, plan.inverse)


def squared_error(engines: tuple[Engine, ...], stack: Stack, observed: Observations) -> Tensor:
    """The squared error of N networks, from the engine if one evaluates them all, else from their values."""
    engine = only_engine(engines, stack, observed.sizes, observed.coords.device)
    if engine is not None:
        return engine.squared_error(stack, observed)
    return observed.error(values(engines, stack, observed.coords, observed.sizes))


class JointRun:
    """The steps of Adam of several stacks, one after the other; see :class:`partinr.engines.base.AdamRun`.

    Args:
        parts: the steps of each stack, or of the stacks of each engine.
    """

    def __init__(self, parts: Sequence[AdamRun]) -> None:
        self._parts = parts

    def take(self, first: int, scale: float, rates: NDArray[np.float32]) -> float:
        """Take the steps of each part."""
        return sum(run.take(first, scale, rates) for run in self._parts)

    def close(self) -> None:
        """Write parameters and moments back."""
        for run in self._parts:
            run.close()


def plain_chain(
    factors: tuple[float, ...], tensors: Sequence[Tensor], coords: Tensor, sizes: tuple[int, ...]
) -> Tensor:
    """Values of a chain by torch's operations, which have derivatives of every order, unlike kernels.

    Args:
        factors: factors of the layers.
        tensors: weight and bias of each layer in turn.
        coords: ``[M, d]``, sorted by network.
        sizes: samples of each network.
    """
    widths = widths_of(chain_of(factors, tensors))
    names = {str(number): tensor for number, tensor in enumerate(tensors)}
    architecture = Architecture("chain", chain_network(factors), lambda params: None, Shape(products(widths)))
    return values(PLAIN, Stack(architecture, names), coords, sizes)

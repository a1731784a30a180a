"""The engines, and which of them evaluates a stack.

``auto`` takes the cheapest engine that does not refuse, network by network. Any other name takes that engine. Where a
named engine refuses the numbers or the transform at hand, torch's own operations evaluate the stack instead: a network
has derivatives of every order and in every precision, whatever its engine. :func:`check` refuses such a combination
before a run begins.
"""

from __future__ import annotations

from functools import cache
from typing import get_args

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.engines import EngineName, plan
from partinr.engines.base import Architecture, Engine, HessianVector, Precision, Stack
from partinr.engines.compiled import Compiled
from partinr.engines.fused import Fused
from partinr.engines.plan import PLAIN
from partinr.engines.tiled import Tiled
from partinr.engines.trial import PROVED, agrees

ENGINES: tuple[Engine, ...] = (Fused(), Tiled(), *PLAIN, Compiled())
"""All engines. Of equally cheap ones ``auto`` takes the first."""


@cache
def engines(name: str) -> tuple[Engine, ...]:
    """The engines behind a name: all for ``auto``, else one.

    Raises:
        PartinrError: there is no such engine.
    """
    if name == "auto":
        return ENGINES
    found = tuple(engine for engine in ENGINES if engine.name == name)
    if not found:
        raise PartinrError(f"engine={name!r} is unknown; choose from {', '.join(get_args(EngineName))}")
    return found


def check(name: str, architecture: Architecture, device: torch.device | None, precision: Precision) -> None:
    """Refuse an engine that cannot evaluate such networks.

    Args:
        name: of the engine.
        architecture: of the networks.
        device: where they will be evaluated; None while that is not known.
        precision: with which numbers.

    Raises:
        PartinrError: the engine refuses, or there is no such engine.
    """
    reasons = [engine.refuses(architecture, device, precision) for engine in engines(name)]
    if None not in reasons:
        raise PartinrError(f"engine={name} {reasons[0]}")


def usable(name: str, stack: Stack, coords: Tensor, sizes: tuple[int, ...], plain: bool = False) -> tuple[Engine, ...]:
    """The engines behind a name that take a stack as it is at hand; those of plain torch if there is none.

    Args:
        name: of the engine.
        stack: the networks.
        coords: their samples.
        sizes: samples of each network.
        plain: by torch's own operations alone.
    """
    chosen = tuple(engine for engine in engines(name) if engine in PLAIN or not plain)
    if all(engine in PLAIN for engine in chosen):
        return chosen or PLAIN
    precision, device = Precision.of(stack, coords), coords.device
    taken = tuple(engine for engine in chosen if engine.refuses(stack.architecture, device, precision) is None)
    return _proved(taken or PLAIN, stack, sizes, device)


def _proved(
    taken: tuple[Engine, ...], stack: Stack, sizes: tuple[int, ...], device: torch.device
) -> tuple[Engine, ...]:
    """Without those that a plan would use, but that fail their trial on the device."""
    if device.type in PROVED:
        return taken
    parts = plan.plan_of(taken, stack, sizes, device).parts
    failed = [part.engine for part in parts if part.engine not in PLAIN and not agrees(part.engine, device)]
    if not failed:
        return taken
    return _proved(tuple(engine for engine in taken if engine not in failed) or PLAIN, stack, sizes, device)


def hessian_vector(name: str, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> HessianVector | None:
    """The kernel for second derivatives of the engine that evaluates all networks; None if it has none."""
    engine = plan.only_engine(usable(name, stack, coords, sizes), stack, sizes, coords.device)
    if engine is None:
        return None
    return engine.hessian_vector(stack.architecture, coords.device, Precision.of(stack, coords))

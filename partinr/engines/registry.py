"""Lists the engines, and chooses those that evaluate a stack.

``auto`` uses the cheapest engine that does not refuse, network by network. Any other name selects that engine. If a
named engine refuses the precision or transform, torch's operations evaluate the stack instead, so that derivatives of
every order and in every precision work with any engine. :func:`check` refuses such a combination before a run begins.
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
from partinr.engines.trial import PROVED, agrees, works

ENGINES: tuple[Engine, ...] = (Fused(), Tiled(), *PLAIN, Compiled())
"""All engines. Among equally cheap ones, ``auto`` uses the first."""


@cache
def engines(name: str) -> tuple[Engine, ...]:
    """The engines for a name: all for ``auto``, else one.

    Raises:
        PartinrError: the engine is unknown.
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
        name: name of the engine.
        architecture: architecture of the networks.
        device: device of the evaluation; None if not known yet.
        precision: precision of the evaluation.

    Raises:
        PartinrError: the engine refuses, or is unknown.
    """
    reasons = [
        engine.refuses(architecture, device, precision) or (engine.fault(device) if device is not None else None)
        for engine in engines(name)
    ]
    if None not in reasons:
        raise PartinrError(f"engine={name} {reasons[0]}")


def usable(name: str, stack: Stack, coords: Tensor, sizes: tuple[int, ...], plain: bool = False) -> tuple[Engine, ...]:
    """The engines for a name that accept a stack in its current state; those of plain torch if none does.

    Args:
        name: name of the engine.
        stack: the networks.
        coords: their samples.
        sizes: samples of each network.
        plain: use torch's operations only.
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
    """Without those that have a fault, and those that a plan would use, but that fail their trial on the device."""
    taken = tuple(engine for engine in taken if works(engine, device)) or PLAIN
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

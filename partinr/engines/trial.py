"""Compares an engine with plain torch on a device on which no test has run."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.notes import print_note
from partinr.engines.base import Architecture, Engine, Observations, Shape, Stack, cuda_products
from partinr.engines.chain import chain_network, chain_of, products
from partinr.engines.loop import LOOP

PROVED = ("cpu",)
"""Devices that the tests run on."""

# Triton fills features up to 16 or 32, and compiles a product for each pair of these.
WIDTHS, FACTORS, SIZES = (2, 16, 30, 30, 3), (3.0, 2.0, 2.0, 1.0), (5, 0, 70)

TOLERANCE = 1e-3
"""Relative tolerance of values and gradients: rounding is a thousandth of it, and a wrong index is far above."""


@cache
def works(engine: Engine, device: torch.device) -> bool:
    """Whether an engine works in this process; where it does not, one line says why, once for all of them."""
    reason = engine.fault(device)
    if reason is not None:
        _note(f"an engine {reason}; plain torch takes its place")
    return reason is None


@cache
def _note(line: str) -> None:
    print_note(line)


@cache
def agrees(engine: Engine, device: torch.device) -> bool:
    """Whether an engine gives the values and gradients of plain torch on a device.

    This runs once per device before the first use. If they differ, one line says that the engine is not used.
    """
    reason = differs(engine, device)
    if reason is not None:
        print_note(f"engine={engine.name} is left alone on {device}, since {reason}; plain torch takes its place")
    return reason is None


def differs(engine: Engine, device: torch.device) -> str | None:
    """How an engine differs from plain torch on a tiny case; None if it does not."""
    try:
        found, right = _outcome(engine, device), _outcome(LOOP, device)
    except Exception as error:  # from a compiler, a driver or torch
        return f"its trial fails there ({' '.join(str(error).split())[:200]})"
    # Torch's maximum, since Python's leaves out NaN; and compared so that NaN counts as different.
    off = float(
        torch.stack([(own - other).norm() / other.norm() for own, other in zip(found, right, strict=True)]).max()
    )
    return None if off <= TOLERANCE else f"it is off by {off:.1%} there"


@door
def _outcome(engine: Engine, device: torch.device) -> list[Tensor]:
    """Values, squared error, and the gradients of both by every parameter."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return (2 * torch.rand(*shape, generator=generator) - 1).to(device)

    tensors = [
        each for n_in, n_out in pairwise(WIDTHS) for each in (drawn(len(SIZES), n_out, n_in), drawn(len(SIZES), n_out))
    ]
    params = {str(number): tensor.requires_grad_() for number, tensor in enumerate(tensors)}
    architecture = Architecture(
        "trial",
        chain_network(FACTORS),
        lambda params: chain_of(FACTORS, list(params.values())),
        Shape(products(WIDTHS), WIDTHS),
    )
    stack, coords, targets = Stack(architecture, params), drawn(sum(SIZES), 2), drawn(sum(SIZES), 3)
    with torch.enable_grad(), torch.autocast(device.type, enabled=False), cuda_products(tf32=False):
        values = engine.values(stack, coords, SIZES)
        by_values = torch.autograd.grad(values.square().sum(), tensors)
        error = engine.squared_error(stack, Observations(coords, targets, SIZES))
        return [values.detach(), error.detach(), *by_values, *torch.autograd.grad(error, tensors)]

"""The gradient and the Laplacian of a fitted function, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from partinr.model.stack import NetworkStack, pieces

Field = Literal["value", "gradient", "laplacian"]

CHUNK = 2**15
"""Samples that are differentiated at once. Differentiation keeps several copies of every layer's activations."""


def derivatives(
    networks: NetworkStack, coords: Tensor, sizes: Sequence[int], steps: Tensor, field: Field, chunk: int = CHUNK
) -> Tensor:
    """Gradient or Laplacian of each network's function at its own samples.

    Args:
        networks: the stack.
        coords: ``[M, d]``, sorted by network.
        sizes: samples of each network.
        steps: ``[M, d]``, the length of a sample of the signal, the unit of the result, in these coordinates.
        field: ``gradient`` or ``laplacian``.
        chunk: number of samples at once.

    Returns:
        ``[M, C, d]``, or ``[M, C]`` for the Laplacian; not differentiable.
    """
    # Detached: derivatives by the parameters are not needed.
    params = {name: value.detach() for name, value in networks.stack.items()}
    found = []
    for piece, own in pieces(sizes, chunk):
        place, step = coords[piece].detach().requires_grad_(), steps[piece].to(coords)
        with torch.enable_grad():
            values = networks(place, own, params, plain=True)
            first = [_by_coords(values[:, channel], place, field == "laplacian") for channel in range(values.shape[1])]
            if field == "gradient":
                found.append((torch.stack(first, dim=1) * step[:, None]).detach())
            else:
                second = [_trace(each, place, step.square()) for each in first]
                found.append(torch.stack(second, dim=1).detach())
    return torch.cat(found)


def _by_coords(values: Tensor, coords: Tensor, again: bool = False) -> Tensor:
    """Gradients ``[M, d]`` of values ``[M]`` by their own coordinates; ``again`` makes them differentiable."""
    if not values.requires_grad:  # the gradient of a piecewise linear function
        return torch.zeros_like(coords)
    (gradient,) = torch.autograd.grad(
        values.sum(), coords, create_graph=again, retain_graph=True, materialize_grads=True
    )
    return gradient


def _trace(gradient: Tensor, coords: Tensor, weights: Tensor) -> Tensor:
    """Second derivatives along each axis, weighted ``[M, d]`` and summed: ``[M]``."""
    along = [_by_coords(gradient[:, axis], coords)[:, axis] for axis in range(coords.shape[1])]
    return (torch.stack(along, dim=1) * weights).sum(dim=1)

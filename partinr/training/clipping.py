"""Limits the norm of gradients, for each network of a stack by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from partinr.model.stack import NetworkStack

_TINY = 1e-6
"""Added to a norm before dividing by it, as in :func:`torch.nn.utils.clip_grad_norm_`."""


def clip_networks(optimizer: torch.optim.Optimizer, model: NetworkStack, most: float) -> None:
    """Let an optimiser scale down gradients before each of its steps, whoever asks for the step.

    Args:
        optimizer: its parameters are those of networks of the stack, in the stack's order, each with a leading axis of
            networks.
        model: the stack.
        most: limit of the norm of each network's gradient, over all of its parameters. What the networks of a signal
            share counts as one more network.
    """
    # By position, since the parameters are replaced when regions freeze.
    order = {name: number for number, name in enumerate(model.stack)}
    parts = [[order[f"{group.prefix}{name}"] for name in part] for group in model.groups for part in group.parts]

    @torch.no_grad()
    def clip(stepping: Any, *_: Any) -> None:
        # With 16-mixed, fused optimisers divide the gradients by this themselves.
        scale = getattr(stepping, "grad_scale", None)
        params = stepping.param_groups[0]["params"]
        for part in parts:
            own = [params[number].grad for number in part if params[number].grad is not None]
            if own:
                _clip(own, most if scale is None else most * scale)

    optimizer.register_step_pre_hook(clip)


def _clip(gradients: list[Tensor], most: float | Tensor) -> None:
    """Scale the gradients ``[N, *shape]`` of each of N networks to a norm of at most ``most``."""
    norms = [torch.linalg.vector_norm(each.reshape(len(each), each[:1].numel()), dim=1) for each in gradients]
    factor = (most / (torch.linalg.vector_norm(torch.stack(norms), dim=0) + _TINY)).clamp(max=1)
    for each in gradients:
        each.mul_(factor.view(-1, *[1] * (each.ndim - 1)))

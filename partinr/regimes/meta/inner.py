"""The inner loop of learning to learn: a few steps of gradient descent, as a differentiable function.

Finn et al., "Model-Agnostic Meta-Learning" (2017), equation 1: from parameters ``p`` a step goes to

    p' = p - r ⊙ g(p),    g = the gradient of the inner objective,

and the meta-gradient passes back through all steps by the chain rule ``by_p = by_p' - H (r ⊙ by_p')`` with the Hessian
H of the inner objective: second order. Without the term with H it is the first-order meta-gradient. Nothing here knows
of tasks, regions or networks: the parameters may be those of a stack of independent networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from partinr.base.environment import door

Params = Mapping[str, Tensor]
Objective = Callable[[Params, bool], Tensor]
"""``objective(params, twice)``: a scalar; ``twice`` says that its gradient will be differentiated again."""

Curvature = Callable[[Params, Params], dict[str, Tensor]]
"""``curvature(params, along)``: the Hessian of an objective times a direction, for all parameters."""

Rates = Callable[[int], Mapping[str, Tensor | float]]
"""``rates(step)``: the learning rate of each adapted parameter, broadcastable to it. Other parameters stay."""

Order = Literal["second", "first", "none"]


@door
def adapt(
    objective: Objective,
    params: Params,
    rates: Rates,
    steps: int,
    *,
    order: Order = "second",
    recompute: bool = False,
    curvature: Curvature | None = None,
) -> Iterator[dict[str, Tensor]]:
    """The parameters after each of some steps of gradient descent.

    Args:
        objective: the scalar to minimise.
        params: the initial parameters.
        rates: learning rates by step, counted from 0.
        steps: number of steps.
        order: order of the result's derivatives by ``params`` and the rates. ``second``: the exact derivatives;
            ``first``: inner gradients are treated as constants; ``none``: no derivatives; the memory of a step is freed
            after it.
        recompute: with ``second``, keep only the start of each step and recompute the step in the backward pass. This
            needs the memory of one step instead of all, and the time of one more gradient per step.
        curvature: a faster way to compute the Hessian of the objective than differentiating its gradient. ``second``
            uses it whatever ``recompute`` says, since it needs no more memory.

    Yields:
        all parameters after each step, whether adapted or not.
    """
    fast = {name: each.detach() for name, each in params.items()} if order == "none" else dict(params)
    for step in range(steps):
        rate = rates(step)
        names = tuple(rate)
        if order == "second" and (recompute or curvature is not None):
            fast = {**fast, **_recomputed(objective, curvature, fast, names, rate)}
        else:
            gradient = _gradient(objective, fast, names, twice=order == "second")
            moved = {name: fast[name] - rate[name] * gradient[name] for name in names}
            # Rates have gradients, too.
            fast = {**fast, **(moved if order != "none" else {name: each.detach() for name, each in moved.items()})}
        yield dict(fast)


def _gradient(objective: Objective, params: Params, names: tuple[str, ...], twice: bool) -> dict[str, Tensor]:
    """The gradient by some of the parameters; with ``twice``, differentiable by all of them."""
    with torch.enable_grad():
        if twice:
            # Leaves must require a gradient here, or the gradient's graph would have no leaf.
            given = {
                name: each if each.requires_grad else each.detach().requires_grad_() for name, each in params.items()
            }
        else:
            given = {name: each.detach().requires_grad_(name in names) for name, each in params.items()}
        value = objective(given, twice)
        # Without create_graph the meta-gradient would be the first-order one, without any error (see selftest.py).
        found = torch.autograd.grad(value, [given[name] for name in names], create_graph=twice)
    return dict(zip(names, found, strict=True))


def _recomputed(
    objective: Objective,
    curvature: Curvature | None,
    params: Params,
    names: tuple[str, ...],
    rate: Mapping[str, Tensor | float],
) -> dict[str, Tensor]:
    every = tuple(params)
    like = next(iter(params.values()))
    rates = [rate[name] for name in names]
    as_tensors = [each if isinstance(each, Tensor) else like.new_tensor(each) for each in rates]
    moved = _Step.apply(objective, curvature, every, names, *(params[name] for name in every), *as_tensors)
    return dict(zip(names, moved, strict=True))


class _Step(torch.autograd.Function):
    """One step that keeps only its start and its end."""

    @staticmethod
    def forward(
        ctx: Any,
        objective: Objective,
        curvature: Curvature | None,
        every: tuple[str, ...],
        names: tuple[str, ...],
        *tensors: Tensor,
    ) -> Any:
        params, rates = dict(zip(every, tensors, strict=False)), tensors[len(every) :]
        gradient = _gradient(objective, params, names, twice=False)
        ctx.save_for_backward(*tensors, *gradient.values())
        ctx.objective, ctx.curvature, ctx.every, ctx.names = objective, curvature, every, names
        return tuple(params[name] - rate * gradient[name] for name, rate in zip(names, rates, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_moved: Tensor) -> tuple[Tensor | None, ...]:
        every, names, saved = ctx.every, ctx.names, ctx.saved_tensors
        params = dict(zip(every, saved, strict=False))
        rates, gradients = saved[len(every) : -len(names)], saved[-len(names) :]
        by = dict(zip(names, by_moved, strict=True))
        # The direction is r ⊙ by_p'; it is 0 for parameters that are not adapted.
        along = {name: torch.zeros_like(value) for name, value in params.items() if name not in names}
        along.update({name: (rate * by[name]).detach() for name, rate in zip(names, rates, strict=True)})
        if ctx.curvature is None:
            curved = _differentiated(ctx.objective, params, along)
        else:
            curved = ctx.curvature(params, along)
        by_params = [by[name] - curved[name] if name in by else -curved[name] for name in every]
        by_rates = [
            -(by[name] * gradient).sum_to_size(rate.shape)
            for name, rate, gradient in zip(names, rates, gradients, strict=True)
        ]
        return None, None, None, None, *by_params, *by_rates


def _differentiated(objective: Objective, params: Params, along: Params) -> dict[str, Tensor]:
    """The Hessian times a direction, as the gradient of the gradient's product with it."""
    with torch.enable_grad():
        given = {name: each.detach().requires_grad_() for name, each in params.items()}
        gradient = _gradient(objective, given, tuple(given), twice=True)
        product = sum((each * along[name]).sum() for name, each in gradient.items())
        assert isinstance(product, Tensor)
        return dict(zip(given, torch.autograd.grad(product, list(given.values())), strict=True))

"""The inner loop of learning to learn: some steps of gradient descent, as a function that can be differentiated.

Finn et al., "Model-Agnostic Meta-Learning" (2017), equation 1: from parameters ``p`` a step goes to

    p' = p - r ⊙ g(p),    g = the gradient of the inner objective,

and the meta-gradient goes back through all of them, by the chain rule ``by_p = by_p' - H (r ⊙ by_p')`` with the Hessian
H of the inner objective: second order. Without the term with H it is the first-order one. Nothing here knows of tasks,
regions or networks: the parameters may be those of a stack, whose networks have no part in each other's objective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Params = Mapping[str, Tensor]
Objective = Callable[[Params, bool], Tensor]
"""``objective(params, twice)``: a scalar; ``twice`` says that its gradient will be differentiated in its turn."""

Rates = Callable[[int], Mapping[str, Tensor | float]]
"""``rates(step)``: the learning rate of each parameter that is adapted, what broadcasts with it. The others stay."""

Order = Literal["second", "first", "none"]


def adapt(
    objective: Objective,
    params: Params,
    rates: Rates,
    steps: int,
    *,
    order: Order = "second",
    recompute: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """Take some steps of gradient descent.

    Args:
        objective: what is made smaller.
        params: where to begin.
        rates: of each step, counted from 0.
        steps: how many.
        order: of the derivatives that the result has by ``params`` and by the rates: ``second`` for the true ones;
            ``first`` takes each inner gradient for a constant; with ``none`` the result has none, and the memory of a
            step is free after it.
        recompute: with ``second``: keep nothing of a step but where it began, and compute it again on the way back.
            The memory of one step in place of that of all, for the time of one more gradient a step.

    Yields:
        the parameters after each step, those that are not adapted among them.
    """
    fast = {name: each.detach() for name, each in params.items()} if order == "none" else dict(params)
    for step in range(steps):
        rate = rates(step)
        names = tuple(rate)
        if order == "second" and recompute:
            fast = {**fast, **_recomputed(objective, fast, names, rate)}
        else:
            gradient = _gradient(objective, fast, names, twice=order == "second")
            moved = {name: fast[name] - rate[name] * gradient[name] for name in names}
            # Rates have a history too.
            fast = {**fast, **(moved if order != "none" else {name: each.detach() for name, each in moved.items()})}
        yield dict(fast)


def _gradient(objective: Objective, params: Params, names: tuple[str, ...], twice: bool) -> dict[str, Tensor]:
    """The gradient by some of the parameters; itself differentiable, by all of them, where that is asked for."""
    with torch.enable_grad():
        if twice:
            # What has no history yet begins one here: the gradient's graph has to end somewhere.
            given = {
                name: each if each.requires_grad else each.detach().requires_grad_() for name, each in params.items()
            }
        else:
            given = {name: each.detach().requires_grad_(name in names) for name, each in params.items()}
        value = objective(given, twice)
        # Forgotten, create_graph would give the first-order meta-gradient without a word (see selftest.py).
        found = torch.autograd.grad(value, [given[name] for name in names], create_graph=twice)
    return dict(zip(names, found, strict=True))


def _recomputed(
    objective: Objective, params: Params, names: tuple[str, ...], rate: Mapping[str, Tensor | float]
) -> dict[str, Tensor]:
    every = tuple(params)
    like = next(iter(params.values()))
    rates = [rate[name] for name in names]
    as_tensors = [each if isinstance(each, Tensor) else like.new_tensor(each) for each in rates]
    moved = _Step.apply(objective, every, names, *(params[name] for name in every), *as_tensors)
    return dict(zip(names, moved, strict=True))


class _Step(torch.autograd.Function):
    """One step that remembers nothing but where it began."""

    @staticmethod
    def forward(
        ctx: Any, objective: Objective, every: tuple[str, ...], names: tuple[str, ...], *tensors: Tensor
    ) -> Any:
        params, rates = dict(zip(every, tensors, strict=False)), tensors[len(every) :]
        ctx.save_for_backward(*tensors)
        ctx.objective, ctx.every, ctx.names = objective, every, names
        gradient = _gradient(objective, params, names, twice=False)
        return tuple(params[name] - rate * gradient[name] for name, rate in zip(names, rates, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_moved: Tensor) -> tuple[Tensor | None, ...]:
        every, names = ctx.every, ctx.names
        saved = ctx.saved_tensors
        params, rates = dict(zip(every, saved, strict=False)), saved[len(every) :]
        with torch.enable_grad():
            given = {name: each.detach().requires_grad_() for name, each in params.items()}
            gradient = _gradient(ctx.objective, given, names, twice=True)
            # The Hessian times r ⊙ by_p', as the gradient of its product with the gradient.
            along = [
                (rate * by).detach().expand_as(gradient[name])
                for name, rate, by in zip(names, rates, by_moved, strict=True)
            ]
            product = sum((gradient[name] * each).sum() for name, each in zip(names, along, strict=True))
            assert isinstance(product, Tensor)
            curved = dict(
                zip(every, torch.autograd.grad(product, list(given.values()), allow_unused=True), strict=True)
            )
        by_params = []
        for name in every:
            by = by_moved[names.index(name)] if name in names else torch.zeros_like(params[name])
            curve = curved[name]
            by_params.append(by if curve is None else by - curve)
        by_rates = [
            -(by * gradient[name].detach()).sum_to_size(rate.shape)
            for name, rate, by in zip(names, rates, by_moved, strict=True)
        ]
        return None, None, None, *by_params, *by_rates

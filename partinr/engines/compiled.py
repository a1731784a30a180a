"""The compiled engine: a backbone's function through ``torch.compile``, network by network or in a batched product.

The networks are divided between these two like in ``auto``. The pure function of each part is compiled for any number
of samples, once with gradients and once without. Compiling takes seconds to a minute, at the first evaluation and again
at the first step, where the training clock counts it. ``auto`` therefore never chooses this engine. On a CPU the gain
is small (three stacks on one thread: 1, 1 and 1.2 times as fast as ``auto``). Use it for long runs of a stack with a
measured gain.

Compiled code has first derivatives only. Plain operations compute higher derivatives, and evaluate under transforms of
``torch.func``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.engines import plan
from partinr.engines.base import Architecture, Engine, Linear, Network, Precision, Stack

_numbers = itertools.count()


class Compiled(Engine):
    """See the module."""

    name = "compiled"

    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """TF32, since the compiler reads torch's older switch for it, which fails once the newer one is set."""
        return "and trainer.tf32=true do not go together; choose engine=auto" if precision.tf32 else None

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """See :meth:`Engine.values`."""
        own = replace(stack.architecture, network=compile_network(stack.architecture.network))
        return plan.values(plan.PLAIN, Stack(own, stack.params), coords, sizes)


def compile_network(network: Network) -> Network:
    """A backbone's function, compiled when it is first called; differentiable any number of times.

    Args:
        network: see :mod:`partinr.engines.base`.

    Returns:
        a function with the same arguments and values. It raises a PartinrError if ``torch.compile`` fails.
    """

    def run(params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        # The compiler specialises lengths 0 and 1, which are little work anyway.
        if x.shape[-2] < 2 or torch._C._are_functorch_transforms_active():
            return network(params, x, linear)
        tensors = (x, *params.values())
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            values: Tensor = _Compiled.apply(network, linear, tuple(params), *tensors)
            return values
        with torch.no_grad():
            return _call(network, linear, tuple(params), [tensor.detach() for tensor in tensors])

    return run


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, network: Network, linear: Linear, names: tuple[str, ...], *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.network, ctx.linear, ctx.names = network, linear, names
        kind = tensors[0].device.type
        ctx.autocast = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        wanted = ctx.needs_input_grad[3:]
        leaves = [tensor.detach().requires_grad_(want) for tensor, want in zip(tensors, wanted, strict=True)]
        with torch.enable_grad():
            values = _call(network, linear, names, leaves)
        ctx.inner = values, leaves
        return values.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        # As everywhere in torch, the first use frees what compiled code keeps for its gradient. A graph that is kept
        # for a second use falls back to plain operations.
        inner, ctx.inner = ctx.inner, None
        if inner is None or torch.is_grad_enabled():
            kind, dtype, enabled = ctx.autocast
            with torch.enable_grad(), torch.autocast(kind, dtype, enabled):
                values = ctx.network(dict(zip(ctx.names, tensors[1:], strict=True)), tensors[0], ctx.linear)
        else:
            values, tensors = inner
        needed = [tensor for tensor, want in zip(tensors, wanted, strict=True) if want]
        create_graph = torch.is_grad_enabled()
        found = iter(torch.autograd.grad(values, needed, gradients[0], create_graph=create_graph, allow_unused=True))
        return None, None, None, *[next(found) if want else None for want in wanted]


def _call(network: Network, linear: Linear, names: tuple[str, ...], tensors: Sequence[Tensor]) -> Tensor:
    """Call the compiled function; sizes that change from call to call (chunks, drawn batches) are marked dynamic.

    The marks are attributes of the tensors, so the tensors must not be shared.
    """
    x, *params = tensors
    torch._dynamo.maybe_mark_dynamic(x, x.dim() - 2)
    for tensor in (x, *params) if x.dim() > 2 else ():
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    try:
        return _compile(network, linear)(dict(zip(names, params, strict=True)), x)
    except torch._dynamo.exc.TorchDynamoException as error:
        # The first paragraph is followed by advice for torch's developers.
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise PartinrError(
            f"engine=compiled: torch.compile fails ({reason}); choose engine=auto, or give it what it needs: a C++ "
            "compiler on a CPU, Triton on CUDA"
        ) from error


@lru_cache(maxsize=64)
def _compile(network: Network, linear: Linear) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
    def run(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return network(params, x, linear)

    # torch gives up on a code object after some recompilations, and all backbones of a sweep would share it.
    code = run.__code__.replace(co_name=f"network_{next(_numbers)}")
    function: Callable[[Mapping[str, Tensor], Tensor], Tensor] = torch.compile(
        FunctionType(code, run.__globals__, closure=run.__closure__)
    )
    return function

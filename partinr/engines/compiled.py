"""The compiled engine: a backbone's function through ``torch.compile``, block by block.

The blocks are those of the automatic choice; what is compiled is the pure function of a block, once with gradients and
once without, for any number of samples. Compiling takes seconds to a minute, at the first evaluation and again at the
first step, where the clock of the training counts it; so nothing chooses it by itself. On a CPU it gains little (three
stacks on one thread: as fast as ``auto``, twice, and 1.2 times as fast); on a GPU it has not been measured. It is for
long runs of a stack that was seen to gain.

Compiled code has first derivatives only. Where somebody wants derivatives of derivatives, or a transform of
``torch.func``, plain operations take over.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.engines.plan import Linear, Network

_numbers = itertools.count()


def compile_network(network: Network) -> Network:
    """A backbone's function, compiled when it is first called; differentiable any number of times.

    Args:
        network: for :func:`partinr.engines.run_stack`.

    Returns:
        a function of the same arguments and values. It raises a PartinrError where ``torch.compile`` fails.
    """

    def run(params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        # Lengths 0 and 1 are shapes of their own to the compiler, and no work.
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
        # What the compiled code keeps for its gradient goes with the first use, as it does everywhere; a graph that is
        # kept for a second one has only the plain way.
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
    """The compiled function, told which sizes are others next time: a chunk's, a drawn batch's.

    The tensors are nobody else's: the marks are attributes of theirs.
    """
    x, *params = tensors
    torch._dynamo.maybe_mark_dynamic(x, x.dim() - 2)
    for tensor in (x, *params) if x.dim() > 2 else ():
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    try:
        return _compile(network, linear)(dict(zip(names, params, strict=True)), x)
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = " ".join(str(error).split("\n\n")[0].split())  # behind the first paragraph there is advice for others
        raise PartinrError(
            f"engine=compiled: torch.compile fails ({reason}); choose engine=auto, or give it what it needs: a C++ "
            "compiler on a CPU, Triton on CUDA"
        ) from error


@lru_cache(maxsize=64)
def _compile(network: Network, linear: Linear) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
    def run(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return network(params, x, linear)

    # torch gives up on a code object after some recompilations, and the backbones of a sweep would share one.
    code = run.__code__.replace(co_name=f"network_{next(_numbers)}")
    function: Callable[[Mapping[str, Tensor], Tensor], Tensor] = torch.compile(
        FunctionType(code, run.__globals__, closure=run.__closure__)
    )
    return function

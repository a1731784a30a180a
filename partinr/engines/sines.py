"""The common part of engines for chains of sines: connects kernels with first derivatives to autograd."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from partinr.engines import numba_start
from partinr.engines.base import Architecture, Engine, Observations, Precision, Stack, gradients_again
from partinr.engines.chain import Chain, factors_of, tensors_of
from partinr.engines.plan import plain_chain

NO_DOUBLE = "has no double precision; choose engine=auto, or trainer.precision=32-true"


class Passes(Protocol):
    """The parameters of N networks, prepared for an engine's kernels. All results are detached."""

    def values(self, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Values ``[M, c]`` at coordinates ``[M, d]``; network n has ``sizes[n]`` samples."""

    def gradients(
        self, coords: Tensor, sizes: tuple[int, ...], by_values: Tensor, by_coords: bool
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of a scalar; recomputes activations.

        Args:
            coords: ``[M, d]``.
            sizes: samples of each network.
            by_values: ``[M, c]``, the gradient by the values.
            by_coords: whether to compute the gradient by the coordinates.

        Returns:
            the gradient by the coordinates ``[M, d]`` or None, and the gradients by weight and bias of each layer in
            turn.
        """

    def error(self, observed: Observations) -> tuple[Tensor, list[Tensor]]:
        """The squared error, and its gradients by weight and bias of each layer in turn, in one pass; on the CPU."""


class SineEngine(Engine):
    """An engine with kernels for chains of sines in single precision."""

    @abstractmethod
    def passes(self, factors: Sequence[float], tensors: Sequence[Tensor]) -> Passes:
        """The kernels' view of networks.

        Args:
            factors: factors of the layers.
            tensors: weight ``[N, out, in]`` and bias ``[N, out]`` of each layer in turn.
        """

    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """Other networks than chains of sines, double precision, and transforms."""
        if not architecture.shape.widths:
            kind = architecture.title
            return f"is for chains of sines, such as a plain backbone=siren, not for {kind}; choose engine=auto"
        if precision.dtype != torch.float32:
            return NO_DOUBLE
        return "has no transforms of torch.func; choose engine=auto" if precision.transformed else None

    def fault(self, device: torch.device) -> str | None:
        """That of numba, on the CPU."""
        return numba_start.fault() if device.type == "cpu" else None

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """See :meth:`run`."""
        return self.run(stack.chain, coords, sizes)

    def squared_error(self, stack: Stack, observed: Observations) -> Tensor:
        """See :meth:`error`."""
        return self.error(stack.chain, observed)

    def run(self, chain: Chain, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Evaluate N networks, each on its own samples; differentiable any number of times.

        Args:
            chain: the networks.
            coords: float32 ``[M, d]``, sorted by network.
            sizes: samples of each network.

        Returns:
            float32 ``[M, c]``, in the order of ``coords``; also under autocast.
        """
        return cast(Tensor, _Values.apply(self, coords, sizes, factors_of(chain), *tensors_of(chain)))

    def error(self, chain: Chain, observed: Observations) -> Tensor:
        """The squared error of N networks, summed over samples and channels.

        On the CPU, the same pass computes the gradient by the parameters, unless coordinates require one too.

        Args:
            chain: the networks.
            observed: the samples, in float32.
        """
        tensors, coords = tensors_of(chain), observed.coords
        by_parameters = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if coords.device.type == "cpu" and by_parameters and not coords.requires_grad:
            return cast(Tensor, _Error.apply(self, observed, factors_of(chain), *tensors))
        return observed.error(self.run(chain, coords, observed.sizes))


class _Values(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        engine: SineEngine,
        coords: Tensor,
        sizes: tuple[int, ...],
        factors: tuple[float, ...],
        *tensors: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(coords, *tensors)
        ctx.sizes, ctx.factors, ctx.passes = sizes, factors, engine.passes(factors, tensors)
        values: Tensor = ctx.passes.values(coords.detach(), sizes)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Second derivatives are requested, which the kernels lack; torch's operations have them.
            values = plain_chain(ctx.factors, tensors, coords, ctx.sizes)
            by_coords, *by_each = gradients_again(values, gradients[0], [coords, *tensors])
        else:
            by_coords, by_each = ctx.passes.gradients(coords.detach(), ctx.sizes, gradients[0], ctx.needs_input_grad[1])
        return None, by_coords, None, None, *by_each


class _Error(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, engine: SineEngine, observed: Observations, factors: tuple[float, ...], *tensors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(observed.coords, observed.targets, observed.weights, *tensors)
        ctx.sizes, ctx.factors = observed.sizes, factors
        error, ctx.gradients = engine.passes(factors, tensors).error(observed)
        return error

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, targets, weights, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            # As above.
            values = plain_chain(ctx.factors, tensors, coords, ctx.sizes)
            error = Observations(coords, targets, ctx.sizes, weights).error(values)
            by_each = gradients_again(error, gradients[0], tensors)
        else:
            by_each = [gradients[0] * each for each in ctx.gradients]
        return None, None, None, *by_each

"""The fused engine: thin networks of sines, in one pass over each tile of samples.

The product of a thin network is so little work that a stack of them waits for memory: every layer of every sample is
written and read again for the product, the sine, its derivative. Here a tile of a few hundred samples goes through all
layers of its network while it lies in the cache (on CUDA: in registers), forwards and, computed anew, backwards. Tiles
belong to one network each, so the cost follows the samples, even or ragged.

There are two back ends: numba's kernels for the CPU (:mod:`partinr.engines._numba`) and Triton's for CUDA
(:mod:`partinr.engines._triton`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.engines.plan import Engine, Linear, make_plan, run_stack

TILE = 512
"""Samples that go through a network at once on the CPU, at most: 12 features in 3 layers take 0.2 MB of cache."""

FUSED_UP_TO = {"cpu": 44, "cuda": 32}
"""``auto`` takes this engine for networks up to this wide: wider ones want a matrix product of their own.

The CPU's figure is measured (experiments/benchmarks/engines.py); that of CUDA is a guess until it is measured there.
"""

RUNS = 1024
"""A stack's tiles are cut into about so many runs, and at least one a network. Each has a sum of gradients of its own,
so this bounds the memory that they take. Like the tiles runs do not follow the number of threads: results do not."""

CUDA_UP_TO = 64
"""The widest network that the kernels for CUDA take: a tile of a wider one has no room in registers."""


class Link(NamedTuple):
    """One layer of a chain: ``factor (W x + b)``, and the sine of it, but for the last layer.

    Attributes:
        weight: ``[N, out, in]``.
        bias: ``[N, out]``.
        factor: of the affine map.
    """

    weight: Tensor
    bias: Tensor
    factor: float


Chain = tuple[Link, ...]


def fuses(engine: Engine, chain: Chain, coords: Tensor) -> bool:
    """Whether an engine evaluates a chain by these kernels.

    They compute in single precision on the CPU, and on CUDA with Triton, outside the transforms of ``torch.func``. So
    they do under autocast: a thin network has no products that would be faster with fewer digits. ``fused`` evaluates
    what they take, ``auto`` those networks of it that are thin.

    Raises:
        PartinrError: the engine is ``fused``, and there are no kernels for such a chain on this device.
    """
    if engine not in ("auto", "fused"):
        return False
    tensors = (coords, *(tensor for link in chain for tensor in (link.weight, link.bias)))
    if (
        any(tensor.device != coords.device or tensor.dtype != torch.float32 for tensor in tensors)
        # torch.func and forward-mode derivatives see tensors without memory of their own.
        or torch._C._are_functorch_transforms_active()
    ):
        return False
    if engine == "fused":
        check_fused(chain, coords.device)
        return True
    return _widest(chain) <= FUSED_UP_TO.get(coords.device.type, 0) and _refusal(chain, coords.device) is None


def check_fused(chain: Chain, device: torch.device) -> None:
    """Refuse a chain that there are no kernels for on a device.

    Raises:
        PartinrError: the device is neither the CPU nor CUDA, Triton is missing, or the networks are too wide for it.
    """
    refusal = _refusal(chain, device)
    if refusal is not None:
        raise PartinrError(f"engine=fused {refusal}")


def _refusal(chain: Chain, device: torch.device) -> str | None:
    """Why there are no kernels, and what to do about it."""
    if device.type == "cpu":
        return None
    if device.type != "cuda":
        return f"has no kernels for {device.type}; choose engine=auto, or trainer.accelerator=cpu"
    if not _has_triton():
        return "needs Triton on CUDA; pip install triton (Linux), or choose engine=auto"
    if not _runs_triton(device):
        return "needs a GPU of compute capability 8.0 or above; choose engine=auto"
    if _widest(chain) > CUDA_UP_TO:
        return f"takes networks up to {CUDA_UP_TO} wide on CUDA, not {_widest(chain)}; choose engine=auto"
    return None


def _widest(chain: Chain) -> int:
    return max(max(link.weight.shape[1:]) for link in chain)


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _runs_triton(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def run_fused(chain: Chain, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Evaluate N networks, each on its own samples; differentiable any number of times.

    Args:
        chain: the networks; :func:`fuses` says so.
        coords: float32 ``[M, d]``, sorted by network.
        sizes: samples of each network.

    Returns:
        float32 ``[M, c]``, in the order of ``coords``.
    """
    tensors = [tensor for link in chain for tensor in (link.weight, link.bias)]
    values: Tensor = _Fused.apply(coords, sizes, tuple(link.factor for link in chain), *tensors)
    return values


def fused_error(
    chain: Chain, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
) -> Tensor:
    """The squared error of N networks, summed over samples and channels.

    On the CPU its gradient comes in the same pass. Differentiable by the parameters only.

    Args:
        chain: the networks; :func:`fuses` says so.
        coords: float32 ``[M, d]``, sorted by network.
        targets: float32 ``[M, c]``, likewise.
        weights: float32 ``[M, 1]``, of each sample; None where all are 1.
        sizes: samples of each network.
    """
    tensors = [tensor for link in chain for tensor in (link.weight, link.bias)]
    if coords.device.type == "cpu" and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        factors = tuple(link.factor for link in chain)
        return cast(Tensor, _FusedError.apply(coords, targets, weights, sizes, factors, *tensors))
    return weighted_error(run_fused(chain, coords, sizes), targets, weights)


def fused_curvature(
    chain: Chain, along: Chain, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
) -> list[Tensor]:
    """The Hessian of :func:`fused_error` times a direction in the parameters, on the CPU; not differentiable.

    Args:
        chain: the networks; :func:`fuses` says so.
        along: the direction, as a chain of the same shapes, its factors not used.
        coords: as for :func:`fused_error`.
        targets: likewise.
        weights: likewise.
        sizes: likewise.

    Returns:
        the product, weight and bias of each layer in turn.
    """
    from partinr.engines import _numba

    tensors = [tensor for link in chain for tensor in (link.weight, link.bias)]
    layers, packed = _packed(tensors, tuple(link.factor for link in chain))
    direction = torch.cat([tensor.detach().flatten(1) for link in along for tensor in (link.weight, link.bias)], dim=1)
    product = _numba.curvature(coords.detach(), targets, weights, packed, direction, sizes, layers)
    return _unpacked(product, tensors)


def weighted_error(values: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """The squared error, summed over samples and channels, by torch's own operations."""
    error = (values - targets).square()
    return (error if weights is None else error * weights).sum()


class Layer(NamedTuple):
    """One layer of a chain in a row of parameters.

    Attributes:
        n_in: features before it.
        n_out: features after it.
        weight: where its weights ``[out, in]`` begin.
        bias: where its biases begin.
        factor: of the affine map.
    """

    n_in: int
    n_out: int
    weight: int
    bias: int
    factor: float


Layers = tuple[Layer, ...]


@dataclass(frozen=True, eq=False)
class Tiles:
    """How the samples of N networks are cut into T tiles.

    Attributes:
        owner: ``[T]``, the network of each.
        start: ``[T + 1]``, its first sample, and the end of the last.
        first: ``[N + 1]``, the first tile of each network, and the end of the last's.
        run: ``[R + 1]``, the first tile of each run of tiles of one network, and the end of the last.
        first_run: ``[N + 1]``, the first run of each network, and the end of the last's.
    """

    owner: NDArray[np.int64]
    start: NDArray[np.int64]
    first: NDArray[np.int64]
    run: NDArray[np.int64]
    first_run: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return len(self.owner)

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.run) - 1


@lru_cache(maxsize=32)  # some numbers a tile or a network, none a sample
def tiles_of(sizes: tuple[int, ...], longest: int) -> Tiles:
    """Tiles of at most so many samples, and runs of about ``tiles / RUNS`` tiles, those of a network alike."""
    counts = np.array(sizes, dtype=np.int64)
    owner, start, first = _cut(counts, longest)
    _, run, first_run = _cut(np.diff(first), max(1, -(-len(owner) // RUNS)))
    return Tiles(owner, start, first, run, first_run)


def _cut(counts: NDArray[np.int64], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut things that lie owner by owner into pieces of at most so many, those of an owner as equal as can be.

    Args:
        counts: ``[N]``, how many each owner has.
        longest: of a piece, 1 or more.

    Returns:
        of P pieces: ``[P]`` the owner, ``[P + 1]`` the first thing, and the end of the last; ``[N + 1]`` of each owner
        the first piece, and the end of the last's.
    """
    pieces = -(-counts // longest)
    owner = np.repeat(np.arange(len(counts)), pieces)
    first = np.concatenate([[0], np.cumsum(pieces)])
    # Of n things in k pieces the j-th begins at n j / k: pieces of an owner differ by one.
    within = np.arange(len(owner)) - first[owner]
    begin = (np.cumsum(counts) - counts)[owner] + counts[owner] * within // pieces[owner]
    return owner, np.append(begin, counts.sum()), first


def _back_end(device: torch.device) -> ModuleType:
    """The module whose ``forward`` and ``backward`` are called: both take a second to import."""
    if device.type == "cpu":
        from partinr.engines import _numba

        return _numba
    from partinr.engines import _triton

    return _triton


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, coords: Tensor, sizes: tuple[int, ...], factors: tuple[float, ...], *tensors: Tensor
    ) -> Tensor:
        layers, packed = _packed(tensors, factors)
        ctx.save_for_backward(coords, packed, *tensors)
        ctx.sizes, ctx.factors, ctx.layers = sizes, factors, layers
        values: Tensor = _back_end(coords.device).forward(coords.detach(), packed, sizes, layers)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, packed, *tensors = ctx.saved_tensors
        wanted = [coords, *tensors]
        if torch.is_grad_enabled():
            # Somebody wants derivatives of these derivatives: the kernels have none, torch's own operations do.
            values = run_stack(
                chain_network(ctx.factors),
                {str(number): tensor for number, tensor in enumerate(tensors)},
                coords,
                make_plan(ctx.sizes, "auto", int(packed.shape[1]), coords.device),
            )
            needed = [tensor for tensor in wanted if tensor.requires_grad]
            found = iter(torch.autograd.grad(values, needed, gradients[0], create_graph=True, allow_unused=True))
            by_each = [next(found) if tensor.requires_grad else None for tensor in wanted]
            return by_each[0], None, None, *by_each[1:]
        by_network, by_coords = _back_end(coords.device).backward(
            coords.detach(), packed, ctx.sizes, ctx.layers, gradients[0], by_coords=ctx.needs_input_grad[0]
        )
        return by_coords, None, None, *_unpacked(by_network, tensors)


class _FusedError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        coords: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        sizes: tuple[int, ...],
        factors: tuple[float, ...],
        *tensors: Tensor,
    ) -> Tensor:
        from partinr.engines import _numba

        layers, packed = _packed(tensors, factors)
        error, by_network = _numba.error(coords.detach(), targets, weights, packed, sizes, layers)
        ctx.gradients = _unpacked(by_network, tensors)
        ctx.save_for_backward(coords, targets, weights, *tensors)
        ctx.sizes, ctx.factors = sizes, factors
        return error

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if not torch.is_grad_enabled():
            return None, None, None, None, None, *(gradients[0] * each for each in ctx.gradients)
        # Somebody wants derivatives of these derivatives.
        coords, targets, weights, *tensors = ctx.saved_tensors
        layers = zip(tensors[::2], tensors[1::2], ctx.factors, strict=True)
        chain = tuple(Link(weight, bias, factor) for weight, bias, factor in layers)
        error = weighted_error(run_fused(chain, coords, ctx.sizes), targets, weights)
        needed = [tensor for tensor in tensors if tensor.requires_grad]
        found = iter(torch.autograd.grad(error, needed, gradients[0], create_graph=True))
        return None, None, None, None, None, *(next(found) if tensor.requires_grad else None for tensor in tensors)


def _unpacked(by_network: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the parameters, each of its own shape, from rows ``[N, P]``."""
    pieces = by_network.split([tensor[0].numel() for tensor in tensors], dim=1)
    return [piece.reshape(tensor.shape).contiguous() for piece, tensor in zip(pieces, tensors, strict=True)]


def _packed(tensors: Sequence[Tensor], factors: Sequence[float]) -> tuple[Layers, Tensor]:
    """The table of layers, and the parameters a row a network."""
    layers, offset = [], 0
    for weight, factor in zip(tensors[::2], factors, strict=True):
        n_out, n_in = weight.shape[1:]
        layers.append(Layer(n_in, n_out, offset, offset + n_in * n_out, factor))
        offset += (n_in + 1) * n_out
    return tuple(layers), torch.cat([tensor.detach().flatten(1) for tensor in tensors], dim=1)


def chain_network(factors: tuple[float, ...]) -> Any:
    """The chain as what :func:`run_stack` evaluates, its parameters numbered."""

    def network(params: Any, x: Tensor, linear: Linear) -> Tensor:
        for number, factor in enumerate(factors):
            x = linear(x, factor * params[str(2 * number)], factor * params[str(2 * number + 1)])
            if number < len(factors) - 1:
                x = torch.sin(x)
        return x

    return network

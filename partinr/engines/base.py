"""What an engine is: a way to evaluate a stack of N networks, each on its own samples.

A backbone is one function ``network(params, x, linear)`` for one network *or* for k networks with as many samples each:
every parameter is ``[..., *shape]``, ``x`` is ``[..., n, features]``, and ``linear`` is the product that the engine
chose. An engine calls that function, or evaluates a chain of sines (:mod:`partinr.engines.chain`) by its own kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from partinr.engines.chain import Chain

Linear = Callable[[Tensor, Tensor, Tensor], Tensor]
Network = Callable[[Mapping[str, Tensor], Tensor, Linear], Tensor]

_DTYPES = {"64": torch.float64, "32": torch.float32, "16": torch.float16, "bf16": torch.bfloat16}


class Shape(NamedTuple):
    """What a network costs.

    Attributes:
        macs: multiply-accumulates for one sample, forward.
        widths: features before, between and after the layers of a chain; empty for any other network.
    """

    macs: int
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """One network without its numbers.

    Attributes:
        title: what a message calls it.
        network: the backbone's function.
        chain: the same function as a chain, of parameters by name; it gives None for any other network.
        shape: what it costs.
    """

    title: str
    network: Network
    chain: Callable[[Mapping[str, Tensor]], Chain | None]
    shape: Shape


@dataclass(frozen=True)
class Stack:
    """N networks of one architecture.

    Attributes:
        architecture: theirs.
        params: every parameter ``[N, *shape]``, by name.
    """

    architecture: Architecture
    params: Mapping[str, Tensor]

    @property
    def chain(self) -> Chain:
        """The networks as a chain; only for architectures that have one."""
        chain = self.architecture.chain(self.params)
        assert chain is not None
        return chain


@dataclass(frozen=True)
class Precision:
    """The numbers that a stack is evaluated with.

    Attributes:
        dtype: of parameters and coordinates; None where they differ.
        autocast: what products are narrowed to, or None.
        tf32: whether products on CUDA may round to TF32.
        transformed: whether tensors have no memory of their own, as under ``torch.func`` and forward-mode derivatives.
    """

    dtype: torch.dtype | None = torch.float32
    autocast: torch.dtype | None = None
    tf32: bool = False
    transformed: bool = False

    @classmethod
    def named(cls, flag: str, tf32: bool = False) -> Self:
        """By Lightning's flag, such as ``bf16-mixed``."""
        bits, kind = flag.split("-")
        return cls(torch.float32, _DTYPES[bits], tf32) if kind == "mixed" else cls(_DTYPES[bits], tf32=tf32)

    @classmethod
    def of(cls, stack: Stack, coords: Tensor) -> Self:
        """That of tensors, under the autocast and the transforms that are on."""
        kinds = {coords.dtype, *(value.dtype for value in stack.params.values())}
        kind = coords.device.type
        narrowed = kind != "meta" and torch.is_autocast_enabled(kind)  # meta has no autocast
        autocast = torch.get_autocast_dtype(kind) if narrowed else None
        transformed = torch._C._are_functorch_transforms_active()
        return cls(kinds.pop() if len(kinds) == 1 else None, autocast, transformed=transformed)


HessianVector = Callable[["Chain", "Chain", Tensor, Tensor, Tensor | None, tuple[int, ...]], list[Tensor]]
"""``(chain, along, coords, targets, weights, sizes)`` to the Hessian of the squared error times the direction
``along``, by weight and bias of each layer in turn; not differentiable."""


class Engine(ABC):
    """A way to evaluate a stack.

    ``coords`` are ``[M, d]``, sorted by network; ``sizes`` say how many samples each network has, 0 included. An engine
    has no state: one object serves every stack.

    Attributes:
        name: what ``engine=`` calls it.
    """

    name: ClassVar[str]

    @abstractmethod
    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """Why the engine cannot evaluate such networks, and what to do about it; None if it can.

        Args:
            architecture: of the networks.
            device: where; None while that is not known.
            precision: with which numbers.

        Returns:
            the end of a sentence that begins with ``engine=NAME``.
        """

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """What evaluating each network takes, ``[N]``, in multiply-accumulates of a batched product.

        ``auto`` compares these. Infinity keeps an engine out of its choice: the default, for engines without a measured
        advantage.
        """
        return np.full(len(sizes), np.inf)

    @abstractmethod
    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Values ``[M, c]`` of all networks; differentiable any number of times."""

    def squared_error(
        self, stack: Stack, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
    ) -> Tensor:
        """The squared error, summed over samples and channels: a scalar, differentiable by the parameters.

        Args:
            stack: the networks.
            coords: ``[M, d]``.
            targets: ``[M, c]``.
            weights: ``[M, 1]``, of each sample; None where all are 1.
            sizes: samples of each network.
        """
        return weighted_error(self.values(stack, coords, sizes), targets, weights)

    def hessian_vector(
        self, architecture: Architecture, device: torch.device, precision: Precision
    ) -> HessianVector | None:
        """The kernel for second derivatives of the squared error; None where there is none."""
        return None


def weighted_error(values: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """The squared error, summed over samples and channels, by torch's own operations."""
    error = (values - targets).square()
    return (error if weights is None else error * weights).sum()


def gradients_again(value: Tensor, gradient: Tensor, wanted: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient by each tensor that asks for one, to be differentiated again."""
    needed = [tensor for tensor in wanted if tensor.requires_grad]
    found = iter(torch.autograd.grad(value, needed, gradient, create_graph=True, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in wanted]


def products_switch(tf32: bool) -> tuple[str, Any]:
    """The name of torch's switch for single-precision products on CUDA, and its value with or without TF32."""
    # From torch 2.9 on; the older name must not be used beside it.
    newer = hasattr(torch.backends.cuda.matmul, "fp32_precision")
    return ("fp32_precision", "tf32" if tf32 else "ieee") if newer else ("allow_tf32", tf32)


@contextmanager
def cuda_products(tf32: bool) -> Iterator[None]:
    """Single-precision products on CUDA with all their digits, or with the 10 bits of TF32."""
    products: Any = torch.backends.cuda.matmul
    name, value = products_switch(tf32)
    before = getattr(products, name)
    setattr(products, name, value)
    try:
        yield
    finally:
        setattr(products, name, before)

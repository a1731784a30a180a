"""The contract of an engine: a way to evaluate a stack of N networks, each on its own samples.

A backbone is one function ``network(params, x, linear)`` for one network *or* for k networks with n samples each: every
parameter is ``[..., *shape]``, ``x`` is ``[..., n, features]``, and ``linear`` is the product that the engine chooses.
An engine calls that function, or evaluates a chain of sines (:mod:`partinr.engines.chain`) with its own kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

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
    """The cost of a network.

    Attributes:
        macs: forward multiply-accumulates for one sample.
        widths: features before, between and after the layers of a chain; empty for any other network.
    """

    macs: int
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """One network without its parameters.

    Attributes:
        title: name for messages.
        network: the backbone's function.
        chain: makes a chain of the same function from parameters by name, or returns None.
        shape: cost of the network.
    """

    title: str
    network: Network
    chain: Callable[[Mapping[str, Tensor]], Chain | None]
    shape: Shape


@dataclass(frozen=True)
class Stack:
    """N networks of one architecture.

    Attributes:
        architecture: the common architecture.
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
    """The numeric precision of an evaluation.

    Attributes:
        dtype: type of parameters and coordinates; None if they differ.
        autocast: type of narrowed products, or None.
        tf32: whether products on CUDA may round to TF32.
        transformed: whether tensors have no own memory, as under ``torch.func`` and forward-mode derivatives.
    """

    dtype: torch.dtype | None = torch.float32
    autocast: torch.dtype | None = None
    tf32: bool = False
    transformed: bool = False

    @classmethod
    def named(cls, flag: str, tf32: bool = False) -> Self:
        """The precision for Lightning's flag, such as ``bf16-mixed``."""
        bits, kind = flag.split("-")
        return cls(torch.float32, _DTYPES[bits], tf32) if kind == "mixed" else cls(_DTYPES[bits], tf32=tf32)

    @classmethod
    def of(cls, stack: Stack, coords: Tensor) -> Self:
        """The precision of tensors under the active autocast and transforms."""
        kinds = {coords.dtype, *(value.dtype for value in stack.params.values())}
        kind = coords.device.type
        narrowed = kind != "meta" and torch.is_autocast_enabled(kind)  # meta has no autocast
        autocast = torch.get_autocast_dtype(kind) if narrowed else None
        transformed = torch._C._are_functorch_transforms_active()
        return cls(kinds.pop() if len(kinds) == 1 else None, autocast, transformed=transformed)


class Observations(NamedTuple):
    """What N networks are to give at M samples.

    Attributes:
        coords: ``[M, d]``, sorted by network.
        targets: ``[M, c]``, in the same order.
        sizes: how many samples each network has; N whole numbers that sum to M.
        weights: ``[M, 1]``, of each sample in the squared error; None where all are 1.
    """

    coords: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    weights: Tensor | None = None

    def error(self, values: Tensor) -> Tensor:
        """The squared error of values ``[M, c]``, summed over samples and channels, by torch's own operations."""
        error = (values - self.targets).square()
        return (error if self.weights is None else error * self.weights).sum()

    def of(self, samples: slice, sizes: tuple[int, ...]) -> Observations:
        """Those of some networks: their samples, and the number of samples of each."""
        weights = None if self.weights is None else self.weights[samples]
        return Observations(self.coords[samples], self.targets[samples], sizes, weights)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Coordinates, targets and weights ``[M]`` as kernels take them; ``[0]`` where all weights are 1."""
        weights = self.targets.new_empty(0) if self.weights is None else self.weights.reshape(-1)
        x, y, w = (each.detach().contiguous().numpy() for each in (self.coords, self.targets, weights))
        return x, y, w


HessianVector = Callable[["Chain", "Chain", Observations], list[Tensor]]
"""``(chain, along, observed)`` to the Hessian of the squared error times the direction ``along``, by weight and bias of
each layer in turn; not differentiable."""


class AdamSettings(NamedTuple):
    """Settings of Adam that do not change from step to step.

    Attributes:
        betas: decay of the mean of gradients, and of that of their squares.
        eps: added to the root of the mean of squares.
    """

    betas: tuple[float, float]
    eps: float


Moments = Callable[[Tensor], tuple[Tensor, Tensor]]


class InTurns(NamedTuple):
    """A stack and the sets of samples that take turns in training it.

    Attributes:
        stack: the networks.
        turns: the sets; one if all steps see the same samples.
    """

    stack: Stack
    turns: Sequence[Observations]


class AdamRun(Protocol):
    """Steps of Adam that an engine takes itself. It holds copies of parameters and moments until it is closed."""

    def take(self, first: int, scale: float, rates: NDArray[np.float32]) -> float:
        """Take several steps on the squared error. The sets of samples take turns: step ``n`` sees set ``n % T`` of T.

        Args:
            first: number of the first step.
            scale: factor of the error in the loss.
            rates: float32 ``[steps, 3]``: the learning rate over the bias correction of the mean of gradients, the root
                of that of the squares, and the factor of a decoupled weight decay.

        Returns:
            the squared error before the last step.
        """

    def close(self) -> None:
        """Write parameters and moments back."""


class Engine(ABC):
    """A way to evaluate a stack.

    ``coords`` are ``[M, d]``, sorted by network; ``sizes`` are the numbers of samples of each network, possibly 0. An
    engine has no state: one object serves every stack.

    Attributes:
        name: value for ``engine=``.
    """

    name: ClassVar[str]

    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """Why the engine cannot evaluate the networks and what to do about it; None if it can, as by default.

        Args:
            architecture: architecture of the networks.
            device: device of the evaluation; None if not known yet.
            precision: precision of the evaluation.

        Returns:
            the end of a sentence that begins with ``engine=NAME``.
        """
        return None

    def fault(self, device: torch.device) -> str | None:
        """Why the engine cannot work in this process on such a device, as :meth:`refuses` says it; None if it can."""
        return None

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """The cost of evaluating each network, ``[N]``, in multiply-accumulates of a batched product.

        ``auto`` compares costs. The default, infinity, excludes an engine without a measured advantage.
        """
        return np.full(len(sizes), np.inf)

    @abstractmethod
    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Values ``[M, c]`` of all networks; differentiable any number of times."""

    def squared_error(self, stack: Stack, observed: Observations) -> Tensor:
        """The squared error, summed over samples and channels: a scalar, differentiable by the parameters."""
        return observed.error(self.values(stack, observed.coords, observed.sizes))

    def hessian_vector(
        self, architecture: Architecture, device: torch.device, precision: Precision
    ) -> HessianVector | None:
        """The kernel for second derivatives of the squared error, or None."""
        return None

    def adam(self, stacks: Sequence[InTurns], moments: Moments, settings: AdamSettings) -> AdamRun | None:
        """Steps of Adam that the engine takes itself; None if it only gives gradients.

        Args:
            stacks: the networks, whose parameters will change, each stack with its samples.
            moments: gives Adam's means of gradients and of their squares for a parameter, which will change too.
            settings: settings of Adam.
        """
        return None


def gradients_again(value: Tensor, gradient: Tensor, wanted: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient by each tensor that requires one, differentiable again."""
    needed = [tensor for tensor in wanted if tensor.requires_grad]
    found = iter(torch.autograd.grad(value, needed, gradient, create_graph=True, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in wanted]


def products_switch(tf32: bool) -> tuple[str, Any]:
    """Name and value of torch's switch for TF32 in single-precision products on CUDA."""
    # From torch 2.9 on; using the older name as well is an error.
    newer = hasattr(torch.backends.cuda.matmul, "fp32_precision")
    return ("fp32_precision", "tf32" if tf32 else "ieee") if newer else ("allow_tf32", tf32)


@contextmanager
def cuda_products(tf32: bool) -> Iterator[None]:
    """Single-precision products on CUDA with full precision, or with the 10 bits of TF32, within the context."""
    products: Any = torch.backends.cuda.matmul
    name, value = products_switch(tf32)
    before = getattr(products, name)
    setattr(products, name, value)
    try:
        yield
    finally:
        setattr(products, name, before)

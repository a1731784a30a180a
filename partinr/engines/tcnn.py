"""The tcnn engine: tables of features at the corners of grids, looked up by tiny-cuda-nn where it is installed.

tiny-cuda-nn (github.com/NVlabs/tiny-cuda-nn) is the library of the authors of the multiresolution hash encoding, for
NVIDIA's GPUs. :class:`partinr.backbones.HashGrid` lays out grids and tables as it does, so that both compute the same
function of the same numbers, and what was fitted here is drawn anywhere, by torch's own operations. The library looks
up the tables network by network; the layers behind them go as they do with ``engine=auto``.

It is used in single precision on CUDA. Of a gradient by the tables the library has no gradient in its turn; where
somebody wants one, torch's own operations take over, as they do under the transforms of ``torch.func`` and for
derivatives by the coordinates. Nor is a step recorded as a CUDA graph, which would not hold the library's workspaces.

This has not run on a GPU yet: on a CPU it is tested with a stand-in for the library. So nothing chooses it by itself,
and before it is used for the first time its values and gradients are compared with those of torch's own operations.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.engines.plan import Network

LookUp = Callable[[Tensor, Tensor], Tensor]
"""Of tables and coordinates: features."""

DEVICE = "cuda"
"""What tiny-cuda-nn computes on."""

FEATURES = (1, 2, 4, 8)
"""Numbers in an entry that there are kernels for."""

AXES = (2, 3)
"""Of the coordinates that there are kernels for; 4 axes are more than the hash of the backbone is for."""

ENCODED = 128
"""Features of all levels, at most: a block of the kernel that puts them in order has 8 threads for each, and 1024 in
all."""

SAMPLES = 2048
"""That values and gradients are compared on."""

TOLERANCE = 1e-2
"""Relative, of that comparison. Another grid, or another index, is off by a tenth or more, be it on one level only.
Rounding in single precision makes about 1e-4 with 512 corners an axis."""

INSTALL = "pip install git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"


_encodings: dict[tuple[HashGridConfig, int, torch.device], Any] = {}
"""Of the library, for each kind of grids, axes and device: made and compared once."""


@dataclass(frozen=True)
class HashGridConfig:
    """What tiny-cuda-nn has to know of the grids.

    Attributes:
        levels: how many.
        features: numbers in an entry.
        entries: of a level, at most.
        coarsest: corners an axis of the first level.
        growth: from a level to the next.
    """

    levels: int
    features: int
    entries: int
    coarsest: int
    growth: float

    def as_options(self) -> dict[str, Any]:
        """The same in tiny-cuda-nn's words."""
        return {
            "otype": "HashGrid",
            "n_levels": self.levels,
            "n_features_per_level": self.features,
            "log2_hashmap_size": self.entries.bit_length() - 1,
            "base_resolution": self.coarsest,
            "per_level_scale": self.growth,
            "interpolation": "Linear",
        }


@dataclass(frozen=True)
class Tables:
    """Networks behind tables at the corners of grids.

    Attributes:
        config: of the grids.
        values: the tables, ``[N, entries, features]``, level by level.
        encode: ``encode(values, x)``: features ``[..., n, levels · features]`` of coordinates ``[..., n, d]`` in
            [-1, 1], by torch's own operations.
        rest: the parameters behind them.
        network: the function of those and of the features.
    """

    config: HashGridConfig
    values: Tensor
    encode: LookUp
    rest: Mapping[str, Tensor]
    network: Network


def takes_tables(tables: Tables, coords: Tensor) -> bool:
    """Whether the library looks up these tables here: where it can, without derivatives by the coordinates."""
    return (
        all(each.device.type == DEVICE and each.dtype == torch.float32 for each in (tables.values, coords))
        and not coords.requires_grad
        and coords.shape[0] > 0
        and not torch._C._are_functorch_transforms_active()
    )


def check_tables(tables: Tables, axes: int) -> None:
    """Refuse tables that there are no kernels for.

    Raises:
        PartinrError: axes, features or the size of the tables are others.
    """
    config = tables.config
    if axes not in AXES:
        raise PartinrError(f"engine=tcnn is for signals of 2 or 3 axes, not of {axes}; choose engine=auto")
    if config.features not in FEATURES:
        raise PartinrError(
            f"engine=tcnn takes 1, 2, 4 or 8 features, not backbone.features={config.features}; choose one of them, "
            "or engine=auto"
        )
    if config.levels * config.features > ENCODED:
        raise PartinrError(
            f"engine=tcnn takes up to {ENCODED} features over all levels, not {config.levels * config.features}; give "
            "fewer backbone.levels or backbone.features, or choose engine=auto"
        )
    if config.entries.bit_count() != 1:
        raise PartinrError(
            f"engine=tcnn takes tables whose size is a power of two, not of {config.entries} entries; give "
            f"backbone.table_size={2 ** (config.entries.bit_length() - 1)}, or choose engine=auto"
        )


def check_tcnn_device(device_type: str) -> None:
    """Refuse a device that tiny-cuda-nn does not compute on: before all else, since nothing else cures it.

    Args:
        device_type: torch's word, such as ``cpu``.

    Raises:
        PartinrError: the device is no GPU of NVIDIA's.
    """
    if device_type == DEVICE:
        return
    if torch.cuda.is_available():
        raise PartinrError("engine=tcnn needs an NVIDIA GPU; choose engine=auto, or trainer.accelerator=gpu")
    raise PartinrError("engine=tcnn needs an NVIDIA GPU, and there is none here; choose engine=auto")


def check_tcnn(tables: Tables, axes: int, device: torch.device) -> None:
    """Refuse a device on which tiny-cuda-nn does not look up such tables, before anything is moved there.

    Raises:
        PartinrError: the device is no GPU of NVIDIA's, or the library is not installed, not built for this GPU, or has
            another function.
    """
    check_tcnn_device(device.type)
    _encoding(tables, axes, device)


def run_tcnn(tables: Tables, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Look up the tables of N networks, each at its own samples; differentiable by the tables any number of times.

    Args:
        tables: of the networks; :func:`takes_tables` says so.
        coords: float32 ``[M, d]``, sorted by network.
        sizes: samples of each network.

    Returns:
        features ``[M, levels · features]``, in the order of ``coords``.

    Raises:
        PartinrError: see :func:`check_tcnn`.
    """
    encoding = _encoding(tables, coords.shape[1], coords.device)
    look_up = partial(_looked_up, encoding)
    if torch.is_grad_enabled() and tables.values.requires_grad:
        features: Tensor = _LookUp.apply(look_up, tables.encode, sizes, coords, tables.values)
        return features
    # The library keeps nothing for a gradient that there will not be.
    with torch.no_grad():
        return _by_network(look_up, tables.values.detach(), coords, sizes)


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, look_up: LookUp, encode: LookUp, sizes: tuple[int, ...], coords: Tensor, values: Tensor
    ) -> Tensor:
        ctx.save_for_backward(coords, values)
        ctx.encode, ctx.sizes = encode, sizes
        leaf = values.detach().requires_grad_()
        with torch.enable_grad():
            features = _by_network(look_up, leaf, coords, sizes)
        ctx.inner = features, leaf
        return features.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, values = ctx.saved_tensors
        # What the library keeps goes with the first use; a graph that is kept for a second one has only the plain way.
        inner, ctx.inner = ctx.inner, None
        again = torch.is_grad_enabled()
        if inner is None or again:
            with torch.enable_grad():
                leaf = values if again else values.detach().requires_grad_()
                inner = _by_network(ctx.encode, leaf, coords, ctx.sizes), leaf
        features, leaf = inner
        # The library refuses a gradient whose rows do not lie one after another.
        (found,) = torch.autograd.grad(features, leaf, gradients[0].contiguous(), create_graph=again)
        return None, None, None, None, found


def _by_network(look_up: LookUp, values: Tensor, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Features of each network's samples from its own tables."""
    # One unbind of all tables: its gradient is one stack of them.
    pieces = zip(values.unbind(0), coords.split(sizes), strict=True)
    return torch.cat([look_up(own, x) for own, x in pieces if len(x)])


def _looked_up(encoding: Any, table: Tensor, x: Tensor) -> Tensor:
    within = ((x + 1) / 2).clamp(0, 1)
    found: Tensor = torch.func.functional_call(encoding, {"params": table.reshape(-1)}, (within,))
    return found


def _encoding(tables: Tables, axes: int, device: torch.device) -> Any:
    """The library's encoding of such tables.

    Raises:
        PartinrError: there is none, or it has another function.
    """
    key = tables.config, axes, device
    if key not in _encodings:
        encoding = _made(*key)
        try:
            _compare(encoding, tables, axes, device)
        except RuntimeError as error:
            raise PartinrError(f"engine=tcnn: tiny-cuda-nn fails ({_said(error)}); choose engine=auto") from error
        _encodings[key] = encoding
    return _encodings[key]


def _made(config: HashGridConfig, axes: int, device: torch.device) -> Any:
    try:
        tinycudann = importlib.import_module("tinycudann")
    except ImportError as error:
        raise PartinrError(
            f"engine=tcnn needs tiny-cuda-nn, which is not installed; {INSTALL}, or choose engine=auto"
        ) from error
    except Exception as error:  # it looks for a GPU, and for kernels that were built for it
        raise PartinrError(
            f"engine=tcnn: tiny-cuda-nn cannot be used here ({_said(error)}); build it for this GPU by {INSTALL}, or "
            "choose engine=auto"
        ) from error
    try:
        with torch.cuda.device_of(torch.empty(0, device=device)):
            # In half precision, which it prefers, it would be another function.
            return tinycudann.Encoding(axes, config.as_options(), dtype=torch.float32)
    except Exception as error:
        raise PartinrError(
            f"engine=tcnn: tiny-cuda-nn refuses the grids ({_said(error)}); choose engine=auto"
        ) from error


@torch.inference_mode(False)
@torch.enable_grad()
def _compare(encoding: Any, tables: Tables, axes: int, device: torch.device) -> None:
    """See that the library has the same numbers, and makes the same features and gradients of them.

    Raises:
        PartinrError: it does not.
    """
    shape = tables.values.shape[-2:]
    if encoding.params.numel() != shape.numel():
        raise PartinrError(
            f"engine=tcnn: this tiny-cuda-nn has tables of {encoding.params.numel()} numbers, not of {shape.numel()}; "
            "choose engine=auto"
        )
    generator = torch.Generator().manual_seed(0)
    # Some at the edges of the frame.
    x = (2.4 * torch.rand(SAMPLES, axes, generator=generator) - 1.2).clamp(-1, 1).to(device)
    values = (2 * torch.rand(shape, generator=generator) - 1).to(device).requires_grad_()
    mix = torch.randn(SAMPLES, tables.config.levels * tables.config.features, generator=generator).to(device)
    found, expected = (
        (features.detach(), torch.autograd.grad((features * mix).sum(), values)[0])
        for features in (_looked_up(encoding, values, x), tables.encode(values, x))
    )
    for what, one, other in zip(("features", "gradients"), found, expected, strict=True):
        off = float((one - other).norm() / other.norm())
        # Put so that what is no number is wrong too.
        if not off <= TOLERANCE:
            raise PartinrError(
                f"engine=tcnn: this tiny-cuda-nn has other {what}, by {off:.1%} of what torch's own operations give; "
                "choose engine=auto"
            )


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

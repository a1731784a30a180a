"""A card that is not there: tensors with values on a device of their own, under CUDA's rules for mixing devices.

torch lets a device be written in Python. Each tensor of this one holds a tensor of the CPU, which computes its values.
An operation on tensors of both devices raises an error where CUDA would; a number that leaves the card is counted, as
the host would wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

aten = torch.ops.aten


class _Module(_DummyBackendModule):
    """What torch asks a kind of device."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("card", _Module())
CARD = torch.device("card", 0)

COPIES = {aten.copy_, aten._to_copy}
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
"""Take indices from the CPU, too, if their table is on the card."""

FUSED = {aten._fused_adam_, aten._fused_adamw_, aten._fused_sgd_, aten._fused_adagrad_}
"""Take no number from the CPU, unlike other operations."""

READS = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.repeat_interleave,
    aten.bincount,
    aten._unique2,
}
"""Make the host wait, as a copy to the CPU and a mask as an index do."""


class OnCard(Tensor):
    """A tensor on the card."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnCard:
        made: OnCard = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CARD,
        )
        return made

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A checkpoint is loaded onto the CPU, wherever it was saved.
        return self.held.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _dispatch(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    """Makes tensors on the card, and checks what mixes devices."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


class _Makers(TorchFunctionMode):
    """Makes tensors from numbers, which torch does below all dispatch."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor:
            func, (like, *args) = torch.tensor, args
            kwargs = {"dtype": like.dtype, "device": like.device, **kwargs}
        if func in (torch.tensor, torch.as_tensor) and _is_card(kwargs.get("device")):
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


@contextmanager
def card() -> Iterator[None]:
    """The card is there within the context."""
    with _Makers(), _Operations():
        yield


reads: list[str] = []
"""The operations so far that made the host wait."""


def _is_card(device: Any) -> bool:
    return device is not None and torch.device(device).type == CARD.type


def _tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]


def _check(func: Any, args: Any, kwargs: Any) -> None:
    """Refuse what CUDA refuses."""
    kind, mixed = func.overloadpacket, (args, kwargs)
    if kind in COPIES:
        return
    if kind in INDEXED:
        mixed = (args[0], args[2:])
        if not isinstance(args[0], OnCard) and any(isinstance(each, OnCard) for each in _tensors(args[1])):
            raise RuntimeError(f"{func}: indices on the card into a table on the CPU")
    here = [each for each in _tensors(mixed) if isinstance(each, OnCard)]
    there = [each for each in _tensors(mixed) if not isinstance(each, OnCard) and (each.dim() or kind in FUSED)]
    if here and there:
        raise RuntimeError(f"{func}: tensors on the card and on the CPU")
    if kwargs.get("generator") is not None and (here or _is_card(kwargs.get("device"))):
        raise RuntimeError(f"{func}: the CPU's generator draws on the card")


def _dispatch(func: Any, args: Any, kwargs: Any) -> Any:
    _check(func, args, kwargs)
    kind, from_card = func.overloadpacket, any(isinstance(each, OnCard) for each in _tensors((args, kwargs)))
    own_args, own_kwargs = tree_map_only(OnCard, lambda each: each.held, (args, dict(kwargs)))
    device = kwargs.get("device")
    if _is_card(device):
        own_kwargs["device"] = "cpu"
    result = func(*own_args, **own_kwargs)
    leaves = from_card and device is not None and not _is_card(device)
    if kind is aten.copy_:
        leaves = isinstance(args[1], OnCard) and not isinstance(args[0], OnCard)
    masked = kind in INDEXED and any(
        isinstance(each, OnCard) and each.dtype == torch.bool for each in _tensors(args[1])
    )
    if leaves or masked or (from_card and kind in READS):
        reads.append(str(kind))
    if kind is aten.copy_:
        return args[0]
    if leaves or not (from_card or _is_card(device)):
        return result
    return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, OnCard, result))

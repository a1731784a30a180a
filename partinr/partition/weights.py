"""Reads a network's weights from files of training scripts, without running code from them.

A script may save a state dict alone, in a checkpoint with other things (as Lightning does), or as part of a whole
module; the network may have been wrapped by DataParallel, ``torch.compile``, FSDP or an average of its weights. All of
this only adds prefixes to the names of weights, so they are found by the ends of their names.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_modules", "_parameters", "_buffers"}
"""Parts of names that torch adds between those of the modules."""

_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|average|averaged|shadow|teacher)", re.IGNORECASE)
"""Names of averages of weights, which are used if there are no other weights."""

_PLAIN: dict[str, dict[str, Any]] = {
    "collections": {"OrderedDict": OrderedDict},
    "torch": {name: kind for name, kind in vars(torch).items() if isinstance(kind, torch.dtype)} | {"Size": torch.Size},
    "torch.storage": {"UntypedStorage": torch.UntypedStorage, "TypedStorage": torch.TypedStorage},
}
"""Names in a pickle of tensors, by module."""

_BUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
"""Functions of ``torch._utils`` that such a pickle calls."""


class WeightsError(Exception):
    """A file has no readable weights; the message says what it is."""


class _Inert(dict[Any, Any]):
    """Replaces an object of a class that is not loaded: accepts what the pickle passes, and does nothing."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any) -> _Inert:
        return _Inert()

    def append(self, item: Any) -> None:
        """An item of a list."""

    def extend(self, items: Any) -> None:
        """Items of a list."""


class _InertUnpickler(pickle.Unpickler):
    """Makes tensors and plain containers, and an :class:`_Inert` for everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _PLAIN.get(module, ()):
            return _PLAIN[module][name]
        if module == "torch._utils" and name in _BUILDERS:
            build: Callable[..., Any] = getattr(torch._utils, name)
            # A pickle may set attributes, which must not be those of torch's function.
            return lambda *args: build(*args)
        return type(name, (_Inert,), {"__module__": module})


_INERT = ModuleType("inert")
"""A replacement for ``pickle`` in ``torch.load``."""
_INERT.Unpickler = _InertUnpickler  # type: ignore[attr-defined]
_INERT.load = lambda file, **options: _InertUnpickler(file, **options).load()  # type: ignore[attr-defined]


def read_weights(file: Path) -> dict[str, Tensor]:
    """All tensors in a file, by the dotted names of their containers.

    Args:
        file: a safetensors file, or one written by ``torch.save``. No code from it is run: objects of classes other
            than torch's become containers of their contents.

    Raises:
        WeightsError: the file is neither, or is damaged.
    """
    with file.open("rb") as stream:
        head = stream.read(9)
    if head[8:] == b"{":
        return _found(load, file.read_bytes())
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise WeightsError("it is a program of TorchScript")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many types, also for untrusted classes
        content = _found(torch.load, file, map_location="cpu", pickle_module=_INERT, weights_only=False)
    return dict(_tensors(content, (), set()))


def _found(load: Callable[..., Any], file: Path | bytes, **options: Any) -> Any:
    try:
        return load(file, **options)
    except Exception as error:  # torch and safetensors raise many kinds
        raise WeightsError("it is no file of torch.save or safetensors, or it is damaged") from error


def _tensors(node: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield ".".join(part for name in path for part in name.split(".") if part not in _WRAPPERS), node
    elif isinstance(node, Mapping) and id(node) not in seen:
        inside = {**node, **(vars(node) if isinstance(node, _Inert) else {})}
        for name, value in inside.items():
            yield from _tensors(value, (*path, str(name)), seen | {id(node)})


def weights_of(tensors: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """The weights of one network among tensors with prefixed names.

    Of several networks, the one with the most expected names is used; on ties, weights rather than their average, else
    the first.

    Args:
        tensors: tensors by any names.
        expected: names in the network's state dict.

    Returns:
        the weights by the network's names; empty if no expected name is found.
    """
    parts = {name.partition(".")[0] for name in expected}
    # DataParallel may have wrapped a part of the network.
    unwrapped = {re.sub(r"(^|\.)module\.", r"\1", name): value for name, value in tensors.items()}
    best: tuple[tuple[int, bool], dict[str, Tensor]] = ((0, False), {})
    for named in (tensors, unwrapped):
        counts: Counter[str] = Counter()
        for name in named:
            counts.update(name[:at] for at in _starts(name) if name[at:] in expected)
        for prefix, count in counts.items():
            rank = (count, _AVERAGED.search(prefix) is None)
            if rank > best[0]:
                inside = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
                best = rank, {name: value for name, value in inside.items() if name.partition(".")[0] in parts}
    return best[1]


def _starts(name: str) -> list[int]:
    """Start positions of the parts of a name."""
    return [0, *(match.end() for match in re.finditer(r"\.", name))]

"""The numeric environment that partinr's code runs in, whatever the program around it has set.

A notebook may work in double precision, in inference mode, or with warnings as errors. Code that makes a tensor would
then make another one, and so would code of Lightning, torchmetrics or a plug-in that partinr calls. Each public entry
point is therefore a :func:`door`: inside, torch and NumPy are as in a fresh process; outside, everything is as the
caller left it.

Modules that a caller's training step calls (``model(coords, sizes)``) are not doors: like every torch module they
follow the caller's grad mode and autocast. Their code names type and device of each tensor it makes.

Numbers of threads and deterministic algorithms stay as the caller has set them: they do not change results on a CPU.
"""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch

Target = TypeVar("Target")

_CPU = torch.device("cpu")
_EXACT = ("none", "ieee")


class _Here(threading.local):
    """State of a thread."""

    inside = False


_here = _Here()


@contextmanager
def own_environment() -> Iterator[None]:
    """Torch and NumPy as in a fresh process, within the context.

    A block inside another only leaves inference mode: between the two, Lightning may have set what
    ``trainer.precision`` asks for.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if _here.inside:
            yield
            return
        stack.callback(setattr, _here, "inside", False)
        _here.inside = True
        stack.enter_context(_shared)
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        # Only if it differs, since it would slow down every call of torch.
        if not _on_cpu():
            stack.enter_context(_CPU)
        yield


def _on_cpu() -> bool:
    """Whether torch makes tensors on the CPU by default."""
    try:
        return torch.get_default_device() == _CPU
    except Exception:  # a device that this machine lacks, which torch says in many ways
        return False


class _Shared:
    """State that all threads of a process share: the first to enter sets it, the last to leave restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = self._set()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._before.close()

    def _set(self) -> ExitStack:
        with ExitStack() as stack:
            kind = torch.get_default_dtype()
            if kind != torch.float32:
                stack.callback(torch.set_default_dtype, kind)
                torch.set_default_dtype(torch.float32)
            # torch 2.9 introduced the name; older versions have one for both devices.
            for products in (getattr(torch.backends.mkldnn, "matmul", None), torch.backends.cuda.matmul):
                _make_exact(products, stack)
            stack.enter_context(calm_warnings())
            return stack.pop_all()


def _make_exact(products: Any, stack: ExitStack) -> None:
    """Full-precision single-precision products, until the stack is closed."""
    before = getattr(products, "fp32_precision", "none")
    if before not in _EXACT:
        stack.callback(setattr, products, "fp32_precision", before)
        products.fp32_precision = "ieee"


@contextmanager
def calm_warnings() -> Iterator[None]:
    """Print warnings that would be errors, so that no notice ends a run."""
    if not any(action == "error" for action, *_ in warnings.filters):
        yield
        return
    with warnings.catch_warnings():
        warnings.filters[:] = [  # type: ignore[index]
            ("default" if action == "error" else action, *rest) for action, *rest in warnings.filters
        ]
        yield


_shared = _Shared()


def door(target: Target) -> Target:
    """A function, or the public methods of a class, executed in partinr's environment.

    For a class this covers the members of its body: methods, class and static methods, properties, ``__init__``. A
    generator's steps run inside; the code between them runs outside.
    """
    return cast(Target, _open_class(target) if isinstance(target, type) else _opened(target))


def follows_caller(method: Target) -> Target:
    """Exempt a method from its class's :func:`door`, because the caller differentiates its result."""
    method.__follows_caller__ = True  # type: ignore[attr-defined]
    return method


def _open_class(cls: type) -> type:
    for name, member in list(vars(cls).items()):
        if name == "__init__" or not name.startswith("_"):
            opened = _opened(member)
            if opened is not member:
                setattr(cls, name, opened)
    return cls


def _opened(member: Any) -> Any:
    if isinstance(member, property):
        return property(*(None if each is None else _opened(each) for each in (member.fget, member.fset, member.fdel)))
    if isinstance(member, functools.cached_property):
        member.func = _opened(member.func)
        return member
    if isinstance(member, (classmethod, staticmethod)):
        return type(member)(_opened(member.__func__))
    if not inspect.isfunction(member) or hasattr(member, "__isdoor__") or hasattr(member, "__follows_caller__"):
        return member
    inside: Any = (_generator if inspect.isgeneratorfunction(member) else _function)(member)
    inside.__isdoor__ = True
    return inside


def _function(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        if _here.inside and not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with own_environment():
            return function(*args, **kwargs)

    return inside


def _generator(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Iterator[Any]:
        steps = function(*args, **kwargs)
        while True:
            with own_environment():
                try:
                    item = next(steps)
                except StopIteration:
                    return
            yield item

    return inside

"""Callbacks of other packages: what they get of a run, which of them cannot work, and which one raised or ended it."""

from __future__ import annotations

import difflib
import inspect
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, ProgressBar
from torch import Tensor

from partinr.base.errors import PartinrError, reason
from partinr.training.quiet import quiet_lightning

_BEFORE_STEPS = {"setup", "configure_sharded_model", "on_fit_start", "load_state_dict", "on_train_start"}
"""Hooks of callbacks that Lightning calls before a step, also in a resumed run."""

_IN_BARS = ("psnr", "loss")
"""Columns of the curve that progress bars show."""


class GuestError(PartinrError):
    """A callback refused to take part, before any step."""


class GuestFailedError(PartinrError):
    """A callback raised an error after the first step."""


def is_guest(callback: L.Callback) -> bool:
    """Whether a callback comes from another package."""
    return not type(callback).__module__.startswith("partinr.")


def log_row(module: L.LightningModule, row: Mapping[str, float]) -> None:
    """Log a row of the curve through Lightning: at once for callbacks, at the end of its epoch for loggers.

    An epoch of Lightning ends with each evaluation.
    """
    values = show_row(module, row)
    for shown in (True, False):
        some = {name: value for name, value in values.items() if (name in _IN_BARS) is shown}
        module.log_dict(some, prog_bar=shown, on_step=False, on_epoch=True)


def show_row(module: L.LightningModule, row: Mapping[str, float]) -> dict[str, Tensor]:
    """Let callbacks see a row of the curve, and return it as tensors."""
    # In double precision: steps and multiply-accumulates stay exact.
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in row.items()}
    module.trainer.callback_metrics.update(values)
    return values


def stopped_by(callbacks: Iterable[L.Callback]) -> str:
    """A line that says which callback ended a run, as far as the callbacks tell."""
    guests = [each for each in callbacks if is_guest(each) and not isinstance(each, (Checkpoint, ProgressBar))]
    for each in guests:
        if reason := getattr(each, "stopping_reason_message", None):  # of EarlyStopping
            return f"{type(each).__name__}: {str(reason).removesuffix(' Signaling Trainer to stop.')}"
    return f"ended by {' or '.join(type(each).__name__ for each in guests) or 'a callback'}"


def flags_for(callbacks: Iterable[L.Callback]) -> dict[str, Any]:
    """The flags without which the Trainer refuses some kinds of callbacks."""
    callbacks = list(callbacks)
    return {
        "enable_checkpointing": any(isinstance(each, Checkpoint) for each in callbacks),
        "enable_progress_bar": any(isinstance(each, ProgressBar) for each in callbacks),
        "enable_model_summary": False,
    }


def given(callbacks: L.Callback | Iterable[L.Callback]) -> dict[str, L.Callback]:
    """The callbacks of a caller, each by the expression that it is known by in messages.

    Raises:
        PartinrError: one is not a callback.
    """
    several: list[Any] = [callbacks] if isinstance(callbacks, L.Callback) else list(callbacks)
    for number, callback in enumerate(several):
        if not isinstance(callback, L.Callback):
            what = f"the class {callback.__name__}" if isinstance(callback, type) else f"a {type(callback).__name__}"
            raise PartinrError(f"callbacks[{number}] is {what}; give an object of a class of Lightning callbacks")
    return {f"callbacks[{number}]": callback for number, callback in enumerate(several)}


def configured(callbacks: Mapping[str, L.Callback], folder: Path) -> dict[str, L.Callback]:
    """The callbacks of a configuration, each by its key.

    A ``ModelCheckpoint`` without a place gets ``checkpoints/NAME/`` in the run directory, since one may write
    ``last.ckpt``, as partinr does.

    Args:
        callbacks: by name.
        folder: the run directory.
    """
    for name, callback in callbacks.items():
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = os.path.realpath(folder / "checkpoints" / name)
    return {f"callbacks.{name}": callback for name, callback in callbacks.items()}


def hosted(callbacks: Mapping[str, L.Callback]) -> list[L.Callback]:
    """Callbacks for a Trainer, with one that refuses others which cannot work.

    Args:
        callbacks: from :func:`given` or :func:`configured`.

    Raises:
        PartinrError: the Trainer refuses a callback next to others.
    """
    _check(_guests(callbacks))
    return [*callbacks.values(), _MonitorCheck(callbacks)]


def _check(guests: Mapping[str, L.Callback]) -> None:
    so_far: list[L.Callback] = []
    for name, callback in guests.items():
        so_far.append(callback)
        try:
            with quiet_lightning():
                L.Trainer(accelerator="cpu", logger=False, callbacks=list(so_far), **flags_for(so_far))
        except Exception as error:
            raise PartinrError(_line(name, callback, " ".join(str(error).split()))) from error


class _MonitorCheck(L.Callback):
    """Refuses callbacks that monitor a metric which nobody has logged at the first evaluation.

    Args:
        callbacks: from :func:`given` or :func:`configured`.

    Raises:
        GuestError: a metric is missing.
    """

    def __init__(self, callbacks: Mapping[str, L.Callback]) -> None:
        self._monitored: dict[str, tuple[L.Callback, str]] = {}
        for name, callback in _guests(callbacks).items():
            metric = getattr(callback, "monitor", None)
            if isinstance(metric, str) and getattr(callback, "strict", True) and _takes_a_metric(callback):
                self._monitored[name] = callback, metric

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look once; Lightning calls the callbacks that monitor something after this one."""
        monitored, self._monitored = self._monitored, {}
        for name, (callback, metric) in monitored.items():
            logged = [*trainer.callback_metrics, "epoch"]
            if metric not in logged:
                near = difflib.get_close_matches(metric, logged, n=1) or ["psnr"]
                reason = f"it monitors {metric!r}, and this run logs {', '.join(logged)}"
                raise GuestError(_line(name, callback, reason, f"give {name}.monitor={near[0]}"))


@contextmanager
def guests_named(callbacks: Mapping[str, L.Callback], module: L.LightningModule) -> Iterator[None]:
    """Name the callback in an error that it raises.

    Args:
        callbacks: from :func:`given` or :func:`configured`.
        module: the module that is trained.

    Raises:
        GuestError: a callback raised an error before the module's first step.
        GuestFailedError: it did later.
    """
    try:
        yield
    except Exception as error:
        guests = _guests(callbacks)
        # The innermost first: one callback may call another.
        for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
            early = frame.f_code.co_name in _BEFORE_STEPS or getattr(module, "step", None) == 0
            for name, callback in guests.items():
                if frame.f_locals.get("self") is callback:
                    said = reason(error)[:300].rstrip(".")
                    if early:
                        raise GuestError(_line(name, callback, said)) from error
                    raise GuestFailedError(f"{name} ({type(callback).__name__}) raised {said}") from error
        raise


def _guests(callbacks: Mapping[str, L.Callback]) -> dict[str, L.Callback]:
    return {name: each for name, each in callbacks.items() if is_guest(each)}


def _takes_a_metric(callback: L.Callback) -> bool:
    """Whether Lightning's code reads ``monitor``; in a user's class it may have another meaning."""
    return any(
        "monitor" in inspect.signature(cls).parameters
        for cls in type(callback).__mro__
        if cls.__module__.startswith(("lightning.", "pytorch_lightning."))
    )


def _line(name: str, callback: L.Callback, reason: str, cure: str = "") -> str:
    return f"{name} ({type(callback).__name__}) cannot be used here: {reason}; {cure or 'leave it out'}"

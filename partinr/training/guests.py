"""Checks callbacks of other packages: finds those that cannot work in a run, and names one that raised."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ProgressBar

from partinr.base.errors import PartinrError
from partinr.training.quiet import quiet_lightning

_INSTEAD = {
    Checkpoint: "partinr writes checkpoints/last.ckpt itself, set by callbacks.checkpoint.every_seconds",
    ProgressBar: "partinr shows the progress itself, by callbacks.progress",
}
"""Replacements for kinds of callbacks that the Trainer refuses."""

_BEFORE_STEPS = {"setup", "configure_sharded_model", "on_fit_start", "load_state_dict", "on_train_start"}
"""Hooks of callbacks that Lightning calls before a step, also in a resumed run."""


_LOGGERLESS = "leave it out; a run gives Lightning no logger: curve.csv has lr and metrics, and logger=wandb sends them"


class GuestError(PartinrError):
    """A callback refused to take part, before any step."""


def check_guests(callbacks: Mapping[str, L.Callback]) -> None:
    """Refuse callbacks that would have no effect in a run, or would fail after its last step.

    Args:
        callbacks: callbacks of the configuration, by name.

    Raises:
        PartinrError: the Trainer refuses a callback next to others, or a callback waits for a metric of Lightning.
    """
    guests = _guests(callbacks)
    so_far: list[L.Callback] = []
    for name, callback in guests.items():
        so_far.append(callback)
        try:
            with quiet_lightning():
                L.Trainer(
                    accelerator="cpu",
                    logger=False,
                    enable_checkpointing=False,
                    enable_progress_bar=False,
                    enable_model_summary=False,
                    callbacks=list(so_far),
                )
        except Exception as error:
            own = next((said for kind, said in _INSTEAD.items() if isinstance(callback, kind)), None)
            raise PartinrError(_line(name, callback, own or " ".join(str(error).split()))) from error
        metric = getattr(callback, "monitor", None)
        if isinstance(metric, str) and _takes_a_metric(callback):
            reason = f"it waits for the metric {metric!r}, and a run logs no metrics to Lightning"
            cure = "leave it out; target_psnr=DB, max_steps and max_seconds end a run, and curve.csv has every metric"
            raise PartinrError(_line(name, callback, reason, cure))


@contextmanager
def guests_named(callbacks: Mapping[str, L.Callback], module: L.LightningModule) -> Iterator[None]:
    """Name the callback in an error that it raises before the module's first step.

    Raises:
        GuestError: a callback raised an error.
    """
    try:
        yield
    except Exception as error:
        guests = _guests(callbacks)
        # The innermost first: one callback may call another.
        for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
            early = frame.f_code.co_name in _BEFORE_STEPS or getattr(module, "step", None) == 0
            for name, callback in guests.items() if early else ():
                if frame.f_locals.get("self") is callback:
                    said = " ".join(str(error).split())[:300].rstrip(".")
                    cure = _LOGGERLESS if "logger" in said.lower() else ""
                    raise GuestError(_line(name, callback, f"{type(error).__name__}: {said}", cure)) from error
        raise


def _guests(callbacks: Mapping[str, L.Callback]) -> dict[str, L.Callback]:
    return {name: each for name, each in callbacks.items() if not type(each).__module__.startswith("partinr.")}


def _takes_a_metric(callback: L.Callback) -> bool:
    """Whether Lightning's code reads ``monitor``; in a user's class it may have another meaning."""
    return any(
        "monitor" in inspect.signature(cls).parameters
        for cls in type(callback).__mro__
        if cls.__module__.startswith(("lightning.", "pytorch_lightning."))
    )


def _line(name: str, callback: L.Callback, reason: str, cure: str = "") -> str:
    return f"callbacks.{name} ({type(callback).__name__}) cannot be used here: {reason}; {cure or 'leave it out'}"

"""Lightning's flags of the Trainer that cannot work in a run, each with the reason and with what to give instead."""

from __future__ import annotations

from collections.abc import Iterable

from partinr.base.errors import PartinrError

_CLIP = "Lightning clips gradients only where it steps the optimiser itself; give optimizer.clip_norm=1.0"
_EPOCH = "an epoch of Lightning is the time between two evaluations here; give max_steps=1000"
_NO_DATA = "the signal is held whole, and no batches of data are loaded; give max_steps=10 for a short trial"
_NO_VALIDATION = "the loop evaluates by itself; give regime.evaluate_every=100"
_SHARDS = "partinr divides networks or samples among the devices itself; give trainer.devices=2 and shard=auto"
_STEPS = "it belongs to the run; give max_steps=1000"

REFUSED = {
    "accumulate_grad_batches": "a step sees the whole signal unless regime.points_per_step is given; leave it out",
    "benchmark": "it chooses between algorithms of convolutions, and there are none; leave it out",
    "callbacks": "callbacks are a group of their own; give +callbacks.mine._target_=lightning.pytorch.callbacks.Timer",
    "check_val_every_n_epoch": _NO_VALIDATION,
    "default_root_dir": "a run writes into its directory; give hydra.run.dir=PATH",
    "enable_checkpointing": "checkpoints are a callback; give callbacks.checkpoint=null for none",
    "enable_model_summary": "the first lines of a run say what is trained; leave it out",
    "enable_progress_bar": "the bar is a callback; give callbacks.progress=null for none",
    "fast_dev_run": _NO_DATA,
    "gradient_clip_algorithm": _CLIP,
    "gradient_clip_val": _CLIP,
    "limit_train_batches": _NO_DATA,
    "limit_val_batches": _NO_VALIDATION,
    "logger": "loggers are a group of their own; give logger=csv",
    "max_epochs": _EPOCH,
    "max_steps": _STEPS,
    "max_time": "it would count evaluations, too; give max_seconds=60, which counts training",
    "min_epochs": _EPOCH,
    "min_steps": _STEPS,
    "num_sanity_val_steps": _NO_VALIDATION,
    "overfit_batches": _NO_DATA,
    "reload_dataloaders_every_n_epochs": _NO_DATA,
    "strategy": _SHARDS,
    "sync_batchnorm": "no network has batch normalisation; leave it out",
    "use_distributed_sampler": _SHARDS,
    "val_check_interval": _NO_VALIDATION,
}
"""Flags, with the reason and the cure."""


def refusal(key: str) -> str | None:
    """Why a key of the group ``trainer`` cannot be given, in one line; None for any other key."""
    group, _, flag = key.partition(".")
    said = REFUSED.get(flag) if group == "trainer" else None
    return None if said is None else f"{key}: {said}"


def check_flags(flags: Iterable[str]) -> None:
    """Check the keys of the group ``trainer``.

    Raises:
        PartinrError: one is a flag of Lightning that cannot work here.
    """
    for flag in flags:
        if (line := refusal(f"trainer.{flag}")) is not None:
            raise PartinrError(line)

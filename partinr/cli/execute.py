"""One run, from its configuration to its run directory."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig

from partinr import config
from partinr.callbacks import CurveFile, Interruption, Manifest, RunCallback
from partinr.cli.fit import fit_module
from partinr.cli.meta import meta_module
from partinr.cli.sync import note_unsent
from partinr.errors import PartinrError
from partinr.meta import LearnedStart
from partinr.regimes import FitModule, MetaModule, MetaSettings, make_trainer
from partinr.regimes.launch import RankError
from partinr.regimes.training import check_checkpoint, check_devices, run_fit
from partinr.run import CHECKPOINT, START, WRITER, RunDirectory, config_hash

# What says where a run is kept or how it is shown, and nothing of what it is.
_NOT_IDENTITY = ("output_dir", "cache_dir", "ckpt_path", "callbacks", "logger", "debug")

_DEFAULT_THREADS = torch.get_num_threads()


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: its directory.
        exit_code: 0 completed, 1 failed, 128 + the signal's number if it was stopped.
    """

    run: RunDirectory
    exit_code: int

    @property
    def psnr(self) -> float | None:
        """Of a completed run: what a sweeper maximises."""
        return self.run.manifest()["metrics"]["psnr"] if self.exit_code == 0 else None


def execute(cfg: DictConfig | Mapping[str, Any], folder: Path, overrides: Sequence[str]) -> Outcome:
    """Carry out a run in a new run directory.

    Args:
        cfg: the composed configuration.
        folder: where; must not hold a run.
        overrides: what was given on the command line.

    Raises:
        PartinrError: bad input; nothing has been written then.
    """
    RunDirectory(folder).check_free()
    prepared = _prepare(config.read(_with_start(cfg, overrides)))
    return _carry_out(prepared, RunDirectory.create(folder, prepared.settings.plain, overrides))


def _with_start(cfg: DictConfig | Mapping[str, Any], overrides: Sequence[str]) -> DictConfig | Mapping[str, Any]:
    """The configuration with the backbone of ``init``, and with its frame, unless another one is asked for.

    Raises:
        PartinrError: there is no such initialisation, or another backbone is asked for.
    """
    if cfg.get("init") is None:
        return cfg
    plain = config.plain(cfg)
    folder = Path(str(plain["init"])).expanduser()
    if not (folder / START).is_file():
        RunDirectory.open(folder)
        raise PartinrError(f"init={folder} has no {START}; give the directory of a completed run with regime=meta")
    asked = [each for each in overrides if each.split("=")[0].lstrip("+~").split(".")[0] == "backbone"]
    if asked:
        raise PartinrError(
            f"init={folder} brings along the backbone that it was learned for; leave out {' '.join(asked)}"
        )
    learned = LearnedStart.load(folder / START).architecture()
    plain["backbone"] = {"_target_": learned["backbone"], **learned["options"]}
    if not any(each.startswith("coords.frame=") for each in overrides):
        plain["coords"] = {**(plain.get("coords") or {}), "frame": learned["frame"]}
    return plain


def resume(folder: Path, force: bool = False) -> Outcome:
    """Go on with a run in its own directory, from its last checkpoint, or from the start if there is none.

    Args:
        folder: the run directory.
        force: also where a process on another host, of which nothing is known here, says that it is still running.

    Raises:
        PartinrError: there is no run, it is completed or still running, or its configuration no longer works.
    """
    run = RunDirectory.open(folder)
    manifest = run.manifest()
    if manifest["status"] == "completed":
        raise PartinrError(
            f"{folder} is completed; to make it longer: partinr … max_steps=N ckpt_path={run.file(CHECKPOINT)}"
        )
    if run.alive and manifest.get("host") == platform.node():
        raise PartinrError(f"{folder} is still running; wait for it, or stop it first")
    if run.alive and not force:
        raise PartinrError(
            f"{folder} is still running on {manifest.get('host')}, or was killed there; "
            f"if you know that it was: partinr resume --force {folder}"
        )
    cfg = run.config()
    checkpoint = run.file(CHECKPOINT)
    if checkpoint.is_file():
        cfg["ckpt_path"] = str(checkpoint)
    prepared = _prepare(config.read(cfg))
    # From now on this process is the writer, and another one that wants to resume finds it alive.
    run.write_manifest({key: value for key, value in manifest.items() if key not in WRITER} | {"status": "running"})
    run.sweep()
    return _carry_out(prepared, run)


@dataclass(frozen=True)
class _Prepared:
    settings: config.Settings
    module: FitModule | MetaModule
    data: L.LightningDataModule | None
    trainer: L.Trainer
    interruption: Interruption
    callbacks: list[L.Callback]


def _prepare(settings: config.Settings) -> _Prepared:
    """Everything that bad input can stop."""
    made = time.perf_counter()
    # Also where nothing is asked for: the run before in the same sweep may have asked for something.
    torch.set_num_threads(settings.trainer.threads or _DEFAULT_THREADS)
    module: FitModule | MetaModule
    data: L.LightningDataModule | None = None
    if isinstance(settings.regime, MetaSettings):
        module, data = meta_module(settings)
    else:
        module = fit_module(settings)
    module.configure_optimizers()  # some options only torch can judge; those that are used are made by Lightning
    if settings.root.ckpt_path is not None:
        check_checkpoint(Path(settings.root.ckpt_path), module)
    interruption = Interruption()
    identity = {
        "name": settings.name,
        "config_hash": config_hash({k: v for k, v in settings.plain.items() if k not in _NOT_IDENTITY}),
        "signal_name": settings.data.title,
    }
    callbacks: list[L.Callback] = [
        interruption,
        CurveFile(),
        *settings.callbacks.values(),
        # Last, so that run.json says completed when everything else is there.
        Manifest(identity, interruption, started=made),
        # But for mirrors of the run directory, which read it.
        *settings.logger.callbacks(settings.name, settings.plain, note_unsent),
    ]
    trainer = make_trainer(
        accelerator=settings.trainer.accelerator,
        precision=settings.trainer.precision,
        callbacks=callbacks,
        devices=settings.trainer.devices,
        threads=settings.trainer.threads,
        tf32=settings.trainer.tf32,
        cuda_graphs=settings.trainer.cuda_graphs,
    )
    check_devices(trainer, module)
    if settings.root.engine in ("fused", "tiled") and trainer.precision == "64-true":
        raise PartinrError(
            f"engine={settings.root.engine} has no double precision; choose engine=auto, or trainer.precision=32-true"
        )
    if settings.root.engine == "compiled" and settings.trainer.tf32:
        raise PartinrError("engine=compiled and trainer.tf32=true do not go together; choose engine=auto")
    if settings.root.engine == "grouped" and trainer.precision != "bf16-mixed":
        raise PartinrError("engine=grouped computes in bf16; choose engine=auto, or trainer.precision=bf16-mixed")
    module.model.check_device(trainer.strategy.root_device)
    if isinstance(module, MetaModule):
        dtype = torch.float64 if trainer.precision == "64-true" else torch.float32
        module.check_gradient(trainer.strategy.root_device, dtype)
    return _Prepared(settings, module, data, trainer, interruption, callbacks)


def _carry_out(prepared: _Prepared, run: RunDirectory) -> Outcome:
    for callback in prepared.callbacks:
        if isinstance(callback, RunCallback):
            callback.bind(run)
    launcher = prepared.trainer.strategy.launcher
    try:
        with prepared.interruption.listening(forward=None if launcher is None else launcher.kill):
            result = run_fit(prepared.module, prepared.trainer, prepared.settings.root.ckpt_path, prepared.data)
    except RankError as error:
        if prepared.settings.root.debug == "trace" and error.trace:
            print(error.trace, file=sys.stderr)
        return Outcome(run, 1)
    if prepared.interruption.received is not None and result.stop is None and result.failure is None:
        return Outcome(run, 128 + prepared.interruption.received)
    return Outcome(run, 0 if result.failure is None else 1)

"""Writes ``run.json``: identity and status of a run, its machine and versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch

from partinr.base.errors import reason
from partinr.base.stopping import said
from partinr.base.version import __version__
from partinr.callbacks.base import Regime, RunCallback, regime
from partinr.callbacks.interruption import Interruption
from partinr.runs.layout import REPEATS, WEIGHTS, of_image
from partinr.runs.sharing import pace

PACKAGES = (
    "torch",
    "lightning",
    "numpy",
    "hydra-core",
    # These decode images and make label maps.
    "opencv-contrib-python-headless",
    "pillow",
    "scikit-image",
    "scipy",
    "segmentation-models-pytorch",
)


class Manifest(RunCallback):
    """Writes ``run.json`` at the start, after every evaluation and at the end, and the weights before ``completed``.

    Only the first of several processes writes. Memory and threads are those of the first process; ``pid`` is the parent
    process, which lives as long as any of them.

    Args:
        identity: facts about the run from the config (``name``, ``config_hash``, ``signal_name``) and for a repetition:
            ``inputs``, the SHA-256 of the run's input files, and ``code``, the classes of other packages with their
            distribution, version and the SHA-256 of their source.
        interruption: tells whether a signal stopped the run.
        started: start of the set-up, by :func:`time.perf_counter`.
    """

    def __init__(self, identity: Mapping[str, Any], interruption: Interruption, started: float) -> None:
        self.identity = dict(identity)
        self._interruption = interruption
        self._made = started
        self._pid = os.getpid()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._setup = 0.0
        self._rows = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start to measure peak memory."""
        reset_peak_memory(pl_module.device)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the end of the set-up."""
        self._setup = time.perf_counter() - self._made
        self._write(trainer, pl_module, "running")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the progress after every evaluation, for readers during the run or after it was killed."""
        if len(regime(pl_module).curve) != self._rows:
            self._write(trainer, pl_module, "running")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write weights and final status."""
        module = regime(pl_module)
        if trainer.is_global_zero:
            files = self.run.regime.files
            file = files.get("weights") or files.get("start", WEIGHTS)
            for name, content in module.weights():
                self.run.write(of_image(name, file), content)
            for name, content in module.best() if "best" in files else ():
                self.run.write(of_image(name, files["best"]), content)
        if module.failure is not None:
            self._write(trainer, pl_module, "failed", module.failure, final=True)
        elif module.stop_reason is None:
            number = self._interruption.received
            message = "stopped" if number is None else said(number)
            self._write(trainer, pl_module, "interrupted", message, final=True)
        else:
            self._write(trainer, pl_module, "completed", module.ended_by, final=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write the status and reason of a run that ended with an exception."""
        interrupted = isinstance(exception, (KeyboardInterrupt, SystemExit))
        status = "interrupted" if interrupted else "failed"
        # Before training, and in a process that delegates it to others, the existing file has more information.
        known = {} if self._setup else self.run.manifest()
        # On a full disk the file keeps saying "running"; the first exception matters more than this one.
        with suppress(OSError):
            self._write(trainer, pl_module, status, reason(exception), known)

    @cached_property
    def _kept(self) -> dict[str, Any]:
        """The entries that ``run.json`` has had since the run was made."""
        manifest = self.run.manifest()
        return {key: manifest[key] for key in ("regime", REPEATS) if manifest.get(key) is not None}

    def _write(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        status: str,
        message: str | None = None,
        known: Mapping[str, Any] | None = None,
        final: bool = False,
    ) -> None:
        if not trainer.is_global_zero:
            return
        module = regime(pl_module)
        last = module.curve[-1] if module.curve else {}
        self._rows = len(module.curve)
        facts = {**module.begun, **module.facts()}
        now = {
            "status": status,
            "message": message,
            "pid": self._pid,
            "started": self._started,
            "finished": None if status == "running" else datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.run.write_manifest(
            {
                **now,
                "name": self.identity["name"],
                **self._kept,
                "config_hash": self.identity["config_hash"],
                "inputs": self.identity.get("inputs", {}),
                "code": self.identity.get("code", {}),
                "seed": module.seed,
                **facts,
                "metrics": {
                    "psnr": last.get("psnr"),
                    "ssim": last.get("ssim"),
                    "psnr_best": module.best_psnr if module.curve else None,
                    **facts.get("metrics", {}),
                    **(module.final_metrics() if final else {}),
                },
                "steps": module.step,
                "points_per_step": module.points_per_step,
                "stop": module.stop_reason,
                "seconds": {
                    "setup": self._setup,
                    "training": module.clock.training,
                    "evaluation": module.clock.evaluation,
                    **module.begun.get("seconds", {}),
                    **facts.get("seconds", {}),
                },
                "cpu_seconds": {"training": module.clock.training_cpu, "evaluation": module.clock.evaluation_cpu},
                "machine": _machine(module, trainer),
                "peak_memory_bytes": peak_memory(module.device),
                "signal": {"name": self.identity["signal_name"], **facts["signal"]},
                "hardware": {**processes(module, trainer.world_size), **hardware(module.device)},
                "versions": versions(),
                "git": git_state(),
                **(known or {}),
                **now,
            }
        )


def _machine(module: Regime, trainer: L.Trainer) -> dict[str, Any]:
    """Facts for :func:`partinr.runs.sharing.sharing`: cores and threads of the machine, waiting, and pace."""
    threads = torch.get_num_threads() * trainer.num_devices
    return {"cores": os.cpu_count(), "threads": threads, **module.machine.facts(), "pace": pace(module.curve)}


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak, since a sweep executes many runs in one process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # not Linux, or no permission: the peak then covers the whole process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int:
    """Peak memory since :func:`reset_peak_memory` in bytes: of the tensors on a GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # In kilobytes on Linux, in bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processes(module: Regime, devices: int) -> dict[str, Any]:
    """The number of processes, and what they divide."""
    return {"devices": devices, "shard": module.divides(devices)}


def hardware(device: torch.device) -> dict[str, Any]:
    """Device, system, processor with its widest instructions, cores, threads and graphics card."""
    return {
        "device": str(device),
        "system": platform.platform(),
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


@cache
def _cpu() -> str:
    with_name = Path("/proc/cpuinfo")
    if with_name.is_file():
        for line in with_name.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect a curve."""
    found = {"partinr": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def git_state() -> dict[str, Any]:
    """Commit of the checkout that partinr runs from, whether it has changes, and their SHA-256.

    None, False and None outside a checkout. Untracked files do not count as changes.
    """
    folder = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=10,
                check=True,
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    # A wheel may be installed inside another checkout, whose commit says nothing about partinr.
    if git("rev-parse", "--show-toplevel") != str(folder):
        return {"commit": None, "dirty": False, "diff": None}
    dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
    diff = git("diff", "HEAD") if dirty else None
    digest = None if diff is None else hashlib.sha256(diff.encode(errors="surrogateescape")).hexdigest()
    return {"commit": git("rev-parse", "HEAD"), "dirty": dirty, "diff": digest}

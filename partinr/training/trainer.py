"""Training a module: the Trainer and its data."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.machine import cores
from partinr.base.notes import print_note
from partinr.engines.base import cuda_products
from partinr.training.checkpoint import LocalFiles, check_checkpoint
from partinr.training.graphs import CudaGraphs
from partinr.training.guests import flags_for
from partinr.training.loop import TrainingLoop
from partinr.training.nodes import Host, Nodes
from partinr.training.processes import ShardStrategy, check_can_be_sent
from partinr.training.quiet import quiet_lightning
from partinr.training.result import FitResult

Deterministic = bool | Literal["warn"]

_PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}


class Ticks:
    """An endless stream of numbers that Lightning can stop and resume anywhere."""

    def __init__(self) -> None:
        self._count = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            yield self._count
            self._count += 1

    def state_dict(self) -> dict[str, Any]:
        """Position in the stream."""
        return {"count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position."""
        self._count = state["count"]


class SignalDataModule(L.LightningDataModule):
    """The data of an ordinary fit: only ticks, since the module holds the signal on the device as buffers."""

    def train_dataloader(self) -> Ticks:
        """One endless epoch; the regime decides when it ends."""
        return Ticks()


class _TorchFlags(L.Callback):
    """Sets flags of torch, in every process, for the duration of a run.

    Args:
        tf32: see :func:`make_trainer`.
        deterministic: likewise.
    """

    def __init__(self, tf32: bool, deterministic: Deterministic) -> None:
        self._tf32, self._deterministic, self._set = tf32, deterministic, ExitStack()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set the flags."""
        self._set.enter_context(cuda_products(self._tf32))
        if self._deterministic:
            self._set.enter_context(_deterministic_algorithms(self._deterministic == "warn"))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore the flags."""
        self._set.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore the flags: Lightning calls no teardown after an exception."""
        self._set.close()


@contextmanager
def _deterministic_algorithms(only_warn: bool) -> Iterator[None]:
    """Let torch refuse, or warn of, operations whose result differs from run to run, within the context."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which torch asks for on CUDA
    torch.use_deterministic_algorithms(True, warn_only=only_warn)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


class OwnTrainer(L.Trainer):
    """A Lightning Trainer that trains in partinr's own environment, see :func:`partinr.base.environment.door`."""

    fit = door(L.Trainer.fit)


@door
def make_trainer(
    *,
    accelerator: str = "auto",
    precision: str | int = "32-true",
    callbacks: Iterable[L.Callback] = (),
    devices: int = 1,
    nodes: Nodes | None = None,
    threads: int | None = None,
    tf32: bool = False,
    cuda_graphs: bool = False,
    deterministic: Deterministic = False,
    profiler: Literal["simple", "advanced"] | None = None,
    log_every_n_steps: int = 50,
    loggers: Iterable[Logger] = (),
    folder: str | Path | None = None,
) -> L.Trainer:
    """A Lightning Trainer without the parts that partinr's loop replaces.

    Args:
        accelerator: Lightning's flag: ``auto``, ``cpu``, ``gpu`` …
        precision: Lightning's flag: ``32-true``, ``bf16-mixed``, ``16-mixed``, ``64-true`` …
        callbacks: Lightning callbacks.
        devices: number of devices on each machine. Each of several devices has a process that trains some of the
            networks.
        nodes: the machines; None for this machine alone.
        threads: CPU threads for each of several processes; None to divide torch's equally.
        tf32: whether single-precision products on CUDA may round their factors to 10 bits.
        cuda_graphs: whether to replay steps as a graph on CUDA if possible (:mod:`partinr.training.graphs`).
        deterministic: Lightning's flag: whether torch refuses operations whose result differs from run to run; ``warn``
            to be warned of them.
        profiler: Lightning's flag; the profile becomes a file in ``folder``.
        log_every_n_steps: Lightning's flag, for callbacks that log between two evaluations.
        loggers: Lightning loggers; they get each row of the curve, and what callbacks log.
        folder: folder of files that callbacks and profilers write; None for the working directory.

    Raises:
        PartinrError: Lightning refuses the flags on this machine, or a CPU has far fewer cores than ``devices``.
    """
    nodes = nodes or Nodes()
    alone, callbacks = devices == nodes.size == 1, list(callbacks)
    with quiet_lightning():
        # Refused below.
        warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
        try:
            trainer = OwnTrainer(
                accelerator=accelerator,
                devices=devices,
                num_nodes=nodes.size,
                strategy="auto" if alone else ShardStrategy(threads, nodes),
                use_distributed_sampler=False,
                precision=precision,  # type: ignore[arg-type]
                callbacks=[_TorchFlags(tf32, deterministic), CudaGraphs(cuda_graphs), *callbacks],
                logger=list(loggers),
                max_epochs=-1,
                log_every_n_steps=log_every_n_steps,
                profiler=None if profiler is None else _PROFILERS[profiler](dirpath=folder, filename="profile"),
                default_root_dir=folder,
                **flags_for(callbacks),
                # On a cluster, Lightning would treat the number of tasks as a process group to join.
                plugins=[LightningEnvironment() if alone else Host(nodes.rank), LocalFiles()],
            )
        except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
            reason = " ".join(str(error).split())
            with_devices = f"trainer.devices={devices} with " if devices > 1 else ""
            cure = "; give fewer trainer.devices, or trainer.accelerator=cpu" if devices > 1 else ""
            raise PartinrError(
                f"{with_devices}trainer.accelerator={accelerator} with trainer.precision={precision}: {reason}{cure}"
            ) from error
    _check_cores(trainer, devices)
    if trainer.precision != precision and str(trainer.precision) != f"{precision}-true":
        # Lightning falls back to another precision, and the curve would have the wrong label.
        raise PartinrError(
            f"trainer.precision={precision} is not to be had on this device; give trainer.precision={trainer.precision}"
        )
    return trainer


PROCESSES_PER_CORE = 4
"""More processes of one run than this on a CPU core spend their time on starting."""


def _check_cores(trainer: L.Trainer, devices: int) -> None:
    """Check that a CPU has cores for the processes of several devices.

    Raises:
        PartinrError: there are far more processes than cores.
    """
    if trainer.strategy.root_device.type == "cpu" and devices > PROCESSES_PER_CORE * cores():
        raise PartinrError(
            f"trainer.devices={devices} would start {devices} processes on this CPU, which has {cores()} cores to use; "
            f"give trainer.devices={cores()}"
        )


@door
def run_fit(
    module: TrainingLoop,
    trainer: L.Trainer,
    ckpt_path: str | Path | None = None,
) -> FitResult[Any]:
    """Train a module after a check of the checkpoint.

    Args:
        module: module of any regime.
        trainer: a Lightning Trainer.
        ckpt_path: continue from this checkpoint.

    Raises:
        PartinrError: the checkpoint is missing, damaged or from another run, or there are more devices than networks.
        RankError: one of several processes died or raised.
    """
    if note := check_run(module, trainer, ckpt_path):
        print_note(note)
    with quiet_lightning():
        trainer.fit(module, datamodule=module.data or SignalDataModule(), ckpt_path=ckpt_path, weights_only=True)
    return FitResult.of(module)


@door
def check_run(module: TrainingLoop, trainer: L.Trainer, ckpt_path: str | Path | None) -> str | None:
    """Check that a trainer can train a module, and continue from a checkpoint.

    Returns:
        A note about the checkpoint, see :func:`check_checkpoint`.

    Raises:
        PartinrError: the optimiser refuses its options; the checkpoint is missing, damaged or from another run; there
            are more processes than networks; or the module cannot be sent to them.
    """
    module.configure_optimizers()  # lets torch check the options; Lightning makes the optimiser that is used
    note = None if ckpt_path is None else check_checkpoint(Path(ckpt_path), module)
    module.check_devices(trainer.world_size)
    module.stop.check(trainer.strategy.root_device)
    if trainer.world_size > 1:
        check_can_be_sent(trainer, module)
    return note

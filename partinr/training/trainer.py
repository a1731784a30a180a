"""How a regime's module is trained: the Trainer, the checkpoint to go on from, and what came of it."""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.plugins.environments import LightningEnvironment

from partinr.base.errors import PartinrError
from partinr.model.album import Album
from partinr.model.inr import PiecewiseINR
from partinr.training.graphs import CudaGraphs
from partinr.training.loop import Learning, StopReason
from partinr.training.processes import Host, Nodes, ShardStrategy, check_can_be_sent
from partinr.training.ticks import SignalDataModule

Model = TypeVar("Model", PiecewiseINR, Album)


@dataclass(frozen=True, repr=False)
class FitResult(Generic[Model]):
    """What a fit gave.

    Attributes:
        model: the fitted model (the one that was given).
        curve: a row an evaluation, see :data:`partinr.runs.directory.CURVE_COLUMNS`.
        image_curve: of an album a row an evaluation and image, see :data:`partinr.runs.directory.IMAGE_COLUMNS`; else empty.
        psnr: at the end, in dB, over data range 1 on values clamped to [0, 1]; of an album the mean over images.
        ssim: at the end, likewise; NaN where there is none.
        psnr_best: highest of the curve.
        steps: optimiser steps taken.
        seconds: of training alone.
        stop: why it ended: ``max_steps``, ``max_seconds``, ``target_psnr``, ``all_frozen``, ``all_reached``; None if it
            was interrupted or failed.
        failure: why it failed, in one line, or None. The model then has its best weights.
    """

    model: Model
    curve: list[dict[str, float]]
    image_curve: list[dict[str, Any]]
    psnr: float
    ssim: float
    psnr_best: float
    steps: int
    seconds: float
    stop: StopReason | None
    failure: str | None

    def __repr__(self) -> str:
        # Without the curves, which may have thousands of rows.
        ending = f"stop={self.stop!r}" if self.failure is None else f"failure={self.failure!r}"
        figures = f"steps={self.steps}, psnr={self.psnr:.2f}, seconds={self.seconds:.1f}"
        return f"FitResult({figures}, {ending}, model={self.model!r})"

    @classmethod
    def of(cls, module: Learning) -> FitResult[Any]:
        """The result of a module that has been trained."""
        last = module.curve[-1]
        model: Any = module.model
        return FitResult(
            model=model,
            curve=module.curve,
            image_curve=module.image_curve,
            psnr=last["psnr"],
            ssim=last["ssim"],
            psnr_best=module.best_psnr,
            steps=module.step,
            seconds=module.clock.training,
            stop=module.stop_reason,
            failure=module.failure,
        )


class _CudaProducts(L.Callback):
    """Says, in every process, how precise CUDA's single-precision products are, for the time of a run."""

    def __init__(self, tf32: bool) -> None:
        self.tf32 = tf32
        # From torch 2.9 on; the older name must not be used beside it.
        self._name = "fp32_precision" if hasattr(torch.backends.cuda.matmul, "fp32_precision") else "allow_tf32"
        self._before: Any = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set it."""
        self._before = getattr(torch.backends.cuda.matmul, self._name)
        precision: Any = self.tf32 if self._name == "allow_tf32" else ("tf32" if self.tf32 else "ieee")
        setattr(torch.backends.cuda.matmul, self._name, precision)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Put it back."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Put it back; Lightning calls no teardown after an exception."""
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            setattr(torch.backends.cuda.matmul, self._name, self._before)
            self._before = None


class _LocalFiles(TorchCheckpointIO):
    """Checkpoints as files of this machine.

    Lightning would write each to the system's folder for temporary files first, which may be full or slow while there
    is room where the run is, and takes a path with ``::`` in it for one of another machine.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write it. Into memory first: torch has other errors for a disk that is full."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            with Path(path).open("wb") as file:
                file.write(content.getbuffer())
        except OSError as error:
            error.filename = str(path)  # a write that fails names no file
            raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read it."""
        found: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=weights_only)
        return found


def make_trainer(
    *,
    accelerator: str = "auto",
    precision: str | int = "32-true",
    callbacks: Iterable[L.Callback] = (),
    devices: int = 1,
    nodes: Nodes | None = None,
    threads: int | None = None,
    tf32: bool = False,
    cuda_graphs: bool = True,
) -> L.Trainer:
    """A Lightning Trainer with everything off that the regime does itself.

    Args:
        accelerator: Lightning's flag: ``auto``, ``cpu``, ``gpu`` …
        precision: Lightning's flag: ``32-true``, ``bf16-mixed``, ``16-mixed``, ``64-true`` …
        callbacks: Lightning callbacks.
        devices: how many on each machine; each of several has a process of its own, and trains some of the networks.
        nodes: the machines, where there are several.
        threads: of the CPU for each of several processes; None for an equal part of torch's.
        tf32: let CUDA's single-precision products round their factors to 10 bits.
        cuda_graphs: on CUDA, replay steps as a graph where that can be done (:mod:`partinr.training.graphs`).

    Raises:
        PartinrError: Lightning refuses the flags on this machine.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    nodes = nodes or Nodes()
    alone = devices == nodes.size == 1
    with quiet_lightning():
        # What this warns of is refused below.
        warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
        try:
            trainer = L.Trainer(
                accelerator=accelerator,
                devices=devices,
                num_nodes=nodes.size,
                strategy="auto" if alone else ShardStrategy(threads, nodes),
                use_distributed_sampler=False,
                precision=precision,  # type: ignore[arg-type]
                callbacks=[_CudaProducts(tf32), CudaGraphs(cuda_graphs), *callbacks],
                logger=False,
                max_epochs=-1,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                # On a cluster Lightning would take the number of tasks for a group to join; there is none.
                plugins=[LightningEnvironment() if alone else Host(nodes.rank), _LocalFiles()],
            )
        except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
            reason = " ".join(str(error).split())
            with_devices = f"trainer.devices={devices} with " if devices > 1 else ""
            cure = "; give fewer trainer.devices, or trainer.accelerator=cpu" if devices > 1 else ""
            raise PartinrError(
                f"{with_devices}trainer.accelerator={accelerator} with trainer.precision={precision}: {reason}{cure}"
            ) from error
    if trainer.precision != precision and str(trainer.precision) != f"{precision}-true":
        # Lightning takes another one by itself, and a curve would be labelled with what it was not made with.
        raise PartinrError(
            f"trainer.precision={precision} is not to be had on this device; give trainer.precision={trainer.precision}"
        )
    return trainer


def run_fit(
    module: Learning,
    trainer: L.Trainer,
    ckpt_path: str | Path | None = None,
    data: L.LightningDataModule | None = None,
) -> FitResult[Any]:
    """Train a module with a trainer, and see that a checkpoint fits first.

    Args:
        module: of either regime.
        trainer: a Lightning Trainer.
        ckpt_path: go on from this checkpoint.
        data: the tasks of learning to learn; None for a signal, which the module holds itself.

    Raises:
        PartinrError: the checkpoint is missing, damaged, or another run's; or there are more devices than networks.
        RankError: one of several processes died or raised.
    """
    check_devices(trainer, module)
    if ckpt_path is not None:
        check_checkpoint(Path(ckpt_path), module)
    with quiet_lightning():
        trainer.fit(module, datamodule=data or SignalDataModule(), ckpt_path=ckpt_path, weights_only=True)
    return FitResult.of(module)


def check_devices(trainer: L.Trainer, module: Learning) -> None:
    """See that a module can be trained by as many processes as the trainer would start.

    Raises:
        PartinrError: there are more of them than there is work for, or something of the module cannot be sent to them.
    """
    module.check_devices(trainer.world_size)
    if trainer.world_size > 1:
        check_can_be_sent(trainer, module)


def check_checkpoint(path: Path, module: Learning) -> None:
    """See that a module can go on from a checkpoint.

    Raises:
        PartinrError: the checkpoint is missing, damaged, another run's, or beyond the end of this one.
    """
    if not path.is_file():
        raise PartinrError(f"ckpt_path={path} does not exist; give the checkpoints/last.ckpt of a run directory")
    fingerprint, step = read_checkpoint(path)
    found = _leaves(fingerprint)
    expected = _leaves(module.fingerprint())
    differing = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
    if differing:
        key = differing[0]
        raise PartinrError(
            f"ckpt_path={path} is from another run: its {key} is {found.get(key)}, here it is "
            f"{expected.get(key)}; continue it as it was with: partinr resume RUN_DIR"
        )
    if module.stop.max_steps is not None and step > module.stop.max_steps:
        raise PartinrError(
            f"ckpt_path={path} has {step} steps behind it, max_steps is {module.stop.max_steps}; give a larger one"
        )


def read_checkpoint(path: Path) -> tuple[dict[str, Any], int]:
    """Fingerprint and steps of a checkpoint, all of which has been read: every byte is as it was written.

    Raises:
        PartinrError: it is damaged, or no checkpoint at all.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch itself does not look at the checksums.
            if archive.testzip() is not None:
                raise ValueError("a checksum differs")
        state = torch.load(path, map_location="cpu", weights_only=True)["partinr"]
        return dict(state["fingerprint"]), int(state["step"])
    except Exception as error:
        # torch, zipfile and pickle raise a dozen kinds here; all of them say that this is no checkpoint.
        raise PartinrError(
            f"ckpt_path={path} is no partinr checkpoint, or it is damaged; "
            "give the checkpoints/last.ckpt of a run directory"
        ) from error


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of dictionaries as one, the keys dotted."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(_leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


@contextmanager
def quiet_lightning() -> Any:
    """Lightning's greetings and advice stay away; what goes wrong is still raised."""
    loggers: Sequence[logging.Logger] = [
        logging.getLogger(name)
        for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 asks torch 2.13 for a name that torch means to drop; nothing that a user could change.
            warnings.filterwarnings(
                "ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated", category=FutureWarning
            )
            # Said on every machine that has Slurm, where a run is started without it.
            warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

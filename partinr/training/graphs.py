"""Optimiser steps on a GPU as a CUDA graph: recorded once, then replayed.

A step of a thin stack is a few dozen kernels of microseconds each, and launching them from Python takes longer than
running them. ``trainer.cuda_graphs=true`` therefore records a step and replays it. The default is false:
docs/guides/speed.md says what has been run on a GPU.

The first steps of a shard are taken one by one on a side stream, as torch requires before a recording: they compile
kernels, make workspaces and create the optimiser's state. These are ordinary steps of the run. Then a step is recorded,
which computes nothing, and replayed from then on: forward, backward and optimiser use the same memory as in the
recording. The learning rate is a number on the device that is written before a replay.

A graph cannot follow changing sizes, so it is recorded again when the shard changes (regions freeze). Graphs do not
support drawn points, half-precision scaling, callbacks within a step, and optimisers other than torch's fused Adam,
AdamW and SGD.

Tests record on a CPU, with a stand-in that repeats the recorded operations on the same memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from partinr.base.errors import PartinrWarning
from partinr.engines.cache import holding

WARM_UP = 3
"""Steps of a shard before the recording, as many as in torch's examples."""

_OPTIMIZERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


def can_be_graphed(device: torch.device, precision: str, optimizer: torch.optim.Optimizer) -> bool:
    """Whether steps that all see the same samples can be recorded and replayed.

    Args:
        device: device of the steps.
        precision: Lightning's precision flag.
        optimizer: the optimiser; it must be fused, since others keep numbers on the host.
    """
    return (
        device.type == "cuda"
        # With 16-mixed, the host decides whether to skip a step.
        and precision in ("32-true", "bf16-mixed")
        and type(optimizer) in _OPTIMIZERS
        and all(group.get("fused") for group in optimizer.param_groups)
    )


class CudaGraphs(L.Callback):
    """Tells a regime whether it may record its steps.

    Args:
        allowed: whether steps may be recorded, if they can be.
    """

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set the module's ``cuda_graphs``."""
        module: Any = pl_module
        module.cuda_graphs = self.allowed


class GraphedSteps:
    """Takes the steps of an optimiser, and replays them as a graph once it is recorded.

    If a step cannot be recorded, all steps are taken one by one, after a :class:`PartinrWarning`.

    Args:
        loss: the loss of a step: the same operations on the same memory every time.
        optimizer: takes the steps, see :func:`can_be_graphed`.
    """

    def __init__(self, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
        self._loss_of, self._optimizer = loss, optimizer
        self._failed = False
        self._share: object = None
        self._forget()

    def _forget(self) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None
        self._taken = 0
        self._loss: Tensor | None = None
        self._rates: list[tuple[Tensor, float]] = []
        # Keep the index tensors that the graph reads, since their cache may drop them.
        self._held: list[Any] = []

    def take(self, share: object) -> Tensor:
        """Take one step.

        Args:
            share: the data that the loss and the optimiser work on; a new one needs a new graph.

        Returns:
            the loss, a scalar on the device that the next step may overwrite.
        """
        if share is not self._share:
            self._forget()
            self._share = share
        if self._graph is None and not self._failed:
            if self._taken < WARM_UP:
                self._taken += 1
                return self._step_aside()
            try:
                self._record()
            except RuntimeError as error:
                self._forget()
                self._failed = True
                reason = " ".join(str(error).split())[:200]
                warnings.warn(
                    f"steps are taken one by one, since CUDA cannot record them: {reason}; "
                    "trainer.cuda_graphs=false does not try",
                    PartinrWarning,
                    stacklevel=2,
                )
        if self._graph is None:
            self._optimizer.zero_grad()
            return self._step()
        assert self._loss is not None
        self._write_rates()
        self._graph.replay()
        return self._loss

    def _step(self) -> Tensor:
        """One step from gradients that are None."""
        loss = self._loss_of()
        loss.backward()
        self._optimizer.step()
        # Detached, since the autograd graph would tie the next step's gradients to the stream of this one.
        return loss.detach()

    def _step_aside(self) -> Tensor:
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._optimizer.zero_grad()
            loss = self._step()
        here.wait_stream(aside)
        return loss

    def _record(self) -> None:
        # Gradients are None here, so the recording allocates them in the graph's memory and every replay overwrites
        # them.
        self._optimizer.zero_grad()
        groups = self._optimizer.param_groups
        before: list[dict[str, Any]] = [
            {name: group[name] for name in ("lr", "capturable") if name in group} for group in groups
        ]
        graph = torch.cuda.CUDAGraph()
        self._rates = [
            (torch.full((), float(group["lr"]), device=group["params"][0].device), float(group["lr"]))
            for group in groups
        ]
        try:
            for group, (rate, _) in zip(groups, self._rates, strict=True):
                # For the recording only: schedule and checkpoints expect a number.
                group["lr"] = rate
                if "capturable" in group:
                    group["capturable"] = True
            # thread_local: calls of other threads, such as NCCL's watchdog, do not invalidate the recording.
            # Lightning's autocast does not cache narrowed weights; cached weights would remain those of the recording.
            with holding() as self._held, torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._loss = self._step()
        finally:
            for group, values in zip(groups, before, strict=True):
                group.update(values)
        self._graph = graph

    def _write_rates(self) -> None:
        for number, group in enumerate(self._optimizer.param_groups):
            rate, written = self._rates[number]
            wanted = float(group["lr"])
            if wanted != written:
                rate.fill_(wanted)
                self._rates[number] = rate, wanted

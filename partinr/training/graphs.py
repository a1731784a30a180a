"""Optimiser steps on a GPU as a CUDA graph: recorded once, then replayed.

A step of a thin stack is a few dozen kernels of microseconds each, and Python takes longer to launch them than they
run. So ``trainer.cuda_graphs=true`` records a step and replays it; the default is false, until a GPU has shown that it
gains.

The first steps of a shard are taken one by one on a side stream, as torch requires before a recording: kernels are
compiled, workspaces made, and the optimiser gets its state. These are ordinary steps of the run. Then a step is
recorded, which computes nothing, and replayed from there on: forward, backward and optimiser read and write where they
did in the recording. The learning rate is a number on the device that is written before a replay.

A graph cannot follow changing sizes, so it is recorded anew when the shard changes (regions freeze). There is none for
drawn points, half-precision scaling, callbacks within a step, and optimisers other than torch's fused Adam, AdamW and
SGD.

Not run on a GPU yet: tests record on a CPU, with a stand-in for the graph that repeats the recorded operations on the
same memory.
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
"""Steps of a shard before one is recorded; torch's own examples take as many."""

_OPTIMIZERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


def can_be_graphed(
    device: torch.device, precision: str, optimizer: torch.optim.Optimizer, points_per_step: int | None
) -> bool:
    """Whether steps can be recorded and replayed.

    Args:
        device: where they are taken.
        precision: Lightning's flag.
        optimizer: with its options; it must be fused, since others keep numbers on the host.
        points_per_step: points drawn for each step; None for the full batch.
    """
    return (
        device.type == "cuda"
        # 16-mixed skips steps, which only the host can decide.
        and precision in ("32-true", "bf16-mixed")
        and points_per_step is None
        and type(optimizer) in _OPTIMIZERS
        and all(group.get("fused") for group in optimizer.param_groups)
    )


class CudaGraphs(L.Callback):
    """Tells a regime whether it may record its steps.

    Args:
        allowed: whether it may, where steps can be recorded at all.
    """

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Tell it."""
        module: Any = pl_module
        module.cuda_graphs = self.allowed


class GraphedSteps:
    """Takes the steps of an optimiser, as a graph as soon as there is one.

    Where a step cannot be recorded, all steps are taken one by one, after a :class:`PartinrWarning`.

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
        # The graph reads index tensors that their cache may drop.
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
        # Detached: if it were kept, the autograd graph would tie the next step's gradients to the stream of this one.
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
        # Without gradients the recording makes them in the graph's own memory, and every replay writes them anew.
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
                # For the recording only: schedule and checkpoints find a number.
                group["lr"] = rate
                if "capturable" in group:
                    group["capturable"] = True
            # thread_local: other threads, such as NCCL's watchdog, do not spoil the recording.
            # Lightning's autocast caches no narrowed weights; cached ones would stay those of the recording.
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

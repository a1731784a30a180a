"""Optimiser steps on a GPU as a CUDA graph: recorded once, then replayed.

A thin stack's step is a few dozen kernels that take microseconds each, and launching them one by one from Python takes
longer than they do.

The first steps of a share are taken one by one, on a stream aside, as torch wants it before a recording: kernels are
compiled, workspaces made, the optimiser gets its state. They are steps of the run like all others. Then a step is
recorded, which computes nothing, and from there on replayed: forward, backward and optimiser read and write where they
did when it was recorded. The learning rate is a number on the device that is written before a replay.

A graph cannot follow sizes that change, so it is recorded anew when the share does (regions freeze), and drawn points
have none. Neither have half-precision scaling, callbacks within a step, and optimisers but torch's fused Adam, AdamW
and SGD.

Neither run nor timed on a GPU yet: on a CPU the same recordings are tested with a stand-in for the graph that repeats
the recorded operations on the same memory.
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
"""Steps of a share that are taken before one is recorded; torch's own examples take as many."""

_OPTIMIZERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


def can_be_graphed(
    device: torch.device, precision: str, optimizer: torch.optim.Optimizer, points_per_step: int | None
) -> bool:
    """Whether steps can be recorded and replayed.

    Args:
        device: where they are taken.
        precision: Lightning's flag.
        optimizer: with its options; one that is not fused keeps numbers on the host.
        points_per_step: drawn for each step, None for the full batch.
    """
    return (
        device.type == "cuda"
        # 16-mixed leaves steps out, which only the host can decide.
        and precision in ("32-true", "bf16-mixed")
        and points_per_step is None
        and type(optimizer) in _OPTIMIZERS
        and all(group.get("fused") for group in optimizer.param_groups)
    )


class CudaGraphs(L.Callback):
    """Says whether a regime may record its steps.

    Args:
        allowed: where they can be recorded at all.
    """

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Say it."""
        module: Any = pl_module
        module.cuda_graphs = self.allowed


class GraphedSteps:
    """Takes the steps of an optimiser, as a graph as soon as there is one.

    Where a step cannot be recorded, all are taken one by one, and a :class:`PartinrWarning` says so.

    Args:
        loss: the loss of a step, from the same memory every time, in no other order of operations.
        optimizer: whose steps they are, see :func:`can_be_graphed`.
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
        # Index tensors that the graph reads: their cache may drop them.
        self._held: list[Any] = []

    def take(self, share: object) -> Tensor:
        """Take one step.

        Args:
            share: what the loss and the optimiser have at hand; another one than at the last step needs another graph.

        Returns:
            the loss, a scalar on the device, which the next step may overwrite.
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
        # Detached: kept for the next step, the autograd graph would tie its gradients to the stream of this one.
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
        # So that gradients are made in the graph's own memory, and written anew at every replay.
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
                # For the recording only: schedule, checkpoints and whoever else looks find a number.
                group["lr"] = rate
                if "capturable" in group:
                    group["capturable"] = True
            # thread_local: what other threads do meanwhile, NCCL's watchdog for one, does not spoil it.
            # Lightning's autocast keeps no narrowed weights; kept, they would be those of the recording for ever.
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

"""Ordinary training of networks together with the gate that gives each of them its samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.model.signal_stack import SignalStack
from partinr.partition import Gate, Partition
from partinr.regimes.fit.module import FitModule
from partinr.training.gated import Gating
from partinr.training.samples import Samples

_LABELS = "partition.labels"
"""Key of the label map among the weights that a run keeps."""


class GatedFit(FitModule):
    """A fit whose regions move until a fraction of the run; from then on it is an ordinary one.

    Evaluations are those of the model with hard labels, as its file has them, also while several networks contribute to
    a sample in training.

    Args:
        model: the model to fit, with the regions that the gate begins with; trained in place.
        signals: its signal, float32 ``[*grid, C]`` in [0, 1].
        gate: the gate, which is trained, too.
        options: as for :class:`FitModule`.

    Raises:
        PartinrError: the settings do not go with a gate.
    """

    model: PiecewiseINR

    @door
    def __init__(self, model: SignalStack, signals: Tensor | Sequence[Tensor], *, gate: Gate, **options: Any) -> None:
        super().__init__(model, signals, **options)
        for problem in _problems(self, gate):
            raise PartinrError(problem)
        assert isinstance(model, PiecewiseINR)  # of one signal
        self.gate = gate
        coords = model.coords_at(model.partition.labels)
        self.gating = Gating(gate, model, coords, self.seen.targets, self.seen.weights)

    # -- regions ------------------------------------------------------------------------------------------------

    @property
    def _steps_of_gate(self) -> int:
        """Number of steps with the gate that are left, if the pace stays."""
        if not self.gating.open:
            return 0
        return max(0, self.stop.step_at(self.gate.rule.until, self.step, self.clock.spent) - self.step)

    def relabel(self, labels: Tensor) -> None:
        """Give each sample to the network of its label.

        Args:
            labels: int64 ``[*grid]``.
        """
        model, partition = self.model, Partition(labels, seconds=self.model.partition.seconds)
        model.partition, model.partitions = partition, (partition,)  # frames are global and stay
        model.__dict__.pop("macs_per_sample", None)
        self._make(model)
        self.shard, self._stepping = self._take_shard(), None

    # -- training -----------------------------------------------------------------------------------------------

    def parameters_for(self) -> torch.optim.Optimizer:
        """The optimiser of the networks; the gate follows its steps."""
        optimizer = super().parameters_for()
        self.gating.follow(optimizer)
        return optimizer

    def chunk(self) -> int:
        """Number of steps until Lightning's loop gets control again, all with the gate or all without."""
        steps, left = super().chunk(), self._steps_of_gate
        return min(steps, left) if left else steps

    def take_steps(self, steps: int, batch: Any) -> None:
        """Take optimiser steps; with the last of the gate's behind them, give each sample to one network for good."""
        if self.gating.open and self._steps_of_gate == 0:
            with self.clock.run("training", self.device, self.ranks):
                self.relabel(self.gate.labels())
            self.gating.open = False
        super().take_steps(steps, batch)

    @property
    def period(self) -> int | None:
        """The number of steps after which their samples repeat; None while the gate changes their weights."""
        return None if self.gating.open else super().period

    def samples_of(self, step: int) -> list[Samples]:
        """The samples of a step."""
        return self.gating.samples(step) if self.gating.open else super().samples_of(step)

    def macs_a_step(self) -> int:
        """Multiply-accumulates of the forward pass of one step, with those of the gate."""
        return self.gating.macs if self.gating.open else super().macs_a_step()

    def check_devices(self, devices: int) -> None:
        """Check that there is one process.

        Raises:
            PartinrError: there are more.
        """
        if devices > 1:
            raise PartinrError(
                f"partition={self.gate.rule.title} is trained in one process; "
                "give trainer.devices=1, or another partition"
            )

    # -- results ------------------------------------------------------------------------------------------------

    def measure(self) -> dict[str, float]:
        """The metrics of the model with the present labels."""
        if self.gating.open:
            self.relabel(self.gate.labels())
        return super().measure()

    def facts(self) -> dict[str, Any]:
        """The entries of ``run.json``; parameters and pre-training of the gate count."""
        found = super().facts()
        found["parameters"] += self.gate.parameter_count
        found["seconds"]["partition"] = (found["seconds"]["partition"] or 0.0) + self.gate.seconds
        return found

    # -- state --------------------------------------------------------------------------------------------------

    def weights_to_keep(self) -> dict[str, Tensor]:
        """A copy of the stack and of the labels."""
        return {**super().weights_to_keep(), _LABELS: self.model.partition.labels.clone()}

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Give the model weights and labels of a point of the curve."""
        self.relabel(weights[_LABELS])
        super().put({name: value for name, value in weights.items() if name != _LABELS})

    def progress(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {**super().progress(), "gating": self.gating.state()}

    def continue_from(self, state: dict[str, Any]) -> None:
        """Restore the :meth:`progress` of a checkpoint."""
        self.gating.continue_from(state["gating"])
        super().continue_from(state)


def _problems(module: FitModule, gate: Gate) -> Iterator[str]:
    """What does not go with a gate, each with what to give instead."""
    name, settings, model = gate.rule.title, module.settings, module.model
    if len(model.names) > 1:
        yield (
            f"partition={name} is trained for one signal, and data has {len(model.names)}; "
            "fit each in a run of its own, or choose another partition"
        )
    elif model.together:
        yield f"partition={name} has weights of its own; give overlap=0 and global_network=false"
    elif model.widths is not None:
        yield f"capacity gives each region its width, and partition={name} moves regions; leave capacity=equal"
    elif model.frames[0].centre is not None:
        yield f"coords.frame=local follows regions, which partition={name} moves; give coords.frame=global"
    elif module.start_steps or module._start[0] is not None:
        yield f"init was learned for regions that stay, and partition={name} moves them; leave init out"
    elif module.seen.joint is not None:
        yield f"{module.seen.joint} and partition={name} each need a loss of their own; leave one of the two out"
    if module.draws.points(module.samples, settings.points_per_step) is not None:
        yield f"partition={name} sees all samples in each step; give sampler=uniform and regime.points_per_step=null"
    taken = {"loss": "image", "border_weight": 1, "coarse_until": 0, "freeze_at_psnr": None}
    for key, instead in taken.items():
        if getattr(settings, key) != instead:
            said = "null" if instead is None else instead
            yield f"regime.{key} is for regions that stay, and partition={name} moves them; give regime.{key}={said}"

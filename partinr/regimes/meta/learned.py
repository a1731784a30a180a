"""A learned initialisation and its learning rates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from partinr.backbones import Backbone, backbone_name, load_backbone
from partinr.base.environment import door, follows_caller
from partinr.base.errors import PartinrError, check_choice
from partinr.coords import Frame
from partinr.engines import EngineName
from partinr.model.inr import PiecewiseINR
from partinr.model.serialise import deserialise, serialise
from partinr.model.stack import NetworkStack
from partinr.regimes.meta.inner import Order, adapt
from partinr.regimes.meta.inner_rates import InnerRates, RateKind
from partinr.regimes.meta.tasks import Context, InnerLoss, TaskBatch
from partinr.signals.channels import cure_for

FORMAT = 2
"""Version of the layout of ``initialisation.safetensors``. Version 2 has a checksum."""

INNER = ("inner_steps", "inner_lr", "inner_lr_kind", "inner_lr_positive", "inner_loss", "adapt_layers")
"""Arguments of a :class:`LearnedStart` that describe the inner loop: settings of the regime, by the same names."""

UNSEALED = 1
"""The last version without a checksum."""


@dataclasses.dataclass(frozen=True)
class InnerObjective:
    """The squared error of a stack on its context, as an objective of :func:`partinr.regimes.meta.inner.adapt`.

    Attributes:
        networks: gives architecture and engine.
        context: the samples and their weights.
    """

    networks: NetworkStack
    context: Context

    def __call__(self, params: Mapping[str, Tensor], twice: bool) -> Tensor:
        """The sum over all samples, a scalar."""
        return self.networks.squared_error(*self.context, params, twice=twice)

    @property
    def has_hessian_vector(self) -> bool:
        """Whether the engine provides second derivatives."""
        own = self.context
        one = {name: value[:1].expand(len(own.sizes), *value.shape[1:]) for name, value in self.networks.stack.items()}
        return self.networks.has_hessian_vector(own.coords, own.sizes, one)

    def hessian_vector(self, params: Mapping[str, Tensor], along: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The Hessian times a direction, computed by the engine."""
        return self.networks.hessian_vector(self.context, params, along)


@door
class LearnedStart(nn.Module):
    """An initialisation from which a few inner steps fit a signal, and the learning rates of those steps.

    Args:
        backbone: architecture of every network.
        cells: number of rows of the initialisation, C: 1 if all regions share one, or one for each region of a grid,
            indexed by the region's number.
        in_features: coordinates per sample, d.
        channels: values per sample.
        inner_steps: number of inner steps in training, K; 1 or more.
        inner_lr: initial value of the rates.
        inner_lr_kind: kind of rates, see :class:`~partinr.regimes.meta.inner_rates.InnerRates`.
        inner_lr_positive: keep the rates above 0.
        inner_loss: the objective of a network, see :meth:`TaskBatch.context`.
        adapt_layers: number of layers that the inner loop changes, counted from the output; None for all. Raghu et al.,
            "Rapid Learning or Feature Reuse?" (2020), change only the last (ANIL).
        frame: frame of the coordinates.
        engine: how the stack is evaluated.
        seed: seed of the random initialisation before learning.

    Attributes:
        networks: the initialisation, a stack of C networks.
        rates: learning rates of the inner steps.

    Raises:
        PartinrError: an argument is out of range, or the backbone does not define its layers.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        cells: int = 1,
        in_features: int = 2,
        channels: int = 3,
        inner_steps: int = 3,
        inner_lr: float = 1e-5,
        inner_lr_kind: RateKind = "per_parameter_per_step",
        inner_lr_positive: bool = False,
        inner_loss: InnerLoss = "region",
        adapt_layers: int | None = None,
        frame: Frame = "global",
        engine: EngineName = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_choice("coords.frame", frame, get_args(Frame))
        check_choice("regime.inner_loss", inner_loss, get_args(InnerLoss))
        if cells < 1 or inner_steps < 1:
            raise PartinrError(f"cells={cells} and inner_steps={inner_steps}; give 1 or more of each")
        self.networks = NetworkStack(
            backbone, cells, in_features=in_features, channels=channels, engine=engine, seed=seed
        )
        self.cells = cells
        self.inner_steps = inner_steps
        self.inner_loss: InnerLoss = inner_loss
        self.adapt_layers = adapt_layers
        self.frame: Frame = frame
        self.adapted = self._adapted()
        adapted = {name: value for name, value in self.networks.stack.items() if name in self.adapted}
        self.rates = InnerRates(adapted, inner_lr_kind, inner_lr, inner_steps, inner_lr_positive)

    def _adapted(self) -> tuple[str, ...]:
        names = tuple(name for name in self.networks.stack if name not in self.networks.backbone.fixed)
        if self.adapt_layers is None:
            return names
        layers = self.networks.backbone.layers()
        if layers is None:
            raise PartinrError(
                f"regime.adapt_layers={self.adapt_layers}, but {self.networks.backbone.title} does not say which its "
                "layers are (Backbone.layers); leave the option out to adapt them all"
            )
        if not 1 <= self.adapt_layers <= len(layers):
            raise PartinrError(
                f"regime.adapt_layers={self.adapt_layers} is out of range; "
                f"{self.networks.backbone.title} has {len(layers)} layers"
            )
        return tuple(name for layer in layers[-self.adapt_layers :] for name in layer)

    # -- facts -------------------------------------------------------------------------------------------------

    @property
    def parameter_count(self) -> int:
        """Size of the initialisation in numbers, without the rates."""
        return self.networks.parameter_count

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.networks.device

    def check_engine(self, device: torch.device | None = None, precision: str = "32-true", tf32: bool = False) -> None:
        """Check that the engine can evaluate it, see :meth:`partinr.model.stack.NetworkStack.check_engine`."""
        self.networks.check_engine(device, precision, tf32)

    # -- evaluation ---------------------------------------------------------------------------------------------

    def start(self, batch: TaskBatch) -> dict[str, Tensor]:
        """Initial parameters of the networks of a batch: ``[N, *shape]`` each.

        Raises:
            PartinrError: a task's number of regions differs from the number of cells.
        """
        if self.cells == 1:
            count = len(batch.sizes)
            return {name: value.expand(count, *value.shape[1:]) for name, value in self.networks.stack.items()}
        if set(batch.regions) != {self.cells}:
            raise PartinrError(
                f"there is an initialisation for each of {self.cells} regions, but a task has "
                f"{next(each for each in batch.regions if each != self.cells)}; choose regime.initialisation=shared"
            )
        return {name: value.index_select(0, batch.cell) for name, value in self.networks.stack.items()}

    def objective(self, context: Context) -> InnerObjective:
        """The inner objective, summed over all networks."""
        return InnerObjective(self.networks, context)

    def rates_for(self, batch: TaskBatch) -> Callable[[int], dict[str, Tensor | float]]:
        """The learning rates of a batch's networks, by step."""
        cell = None if self.cells == 1 else batch.cell
        return lambda step: {name: self.rates.at(step, name, cell) for name in self.adapted}

    def adapt(
        self, batch: TaskBatch, context: Context, steps: int, *, order: Order = "none", recompute: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """Adapt all networks of a batch to their own samples, see :func:`partinr.regimes.meta.inner.adapt`."""
        objective = self.objective(context)
        return adapt(
            objective,
            self.start(batch),
            self.rates_for(batch),
            steps,
            order=order,
            recompute=recompute,
            curvature=objective.hessian_vector if order == "second" and objective.has_hessian_vector else None,
        )

    @follows_caller
    def error(self, batch: TaskBatch, params: Mapping[str, Tensor], weights: Tensor) -> Tensor:
        """The outer objective: squared errors of all samples, each times its weight."""
        return self.networks.squared_error(batch.coords, batch.targets, batch.sizes, weights, params)

    def values(self, batch: TaskBatch, params: Mapping[str, Tensor]) -> Tensor:
        """Values of all samples ``[M, C]``, not clamped."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.networks(batch.coords, batch.sizes, params)

    # -- start of an ordinary fit -------------------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, model: PiecewiseINR) -> None:
        """Initialise every network of a model.

        Raises:
            PartinrError: the model has other networks, blends them, or has a number of regions that differs from the
                number of cells.
        """
        if model.together:
            raise PartinrError(
                "an initialisation is learned for networks that have a region each to themselves; "
                "leave init out, or give overlap=0 and global_network=false"
            )
        own, other = self.networks, model
        if own.channels != other.channels:
            raise PartinrError(
                f"the initialisation was learned for {_channels(own.channels)}, and the signal has "
                f"{_channels(other.channels)}; {cure_for(own.channels)}"
            )
        if (own.backbone, own.in_features) != (other.backbone, other.in_features):
            raise PartinrError(
                f"the initialisation is one of {_describe(own)}, the model has {_describe(other)}; "
                "make the model with the backbone of the initialisation"
            )
        if other.widths is not None:
            raise PartinrError("an initialisation has one width, so the regions of a model need that too (capacity)")
        if self.cells not in (1, other.networks):
            raise PartinrError(
                f"there is an initialisation for each of {self.cells} regions, but the model has {other.networks}; "
                f"give partition.regions={self.cells}, as it was learned with"
            )
        for name, value in own.stack.items():
            other.stack[name].copy_(value.expand_as(other.stack[name]))

    # -- files --------------------------------------------------------------------------------------------------

    def architecture(self) -> dict[str, Any]:
        """What must be equal for one start to load the state of another: plain containers."""
        backbone = self.networks.backbone
        return {
            "backbone": backbone_name(backbone),
            "options": dataclasses.asdict(backbone),
            "cells": self.cells,
            "in_features": self.networks.in_features,
            "channels": self.networks.channels,
            "inner_steps": self.inner_steps,
            "inner_lr": self.rates.value,
            "inner_lr_kind": self.rates.kind,
            "inner_lr_positive": self.rates.positive,
            "inner_loss": self.inner_loss,
            "adapt_layers": self.adapt_layers,
            "frame": self.frame,
        }

    def to_bytes(self) -> bytes:
        """The content of a safetensors file: initialisation and rates, described in the header."""
        header = {"format": FORMAT, "engine": self.networks.engine, **self.architecture()}
        return serialise("partinr_start", header, self.state_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an ``initialisation.safetensors``.

        Raises:
            PartinrError: the file is missing, damaged, of a newer format, or not written by partinr.
        """

        def make(header: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
            start = cls(load_backbone(header.pop("backbone"), header.pop("options")), **header)
            start.load_state_dict(tensors)
            return start

        what, cure = "a readable initialisation of partinr", "the directory of a run with regime=meta"
        start: Self = deserialise(path, "partinr_start", FORMAT, make, what=what, cure=cure, unsealed=UNSEALED)
        return start


def _describe(networks: NetworkStack) -> str:
    return f"{networks.backbone} from {networks.in_features} coordinates"


def _channels(count: int) -> str:
    return f"{count} channel" if count == 1 else f"{count} channels"


Algorithm = Literal["maml", "fomaml", "reptile", "unadapted"]


@door
def outer_gradients(
    start: LearnedStart,
    batch: TaskBatch,
    context: Context,
    weights: Tensor,
    *,
    algorithm: Algorithm = "maml",
    steps: int | None = None,
    recompute: bool = False,
    tasks: int | None = None,
) -> Tensor:
    """Add the outer gradient of a meta-batch to ``.grad`` of all learned tensors, and return the outer objective.

    Args:
        start: the initialisation and rates that are learned.
        batch: the tasks.
        context: the samples that the tasks are adapted to.
        weights: weights of the outer objective (:meth:`TaskBatch.weights
            <partinr.regimes.meta.tasks.TaskBatch.weights>`).
        algorithm: ``maml``: the true gradient through the inner steps; ``fomaml``: the first-order one (Finn et al.,
            2017, section 5.2); ``reptile``: towards the result of the inner steps (Nichol et al., "On First-Order
            Meta-Learning Algorithms", 2018), averaged over the regions of a task, then over tasks; ``unadapted``: one
            network for all signals, without any inner step.
        steps: number of inner steps; None for that of the training.
        recompute: see :func:`partinr.regimes.meta.inner.adapt`.
        tasks: number of tasks of the whole meta-batch; None if this batch is the whole.

    Returns:
        the objective after the inner steps: a detached scalar.
    """
    steps = start.inner_steps if steps is None else steps
    fast: Mapping[str, Tensor]
    if algorithm == "reptile":
        *_, fast = start.adapt(batch, context, steps, order="none")
        regions = torch.tensor(batch.regions, dtype=torch.float64)
        share = torch.repeat_interleave(1 / (regions * (tasks or batch.tasks)), torch.tensor(batch.regions))
        begin = start.start(batch)
        # The gradient by the initialisation is its difference from the adapted parameters.
        away = sum(
            (
                share.to(value.device, value.dtype).reshape(-1, *[1] * (value.ndim - 1))
                * value
                * (value - fast[name]).detach()
            ).sum()
            for name, value in begin.items()
        )
        assert isinstance(away, Tensor)
        away.backward()
        with torch.no_grad():
            return start.error(batch, fast, weights)
    if algorithm == "unadapted":
        fast = start.start(batch)
    else:
        order: Order = "second" if algorithm == "maml" else "first"
        *_, fast = start.adapt(batch, context, steps, order=order, recompute=recompute)
    objective = start.error(batch, fast, weights)
    objective.backward()
    return objective.detach()

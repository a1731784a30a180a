"""Gates: parameters that weigh networks at each sample and are trained with them, and the rules that make them.

A rule with a gate is the beginning of a partition. While the gate is trained, each sample is given to the few networks
with the largest weights. The label of a sample is the network with the largest one.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.coords import grid_coords
from partinr.partition.base import DEFAULT_REGIONS, Partition, PartitionRule, fitting
from partinr.partition.whole import Whole
from partinr.signals import Source

_AT_ONCE = 2**14
"""Samples whose logits are computed at once without gradients, and samples in a step of pre-training."""

SMOOTHING = 0.01
"""Label smoothing of pre-training, as in the public code of Neural Experts."""

PRETRAIN_LR = 1e-3
"""Learning rate of pre-training."""


@spec
class GatedRule(PartitionRule):
    """A rule whose regions move while the networks are trained.

    Attributes:
        regions: number of networks, unless the rule of ``pretrain`` makes another number of regions.
        pretrain: title of the rule whose regions the gate begins with, such as ``random`` or ``kmeans``; None for a
            gate that begins at random.
        pretrain_options: options of that rule.
        pretrain_steps: steps of Adam on the cross-entropy between the gate's weights and that rule's labels.
        top_k: networks that a sample is given to in a step.
        every: steps after which these networks are chosen anew. The order of samples changes with them, and a gate
            moves little in so few steps.
        until: the fraction of the run in which the gate is trained. In the rest each network is trained on the samples
            with its label, as the networks of any partition.
        lr: learning rate of the gate's parameters, relative to that of the networks.
        seed: seed of the gate's parameters and of the rule of ``pretrain``.
    """

    gated: ClassVar[bool] = True
    cached: ClassVar[bool] = True

    regions: Annotated[int, Field(ge=2)] = DEFAULT_REGIONS
    pretrain: str | None = None
    pretrain_options: dict[str, Any] = Field(default_factory=dict)
    pretrain_steps: Annotated[int, Field(ge=0)] = 300
    top_k: Annotated[int, Field(ge=2)] = 2
    every: Annotated[int, Field(ge=1)] = 10
    until: Annotated[float, Field(ge=0, le=1)] = 0.8
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def __post_init__(self) -> None:
        """Check that the rule of ``pretrain`` exists and takes its options."""
        self.first_rule()

    def first_rule(self) -> PartitionRule | None:
        """The rule of ``pretrain``, with this rule's number of regions and seed unless its options give others.

        Raises:
            PartinrError: there is no such rule, or it refuses an option.
        """
        if self.pretrain is None:
            if self.pretrain_options:
                raise PartinrError("partition.pretrain_options are those of partition.pretrain; give its title")
            return None
        known = {rule.title: rule for rule in _rules(PartitionRule) if not rule.gated and rule is not Whole}
        if self.pretrain not in known:
            raise PartinrError(
                f"there is no rule partition.pretrain={self.pretrain}; choose from {', '.join(sorted(known))}, or null"
            )
        rule = known[self.pretrain]
        fields = rule.__dataclass_fields__
        shared = {name: getattr(self, name) for name in ("regions", "seed") if name in fields}
        made: PartitionRule = rule(**{**shared, **self.pretrain_options})
        return made

    @abstractmethod
    def fresh(self, regions: int, shape: tuple[int, ...]) -> Gate:
        """A gate for so many networks on a grid, as drawn by the seed."""

    def gate(self, partition: Partition) -> Gate:
        """The gate as it begins.

        Args:
            partition: from this rule.

        Raises:
            PartinrError: the partition has a single region.
        """
        if partition.regions < 2:
            raise PartinrError(
                f"partition={self.title} needs 2 regions or more, and partition.pretrain={self.pretrain} made 1; "
                "choose another, or null for none"
            )
        gate = self.fresh(partition.regions, partition.shape)
        if self.pretrain is not None:
            start = time.perf_counter()
            gate.begin_as(partition.labels.reshape(-1), self.pretrain_steps)
            gate.seconds = time.perf_counter() - start
        return gate

    def labels(self, signal: Tensor) -> Tensor:
        """The regions that the gate begins with."""
        return self.labels_of(signal, None)

    def labels_of(self, signal: Tensor, source: Source | None) -> Tensor:
        """The regions that the gate begins with: those of the rule of ``pretrain``, or of the gate as it is drawn."""
        rule, shape = self.first_rule(), tuple(signal.shape[:-1])
        if rule is not None:
            return rule.labels_of(signal, source)
        return self.fresh(fitting(self.regions, shape), shape).labels()

    def refuses(self, signal: Tensor) -> str | None:
        """Why the rule of ``pretrain`` is not for a signal; None if it is."""
        rule = self.first_rule()
        return super().refuses(signal) if rule is None else rule.refuses(signal)

    def check(self, partition: Partition) -> Partition:
        """The partition, with the notice of the rule of ``pretrain``."""
        rule = self.first_rule()
        return partition if rule is None else rule.check(partition)

    def fingerprint(self) -> dict[str, Any]:
        """The options, and those of the rule of ``pretrain``."""
        rule = self.first_rule()
        return {**super().fingerprint(), "first": None if rule is None else rule.fingerprint()}


def _rules(rule: Any) -> Iterator[Any]:
    """All rules that derive from one and can be made."""
    for each in rule.__subclasses__():
        if not getattr(each, "__abstractmethods__", None):
            yield each
        yield from _rules(each)


class Gate(nn.Module, ABC):
    """Gives R networks a weight each at each sample of a grid: the softmax of logits.

    Args:
        rule: the rule that made it.
        regions: number of networks, R.
        shape: shape of the grid.

    Attributes:
        blends: whether the signal's value is the sum of the networks' values by their weights. Otherwise the loss is
            the sum of their errors by these weights, so that networks compete for a sample.
        coords: ``[M, d]``, global coordinates of the samples, row-major.
        seconds: wall time of pre-training.
    """

    blends: ClassVar[bool]
    coords: Tensor
    seconds = 0.0

    def __init__(self, rule: GatedRule, regions: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.rule, self.regions, self.shape = rule, regions, shape
        self.register_buffer("coords", grid_coords(shape).float(), persistent=False)

    @abstractmethod
    def logits(self, coords: Tensor, networks: Tensor | None = None) -> Tensor:
        """The logits of networks at points; differentiable by the parameters.

        Args:
            coords: ``[M, d]``.
            networks: int64 ``[M, k]``; None for all networks in order, k = R.

        Returns:
            ``[M, k]``.
        """

    @property
    @abstractmethod
    def macs(self) -> float:
        """Forward multiply-accumulates for one sample in one step of training, mean over steps."""

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(value.numel() for value in self.parameters())

    @property
    def top(self) -> int:
        """Networks that a sample is given to in a step."""
        return min(self.rule.top_k, self.regions)

    def weights(self, networks: Tensor) -> Tensor:
        """The weights of some networks at every sample, which sum to 1: int64 ``[M, k]`` to ``[M, k]``."""
        return functional.softmax(self.logits(self.coords, networks), dim=1)

    @torch.no_grad()
    def best(self, count: int) -> Tensor:
        """The networks with the largest weights at each sample, largest first: int64 ``[M, count]``."""
        return torch.cat([self.logits(part).topk(count, dim=1).indices for part in self.coords.split(_AT_ONCE)])

    @torch.no_grad()
    def labels(self) -> Tensor:
        """The network with the largest weight at each sample: int64 ``[*grid]`` on the CPU.

        A network that is the largest nowhere gets the sample where its logit is largest, since regions have no gap.
        """
        labels = self.best(1).squeeze(1).cpu()
        sizes = torch.bincount(labels, minlength=self.regions)
        for network in torch.nonzero(sizes == 0).squeeze(1).tolist():
            own = torch.full((_AT_ONCE, 1), network, device=self.coords.device)
            column = torch.cat([self.logits(part, own[: len(part)]) for part in self.coords.split(_AT_ONCE)]).cpu()
            at = int(column.squeeze(1).masked_fill(sizes[labels] < 2, -torch.inf).argmax())
            sizes[labels[at]] -= 1
            sizes[network], labels[at] = 1, network
        return labels.reshape(self.shape)

    def begin_as(self, labels: Tensor, steps: int) -> None:
        """Pre-train by cross-entropy, so that the largest weights are those of given labels.

        Args:
            labels: int64 ``[M]``.
            steps: steps of Adam.
        """
        generator = torch.Generator().manual_seed(self.rule.seed)
        optimizer = torch.optim.Adam(self.parameters(), lr=PRETRAIN_LR)
        for _ in range(steps):
            some = torch.randperm(len(labels), generator=generator)[:_AT_ONCE] if len(labels) > _AT_ONCE else ...
            optimizer.zero_grad()
            functional.cross_entropy(self.logits(self.coords[some]), labels[some], label_smoothing=SMOOTHING).backward()
            optimizer.step()
        for value in self.parameters():
            value.grad = None

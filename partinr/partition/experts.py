"""A sine network that chooses among the networks of a signal (Ben-Shabat et al., "Neural Experts", NeurIPS 2024)."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from partinr.base.spec import spec
from partinr.partition.gate import Gate, GatedRule


@spec
class Experts(GatedRule):
    """A mixture of experts: a sine network gives each network, an expert, a weight at each point.

    Ben-Shabat et al., "Neural Experts: Mixture of Experts for Implicit Neural Representations", 2024, section 3. The
    loss of a sample is the sum of the experts' squared errors by the softmax ``q`` of the manager's output. The expert
    with the largest ``q`` gives the value. The manager is pre-trained by cross-entropy on the labels of a segmentation,
    of which random labels of equal number were the best. In the last fifth of the run, experts are trained alone.

    Different from the paper: a sample is evaluated by its ``top_k`` experts, not by all; the manager sees coordinates,
    not the features of an encoder that all experts share; and labels stay fixed once experts are trained alone.

    Attributes:
        hidden_features: width of the gate's hidden layers.
        hidden_layers: layers between hidden features of the gate, beside first and output layer.
        omega_0: frequency factor of the gate's sines.
    """

    pretrain: str | None = "random"
    hidden_features: Annotated[int, Field(ge=1)] = 64
    hidden_layers: Annotated[int, Field(ge=0)] = 2
    omega_0: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0

    def fresh(self, regions: int, shape: tuple[int, ...]) -> Gate:
        """See :meth:`GatedRule.fresh`."""
        return ExpertsGate(self, regions, shape)


class ExpertsGate(Gate):
    """A sine network from coordinates to logits, with SIREN's initialisation (Sitzmann et al., 2020, section 3.2)."""

    blends: ClassVar[bool] = False
    rule: Experts

    def __init__(self, rule: Experts, regions: int, shape: tuple[int, ...]) -> None:
        super().__init__(rule, regions, shape)
        generator = torch.Generator().manual_seed(rule.seed)
        sizes = [len(shape), *[rule.hidden_features] * (rule.hidden_layers + 1), regions]
        self.weight, self.bias = nn.ParameterList(), nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            bound = 1 / fan_in if layer == 0 else math.sqrt(6 / fan_in) / rule.omega_0
            self.weight.append(nn.Parameter(torch.empty(fan_out, fan_in).uniform_(-bound, bound, generator=generator)))
            bound = 1 / math.sqrt(fan_in)
            self.bias.append(nn.Parameter(torch.empty(fan_out).uniform_(-bound, bound, generator=generator)))

    def logits(self, coords: Tensor, networks: Tensor | None = None) -> Tensor:
        """See :meth:`Gate.logits`."""
        x = coords
        *hidden, (last_weight, last_bias) = zip(self.weight, self.bias, strict=True)
        for weight, bias in hidden:
            x = torch.sin(nn.functional.linear(x, self.rule.omega_0 * weight, self.rule.omega_0 * bias))
        found = nn.functional.linear(x, last_weight, last_bias)
        return found if networks is None else found.gather(1, networks)

    @property
    def macs(self) -> float:
        """See :attr:`Gate.macs`."""
        return sum(value.numel() for value in self.weight) * (1 + 1 / self.rule.every)

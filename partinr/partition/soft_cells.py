"""Cells around sites that move, with soft borders (Iinbor et al., "Soft Anisotropic Diagrams", 2026)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from partinr.base.spec import spec
from partinr.partition.gate import Gate, GatedRule


@spec
class SoftCells(GatedRule):
    """A soft diagram of sites: each has a position, a metric, a radius and a temperature, and a network.

    Iinbor et al., "Soft Anisotropic Diagrams for Differentiable Image Representation", 2026: the value at a point is
    the blend of its ``top_k`` sites by the softmax of ``-tau_i (|x - p_i|_i - r_i)``, with the metric of site i a
    positive matrix of determinant 1. There a site has a colour, here a network; the number of sites stays; and in the
    last part of the run the cells are hard, so that files and pictures are those of any partition.

    Networks that were blended do not fit alone: the later the cells become hard, the more quality that costs. By
    default they do so after a fifth of the run, not after most of it as the gate of :class:`Experts`.

    Attributes:
        sharpness: the first ``tau``. Distances count in the mean distance between sites: with 4, the weight at a border
            between two sites falls from 0.9 to 0.1 within about half of it.
    """

    title: ClassVar[str] = "soft_cells"
    pretrain: str | None = "grid"
    until: Annotated[float, Field(ge=0, le=1)] = 0.2
    sharpness: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0

    def fresh(self, regions: int, shape: tuple[int, ...]) -> Gate:
        """See :meth:`GatedRule.fresh`."""
        return SoftCellsGate(self, regions, shape)


class SoftCellsGate(Gate):
    """Sites in a domain of one, two or three axes."""

    blends: ClassVar[bool] = True
    rule: SoftCells
    basis: Tensor

    def __init__(self, rule: SoftCells, regions: int, shape: tuple[int, ...]) -> None:
        super().__init__(rule, regions, shape)
        dimensions = len(shape)
        generator = torch.Generator().manual_seed(rule.seed)
        self.position = nn.Parameter(2 * torch.rand(regions, dimensions, generator=generator) - 1)
        self.log_tau = nn.Parameter(torch.full((regions,), math.log(rule.sharpness)))
        self.radius = nn.Parameter(torch.zeros(regions))
        self.register_buffer("basis", _traceless(dimensions), persistent=False)
        # The logarithm of the metric, so that any numbers give a metric of determinant 1.
        self.metric = nn.Parameter(torch.zeros(regions, len(self.basis)))
        self.spacing = 2 * regions ** (-1 / dimensions)

    def logits(self, coords: Tensor, networks: Tensor | None = None) -> Tensor:
        """See :meth:`Gate.logits`."""
        # |x - p|² = (x - p)ᵀ exp(S) (x - p) = |exp(S/2) (x - p)|²
        root = torch.matrix_exp(torch.einsum("rn,nij->rij", self.metric / 2, self.basis)) / self.spacing
        tau, radius = self.log_tau.exp(), self.radius.view(-1)
        if networks is None:
            seen = torch.einsum("rij,mj->mri", root, coords) - torch.einsum("rij,rj->ri", root, self.position)
        else:
            seen = torch.einsum("mkij,mkj->mki", root[networks], coords.unsqueeze(1) - self.position[networks])
            tau, radius = tau[networks], radius[networks]
        distance = (seen.square().sum(-1) + 1e-8).sqrt()  # finite slopes at a site
        return -tau * (distance - radius)

    @property
    def macs(self) -> float:
        """See :attr:`Gate.macs`."""
        dimensions = len(self.shape)
        return (self.top + self.regions / self.rule.every) * dimensions * (dimensions + 1)

    def begin_as(self, labels: Tensor, steps: int) -> None:
        """Put the sites at the centres of the regions first."""
        sizes = torch.bincount(labels, minlength=self.regions).unsqueeze(1)
        with torch.no_grad():
            self.position.zero_().index_add_(0, labels, self.coords).div_(sizes)
        super().begin_as(labels, steps)


def _traceless(dimensions: int) -> Tensor:
    """A basis of the symmetric matrices of trace 0: ``[d (d + 1) / 2 - 1, d, d]``."""
    found = []
    for row in range(dimensions):
        for column in range(row + 1, dimensions):
            found.append(torch.zeros(dimensions, dimensions))
            found[-1][row, column] = found[-1][column, row] = 1
        if row:
            found.append(torch.zeros(dimensions, dimensions))
            found[-1][row - 1, row - 1], found[-1][row, row] = 1, -1
    return torch.stack(found) if found else torch.zeros(0, dimensions, dimensions)

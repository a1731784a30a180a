"""A stack for new partitions, whose networks begin as those of the stack before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from partinr.model.album import stack_of
from partinr.model.inr import PiecewiseINR
from partinr.model.signal_stack import SignalStack
from partinr.partition import Partition


@dataclass(frozen=True)
class Heirs:
    """The stack of new partitions, and what it takes over.

    All networks have one width, and each sample has one network.

    Attributes:
        model: the new stack, with the weights of the networks' parents.
        parents: int64 ``[N']``, the network of the stack before that each begins as.
        scale: float64 ``[N', d]``, extent of each network's frame in the frame of its parent; None if all are global.
        shift: float64 ``[N', d]``, its centre there; None likewise.
    """

    model: SignalStack
    parents: Tensor
    scale: Tensor | None
    shift: Tensor | None

    @classmethod
    @torch.no_grad()
    def of(cls, before: SignalStack, partitions: Sequence[Partition], parents: Sequence[Tensor]) -> Self:
        """The stack of some partitions.

        Args:
            before: the stack until now.
            partitions: the new partition of each of its signals.
            parents: for each signal the parents of its regions, int64 ``[R']``, numbers of regions before.
        """
        members = {}
        for number, (name, partition) in enumerate(zip(before.names, partitions, strict=True)):
            member = before.member(number)
            members[name] = PiecewiseINR(
                partition,
                member.backbone,
                channels=member.channels,
                frame=member.frame,
                overlap=member.overlap,
                layout=member.frames[0].layout,
                engine=member.engine,
                kind=member.kinds[0],
            )
        model = stack_of(members)
        first = torch.tensor([0, *(each.regions for each in before.partitions)]).cumsum(0)
        networks = torch.cat([start + each for start, each in zip(first, parents, strict=False)])
        scale = shift = None
        if before.frames[0].centre is not None:
            centre, extent = _frames(before)
            new_centre, new_extent = _frames(model)
            scale, shift = new_extent / extent[networks], (new_centre - centre[networks]) / extent[networks]
        heirs = cls(model, networks, scale, shift)
        model.stack.load_state_dict(heirs.values(dict(before.stack)), assign=True)
        return heirs

    def values(self, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters of the new stack from some of the stack before: by name, on the same device.

        A frame is an affine map of another, which is folded into the layers that coordinates enter.
        """
        found = {name: value.detach()[self.parents.to(value.device)] for name, value in before.items()}
        if self.scale is not None and self.shift is not None:
            names = self.model.backbone.affine_inputs()
            assert names is not None, "ask affine_inputs() first"
            for weight, bias in names:
                own = found[weight].double()
                shift, scale = self.shift.to(own.device), self.scale.to(own.device)
                found[bias] = (found[bias].double() + (own * shift.unsqueeze(1)).sum(-1)).to(found[bias])
                found[weight] = (own * scale.unsqueeze(1)).to(found[weight])
        return found


@torch.no_grad()
def begin_fine(model: PiecewiseINR, regions: int) -> None:
    """Let fresh networks vary as fast over the signal as those of ``regions`` regions would.

    A local frame of a larger region would else stretch the waves of its network. They would be too slow for the parts
    of the region that inherit it, and training hardly changes that: on images of 128² pixels, a quarter of the boxes at
    the beginning cost 3 dB at the end. Networks in the global frame stay, as do those that encode coordinates.

    Args:
        model: its weights are changed in place.
        regions: number of regions at the end.
    """
    names = model.backbone.affine_inputs()
    if model.frames[0].centre is not None and names is not None:
        for weight, _ in names:
            model.stack[weight] *= (regions / model.regions) ** (1 / model.in_features)


def _frames(model: SignalStack) -> tuple[Tensor, Tensor]:
    """Centre and half extent of the frame of each network: float64 ``[N, d]``."""
    centres = [frames.centre for frames in model.frames if frames.centre is not None]
    extents = [frames.half_extent for frames in model.frames if frames.half_extent is not None]
    return torch.cat(centres), torch.cat(extents)

"""An album: several images, each with its own partition and networks, as one stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.model.batch import RegionBatch
from partinr.model.inr import PiecewiseINR
from partinr.model.signal_stack import SignalStack


@door
class Album(SignalStack):
    """The models of several images as one stack, trained and evaluated at once.

    Networks are numbered by image, then by region. Networks of one width form a stack across images, so images of one
    size and number of regions form a single stack.

    Each member is made before it joins the album, so it has the same budget, networks and initial weights as it would
    have alone: ``match_params`` counts over the regions of one image.

    Args:
        members: the model of each image, by name; the weights are copied. Only partitions, their shapes and the widths
            of the networks may differ.

    Attributes:
        names: names of the S images.
        partitions: partition of each image.
        parameter_counts: number of trained parameters of each image.

    Raises:
        PartinrError: there is no image, or two images cannot form one stack.
    """

    def __init__(self, members: Mapping[str, PiecewiseINR]) -> None:
        if not members:
            raise PartinrError("there is no image for an album; give one model or more")
        first_name, first = next(iter(members.items()))
        for name, member in members.items():
            _check_alike(first_name, first, name, member)
        super().__init__(
            first.backbone,
            sum(member.networks for member in members.values()),
            in_features=first.in_features,
            channels=first.channels,
            widths=[width for member in members.values() for width in _widths(member)],
            engine=first.engine,
            teams=[team for member in members.values() for team in member.teams],
        )
        self.frame = first.frame
        self.names = tuple(members)
        self.partitions = tuple(member.partition for member in members.values())
        self.parameter_counts = [member.parameter_count for member in members.values()]
        self.kinds = tuple(member.kinds[0] for member in members.values())
        self._plans = tuple((member.backbone, member.widths) for member in members.values())
        self._architectures = {name: member.architecture() for name, member in members.items()}
        self.frames = tuple(own for member in members.values() for own in member.frames)
        with torch.no_grad():
            for number, member in enumerate(members.values()):
                for own, of_member, rows in self._parameters_of(number, member):
                    self.stack[own][rows] = member.stack[of_member]

    def extra_repr(self) -> str:
        """Number of images and regions, and a description of the networks."""
        return f"{self.title}, {super().extra_repr()}"

    @property
    def title(self) -> str:
        """Number of images and regions, in words."""
        images = "1 image" if len(self.names) == 1 else f"{len(self.names):,} images"
        return f"{images}, {super().title}"

    def architecture(self) -> dict[str, Any]:
        """What must be equal for one album to load the weights of another: plain containers."""
        return {"images": list(self.names), "image": self._architectures}

    def batch(self, signals: Sequence[Tensor]) -> RegionBatch:
        """Same as :meth:`batch_of`, under the name that a model of one signal uses."""
        return self.batch_of(signals)

    # -- single images ------------------------------------------------------------------------------------------

    def member(self, number: int) -> PiecewiseINR:
        """The model of one image, with a copy of its weights, to render or save.

        Args:
            number: 0 … S-1, in the order of the names.
        """
        backbone, widths = self._plans[number]
        member = PiecewiseINR(
            self.partitions[number],
            backbone,
            widths=widths,
            channels=self.channels,
            frame=self.frame,
            overlap=self.frames[number].overlap,
            global_network=self.frames[number].coupling.said,
            layout=self.frames[number].layout,
            engine=self.engine,
            kind=self.kinds[number],
        )
        # assign keeps the precision and device of training.
        member.stack.load_state_dict(
            {
                of_member: self.stack[own][rows].detach().clone()
                for own, of_member, rows in self._parameters_of(number, member)
            },
            assign=True,
        )
        return member

    @cached_property
    def _first(self) -> tuple[int, ...]:
        """The number of the first network of each image, followed by N."""
        return tuple(accumulate((team.networks for team in self.teams), initial=0))

    def _parameters_of(self, number: int, member: PiecewiseINR) -> Iterator[tuple[str, str, Tensor]]:
        """Each parameter of one image: its name here, its name in the image's model, and its rows here."""
        # Networks ascend in both, so those of one image are in the same order.
        rows = self.rows(self.position[self._first[number] : self._first[number + 1]].sort().values)
        theirs = {group.key: group for group in member.groups}
        for group in self.groups:
            if (of_member := theirs.get(group.key)) is not None:
                for name in group.names:
                    own = f"{group.prefix}{name}"
                    yield own, f"{of_member.prefix}{name}", rows[own].to(self.device)


@door
def stack_of(members: Mapping[str, PiecewiseINR]) -> SignalStack:
    """The models of signals as one stack: an album, or the model itself for one unnamed signal."""
    return members[""] if set(members) == {""} else Album(members)


def _widths(member: PiecewiseINR) -> Sequence[int]:
    """Hidden features of each region's network."""
    if member.widths is not None:
        return member.widths
    assert member.backbone.hidden_features is not None  # set by the model
    return [member.backbone.hidden_features] * member.networks


def _check_alike(first_name: str, first: PiecewiseINR, name: str, member: PiecewiseINR) -> None:
    """Check that an image can be in one stack with the first image.

    Raises:
        PartinrError: they differ in more than partition and width.
    """
    if member.channels != first.channels:
        raise PartinrError(
            f"{name} has another number of channels ({member.channels}) than {first_name} ({first.channels}); images "
            "that are fitted as one stack have equally many: give data.channels=grey or rgb, or leave one of them out"
        )
    if member.in_features != first.in_features:
        raise PartinrError(
            f"{name} has another number of axes ({member.in_features}) than {first_name} ({first.in_features}); "
            "fit them apart"
        )
    same_width = first.backbone.hidden_features
    assert same_width is not None  # set by the model
    if (member.backbone.with_width(same_width), member.frame, member.engine) != (
        first.backbone.with_width(same_width),
        first.frame,
        first.engine,
    ):
        raise PartinrError(
            f"the models of {name} and {first_name} differ in more than partition and width; "
            "give all images of an album the same backbone, frame and engine"
        )

"""An album: several images, each with a partition and networks of its own, as one stack."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.model.batch import RegionBatch
from partinr.model.frames import Frames
from partinr.model.inr import PiecewiseINR
from partinr.model.signal_stack import SignalStack


@door
class Album(SignalStack):
    """The models of several images as one stack, trained and evaluated at once.

    The networks are counted image by image, in an image by region. Those of one width are a stack, whichever image
    they are of, so images of one size and number of regions are one stack.

    What a model is, its budget included, is decided image by image, before it gets here: ``match_params`` counts over
    the regions of one image, as it does where the image is fitted alone, and an image has the networks, and the
    weights to begin with, that it would have alone.

    Args:
        members: the model of each image, by its name; the weights are copied. Partitions, their shapes and the widths
            of the networks may differ, everything else may not.

    Attributes:
        names: of the images, S of them.
        partitions: of each image.
        parameter_counts: learned numbers of each image's networks.

    Raises:
        PartinrError: there is no image, or two of them cannot be in one stack.
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
        )
        self.frame = first.frame
        self.names = tuple(members)
        self.partitions = tuple(member.partition for member in members.values())
        self.parameter_counts = [member.parameter_count for member in members.values()]
        self._plans = tuple((member.backbone, member.widths) for member in members.values())
        self._architectures = {name: member.architecture() for name, member in members.items()}
        self.frames = tuple(
            Frames.of(member.partition, self.frame, member.overlap, member.global_network)
            for member in members.values()
        )
        with torch.no_grad():
            for number, member in enumerate(members.values()):
                for own, of_member, rows in self._parameters_of(number, member):
                    self.stack[own][rows] = member.stack[of_member]

    def extra_repr(self) -> str:
        """How many images and regions, and what the networks are."""
        return f"{self.title}, {super().extra_repr()}"

    @property
    def title(self) -> str:
        """How many images and regions there are."""
        images = "1 image" if len(self.names) == 1 else f"{len(self.names):,} images"
        return f"{images}, {super().title}"

    def architecture(self) -> dict[str, Any]:
        """What must be equal for weights of one album to fit another: plain containers."""
        return {"images": list(self.names), "image": self._architectures}

    def batch(self, signals: Sequence[Tensor]) -> RegionBatch:
        """:meth:`batch_of`, by the name that it has for a model of one signal."""
        return self.batch_of(signals)

    # -- single images ------------------------------------------------------------------------------------------

    def member(self, number: int) -> PiecewiseINR:
        """The model of one image, with a copy of its weights: to be rendered or saved.

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
            global_network=self.frames[number].global_network,
            engine=self.engine,
        )
        # assign: in the precision that they were trained in, and where they are.
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
        """The number of the first network of each image, and at the end N."""
        counts = (
            partition.regions + own.global_network for partition, own in zip(self.partitions, self.frames, strict=True)
        )
        return tuple(accumulate(counts, initial=0))

    def _parameters_of(self, number: int, member: PiecewiseINR) -> Iterator[tuple[str, str, slice]]:
        """Each parameter of one image: its name here, its name in the model of the image, and where it lies here."""
        start, stop = self._first[number], self._first[number + 1]
        theirs = {group.backbone.hidden_features: group for group in member.groups}
        for group in self.groups:
            # Networks are ascending in both, so those of one image lie together, and in the same order.
            rows = slice(bisect_left(group.networks, start), bisect_left(group.networks, stop))
            if rows.start < rows.stop:
                of_member = theirs[group.backbone.hidden_features]
                for name in group.names:
                    yield f"{group.prefix}{name}", f"{of_member.prefix}{name}", rows


@door
def stack_of(members: Mapping[str, PiecewiseINR]) -> SignalStack:
    """The models of signals as one stack: an album, or the model itself of one signal without a name."""
    return members[""] if set(members) == {""} else Album(members)


def _widths(member: PiecewiseINR) -> Sequence[int]:
    """Hidden features of each region's network."""
    if member.widths is not None:
        return member.widths
    assert member.backbone.hidden_features is not None  # a model has settled it
    return [member.backbone.hidden_features] * member.networks


def _check_alike(first_name: str, first: PiecewiseINR, name: str, member: PiecewiseINR) -> None:
    """See that an image can be in one stack with the first one.

    Raises:
        PartinrError: it cannot.
    """
    if member.channels != first.channels:
        raise PartinrError(
            f"{name} has another number of channels ({member.channels}) than {first_name} ({first.channels}); images "
            "that are fitted as one stack have equally many: leave one of them out, or convert it"
        )
    if member.in_features != first.in_features:
        raise PartinrError(
            f"{name} has another number of axes ({member.in_features}) than {first_name} ({first.in_features}); "
            "fit them apart"
        )
    same_width = first.backbone.hidden_features
    assert same_width is not None  # a model has settled it
    if (member.backbone.with_width(same_width), member.frame, member.engine) != (
        first.backbone.with_width(same_width),
        first.frame,
        first.engine,
    ):
        raise PartinrError(
            f"the models of {name} and {first_name} differ in more than partition and width; "
            "give all images of an album the same backbone, frame and engine"
        )

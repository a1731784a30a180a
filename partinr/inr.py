"""A piecewise implicit neural representation: a partition and a stack of networks, one a region."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from partinr.backbones import Backbone, load_backbone
from partinr.batches import Frames, check_frame, region_batch
from partinr.coords import Frame, scaled_shape
from partinr.errors import PartinrError
from partinr.networks import NetworkStack
from partinr.partition import Partition
from partinr.stack import Engine, RegionBatch, sort_by_network
from partinr.weights import deserialise, serialise

FORMAT = 2
"""Version of the layout of ``inr.safetensors``. 2: networks of several widths."""


class PiecewiseINR(NetworkStack):
    """One small network a region, trained and evaluated as one stack.

    Where the regions' networks have several widths there is a stack a width. Networks, and the samples of a batch, are
    sorted by stack, then by region; with one width that is by region.

    Args:
        partition: which sample belongs to which region.
        backbone: the architecture that every region's network has; ``match_params`` counts over all regions.
        widths: hidden features of each region's network, such as :func:`partinr.capacity.widths` gives; None for the
            backbone's own everywhere.
        channels: values a sample, C; 3 for RGB, 1 for grey.
        frame: ``global``, one [-1, 1] for the whole signal, or ``local``, one for each region's bounding box.
        engine: how the stack is evaluated (:mod:`partinr.stack.engine`).
        seed: of the initialisation. 0 or more.

    Raises:
        PartinrError: an argument is out of range, or ``match_params`` is too small.
    """

    def __init__(
        self,
        partition: Partition,
        backbone: Backbone,
        *,
        widths: Sequence[int] | None = None,
        channels: int = 3,
        frame: Frame = "global",
        engine: Engine = "auto",
        seed: int = 0,
    ) -> None:
        check_frame(frame)
        super().__init__(
            backbone,
            partition.regions,
            in_features=len(partition.shape),
            channels=channels,
            widths=widths,
            engine=engine,
            seed=seed,
        )
        self.partition = partition
        self.frame = frame
        self._frames = Frames.of(partition, frame)

    # -- figures ------------------------------------------------------------------------------------------------

    @cached_property
    def macs_per_sample(self) -> int:
        """Multiply-accumulates for one sample, forward: those of its own region's network; mean over the samples."""
        return self.mean_macs(self.partition.sizes.tolist())

    def architecture(self) -> dict[str, Any]:
        """What must be equal for weights of one model to fit another: plain containers."""
        return {
            "backbone": f"{type(self.backbone).__module__}.{type(self.backbone).__qualname__}",
            "options": dataclasses.asdict(self.backbone),
            "widths": None if self.widths is None else list(self.widths),
            "frame": self.frame,
            "channels": self.channels,
            "shape": list(self.partition.shape),
            "regions": self.partition.regions,
            "labels_sha256": hashlib.sha256(self.partition.labels.numpy().tobytes()).hexdigest(),
        }

    # -- evaluation ---------------------------------------------------------------------------------------------

    def coords_at(self, labels: Tensor) -> Tensor:
        """What the networks see of each sample of a grid, in the frame of the model.

        Args:
            labels: int64 ``[*grid]``, at any resolution.

        Returns:
            float32 ``[M, d]``, row-major.
        """
        return self._frames.coords(labels)

    def batch(self, signal: Tensor) -> RegionBatch:
        """The signal as a ragged region batch.

        Args:
            signal: float32 ``[*grid, C]``.

        Raises:
            PartinrError: grid or channels are not the model's.
        """
        if tuple(signal.shape[:-1]) != self.partition.shape:
            raise PartinrError(
                f"the signal lies on a grid of {list(signal.shape[:-1])}, the partition on one of "
                f"{list(self.partition.shape)}; make the partition from this signal"
            )
        if signal.shape[-1] != self.channels:
            raise PartinrError(
                f"the signal has {signal.shape[-1]} channels, the model {self.channels}; "
                f"give PiecewiseINR(…, channels={signal.shape[-1]})"
            )
        return region_batch([signal], [self.partition], [self._frames], self.position)

    def render(self, scale: float = 1, *, shape: Sequence[int] | None = None, smooth: bool = False) -> Tensor:
        """The fitted signal at any resolution.

        A new sample belongs to the region of the old sample whose cell holds it (exact for a grid partition), or to
        the one that its neighbours vote for, see :meth:`Partition.labels_at <partinr.partition.Partition.labels_at>`.

        Args:
            scale: times the resolution of the signal that was fitted.
            shape: the grid to render on, instead of ``scale``.
            smooth: smooth the borders between regions.

        Returns:
            float32 ``[*shape, C]`` in [0, 1], on the CPU.

        Raises:
            PartinrError: ``scale`` or ``shape`` is out of range.
        """
        grid = scaled_shape(self.partition.shape, scale) if shape is None else tuple(shape)
        if len(grid) != self.in_features or min(grid) < 1:
            raise PartinrError(f"cannot render on a grid of {list(grid)}; give {self.in_features} sizes of 1 or more")
        labels = self.partition.labels_at(grid, smooth)
        order, sizes = sort_by_network(self.position[labels.reshape(-1)], self.partition.regions)
        # In the precision of the parameters: a model that was trained in double precision stays in it.
        coords = self.coords_at(labels)[order].to(next(iter(self.stack.values())))
        values = self.evaluate(coords, sizes).float().cpu()
        picture = torch.empty_like(values)
        picture[order] = values
        return picture.reshape(*grid, self.channels).clamp(0, 1)

    # -- keeping ------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The model as the content of a safetensors file: weights, label map, and the architecture in its header."""
        tensors = {**self.stack, "partition.labels": self.partition.labels.int()}
        return serialise("partinr", {"format": FORMAT, "engine": self.engine, **self.architecture()}, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an ``inr.safetensors``.

        Raises:
            PartinrError: no such file, not one of partinr's, damaged, or of a newer format.
        """

        def make(header: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
            model = cls(
                Partition(tensors.pop("partition.labels")),
                load_backbone(header["backbone"], header["options"]),
                widths=header.get("widths"),
                channels=header["channels"],
                frame=header["frame"],
                engine=header["engine"],
            )
            model.stack.load_state_dict(tensors)
            if model.architecture()["labels_sha256"] != header["labels_sha256"]:
                raise PartinrError(f"{path} is damaged: its label map is not the one that was saved; take another copy")
            return model

        what, cure = "a readable partinr model", "the inr.safetensors of a run directory"
        model: Self = deserialise(path, "partinr", FORMAT, make, what=what, cure=cure)
        return model

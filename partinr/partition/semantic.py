"""Partition on semantics (PoS): hierarchical feature selection, as in Liu et al., ICCV 2023."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.coords import nearest_samples
from partinr.partition.isolated import IsolatedError, run_isolated
from partinr.partition.segmentation import ImageSegmentation, resized

_PROGRAM = Path(__file__).with_name("_hfs.py")

_PATIENCE = 120
"""Seconds after which HFS is aborted; the largest image takes 2."""

Threshold = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, lt=2**31)]


@spec
class Semantic(ImageSegmentation):
    """HFS (Cheng et al., "HFS: Hierarchical Feature Selection for Efficient Image Segmentation", ECCV 2016) on the CPU.

    HFS cuts the image into superpixels (SLIC) and joins them in two rounds of graph-based merging on learned features.
    As in the partition paper, connected components are then merged, the smallest into its smallest neighbour, until
    ``regions`` are left. Sizes are in pixels of the image that HFS sees; a small image is enlarged to ``min_pixels``
    first, so that a size means about the same part of any image.

    Attributes:
        min_pixels: smallest image for HFS; 1 to never enlarge.
        threshold_1: threshold of the first round; a higher one joins more.
        min_size_1: smallest segment after the first round, in pixels.
        threshold_2: threshold of the second round.
        min_size_2: smallest segment after the second round, in pixels.
        spatial_weight: weight of the position in the superpixels.
        superpixel_size: side of a superpixel, in pixels. Below 8, OpenCV writes beyond its arrays.
        iterations: iterations of SLIC.
    """

    min_pixels: Annotated[int, Field(ge=1, le=1_000_000)] = 150_000
    threshold_1: Threshold = 0.08
    min_size_1: Size = 100
    threshold_2: Threshold = 0.28
    min_size_2: Size = 200
    spatial_weight: Threshold = 0.6
    superpixel_size: Annotated[int, Field(ge=8, lt=2**15)] = 8
    iterations: Annotated[int, Field(ge=1, le=100)] = 5

    def __post_init__(self) -> None:
        """Check that the sizes are consistent.

        Raises:
            PartinrError: ``min_pixels`` is more than ``max_pixels``.
        """
        if self.min_pixels > self.max_pixels:
            raise PartinrError(
                f"partition.min_pixels={self.min_pixels} is more than partition.max_pixels={self.max_pixels}; "
                "give a smaller one"
            )

    def segments(self, image: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The segments of HFS, run in its own process.

        Raises:
            PartinrError: HFS died, or took too long.
        """
        seen = resized(image, min_pixels=self.min_pixels, max_pixels=self.max_pixels)
        found = _hfs(
            np.ascontiguousarray(np.rint(255 * seen[:, :, ::-1]).astype(np.uint8)),
            {
                "segEgbThresholdI": self.threshold_1,
                "minRegionSizeI": self.min_size_1,
                "segEgbThresholdII": self.threshold_2,
                "minRegionSizeII": self.min_size_2,
                "spatialWeight": self.spatial_weight,
                "slicSpixelSize": self.superpixel_size,
                "numSlicIter": self.iterations,
            },
        )
        shape = image.shape[:2]
        return found.reshape(-1)[nearest_samples(found.shape, shape).numpy()].reshape(shape)


def _hfs(image: NDArray[np.uint8], options: dict[str, Any]) -> NDArray[np.uint16]:
    """Segments of a BGR image, numbered from 1."""
    given = io.BytesIO()
    np.save(given, image, allow_pickle=False)
    cure = "choose other options of partition=semantic, or partition=superpixel"
    try:
        answer = run_isolated(_PROGRAM, json.dumps(options), content=given.getvalue(), patience=_PATIENCE)
    except IsolatedError as error:
        raise PartinrError(f"OpenCV's HFS {error}; {cure}") from error
    try:
        labels: NDArray[np.uint16] = np.load(io.BytesIO(answer), allow_pickle=False)
    except (ValueError, EOFError) as error:
        # The start of Python may write to the standard output too, from a sitecustomize.py or a .pth file.
        raise PartinrError(f"what OpenCV's HFS wrote is no label map; {cure}") from error
    return labels

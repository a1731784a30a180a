"""Regions of similar colour and near to each other: k-means."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import Field
from scipy.cluster.vq import kmeans2, vq

from partinr.partition.grid import DEFAULT_REGIONS
from partinr.partition.segmentation import ImageSegmentation, Regions
from partinr.spec import spec

_SAMPLE = 20_000
"""Pixels that the centres are found from; every pixel then goes to the nearest centre."""


@spec
class KMeans(ImageSegmentation):
    """k-means (Lloyd, with k-means++ to begin with) on colour and position, a cluster a region.

    A cluster may lie in several places; with ``connected`` its parts are taken apart, and merged to ``regions`` again.

    Attributes:
        regions: how many clusters.
        position: weight of the position, whose unit is the longer side of the image, against the colour, whose unit is
            from black to white of one channel; 0 for colour alone.
        iterations: of Lloyd's algorithm.
        seed: of the first centres.
    """

    title: ClassVar[str] = "kmeans"
    regions: Regions = DEFAULT_REGIONS
    connected: bool = False
    position: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    seed: Annotated[int, Field(ge=0)] = 0

    def segments(self, image: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """See :meth:`ImageSegmentation.segments`."""
        height, width = image.shape[:2]
        rows, cols = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        place = np.stack([rows, cols], axis=-1) * (self.position / max(height, width))
        features = np.concatenate([image, place], axis=-1).reshape(height * width, -1)
        rng = np.random.default_rng(self.seed)
        sample = features
        if len(features) > _SAMPLE:
            sample = features[rng.choice(len(features), _SAMPLE, replace=False)]
        # Of more centres than there are different pixels some would have none.
        clusters = min(self.regions, len(np.unique(sample, axis=0)))
        with warnings.catch_warnings():
            # A cluster that loses all its pixels on the way; check() says how many regions there are.
            warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
            centres, _ = kmeans2(sample, clusters, iter=self.iterations, minit="++", rng=rng)
        nearest, _ = vq(features, centres)
        return nearest.reshape(height, width)

    def fingerprint(self) -> dict[str, Any]:
        """Beside the options the version of SciPy, which carries them out."""
        return {**super().fingerprint(), "scipy": scipy.__version__}

"""Regions of similar values and position: k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.spec import spec
from partinr.partition.base import DEFAULT_REGIONS, Regions, settled
from partinr.partition.segmentation import SignalSegmentation
from partinr.partition.spectra import bands

if TYPE_CHECKING:
    import cv2
    import scipy
    from scipy import spatial
else:
    cv2 = Later("cv2")
    scipy = Later("scipy")
    spatial = Later("scipy.spatial")

_SAMPLE = 20_000
"""Number of samples that determine the centres; every sample then goes to the nearest centre."""


@spec
class KMeans(SignalSegmentation):
    """k-means (Lloyd, started by k-means++) on values and position; each cluster is a region.

    A cluster may lie in several places; with ``connected`` its parts are split, and merged to ``regions`` again.

    Attributes:
        regions: number of clusters.
        position: weight of the position (unit: the longest axis) against the values (unit: from 0 to 1 of one channel,
            black to white); 0 for values alone.
        spectrum: of a sound, compares spectra instead of values: those of frames of so many samples, as the levels of
            16 bands of frequencies (unit: the 80 dB between the loudest and the least that is heard). None for values.
        iterations: iterations of Lloyd's algorithm.
        seed: seed of the first centres.
    """

    title: ClassVar[str] = "kmeans"
    regions: Regions = DEFAULT_REGIONS
    connected: bool = False
    position: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    spectrum: Annotated[int, Field(ge=16)] | None = None
    iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    seed: Annotated[int, Field(ge=0)] = 0

    def seen(self, signal: Tensor) -> NDArray[np.float32]:
        """The values, or the spectra of frames.

        Raises:
            PartinrError: spectra are asked for, and this is no sound.
        """
        if self.spectrum is None:
            return super().seen(signal)
        if signal.ndim != 2:
            raise PartinrError(
                f"partition.spectrum={self.spectrum} compares the spectra of a sound, and this signal has "
                f"{signal.ndim - 1} axes; leave it out"
            )
        values = signal.detach().cpu().float().numpy()
        return bands(values, min(self.spectrum, len(values)))

    def segments(self, image: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """See :meth:`SignalSegmentation.segments`."""
        shape = image.shape[:-1]
        place = np.moveaxis(np.indices(shape), 0, -1) * (self.position / max(shape))
        features = np.concatenate([image, place], axis=-1).reshape(image[..., 0].size, -1).astype(np.float32)
        sample = features
        if len(features) > _SAMPLE:
            sample = features[np.random.default_rng(self.seed).choice(len(features), _SAMPLE, replace=False)]
        # OpenCV needs at least one distinct sample for each cluster.
        clusters = min(settled(self.regions), len(np.unique(sample, axis=0)))
        if clusters == 1:
            return np.zeros(shape, dtype=np.int64)
        cv2.setRNGSeed(self.seed % 2**31)
        how = (cv2.TERM_CRITERIA_COUNT, self.iterations, 0.0)
        _, _, centres = cv2.kmeans(sample, clusters, np.empty(0), how, 1, cv2.KMEANS_PP_CENTERS)
        # A tree skips distant centres, which pays off with many clusters.
        _, nearest = spatial.cKDTree(centres).query(features)
        return nearest.reshape(shape)

    def fingerprint(self) -> dict[str, Any]:
        """The options, and the version of SciPy, which finds the nearest centre."""
        return {**super().fingerprint(), "scipy": scipy.__version__}

"""Several plane cuts through a signal as one picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from partinr.pictures.draw import as_array, coloured, partition_overlay, to_uint8
from partinr.pictures.errors import error_map


class Sheet:
    """A picture whose pixels are samples of a signal on three axes, on white paper.

    Args:
        source: for each pixel the number of its sample, flattened; -1 for paper.
    """

    def __init__(self, source: NDArray[np.int64]) -> None:
        self._source = source

    def values(self, signal: Any) -> np.ndarray:
        """The picture of a signal: uint8 ``[h, w, 1 or 3]``.

        Args:
            signal: ``[*grid, C]``, drawn as :func:`~partinr.pictures.draw.coloured` says; values as in
                :func:`~partinr.pictures.draw.to_uint8`.
        """
        return self._paper(to_uint8(coloured(self._laid(signal))))

    def labels(self, labels: Any) -> NDArray[np.integer[Any]]:
        """The label of each pixel, -1 of paper: integer ``[h, w]``."""
        found: NDArray[np.integer[Any]] = np.where(self._source < 0, -1, self._laid(labels))
        return found

    def regions(self, labels: Any, signal: Any) -> np.ndarray:
        """The picture with its label map, as :func:`~partinr.pictures.draw.partition_overlay` draws it.

        A region has one colour in all cuts.

        Args:
            labels: whole numbers ``[*grid]``.
            signal: ``[*grid, C]``.

        Returns:
            float32 RGB ``[k*h, k*w, 3]`` in [0, 1].
        """
        return self._paper(partition_overlay(self.values(signal) / np.float32(255), self.labels(labels)))

    def errors(self, signal: Any, reconstruction: Any) -> np.ndarray:
        """The picture of an error (:func:`~partinr.pictures.errors.error_map`): float32 RGB ``[h, w, 3]``."""
        return self._paper(error_map(self._laid(signal), self._laid(reconstruction)))

    def _laid(self, table: Any) -> np.ndarray:
        array = as_array(table)
        flat = array.reshape(-1, *array.shape[3:])
        return flat[np.maximum(self._source, 0)]

    def _paper(self, picture: np.ndarray) -> np.ndarray:
        """White in place of paper in a picture, which may be enlarged by a whole factor."""
        factor = len(picture) // len(self._source)
        bare = np.repeat(np.repeat(self._source < 0, factor, axis=0), factor, axis=1)
        picture[bare] = 255 if picture.dtype == np.uint8 else 1
        return picture

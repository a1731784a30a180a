"""Superpixels of scikit-image, merged."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from skimage.segmentation import felzenszwalb, slic

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.partition.segmentation import ImageSegmentation

_SLIC, _FELZENSZWALB = {"superpixels": 100, "compactness": 10.0}, {"scale": 100.0, "min_size": 20}

_SQUARE = 1e4
"""Compactness beyond which the colours no longer matter."""

Weight = Annotated[float, Field(ge=1e-6, le=1e9)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


@spec
class Superpixel(ImageSegmentation):
    """SLIC (Achanta et al. 2012) or graph-based segments (Felzenszwalb & Huttenlocher 2004).

    More of them than ``regions`` are made, and merged: superpixels follow edges better when they are small, and neither
    method gives an exact number. Merging across the weakest borders leaves regions of very different sizes, which cost
    PSNR where each has the same network (experiments/mask-source).

    Attributes:
        method: ``slic``, segments of about the same size, or ``felzenszwalb``, segments that follow contrast.
        superpixels: SLIC's number of superpixels, about; 100 if None. Never fewer than four a region.
        compactness: SLIC's weight of the position: the higher, the squarer; 10 if None. Raised tenfold for as long as
            fewer superpixels than ``regions`` come out.
        scale: Felzenszwalb's: the higher, the larger; 100 if None.
        min_size: smallest segment that Felzenszwalb's leaves, in pixels; 20 if None.
        sigma: width of a Gaussian that smooths the image first, in pixels.
    """

    method: Literal["slic", "felzenszwalb"] = "slic"
    superpixels: Count | None = None
    compactness: Weight | None = None
    scale: Weight | None = None
    min_size: Count | None = None
    sigma: Annotated[float, Field(ge=0, le=100)] = 0.5

    def __post_init__(self) -> None:
        """Check that no option is meant for the other method.

        Raises:
            PartinrError: one is.
        """
        other = _FELZENSZWALB if self.method == "slic" else _SLIC
        for name in other:
            if getattr(self, name) is not None:
                raise PartinrError(
                    f"partition.{name} is no option of partition.method={self.method}; "
                    "leave it out, or choose the other method"
                )

    def segments(self, image: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """See :meth:`ImageSegmentation.segments`."""
        own = _SLIC if self.method == "slic" else _FELZENSZWALB
        options = {
            name: default if getattr(self, name) is None else getattr(self, name) for name, default in own.items()
        }
        if self.method == "felzenszwalb":
            return felzenszwalb(image, sigma=self.sigma, channel_axis=-1, **options)
        wanted = min(max(options["superpixels"], 4 * (self.regions or 1)), image.shape[0] * image.shape[1])
        compactness, enough = options["compactness"], min(self.regions or 1, wanted)
        while True:
            found = slic(
                image,
                n_segments=wanted,
                compactness=compactness,
                sigma=self.sigma,
                start_label=0,
                channel_axis=-1,
            )
            if len(np.unique(found)) >= enough or compactness > _SQUARE:
                return found
            # In noise a superpixel is nothing but fragments, and SLIC gives those away, often all to one neighbour.
            compactness *= 10

    def fingerprint(self) -> dict[str, Any]:
        """Beside the options the version of scikit-image, which carries them out."""
        return {**super().fingerprint(), "skimage": version("scikit-image")}

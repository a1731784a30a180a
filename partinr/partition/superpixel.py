"""Superpixels of scikit-image, in images, films and volumes, merged."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.spec import spec
from partinr.partition.base import settled
from partinr.partition.segmentation import SignalSegmentation
from partinr.signals.userfile import warnings_as

if TYPE_CHECKING:
    from skimage import segmentation
else:
    segmentation = Later("skimage.segmentation")

_SLIC, _FELZENSZWALB = {"superpixels": 100, "compactness": 10.0}, {"scale": 100.0, "min_size": 20}

_SQUARE = 1e4
"""Above this compactness, colours no longer matter."""

Weight = Annotated[float, Field(ge=1e-6, le=1e9)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


@spec
class Superpixel(SignalSegmentation):
    """SLIC (Achanta et al. 2012) or graph-based segments (Felzenszwalb & Huttenlocher 2004).

    In a film or volume SLIC finds supervoxels; Felzenszwalb is for images and signals of one axis.

    The rule makes more superpixels than ``regions`` and merges them: small superpixels follow edges better, and neither
    method gives an exact number. Merging across the weakest borders leaves regions of very different sizes, which costs
    PSNR if all have the same network (experiments/mask_source).

    Attributes:
        method: ``slic``, segments of about the same size, or ``felzenszwalb``, segments that follow contrast.
        superpixels: approximate number of superpixels of SLIC; 100 if None. Never fewer than four a region.
        compactness: SLIC's weight of the position; a higher one gives squarer segments; 10 if None. Multiplied by ten
            as long as SLIC finds fewer superpixels than ``regions``.
        scale: scale of Felzenszwalb; a higher one gives larger segments; 100 if None.
        min_size: smallest segment of Felzenszwalb, in pixels; 20 if None.
        sigma: width of a Gaussian that smooths the image first, in pixels.
    """

    method: Literal["slic", "felzenszwalb"] = "slic"
    superpixels: Count | None = None
    compactness: Weight | None = None
    scale: Weight | None = None
    min_size: Count | None = None
    sigma: Annotated[float, Field(ge=0, le=100)] = 0.5

    def __post_init__(self) -> None:
        """Check that the options belong to the method.

        Raises:
            PartinrError: one belongs to the other method.
        """
        other = _FELZENSZWALB if self.method == "slic" else _SLIC
        for name in other:
            if getattr(self, name) is not None:
                raise PartinrError(
                    f"partition.{name} is no option of partition.method={self.method}; "
                    "leave it out, or choose the other method"
                )

    def segments(self, image: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """See :meth:`SignalSegmentation.segments`."""
        if image.ndim == 2:  # scikit-image takes an image of one row for one axis
            return self.segments(image[None])[0]
        if image.ndim == 4 and self.method == "felzenszwalb":
            raise PartinrError("partition.method=felzenszwalb is for images; choose partition.method=slic")
        own = _SLIC if self.method == "slic" else _FELZENSZWALB
        options = {
            name: default if getattr(self, name) is None else getattr(self, name) for name, default in own.items()
        }
        if self.method == "felzenszwalb":
            with warnings_as("ignore"):  # about other numbers of channels than 1 and 3
                return segmentation.felzenszwalb(image, sigma=self.sigma, channel_axis=-1, **options)
        regions = settled(self.regions or 1)
        wanted = min(max(options["superpixels"], 4 * regions), image[..., 0].size)
        # scikit-image turns three channels into CIELAB, whose lightness goes up to 100; others go up to 1.
        unit = 1.0 if image.shape[-1] == 3 else 0.01
        compactness, enough = options["compactness"], min(regions, wanted)
        while True:
            found = segmentation.slic(
                image,
                n_segments=wanted,
                compactness=unit * compactness,
                sigma=self.sigma,
                start_label=0,
                channel_axis=-1,
            )
            if len(np.unique(found)) >= enough or compactness > _SQUARE:
                return found
            # In noise a superpixel consists of fragments, which SLIC gives away, often all to one neighbour.
            compactness *= 10

    def fingerprint(self) -> dict[str, Any]:
        """The options, and the version of scikit-image, which does the work."""
        return {**super().fingerprint(), "skimage": version("scikit-image")}

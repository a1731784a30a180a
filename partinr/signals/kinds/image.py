"""Images: rows and columns of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from partinr.base.spec import spec
from partinr.metrics import ssim
from partinr.metrics.perceptual import lpips, lpips_weights, ms_ssim
from partinr.signals.kind import SignalKind


@spec
class ImageKind(SignalKind):
    """An image of any number of channels. Pictures of other than 1 or 3 channels have false colours."""

    name: ClassVar[str] = "image"
    words: ClassVar[tuple[str, str]] = ("image", "images")
    axes: ClassVar[tuple[str, ...]] = ("row", "column")
    is_picture: ClassVar[bool] = True
    sides: ClassVar[tuple[str, ...]] = ("height", "width")
    units: ClassVar[str] = "pixels"

    def size(self, shape: Sequence[int]) -> str:
        """See :meth:`SignalKind.size`."""
        return f"{shape[0]}×{shape[1]} pixels"

    def measure(self, reconstruction: Tensor, signal: Tensor) -> dict[str, float]:
        """SSIM, which is a column of every curve; see :meth:`SignalKind.measure`."""
        return {"ssim": ssim(reconstruction, signal)}

    def final(self, reconstruction: Tensor, signal: Tensor) -> dict[str, Any]:
        """MS-SSIM, NaN for small images, and LPIPS where its weights are given; see :meth:`SignalKind.final`."""
        weights = lpips_weights()
        further = {} if weights is None else {"lpips": lpips(reconstruction, signal, weights)}
        return {"ms_ssim": ms_ssim(reconstruction, signal), **further}

    def check(self) -> None:
        """Refuse weights of LPIPS that cannot be read; see :meth:`SignalKind.check`."""
        lpips_weights()

"""The start from generated noise (Vyas et al., "Simply pre-training on noise", SNP, CVPR 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.spec import spec
from partinr.coords import grid_coords
from partinr.regimes.starts.base import Fitted
from partinr.regimes.starts.pretrained import Pretrained, Task

if TYPE_CHECKING:
    from partinr.regimes.base import RunContext


def noise(shape: Sequence[int], channels: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Noise whose magnitudes fall as 1 / f^alpha: float32 ``[*shape, channels]``, each channel stretched to [0, 1].

    Args:
        shape: its grid.
        channels: independent ones.
        alpha: 0 for white noise; 1 is near natural images.
        generator: source of the white noise that is filtered.
    """
    axes = tuple(range(len(shape)))
    white = torch.randn(*shape, channels, generator=generator)
    square = torch.zeros(1)
    for axis, n in enumerate(shape):
        square = square + torch.fft.fftfreq(n).square().reshape([-1 if k == axis else 1 for k in axes])
    gain = torch.where(square > 0, square.clamp(min=1e-12) ** (-alpha / 2), torch.zeros(()))
    values = torch.fft.ifftn(torch.fft.fftn(white, dim=axes) * gain[..., None], dim=axes).real
    low, high = values.amin(axes, keepdim=True), values.amax(axes, keepdim=True)
    return (values - low) / (high - low).clamp(min=1e-12)


@spec
class Noise(Pretrained):
    """Begins with the first layers of networks that were trained on noise, which need no signals.

    The paper finds that white noise speeds a fit up most, and that 1 / f^alpha noise is nearly as fast and a better
    prior for inverse problems. Only its abstract was available here: alpha and the number of signals are choices of
    this implementation, and the encoder is shared as in STRAINER.

    In the global frame the noise has the grid of the signal, in local frames that of a mean region. So it does not
    depend on the shapes of regions, and other signals of the same size find it in the cache.

    Attributes:
        alpha: how steeply the spectrum falls, 0 or more.
    """

    alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0

    def tasks(self, fitted: Fitted, context: RunContext) -> Sequence[Task]:
        """The same for each width."""
        model, shape = fitted.model, fitted.model.partition.shape
        if model.frame == "local":
            part = model.partition.regions ** (-1 / len(shape))
            shape = tuple(max(1, round(n * part)) for n in shape)
        generator = torch.Generator().manual_seed(self.seed)
        coords = grid_coords(shape).float()
        targets = [noise(shape, model.channels, self.alpha, generator).flatten(0, -2) for _ in range(self.count)]
        task = Task(coords, torch.zeros(len(coords), dtype=torch.int64), torch.stack(targets))
        return [task] * len(model.groups)

"""A generated film: shapes that move over a changing ground, with cuts between shots."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from partinr.base.environment import door
from partinr.base.spec import spec
from partinr.coords import axis_coords
from partinr.signals.identity import Reading, SignalIdentity
from partinr.signals.image_data import Size
from partinr.signals.kinds.video import VideoKind
from partinr.signals.sets import SingleSignal

_SHAPES = 3
"""Moving shapes in a shot."""


@door
def film(frames: int, height: int, width: int, channels: int = 3, *, shots: int = 4, seed: int = 0) -> Tensor:
    """A film of several shots, each with shapes of its own that move over a ground of its own.

    A place has the same value at every resolution but for the pixel at the edge of a shape, which is smooth.

    Args:
        frames: number of frames, T.
        height: of a frame, in pixels.
        width: likewise.
        channels: C.
        shots: number of shots, about equally long.
        seed: 0 or more; the same number makes the same film.

    Returns:
        float32 ``[T, H, W, C]`` in [0, 1].
    """
    values = np.empty((frames, height, width, channels), dtype=np.float32)
    bounds = shot_bounds(frames, shots)
    for number, (start, stop) in enumerate(pairwise(bounds)):
        _draw_shot(values[start:stop], np.random.default_rng([seed, number]))
    return torch.from_numpy(values)


def shot_bounds(frames: int, shots: int) -> list[int]:
    """The first frame of each shot, followed by the number of frames."""
    return [round(frames * number / shots) for number in range(shots + 1)]


def _draw_shot(values: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a shot into ``values`` ``[T, H, W, C]``."""
    frames, height, width, channels = values.shape
    side = min(height, width)
    down = axis_coords(height).numpy()[:, None] * height / side
    right = axis_coords(width).numpy()[None, :] * width / side
    ground, drift = rng.uniform(0.15, 0.85, (2, channels)), rng.uniform(-1, 1, 2)
    angle, waves = rng.uniform(0, math.pi), rng.uniform(2, 5)
    colours = rng.uniform(0, 1, (_SHAPES, channels))
    place, speed = rng.uniform(-0.7, 0.7, (2, _SHAPES, 2))
    radius, spin = rng.uniform(0.2, 0.45, _SHAPES), rng.uniform(-2, 2, _SHAPES)
    for number in range(frames):
        time = number / max(frames - 1, 1)
        along = math.cos(angle) * (down - drift[0] * time) + math.sin(angle) * (right - drift[1] * time)
        mixed = (0.5 + 0.5 * np.cos(math.pi * waves / 2 * along))[..., None]
        values[number] = ground[0] + (ground[1] - ground[0]) * mixed
        for shape in range(_SHAPES):
            turn = spin[shape] * time
            y, x = down - (place[shape, 0] + speed[shape, 0] * time), right - (place[shape, 1] + speed[shape, 1] * time)
            y, x = math.cos(turn) * y - math.sin(turn) * x, math.sin(turn) * y + math.cos(turn) * x
            # A disc, then rectangles; the distance to the edge is in units of half the shorter side.
            inside = radius[shape] - (np.hypot(y, x) if shape == 0 else np.maximum(np.abs(y), 1.6 * np.abs(x)))
            opacity = np.clip(0.5 + inside * side / 2, 0, 1)[..., None]
            values[number] += opacity * (colours[shape] - values[number])


@spec
class FilmData(SingleSignal):
    """A generated film of moving shapes with cuts between shots (:func:`~partinr.signals.film.film`).

    Attributes:
        frames: their number, T.
        height: of a frame, in pixels.
        width: likewise.
        channels: C.
        shots: number of shots.
        rate: frames a second.
        seed: of shapes, colours and motion.
    """

    frames: Size = 72
    height: Size = 48
    width: Size = 64
    channels: Size = 3
    shots: Size = 4
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 24.0
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def title(self) -> str:
        """``film``."""
        return "film"

    def load(self) -> Tensor:
        """The film: float32 ``[T, H, W, C]`` in [0, 1]."""
        return film(self.frames, self.height, self.width, self.channels, shots=self.shots, seed=self.seed)

    def read(self) -> Reading:
        """The film, its identity and its kind."""
        values = FilmData.load(self)
        return Reading(values, SignalIdentity.of("", values), VideoKind(rate=self.rate))

"""Shaded views of a signed distance on a grid, by following rays; no window and no graphics card is needed.

Arrays in, float32 RGB ``[H, W, 3]`` in [0, 1] out. A picture has a view of the surface on the left, and on the right
the middle slice across the second axis with its level lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from partinr.base.later import Later
from partinr.pictures.draw import partition_overlay
from partinr.pictures.errors import error_colours

if TYPE_CHECKING:
    from scipy import ndimage
else:
    ndimage = Later("scipy.ndimage")

Floats = NDArray[np.float32]

SIDE = 384
"""Side of the view and of the slice, in pixels."""

STONE = np.array((0.86, 0.83, 0.78), np.float32)
"""Colour of a surface."""

_GROUND = np.float32(0.98)
_EYE = np.array((2.6, -3.6, 2.3))
"""Place of the eye; it looks at the origin, with the third axis up."""
_LENS = 0.27
"""Half of the picture's width over its distance."""
_LIGHTS = (((0.75, -0.35, 0.9), 0.62), ((-0.8, -0.6, 0.25), 0.16))
"""Direction and strength of the lights."""
_LINES = 5
"""Level lines on either side of the surface."""
Sides = tuple[tuple[Any, Any], tuple[Any, Any]]
"""Colours at the surface and at the truncation, inside and outside."""

COLOURS: Sides = (
    (np.array((0.80, 0.90, 0.97)), np.array((0.12, 0.42, 0.66))),
    (np.array((0.99, 0.96, 0.91)), np.array((0.90, 0.74, 0.52))),
)
GREYS: Sides = ((np.full(3, 0.78), np.full(3, 0.62)), (np.full(3, 0.98), np.full(3, 0.90)))
"""Without hues, which those of regions would mix with."""


@dataclass(frozen=True)
class View:
    """What rays meet.

    Attributes:
        hit: bool ``[side, side]``, whether a pixel shows the surface.
        points: float32 ``[hits, 3]``, the places that are shown.
        light: float32 ``[hits, 1]``, their brightness.
    """

    hit: NDArray[np.bool_]
    points: Floats
    light: Floats

    def painted(self, colours: Floats) -> Floats:
        """The view with a colour ``[hits, 3]`` for each place, or one for all."""
        picture = np.full((*self.hit.shape, 3), _GROUND, np.float32)
        picture[self.hit] = (colours * self.light).clip(0, 1)
        return picture


def sampled(field: Floats, points: NDArray[np.floating]) -> Floats:
    """Values of a field between its samples, linear; beyond the outermost samples, theirs.

    Args:
        field: ``[n_0, n_1, n_2]`` on the grid that fills [-1, 1]³.
        points: ``[..., 3]``.
    """
    places = (points + 1) / 2 * np.array(field.shape) - 0.5
    found: Floats = ndimage.map_coordinates(field, np.moveaxis(places, -1, 0), order=1, mode="nearest")
    return found


def view(distance: Floats, side: int = SIDE) -> View:
    """The surface of a signed distance as seen from the front, a little from above.

    Args:
        distance: ``[n_0, n_1, n_2]``; the side of the grid has length 2.
        side: of the picture, in pixels.
    """
    origin, rays = _rays(side)
    step = 1 / max(distance.shape)
    near, far = _through_box(origin, rays)
    alive = np.flatnonzero(near < far)
    reach, before, last = near.copy(), near.copy(), np.ones(len(rays), np.float32)
    met: list[NDArray[np.intp]] = []
    while len(alive):
        here = sampled(distance, origin + reach[alive, None] * rays[alive])
        inside = here <= 0
        crossed = alive[inside]
        # Between the last two places the distance is nearly linear.
        share = last[crossed] / (last[crossed] - here[inside])
        reach[crossed] = before[crossed] + share * (reach[crossed] - before[crossed])
        met.append(crossed)
        alive, here = alive[~inside], here[~inside]
        before[alive], last[alive] = reach[alive], here
        reach[alive] += np.maximum(0.9 * here, step)
        alive = alive[reach[alive] < far[alive]]
    seen = np.sort(np.concatenate(met)) if met else np.zeros(0, np.intp)
    points = (origin + reach[seen, None] * rays[seen]).astype(np.float32)
    hit = np.zeros(side * side, bool)
    hit[seen] = True
    return View(hit.reshape(side, side), points, _light(distance, points, rays[seen]))


def _rays(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The eye, and the direction of the ray of each pixel."""
    forward = -_EYE / np.linalg.norm(_EYE)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    across = ((2 * np.arange(side) + 1) / side - 1) * _LENS
    rays = forward + across[None, :, None] * right - across[:, None, None] * up
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return _EYE, rays.reshape(-1, 3)


def _through_box(origin: NDArray[np.float64], rays: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Where rays enter and leave [-1, 1]³; those that miss it leave before they enter."""
    ends = np.stack([(-1 - origin) / rays, (1 - origin) / rays])
    return ends.min(axis=0).max(axis=1).astype(np.float32), ends.max(axis=0).min(axis=1).astype(np.float32)


def _light(distance: Floats, points: Floats, rays: NDArray[np.float64]) -> Floats:
    """The brightness of places: two lights, more of the sky on what faces up, less in hollows."""
    slopes = np.gradient(distance, *(2 / n for n in distance.shape))
    normals = np.stack([sampled(np.ascontiguousarray(slope), points) for slope in slopes], axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    light = 0.34 + 0.12 * normals[:, 2]
    for direction, strength in _LIGHTS:
        towards = np.array(direction) / np.linalg.norm(direction)
        light = light + strength * np.maximum(normals @ towards, 0)
        half = towards - rays
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        light = light + 0.25 * strength * np.maximum((normals * half).sum(axis=1), 0) ** 40
    hollow = np.zeros(len(points))
    for away in (0.04, 0.1, 0.2):
        # In the open, the distance grows by as much as one walks away.
        hollow += np.clip(1 - sampled(distance, points + away * normals) / away, 0, 1) / 3
    found: Floats = (light * (1 - 0.55 * hollow))[:, None].astype(np.float32)
    return found


def slice_of(distance: Floats, truncation: float, colours: Sides = COLOURS) -> Floats:
    """The middle slice across the second axis, with level lines and the surface in black.

    The first axis runs to the right and the third upwards.
    """
    here = sampled(distance, _SLICE)
    share = (np.abs(here) / truncation).clip(0, 1)[..., None]
    inside, outside = ((1 - share) * near + share * far for near, far in colours)
    picture = np.where((here < 0)[..., None], inside, outside)
    slope = np.maximum(np.hypot(*np.gradient(here)), 1e-6)
    for nth in range(1 - _LINES, _LINES):
        level, width, strength = nth * truncation / _LINES, 0.9 if nth else 2.0, 0.25 if nth else 0.9
        apart = np.abs(here - level) / slope  # in pixels
        picture *= 1 - strength * (width + 0.5 - apart).clip(0, 1)[..., None]
    found: Floats = picture.astype(np.float32)
    return found


def both(distance: Floats, truncation: float) -> Floats:
    """The view and the slice side by side.

    Args:
        distance: ``[n_0, n_1, n_2]``; the side of the grid has length 2.
        truncation: the largest distance, in the same units.
    """
    return np.concatenate([view(distance).painted(STONE), slice_of(distance, truncation)], axis=1)


def error_of(error: Floats, distance: Floats, truncation: float) -> Floats:
    """The same with the colours of :mod:`partinr.pictures.errors`.

    Args:
        error: ``[n_0, n_1, n_2]``, absolute error of the stored values.
        distance: as for :func:`both`.
        truncation: as for :func:`both`.
    """
    seen = view(distance)
    left = seen.painted(error_colours(sampled(error, seen.points)))
    return np.concatenate([left, error_colours(sampled(error, _SLICE))], axis=1)


def partition_of(labels: NDArray[np.integer[Any]], distance: Floats, truncation: float) -> Floats:
    """The same with regions.

    Args:
        labels: ``[n_0, n_1, n_2]``.
        distance: as for :func:`both`.
        truncation: as for :func:`both`.
    """
    seen = view(distance)
    picture = np.concatenate([seen.painted(STONE), slice_of(distance, truncation, GREYS)], axis=1)
    regions = np.full((SIDE, SIDE), labels.max() + 1)  # the ground is like a region of its own
    regions[seen.hit] = _labels_at(labels, seen.points)
    drawn = partition_overlay(picture, np.concatenate([regions, _labels_at(labels, _SLICE)], axis=1))
    factor = len(drawn) // SIDE
    ground = np.kron(~seen.hit, np.ones((factor, factor), bool))
    drawn[:, : SIDE * factor][ground] = _GROUND
    return drawn


def slice_labels(labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """The regions of the slice beside a view, which has label 0: ``[side, 2 · side]``."""
    cut = _labels_at(labels, _SLICE)
    return np.concatenate([np.zeros_like(cut), cut], axis=1)


def _labels_at(labels: NDArray[np.integer[Any]], points: NDArray[np.floating]) -> NDArray[np.integer[Any]]:
    """The label of the sample whose cell contains each point, or is nearest to it."""
    cells = np.floor((points + 1) / 2 * np.array(labels.shape)).astype(int)
    found: NDArray[np.integer[Any]] = labels[tuple(np.moveaxis(cells.clip(0, np.array(labels.shape) - 1), -1, 0))]
    return found


def _slice_points() -> NDArray[np.float64]:
    """The places that the pixels of a slice show: ``[side, side, 3]``."""
    along = (2 * np.arange(SIDE) + 1) / SIDE - 1
    x, z = np.broadcast_arrays(along[None, :], -along[:, None])
    return np.stack([x, np.zeros_like(x), z], axis=-1)


_SLICE = _slice_points()

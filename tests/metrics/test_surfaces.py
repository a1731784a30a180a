"""What is measured of a fitted signed distance."""

from __future__ import annotations

import numpy as np
import pytest

from partinr.metrics.surfaces import chamfer, eikonal, iou

AXES = np.meshgrid(*[(2 * np.arange(40) + 1) / 40 - 1] * 3, indexing="ij")


def ball(radius: float, truncation: float = 0.2) -> np.ndarray:
    distance = np.sqrt(sum(axis**2 for axis in AXES)) - radius
    return (distance.clip(-truncation, truncation) / truncation + 1) / 2


def test_two_balls_overlap_by_the_ratio_of_their_volumes() -> None:
    assert iou(ball(0.5), ball(0.6)) == iou(ball(0.6), ball(0.5)) == pytest.approx((0.5 / 0.6) ** 3, abs=0.02)
    assert iou(ball(0.6), ball(0.6)) == 1
    assert iou(np.ones((4, 4, 4)), ball(0.6)[:4, :4, :4]) == 1  # both are empty


def test_two_balls_are_as_far_apart_as_their_radii() -> None:
    assert chamfer(ball(0.5), ball(0.6)) == pytest.approx(0.1, rel=0.03)
    assert chamfer(ball(0.6), ball(0.6)) == 0
    assert chamfer(np.ones_like(AXES[0]), ball(0.6)) == np.inf
    assert chamfer(np.ones((3, 3, 3)), np.ones((3, 3, 3))) == 0


def test_the_gradient_of_a_signed_distance_has_length_one() -> None:
    signal = ball(0.6)
    assert eikonal(signal, signal, 0.2) < 0.005
    assert eikonal(0.5 + 0.7 * (signal - 0.5), signal, 0.2) == pytest.approx(0.3, abs=0.005)
    assert np.isnan(eikonal(signal, np.ones_like(signal), 0.2))

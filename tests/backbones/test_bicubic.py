"""A grid of coefficients with cubic B-splines between them."""

import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Bicubic
from partinr.base.errors import PartinrError
from partinr.coords import grid_coords


def spline(t: float) -> float:
    """The uniform cubic B-spline (Unser 1999, equation 8)."""
    t = abs(t)
    return 2 / 3 - t**2 + t**3 / 2 if t < 1 else max(0.0, 2 - t) ** 3 / 6


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_values_of_points_by_hand(axes):
    backbone = Bicubic(hidden_features=4 * axes + 1)
    sides = backbone.sides(axes)
    params = {"coefficients": torch.rand(math.prod(sides), 2, dtype=torch.float64)}
    grid = params["coefficients"].reshape(*sides, 2)
    # The last one lies in the outermost half cell, where coefficients continue.
    points = torch.tensor([[0.1, -0.7, 0.4], [-0.5, 0.3, 0.0], [0.99, -1.0, 1.0]], dtype=torch.float64)[:, :axes]
    for point, value in zip(points, backbone.apply(params, points, F.linear), strict=True):
        expected = torch.zeros(2, dtype=torch.float64)
        places = [(float(one) + 1) / 2 * side - 0.5 for one, side in zip(point, sides, strict=True)]
        for node in torch.cartesian_prod(*[torch.arange(-3, side + 3) for side in sides]).reshape(-1, axes).tolist():
            weight = math.prod(spline(place - one) for place, one in zip(places, node, strict=True))
            expected += weight * grid[tuple(min(max(one, 0), side - 1) for one, side in zip(node, sides, strict=True))]
        torch.testing.assert_close(value, expected)


def test_a_straight_line_is_kept_and_one_number_is_a_constant():
    backbone = Bicubic(hidden_features=9)
    line = {"coefficients": torch.linspace(-1 + 1 / 9, 1 - 1 / 9, 9, dtype=torch.float64).unsqueeze(-1)}
    x = torch.linspace(-0.6, 0.6, 7, dtype=torch.float64).unsqueeze(-1)
    torch.testing.assert_close(backbone.apply(line, x, F.linear), x)
    constant = Bicubic(hidden_features=1).apply({"coefficients": torch.full((1, 1), 0.3)}, torch.rand(5, 2), F.linear)
    torch.testing.assert_close(constant, torch.full((5, 1), 0.3))


def test_sides_grow_in_turns_and_follow_the_aspect():
    assert [Bicubic(hidden_features=n).sides(2) for n in (1, 2, 7, 8)] == [(1, 1), (1, 1), (3, 4), (4, 4)]
    assert Bicubic(hidden_features=50, aspect=(2.0, 3.0)).sides(2) == (20, 30)
    sized = Bicubic(match_params=20_000).sized(16, 2, 3)
    assert sized.sides(2) == (20, 21)
    assert 16 * sized.parameters(2, 3) == 16 * 20 * 21 * 3
    with pytest.raises(PartinrError, match=r"aspect=\[2.0, 3.0\] is for 2 axes; give 1 numbers, one for each"):
        Bicubic(hidden_features=5, aspect=(2.0, 3.0)).sides(1)


def test_a_grid_of_all_samples_holds_them():
    side = 6
    backbone = Bicubic(hidden_features=2 * side)
    x = grid_coords((side, side)).reshape(-1, 2).double()
    basis = backbone.apply({"coefficients": torch.eye(side**2, dtype=torch.float64)}, x, F.linear)
    values = torch.rand(side**2, 1, dtype=torch.float64)
    fitted = torch.linalg.solve(basis, values)
    torch.testing.assert_close(backbone.apply({"coefficients": fitted}, x, F.linear), values)

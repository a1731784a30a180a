"""Multiresolution hash encoding: grids, hash, interpolation, initialisation, counts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import HashGrid
from partinr.base.errors import PartinrError
from partinr.regimes.meta import LearnedStart, check_meta_gradient

SMALL = {"levels": 4, "coarsest": 2, "finest": 16, "table_size": 40, "features": 3}


def by_hand(backbone: HashGrid, table: torch.Tensor, point: list[float]) -> list[float]:
    """The features of one point, level by level, corner by corner."""
    found: list[float] = []
    start = 0
    for scale in backbone.scales():
        corners = math.ceil(scale) + 1
        entries = min(backbone.table_size or 0, 8 * math.ceil(corners ** len(point) / 8))
        place = [min(max((one + 1) / 2, 0), 1) * scale + 0.5 for one in point]
        low = [math.floor(one) for one in place]
        values = [0.0] * backbone.features
        for high in itertools.product((0, 1), repeat=len(point)):
            corner = [one + more for one, more in zip(low, high, strict=True)]
            number = 0
            if corners ** len(point) <= entries:
                for axis, one in enumerate(corner):
                    number += one * corners**axis
            else:
                for one, prime in zip(corner, (1, 2654435761, 805459861), strict=False):
                    number ^= one * prime
            share = 1.0
            for along, where, more in zip(place, low, high, strict=True):
                share *= along - where if more else 1 - (along - where)
            for feature in range(backbone.features):
                values[feature] += share * float(table[start + number % entries, feature])
        found += values
        start += entries
    return found


def test_features_of_points_by_hand():
    for d in [1, 2, 3]:
        backbone = HashGrid(hidden_features=4, **SMALL)
        generator = torch.Generator().manual_seed(0)
        params = {name: value[0].double() for name, value in backbone.init(1, d, 1, generator).items()}
        # Both kinds of level are there, but for one axis.
        assert [corners**d > 40 for corners in (2, 4, 8, 16)] == {
            1: [False] * 4,
            2: [False, False, True, True],
            3: [False, True, True, True],
        }[d]
        x = 2 * torch.rand(20, d, dtype=torch.float64, generator=generator) - 1
        x[0], x[1], x[2] = -1, 1, 1.3
        encoded = backbone.encode(params, x, F.linear)
        expected = torch.tensor(
            [by_hand(backbone, params["tables"], point) for point in x.tolist()], dtype=torch.float64
        )
        torch.testing.assert_close(encoded, expected, rtol=1e-9, atol=1e-12)


def test_the_encoding_is_continuous_and_stays_as_it_is_beyond_the_frame():
    backbone = HashGrid(hidden_features=4, **SMALL)
    params = {name: value[0].double() for name, value in backbone.init(1, 1, 1, None).items()}
    x = torch.linspace(-1.2, 1.2, 4001, dtype=torch.float64).unsqueeze(-1)
    slopes = backbone.encode(params, x, F.linear).diff(dim=0) / x.diff(dim=0)
    # The table's numbers are within 1e-4, the finest cells a bit more than an eighth wide.
    assert float(slopes.abs().max()) <= 2e-4 * 8
    assert not slopes[(x[:-1, 0] > 1) | (x[1:, 0] < -1)].any()


def test_grids_grow_geometrically():
    six = HashGrid(hidden_features=4, levels=6, coarsest=16, finest=512)
    assert six.corners() == [16, 32, 64, 128, 256, 512]
    for level, scale in enumerate(six.scales()):
        # So little less that what should be a whole number is not above it, whatever the rounding.
        assert 0 <= 16 * 2**level - 1 - scale < 1e-3 * 2**level
    default = HashGrid(hidden_features=4).corners()
    assert (len(default), default[0], default[-1]) == (16, 16, 512)
    assert default == sorted(default)
    assert HashGrid(hidden_features=4, levels=1, coarsest=5, finest=5).corners() == [5]


def test_parameters_by_hand():
    for width, table_size, most in [(8, None, 64), (64, None, 4096), (64, 2**14, 2**14)]:
        backbone = HashGrid(hidden_features=width, table_size=table_size)
        entries = sum(min(most, 8 * math.ceil(corners**2 / 8)) for corners in backbone.corners())
        network = (32 + 1) * width + (width + 1) * width + (width + 1) * 3
        assert backbone.parameters(2, 3) == 2 * entries + network


def test_initialisation():
    params = HashGrid(hidden_features=32).init(10, 2, 3, torch.Generator().manual_seed(0))
    assert 0.99e-4 < float(params["tables"].abs().max()) <= 1e-4
    for layer in range(3):
        weight = params[f"weight_{layer}"]
        bound = math.sqrt(6 / sum(weight.shape[1:]))
        assert 0.95 * bound < float(weight.abs().max()) <= bound
        assert not params[f"bias_{layer}"].any()


def test_options_out_of_range_are_refused():
    for options, said in [
        ({"finest": 8}, r"backbone\.finest=8 is below backbone\.coarsest=16; give a larger one"),
        ({"levels": 0}, r"HashGrid\.levels=0"),
        ({"features": 0}, r"HashGrid\.features=0"),
        ({"table_size": 0}, r"HashGrid\.table_size"),
        ({"coarsest": 1}, r"HashGrid\.coarsest=1"),
    ]:
        with pytest.raises(PartinrError, match=said):
            HashGrid(hidden_features=4, **options)


def test_more_axes_than_the_hash_is_for_are_refused():
    with pytest.raises(PartinrError, match="backbone=hash_grid is for up to 3 axes, not 4; choose another"):
        HashGrid(hidden_features=4).parameters(4, 3)


def test_the_meta_gradient_of_a_network_that_may_begin_with_all_features_off():
    check_meta_gradient(LearnedStart(HashGrid(hidden_features=2), channels=1), "maml", False)

"""Points between the samples: where they are, what is wanted there, and to whom they belong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.coords import Frame, grid_coords
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition
from partinr.pictures.surfaces import surface_of
from partinr.regimes import Constant, FitModule, FitSettings, Optimizer, StopRule, make_trainer
from partinr.signals import SdfData
from partinr.signals.identity import Everywhere
from partinr.signals.observations import Identity, Noise, Observation, Observed
from partinr.signals.shapes import sphere
from partinr.training.shards import Shard
from partinr.training.trainer import run_fit

SHAPE = (5, 6, 4)
LABELS = Partition((torch.arange(120).reshape(SHAPE) * 7 % 11 > 6).long())
SLOPES = torch.tensor([[0.2, -0.1, 0.15], [0.1, 0.2, -0.1]]).T
DRAWS = {"points_per_step": 90, "jitter": True}


def ramp(places: Tensor) -> Tensor:
    return 0.5 + places.float() @ SLOPES


def bent(places: Tensor) -> Tensor:
    return ramp(places.sin()).float()


def known(everywhere: Everywhere) -> Observed:
    seen = Identity().observe(everywhere(grid_coords(SHAPE)).reshape(*SHAPE, 2), 0)
    seen.everywhere = everywhere
    return seen


def module(
    frame: Frame = "global",
    overlap: int = 0,
    observe: Observation | None = None,
    everywhere: Everywhere | None = None,
    **settings: Any,
) -> FitModule:
    backbone = Siren(hidden_features=4, hidden_layers=0, first_omega_0=5.0)
    return FitModule(
        PiecewiseINR(LABELS, backbone, channels=2, frame=frame, overlap=overlap),
        ramp(grid_coords(SHAPE)).reshape(*SHAPE, 2),
        optimizer=Optimizer(),
        schedule=Constant(),
        stop=StopRule(max_steps=10),
        settings=FitSettings(**{**DRAWS, **settings}),
        observe=observe,
        observed=None if everywhere is None else [known(everywhere)],
    )


@pytest.mark.parametrize("frame", ["global", "local"])
@pytest.mark.parametrize("sampling", ["uniform", "error"])
def test_a_point_is_in_a_cell_of_its_network_and_has_the_value_there(frame: Frame, sampling: str) -> None:
    fit = module(frame, sampling=sampling)
    seen = []
    for step in range(4):
        (drawn,) = fit.samples_of(step)
        assert len(drawn.coords) == 90
        network = torch.repeat_interleave(torch.arange(2), torch.tensor(drawn.sizes))
        (frames,) = fit.model.frames
        places = drawn.coords.double()
        if frames.centre is not None and frames.half_extent is not None:
            places = places * frames.half_extent[network] + frames.centre[network]
        cells = ((places + 1) / 2 * torch.tensor(SHAPE)).floor().long()
        assert torch.equal(LABELS.labels[tuple(cells.T)], network)
        # Beyond the outermost samples there is nothing to interpolate between.
        inside = places.clamp(-1 + 1 / torch.tensor(SHAPE), 1 - 1 / torch.tensor(SHAPE))
        torch.testing.assert_close(drawn.targets, ramp(inside))
        seen.append(places)
    seen_cells = [((places + 1) / 2 * torch.tensor(SHAPE)).floor().unique(dim=0) for places in seen]
    assert len(torch.cat(seen).unique(dim=0)) == sum(map(len, seen_cells))
    (again,) = module(frame, sampling=sampling).samples_of(3)
    assert torch.equal(again.coords, drawn.coords)
    (exact,) = module(frame, sampling=sampling, everywhere=bent).samples_of(3)
    torch.testing.assert_close(exact.targets, bent(places))


@pytest.mark.parametrize("everywhere", [None, bent])
def test_shards_have_the_points_of_the_whole(everywhere: Everywhere | None) -> None:
    fit = module(everywhere=everywhere)
    (whole,) = fit.samples_of(2)
    parts = []
    for number in range(2):
        shard = Shard.take(
            fit.model, fit.batch, fit.batch.coords, fit.batch.targets, None, torch.tensor([number])
        )  # fmt: skip
        parts += fit.sampler.samples(shard, 2)
    assert torch.equal(torch.cat([part.coords for part in parts]), whole.coords)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"points_per_step": None}, "give regime.points_per_step, or leave regime.jitter=false"),
        ({"overlap": 1}, "leave one of the two out"),
        ({"observe": Noise()}, "leave regime.jitter out, or give observe=identity"),
    ],
)
def test_it_is_refused_where_there_is_nothing_between(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(PartinrError, match=says):
        module(**settings)


def test_exact_distances_give_a_better_ball_on_a_coarse_grid() -> None:
    ball = SdfData(name="sphere", resolution=5, truncation=0.8).read()

    def distance(everywhere: Everywhere | None) -> float:
        torch.manual_seed(0)
        backbone = Siren(hidden_features=16, hidden_layers=1, omega_0=5.0, first_omega_0=5.0)
        seen = Identity().observe(ball.values, 0)
        seen.everywhere = everywhere
        model = PiecewiseINR(Partition(torch.zeros((5,) * 3, dtype=torch.int64)), backbone, channels=1)
        fit = FitModule(
            model,
            ball.values,
            optimizer=Optimizer(lr=0.01),
            schedule=Constant(),
            stop=StopRule(max_steps=200),
            settings=FitSettings(points_per_step=100, jitter=True, evaluate_every=200),
            observed=[seen],
        )
        run_fit(fit, make_trainer(accelerator="cpu"))
        surface = surface_of(model.render(5)[..., 0].numpy()).vertices
        return float(np.abs(sphere(surface.astype(np.float64))).mean())

    assert distance(ball.everywhere) < 0.5 * distance(None)

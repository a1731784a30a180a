"""Kinds of signals: their answers, and their way into files."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor

from partinr.api import fit, load
from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.base.section import field
from partinr.base.spec import spec
from partinr.metrics import ssim
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from partinr.runs.regime_facts import RegimeFacts
from partinr.signals.kind import Asked, SignalKind
from partinr.signals.kinds import GridKind, ImageKind, default_kind, kind_of


@spec
class Ramp(SignalKind):
    """The kind of a third party, with a fact of its own."""

    name: ClassVar[str] = "ramp"
    metrics = (field("slope", "slope", "metrics.slope"),)

    steepness: float = 1.0
    origin: list[float] = Field(default_factory=list)

    def measure(self, reconstruction: Tensor, signal: Tensor) -> dict[str, float]:
        return {"slope": self.steepness}


def test_a_kind_survives_the_way_through_a_file() -> None:
    kind = Ramp(steepness=2.5, origin=[1.0, 2.0], low=-1.0)
    plain = kind.plain()
    assert plain == {"name": f"{__name__}.Ramp", "steepness": 2.5, "origin": [1.0, 2.0], "low": -1.0}
    assert kind_of(plain, 1) == kind
    assert kind.physical(np.array([0.0, 1.0])).tolist() == [-1.0, 1.0]
    assert (kind_of({"name": "image"}, 2), ImageKind().plain()) == (ImageKind(), {"name": "image"})
    for plain, said in (({"name": "no.where.Kind"}, "PARTINR_TRUST"), ({"name": "image", "rate": 3}, "rate")):
        with pytest.raises(PartinrError, match=said):
            kind_of(plain, 2)


def test_a_signal_that_does_not_say_its_kind_is_an_image_or_a_grid() -> None:
    assert [type(default_kind(axes)) for axes in (1, 2, 3)] == [GridKind, ImageKind, GridKind]
    assert kind_of(None, 2) == ImageKind()


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("grid", [(40,), (16, 20), (6, 16, 20)])
def test_every_grid_can_be_drawn(grid: tuple[int, ...], channels: int) -> None:
    kind, values = default_kind(len(grid)), torch.rand(*grid, channels)
    labels = Grid(regions=2)(torch.zeros(*grid, 1)).labels if len(grid) < 3 else torch.zeros(grid).long()
    picture = kind.picture(values)
    assert picture.shape[2] == (1 if channels == 1 else 3)
    assert kind.label_plane(labels).shape == picture.shape[:2] == kind.error_picture(values, values).shape[:2]
    assert kind.partition_picture(labels, values).shape[2] == 3
    measured = kind.measure(values, values)
    assert measured == ({"ssim": ssim(values, values)} if len(grid) == 2 else {})


def test_a_resolution_that_a_kind_does_not_know_is_refused() -> None:
    assert ImageKind().shape_for([4, 6], Asked(scale=2)) == [8, 12]
    with pytest.raises(PartinrError, match="--rate is not for this kind of signal"):
        ImageKind().shape_for([4, 6], Asked(rate=8000))


def test_a_model_keeps_the_kind_and_old_files_have_the_usual_one(tmp_path: object) -> None:
    cut = Grid(regions=2)(torch.zeros(9, 1))
    models = [PiecewiseINR(cut, Siren(hidden_features=2), channels=1, kind=each) for each in (None, Ramp().plain())]
    found = []
    for number, model in enumerate(models):
        path = f"{tmp_path}/{number}.safetensors"
        with open(path, "wb") as file:
            file.write(model.to_bytes())
        found.append(load(path))
    assert [model.kind(0) for model in found] == [GridKind(), Ramp()]
    assert models[0].to_bytes() == found[0].to_bytes()
    assert b"kind" not in models[0].to_bytes()


def test_the_metrics_of_a_kind_are_columns_of_the_curve_and_of_the_report() -> None:
    values = torch.linspace(0, 1, 9).unsqueeze(1)
    model = PiecewiseINR(
        Grid(regions=2)(values), Siren(hidden_features=2), channels=1, kind=Ramp(steepness=3.0).plain()
    )
    assert fit(model, values, steps=1, progress=False).curve[-1]["slope"] == 3.0
    facts = RegimeFacts.of({"signal": Ramp().describe()}, {})
    assert (facts.columns, facts.table) == (("slope",), Ramp.metrics)
    assert [each["heading"] for each in facts.summary] == ["PSNR dB", "slope"]

"""What was written for an older version means the same in this one."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from partinr.base.errors import PartinrError
from partinr.base.moved import MOVED
from partinr.experiment.make import _class
from partinr.experiment.migrate import LATER, RENAMED, RETIRED, migrated

PUBLIC = {
    "partinr.backbones": "Backbone Finer Fourier Gauss HashGrid Mfn Mlp ReluPE Siren Wire load_backbone",
    "partinr.backbones.base": "Backbone Mlp",
    "partinr.callbacks": "CurveFile LastCheckpoint Pictures Progress RunCallback",
    "partinr.coords": "axis_samples grid_coords scaled_shape",
    "partinr.data": "FolderData ImageData ImageItem Item LsunData SignalSet SmoothData StepItem StepsData TextData",
    "partinr.errors": "PartinrError",
    "partinr.inr": "PiecewiseINR",
    "partinr.partition": "Cover Grid ImageSegmentation KMeans Mask Partition PartitionRule Random Semantic Smp",
    "partinr.regimes": "Constant Cosine FitResult FitSettings MetaSettings Optimizer PerNetwork Plateau Schedule "
    "StopRule WarmUp ThresholdSettings make_trainer",
    "partinr.signals": "EdgedImage Source StepSignal builtin_image builtin_names check_image load_image step_signal",
    "partinr.spec": "spec",
    "partinr.tracking": "CurveOnly Logger Wandb",
}
"""Modules and names of version 0.1.0 that other packages may import."""

TARGETS = {
    "partinr.callbacks": "LastCheckpoint Pictures Progress",
    "partinr.config": "TrainerSettings",
    "partinr.data": "FolderData ImageData LsunData SmoothData StepsData TextData",
    "partinr.backbones": "Finer Fourier Gauss HashGrid Mfn ReluPE Siren Wire",
    "partinr.backbones.siren": "Siren",  # as init=RUN wrote it
    "partinr.partition": "Grid KMeans Mask Random Semantic Smp Superpixel Whole",
    "partinr.regimes": "Constant Cosine FitSettings MetaSettings Optimizer PerNetwork Plateau ThresholdSettings WarmUp",
    "partinr.tracking": "CurveOnly Wandb",
}
"""What the configurations of version 0.1.0 name as ``_target_``."""


@pytest.mark.parametrize("module", PUBLIC)
def test_names_are_still_imported_from_where_they_were(module: str) -> None:
    found = importlib.import_module(module)
    for name in PUBLIC[module].split():
        assert getattr(found, name) is not None


def test_a_module_has_one_identity_under_both_names() -> None:
    for before, now in MOVED.items():
        assert importlib.import_module(before) is importlib.import_module(now)
        assert importlib.import_module(now).__spec__.name == now  # type: ignore[union-attr]


def test_targets_of_older_configurations_are_found() -> None:
    for module, names in TARGETS.items():
        for name in names.split():
            config: dict[str, Any] = migrated({"group": {"_target_": f"{module}.{name}", "lr": 1}, "engine": "auto"})
            assert _class(config["group"]["_target_"], "group").__name__ == name
            assert config["group"]["lr"] == 1
            assert config["logger"] == LATER["logger"]


def test_a_configuration_of_today_stays_as_it_is() -> None:
    for target in RENAMED.values():
        config = {"logger": None, "a": [1, None], "b": {"_target_": target, "c": {"_target_": "somebodys.Class"}}}
        config |= {group: LATER[group] for group in ("observe", "sampler", "start")}
        assert migrated(config) == config


def test_an_older_word_for_the_sampler_means_the_group() -> None:
    written = {"regime": {"_target_": "partinr.regimes.FitSettings", "sampling": "error", "points_per_step": 9}}
    found = migrated(written)
    assert found["sampler"] == {"_target_": "partinr.samplers.Error"}
    assert found["regime"] == {**written["regime"], "sampling": "uniform"}
    assert migrated(found) == found
    assert migrated({"regime": {"sampling": "uniform"}})["sampler"] == LATER["sampler"]
    with pytest.raises(PartinrError, match=r"both choose; leave out regime\.sampling"):
        migrated({**written, "sampler": {"_target_": "partinr.samplers.Evos"}})


@pytest.mark.parametrize(("key", "value"), RETIRED)
def test_what_is_gone_is_refused_with_a_way_out(key: str, value: str) -> None:
    with pytest.raises(PartinrError, match=f"{key}={value} is gone; {key}="):
        migrated({key: value})

"""What a notebook calls."""

from __future__ import annotations

import dataclasses
import importlib
import math

import pytest
import torch

import partinr
from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import WEIGHTS


@pytest.fixture
def image():
    return torch.rand(8, 12, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(image):
    partition = partinr.partition.Grid(rows=2, cols=3)(image)
    return partinr.PiecewiseINR(partition, partinr.backbones.Siren(hidden_features=4, hidden_layers=1))


CONFIG = {"seed": 3, "partition": {"rows": 2, "cols": 3}}
ROWS = [
    {"step": 0, "seconds": 0.0, "macs": 0, "loss": 0.5, "psnr": 3.0, "ssim": math.nan, "lr": 1e-4},
    {"step": 10, "seconds": 1.25, "macs": 999, "loss": 0.1, "psnr": 20.5, "ssim": 0.5, "lr": 1e-4},
]


@pytest.fixture
def run(tmp_path, model):
    run = RunDirectory.create(tmp_path / "run", CONFIG, ["seed=3"])
    run.write_curve(ROWS)
    run.write(WEIGHTS, model.to_bytes())
    run.write_manifest({"status": "completed", "metrics": {"psnr": 20.5}})
    return run


def test_everything_that_is_promised_is_there():
    for name in partinr.__all__:
        assert getattr(partinr, name) is not None
        assert name in dir(partinr)
    assert callable(partinr.fit)
    assert issubclass(partinr.PartinrError, ValueError)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        partinr.nonsense  # noqa: B018


def test_a_model_and_a_result_say_what_they_are_in_a_line(model, image):
    count = sum(value.numel() for value in model.parameters())
    said = f"PiecewiseINR(8×12×3, 6 regions, siren, width 4, {count} parameters)"
    assert repr(model) == said
    result = partinr.fit(model, image, steps=5, lr=1e-3)
    figures = f"steps=5, psnr={result.psnr:.2f}, seconds={result.seconds:.1f}"
    assert repr(result) == f"FitResult({figures}, stop='max_steps', model={said})"
    failed = dataclasses.replace(result, failure="the loss is not finite", stop=None)
    assert "failure='the loss is not finite'" in repr(failed)


def test_all_says_what_a_package_holds():
    for package in ["backbones", "partition", "regimes", "signals"]:
        module = importlib.import_module(f"partinr.{package}")
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert hasattr(module, name)


def test_the_example_of_the_documentation(image, model):
    assert partinr.partition.Grid(rows=2, cols=3)(image).labels.shape == (8, 12)
    result = partinr.fit(model, image, steps=5, lr=1e-3)
    assert result.curve[-1]["step"] == 5
    assert result.psnr == result.curve[-1]["psnr"]
    assert result.seconds > 0
    assert model.render(scale=2).shape == (16, 24, 3)


def test_a_run_is_read(run, model):
    for path in (run.path, str(run.path)):
        loaded = partinr.load_run(path)
        assert loaded.status == "completed"
        assert loaded.config == CONFIG
        assert loaded.manifest["metrics"]["psnr"] == 20.5
        assert (loaded.psnr, loaded.seconds) == (20.5, 1.25)
        assert [row["step"] for row in loaded.curve] == [0, 10]
        assert math.isnan(loaded.curve[0]["ssim"])
        assert torch.equal(loaded.model().render(), model.render())


def test_a_run_that_has_only_begun_is_read(tmp_path):
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    loaded = partinr.load_run(run.path)
    assert (loaded.status, loaded.psnr, loaded.seconds, loaded.curve) == ("running", None, 0.0, [])
    with pytest.raises(PartinrError, match=WEIGHTS):
        loaded.model()


def test_a_model_is_read_from_its_file_or_its_run(run, model):
    for path in (run.path, run.file(WEIGHTS), str(run.file(WEIGHTS))):
        assert torch.equal(partinr.load(path).render(), model.render())


def test_a_loaded_model_can_be_fitted_further(run, image):
    model = partinr.load(run.path)
    result = partinr.fit(model, image, steps=20, lr=1e-2)
    assert result.psnr > result.curve[0]["psnr"]


def test_what_is_no_run_is_refused(tmp_path):
    for read in (partinr.load_run, partinr.load):
        for path in (tmp_path / "nothing", tmp_path):
            with pytest.raises(PartinrError) as caught:
                read(path)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)

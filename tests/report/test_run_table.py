"""Many runs in a notebook, as `partinr.load_runs` gives them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

import partinr
from partinr.base.errors import PartinrError
from partinr.report.curves import MeanCurve


def test_a_row_for_each_run_with_what_differs_and_its_results(study: Path) -> None:
    runs = partinr.load_runs(*sorted(study.glob("coffee-*-[01]")))
    table, curves = runs.to_pandas(), runs.curves()
    assert len(runs) == len(table)
    assert {"partition", "seed"} <= {*table} <= {*table.columns}
    assert set(table["partition"]) > {"none"}
    last = curves[curves["step"] == curves["step"].max()]
    assert sorted(last["psnr"]) == sorted(table["psnr"])
    assert {*curves} == {"run", "partition", "seed", *curves.columns[-8:]}
    assert [str(run.path) for run in runs] == list(table["path"])
    assert runs[0].to_pandas()["psnr"].iloc[-1] == runs[0].psnr


def test_a_setting_that_is_called_like_a_result_keeps_its_whole_key(write_run, tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        write_run(tmp_path / str(lr), settings={"optimizer": {"lr": lr, "momentum": lr}}, steps=3)
    runs = partinr.load_runs(tmp_path)
    assert list(runs.curves().columns[:3]) == ["run", "optimizer.lr", "momentum"]
    assert list(runs.to_pandas()["optimizer.lr"]) == [0.1, 0.2]
    assert "optimizer.lr" in repr(runs)
    assert ">optimizer.lr</th>" in runs._repr_html_()


def test_curves_are_means_over_seeds_with_a_band(study: Path) -> None:
    runs = partinr.load_runs(*sorted(study.glob("coffee-*-[01]")))
    (axes,) = runs.plot("ssim", "seconds")
    names = axes.get_legend_handles_labels()[1]
    assert "no partition" in names
    lone = MeanCurve.of([record for record in runs.records if record.regions == 1], "ssim")
    line = next(line for line in axes.lines if line.get_label() == "no partition")
    assert np.array_equal(line.get_ydata(), lone.mean)
    assert axes.get_legend() is not None
    assert len(axes.collections) == len(names)
    (again,) = runs.plot(ax=axes)
    assert again is axes
    plt.close("all")


def test_several_images_have_axes_each(write_run, tmp_path: Path) -> None:
    for image in ("a$", "b"):
        write_run(tmp_path / image, image=image, steps=3)
    runs = partinr.load_runs(tmp_path)
    assert [axes.get_title() for axes in runs.plot()] == ["a$", "b"]
    with pytest.raises(PartinrError, match="the runs are of 2 images, which need axes each; leave ax out"):
        runs.plot(ax=plt.gca())
    plt.close("all")


def test_runs_that_have_only_begun_or_are_damaged_are_rows_too(write_run, tmp_path: Path) -> None:
    write_run(tmp_path / "a", rows=[], pictures=None, status="failed", message="no")
    write_run(tmp_path / "b", steps=3)
    (tmp_path / "b" / "run.json").write_text("{")
    runs = partinr.load_runs(tmp_path)
    assert list(runs.to_pandas()["state"]) == ["failed", "damaged"]
    assert "damaged" in runs._repr_html_()
    assert len(runs.curves()) == 0
    assert "failed" in runs[0]._repr_html_()
    with pytest.raises(PartinrError, match="no run has a curve yet"):
        runs.plot()


def test_pandas_is_asked_for_in_a_line(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PartinrError, match=r"^tables in Python need pandas; pip install pandas$"):
        partinr.load_runs(study).to_pandas()

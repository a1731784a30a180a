"""The written spec of ``partinr dashboard``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from partinr.pictures.draw import encode_png
from partinr.runs.directory import RunDirectory, find_runs
from partinr.runs.layout import CURVE_COLUMNS
from partinr.tracking.dashboard import Dashboard
from partinr.tracking.dashboard import Study as DashboardStudy
from partinr.tracking.summary import AXES

PNG = encode_png(np.zeros((2, 2, 3), np.float32))
GROUPS = ["partition_name", "backbone_name", "regime_name"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four run directories: two partitions, two seeds."""
    folder = tmp_path_factory.mktemp("study")
    for number, (target, regions, seed) in enumerate(
        (target, regions, seed) for target, regions in (("Grid", 4), ("Whole", None)) for seed in (0, 1)
    ):
        config = {
            "seed": seed,
            "partition": {"_target_": f"partinr.partition.{target}", "regions": regions},
            "backbone": {"_target_": "partinr.backbones.ReluPE"},
            "regime": {"_target_": "partinr.regimes.FitSettings"},
            "logger": {"_target_": "partinr.tracking.Wandb", "project": "images", "study": "grids"},
        }
        run = RunDirectory.create(folder / str(number), config)
        psnr = [10.0, 24.0, 32.0] if target == "Grid" else [10.0, 22.0, 24.0]
        run.write_curve(
            [
                {**dict.fromkeys(CURVE_COLUMNS, 0.1), "step": at, "macs": 9 * at, "psnr": each}
                for at, each in enumerate(psnr)
            ]
        )
        run.write("reconstruction.png", PNG)
        run.write_manifest({"status": "completed", "metrics": {"psnr": psnr[-1]}, "name": "astronaut"})
    return folder


@pytest.fixture(scope="module")
def spec(study: Path, partinr: Any) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(study)
        answer = partinr("dashboard", ".", "-o", "spec.json", "--entity", "us")
    assert answer.code == 0, answer.err
    assert answer.out == "spec       spec.json\n"
    assert answer.err == "partinr: note: W&B is offline; nothing was sent\n"
    found: dict[str, Any] = json.loads((study / "spec.json").read_text())
    return found


def panels(node: Any, kind: str) -> Iterator[dict[str, Any]]:
    """The configs of all panels of a kind below a node."""
    if isinstance(node, dict):
        if node.get("viewType") == kind:
            yield node["config"]
        for value in node.values():
            yield from panels(value, kind)
    elif isinstance(node, list):
        for value in node:
            yield from panels(value, kind)


def keys(node: Any, name: str) -> Iterator[Any]:
    """The values of a key anywhere below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield value
            yield from keys(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from keys(value, name)


def test_where_it_belongs(spec: Any) -> None:
    assert (spec["project"], spec["entity"], spec["group"]) == ("images", "us", "grids")
    assert (spec["workspace"]["project"], spec["workspace"]["entity"]) == ("images", "us")
    assert spec["report"]["project"]["name"] == "images"


@pytest.mark.parametrize("part", ["workspace", "report"])
def test_curves_under_every_axis(spec: Any, part: str) -> None:
    drawn = {(*plot["metrics"], plot["xAxis"]): plot for plot in panels(spec[part], "Run History Line Plot")}
    assert drawn.keys() == {(y, x) for y in ("psnr", "ssim", "loss") for x in AXES}
    for plot in drawn.values():
        assert (plot["groupAgg"], plot["groupArea"], plot["aggregate"]) == ("mean", "stddev", True)
        assert plot.get("groupBy") == (None if part == "workspace" else "method.value")


def test_the_table_of_runs_is_grouped(spec: Any) -> None:
    (runs,) = keys(spec["workspace"], "runSets")
    assert [key["name"].removesuffix(".value") for key in runs[0]["grouping"]] == GROUPS
    assert {key["section"] for key in runs[0]["grouping"]} == {"config"}
    assert "grids" in json.dumps(runs[0]["filters"])
    assert "grids" in json.dumps(list(keys(spec["report"], "filters")))


@pytest.mark.parametrize("part", ["workspace", "report"])
def test_bars_of_the_qualities_that_are_reached(spec: Any, part: str) -> None:
    # 20 dB by all; 25 and 30 by half of the runs, which are not most.
    metrics = [metric for plot in panels(spec[part], "Bar Chart") for metric in plot["metrics"]]
    assert metrics == ["reached/20dB", *(f"{cost}_to/20dB" for cost in ("steps", "seconds", "cpu_seconds", "macs"))]
    assert not list(panels(spec[part], "Scatter Plot"))


@pytest.mark.parametrize("part", ["workspace", "report"])
def test_pictures_that_there_are(spec: Any, part: str) -> None:
    assert [panel["mediaKeys"] for panel in panels(spec[part], "Media Browser")] == [["reconstruction"]]


def test_the_groups_are_those_of_the_runs(study: Path, partinr: Any, offline: Any) -> None:
    assert partinr("sync", "--offline", study).code == 0
    kept = [offline(study / str(number))[0] for number in range(4)]
    assert [[each.config[key] for key in (*GROUPS, "method")] for each in kept[::2]] == [
        ["grid #4", "relu_pe", "fit", "grid #4 · relu_pe · fit"],
        ["none", "relu_pe", "fit", "none · relu_pe · fit"],
    ]
    assert all("seconds_to/20dB" in each.summary for each in kept)
    assert [each.summary["reached/25dB"] for each in kept] == [1, 1, 0, 0], "those that never arrive count"


def test_a_search_has_a_view(tmp_path: Path) -> None:
    for number, lr in enumerate((1e-4, 1e-3, 1e-2, 1e-1)):
        config = {"seed": 0, "optimizer": {"name": "adam", "lr": lr}, "partition": {"_target_": "partinr.Whole"}}
        run = RunDirectory.create(tmp_path / str(number), config)
        run.write_manifest({"status": "completed", "name": "astronaut"})
    spec = Dashboard(DashboardStudy.of(find_runs(tmp_path), "lr")).spec()
    for part in ("workspace", "report"):
        (scatter,) = panels(spec[part], "Scatter Plot")
        assert (scatter["xAxis"], scatter["yAxis"]) == ("config:optimizer.value.lr", "summary:psnr")
        assert scatter["xAxisLogScale"]
        (parallel,) = panels(spec[part], "Parallel Coordinates Plot")
        assert [column["accessor"] for column in parallel["columns"]] == ["config:optimizer.value.lr", "summary:psnr"]
        assert [plot["targetKey"] for plot in panels(spec[part], "Parameter Importance")] == ["psnr"]
    # One group of all trials would be one point.
    (runs,) = keys(spec["workspace"], "runSets")
    assert not runs[0].get("grouping")


def test_without_the_package(study: Path, partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    answer = partinr("dashboard", study)
    assert answer.code == 2
    assert answer.err == (
        "partinr: error: partinr dashboard needs the package wandb-workspaces; "
        "install it with: pip install 'partinr[dashboard]'\n"
    )


@pytest.mark.usefixtures("fresh")
def test_without_a_login(study: Path, partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    answer = partinr("dashboard", study)
    assert answer.code == 0
    assert "there is no W&B login (wandb login makes one); nothing was sent" in answer.err
    assert (study / "dashboard.json").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_without_a_server(study: Path, partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    answer = partinr("dashboard", study, "--entity", "us")
    assert answer.code == 0, answer.err
    assert "W&B did not take it: " in answer.err
    assert answer.err.count("\n") == 1


def test_runs_of_two_projects(study: Path, partinr: Any, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(study, tmp_path / "runs"))
    config = runs / "0" / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("images", "others"))
    answer = partinr("dashboard", runs)
    assert answer.code == 2
    assert "the runs are filed under several values of project: others, images; give --project" in answer.err
    assert partinr("dashboard", runs, "--project", "one").code == 0

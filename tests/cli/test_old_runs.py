"""Runs and artefacts of version 0.1.0: they are still reported, drawn, measured and made again (fixtures/old_runs)."""

from __future__ import annotations

import csv
import json
import operator
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import partinr as api
from partinr.runs.layout import CLOCK_COLUMNS

FIXTURES = Path(__file__).parents[1] / "fixtures" / "old_runs"
RUNS = ("blended", "detail", "fit", "folder", "init", "meta", "plugin", "threshold")
ROUNDING = 1e-4
"""Of other machines' instructions."""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The fixtures as if they had been made in this folder, the plug-in installed."""
    folder = tmp_path_factory.mktemp("old") / "old_runs"
    shutil.copytree(FIXTURES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*"):
        if path.suffix in (".yaml", ".json") and path.is_file():
            path.write_text(path.read_text().replace("/HERE", str(folder)))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "plugin"))
        yield folder
    sys.modules.pop("old_rules", None)


@pytest.fixture
def good(partinr: Any) -> Any:
    """A command that must end well: what it says."""

    def call(*words: str | Path, code: int = 0) -> str:
        answer = partinr(*words)
        assert answer.code == code, answer.err
        return answer.out

    return call


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number(cell: str) -> float | str:
    """A cell, its number rounded."""
    try:
        return float(f"{float(cell):.9g}")
    except ValueError:
        return cell


def cells(path: Path) -> list[dict[str, str]]:
    """The rows of the tables of a Markdown file, by heading, in any order of columns."""
    found = []
    for block in path.read_text().split("\n\n"):
        lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in block.strip().splitlines()]
        found += [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
    return found


def test_every_artefact_is_drawn_as_it_was(old: Path) -> None:
    with np.load(old / "rendered.npz") as pictures:
        assert len(pictures.files) >= 16
        for name in pictures.files:
            drawn = api.load(old / "artefacts" / f"{name}.safetensors").render(shape=(5, 7))
            np.testing.assert_allclose(drawn.numpy(), pictures[name], atol=ROUNDING, err_msg=name)


def test_tables_say_what_they_said(old: Path, tmp_path: Path, good: Any) -> None:
    good("table", old / "runs", "--no-seconds", "-o", tmp_path / "table.md")
    for before, after in zip(cells(old / "said/table.md"), cells(tmp_path / "table.md"), strict=True):
        # A later version may tell the groups apart by fewer settings, and says 2×2 grid instead of grid #4.
        shorter, longer = (set(row.pop("group").removesuffix(" (2)").split(" · ")[1:]) for row in (after, before))
        assert shorter - {"mark"} <= longer  # a callback of the plug-in, which is part of a run by now
        assert after == before
    good("table", old / "runs/sweep", "-o", tmp_path / "table.csv")
    for before, after in zip(rows(old / "said/table.csv"), rows(tmp_path / "table.csv"), strict=True):
        assert list(map(number, after.values())) == list(map(number, before.values()))
        assert after.keys() == before.keys()


def test_a_report_of_all_of_them(old: Path, tmp_path: Path, good: Any) -> None:
    good("report", old / "runs", "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "learned start" in page
    assert "superpixel" in page
    good("report", old / "runs/sweep", "-o", tmp_path / "sweep.html", "--figures", tmp_path / "figures")
    assert list((tmp_path / "figures").glob("*.pdf"))


def test_runs_are_listed_as_of_another_version(old: Path, good: Any) -> None:
    by_path = operator.itemgetter("path")  # their order may be another
    said = sorted(json.loads((old / "said/runs.json").read_text())["runs"], key=by_path)
    now = sorted(json.loads(good("runs", old / "runs", "--json"))["runs"], key=by_path)
    for before, after in zip(said, now, strict=True):
        assert after.pop("settings")["backbone"]
        assert after == {**before, "another_version": True, "cpu_seconds": None, "shared": None}
    first = good("runs", old / "runs").splitlines()[1].split()
    assert first[-3:] == ["–", "by", "0.1.0"], "CPU seconds are unknown, not 0"


def test_pictures_are_drawn_from_run_directories(old: Path, tmp_path: Path, good: Any) -> None:
    good("render", old / "runs/fit", "--size", "5,7", "-o", tmp_path / "fit.npy")
    with np.load(old / "rendered.npz") as pictures:
        np.testing.assert_allclose(np.load(tmp_path / "fit.npy"), pictures["plain"], atol=ROUNDING)
    good("render", old / "runs/folder", "--image", "b", "-o", tmp_path / "b.png")
    good("view", old / "runs/blended", "-o", tmp_path / "view.html")
    assert (tmp_path / "b.png").stat().st_size > 0
    assert "<canvas" in (tmp_path / "view.html").read_text()


@pytest.mark.parametrize("run", ["fit", "folder"])
def test_networks_are_measured_as_before(run: str, old: Path, good: Any) -> None:
    good("export", old / "runs" / run)
    measured = old / "runs" / run / "rate.csv"
    for before, after in zip(rows(old / f"said/rate-{run}.csv"), rows(measured), strict=True):
        if before["coder"] == "fit":  # the others depend on the version of Pillow
            assert float(after["psnr"]) == pytest.approx(float(before["psnr"]), abs=1e-3)
            assert after["bits"] == before["bits"]
    measured.unlink()


@pytest.mark.parametrize("run", RUNS)
def test_a_run_can_be_made_again(run: str, old: Path, tmp_path: Path, partinr: Any) -> None:
    answer = partinr("rerun", old / "runs" / run, "-o", tmp_path / "again")
    assert answer.code in (0, 1), answer.err  # 1 on a machine that rounds otherwise
    # Inner steps beyond the trained ones have other rates since 0.4.
    trained = yaml.safe_load((old / "runs" / run / ".hydra/config.yaml").read_text())["regime"].get("inner_steps", 0)
    beyond = {f"psnr_{step}" for step in range(trained + 1, 10)}
    for before, after in zip(rows(old / "runs" / run / "curve.csv"), rows(tmp_path / "again/curve.csv"), strict=True):
        assert after.keys() == {*before, "cpu_seconds"}
        for column in before.keys() - {*CLOCK_COLUMNS} - beyond:
            assert float(after[column]) == pytest.approx(float(before[column]), rel=1e-3, nan_ok=True), column


@pytest.mark.parametrize("run", ["fit", "meta"])
def test_a_checkpoint_is_refused_in_one_line(run: str, old: Path, tmp_path: Path, partinr: Any) -> None:
    stopped = Path(shutil.copytree(old / "runs" / run, tmp_path / "stopped"))
    manifest = json.loads((stopped / "run.json").read_text())
    (stopped / "run.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    answer = partinr("resume", stopped)
    assert answer.code == 2
    assert re.fullmatch(r"partinr: error: .*last.ckpt was saved by partinr 0.1, and .* partinr rerun .*\n", answer.err)


def test_a_run_by_an_engine_that_is_gone_is_reported_but_not_made_again(
    old: Path, tmp_path: Path, partinr: Any, good: Any
) -> None:
    run = Path(shutil.copytree(old / "runs/fit", tmp_path / "run"))
    config = run / ".hydra/config.yaml"
    config.write_text(config.read_text().replace("engine: auto", "engine: tcnn"))
    assert "grid" in good("table", run)
    answer = partinr("rerun", run)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "engine=tcnn is gone" in answer.err

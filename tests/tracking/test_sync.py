from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CURVE_COLUMNS


@pytest.fixture
def run() -> RunDirectory:
    """A run that another logger had, with NaN and infinity in its curve, and a column of its own."""
    made = RunDirectory.create(Path("runs") / "one", {"seed": 3, "partition": {"_target_": "a.Grid", "regions": 4}})
    row: dict[str, float] = {**dict.fromkeys(CURVE_COLUMNS, 0.25), "step": 0, "macs": 0, "ssim": float("nan")}
    made.write_curve([row, {**row, "step": 5, "psnr": float("inf"), "psnr@3": 1 / 3}])
    made.write_manifest({"status": "completed", "name": "astronaut", "seed": 3})
    return made


def test_a_run_that_had_another_logger(run: RunDirectory, partinr: Any, offline: Any, same_rows: Any) -> None:
    answer = partinr("sync", "--offline", "--project", "mine", "--group", "grids", run.path)
    assert answer.code == 0, answer.err
    (kept,) = offline(run.path)
    assert same_rows(kept.curve, run.curve())
    assert (kept.run.project, kept.run.run_group, kept.run.display_name) == ("mine", "grids", "astronaut, seed 3")
    assert kept.run.run_id == run.file("wandb.id").read_text()
    assert kept.exits == [0]
    first, second = answer.out.splitlines()
    assert first == f"written  runs/one  2 evaluations  {os.path.relpath(kept.path.parent)}"
    assert second == "1 run written; where there is a network: partinr sync runs/one"


def test_it_can_be_done_again(run: RunDirectory, partinr: Any, offline: Any, same_rows: Any) -> None:
    for _ in range(2):
        assert partinr("sync", "--offline", run.path).code == 0
    one, other = offline(run.path)
    assert one.run.run_id == other.run.run_id
    assert same_rows(one.curve, other.curve)


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        ({"status": "failed", "message": "stopped by signal 15"}, 1),
        ({"status": "interrupted", "message": "stopped from outside (SIGTERM)"}, 143),
        ({"status": "interrupted", "message": "stopped by signal 15"}, 143),  # of an older version
        ({"status": "interrupted", "message": "stopped"}, 1),
    ],
)
def test_how_it_ended(run: RunDirectory, partinr: Any, offline: Any, manifest: Any, code: int) -> None:
    run.write_manifest(manifest)
    assert partinr("sync", "--offline", run.path).code == 0
    assert offline(run.path)[0].exits == [code]


def test_what_still_runs_is_left_alone(run: RunDirectory, partinr: Any, offline: Any) -> None:
    other = RunDirectory.create(Path("runs") / "two", {})  # this process is its writer
    answer = partinr("sync", "--offline", "runs")
    assert answer.code == 1
    assert answer.err == f"partinr: error: {other.path} is still running; sync it when it is over\n"
    assert "1 run written" in answer.out
    assert len(offline(run.path)) == 1
    assert not offline(other.path)


@pytest.mark.usefixtures("fresh")
def test_without_a_login(run: RunDirectory, partinr: Any, offline: Any) -> None:
    answer = partinr("sync", run.path)
    assert answer.code == 2
    assert answer.err.startswith("partinr: error: there is no W&B login (wandb login makes one). With --offline")
    assert answer.err.count("\n") == 1
    assert not offline(run.path)


@pytest.mark.usefixtures("fresh")
def test_without_a_server(run: RunDirectory, partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    logger = {"_target_": "partinr.tracking.Wandb", "start_timeout": 1.0}
    run.write(".hydra/config.yaml", repr({**run.config(), "logger": logger}).encode())
    answer = partinr("sync", run.path)
    assert answer.code == 2
    assert answer.err.startswith("partinr: error: W&B cannot be reached: ")
    assert answer.err.count("\n") == 1


@pytest.mark.usefixtures("fresh")
def test_a_login_in_a_netrc(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    from partinr.tracking.server import has_login

    path = Path("netrc").resolve()
    monkeypatch.setenv("NETRC", str(path))
    for content, found in (
        (f"machine api.wandb.ai login user password {'0123456789' * 4}\n", True),
        (f"machine elsewhere.org login user password {'0123456789' * 4}\n", False),
        ("machine api.wandb.ai login user password short\n", False),
        ("no netrc at all {", False),
    ):
        path.write_text(content)
        assert has_login() is found

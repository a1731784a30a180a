"""A run with ``logger=wandb``, as W&B's own offline file tells it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from partinr.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def finished(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A completed run and what its command said."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.parent)
        patch.setenv("SECRET", "hunter2-hunter2")
        patch.setenv("WANDB_API_KEY", "0123456789" * 4)
        answer = tiny(
            "experiment=demo", "data.size=16", "logger.tags=[a,b]", "logger.notes=why", f"hydra.run.dir={run}"
        )
    assert answer.code == 0, answer.err
    return run, answer


def test_the_curve_is_whole_under_every_axis(finished: Any, offline: Any, same_rows: Any) -> None:
    (kept,) = offline(finished[0])
    curve = RunDirectory(finished[0]).curve()
    assert same_rows(kept.curve, curve)
    assert len(curve) > 3
    # Each of the three is a value of each row, so a panel may take any of them; W&B's own step is left to it.
    assert {"step", "seconds", "cpu_seconds", "macs"} <= kept.axes.keys()
    assert {kept.axes[name] for name in ("loss", "psnr", "ssim", "lr")} == {"step"}
    assert [row["_step"] for row in kept.history] == list(range(len(kept.history)))


def test_pictures_table_and_weights(finished: Any, offline: Any) -> None:
    run, (kept,) = finished[0], offline(finished[0])
    for key in ("partition", "reconstruction", "error"):
        (picture,) = kept.media(key)
        assert picture.read_bytes() == (run / f"{key}.png").read_bytes()
    last = [row for row in kept.history if any(name.startswith("reconstruction.") for name in row)][-1]
    assert {name: last[name] for name in ("step", "macs")} == {
        name: RunDirectory(run).curve()[-1][name] for name in ("step", "macs")
    }
    (table,) = kept.media("results")
    content = json.loads(table.read_text())
    manifest = RunDirectory(run).manifest()
    (row,) = content["data"]
    told = dict(zip(content["columns"], row, strict=True))
    assert told["psnr"] == manifest["metrics"]["psnr"]
    assert told["parameters"] == manifest["parameters"]
    (weights,) = [each for each in kept.artifacts if each.type == "model"]
    (entry,) = weights.manifest.contents
    assert (entry.path, entry.local_path) == ("inr.safetensors", str(run / "inr.safetensors"))
    assert json.loads(weights.metadata)["config_hash"] == manifest["config_hash"]


def test_how_it_is_filed(finished: Any, offline: Any) -> None:
    (kept,) = offline(finished[0])
    assert kept.run.project == "partinr"
    assert kept.run.run_group == "demo"
    assert kept.run.job_type == "fit"
    assert kept.run.display_name == f"{RunDirectory(finished[0]).manifest()['name']}, seed 0"
    assert list(kept.run.tags) == ["a", "b"]
    assert kept.run.notes == "why"
    composed = yaml.safe_load((finished[0] / ".hydra/config.yaml").read_text())
    assert {key: kept.config[key] for key in ("seed", "partition", "backbone", "optimizer")} == {
        key: composed[key] for key in ("seed", "partition", "backbone", "optimizer")
    }
    assert kept.config["method"] == "grid #4 · siren · fit"


def test_the_summary_is_that_of_the_manifest(finished: Any, offline: Any) -> None:
    (kept,) = offline(finished[0])
    manifest = RunDirectory(finished[0]).manifest()
    assert kept.summary["status"] == "completed"
    for key in ("psnr", "ssim", "psnr_best"):
        assert kept.summary[key] == manifest["metrics"][key]
    assert kept.summary["seam/psnr_band"] == manifest["metrics"]["seam"]["psnr_band"]
    for key in ("parameters", "macs_per_pixel", "regions", "steps"):
        assert kept.summary[key] == manifest[key]
    assert kept.exits == [0]


def test_nothing_is_told_that_should_not_be(finished: Any, offline: Any) -> None:
    run, answer = finished
    (kept,) = offline(run)
    assert kept.kinds.isdisjoint({"environment", "stats", "output", "output_raw"})
    for path in [each for each in (run / "wandb").rglob("*") if each.is_file()]:
        content = path.read_bytes()
        assert b"hunter2" not in content, path
        assert b"0123456789" * 4 not in content, path
    # Nothing next to the run directory, and one line.
    assert [path.name for path in run.parent.iterdir() if path.name != "outputs"] == ["run"]
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("partinr: note: W&B is offline; to send the run later: partinr sync run")
    assert "wandb" not in answer.out


def test_two_runs_of_a_sweep_are_two(tiny: Any, offline: Any) -> None:
    answer = tiny("-m", "seed=0,1", "logger.study=mine", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}")
    assert answer.code == 0, answer.err
    kept = [offline(Path("sweep") / number) for number in "01"]
    assert [len(each) for each in kept] == [1, 1]
    ids = {each[0].run.run_id for each in kept}
    assert len(ids) == 2
    assert {each[0].run.run_group for each in kept} == {"mine"}
    assert [each[0].config["seed"] for each in kept] == [0, 1]
    assert [each[0].exits for each in kept] == [[0], [0]]


def test_a_run_that_fails_is_closed_as_failed(tiny: Any, offline: Any, same_rows: Any) -> None:
    answer = tiny("optimizer=sgd", "optimizer.lr=1e30", "hydra.run.dir=run")
    assert answer.code == 1
    (kept,) = offline(Path("run"))
    assert kept.exits == [1]
    assert kept.summary["status"] == "failed"
    assert same_rows(kept.curve, RunDirectory(Path("run")).curve())


def test_a_run_that_raises_is_closed(tiny: Any, offline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from partinr.callbacks import Pictures

    def broken(*arguments: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(Pictures, "on_fit_end", broken)
    answer = tiny("hydra.run.dir=run")
    assert answer.code == 1
    (kept,) = offline(Path("run"))
    assert kept.exits == [1]
    assert "no ink" in kept.summary["message"]


def test_an_interrupted_run_goes_on_as_the_same(
    tiny: Any, partinr: Any, offline: Any, same_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from partinr.tracking.callback import WandbMirror

    sent = WandbMirror._send

    def stopped(self: Any, module: Any) -> None:
        sent(self, module)
        # Once: a second signal would end this process.
        if len(module.curve) == resumed + 2 and resumed not in asked:
            asked.append(resumed)
            os.kill(os.getpid(), signal.SIGTERM)

    resumed = 0
    asked: list[int] = []
    monkeypatch.setattr(WandbMirror, "_send", stopped)
    run = RunDirectory(Path("run"))
    assert tiny("max_steps=40", f"hydra.run.dir={run.path}").code == 143
    resumed = len(run.curve())
    assert partinr("resume", run.path).code == 143
    monkeypatch.setattr(WandbMirror, "_send", sent)
    assert len(run.curve()) > resumed
    assert partinr("resume", run.path).code == 0
    kept = offline(run.path)
    assert len({each.run.run_id for each in kept}) == 1
    assert [each.exits for each in kept] == [[143], [143], [0]]
    # Each piece has the curve from its start, so the last one is whole.
    assert same_rows(kept[-1].curve, run.curve())
    answer = partinr("sync", "--offline", run.path)
    assert answer.code == 0, answer.err
    rebuilt = offline(run.path)[-1]
    assert len(offline(run.path)) == 4
    assert rebuilt.run.run_id == kept[0].run.run_id
    assert same_rows(rebuilt.curve, run.curve())
    assert rebuilt.exits == [0]
    assert rebuilt.summary["psnr"] == kept[-1].summary["psnr"]


def test_disabled_is_nothing(tiny: Any, offline: Any) -> None:
    answer = tiny("logger.mode=disabled", "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, "")
    assert not Path("run/wandb").exists()


def test_an_unknown_mode(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    answer = tiny("hydra.run.dir=run")
    assert answer.code == 2
    assert answer.err == "partinr: error: WANDB_MODE='sometimes' is no mode; set online, offline or disabled\n"
    assert not Path("run").exists()


def test_wandb_that_breaks_does_not_break_the_run(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def broken(**arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(wandb, "init", broken)
    answer = tiny("hydra.run.dir=run")
    assert answer.code == 0
    assert answer.err.count("\n") == 1
    assert "W&B failed: OSError: no space left; to send the run later: partinr sync run" in answer.err


@pytest.mark.usefixtures("fresh")
def test_no_server(tiny: Any, offline: Any, same_rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens
    started = time.monotonic()
    answer = tiny("logger.mode=online", "logger.start_timeout=1", "hydra.run.dir=run")
    assert time.monotonic() - started < 15
    assert answer.code == 0
    assert answer.err.count("\n") == 1
    assert "W&B cannot be reached: " in answer.err
    kept = offline(Path("run"))
    assert len(kept) == 1
    assert same_rows(kept[0].curve, RunDirectory(Path("run")).curve())


@pytest.mark.slow
def test_no_login_and_no_home(tmp_path: Path, offline: Any, same_rows: Any) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment.pop("NETRC")
    home = tmp_path / "home"
    home.mkdir()
    command = ["-m", "partinr", "logger=wandb", "data.size=16", "partition.regions=4", "max_steps=3"]
    process = subprocess.run(
        [sys.executable, *command, "hydra.run.dir=run", "backbone.match_params=500"],
        env={**environment, "HOME": str(home), "MPLCONFIGDIR": str(tmp_path)},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=200,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("\n") == 1
    assert process.stderr.startswith(
        "partinr: note: there is no W&B login (wandb login makes one); to send the run later"
    )
    (kept,) = offline(Path("run"))
    assert same_rows(kept.curve, RunDirectory(Path("run")).curve())
    assert kept.exits == [0]
    assert not list(home.rglob("*wandb*"))


@pytest.mark.slow
def test_of_several_processes_one_sends(tiny: Any, offline: Any, same_rows: Any) -> None:
    answer = tiny("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    (kept,) = offline(Path("run"))
    assert same_rows(kept.curve, RunDirectory(Path("run")).curve())
    assert kept.exits == [0]


def test_a_folder_of_images(tiny: Any, offline: Any, tmp_path: Path) -> None:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "abc":
        Image.effect_noise((16, 16), 90).convert("RGB").save(photos / f"{name}.png")
    answer = tiny("data=folder", f"data.path={photos}", "logger.max_images=2", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    (kept,) = offline(Path("run"))
    manifest = RunDirectory(Path("run")).manifest()
    for key in ("partition", "reconstruction", "error"):
        expected = [Path("run/images") / name / f"{key}.png" for name in list(manifest["images"])[:2]]
        assert [path.read_bytes() for path in kept.media(key)] == [path.read_bytes() for path in expected]
    (table,) = kept.media("results")
    content = json.loads(table.read_text())
    assert [dict(zip(content["columns"], row, strict=True))["psnr"] for row in content["data"]] == [
        each["psnr"] for each in manifest["images"].values()
    ]
    (weights,) = [each for each in kept.artifacts if each.type == "model"]
    assert len(weights.manifest.contents) == 2

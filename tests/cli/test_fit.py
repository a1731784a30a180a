"""A fit from the command line: what it leaves, that it can be repeated, and what it does with many jobs."""

from __future__ import annotations

import csv
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import partinr as api
from partinr.callbacks import CurveFile
from partinr.runs.layout import CURVE_COLUMNS, PREVIOUS
from tests.read_back import curve

FILES = [
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    ".lock",
    "checkpoints/last.ckpt",
    "curve.csv",
    "error.png",
    "image.png",
    "inr.safetensors",
    "partition.png",
    "reconstruction.png",
    "run.json",
]


SWEEP = ("hydra.sweep.dir=sweep", "callbacks.pictures=null")


def files(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


# -- one run ------------------------------------------------------------------------------------------------------


def test_a_run_directory_is_complete(finished: Path) -> None:
    assert files(finished) == FILES


def test_the_manifest_keeps_its_contract(finished: Path) -> None:
    said = json.loads((finished / "run.json").read_text())
    rows = curve(finished)
    assert (said["format"], said["status"], said["message"], said["stop"]) == (1, "completed", None, "max_steps")
    assert said["name"] == "astronaut grid siren"
    assert (said["seed"], said["regions"], said["steps"]) == (0, 4, 3)
    assert said["parameters"] == api.load(finished).parameter_count
    assert said["macs_per_pixel"] == api.load(finished).macs_per_sample
    assert said["points_per_step"] == 256
    assert said["metrics"]["psnr"] == float(rows[-1]["psnr"])
    assert said["metrics"]["ssim"] == float(rows[-1]["ssim"])
    assert said["metrics"]["psnr_best"] == max(float(row["psnr"]) for row in rows)
    seam = said["metrics"]["seam"]
    assert min(seam["psnr_band"], seam["psnr_inside"]) < said["metrics"]["psnr"] < max(seam.values())
    assert 0 < seam["band"] < 1
    assert all(value > 0 for value in (said["seconds"][name] for name in ("setup", "training", "evaluation")))
    assert said["peak_memory_bytes"] > 1e7
    assert re.fullmatch("[0-9a-f]{16}", said["config_hash"])
    assert said["signal"]["shape"] == [16, 16, 3]
    assert re.fullmatch("[0-9a-f]{64}", said["signal"]["sha256"])
    machine = {"devices", "shard", "device", "system", "cpu", "instructions", "cores", "threads", "gpu"}
    assert set(said["hardware"]) == machine
    assert (said["inputs"], said["code"]) == ({}, {})
    assert set(said["git"]) == {"commit", "dirty", "diff"}
    assert (said["git"]["diff"] is not None) == said["git"]["dirty"]
    assert (said["hardware"]["devices"], said["hardware"]["shard"]) == (1, None)
    assert set(said["versions"]) >= {"partinr", "python", "torch", "lightning"}
    assert said["versions"]["partinr"] == api.__version__
    assert datetime.fromisoformat(said["started"]) <= datetime.fromisoformat(said["finished"])


def test_the_curve_keeps_its_contract(finished: Path) -> None:
    with (finished / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CURVE_COLUMNS
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds[0] == 0
    assert seconds == sorted(seconds)
    said = json.loads((finished / "run.json").read_text())
    assert seconds[-1] == said["seconds"]["training"]
    assert [int(row["macs"]) for row in rows] == [step * 256 * said["macs_per_pixel"] for step in range(4)]
    assert {row["lr"] for row in rows} == {"0.0001"}


def test_the_pictures_show_the_image(finished: Path) -> None:
    image = api.builtin_image("astronaut", size=16)
    shown = {name: pixels(finished / f"{name}.png") for name in ("image", "reconstruction", "error", "partition")}
    assert {shown[name].shape[:2] for name in ("image", "reconstruction", "error")} == {(16, 16)}
    height, width = shown["partition"].shape[:2]
    assert height == width >= 16
    assert width % 16 == 0
    assert np.abs(shown["image"] / 255 - image.numpy()).max() <= 0.51 / 255
    assert np.abs(shown["reconstruction"] / 255 - api.load(finished).render().numpy()).max() <= 0.51 / 255


def test_blended_networks_from_the_command_to_the_picture(tiny: Any, partinr: Any) -> None:
    answer = tiny("overlap=2", "global_network=true", "regime.border_weight=3", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    said = json.loads(Path("run/run.json").read_text())
    model = api.load("run")
    assert (said["regions"], model.networks, model.overlap) == (4, 5, 2)
    assert said["parameters"] == model.parameter_count
    assert said["macs_per_pixel"] == model.macs_per_sample > 2 * model.backbone.macs(2, 3)
    reconstruction = pixels(Path("run/reconstruction.png")) / 255
    assert np.abs(reconstruction - model.render().numpy()).max() <= 0.51 / 255
    answer = partinr("render", "run", "--scale", "2", "-o", "large.png")
    assert answer.code == 0, answer.err
    assert np.abs(pixels(Path("large.png")) / 255 - model.render(2).numpy()).max() <= 0.51 / 255


@pytest.mark.parametrize("shared", ["overlap=2", "global_network=true", "global_network=modulate"])
@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("trainer.devices=2 shard=regions", "trainer.devices=2 with shard=regions trains regions apart"),
        ("regime.freeze_at_psnr=30", "regime.freeze_at_psnr takes regions out of the training"),
    ],
)
def test_what_blended_networks_cannot_do_is_refused(tiny: Any, shared: str, other: str, said: str) -> None:
    answer = tiny(shared, *other.split(), "hydra.run.dir=run")
    assert answer.code == 2
    assert said in answer.err
    assert not Path("run").exists()


def test_a_start_is_for_networks_that_share_no_layers(tiny: Any) -> None:
    answer = tiny("global_network=layers", "start=noise", "hydra.run.dir=run")
    assert (answer.code, Path("run").exists()) == (2, False)
    assert "start=noise gives each network layers of its own, and global_network=layers shares them" in answer.err


def test_the_config_is_frozen(finished: Path) -> None:
    written = yaml.safe_load((finished / ".hydra" / "config.yaml").read_text())
    assert (written["data"]["size"], written["partition"]["regions"], written["max_steps"]) == (16, 4, 3)
    assert written["partition"]["_target_"] == "partinr.partition.Grid"
    assert "hydra" not in written
    asked = yaml.safe_load((finished / ".hydra" / "overrides.yaml").read_text())
    assert "partition.regions=4" in asked


def test_python_reads_what_the_command_wrote(finished: Path) -> None:
    run = api.load_run(finished)
    assert run.status == "completed"
    assert run.psnr == run.manifest["metrics"]["psnr"]
    assert run.model().partition.regions == 4


def test_the_same_command_gives_the_same_curve(tiny: Any, finished: Path) -> None:
    torch.rand(7)  # whatever happened before in the process
    answer = tiny("hydra.run.dir=again")
    assert answer.code == 0
    assert curve(Path("again")) == curve(finished)
    assert (Path("again") / "inr.safetensors").read_bytes() == (finished / "inr.safetensors").read_bytes()
    hashes = {json.loads((run / "run.json").read_text())["config_hash"] for run in (Path("again"), finished)}
    assert len(hashes) == 1


def test_another_seed_is_another_curve(tiny: Any, finished: Path) -> None:
    assert tiny("hydra.run.dir=other", "seed=1").code == 0
    assert curve(Path("other"))[0] != curve(finished)[0]
    assert json.loads(Path("other/run.json").read_text())["seed"] == 1


def test_every_option_at_once(tiny: Any, pictures: Path) -> None:
    # An image that is not square, drawn points, a schedule, a region's own frame; the run ends in time, not in steps.
    answer = tiny(
        *("hydra.run.dir=run", f"data.path={pictures}/good.png", "data.size=null", "data.max_side=20"),
        *("backbone=relu_pe", "backbone.match_params=4000", "coords.frame=local", "engine=loop", "seed=5"),
        *("regime.points_per_step=50", "regime.loss=region", "regime.evaluate_every=2", "regime.evaluate_at=[3]"),
        *("optimizer=adamw", "schedule=plateau", "max_steps=5", "max_seconds=60", "target_psnr=99"),
        *("callbacks.pictures=null", "trainer.accelerator=cpu"),
    )
    assert answer.code == 0, answer.err
    said = json.loads(Path("run/run.json").read_text())
    assert said["signal"]["shape"] == [20, 17, 3]
    assert said["name"].startswith("good grid relu")
    assert said["points_per_step"] == 50
    assert [row["step"] for row in curve(Path("run"))] == ["0", "2", "3", "4", "5"]
    assert files(Path("run")) == [name for name in FILES if not name.endswith(".png")]
    assert not answer.err


def test_a_name_with_odd_characters(tiny: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("home of [red]me[/x]").resolve()
    home.mkdir(parents=True)
    name = "ein schönes (1) Bild & [bold]mehr.png"
    (home / name).write_bytes((pictures / "good.png").read_bytes())
    monkeypatch.setenv("HOME", str(home))
    answer = tiny(f"data.path=~/{name}", f"hydra.run.dir={home}/run")
    assert answer.code == 0, answer.err
    assert "ein schönes (1) Bild & [bold]mehr grid" in " ".join(answer.out.split())
    assert "[red]me[/x]" in answer.out
    assert yaml.safe_load((home / "run/.hydra/config.yaml").read_text())["data"]["path"] == str(home / name)


def test_two_runs_of_one_process_never_share_a_directory(tiny: Any) -> None:
    for _ in range(2):
        assert tiny("callbacks.pictures=null").code == 0
    one, two = Path("outputs/runs").iterdir()
    assert one.name[:11] == two.name[:11]
    assert files(one) == files(two)


# -- a run that fails ---------------------------------------------------------------------------------------------


def test_a_diverging_run_fails_and_keeps_its_best_weights(tiny: Any, partinr: Any) -> None:
    arguments = ["optimizer=sgd", "optimizer.lr=1e12", "max_steps=50", "regime.evaluate_every=1", "hydra.run.dir=run"]
    answer = tiny(*arguments, "callbacks.checkpoint.every_seconds=0")
    assert answer.code == 1
    said = json.loads(Path("run/run.json").read_text())
    assert (said["status"], said["stop"]) == ("failed", None)
    assert re.search(r"is (nan|inf) after \d+ steps; lower optimizer.lr", said["message"])
    assert f"failed: astronaut grid siren: {said['message']}" in answer.out
    # One checkpoint of before the first step, and one of after it; the next step is the one that diverges.
    assert files(Path("run")) == sorted([*FILES, PREVIOUS])
    image = api.builtin_image("astronaut", size=16)
    mse = (api.load("run").render() - image).square().mean(dtype=torch.float64)
    assert float(-10 * torch.log10(mse)) == pytest.approx(said["metrics"]["psnr_best"], abs=1e-3)
    # It can be gone on with, and fails again: nothing has changed.
    again = partinr("resume", "run")
    assert again.code == 1
    assert json.loads(Path("run/run.json").read_text())["message"] == said["message"]


def test_a_curve_that_collapses_fails(tiny: Any) -> None:
    answer = tiny(
        *("optimizer.lr=10", "max_steps=50", "regime.evaluate_every=1", "regime.collapse_db=0.5", "hydra.run.dir=run"),
        "callbacks.pictures=null",
    )
    assert answer.code == 1
    said = json.loads(Path("run/run.json").read_text())
    assert re.search("the curve has collapsed: .*; lower optimizer.lr", said["message"])
    assert said["metrics"]["psnr_best"] > said["metrics"]["psnr"]


# -- sweeps -------------------------------------------------------------------------------------------------------


def test_a_sweep_leaves_a_directory_a_job_and_a_table(tiny: Any) -> None:
    answer = tiny("seed=0,1", "-m", "backbone=siren,relu_pe", "backbone.match_params=4000", *SWEEP)
    assert (answer.code, answer.err) == (0, "")
    runs = sorted(path.parent for path in Path("sweep").rglob("run.json"))
    assert [run.name.split("_match_params")[0] for run in runs] == [
        f"backbone-{name}_seed-{seed}" for name in ("relu_pe", "siren") for seed in (0, 1)
    ]
    said = [json.loads((run / "run.json").read_text()) for run in runs]
    assert [(each["seed"], each["name"].split()[-1][:4]) for each in said] == [
        (seed, name) for name in ("relu", "sire") for seed in (0, 1)
    ]
    said = sorted(said, key=lambda each: (each["seed"], "relu" in each["name"]))  # as they were asked for
    assert len({each["config_hash"] for each in said}) == 4
    table = answer.out[answer.out.index("\nrun ") + 1 :].splitlines()
    assert [column in table[0] for column in ("seed", "regions", "parameters", "steps", "PSNR dB", "SSIM")] == [
        True
    ] * 6
    for line, each in zip(table[1:5], said, strict=True):
        assert line.startswith(each["name"])
        assert f"{each['metrics']['psnr']:.2f}" in line
        assert f"{each['parameters']:,}" in line
    assert "report   partinr report sweep" in table


def test_jobs_that_fail_do_not_stop_the_others(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = tiny("-m", "seed=0,-1,1", "optimizer.lr=1e-4,1e30", *SWEEP)
    assert answer.code == 2
    assert answer.err.count("partinr: error: seed=-1: should be") == 2 == answer.err.count("\n")
    said = [json.loads(path.read_text()) for path in Path("sweep").rglob("run.json")]
    assert sorted((each["seed"], each["status"]) for each in said) == [
        *((0, "completed"), (0, "failed"), (1, "completed"), (1, "failed"))
    ]
    assert answer.out.count("failed: astronaut grid siren: the ") == 2


def test_a_job_with_a_fault_of_the_program_does_not_hide_the_others(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write = CurveFile._write

    def break_down(self: CurveFile, trainer: Any, module: Any) -> None:
        if module.seed == 0 and module.step > 0:
            raise RuntimeError("out of memory")
        write(self, trainer, module)

    monkeypatch.setattr(CurveFile, "_write", break_down)
    answer = tiny(*("-m", "seed=0,1", *SWEEP))
    assert answer.code == 1
    assert "RuntimeError: out of memory" in answer.err
    said = {each["seed"]: each for each in (json.loads(path.read_text()) for path in Path("sweep").rglob("run.json"))}
    assert (said[0]["status"], said[0]["message"]) == ("failed", "RuntimeError: out of memory")
    assert said[1]["status"] == "completed"
    assert "report   partinr report sweep" in answer.out

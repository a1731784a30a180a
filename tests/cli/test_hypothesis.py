"""A study of steps from the command line: run, files, verdict, and what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from partinr.backbones import Siren
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import STEPS_COLUMNS

TINY = (
    "experiment=hypothesis_1d",
    "data.shape=[60]",
    "data.counts=[1,2,3,4,5]",
    "data.draws=2",
    "backbone.match_params=200",
    "backbone.hidden_layers=1",
    "regime.points_per_step=40",
    "regime.threshold=0.8",
    "max_steps=60",
)


@pytest.fixture(scope="module")
def study(partinr, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "sweep"
    answer = partinr(*TINY, "-m", "partition=none,grid", f"hydra.sweep.dir={folder}")
    assert answer.code == 0, answer.err
    return folder


def test_a_study_leaves_a_row_a_trial(study):
    by_parts = {json.loads(path.read_text())["regions"]: path.parent for path in study.rglob("run.json")}
    assert set(by_parts) == {1, 9}
    for parts, run in by_parts.items():
        with (run / "steps.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == STEPS_COLUMNS
        assert [(int(row["boundaries"]), int(row["draw"])) for row in rows] == [
            (count, draw) for count in (1, 2, 3, 4, 5) for draw in (0, 1)
        ]
        assert {int(row["parts"]) for row in rows} == {parts}
        for row in rows:
            assert (float(row["mse"]) < 0.8) == (row["censored"] == "0")
            assert row["censored"] == "0" or row["steps"] == "60"
        manifest = json.loads((run / "run.json").read_text())
        assert manifest["status"] == "completed"
        assert manifest["trials"]["reached"] == sum(row["censored"] == "0" for row in rows)
        assert not list(run.rglob("*.safetensors"))
        assert len(RunDirectory(run).curve()) > 5


def test_the_verdict_is_printed_and_drawn(partinr, study, tmp_path):
    answer = partinr("hypothesis", study, "-o", tmp_path / "figure.png")
    assert answer.code == 0, answer.err
    for said in ("exponential", "power law", "quadratic", "linear", "p of a · p^b", "The claim of"):
        assert said in answer.out
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_another_seed_is_other_trials_of_the_same_signals_too(partinr, tmp_path):
    found = []
    for seed in (0, 1):
        run = tmp_path / str(seed)
        assert partinr(*TINY, f"seed={seed}", "data.seed=0", "max_steps=5", f"hydra.run.dir={run}").code == 0
        manifest = json.loads((run / "run.json").read_text())
        found.append((manifest["signal"]["sha256"], [row["mse"] for row in RunDirectory(run).steps()]))
    assert found[0][0] == found[1][0]
    assert not set(found[0][1]) & set(found[1][1])


def test_other_backbones_and_widths_are_overrides(partinr, tmp_path):
    for number, overrides in enumerate(
        [
            ("backbone=relu_pe", "~backbone.first_omega_0", "~backbone.omega_0"),
            ("backbone.hidden_features=5", "optimizer=sgd"),
        ]
    ):
        answer = partinr(*TINY, *overrides, "max_steps=2", f"hydra.run.dir={tmp_path / str(number)}")
        assert answer.code == 0, answer.err
        assert "10" in answer.out
        assert "partinr hypothesis" in answer.out


def test_it_goes_on_where_it_was(partinr, study, tmp_path):
    (whole,) = (path.parent for path in study.rglob("run.json") if json.loads(path.read_text())["regions"] == 1)
    broken = tmp_path / "broken"
    # With max_seconds it would be completed; so it is stopped short and made longer.
    assert partinr(*TINY, "max_steps=20", f"hydra.run.dir={tmp_path / 'short'}").code == 0
    checkpoint = tmp_path / "short" / "checkpoints" / "last.ckpt"
    assert partinr(*TINY, f"ckpt_path={checkpoint}", f"hydra.run.dir={broken}").code == 0
    assert (broken / "steps.csv").read_text() == (whole / "steps.csv").read_text()


def test_what_does_not_go_together_is_one_line(partinr, tmp_path):
    for overrides, said in [
        (["data=builtin"], "choose data=steps or data=folder"),
        (["partition=semantic"], "choose partition=none or partition=grid"),
        (["partition=random"], "points are drawn in rectangles"),
        (["capacity=area"], "leave capacity=equal"),
        (["target_psnr=20"], "regime.threshold"),
        (["schedule=plateau"], "choose schedule=constant"),
        (["trainer.precision=16-mixed"], "choose 32-true or bf16-mixed"),
        (["data.counts=[1,1]"], "data.counts has 1 twice"),
        (["data.counts=[60]"], "60 borders along an axis of 60 samples"),
        (["regime.threshold=0"], "regime.threshold=0"),
        (["data.shape=[4,4,4]"], "data.shape"),
    ]:
        # One experiment gives the data of another: their keys go with it.
        base = [each for each in TINY if not (overrides == ["data=builtin"] and each.startswith("data."))]
        answer = partinr(*base, *overrides, f"hydra.run.dir={tmp_path / 'run'}")
        assert answer.code == 2
        assert said in answer.err
        assert answer.err.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_the_published_protocol_is_what_the_experiments_ask_for(partinr):
    for name, counts, points in (("1d", list(range(1, 60, 2)), 5000), ("2d", list(range(10, 251, 10)), None)):
        config = yaml.safe_load(partinr(f"experiment=hypothesis_{name}", "--cfg", "job", "--resolve").out)
        assert config["data"]["counts"] == counts
        assert config["data"]["draws"] == 5
        assert config["regime"]["points_per_step"] == points
        backbone = {key: value for key, value in config["backbone"].items() if key != "_target_"}
        assert Siren(**backbone).sized(1, int(name[0]), 1).hidden_features == 32
        assert (config["regime"]["threshold"], config["max_steps"], config["optimizer"]["lr"]) == (0.05, 4000, 1e-3)


def test_a_study_is_nothing_to_render_or_report(partinr, study, tmp_path):
    run = next(path.parent for path in study.rglob("run.json"))
    for command in (("render", run, "-o", tmp_path / "x.png"), ("report", study)):
        answer = partinr(*command)
        assert answer.code == 2
        assert "partinr hypothesis" in answer.err


@pytest.fixture(scope="module")
def squares(tmp_path_factory) -> Path:
    """A folder of images with ever more squares."""
    folder = tmp_path_factory.mktemp("squares")
    for number in range(9):
        rng = np.random.default_rng(number)
        values = np.full((32, 32, 3), 40, dtype=np.uint8)
        for _ in range(number + 1):
            row, column = rng.integers(2, 24, 2)
            values[row : row + 6, column : column + 6] = rng.integers(90, 256, 3)
        Image.fromarray(values).save(folder / f"{number}.png")
    return folder


BRIDGE = (
    "experiment=boundaries",
    "data.size=20",
    "backbone.match_params=300",
    "backbone.hidden_layers=1",
    "optimizer.lr=1e-2",
    "regime.threshold=0.03",
    "max_steps=60",
)


def test_the_bridge_to_images(partinr, squares, tmp_path):
    folder = tmp_path / "sweep"
    answer = partinr(*BRIDGE, f"data.path={squares}", "-m", "partition=none,grid", f"hydra.sweep.dir={folder}")
    assert answer.code == 0, answer.err
    runs = {json.loads(path.read_text())["regions"]: RunDirectory(path.parent) for path in folder.rglob("run.json")}
    assert set(runs) == {1, 9}
    lone, parts = (runs[number].steps() for number in (1, 9))
    assert [row["signal"] for row in lone] == [str(number) for number in range(9)]
    assert [row["boundaries"] for row in lone] == [row["boundaries"] for row in parts]
    assert all((row["mse"] < 0.03) == (not row["censored"]) for row in lone + parts)
    assert runs[1].manifest()["edges"]["sigma"] == 1.0
    answer = partinr("hypothesis", folder, "-o", tmp_path / "figure.pdf")
    assert answer.code == 0, answer.err
    assert "edges of b sides" in answer.out
    assert "of the variance of log(steps)" in answer.out


def test_an_image_takes_the_steps_that_it_takes_alone(partinr, squares, tmp_path):
    for limit in (2, 4):
        run = tmp_path / str(limit)
        assert partinr(*BRIDGE, f"data.path={squares}", f"data.limit={limit}", f"hydra.run.dir={run}").code == 0
    few, more = (RunDirectory(tmp_path / str(limit)).steps() for limit in (2, 4))
    for one, other in zip(few, more, strict=False):
        assert one.pop("mse") == pytest.approx(other.pop("mse"), rel=1e-3)
        assert one == other


def test_images_that_have_no_place_in_the_study_are_one_line(partinr, squares, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("RGB", (32, 32), (90, 90, 90)).save(flat / "grey.png")
    for overrides, said in (
        ([f"data.path={flat}"], "grey: no edge is found"),
        ([f"data.path={squares}", "data.val_fraction=0.5"], "hold none out"),
        ([f"data.path={squares}", "regime.points_per_step=100"], "give regime.points_per_step=null"),
    ):
        answer = partinr(*BRIDGE, *overrides, f"hydra.run.dir={tmp_path / 'run'}")
        assert answer.code == 2
        assert said in answer.err
        assert answer.err.count("\n") == 1
    Image.fromarray(np.asarray(Image.open(squares / "3.png"))[:20]).save(flat / "a.png")
    Image.open(squares / "3.png").save(flat / "b.png")
    answer = partinr(*BRIDGE, f"data.path={flat}", "data.size=null", f"hydra.run.dir={tmp_path / 'run'}")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "b: it has the shape [32, 32, 3], and the first image [20, 32, 3]" in answer.err

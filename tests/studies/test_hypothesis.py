"""From run directories to a verdict."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import MANIFEST
from partinr.studies import Trials, settings_of, write_growth
from partinr.studies.hypothesis import one_an_image
from partinr.studies.picture import quartiles


def write_study(folder: Path, law, parts=1, seed=0, counts=range(1, 60, 4), status="completed", **backbone) -> Path:
    """A run directory with steps that follow a law, the largest tenth of them at the cap."""
    rule = {"_target_": "partinr.partition.Whole"}
    if parts > 1:
        rule = {"_target_": "partinr.partition.Grid", "regions": parts}
    config = {
        "seed": seed,
        "data": {"_target_": "partinr.signals.StepsData", "counts": list(counts), "draws": 4, "seed": seed},
        "partition": rule,
        "backbone": {"_target_": "partinr.backbones.Siren", "match_params": 3265, "hidden_features": None, **backbone},
        "regime": {"_target_": "partinr.regimes.ThresholdSettings", "threshold": 0.05},
    }
    run = RunDirectory.create(folder, config)
    rng = np.random.default_rng([parts, seed])
    b = np.repeat(np.array(list(counts), dtype=float), 4)
    steps = np.ceil(law(b) * np.exp(0.1 * rng.standard_normal(b.size)))
    cap = np.quantile(steps, 0.9)
    run.write_table(
        "steps.csv",
        [
            {
                "signal": f"steps-{count:.0f}-{number % 4}",
                "boundaries": int(count),
                "cells": int(count) + 1,
                "draw": number % 4,
                "seed": 0,
                "parts": parts,
                "steps": int(min(own, cap)),
                "censored": int(own > cap),
                "mse": 0.04,
            }
            for number, (count, own) in enumerate(zip(b, steps, strict=True))
        ],
    )
    run.write_manifest({"status": status, "seed": seed, "regions": parts, "parameters": 3265, "message": None})
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    write_study(folder / "0", lambda b: 40 * 1.08**b)
    write_study(folder / "1", lambda b: 40 * 1.08**b, seed=1, counts=range(3, 60, 4))
    write_study(folder / "2", lambda b: 200 + 40 * b, parts=4)
    write_study(folder / "3", lambda b: 40 * 1.04**b, parts=4, hidden_features=32)
    return folder


def test_each_setting_has_the_trials_of_its_runs_and_a_verdict(study):
    settings = settings_of([study])
    assert [(each.parts, each.runs, len(each.trials.steps)) for each in settings] == [
        (1, 2, 120),
        (4, 1, 60),
        (4, 1, 60),
    ]
    assert len({each.label for each in settings}) == 3
    lone, matched, wide = settings
    assert matched.label.startswith("grid #4")
    assert wide.label == "grid #4 · width 32"
    assert lone.growth.best.law.name == "exponential"
    assert lone.verdict.endswith("The claim of exponential growth without partition is borne out.")
    assert matched.verdict.endswith("The claim of linear growth with 4 parts is borne out.")
    assert wide.verdict.endswith("The claim of linear growth with 4 parts is not borne out.")


def test_runs_of_other_images_or_other_code_are_not_pooled(study):
    def change(run: str, **facts: object) -> list[int]:
        manifest = study / run / MANIFEST
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **facts}))
        return [each.runs for each in settings_of([study])]

    for config in (study / run / ".hydra" / "config.yaml" for run in "01"):
        content = yaml.safe_load(config.read_text())
        content["data"] = {"_target_": "partinr.signals.FolderData", "path": "/photos"}
        config.write_text(yaml.safe_dump(content))
    # Nothing is known of what the other run has read.
    assert change("0", inputs={"data.path": "1" * 64}) == [2, 1, 1]
    assert change("1", inputs={"data.path": "1" * 64}) == [2, 1, 1]
    assert change("1", inputs={"data.path": "2" * 64}) == [1, 1, 1, 1]


def test_a_run_that_is_not_over_is_counted_as_such(study):
    manifest = study / "1" / MANIFEST
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "status": "interrupted"}))
    assert [each.unfinished for each in settings_of([study])] == [1, 0, 0]


def test_what_is_no_study_is_said_in_one_line(study, tmp_path):
    with pytest.raises(PartinrError, match="does not exist"):
        settings_of([tmp_path / "nothing"])
    config = yaml.safe_load((study / "0" / ".hydra" / "config.yaml").read_text())
    other = tmp_path / "other"
    RunDirectory.create(other, {**config, "regime": {"_target_": "partinr.regimes.FitSettings"}})
    with pytest.raises(PartinrError, match="no study of steps in"):
        settings_of([other])
    (study / "0" / "steps.csv").write_text("boundaries,steps\n1,a\n")
    with pytest.raises(PartinrError, match=r"cannot read .*steps\.csv"):
        settings_of([study])
    (study / "0" / "steps.csv").unlink()
    with pytest.raises(PartinrError, match=r"cannot read .*steps\.csv"):
        settings_of([study])
    write_study(tmp_path / "small", lambda b: b, counts=[1, 2, 3])
    with pytest.raises(PartinrError, match=r"^none: 12 trials of 3 numbers"):
        settings_of([tmp_path / "small"])


def test_the_figure_is_the_same_again_and_of_every_setting(study, tmp_path):
    settings = settings_of([study])
    first, again = (write_growth(settings, tmp_path / "new" / "a.pdf").read_bytes() for _ in range(2))
    assert first == again
    with (
        Image.open(write_growth(settings, tmp_path / "a.png")) as picture,
        Image.open(write_growth(settings[:1], tmp_path / "one.png")) as one,
    ):
        assert picture.width > 2 * one.width
        assert picture.height > one.height
    with pytest.raises(PartinrError, match=r"ends in \.png or \.pdf"):
        write_growth(settings, tmp_path / "a.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(PartinrError, match="choose another with -o"):
        write_growth(settings, tmp_path / "file" / "a.png")


def write_images(folder: Path, scale: float, seed: int = 0, parts: int = 1) -> Path:
    """A run directory with the steps of 40 images, which grow with their edges."""
    config = {
        "seed": seed,
        "data": {"_target_": "partinr.signals.FolderData", "path": "photographs", "size": 96},
        "partition": {"_target_": "partinr.partition.Grid", "regions": parts},
        "backbone": {"_target_": "partinr.backbones.Siren", "match_params": 20000},
        "regime": {"_target_": "partinr.regimes.ThresholdSettings", "threshold": 0.01},
    }
    run = RunDirectory.create(folder, config)
    edges = np.random.default_rng(0).uniform(1, 25, 40)
    noise = np.random.default_rng([seed, parts]).standard_normal(40)
    steps = np.ceil(scale * 1.1**edges * np.exp(0.2 * noise)).astype(int)
    run.write_table(
        "steps.csv",
        [
            {
                "signal": f"image {number}",
                "boundaries": float(own),
                "cells": None,
                "draw": 0,
                "seed": 0,
                "parts": parts,
                "steps": min(int(count), 300),
                "censored": int(count > 300),
                "mse": 0.009,
            }
            for number, (own, count) in enumerate(zip(edges, steps, strict=True))
        ],
    )
    run.write_manifest({"status": "completed", "seed": seed, "regions": parts, "parameters": 20000, "message": None})
    return folder


def test_images_are_set_against_their_edges_and_count_once_each(tmp_path):
    for seed in (0, 1, 2):
        write_images(tmp_path / "study" / str(seed), 40, seed)
    write_images(tmp_path / "study" / "parts", 20, parts=9)
    lone, cut = settings_of([tmp_path / "study"])
    assert (lone.runs, len(lone.trials.steps), cut.runs, len(cut.trials.steps)) == (3, 40, 1, 40)
    assert lone.growth.base_interval[0] < 1.1 < lone.growth.base_interval[1]
    assert "of the variance of log(steps)" in lone.verdict
    assert "edges" in lone.abscissa
    assert write_growth([lone, cut], tmp_path / "a.png").stat().st_size > 10_000


def test_the_trial_in_the_middle_stands_for_an_image():
    def row(signal, steps, censored=0):
        return {"signal": signal, "steps": steps, "censored": censored}

    rows = [row("a", 50), row("b", 7), row("a", 300, 1), row("a", 90), row("b", 5), row("c", 300, 1), row("c", 20)]
    assert one_an_image(rows) == [row("a", 90), row("b", 5), row("c", 20)]
    # A run that was stopped early says less than one that went on.
    rows = [row("d", 10, 1), row("d", 400, 1), row("d", 300, 1)]
    assert one_an_image(rows) == [row("d", 300, 1)]


def test_a_file_of_before_signals_had_names_can_be_read(study):
    file = study / "0" / "steps.csv"
    lines = [line.split(",", 1)[1] for line in file.read_text().splitlines()]
    before = RunDirectory(study / "0").steps()
    file.write_text("\n".join(lines) + "\n")
    assert RunDirectory(study / "0").steps() == [{**row, "signal": ""} for row in before]


def test_where_no_two_have_as_many_boundaries_neighbours_have_quartiles_together():
    b = np.array([5.0, 1, 2, 6, 3, 4, 9, 7, 8])
    counts, low, middle, high = quartiles(Trials(b, 10 * b, b == 9))
    assert counts.tolist() == [2, 5, 8]
    assert low.tolist() == [10, 40, 70]
    assert middle.tolist() == [20, 50, 80]
    assert high.tolist() == [20, 50, 80]


def test_quartiles_among_capped_trials_are_not_known():
    b = np.repeat([1.0, 2, 3, 4], 4)
    steps = np.array([10, 20, 30, 40, 10, 20, 90, 90, 10, 90, 90, 90, 90, 90, 90, 90], dtype=float)
    counts, low, middle, high = quartiles(Trials(b, steps, steps == 90))
    assert counts.tolist() == [1, 2, 3, 4]
    assert low.tolist()[:3] == [10, 10, 10]
    assert middle.tolist()[:2] == [20, 20]
    assert np.isnan(middle[2:]).all()
    assert np.isnan(low[3])
    assert high.tolist() == [30, 90, 90, 90]

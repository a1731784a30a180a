"""``partinr rerun``: the same again in a new directory, and what is said of the two curves."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from partinr.experiment import rerun
from partinr.runs.directory import RunDirectory
from tests.covering import cases

META = (
    "regime=meta",
    "data=smooth",
    "data.shape=[12,12]",
    "data.train_items=4",
    "data.val_items=2",
    "partition.regions=4",
    "backbone.hidden_features=8",
    "backbone.hidden_layers=1",
    "regime.validation_steps=4",
    "optimizer.lr=1e-3",
    "trainer.accelerator=cpu",
    "max_steps=2",
)


def said(run: Path | str) -> dict[str, Any]:
    return json.loads((Path(run) / "run.json").read_bytes())


def change(run: Path, **entries: Any) -> None:
    (run / "run.json").write_text(json.dumps({**said(run), **entries}))


def rewrite(file: Path, edit: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    """Change the rows of a CSV."""
    with file.open(newline="") as stream:
        rows = edit(list(csv.DictReader(stream)))
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def changed(row: int, column: str, value: str) -> Callable[[list[dict[str, str]]], list[dict[str, str]]]:
    def edit(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[row][column] = value
        return rows

    return edit


def test_the_same_again(partinr: Any, finished: Path, copy_of: Any, contents: Any) -> None:
    run = copy_of(finished)
    before = contents(run)
    answer = partinr("rerun", run)
    assert (answer.code, answer.err) == (0, "")
    assert re.search(r"^same     all 4 rows of the curve of copy-of-run, bit by bit$", answer.out, re.MULTILINE)
    assert contents(run) == before
    again = run.with_name(f"{run.name}_rerun")
    assert set(contents(again)) == set(before)
    assert said(again)["config_hash"] == said(run)["config_hash"]
    assert said(again)["repeats"] == str(run)  # the report goes on to count the original
    assert RunDirectory(again).overrides() == RunDirectory(run).overrides()
    # Once more: neither of them is touched.
    assert partinr("rerun", run).code == 0
    assert run.with_name(f"{run.name}_rerun_2").is_dir()
    answer = partinr("rerun", run, "-o", again)
    assert answer.code == 2
    assert "already holds a run; give another folder with -o" in answer.err


def test_another_curve(partinr: Any, finished: Path, copy_of: Any) -> None:
    run = copy_of(finished)
    one = RunDirectory(run).curve()[2]["psnr"]
    rewrite(run / "curve.csv", changed(2, "psnr", repr(math.nextafter(one, 0))))
    rewrite(run / "curve.csv", changed(1, "seconds", "99.0"))
    told = said(run)
    change(
        run,
        versions={**told["versions"], "torch": "2.0.1"},
        hardware={**told["hardware"], "cores": 1000},
        git={"commit": "0" * 40, "dirty": False, "diff": None},
    )
    answer = partinr("rerun", run, "-o", "again")
    assert answer.code == 1
    assert re.search(r"differs  curve.csv, row 3 \(step 2\): psnr was \S+ and is \S+, by \d\.\de-1\d;", answer.out)
    assert "; in all 1 of 4 rows\n" in answer.out
    assert f"         versions.torch: 2.0.1, now {told['versions']['torch']}\n" in answer.out
    assert "         git.commit: 000000000000…, now " in answer.out
    assert "cores" not in answer.out
    # A row too many is a difference as well.
    rewrite(run / "curve.csv", lambda rows: rows[:2] + rows[3:])
    answer = partinr("rerun", run, "-o", "third")
    assert answer.code == 1
    assert "(step 2): only the second run has it; in all 1 of 4 rows" in answer.out


def test_an_album(partinr: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    words = ("data=folder", "data.path=photos", "partition.regions=4", "backbone.match_params=500", "max_steps=2")
    assert partinr(*words, "hydra.run.dir=run").code == 0
    assert partinr("rerun", "run").code == 0
    rewrite(Path("run/images.csv"), changed(3, "ssim", "0.5"))
    answer = partinr("rerun", "run")
    assert answer.code == 1
    assert "differs  images.csv, row 4 (step 1, image 1): ssim was 0.5 and is " in answer.out
    # The pictures may be others by now.
    Image.fromarray(pixels[::-1].copy()).save(photos / "1.png")
    answer = partinr("rerun", "run")
    assert answer.code == 1
    assert "         signal.sha256: " in answer.out


def test_learning_to_learn(partinr: Any) -> None:
    assert partinr(*META, "hydra.run.dir=run").code == 0
    answer = partinr("rerun", "run")
    assert (answer.code, "same     all " in answer.out) == (0, True), answer.err


def test_a_run_that_the_clock_stopped(tiny: Any, partinr: Any) -> None:
    words = ("max_steps=null", "max_seconds=0.03", "regime.evaluate_every=5")
    assert tiny(*words, "hydra.run.dir=run").code == 0
    answer = partinr("rerun", "run")
    steps = said("run")["steps"]
    assert f"note: run was stopped by the clock after {steps:,} steps; the second run takes as many\n" in answer.err
    assert (answer.code, said("run_rerun")["steps"]) == (0, steps), answer.out


def test_the_same_rows_where_the_clock_chose_them(tiny: Any, partinr: Any) -> None:
    # These steps depend on the evaluations before them.
    sampled = ("regime.points_per_step=16", "regime.sampling=error")
    assert tiny("max_steps=null", "max_seconds=0.1", *sampled, "hydra.run.dir=run").code == 0
    answer = partinr("rerun", "run")
    assert answer.code == 0, answer.out
    assert re.search(r"same     all \d+ rows of the curve of run, bit by bit", answer.out)


def test_a_rate_that_follows_the_clock(tiny: Any, partinr: Any) -> None:
    # With every step in the curve, since the rate of the first is always the same.
    words = ("max_steps=null", "max_seconds=0.03", "schedule=cosine", "regime.evaluate_every=1")
    assert tiny(*words, "hydra.run.dir=run").code == 0
    answer = partinr("rerun", "run")
    assert answer.code == 1
    assert "followed the clock" in answer.err
    assert "with max_steps instead of max_seconds it would be the same" in answer.err
    assert "differs  curve.csv, row " in answer.out


def test_samples_that_follow_the_clock(tiny: Any, partinr: Any) -> None:
    assert tiny("max_steps=null", "max_seconds=0.03", "sampler=int", "hydra.run.dir=run").code == 0
    answer = partinr("rerun", "run")
    assert "the samples of the steps of run followed the clock (sampler=int over max_seconds)" in answer.err


def test_a_cosine_over_steps_that_the_clock_cut_off(tiny: Any, partinr: Any) -> None:
    words = ("max_steps=100000", "max_seconds=0.03", "schedule=cosine", "regime.evaluate_every=1")
    assert tiny(*words, "hydra.run.dir=run").code == 0
    answer = partinr("rerun", "run")
    assert answer.code == 0, answer.out
    assert "the rows that both have are compared" in answer.err
    assert re.search(r"same     the \d+ rows that both have of the curve of run, bit by bit", answer.out)


def test_a_run_that_was_interrupted(partinr: Any, finished: Path, copy_of: Any) -> None:
    run = copy_of(finished)
    rewrite(run / "curve.csv", lambda rows: rows[:3])
    change(run, status="interrupted", steps=2, stop=None)
    answer = partinr("rerun", run)
    assert answer.code == 0
    assert "is not complete; the rows that both have are compared" in answer.err
    assert "same     the 3 rows that both have of the curve" in answer.out


def test_a_failure_that_does_not_come_again(partinr: Any, finished: Path, copy_of: Any) -> None:
    run = copy_of(finished)
    rewrite(run / "curve.csv", lambda rows: rows[:2])
    change(run, status="failed", message="OSError: no space", stop=None)
    answer = partinr("rerun", run)
    assert answer.code == 1
    assert "it was failed and is completed now; the 2 rows that both have of the curve are the same" in answer.out


def test_as_many_threads_as_before(partinr: Any, finished: Path, copy_of: Any) -> None:
    run = copy_of(finished)
    threads = said(run)["hardware"]["threads"] + 1
    change(run, hardware={**said(run)["hardware"], "threads": threads})
    partinr("rerun", run, "-o", "again")
    assert said("again")["hardware"]["threads"] == threads
    assert RunDirectory(Path("again")).overrides()[-1] == f"trainer.threads={threads}"


def test_code_that_has_changed_since(tiny: Any, partinr: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "import torch\nfrom partinr.partition import PartitionRule\nfrom partinr.spec import spec\n"
        "@spec\nclass Whole(PartitionRule):\n"
        "    def labels(self, signal):\n        return torch.zeros(signal.shape[:-1], dtype=torch.int64)\n"
    )
    module = tmp_path / "changing_rules.py"
    module.write_text(code)
    words = ("data.size=16", "backbone.match_params=500", "max_steps=2", "cache_dir=null", "partition=none")
    assert partinr(*words, "partition._target_=changing_rules.Whole", "hydra.run.dir=run").code == 0
    del sys.modules["changing_rules"]
    module.write_text(f"{code}# changed\n")
    answer = partinr("rerun", "run")
    del sys.modules["changing_rules"]
    assert answer.code == 0
    assert re.search(
        r"^         although code\.changing_rules\.source: \w{12}…, now \w{12}…$", answer.out, re.MULTILINE
    )


def test_a_start_is_known_by_its_content(tiny: Any, partinr: Any) -> None:
    assert tiny("hydra.run.dir=first").code == 0
    answer = tiny("max_steps=5", "ckpt_path=first/checkpoints/last.ckpt", "hydra.run.dir=second")
    assert answer.code == 0, answer.err
    begun = said("second")["inputs"]
    assert len(begun["ckpt_path"]) == 64
    # A run that continues from its own checkpoint did not begin with it.
    change(Path("second"), status="interrupted")
    assert partinr("resume", "second").code == 0
    assert said("second")["inputs"] == begun
    assert partinr("rerun", "second").code == 0


def test_what_cannot_be_run_again(partinr: Any, finished: Path, copy_of: Any) -> None:
    run = copy_of(finished)
    (run / "curve.csv").unlink()
    answer = partinr("rerun", run, "-o", "again")
    assert answer.code == 2
    assert "has no curve to compare with; continue it instead: partinr resume" in answer.err
    assert not Path("again").exists()
    answer = partinr("rerun", "nowhere")
    assert (answer.code, answer.err.count("\n")) == (2, 1)


ROW = {"step": 1, "seconds": 0.5, "macs": 3, "loss": math.nan, "psnr": 20.0, "ssim": 0.0, "lr": 1e-3}


def test_every_column_but_the_clocks(tmp_path: Path) -> None:
    one, two = (RunDirectory.create(tmp_path / name, {}) for name in "ab")
    for other, differs in cases(
        ({}, False),
        ({"seconds": 9.0}, False),
        ({"loss": 0.5}, True),
        ({"ssim": -0.0}, True),
        ({"psnr": math.nextafter(20.0, 21.0)}, True),
        ({"macs": 4}, True),
        ({"further": 1.0}, True),
    ):
        one.write_curve([ROW])
        two.write_curve([{**ROW, **other}])
        found = rerun.difference(one, two)
        assert (found is not None) == differs
        if found is not None:
            assert next(iter(other)) in found.said

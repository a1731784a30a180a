import json
import math
from pathlib import Path

import numpy as np
import pytest

from partinr.base.errors import PartinrError
from partinr.report import RunRecord, collect, make_report, summary_rows
from partinr.runs.layout import CONFIG, CURVE, CURVE_COLUMNS, MANIFEST


def record(psnr: list[float], step: list[float] | None = None) -> RunRecord:
    steps = [float(number) for number in range(len(psnr))] if step is None else step
    curve = {name: [0.0] * len(psnr) for name in CURVE_COLUMNS}
    seconds = [number / 4 for number in steps]
    return RunRecord(Path("run"), "completed", curve={**curve, "step": steps, "seconds": seconds, "psnr": psnr})


def test_every_run_is_listed_whatever_became_of_it(write_run, tmp_path):
    write_run(tmp_path / "a", message=None)
    write_run(tmp_path / "b", status="failed", message="the loss is\nnot finite")
    write_run(tmp_path / "c", status="interrupted")
    write_run(tmp_path / "d", status="running", rows=[])
    states = [(run.path.name, run.status, run.message) for run in collect([tmp_path])]
    assert states[:2] == [("a", "completed", None), ("b", "failed", "the loss is not finite")]
    assert [state[:2] for state in states[2:]] == [("c", "interrupted"), ("d", "running")]
    assert all(message for _, _, message in states[1:])


def test_a_run_whose_process_is_gone_is_not_running(write_run, tmp_path):
    path = write_run(tmp_path / "a", status="running", rows=[])
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, "pid": 2**22 + 1}))
    (run,) = collect([tmp_path])
    assert run.status == "interrupted"
    assert "partinr resume" in str(run.message)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (MANIFEST, '{"status": "comp'),
        (MANIFEST, "[]"),
        (MANIFEST, '{"status": "wonderful"}'),
        (MANIFEST, '{"status": ["completed"]}'),
        (CURVE, "step,seconds\n1,2\n"),
        (CURVE, ",".join(CURVE_COLUMNS) + "\n1,2,3\n"),
        (CONFIG, "seed: ["),
        (CONFIG, "nothing"),
    ],
)
def test_a_damaged_run_is_named_and_the_rest_goes_on(write_run, tmp_path, name, content):
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad")
    (tmp_path / "bad" / name).write_text(content)
    bad, good = collect([tmp_path])
    assert (good.status, bad.status) == ("completed", "damaged")
    assert bad.message is not None
    assert "bad" in bad.message
    assert "\n" not in bad.message


def test_no_run_and_no_folder_are_refused(tmp_path):
    with pytest.raises(PartinrError, match="no run found"):
        collect([tmp_path])
    with pytest.raises(PartinrError, match="does not exist"):
        collect([tmp_path / "nowhere"])


def test_first_crossing_is_linear_between_evaluations():
    run = record([10, 20, 15, 30], [0, 10, 20, 40])
    assert run.steps_to(15) == 5
    assert run.reaches(15, "seconds") == 1.25
    assert run.steps_to(25) == pytest.approx(20 + 20 * 10 / 15)
    assert run.steps_to(10) == 0
    assert run.steps_to(9) == 0
    assert run.steps_to(30.01) is None
    assert record([]).steps_to(1) is None


def test_crossing_of_a_rising_curve_is_its_inverse():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        step = np.cumsum(rng.integers(1, 50, 20)).astype(float)
        psnr = 10 + np.cumsum(rng.uniform(0.1, 3, 20))
        levels = rng.uniform(psnr[0], psnr[-1], 50)
        run = record(psnr.tolist(), step.tolist())
        found = np.array([run.steps_to(level) for level in levels], dtype=float)
        np.testing.assert_allclose(found, np.interp(levels, psnr, step))


def test_evaluations_that_are_no_number_are_left_out():
    assert record([10, math.nan, 20]).steps_to(15) == 1
    assert record([math.nan, math.nan]).steps_to(15) is None
    assert record([10, math.inf]).steps_to(50) == 1


def test_final_values_come_from_the_manifest_else_from_the_curve(write_run, tmp_path):
    rows = [{**dict.fromkeys(CURVE_COLUMNS, 0), "step": i, "psnr": p} for i, p in enumerate([10.0, 20.0, math.inf])]
    write_run(tmp_path / "a", rows=rows)
    write_run(tmp_path / "b", rows=rows[:2], facts={"metrics": {"psnr": 21.0}})
    write_run(tmp_path / "c", rows=rows[:2], facts={"metrics": "?"})
    assert [run.final("psnr") for run in collect([tmp_path])] == [math.inf, 21.0, 20.0]


def test_a_queued_run_has_nothing_but_its_status(write_run, tmp_path):
    write_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / MANIFEST).write_text('{"format": 1, "status": "queued"}')
    path = write_run(tmp_path / "c", status="queued", rows=[], pictures=None)
    _, bare, queued = collect([tmp_path])
    assert [run.status for run in (bare, queued)] == ["queued"] * 2
    assert (bare.message, bare.config, bare.final("psnr")) == ("waits for its turn", {}, None)
    assert queued.config["max_steps"] == 1500
    (path / CONFIG).write_text("[")
    assert collect([path])[0].status == "damaged"


ODD = ["?", 3, [1], ["a"], {"a": 1}, {"a": {"b": None}}, True]


def test_whatever_a_manifest_says_there_is_a_report(write_run, tmp_path):
    keys = list(json.loads((write_run(tmp_path / "runs" / "good") / MANIFEST).read_text()))
    keys = [*keys, "images", "psnr_by_inner_step", "frozen_regions"]
    for number, (key, odd) in enumerate((key, odd) for key in keys for odd in ODD):
        if key == "format":
            continue
        path = tmp_path / "runs" / str(number)
        (path / ".hydra").mkdir(parents=True)
        for name in (CONFIG, CURVE):
            (path / name).write_bytes((tmp_path / "runs" / "good" / name).read_bytes())
        manifest = json.loads((tmp_path / "runs" / "good" / MANIFEST).read_text())
        (path / MANIFEST).write_text(json.dumps({**manifest, key: odd}))
    found = collect([tmp_path / "runs"])
    assert make_report([tmp_path / "runs"], tmp_path / "report.html").exists()
    assert len(summary_rows(found)) > 0
    assert {run.status for run in found} == {"completed", "damaged"}

"""``partinr runs``: every run in its state, and nothing that a damaged one could break."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from partinr.base.version import __version__
from partinr.cli.runs import shortened, told_apart
from partinr.runs.directory import RunDirectory
from partinr.runs.standing import STATES, Standing, duration, eta_of_all, standing
from tests.covering import covering

NOW = 2_000_000_000.0


def write(path: Path, status: str, config: dict[str, Any] | None = None, **entries: Any) -> RunDirectory:
    run = RunDirectory.create(path, {"max_steps": 100, "max_seconds": None, **(config or {})})
    manifest: dict[str, Any] = {
        "status": status,
        "message": None,
        "steps": 40,
        "seconds": {"setup": 1.0, "training": 8.0, "evaluation": 2.0},
        "metrics": {"psnr": 31.256},
        "versions": {"partinr": __version__},
    }
    run.write_manifest({**manifest, **entries})
    os.utime(run.file("run.json"), (NOW - 5, NOW - 5))
    return run


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A run in each state."""
    folder = tmp_path / "sweep"
    write(folder / "0_seed-0", "completed", steps=100, cpu_seconds={"training": 12.5})
    write(folder / "1_seed-1", "running")
    write(folder / "2_seed-2", "queued", steps=None, seconds=None, metrics=None)
    reason = "the loss is not finite at step 41; " + "give a smaller optimizer.lr " * 9
    write(folder / "3_seed-3", "failed", message=reason)
    other: dict[str, Any] = {"versions": {"partinr": "0.0.9"}, "machine": {"ran": 9.0, "waited": 3.0}}
    write(folder / "4_seed-4", "interrupted", message="stopped by signal 15", **other)
    died = write(folder / "5_seed-5", "running")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    manifest = json.loads(died.file("run.json").read_bytes())
    died.file("run.json").write_text(json.dumps({**manifest, "pid": dead.pid}))
    write(folder / f"6_{'very_long_name_' * 8}_seed-6", "completed").file("run.json").write_text("{")
    return folder


def test_all_states(partinr: Any, sweep: Path) -> None:
    answer = partinr("runs", sweep)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert max(map(cell_len, lines)) <= 100
    assert lines[0].split() == ["run", "state", "progress", "ETA", "PSNR", "dB", "seconds", "CPU", "s"]
    assert lines[1].split() == ["0_seed-0", "completed", "100", "steps", "31.26", "8.0", "12.5"]
    assert lines[2].split()[:4] == ["1_seed-1", "running", "40/100", "steps"]
    assert lines[3].split() == ["2_seed-2", "queued"]
    assert lines[4].split() == ["3_seed-3", "failed", "40/100", "steps", "31.26", "8.0", "–"]
    assert lines[5].startswith("    the loss is not finite at step 41; ")
    assert lines[5].endswith("…")
    assert lines[6].split() == ["4_seed-4", "interrupted", "40/100", "steps", "31.26", "8.0†", "–", "by", "0.0.9"]
    assert lines[7].strip() == "stopped by signal 15"
    assert lines[8].split()[:2] == ["5_seed-5", "died"]
    assert "the process that wrote it is gone" in lines[9]
    assert lines[10].startswith("6_very_long")
    assert "…" in lines[10]
    assert lines[10].split()[0].endswith("_seed-6")
    assert lines[10].split()[1] == "damaged"
    assert lines[11].startswith("    cannot read run.json: ")
    counts = ", ".join(f"1 {state}" for state in STATES)
    assert lines[13] == f"7 runs: {counts}"
    note = "† Shared machine: 1 of 7 runs, such as 4_seed-4: its threads spent 25% of their time waiting for a core. "
    assert " ".join(lines[14:16]) == f"{note}Compare steps or CPU seconds."
    assert lines[16].startswith("the last is done in about ")
    assert lines[17] == f"by another version of partinr than this one ({__version__}): 1"
    assert lines[18].startswith("continue one that died or was interrupted: partinr resume ")


def test_some_states(partinr: Any, sweep: Path) -> None:
    answer = partinr("runs", sweep, "--status", "failed,died")
    assert [line.split()[0] for line in answer.out.splitlines()[1:5:2]] == ["3_seed-3", "5_seed-5"]
    assert "7 runs: " in answer.out
    answer = partinr("runs", sweep, "--status", "fialed")
    assert answer.code == 2
    assert f"there is no state 'fialed'; choose from {', '.join(STATES)}" in answer.err
    answer = partinr("runs", sweep / "0_seed-0", "--status", "failed")
    assert (answer.code, answer.out) == (0, "1 run: 1 completed\n")


def test_for_scripts(partinr: Any, sweep: Path) -> None:
    told = json.loads(partinr("runs", sweep, "--json", "--status", "failed,running").out)
    assert [Path(run["path"]).name for run in told["runs"]] == ["1_seed-1", "3_seed-3"]
    assert told["runs"][1]["reason"].count("give a smaller") == 9
    assert told["counts"] == dict.fromkeys(STATES, 1)
    assert told["runs"][0]["max_steps"] == 100
    assert told["runs"][1]["eta_seconds"] is None


def test_time_to_go(tmp_path: Path) -> None:
    # 8 s of training for 40 of 100 steps, so 12 more; a quarter more for evaluations; written 5 s ago.
    by_steps = standing(write(tmp_path / "steps", "running"), NOW)
    assert by_steps.eta == pytest.approx(12 * 1.25 - 5)
    assert by_steps.took == pytest.approx(11 + 5)
    by_time = standing(write(tmp_path / "time", "running", {"max_seconds": 10.0}), NOW)
    assert by_time.eta == pytest.approx(0.0)
    assert by_time.progress == "8/10 s"
    assert standing(write(tmp_path / "begun", "running", steps=0), NOW).eta is None
    queued = standing(write(tmp_path / "queued", "queued", steps=None, seconds=None), NOW)
    assert (queued.eta, queued.progress) == (None, "")
    assert eta_of_all([queued]) is None
    # Two at a time, 26 s each by what is known of them: 10 s left of two, then four more of 26 s each on two.
    assert eta_of_all([by_steps, by_steps, *[queued] * 4]) == pytest.approx((2 * 10 + 4 * 26) / 2)
    done = standing(write(tmp_path / "done", "completed"), NOW)
    assert eta_of_all([done, by_steps, queued]) == pytest.approx(10 + 11)
    assert eta_of_all([done]) is None


def test_a_damaged_one_is_listed(tmp_path: Path) -> None:
    run = write(tmp_path / "run", "completed")
    for content in [
        "",
        "{",
        "[]",
        "null",
        '{"status": 3}',
        '{"status": []}',
        '{"status": "running", "format": 99}',
        "\x00",
    ]:
        run.file("run.json").write_text(content)
        found = standing(run, NOW)
        assert found.state == "damaged"
        assert found.reason


@covering(
    key=["steps", "seconds", "metrics", "versions", "message", "host", "pid", "started"],
    status=["running", "completed", "strange"],
    value=[None, [], "x", True, {"psnr": "x"}],
)
def test_nothing_in_it_is_trusted(tmp_path: Path, key: str, value: Any, status: str) -> None:
    run = write(tmp_path / "run", status)
    manifest = json.loads(run.file("run.json").read_bytes())
    run.file("run.json").write_text(json.dumps({**manifest, key: value}))
    assert standing(run, NOW).state in (status, "died")


def test_a_config_that_is_gone(tmp_path: Path) -> None:
    run = write(tmp_path / "run", "running")
    run.file(".hydra/config.yaml").unlink()
    found = standing(run, NOW)
    assert (found.state, found.progress) == ("running", "40 steps")
    assert found.reason is not None
    assert found.reason.startswith("cannot read .hydra/config.yaml: ")


def test_durations() -> None:
    for seconds, said in [
        (-1, "0 s"),
        (40, "40 s"),
        (59.6, "1 min"),
        (720, "12 min"),
        (3590, "1 h"),
        (12_000, "3 h 20 min"),
        (190_000, "2 d 5 h"),
    ]:
        assert duration(seconds) == said


@covering(text=["short", "a" * 50 + "b" * 50, "図" * 40 + "seed-1", "é" * 61], width=[12, 33, 60])
def test_names_keep_both_ends(text: str, width: int) -> None:
    found = shortened(text, width)
    assert cell_len(found) <= width
    assert found == text or (cell_len(found) >= width - 2 and found[0] == text[0] and found[-1] == text[-1])


def test_no_run_no_list(partinr: Any, tmp_path: Path) -> None:
    answer = partinr("runs", tmp_path)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "no run found in" in answer.err


@pytest.mark.slow
def test_five_hundred_are_listed_at_once(tmp_path: Path) -> None:
    for number in range(500):
        write(tmp_path / f"{number}_seed-{number}", "queued" if number % 2 else "completed")
    code = (
        "import sys, time; from partinr.cli import runs; start = time.perf_counter(); "
        f"runs.show_runs([__import__('pathlib').Path({str(tmp_path)!r})]); "
        "print(time.perf_counter() - start, file=sys.stderr); "
        "assert not {'torch', 'lightning', 'hydra', 'omegaconf', 'plotly', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 500
    # Half a second on a machine that has nothing else to do.
    assert float(done.stderr) < 10


def test_a_run_that_partinr_made(partinr: Any, finished: Path) -> None:
    told = json.loads(partinr("runs", finished, "--json").out)
    (run,) = told["runs"]
    assert (run["status"], run["steps"], run["version"]) == ("completed", 3, __version__)
    assert isinstance(run["psnr"], float)
    assert not run["another_version"]
    assert standing(RunDirectory(finished), time.time()) == Standing(
        RunDirectory(finished),
        "completed",
        steps=3,
        seconds=run["seconds"],
        took=standing(RunDirectory(finished), 0).took,
        psnr=run["psnr"],
        version=__version__,
        cpu_seconds=run["cpu_seconds"],
        shared=run["shared"],
    )


# -- settings: columns, conditions, order ---------------------------------------------------------------------------

GRID, WHOLE = {"_target_": "partinr.partition.Grid", "regions": 9}, {"_target_": "partinr.partition.Whole"}


@pytest.fixture
def mixed() -> Path:
    """Three runs that differ in partition, rate and seed, one that an older version made, and a damaged one."""
    folder = Path("outputs/sweeps/mixed")
    every: tuple[Any, ...] = (("a", GRID, 1e-3, 0, 31.0), ("b", WHOLE, 1e-3, 1, 29.0), ("c", GRID, 4e-3, 1, 33.5))
    for name, partition, lr, seed, psnr in every:
        config = {"seed": seed, "partition": partition, "optimizer": {"lr": lr}, "capacity": "equal"}
        write(folder / name, "completed", config, metrics={"psnr": psnr, "ssim": 0.9})
    older = {"seed": 0, "partition": GRID, "optimizer": {"lr": 1e-3}}
    write(folder / "d", "queued", older, steps=None, seconds=None, metrics=None)
    write(folder / "e", "completed").file("run.json").write_text("{")
    (folder / "e/.hydra/config.yaml").unlink()
    return folder


def names(answer: Any) -> list[str]:
    """The runs of a list in their order."""
    assert (answer.code, answer.err) == (0, "")
    table = answer.out.partition("\n\n")[0].splitlines()
    return [line.split()[0] for line in table[1:] if not line.startswith(" ")]


def test_a_column_for_each_setting_that_differs(partinr: Any, mixed: Path) -> None:
    heading, *lines = partinr("runs").out.splitlines()
    assert heading.split()[:5] == ["run", "partition", "lr", "seed", "state"]
    assert lines[0].split()[1:6] == ["grid", "#9", "1e-3", "0", "completed"]
    assert lines[1].split()[1:5] == ["none", "1e-3", "1", "completed"]
    # Of the runs that are listed, as they are listed.
    assert partinr("runs", "--where", "seed=1", "--where", "lr=0.001").out.split()[:2] == ["run", "state"]
    told = json.loads(partinr("runs", mixed, "--json").out)["runs"]
    assert told[2]["settings"] == {"partition": "grid #9", "optimizer.lr": "4e-3", "seed": "1"}
    assert told[4]["settings"] == dict.fromkeys(told[2]["settings"])


def test_only_runs_that_meet_a_condition(partinr: Any, mixed: Path) -> None:
    for condition, wanted in {
        "partition=grid": ["a", "c", "d"],
        "partition=none": ["b"],
        "partition=none,grid": ["a", "b", "c", "d"],
        "partition!=grid": ["b", "e"],
        "partition.regions=9": ["a", "c", "d"],
        "lr=4e-3": ["c"],
        "optimizer.lr<.002": ["a", "b", "d"],
        "psnr>=31": ["a", "c"],
        "ssim > 0.5": ["a", "b", "c"],
        "state=queued,damaged": ["d", "e"],
        "run=b": ["b"],
    }.items():
        assert names(partinr("runs", "mixed", "--where", condition)) == wanted, condition
    assert names(partinr("runs", mixed, "--where", "partition=grid", "--where", "psnr>32")) == ["c"]
    for condition, said in {
        "partitoin=grid": "no run has the setting or result 'partitoin'; did you mean partition?",
        "psnr>high": "compares with 'high'; give a number",
        "psnr": "is no condition; give KEY=VALUE",
    }.items():
        answer = partinr("runs", mixed, "--where", condition)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert said in answer.err


def test_in_the_order_of_a_setting_or_a_result(partinr: Any, mixed: Path) -> None:
    for order, wanted in {"psnr": "bacde", "-psnr": "cabde", "-lr": "cabde", "state": "abced", "-run": "edcba"}.items():
        assert "".join(names(partinr("runs", mixed, "--sort", order))) == wanted, order
    answer = partinr("runs", mixed, "--sort", "psrn")
    assert (answer.code, "did you mean psnr" in answer.err) == (2, True)


def test_many_settings_have_a_line_of_their_own(partinr: Any) -> None:
    for number in range(3):
        config = {f"setting_{letter}": f"a-rather-long-value-{number}" for letter in "abcdef"}
        write(Path("outputs") / f"{'long_' * 20}{number}_of_many", "completed", config)
    lines = partinr("runs").out.splitlines()
    assert max(map(cell_len, lines)) <= 100
    for number in range(3):
        at = next(row for row, line in enumerate(lines) if f"{number}_" in line and "completed" in line)
        below = " ".join(lines[at + 1 : at + 4])
        assert all(f"setting_{letter}=a-rather-long-value-{number}" in below for letter in "abcdef")


def test_names_are_cut_where_they_do_not_differ() -> None:
    many = [f"a_{'common_' * 9}{number}_{'more_' * 9}end" for number in range(12)]
    found = told_apart(many, 40)
    assert found[3] == "…_3_…"
    # A folder goes first, if the names alone are distinct.
    assert told_apart(["runs/2026_a1_seed-0", "runs/2026_b2_seed-0"], 16) == ["2026_a1_seed-0", "2026_b2_seed-0"]
    assert told_apart(["runs/2026_a1_seed-0", "runs/2026_b2_seed-0"], 10) == ["…_a1_…", "…_b2_…"]
    assert told_apart(["one/seed-0", "other/seed-0"], 7) == ["one/…", "other/…"]
    # Only as far as they stay distinct.
    found = told_apart([f"{'x' * 40}{number}{'y' * 40}" for number in range(12)], 20)
    assert len(set(found)) == 12
    assert told_apart(["a_b", "a_c"], 3) == ["a_b", "a_c"]
    assert told_apart(["a_long_name"], 7) == ["a_l…ame"]

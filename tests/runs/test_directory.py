"""The run directory: whole files at any moment, one owner, and everything read back as it was written."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import random
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory, find_runs
from partinr.runs.layout import CLOCK_COLUMNS, CONFIG, CURVE, CURVE_COLUMNS, FORMAT, MANIFEST, OVERRIDES, config_hash

CONFIGURATION = {"seed": 0, "data": {"name": "astronaut", "size": None}, "ümlaut": [1, 2.5, "x"]}
ROW = {"step": 3, "seconds": 0.1, "cpu_seconds": 0.2, "macs": 7, "loss": 0.1 + 0.2, "psnr": 21.5, "ssim": 0.5}
ROW |= {"lr": 1e-4}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", CONFIGURATION, ["seed=0"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_left_is_swept(run: RunDirectory) -> None:
    before = sorted(run.path.rglob("*"))
    for name in (".run.json.0a1b2c3d.tmp", ".hydra/.config.yaml.0a1b2c3d.tmp"):
        (run.path / name).touch()
    run.sweep()
    assert sorted(run.path.rglob("*")) == before


# -- one owner ----------------------------------------------------------------------------------------------------


def test_of_runs_that_start_together_one_gets_the_directory(tmp_path: Path) -> None:
    for attempt in range(5):
        barrier = threading.Barrier(8)

        def begin(number: int, path: Path = tmp_path / str(attempt), barrier: threading.Barrier = barrier) -> int | str:
            barrier.wait()
            try:
                RunDirectory.create(path, {"seed": number}, [f"seed={number}"])
            except PartinrError as error:
                return str(error)
            return number

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(begin, range(8)))
        (winner,) = [result for result in results if isinstance(result, int)]
        refusals = [result for result in results if isinstance(result, str)]
        assert len(refusals) == 7
        assert all("already holds a run; " in refusal for refusal in refusals)
        run = RunDirectory.open(tmp_path / str(attempt))
        assert (run.config(), run.overrides()) == ({"seed": winner}, [f"seed={winner}"])
        assert names(run.path) == [".hydra", MANIFEST]


def test_a_directory_with_a_run_is_left_alone(run: RunDirectory) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(PartinrError, match=r"already holds a run; .*hydra.run.dir.*partinr resume"):
        RunDirectory.create(run.path, {"seed": 1})
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_directory_with_other_files_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunDirectory.create(tmp_path, CONFIGURATION)
    assert names(tmp_path) == [".hydra", "notes.txt", MANIFEST]


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        PartinrError, match=r"cannot write the run directory .*; choose another with hydra.run.dir=PATH"
    ):
        RunDirectory.create(tmp_path / below, CONFIGURATION)


@pytest.mark.parametrize("full_after", range(3))
def test_a_full_disk_leaves_no_run(tmp_path: Path, full_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, calls = os.fsync, []

    def fill(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > full_after:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(PartinrError, match="No space left on device; choose another"):
        RunDirectory.create(tmp_path / "run", CONFIGURATION)
    assert not list(tmp_path.rglob(MANIFEST))
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    RunDirectory.create(tmp_path / "run", CONFIGURATION)


# -- what is written is read back ---------------------------------------------------------------------------------


def test_the_config_is_read_back(run: RunDirectory) -> None:
    assert run.config() == CONFIGURATION
    assert run.overrides() == ["seed=0"]
    assert "ümlaut" in run.file(CONFIG).read_text(encoding="utf-8")
    run.file(OVERRIDES).unlink()
    assert run.overrides() == []


def test_a_manifest_is_read_back(run: RunDirectory) -> None:
    said = {"status": "completed", "metrics": {"psnr": math.inf, "ssim": math.nan, "all": [1.5, -math.inf]}, "ä": None}
    run.write_manifest(said)
    manifest = run.manifest()
    assert manifest["metrics"] == {"psnr": None, "ssim": None, "all": [1.5, None]}
    assert manifest["format"] == FORMAT
    assert (manifest["host"], manifest["pid"]) == (platform.node(), os.getpid())
    assert set(manifest) == {"format", "host", "pid", "started", *said}


def test_a_curve_is_read_back_to_the_last_digit(run: RunDirectory) -> None:
    assert run.curve() == []
    rows = [
        {**ROW, "step": 0, "seconds": 0.0, "ssim": math.nan, "psnr": math.inf},
        {**ROW, "loss": 5e-324, "lr": 1 / 3, "macs": 2**70},
    ]
    run.write_curve(rows)
    read = run.curve()
    assert repr(read) == repr(rows)  # NaN is not equal to itself
    assert [type(read[0][name]) for name in ("step", "macs", "seconds")] == [int, int, float]
    assert run.file(CURVE).read_bytes().splitlines()[0].decode() == ",".join(CURVE_COLUMNS)
    assert set(CLOCK_COLUMNS) < set(CURVE_COLUMNS)


def test_a_curve_may_have_further_columns(run: RunDirectory) -> None:
    rows = [{"psnr_1": 2.5, **ROW}, {**ROW, "psnr_0": 1 / 3}]
    run.write_curve(rows)
    read = run.curve()
    assert list(read[0]) == [*CURVE_COLUMNS, "psnr_1", "psnr_0"]
    assert (read[0]["psnr_1"], read[1]["psnr_0"]) == (2.5, 1 / 3)
    assert math.isnan(read[0]["psnr_0"])
    assert math.isnan(read[1]["psnr_1"])


def test_a_curve_lacks_no_column(run: RunDirectory) -> None:
    with pytest.raises(KeyError, match="psnr"):
        run.write_curve([{name: value for name, value in ROW.items() if name != "psnr"}])
    assert not run.file(CURVE).exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot read"),
        (b"\xff\xfe", "cannot read"),
        (b'{"status": "comp', "cannot read"),
        (b"[1]", "is not a partinr manifest"),
        (b'{"format": 1}', "is not a partinr manifest"),
        (b'{"format": 2, "status": "completed"}', "newer partinr; update"),
        (b'{"format": "two", "status": "completed"}', "damaged: its format is 'two'; "),
        (b'{"format": null, "status": "completed"}', "damaged: its format is None; "),
    ],
)
def test_a_damaged_manifest_is_refused(run: RunDirectory, content: bytes, said: str) -> None:
    run.file(MANIFEST).write_bytes(content)
    with pytest.raises(PartinrError, match=said) as raised:
        run.manifest()
    assert str(run.file(MANIFEST)) in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"step,psnr\n1,fine\n",
        b"step,psnr\n1.5,30\n",
        b"step,psnr\n1\n",
        b"step,psnr\n1,2,3\n",
        b"step,psnr\n1,\0\n",
        b'step,psnr\n1,"30' + b"0" * 200_000 + b'"\n',
    ],
)
def test_a_damaged_curve_is_refused(run: RunDirectory, content: bytes) -> None:
    run.file(CURVE).write_bytes(content)
    with pytest.raises(PartinrError, match=f"cannot read {re.escape(str(run.file(CURVE)))}: "):
        run.curve()


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe", b"- 1", b"", b"a: !!python/name:os.system"])
def test_a_damaged_config_is_refused(run: RunDirectory, content: bytes) -> None:
    run.file(CONFIG).write_bytes(content)
    with pytest.raises(PartinrError, match=r"config\.yaml") as raised:
        run.config()
    assert "\n" not in str(raised.value)


# -- finding ------------------------------------------------------------------------------------------------------


def test_runs_are_found_once_at_any_depth(tmp_path: Path) -> None:
    wanted = [RunDirectory.create(tmp_path / name, {}).path for name in ("a", "b/0_x", "b/1_x", "c")]
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert [run.path for run in find_runs(tmp_path)] == wanted
    assert [run.path for run in find_runs(tmp_path / "c", tmp_path, tmp_path / "b")] == [wanted[3], *wanted[:3]]
    assert [run.path for run in find_runs(str(tmp_path / "a"))] == [wanted[0]]
    assert len(find_runs(tmp_path / "a", tmp_path / "link")) == 1


def test_single_runs_of_a_folder_come_in_the_order_of_their_times(tmp_path):
    names = ("b_grid_2026-11-29_09-00-00_f", "a_grid_2026-11-29_10-00-00_e", "a_none_2026-11-30_08-00-00_d")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST).write_text("{}")
    assert [run.path.name for run in find_runs(tmp_path)] == list(names)


def test_links_are_followed_and_loops_cut(tmp_path: Path) -> None:
    real = RunDirectory.create(tmp_path / "elsewhere" / "run", CONFIGURATION).path
    folder = tmp_path / "outputs"
    folder.mkdir()
    for name, target in (("a", real), ("sweep", real.parent), ("loop", folder), ("gone", tmp_path / "nowhere")):
        (folder / name).symlink_to(target)
    (real / "up").symlink_to(tmp_path)
    assert [run.path for run in find_runs(folder)] == [folder / "a"]
    assert [run.path for run in find_runs(tmp_path)] == [real]


def test_a_manifest_from_windows(run: RunDirectory) -> None:
    for file in (MANIFEST, CONFIG):
        run.file(file).write_bytes(b"\xef\xbb\xbf" + run.file(file).read_bytes())
    assert run.manifest()["status"] == "running"
    assert run.config() == CONFIGURATION


def test_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(PartinrError, match="nowhere does not exist; give"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(PartinrError, match=r"no run found in .*; a run directory is"):
        find_runs(tmp_path)
    with pytest.raises(PartinrError, match="nowhere does not exist; give"):
        RunDirectory.open(tmp_path / "nowhere")
    with pytest.raises(PartinrError, match=r"is not a run directory: it has no run.json"):
        RunDirectory.open(tmp_path)


# -- identity -----------------------------------------------------------------------------------------------------


def shuffled(node: Any, rng: random.Random) -> Any:
    if not isinstance(node, dict):
        return node
    keys = list(node)
    rng.shuffle(keys)
    return {key: shuffled(node[key], rng) for key in keys}


def test_a_config_hash_is_of_the_content_alone() -> None:
    rng = random.Random(0)
    asked = {"a": {"b": 1, "c": [1, 2, {"d": 3, "e": None}]}, "f": 0.1, "g": "x", "h": True}
    wanted = config_hash(asked)
    assert re.fullmatch("[0-9a-f]{16}", wanted)
    assert {config_hash(shuffled(asked, rng)) for _ in range(20)} == {wanted}
    others = [{**asked, "f": 0.2}, {**asked, "g": "X"}, {**asked, "a": {"b": 1, "c": [2, 1]}}, {**asked, "i": None}]
    assert len({wanted, *map(config_hash, others)}) == 5


# -- alive --------------------------------------------------------------------------------------------------------


def alive(run: RunDirectory) -> bool:
    return run.alive


def claim(run: RunDirectory, **changes: Any) -> None:
    run.write_manifest({"status": "running"})
    manifest = {**json.loads(run.file(MANIFEST).read_bytes()), **changes}
    run.file(MANIFEST).write_text(json.dumps(manifest))


def test_a_run_of_this_process_is_alive(run: RunDirectory) -> None:
    assert alive(run)
    for status in ("completed", "failed", "interrupted"):
        run.write_manifest({"status": status})
        assert not alive(run)


def test_a_run_of_a_dead_process_is_not_alive(run: RunDirectory) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    claim(run, pid=process.pid, started=datetime.now(UTC).isoformat(timespec="seconds"))
    assert alive(run)
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)
    assert not alive(run)  # nobody has asked how it ended, as in a container where nobody ever does
    process.communicate()
    assert not alive(run)


def test_a_number_that_came_again_is_not_the_process(run: RunDirectory) -> None:
    before = datetime.fromtimestamp(psutil.Process().create_time(), UTC) - timedelta(minutes=1)
    claim(run, started=before.isoformat(timespec="seconds"))
    assert not alive(run)


@pytest.mark.parametrize("pid", [None, "x", -1, 2**40, 1.5e300])
def test_a_number_that_is_none_is_not_alive(run: RunDirectory, pid: Any) -> None:
    claim(run, pid=pid)
    assert not alive(run)


def test_of_another_host_nothing_is_known(run: RunDirectory) -> None:
    claim(run, host="elsewhere", pid=2**22 + 1)
    assert alive(run)
    claim(run, host="elsewhere", status="completed")
    assert not alive(run)

"""Words for runs: the last one, and starts of names and hashes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.runs.words import run_at

SWEEP = Path("outputs/sweeps/demo")
SINGLE = Path("outputs/runs/2026-01-31_12-00-00_a1b2c3_partition-grid")


def make(path: Path, day: int, status: str = "completed", **config: Any) -> Path:
    run = RunDirectory.create(path, config)
    run.write_manifest({**run.manifest(), "status": status, "started": f"2026-01-{day:02d}T12:00:00+00:00"})
    return path


def hashed(path: Path) -> str:
    return str(json.loads((path / "run.json").read_text())["config_hash"])


@pytest.fixture(autouse=True)
def _runs() -> None:
    """In the order of their start: a single run, two of a sweep, one in the current folder, and one that waits."""
    make(SINGLE, 1, seed=5)
    make(SWEEP / "partition-grid_seed-0_0a1b2c3d", 3, seed=0)
    make(SWEEP / "partition-none_seed-0_9f8e7d6c", 2, seed=1)
    make(Path("mine"), 4, seed=2)
    make(SWEEP / "partition-none_seed-1_11111111", 9, "queued", seed=3)


def test_the_last_is_the_one_that_began_last() -> None:
    wanted = [Path("mine"), SWEEP / "partition-grid_seed-0_0a1b2c3d", SWEEP / "partition-none_seed-0_9f8e7d6c", SINGLE]
    assert [run_at(Path(word)) for word in ("last", "last:2", "last:3", "last:4")] == wanted
    with pytest.raises(PartinrError, match=r"^last:5 does not exist; give a run directory; 4 runs have begun below"):
        run_at(Path("last:5"))


def test_the_start_of_a_name_or_a_hash() -> None:
    none = SWEEP / "partition-none_seed-0_9f8e7d6c"
    for word in ("partition-none_seed-0", "9f8e7d", hashed(none), hashed(none)[:8]):
        assert run_at(Path(word)) == none
    # The whole name of one may be the start of another's.
    make(Path("mine_rerun"), 5, seed=8)
    assert run_at(Path("mine_")) == Path("mine_rerun")
    for word in ("2026-01-31", "a1b2c3"):
        assert run_at(Path(word)) == SINGLE
    assert run_at(Path("demo"), folders=True) == SWEEP
    with pytest.raises(PartinrError, match="demo does not exist"):
        run_at(Path("demo"))


def test_other_folders_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    make(Path("a/b/c/d/deep"), 8, seed=9)  # deeper than the current folder is searched
    monkeypatch.setenv("PARTINR_OUTPUTS", "elsewhere:a")
    assert run_at(Path("last")) == Path("a/b/c/d/deep")
    with pytest.raises(PartinrError, match="below elsewhere or a or here"):
        run_at(Path("last:9"))


def test_a_path_that_exists_wins() -> None:
    for path in (Path("last"), Path("partition-none"), Path("9f8e7d")):
        path.mkdir()
        assert run_at(path) == path
    assert run_at(Path("no/such")) == Path("no/such")  # for the command to refuse
    assert run_at(Path()) == Path()


def test_what_fits_none_or_several_names_candidates() -> None:
    with pytest.raises(PartinrError) as several:
        run_at(Path("partition-none"))
    names = "partition-none_seed-0_9f8e7d6c, partition-none_seed-1_11111111"
    assert str(several.value) == f"partition-none is the start of 2 names: {names}; give more of one"
    with pytest.raises(PartinrError) as unknown:
        run_at(Path("mien"))
    assert str(unknown.value).endswith("give a run directory, last, or the start of a run's name or hash: mine")
    make(Path("other"), 1)
    with pytest.raises(PartinrError, match=r"hash: mine, .*, and 1 other$"):
        run_at(Path("zzz"))
    # Equal names are told apart by their folders.
    make(Path("outputs/sweeps/again/partition-grid_seed-0_0a1b2c3d"), 5, seed=0)
    with pytest.raises(PartinrError) as twice:
        run_at(Path("0a1b2c3d"))
    for word in str(twice.value).partition(": ")[2].partition(";")[0].split(", "):
        assert Path(word, "run.json").exists()


def test_only_folders_nearby_are_searched() -> None:
    make(Path("a/b/c"), 20)
    make(Path("a/b/c/d"), 21)
    assert run_at(Path("last")) == Path("a/b/c")


def test_without_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for word in ("last", "nowhere"):
        with pytest.raises(PartinrError, match=f"^{word} does not exist; give a run directory; "):
            run_at(Path(word))

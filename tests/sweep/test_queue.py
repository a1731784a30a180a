"""A sweep asked for again: what is there is kept, what is missing is done, and nothing is done twice at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from partinr.experiment import execute
from partinr.runs.directory import RunDirectory, find_runs
from partinr.runs.layout import CLOCK_COLUMNS
from partinr.sweep.folders import study_name

SWEEP = ("hydra.sweep.dir=sweep", "callbacks.pictures=null", "trainer.threads=1")
SMALL = ("data.size=16", "partition.regions=4", "backbone.match_params=500", "callbacks.checkpoint.every_seconds=0")


def runs(folder: str = "sweep") -> list[RunDirectory]:
    return find_runs(folder)


def said(folder: str = "sweep") -> list[dict[str, Any]]:
    return [run.manifest() for run in runs(folder)]


def statuses(folder: str = "sweep") -> list[str]:
    return sorted(each["status"] for each in said(folder))


def change(run: RunDirectory, **changes: Any) -> None:
    run.file("run.json").write_text(json.dumps({**run.manifest(), **changes}))


def curve(run: RunDirectory) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in CLOCK_COLUMNS} for row in run.curve()]


@pytest.fixture(scope="module")
def completed(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three completed runs, to be copied."""
    folder = tmp_path_factory.mktemp("completed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        answer = tiny("-m", "seed=0,1,2", *SWEEP)
    assert (answer.code, answer.err) == (0, "")
    return folder / "sweep"


@pytest.fixture
def swept(completed: Path) -> list[RunDirectory]:
    """Three completed runs in ``sweep``."""
    shutil.copytree(completed, "sweep")
    return runs()


# -- names --------------------------------------------------------------------------------------------------------


def test_a_run_is_named_after_what_it_is(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tiny("-m", "seed=0,1", "partition=random,grid").code == 0
    (folder,) = Path("outputs/sweeps").iterdir()
    assert "_by_partition_seed_" in folder.name
    names = {path.name for path in folder.iterdir()} - {"multirun.yaml"}
    assert len(names) == 4
    assert all("seed-" in name and "partition-" in name for name in names)
    # Neither the order of the words nor where a run is kept or how it is shown makes another run of it.
    again = tiny("seed=1,0", "-m", "partition=grid,random", "callbacks.pictures=null", "hydra.sweep.dir=" + str(folder))
    assert "4 runs: 4 completed (4 of them before)" in again.out
    assert {path.name for path in folder.iterdir()} - {"multirun.yaml"} == names
    # A file is the same from wherever it is named.
    assert tiny("-m", "data=image", "seed=0,1", f"data.path={_picture(tmp_path)}", "hydra.sweep.dir=a").code == 0
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    again = tiny("-m", "data=image", "seed=0,1", "data.path=../photo.png", "hydra.sweep.dir=../a")
    assert "2 runs: 2 completed (2 of them before)" in again.out


def _picture(folder: Path) -> Path:
    from PIL import Image

    path = folder / "photo.png"
    Image.effect_noise((24, 24), 60).save(path)
    return path


def test_a_further_value_joins_the_sweep() -> None:
    assert study_name(["seed=0,1", "partition=none,grid"]) == study_name(["partition=none,grid,mask", "seed=range(5)"])
    assert study_name(["seed=0,1", "max_steps=5"]) != study_name(["seed=0,1", "max_steps=6"])
    assert study_name(["experiment=demo", "seed=0,1"]) == "demo"
    # A small study and the full one are not in one table.
    assert study_name(["size=small", "experiment=mask_source"]) == "mask_source_small"
    assert study_name(["size=full", "experiment=mask_source"]) == "mask_source"
    assert study_name(["seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "output_dir=x"]) == study_name(
        ["seed=0,1"]
    )


def test_a_study_has_the_name_it_is_given(tiny: Any) -> None:
    assert tiny("-m", "seed=0,1", "study=mine").code == 0
    assert len(runs("outputs/sweeps/mine")) == 2
    answer = tiny("-m", "seed=0,1", "study=no/name")
    assert answer.code == 2
    assert "study='no/name'" in answer.err


# -- the table ----------------------------------------------------------------------------------------------------


def table(out: str) -> list[str]:
    """The lines of the table at the end."""
    lines = out.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("run  "))
    return lines[begin : lines.index("", begin)]


def test_the_table_says_in_what_the_runs_differ(tiny: Any) -> None:
    answer = tiny("-m", "seed=0,1", "optimizer.lr=1e-3,4e-3", "partition=grid,random", *SWEEP)
    heading, *lines = table(answer.out)
    assert heading.split()[:3] == ["run", "swept", "seed"]
    # The rest of a shortened name is below.
    rows = [line for line in lines if "=" in line]
    assert len({re.split(r"\d\.\d  ", line)[0] for line in rows}) == len(rows) == 8
    # Seed and partition have been said in the other columns.
    assert [line.count("=") for line in rows] == [1] * 8
    assert all(sum(f"  optimizer.lr={lr}  " in line for line in rows) == 4 for lr in ("0.001", "0.004"))
    # So does the line of each run as it ends, with its place and the time that the others will take.
    ended = [line for line in answer.out.splitlines() if line.startswith("completed ")]
    told = {frozenset(line.partition(":")[0].split()[1:]) for line in ended}
    assert told == {
        frozenset((f"seed={seed}", f"optimizer.lr={lr}", f"partition={rule}"))
        for seed in (0, 1)
        for lr in ("0.001", "0.004")
        for rule in ("grid", "random")
    }
    assert all(f"; run {place} of 8, " in line for place, line in enumerate(ended[:-1], 1))
    assert all(re.search(r", \d+ (s|min) to go$", line) for line in ended[:-1])
    assert ended[-1].endswith("; run 8 of 8")


def test_runs_of_before_are_told_apart_in_the_words_of_now(tiny: Any) -> None:
    alone = tiny("-m", "overlap=0", *SWEEP)
    assert table(alone.out)[0].split()[:2] == ["run", "seed"]
    answer = tiny("-m", "optimizer=adam,muon", "overlap=0,2", *SWEEP)
    assert "4 runs: 4 completed (1 of them before)" in answer.out
    words = " ".join(table(answer.out)).split()
    said = [word for word in words if "=" in word]
    runs_said = list(zip(said[::2], said[1::2], strict=True))
    assert sorted(runs_said) == [
        (f"optimizer={name}", f"overlap={overlap}") for name in ("adam", "muon") for overlap in (0, 2)
    ]


def test_the_name_gives_way_to_what_was_swept(tiny: Any, tmp_path: Path) -> None:
    _picture(tmp_path).rename("a_photo_with_a_long_name.png")
    image = ("data=image", "data.path=a_photo_with_a_long_name.png")
    answer = tiny("-m", "optimizer.lr=1e-3,4e-3", "coords.frame=global,local", *image, *SWEEP)
    lines = table(answer.out)
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    assert all(text.count(f"optimizer.lr={lr}") == 2 for lr in ("0.001", "0.004"))
    assert all(text.count(f"coords.frame={frame}") == 2 for frame in ("global", "local"))
    assert all(figure in lines[0] for figure in ("parameters", "PSNR dB", "SSIM"))


def test_a_setting_that_a_column_tells_only_in_part_is_said(tiny: Any) -> None:
    # Both stop at the same step.
    answer = tiny("-m", "max_steps=3,4", "max_seconds=1e-9", *SWEEP)
    words = " ".join(table(answer.out)).split()
    assert [word for word in words if "=" in word] == ["max_steps=3", "max_steps=4"]
    answer = tiny("-m", "max_steps=3,4", "hydra.sweep.dir=other")
    assert table(answer.out)[0].split()[:2] == ["run", "seed"]


# -- what is there is kept ----------------------------------------------------------------------------------------


def test_the_same_command_again_does_only_what_is_missing(swept: list[RunDirectory], tiny: Any) -> None:
    before = {run.path.name: run.file("run.json").read_bytes() for run in swept}
    answer = tiny("-m", "seed=0,1,2,3", *SWEEP)
    assert answer.code == 0
    assert "4 runs: 4 completed (3 of them before)" in answer.out
    assert {run.path.name: run.file("run.json").read_bytes() for run in swept} == before
    assert sorted(each["seed"] for each in said()) == [0, 1, 2, 3]
    # The table is that of all.
    assert answer.out.count("astronaut grid siren  ") == 4


def test_the_stored_objective_is_given_to_the_sweeper(
    swept: list[RunDirectory], tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from partinr.sweep.launchers import Basic

    given: list[Any] = []
    launch = Basic.launch

    def listen(self: Basic, *arguments: Any, **named: Any) -> Any:
        returned = launch(self, *arguments, **named)
        given.extend(job.return_value for job in returned)
        return returned

    monkeypatch.setattr(Basic, "launch", listen)
    assert tiny("-m", "seed=0,1,2,-1", *SWEEP).code == 2
    assert given == [*(each["metrics"]["psnr"] for each in sorted(said(), key=lambda each: each["seed"])), None]


@pytest.mark.slow
def test_an_interrupted_run_is_gone_on_with(start: Any, until: Any, partinr: Any) -> None:
    words = ("-m", "seed=0,1", *SMALL, *SWEEP)
    process = start(*words, "max_steps=1000000")  # the same run as far as it gets
    until(lambda: len(list(Path("sweep").glob("*/curve.csv"))) == 1 and len(runs()[0].curve()) > 4, process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert statuses() == ["queued", "running"]
    # So that it ends soon: as if that had been asked for.
    for run in runs():
        config = run.config()
        run.write(".hydra/config.yaml", yaml.safe_dump({**config, "max_steps": 2000}).encode())
    begun = next(run for run in runs() if run.curve())
    rows = curve(begun)
    answer = partinr(*words, "max_steps=1000000")
    assert answer.code == 0, answer.err
    assert statuses() == ["completed", "completed"]
    assert curve(begun)[: len(rows)] == rows
    # Whole, and as the other one would be: without a gap.
    assert [row["step"] for row in curve(begun)] == [row["step"] for row in curve(runs()[1])]


def test_what_is_being_run_is_left_to_whoever_does_it(swept: list[RunDirectory], tiny: Any) -> None:
    change(swept[1], status="running")
    with swept[1].claimed():
        answer = tiny("-m", "seed=0,1,2", *SWEEP)
    assert answer.code == 0
    assert f"{swept[1].path.name} is being run by another process" in answer.err
    assert swept[1].manifest()["status"] == "running"


@pytest.mark.slow
def test_two_sweeps_at_once_share_the_work(start: Any, partinr: Any) -> None:
    words = ("-m", "seed=0,1,2,3,4,5", *SMALL, *SWEEP, "max_steps=150", "regime.evaluate_every=1")
    processes = [start(*words) for _ in range(2)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert statuses() == ["completed"] * 6
    alone = partinr(*words[2:], "seed=3", "hydra.run.dir=alone")
    assert alone.code == 0
    (swept,) = (run for run in runs() if run.manifest()["seed"] == 3)
    # Written by two, it would have rows of both.
    assert curve(swept) == curve(RunDirectory.open("alone"))


def test_a_yaml_edited_later_changes_nothing(partinr: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine/optimizer").mkdir(parents=True)
    file = tmp_path / "mine/optimizer/own.yaml"
    file.write_text("_target_: partinr.regimes.Optimizer\nname: adam\nlr: 1.0e-3\n")
    begin = execute.resume

    def edit(folder: Path, force: bool = False) -> Any:
        file.write_text("_target_: partinr.regimes.Optimizer\nname: adam\nlr: 5.0e-1\n")
        return begin(folder, force)

    monkeypatch.setattr(execute, "resume", edit)
    words = ("-m", "seed=0,1", *SMALL, "max_steps=3", *SWEEP, "optimizer=own", "--config-dir", tmp_path / "mine")
    answer = partinr(*words)
    assert answer.code == 0, answer.err
    assert [run.config()["optimizer"]["lr"] for run in runs()] == [1e-3, 1e-3]
    assert all(row["lr"] == 1e-3 for run in runs() for row in run.curve())


# -- failures, and other versions ---------------------------------------------------------------------------------


def test_what_failed_is_tried_again_if_asked(tiny: Any) -> None:
    words = ("-m", "seed=0,1", "optimizer.lr=1e30", *SWEEP)
    assert tiny(*words).code == 1
    assert statuses() == ["failed", "failed"]
    before = [each["started"] for each in said()]
    answer = tiny(*words)
    assert answer.code == 1  # it goes unseen no second time either
    assert answer.out.count("failed: astronaut grid siren: the ") == 2
    assert [each["started"] for each in said()] == before
    for run in runs():  # as if the reason were gone
        run.write(".hydra/config.yaml", yaml.safe_dump({**run.config(), "optimizer": _adam()}).encode())
    assert tiny(*words, "sweep.retry=failed").code == 0
    assert statuses() == ["completed", "completed"]
    answer = tiny(*words, "sweep.retry=all")
    assert answer.code == 2
    assert "sweep.retry='all'" in answer.err


def _adam() -> dict[str, Any]:
    return {"_target_": "partinr.regimes.Optimizer", "name": "adam", "lr": 1e-3}


def test_what_was_refused_is_tried_again_by_itself(tiny: Any, tmp_path: Path) -> None:
    words = ("-m", "seed=0,1", "data=image", "data.path=photo.png", *SWEEP)
    answer = tiny(*words)
    assert answer.code == 2
    assert answer.err.count("photo.png") >= 2
    assert [(each["status"], each["refused"]) for each in said()] == [("failed", True)] * 2
    _picture(tmp_path)
    assert tiny(*words).code == 0
    assert statuses() == ["completed", "completed"]
    assert not any("refused" in each for each in said())


def test_another_versions_runs_are_shown_and_made_again_if_asked(swept: list[RunDirectory], tiny: Any) -> None:
    change(swept[0], versions={**swept[0].manifest()["versions"], "partinr": "0.0.1"})
    words = ("-m", "seed=0,1,2", *SWEEP)
    answer = tiny(*words)
    assert (answer.code, answer.err.count("was completed by partinr 0.0.1")) == (0, 1)
    assert "sweep.redo=other_version" in answer.err
    assert swept[0].manifest()["versions"]["partinr"] == "0.0.1"
    before = swept[1].file("run.json").read_bytes()
    assert tiny(*words, "sweep.redo=other_version").code == 0
    assert swept[0].manifest()["versions"]["partinr"] != "0.0.1"
    assert swept[1].file("run.json").read_bytes() == before
    # Nothing is lost, and no report takes it for a run of the sweep.
    (old,) = Path("sweep/.superseded").iterdir()
    assert RunDirectory.open(old).manifest()["versions"]["partinr"] == "0.0.1"
    assert len(runs()) == 3
    assert tiny(*words, "sweep.redo=all").code == 0
    assert len(list(Path("sweep/.superseded").iterdir())) == 4


def test_a_damaged_run_stops_no_other(swept: list[RunDirectory], tiny: Any) -> None:
    swept[0].file("run.json").write_text("{")
    answer = tiny("-m", "seed=0,1,2,3", *SWEEP)
    assert answer.code == 2
    assert answer.err.count("cannot read ") == 1
    assert swept[0].file("run.json").read_text() == "{"
    assert len(list(Path("sweep").glob("*/inr.safetensors"))) == 4


# -- in processes of their own ------------------------------------------------------------------------------------

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.mark.slow
def test_processes_do_what_one_does(tiny: Any) -> None:
    answer = tiny("-m", "seed=0,1", "optimizer.lr=1e-4,1e30", *SWEEP, *JOBLIB)
    assert answer.code == 1
    assert statuses() == ["completed", "completed", "failed", "failed"]
    assert all("dB" in run.file("output.log").read_text() for run in runs())
    alone = tiny("seed=1", "optimizer.lr=1e-4", *SWEEP, "hydra.run.dir=alone")
    assert alone.code == 0
    (swept,) = (run for run in runs() if run.manifest()["seed"] == 1 and run.manifest()["status"] == "completed")
    assert curve(swept) == curve(RunDirectory.open("alone"))
    # What the command says is in the order of what was asked for, whichever ended first.
    rows = [line.split() for line in table(answer.out)[1:] if not line.startswith("failed:")]
    assert [(row[3], below[0]) for row, below in zip(rows[::2], rows[1::2], strict=True)] == [
        (seed, f"optimizer.lr={lr}") for seed in "01" for lr in ("0.0001", "1e+30")
    ]
    again = tiny("-m", "seed=0,1", "optimizer.lr=1e-4", *SWEEP, *JOBLIB)
    assert "2 runs: 2 completed (2 of them before)" in again.out


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_reaches_all_processes(start: Any, until: Any, number: signal.Signals, code: int) -> None:
    words = ("-m", "seed=0,1,2", *SMALL, *SWEEP, *JOBLIB, "max_steps=1000000", "regime.evaluate_every=1")
    process = start(*words)
    begun: Callable[[], list[Path]] = lambda: list(Path("sweep").glob("*/curve.csv"))  # noqa: E731
    until(lambda: len(begun()) == 2, process)
    os.kill(process.pid, number)
    process.join(180)
    assert process.exitcode == code
    assert statuses() == ["interrupted", "interrupted", "queued"]
    assert all((path.parent / "checkpoints/last.ckpt").is_file() for path in begun())


@pytest.mark.slow
def test_a_process_that_dies_is_tried_again(partinr: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dying_callback.py").write_text(
        "import os\n"
        "import signal\n"
        "from lightning import Callback\n"
        "class Dying(Callback):\n"
        "    def __init__(self, times):\n"
        "        self.times = times\n"
        "    def on_train_batch_end(self, trainer, module, *rest):\n"
        "        died = len(os.listdir('deaths'))\n"
        "        if died < self.times:\n"
        "            open(f'deaths/{died}', 'w').close()\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "deaths").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("-m", "seed=0,1", *SMALL, "max_steps=20", *SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    dying = ("+callbacks.dying._target_=dying_callback.Dying",)
    answer = partinr(*words, *dying, "+callbacks.dying.times=3")
    # The first seed dies twice, which is once more than it is tried again; the second one once.
    assert answer.code == 1
    assert "died" in answer.out
    assert statuses() == ["completed", "running"]
    assert partinr(*words, *dying, "+callbacks.dying.times=3").code == 0
    assert statuses() == ["completed", "completed"]


# -- jobs ---------------------------------------------------------------------------------------------------------


class Jobs:
    """A cluster that executes each instruction for a job at once."""

    def __init__(self, *does: Callable[[Path], None]) -> None:
        self.does = list(does)
        self.submitted: list[list[str]] = []
        self.waiting: set[str] = set()

    def submit(self, jobs: Any, nodes: int = 1) -> list[str]:
        ids = []
        for runs in jobs:
            ids.append(str(len(self.submitted)))
            self.submitted.append([run.name for run in runs])
            for run in runs:
                self.does.pop(0)(run)
        return ids

    def states(self, ids: Any) -> dict[str, str]:
        return {each: "waiting" if each in self.waiting else "gone" for each in ids}


def complete(run: Path) -> None:
    assert execute.resume(run).exit_code == 0


def die(run: Path) -> None:
    change(RunDirectory(run), status="running")


def be_cancelled(run: Path) -> None:
    change(RunDirectory(run), status="interrupted", message="stopped by signal 15")


@pytest.fixture
def submit(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    from partinr.sweep.launchers import SubmititLocal

    monkeypatch.setattr(SubmititLocal, "poll_seconds", 0.0)

    def sweep(jobs: Jobs, *words: str) -> Any:
        monkeypatch.setattr(SubmititLocal, "cluster", lambda self, folder: jobs)
        return tiny("-m", *words, *SWEEP, "hydra/launcher=submitit_local")

    return sweep


def test_a_job_that_ended_without_its_run_is_submitted_again(submit: Any) -> None:
    jobs = Jobs(complete, die, be_cancelled, die, complete, complete)
    answer = submit(jobs, "seed=0,1,2")
    first, second, third = (each for (each,) in jobs.submitted[:3])
    assert jobs.submitted[3:] == [[second], [third], [second]]
    assert answer.code == 0
    assert statuses() == ["completed"] * 3
    assert len({first, second, third}) == 3


def test_tried_again_so_often_and_no_more(submit: Any) -> None:
    jobs = Jobs(*[die] * 4)
    answer = submit(jobs, "seed=0", "hydra.launcher.retries=3")
    assert (answer.code, len(jobs.submitted)) == (1, 4)
    assert "died" in answer.out


def test_jobs_are_found_again(submit: Any) -> None:
    jobs = Jobs(lambda run: None, lambda run: None)
    jobs.waiting = {"0", "1"}
    answer = submit(jobs, "seed=0,1", "hydra.launcher.wait=false")
    assert answer.code == 0
    assert "submitted 2 runs (jobs 0, 1); the same command waits for them" in answer.err
    again = submit(jobs, "seed=0,1", "hydra.launcher.wait=false")
    assert (again.code, len(jobs.submitted)) == (0, 2), "they are in the queue"
    jobs.waiting = {"1"}
    jobs.does.append(lambda run: None)
    submit(jobs, "seed=0,1", "hydra.launcher.wait=false")
    assert jobs.submitted[2:] == jobs.submitted[:1], "one was lost"


def test_runs_share_jobs_by_their_nodes(submit: Any) -> None:
    jobs = Jobs(*[lambda run: None] * 5)
    words = ("hydra.launcher.runs_per_job=2", "hydra.launcher.wait=false")
    assert submit(jobs, "seed=0,1,2,3,4", *words).code == 0
    assert [len(runs) for runs in jobs.submitted] == [2, 2, 1]


def test_an_option_of_a_launcher_is_checked(tiny: Any) -> None:
    for words, reason in (
        (("hydra/launcher=joblib", "hydra.launcher.n_jobs=0"), "hydra.launcher.n_jobs=0; give 1 or more"),
        (("hydra/launcher=joblib", "hydra.launcher.n_jobs=x"), "hydra.launcher.n_jobs='x'"),
        (("hydra/launcher=rocket",), "there is no hydra/launcher=rocket; choose from"),
    ):
        answer = tiny("-m", "seed=0,1", *SWEEP, *words)
        assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
        assert reason in answer.err
    assert not list(Path("sweep").rglob("run.json"))

"""A run that the machine does not treat well: no room, no rights, damaged files, odd names, signals; and many runs."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from partinr.callbacks import CurveFile, LastCheckpoint
from partinr.experiment import execute
from partinr.experiment.conf import conf_dir
from partinr.experiment.hydra_errors import in_quotes
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT, CURVE, ERROR, MANIFEST, PREVIOUS, RECONSTRUCTION, WEIGHTS
from partinr.training.checkpoint import read_checkpoint
from partinr.training.processes import ProcessLauncher
from tests.read_back import curve, manifest

RUN = (
    "max_steps=24",
    "regime.evaluate_every=4",
    "regime.points_per_step=100",
    "schedule=cosine",
    "callbacks.pictures.every_seconds=0.001",
    "callbacks.checkpoint.every_seconds=0",
    "cache_dir=null",
)
HALF = 12


@pytest.fixture(scope="module")
def unbroken(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    assert tiny(*RUN, f"hydra.run.dir={run}").code == 0
    return run


@pytest.fixture(scope="module")
def stopped(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped half way by a signal: it has two checkpoints."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_half_way(patch, lambda: os.kill(os.getpid(), signal.SIGTERM))
        # Else the two would be of the same step.
        patch.setattr(LastCheckpoint, "on_train_end", lambda *_: None)
        assert tiny(*RUN, f"hydra.run.dir={run}").code == 143
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["last.ckpt", "previous.ckpt"]
    return run


def at_half_way(patch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen when a curve is written that has come so far, once."""
    write = CurveFile._write
    acted: list[object] = []

    def acts(self: CurveFile, trainer: Any, module: Any) -> None:
        write(self, trainer, module)
        if module.step >= HALF and not acted:
            acted.append(act())

    patch.setattr(CurveFile, "_write", acts)


def same(run: Path, other: Path) -> None:
    """It ended as the other did, bit by bit, and its clock only ever went on."""
    assert curve(run) == curve(other)
    assert (run / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    assert (manifest(run)["status"], manifest(run)["message"]) == ("completed", None)
    seconds = [row["seconds"] for row in RunDirectory(run).curve()]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


def one_line(text: str, expected: str) -> None:
    assert re.fullmatch(f"partinr: {expected}\n", text), text


# -- no room ------------------------------------------------------------------------------------------------------


def mount(*arguments: str | Path) -> None:
    """Mount something, or skip: it takes root, and more rights than some containers give it."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command to make a small disk with")
    ended = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"cannot mount a small disk: {ended.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    with (disk / "of others").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def fill_before(patch: pytest.MonkeyPatch, file: str, disk: Path) -> None:
    """Have the disk filled when a file is about to be written in the second half of a run."""
    half_way: list[bool] = []
    at_half_way(patch, lambda: half_way.append(True))
    write, save = RunDirectory.write, LastCheckpoint.save

    def write_on_full(self: RunDirectory, name: str, data: bytes) -> Path:
        if half_way and name == file:
            fill(disk)
        return write(self, name, data)

    def save_on_full(self: LastCheckpoint, trainer: Any, module: Any) -> None:
        if half_way and file == CHECKPOINT:
            fill(disk)
        save(self, trainer, module)

    patch.setattr(RunDirectory, "write", write_on_full)
    patch.setattr(LastCheckpoint, "save", save_on_full)


@pytest.mark.filterwarnings("default::partinr.base.errors.PartinrWarning")
@pytest.mark.parametrize("file", [CURVE, MANIFEST, CHECKPOINT, WEIGHTS])
def test_a_full_disk(
    disk: Path, tiny: Any, partinr: Any, unbroken: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = disk / "run"
    words = [word for word in RUN if "pictures" not in word]
    with monkeypatch.context() as patch:
        fill_before(patch, file, disk)
        answer = tiny(*words, "callbacks.pictures.every_seconds=null", f"hydra.run.dir={run}")
    for _ in range(2):
        assert (answer.code, manifest(run)["status"]) == (1, "failed")
        reason = manifest(run)["message"]
        assert re.fullmatch(r"no space left on device: .*; make room, then continue with partinr resume", reason)
        assert reason in answer.out
        assert re.fullmatch("(partinr: note: a picture is lost: .*\n)?", answer.err), answer.err
        # What was there is there, whole, and nothing else.
        assert curve(run) == curve(unbroken)[: len(curve(run))]
        assert len(curve(run)) > 3
        for checkpoint in (CHECKPOINT, PREVIOUS):
            assert read_checkpoint(run / checkpoint)[1] > 0 if (run / checkpoint).exists() else file == WEIGHTS
        assert not list(run.rglob("*.tmp"))
        answer = partinr("resume", run)  # while the disk is still full
    (disk / "of others").unlink()
    assert partinr("resume", run).code == 0
    same(run, unbroken)


@pytest.mark.filterwarnings("default::partinr.base.errors.PartinrWarning")
def test_a_lost_picture_ends_no_run(disk: Path, tiny: Any, unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RunDirectory.write
    full: list[str] = []

    def write_on_full(self: RunDirectory, name: str, data: bytes) -> Path:
        if name not in (RECONSTRUCTION, ERROR) or len(full) == 2:
            return write(self, name, data)
        full.append(name)
        fill(disk)
        try:
            return write(self, name, data)
        finally:
            (disk / "of others").unlink()

    monkeypatch.setattr(RunDirectory, "write", write_on_full)
    answer = tiny(*RUN, f"hydra.run.dir={disk / 'run'}")
    assert (answer.code, full) == (0, [RECONSTRUCTION, ERROR])
    one_line(answer.err, r"note: a picture is lost: no space left on device: .*/reconstruction.png; the run continues")
    same(disk / "run", unbroken)
    assert (disk / "run" / RECONSTRUCTION).read_bytes() == (unbroken / RECONSTRUCTION).read_bytes()


def test_a_disk_for_reading_only(
    disk: Path, tiny: Any, partinr: Any, stopped: Path, contents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partinr.experiment.execute.run_fit", lambda *_: pytest.fail("it was trained"))
    shutil.copytree(stopped, disk / "run")
    (disk / "empty").mkdir()
    before = contents(disk)
    mount("-o", "remount,ro", disk)
    for words in (
        (f"hydra.run.dir={disk}/new",),
        (f"hydra.run.dir={disk}/empty",),
        (f"output_dir={disk}",),
        ("-m", "seed=0,1", f"output_dir={disk}"),
    ):
        answer = tiny(*words)
        assert answer.code == 2, answer.err
        one_line(answer.err, r"error: cannot (make|write) the .*: Read-only file system; choose another with hydra.*")
    answer = partinr("resume", disk / "run")
    assert answer.code == 2
    one_line(answer.err, "error: cannot write in .*: Read-only file system; its owner can, or continue in .*")
    assert contents(disk) == before
    assert partinr("render", disk / "run", "-o", "x.png").code == 0


# -- damaged checkpoints ------------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


def one_bit(path: Path) -> None:
    """A position in the weights, where only a checksum reveals damage."""
    content = bytearray(path.read_bytes())
    weights = torch.load(path, weights_only=True)["state_dict"]
    largest = max((value for value in weights.values() if value.is_floating_point()), key=torch.numel)
    at = content.index(largest.numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, one_bit, removed])
def test_a_damaged_checkpoint_has_one_before_it(
    partinr: Any, stopped: Path, unbroken: Path, copy_of: Any, contents: Any, damage: Callable[[Path], None]
) -> None:
    run = copy_of(stopped)
    damage(run / CHECKPOINT)
    before = read_checkpoint(run / PREVIOUS)[1]
    assert 0 < before < manifest(run)["steps"]
    answer = partinr("resume", run)
    assert answer.code == 0, answer.err
    one_line(
        answer.err, rf"note: .*last.ckpt is lost or damaged; continuing from the previous checkpoint, at step {before}"
    )
    same(run, unbroken)
    assert set(contents(run)) == set(contents(unbroken))


def test_the_sound_checkpoint_is_not_replaced_by_the_damaged_one(
    partinr: Any, stopped: Path, copy_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(stopped)
    sound = (run / PREVIOUS).read_bytes()
    emptied(run / CHECKPOINT)
    replace = os.replace

    def dies(source: Any, target: Any) -> None:
        """The last step of saving a checkpoint never happens."""
        if str(target).endswith("last.ckpt"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("os.replace", dies)
    partinr("resume", run)
    assert (run / PREVIOUS).read_bytes() == sound


def test_no_sound_checkpoint_at_all(partinr: Any, stopped: Path, unbroken: Path, copy_of: Any, contents: Any) -> None:
    run = copy_of(stopped)
    truncated(run / CHECKPOINT)
    garbage(run / PREVIOUS)
    before = contents(run)
    answer = partinr("resume", run)
    assert answer.code == 2
    one_line(answer.err, r"error: no checkpoint in .* is sound; .*, delete that folder, then: partinr resume .*")
    assert contents(run) == before
    shutil.rmtree(run / "checkpoints")
    answer = partinr("resume", run)
    assert answer.code == 0
    one_line(answer.err, "note: .* has no checkpoint yet; it starts from the beginning")
    same(run, unbroken)


# -- the clock ----------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back(
    tiny: Any, partinr: Any, unbroken: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, hours = tmp_path / "run", [0]

    class Back(datetime):
        """Each look finds it an hour earlier."""

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            hours[0] += 1
            return datetime.now(tz) - timedelta(hours=hours[0])

    with monkeypatch.context() as patch:
        for module in ("partinr.runs.directory", "partinr.callbacks.manifest"):
            patch.setattr(f"{module}.datetime", Back)
        patch.setattr("time.time", lambda: Back.now().timestamp())
        at_half_way(patch, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert tiny(*RUN, f"hydra.run.dir={run}").code == 143
        assert partinr("resume", run).code == 0
    assert hours[0] > 10
    same(run, unbroken)
    assert all(value is None or value >= 0 for value in manifest(run)["seconds"].values())


def test_a_run_from_the_future_is_alive_while_its_process_is(tmp_path: Path) -> None:
    # Its clock has been set back since it began.
    run = RunDirectory.create(tmp_path / "run", {})
    begun = datetime.fromisoformat(run.manifest()["started"])
    run.write_manifest({"status": "running", "started": (begun + timedelta(hours=1)).isoformat()})
    assert run.alive
    run.write_manifest({"status": "running", "started": (begun + timedelta(hours=1)).isoformat(), "pid": 2**22 + 1})
    assert not run.alive


# -- two users ----------------------------------------------------------------------------------------------------

USER = """
import contextlib, io, json, os
from partinr.cli import main

def call(words):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            code = end.code or 0
    return code, err.getvalue()

for words in warm:
    call(words)
with open(answers, "w") as file:
    os.chdir(folder)
    os.umask(umask)
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    json.dump([call(words) for words in commands], file)
os._exit(0)  # what multiprocessing has to put away was made with other rights
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can get to."""
    if os.getuid() != 0:
        pytest.skip("only root can be two other users")
    if not all(path.stat().st_mode & 0o001 for path in conf_dir().resolve().parents):
        pytest.skip("the configuration lies where another user cannot read it")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "shared").mkdir()
        yield Path(folder) / "shared"


@pytest.fixture
def as_user(tmp_path: Path, tiny: Any) -> Callable[..., list[tuple[int, str]]]:
    """Runs commands as a user, in a process of its own; code and standard error of each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["partinr.cli.app", "partinr.experiment.execute"])

    def go(user: int, group: int, umask: int, folder: Path, *commands: list[str]) -> list[tuple[int, str]]:
        # A run first: what is imported late must be in memory before the rights to read it are given up.
        begin = tmp_path / f"warm-{user}-{time.monotonic_ns()}"
        warm = [[*TINY_WORDS, f"hydra.run.dir={begin}"]]
        if any(command[0] == "report" for command in commands):
            warm.append(["report", str(begin)])
        answers = tmp_path / "answers.json"
        names = {"warm": warm, "answers": str(answers), "folder": str(folder), "umask": umask}
        names |= {"user": user, "group": group, "commands": list(commands)}
        process = context.Process(target=exec, args=(USER, names))
        process.start()
        process.join()
        assert process.exitcode == 0
        return [(code, err) for code, err in json.loads(answers.read_text())]

    return go


TINY_WORDS = ("data.size=16", "partition.regions=4", "backbone.match_params=500", "max_steps=3")


@pytest.mark.slow
def test_two_users_of_one_folder(shared: Path, as_user: Any) -> None:
    shared.chmod(0o1777)
    words = [*TINY_WORDS, f"output_dir={shared}", "cache_dir=null"]
    own = [[*words, f"hydra.run.dir={shared}/a"], [*words, f"hydra.run.dir={shared}/private"]]
    assert as_user(65533, 65533, 0o022, shared, *own) == [(0, ""), (0, "")]
    (shared / "a" / MANIFEST).write_text(json.dumps(manifest(shared / "a") | {"status": "interrupted"}))
    (shared / "private").chmod(0o700)
    before = (shared / "a" / MANIFEST).read_bytes()
    answers = as_user(
        65534,
        65534,
        0o022,
        shared,
        [*words, f"hydra.run.dir={shared}/b"],
        ["resume", f"{shared}/a"],
        ["render", f"{shared}/a", "-o", f"{shared}/a.png"],
        ["render", f"{shared}/private", "-o", f"{shared}/private.png"],
        [*words, f"hydra.run.dir={shared}/private"],
        ["report", f"{shared}", "-o", f"{shared}/report.html"],
        ["-m", *words, f"hydra.sweep.dir={shared}", "seed=0,1", "hydra.sweep.subdir=c${seed}"],
    )
    assert [code for code, _ in answers] == [0, 2, 0, 2, 2, 0, 0], answers
    denied = r"error: cannot (read|write in|write the run directory) /.*: Permission denied; .*"
    for at in (1, 4):
        one_line(answers[at][1], denied)
    one_line(answers[3][1], "error: .* is not readable; see partinr render --help")
    assert (shared / "a" / MANIFEST).read_bytes() == before
    assert [manifest(shared / name)["status"] for name in ("b", "c0", "c1")] == ["completed"] * 3


@pytest.mark.slow
def test_two_users_of_one_group(shared: Path, as_user: Any) -> None:
    os.chown(shared, 0, 65500)
    shared.chmod(0o2770)
    words = [*TINY_WORDS, f"output_dir={shared}", "partition=superpixel", "partition.regions=4"]
    for user in (65533, 65534):
        # The second finds the label map of the first.
        assert as_user(user, 65500, 0o002, shared.parent, words) == [(0, "")]
    runs = sorted((shared / "runs").iterdir())
    assert sorted(run.stat().st_uid for run in runs) == [65533, 65534]
    assert len(list((shared / "cache").iterdir())) == 1
    first = next(run for run in runs if run.stat().st_uid == 65533)
    (first / MANIFEST).write_text(json.dumps(manifest(first) | {"status": "interrupted"}))
    assert as_user(65534, 65500, 0o002, shared.parent, ["resume", str(first)]) == [(0, "")]
    assert manifest(first)["status"] == "completed"


# -- names --------------------------------------------------------------------------------------------------------

NAMES = {
    "signs": """it's "so" [1] {2} (3) $HOME %s #4 a::b;c&d""",
    "deep, long in bytes, an override": "a deep folder of some length/" * 40 + "ünï=1,图=[2]".ljust(251, "x"),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_names_of_folders(partinr: Any, tiny: Any, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    run = folder / "run"
    answer = tiny("callbacks.checkpoint.every_seconds=0", f"hydra.run.dir={in_quotes(str(run))}")
    assert (answer.code, answer.err) == (0, "")
    (run / MANIFEST).write_text(json.dumps(manifest(run) | {"status": "interrupted"}))
    for words in (("resume", run), ("render", run, "-o", folder / f"{'x' * 251}.png"), ("report", folder)):
        answer = partinr(*words)
        assert (answer.code, answer.err) == (0, "")
    answer = tiny("-m", "seed=0,1", f"output_dir={in_quotes(str(folder))}", "max_steps=1")
    assert (answer.code, answer.err) == (0, "")
    assert len(list(folder.glob(f"sweeps/*/*/{MANIFEST}"))) == 2


def test_names_of_images(tiny: Any, tmp_path: Path) -> None:
    names = ["ünï cödé [1],=.png", "図" * 80 + ".png", 'it\'s "so" {x}.png']
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    for name in names:
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    paths = ",".join(in_quotes(str(tmp_path / "photos" / name)) for name in names)
    answer = tiny("-m", "data=image", f"data.path={paths}", "output_dir=out")
    assert (answer.code, answer.err) == (0, "")
    runs = [path.parent for path in Path("out").glob(f"sweeps/*/*/{MANIFEST}")]
    assert len(runs) == 3
    found = {RunDirectory(run).config()["data"]["path"] for run in runs}
    assert found == {str(tmp_path / "photos" / name) for name in names}
    words = [word for word in TINY_WORDS if "max_steps" not in word]
    answer = tiny(*words, "data=folder", f"data.path={tmp_path}/photos", "hydra.run.dir=album")
    assert (answer.code, answer.err) == (0, "")
    assert len(list(Path("album/images").iterdir())) == 3


def test_a_name_that_is_too_long_is_refused(tiny: Any, partinr: Any) -> None:
    answer = tiny(f"hydra.run.dir={'x' * 256}")
    assert answer.code == 2
    one_line(answer.err, "error: cannot make the folder x+: File name too long; choose another with hydra.run.dir=PATH")
    answer = partinr("resume", "x" * 256)
    assert answer.code == 2
    one_line(answer.err, "error: cannot read x+: File name too long; .*")


# -- no home ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_home_that_does_not_exist() -> None:
    # Below a file nobody can make a folder, not even root; and a process of its own: these are read on import.
    places = ("HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "WANDB_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    ended = subprocess.run(
        [sys.executable, "-m", "partinr", *TINY_WORDS, "engine=fused", "hydra.run.dir=run"],
        env=os.environ | dict.fromkeys(places, "/dev/null/none"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    # Matplotlib says for itself where it keeps its fonts then.
    said = [line for line in ended.stderr.splitlines() if "atplotlib" not in line and not line.startswith("mkdir -p")]
    assert said == []
    assert manifest(Path("run"))["status"] == "completed"


def test_no_home_at_all(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    answer = tiny("hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, "")


# -- a second signal ----------------------------------------------------------------------------------------------

SLOW = """
import pathlib, time
from partinr.callbacks import LastCheckpoint
from partinr.cli import main

def save(self, trainer, module):
    pathlib.Path(mark).touch()
    time.sleep(60)

LastCheckpoint.on_train_end = save
main(words)
"""


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_ends_at_once(
    until: Any, partinr: Any, unbroken: Path, tmp_path: Path, numbers: tuple[signal.Signals, signal.Signals]
) -> None:
    run, mark = tmp_path / "run", tmp_path / "mark"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["partinr.cli.app", "partinr.experiment.execute"])
    names = {"words": [*TINY_WORDS[:-1], *RUN, f"hydra.run.dir={run}"], "mark": str(mark)}
    process = context.Process(target=exec, args=(SLOW, names))
    process.start()
    try:
        # The end of the training is slow, as with a large checkpoint; an impatient user does not wait for it.
        until(lambda: (run / CHECKPOINT).exists(), process)
        os.kill(process.pid or 0, numbers[0])
        until(mark.exists, process)
        os.kill(process.pid or 0, numbers[1])
        process.join(10)
        assert process.exitcode == -numbers[1]
    finally:
        process.kill()
        process.join()
    assert manifest(run)["status"] == "running"
    assert partinr("resume", run).code == 0
    same(run, unbroken)


# -- many runs in one process -------------------------------------------------------------------------------------


def state_of_process() -> dict[str, Any]:
    """What a run could leave behind."""
    gc.collect()
    process = psutil.Process()
    return {
        "threads": threading.active_count(),
        "files": process.num_fds(),
        "children": len(process.children()),
        "group": torch.distributed.is_initialized(),
        "filters": list(warnings.filters),
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "loggers": {
            name: (logging.getLogger(name).level, len(logging.getLogger(name).handlers))
            for name in ("", "lightning", "lightning.pytorch", "lightning.fabric", "partinr", "hydra")
        },
        "folder": os.getcwd(),
        "torch threads": torch.get_num_threads(),
    }


@pytest.mark.slow
def test_fifty_runs_in_one_process(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    resume = execute.resume
    memory: list[int] = []
    states: list[dict[str, Any]] = []

    def measured(*arguments: Any) -> Any:
        outcome = resume(*arguments)
        # What waits to be collected would come and go; this leaves what is held.
        gc.collect()
        memory.append(psutil.Process().memory_info().rss)
        if len(memory) in (10, 50):
            states.append(state_of_process())
        return outcome

    fifty = ",".join(map(str, range(50)))
    with monkeypatch.context() as patch:
        patch.setattr(execute, "resume", measured)
        answer = tiny("-m", f"seed={fifty}", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${seed}")
    assert (answer.code, answer.err, len(memory)) == (0, "", 50)
    assert states[0] == states[1]
    # The margin is 75 kB a run: less than a Trainer with its module, image and pictures would keep, more than the
    # allocator and Hydra's list of jobs do.
    assert memory[49] - memory[9] < 3e6, (memory[49] - memory[9]) / 1e6
    for seed in (0, 49):
        assert tiny(f"seed={seed}", f"hydra.run.dir=alone{seed}").code == 0
        same(Path("sweep", str(seed)), Path(f"alone{seed}"))


@pytest.mark.slow
def test_several_runs_of_two_processes(partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["partinr.cli.app", "partinr.experiment.execute"])
    monkeypatch.setattr(ProcessLauncher, "context", context)
    tiny = ("data.size=16", "backbone.match_params=500", "max_steps=3", "engine=batched")
    words = (*tiny, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    # Of two processes, so that the one which starts them is there before and afterwards.
    assert partinr(*words, "partition=grid", "hydra.run.dir=first").code == 0
    before = state_of_process()
    answer = partinr(
        *words, "-m", "partition=none,grid", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}"
    )
    assert answer.code == 0
    assert answer.err.splitlines() == [
        f"partinr: note: 2 devices divide the {divided} among each other (shard=auto)"
        for divided in ("samples", "regions")
    ]
    assert state_of_process() == before
    assert sorted(path.name for path in Path("sweep").iterdir()) == ["0", "1", "multirun.yaml"]
    assert len(list(Path().rglob("multirun.yaml"))) == 1
    same(Path("sweep/1"), Path("first"))

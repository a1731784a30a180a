"""``trainer=ddp`` as a user has it: whole runs, sweeps, signals, deaths."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import partinr as api
from partinr.base.stopping import said as said_of
from partinr.runs.layout import CHECKPOINT, CLOCK_COLUMNS
from tests.commands import call
from tests.read_back import manifest

pytestmark = pytest.mark.slow

# Without the fused engine, whose kernels every process would load again.
WORDS = (
    "trainer.accelerator=cpu",
    "data.size=16",
    "partition.regions=4",
    "backbone.match_params=500",
    "engine=batched",
    "shard=regions",  # auto says what it takes
)
SWEPT = (*WORDS, "max_steps=40", "schedule=cosine", "regime.points_per_step=100", "capacity=detail")
LONG = (
    *WORDS,
    "max_steps=6000",
    "regime.evaluate_every=20",
    "callbacks.checkpoint.every_seconds=0.2",
    "cache_dir=null",
)

# What pip makes of an entry point: a file without the .py, that another process imports under another name.
SCRIPT = "import sys\nfrom partinr.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")


def rows(run: Path) -> list[dict[str, float]]:
    if not (run / "curve.csv").exists():
        return []
    with (run / "curve.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def same(run: Path, other: Path) -> None:
    ours, theirs = rows(run), rows(other)
    assert len(ours) == len(theirs)
    for one, two in zip(ours, theirs, strict=True):
        for name in set(one) - {*CLOCK_COLUMNS}:
            assert one[name] == pytest.approx(two[name], rel=2e-3), name


def files(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def keys(tree: Any) -> Any:
    return {name: keys(value) for name, value in tree.items()} if isinstance(tree, dict) else None


# -- whole runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on one device and on two, by the script that pip installs."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "partinr").write_text(SCRIPT)
    words = ["-m", *SWEPT, "trainer=ddp", "trainer.devices=1,2"]
    words += ["hydra.sweep.dir=runs", "hydra.sweep.subdir=${trainer.devices}"]
    ended = subprocess.run(
        [sys.executable, "partinr", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    # Each run is said once, by the process that started the others.
    assert len(re.findall("^completed ", ended.stdout, re.MULTILINE)) == 2
    return folder / "runs"


def test_a_sweep_makes_its_runs_and_no_more(sweep: Path, quick: None) -> None:
    assert sorted(path.name for path in sweep.iterdir()) == ["1", "2", "multirun.yaml"]
    words = ["-m", *SWEPT, "trainer=ddp", "seed=0,1", "hydra.sweep.dir=runs", "hydra.sweep.subdir=${seed}"]
    code, _, err = call(*words)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["0", "1", "multirun.yaml"]
    assert [manifest(Path("runs", name))["seed"] for name in "01"] == [0, 1]
    same(Path("runs/0"), sweep / "2")
    assert rows(Path("runs/0"))[-1]["psnr"] != rows(Path("runs/1"))[-1]["psnr"]


def test_a_run_is_whole(sweep: Path) -> None:
    run, alone = sweep / "2", sweep / "1"
    same(run, alone)
    assert files(run) == files(alone)
    said, expected = manifest(run), manifest(alone)
    assert keys(said) == keys(expected)
    assert (said["status"], said["stop"], said["steps"]) == ("completed", "max_steps", 40)
    assert [each["hardware"]["devices"] for each in (said, expected)] == [2, 1]
    assert [each["hardware"]["shard"] for each in (said, expected)] == ["regions", None]
    for key in ("parameters", "regions", "macs_per_pixel", "signal", "partition"):
        assert said[key] == expected[key], key
    # Both processes count, and both have the machine for their threads.
    assert said["machine"]["threads"] == 2 * said["hardware"]["threads"]
    assert rows(run)[-1]["cpu_seconds"] == said["cpu_seconds"]["training"] > 0
    seam, expected_seam = said["metrics"].pop("seam"), expected["metrics"].pop("seam")
    assert said["metrics"].pop("ms_ssim") is expected["metrics"].pop("ms_ssim") is None  # of so small an image
    assert said["metrics"] == pytest.approx(expected["metrics"], rel=1e-3)
    assert seam == pytest.approx(expected_seam, rel=1e-2)
    assert (api.load(run).render() - api.load(alone).render()).abs().max() < 1e-3


def test_a_report_of_both(sweep: Path, tmp_path: Path) -> None:
    code, _, err = call("report", sweep, "-o", tmp_path / "report.html")
    assert code == 0, err
    assert "2 × " in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_a_folder_of_images(quick: None) -> None:
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("a", (16, 16)), ("b", (12, 20)), ("c", (16, 16))):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(f"photos/{name}.png")
    words = [word for word in SWEPT if not word.startswith(("data.", "max_steps"))]
    words += ["data=folder", "data.path=photos", "trainer=ddp", "cache_dir=null", "regime.evaluate_every=10"]
    for run, more in (
        ("one", ("trainer.devices=1", "max_steps=40")),
        ("two", ("trainer.devices=2", "max_steps=40")),
        ("three", ("trainer.devices=3", "max_steps=40", "shard=samples")),
        # Constant: a cosine over other steps would have other rates.
        ("half", ("trainer.devices=2", "max_steps=20", "schedule=constant")),
        ("rest", ("trainer.devices=1", "max_steps=40", "schedule=constant", f"ckpt_path=half/{CHECKPOINT}")),
    ):
        code, out, err = call(*words, *more, f"hydra.run.dir={run}")
        assert (code, err) == (0, ""), out
    one, two, rest = Path("one"), Path("two"), Path("rest")
    same(one, two)
    same(one, Path("three"))
    assert manifest(Path("three"))["hardware"]["shard"] == "samples"
    assert files(one) == files(two) == files(rest)
    said, expected = manifest(two), manifest(one)
    assert keys(said) == keys(expected)
    assert (said["hardware"]["devices"], said["images"]["b"]["shape"]) == (2, [12, 20, 3])
    for name, of in expected["images"].items():
        assert said["images"][name]["psnr"] == pytest.approx(of["psnr"], rel=1e-3)
        assert (api.load(one, name).render() - api.load(two, name).render()).abs().max() < 1e-3
    assert [row["step"] for row in rows(rest)] == [0, 10, 20, 30, 40]


MINE = """
import torch
from partinr.backbones.base import Mlp
from partinr.partition import PartitionRule
from partinr.base.spec import spec


@spec
class Stripes(PartitionRule):
    def labels(self, signal):
        return (torch.arange(signal.shape[0]) // 5)[:, None].expand(signal.shape[:-1])


@spec
class Gauss(Mlp):
    match_params: int | None = 900

    def init_layer(self, layer, weight, bias, generator):
        weight.normal_(0, weight.shape[-1] ** -0.5, generator=generator)
        bias.uniform_(-1, 1, generator=generator)

    def activation(self, layer, x, weight, bias, linear):
        return torch.exp(-linear(x, weight, bias).square() / 0.02)
"""


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trainer.accelerator=gpu",), "trainer.devices=2 with trainer.accelerator=gpu .*; give fewer trainer.devices"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], said: str) -> None:
    import torch

    if "trainer.accelerator=gpu" in words and torch.cuda.device_count() > 1:
        pytest.skip("there are that many GPUs")
    keep = [word for word in WORDS if word.partition("=")[0] not in {each.partition("=")[0] for each in words}]
    code, _, err = call(*keep, "trainer=ddp", *words, "hydra.run.dir=run")
    assert code == 2
    assert re.fullmatch(f"partinr: error: {said}.*\n", err), err
    assert not Path("run").exists()


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Writes a module ``mine`` that can be imported until the test ends."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda text: (tmp_path / "mine.py").write_text(text)
    sys.modules.pop("mine", None)


def test_what_cannot_be_sent_is_refused(mine: Any) -> None:
    mine("from lightning import Callback\nclass Mine(Callback):\n    def __init__(self):\n        self.f = lambda: 0\n")
    code, _, err = call(*WORDS, "trainer=ddp", "+callbacks.mine._target_=mine.Mine", "hydra.run.dir=run")
    assert code == 2
    assert re.fullmatch(
        "partinr: error: cannot hand the run to other processes: .*; .*, or give trainer.devices=1\n", err
    )
    assert not Path("run").exists()


def test_a_rule_and_a_backbone_of_ones_own(quick: None, mine: Any) -> None:
    mine(MINE)
    for group, name in (("partition", "Stripes"), ("backbone", "Gauss")):
        Path(f"conf/{group}").mkdir(parents=True)
        Path(f"conf/{group}/mine.yaml").write_text(f"_target_: mine.{name}\n")
    words = ["--config-dir", "conf", "data.size=16", "max_steps=20", "partition=mine", "backbone=mine"]
    for run, more in (("one", ()), ("three", ("trainer=ddp", "trainer.devices=3"))):
        code, _, err = call(*words, *more, "trainer.accelerator=cpu", f"hydra.run.dir={run}")
        assert code == 0, err
    same(Path("three"), Path("one"))
    assert files(Path("three")) == files(Path("one"))


# -- ends ---------------------------------------------------------------------------------------------------------

RAISES = """
from lightning import Callback


class Raises(Callback):
    def on_train_batch_end(self, trainer, module, *rest):
        if trainer.global_rank == 1 and module.step > 10:
            raise ValueError("the moon is full")
"""


def test_one_that_raises(quick: None, mine: Any) -> None:
    mine(RAISES)
    code, out, err = call(*LONG, "trainer=ddp", "+callbacks.mine._target_=mine.Raises", "hydra.run.dir=run")
    assert code == 1, err
    said = manifest(Path("run"))
    assert (said["status"], said["stop"]) == ("failed", None)
    assert said["message"] == "rank 1 of 2 processes raised ValueError: the moon is full"
    assert said["message"] in out
    assert said["steps"] > 0  # as far as it came
    assert gone(ranks(os.getpid()))


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``partinr`` in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "partinr", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ranks(pid: int) -> list[psutil.Process]:
    """The processes that a run has started, in their order: by itself, or by way of a server that forks.

    A Slurm that other tests have started is none of them.
    """
    found = [each for each in psutil.Process(pid).children(recursive=True) if not each.name().startswith("slurm")]
    of_run = [child for child in found if child.ppid() != pid or "spawn_main" in " ".join(child.cmdline())]
    return sorted(of_run, key=lambda child: child.create_time())


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


def test_killed_stopped_and_gone_on_with(start: Any, quick: None, tmp_path: Path) -> None:
    # The process that started the others is killed: they do not stay behind.
    run = tmp_path / "run"
    process = start(*LONG, "trainer=ddp", f"hydra.run.dir={run}")
    wait_until(lambda: (run / CHECKPOINT).exists() or process.poll() is not None)
    here = ranks(process.pid)
    assert len(here) == 2
    assert (manifest(run)["pid"], manifest(run)["status"]) == (process.pid, "running")
    process.kill()
    wait_until(lambda: gone(here), 10)
    process.wait()
    first = manifest(run)["steps"]

    # Another one is killed: the first is not left waiting.
    def kill_the_second() -> None:
        wait_until(lambda: manifest(run)["steps"] > first)
        killed.extend(ranks(os.getpid()))
        killed[1].kill()

    killed: list[psutil.Process] = []
    thread = threading.Thread(target=kill_the_second)
    thread.start()
    code, out, err = call("resume", run)
    thread.join()
    assert (code, err) == (1, "")
    assert gone(killed)
    said = manifest(run)
    assert (said["status"], said["stop"]) == ("failed", None)
    assert said["message"] == "rank 1 of 2 processes was killed by SIGKILL; memory may have run out"
    assert said["message"] in out
    second = said["steps"]
    assert second > first

    # Ctrl-C: a terminal tells all of them.
    process = start("resume", run)
    wait_until(lambda: manifest(run)["steps"] > second or process.poll() is not None)
    here = ranks(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate()
    assert process.returncode == 130, out
    assert "Traceback" not in out
    assert gone(here)
    assert (manifest(run)["status"], manifest(run)["message"]) == ("interrupted", "stopped with Ctrl-C")

    # The rest by one process: as if it had never been stopped.
    words = [*LONG, f"max_steps={manifest(run)['steps'] + 20}"]
    code, _, err = call(*words, f"ckpt_path={run / CHECKPOINT}", "hydra.run.dir=rest")
    assert code == 0, err
    code, _, err = call(*words, "hydra.run.dir=unbroken")
    assert code == 0, err
    same(Path("rest"), Path("unbroken"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_signal_to_one_that_is_not_the_first(quick: None, number: signal.Signals) -> None:
    run = Path("run").resolve()

    def stop() -> None:
        wait_until(lambda: len(rows(run)) > 2)
        here.extend(ranks(os.getpid()))
        os.kill(here[-1].pid, number)

    here: list[psutil.Process] = []
    thread = threading.Thread(target=stop)
    thread.start()
    code, out, err = call(*LONG, "callbacks.checkpoint.every_seconds=1000", "trainer=ddp", f"hydra.run.dir={run}")
    thread.join()
    assert (code, err) == (128 + number, "")
    assert len(here) == 2
    assert gone(here)
    assert "continue with: partinr resume" in out
    said = manifest(run)
    assert (said["status"], said["message"], said["stop"]) == ("interrupted", said_of(number), None)
    assert said["metrics"]["psnr"] == rows(run)[-1]["psnr"]
    assert (run / CHECKPOINT).exists()

"""TensorBoard, MLflow and loggers of other packages: their own files, read back."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from partinr.callbacks import RunCallback
from partinr.runs.directory import RunDirectory
from partinr.spec import spec
from partinr.tracking import CurveOnly, Logger, Several
from partinr.tracking.logger import Note

LIGHTNING = "lightning.pytorch.loggers"


@pytest.fixture
def few(partinr: Any) -> Any:
    """A tiny run with the default logger."""
    small = ("data.size=16", "partition.regions=4", "backbone.match_params=500", "max_steps=4", "cache_dir=null")
    return lambda *arguments: partinr(*small, "regime.evaluate_every=1", *arguments)


@pytest.fixture
def interrupted(few: Any, partinr: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Interrupts a run with these loggers after its third evaluation, and resumes it to its end."""

    def run(*arguments: str) -> RunDirectory:
        from partinr.tracking.sending import Sender

        sent = Sender._send

        def stopped(self: Any, module: Any) -> None:
            sent(self, module)
            if len(module.curve) == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Sender, "_send", stopped)
            answer = few("max_steps=8", "hydra.run.dir=run", *arguments)
        assert answer.code == 143, answer.err
        answer = partinr("resume", "run")
        assert (answer.code, answer.err) == (0, ""), answer.err
        return RunDirectory(Path("run"))

    return run


def events(folder: Path) -> Any:
    """What TensorBoard reads of the files in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return found.Reload()


def test_tensorboard(interrupted: Any) -> None:
    run = interrupted("logger=tensorboard")
    curve = run.curve()
    assert len(curve) == 9
    kept = events(run.path / "tensorboard")
    # The whole curve, once, against each axis.
    for name in ("loss", "psnr", "ssim", "lr", "seconds", "macs"):
        points = kept.Scalars(name)
        assert [point.step for point in points] == [row["step"] for row in curve]
        assert [point.value for point in points] == pytest.approx([row[name] for row in curve], rel=1e-6, nan_ok=True)
    for family, axis in (("milliseconds", [round(1000 * row["seconds"]) for row in curve]),
                         ("macs", [row["macs"] for row in curve])):  # fmt: skip
        points = kept.Scalars(f"{family}/psnr")
        assert [point.step for point in points] == axis
        assert [point.value for point in points] == pytest.approx([row["psnr"] for row in curve])
    assert {"partition", "reconstruction", "error"} <= set(kept.Tags()["images"])
    settings = kept.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"backbone.first_omega_0" in settings


@pytest.mark.slow  # it makes the tables of a database
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow itself, about its database
def test_mlflow(interrupted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'partinr[mlflow]'")
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = interrupted("logger=mlflow", "output_dir=kept")
    curve = run.curve()
    client = MlflowClient(f"sqlite:///{Path('kept/mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("partinr")
    assert experiment is not None
    # A resumed run continues its own.
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.run_id == (run.path / "mlflow.id").read_text()
    assert kept.info.status == "FINISHED"
    assert kept.data.params["backbone.first_omega_0"] == str(run.config()["backbone"]["first_omega_0"])
    for name in ("psnr", "loss", "seconds", "macs"):
        points = sorted(client.get_metric_history(kept.info.run_id, name), key=lambda point: point.step)
        assert [point.step for point in points] == [row["step"] for row in curve]
        assert [point.value for point in points] == [row[name] for row in curve]
    assert "reconstruction.png" in {each.path for each in client.list_artifacts(kept.info.run_id)}


def test_several_in_a_sweep(few: Any, offline: Any, same_rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    answer = few(
        "-m", "logger=[wandb,tensorboard]", "seed=0,1", "logger.wandb.project=both", "hydra.sweep.dir=sweep",
        f"+logger.mine._target_={LIGHTNING}.CSVLogger",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    said = "WANDB_PROJECT=mine is not used, as the configuration has logger.wandb.project=both"
    assert answer.err.count(said) == 2
    runs = [RunDirectory(path.parent) for path in sorted(Path("sweep").glob("*/run.json"))]
    assert [run.manifest()["seed"] for run in runs] == [0, 1]
    for run in runs:
        curve = run.curve()
        (kept,) = offline(run.path)
        assert kept.run.project == "both"
        assert same_rows(kept.curve, curve)
        assert [point.step for point in events(run.path / "tensorboard").Scalars("psnr")] == [0, 1, 2, 3, 4]
        # A logger that takes a folder and is given none writes into the run directory.
        (file,) = run.path.glob("lightning_logs/version_0/metrics.csv")
        with file.open(newline="") as text:
            rows = list(csv.DictReader(text))
        assert [float(row["psnr"]) for row in rows] == [row["psnr"] for row in curve]
        assert [float(row["macs"]) for row in rows] == [row["macs"] for row in curve]


class Broken:
    """A logger whose server is gone after the first row."""

    def __init__(self, place: str = "here", **options: Any) -> None:
        self.rows: list[Mapping[str, float]] = []

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        assert params["seed"] == 0

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        if step == 1:
            raise ConnectionError("gone")

    def save(self) -> None: ...

    def finalize(self, status: str) -> None:
        raise ConnectionError("still gone")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dotted path of :class:`Broken`."""
    import sys
    from types import ModuleType

    module = ModuleType("my_loggers")
    module.Broken = Broken  # type: ignore[attr-defined]
    module.Other = dict  # type: ignore[attr-defined]
    module.Watching = Watching  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_loggers", module)
    return "my_loggers.Broken"  # type: ignore[return-value]


def test_a_logger_that_breaks_does_not_break_the_run(few: Any, broken: str) -> None:
    answer = few(f"logger._target_={broken}", "hydra.run.dir=run")
    said = "partinr: note: Broken failed: ConnectionError: gone; the run continues, and run has its curve\n"
    assert (answer.code, answer.err) == (0, said)
    assert len(RunDirectory(Path("run")).curve()) == 5


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("logger._target_=my_loggers.Other", "my_loggers.Other is no logger; derive the class from lightning.pytorch."),
        ("logger._target_=nowhere.Logger", "cannot be imported: No module named 'nowhere'; give MODULE.CLASS"),
        (f"logger._target_={LIGHTNING}.CSVLogger +logger.nam=a",
         r"unknown option logger.nam; did you mean logger.name\?"),
        (f"logger._target_={LIGHTNING}.CometLogger", "logger: ModuleNotFoundError: .*comet.*pip install"),
        ("logger=[csv,wandb] logger.wandb.mode=on", "logger.wandb.mode='on': "),
        ("logger=[csv,wandb] logger.project=a", r"unknown option logger.project; did you mean logger.wandb.project\?"),
        ("logger=[csv,wand]", "there is no logger=wand; choose from csv, .*did you mean logger=wandb"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("broken")
def test_what_is_refused(few: Any, typed: str, said: str) -> None:
    import re

    answer = few(*typed.split(), "hydra.run.dir=run")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer.err
    assert re.search(said, answer.err), answer.err
    assert not Path("run").exists()


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_a_package_that_is_missing(few: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    answer = few(f"logger={package}", "hydra.run.dir=run")
    said = f"logger={package} needs the package {package}, which is not installed; pip install 'partinr[{package}]'"
    assert (answer.code, answer.err) == (2, f"partinr: error: {said}\n")
    assert not Path("run").exists()


class Watching(L.Callback):
    """Logs to the loggers of the Trainer, as a callback of Lightning's users does."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *others: Any) -> None:
        logger: Any = trainer.loggers[0]
        step = RunDirectory(Path("run")).curve()[-1]["step"]
        logger.log_metrics({"mine/steps": step, "psnr": -1.0}, step=int(step))
        logger.experiment.add_text("note", "as it went", int(step))


def test_a_callback_finds_the_logger(few: Any, broken: str) -> None:
    answer = few("logger=tensorboard", "+callbacks.mine._target_=my_loggers.Watching", "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, "")
    kept = events(Path("run/tensorboard"))
    assert [point.value for point in kept.Scalars("mine/steps")][-4:] == [1, 2, 3, 4]
    curve = RunDirectory(Path("run")).curve()
    assert [point.value for point in kept.Scalars("psnr")] == pytest.approx([row["psnr"] for row in curve])
    assert "note/text_summary" in kept.Tags()["tensors"]


def test_a_logger_written_for_version_0_3() -> None:
    @spec
    class Older(Logger):
        def callbacks(self, name: str, config: Mapping[str, Any], note: Note) -> list[RunCallback]:  # type: ignore[override]
            return [RunCallback()]

    older = Older()
    assert len(Several([older, CurveOnly(), older]).callbacks("name", {}, print, Path("run"))) == 2

"""A regime and a trainer that only have what a callback may ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.runs.directory import RunDirectory
from partinr.signals.kinds import default_kind
from partinr.training.clock import Clock, StopRule
from partinr.training.machine import MachineLog


@dataclass
class FakeRegime:
    """See :class:`partinr.callbacks.base.Regime`."""

    signal: Tensor = field(default_factory=lambda: torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(0)))
    seed: int = 3
    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    clock: Any = field(default_factory=Clock)
    machine: Any = field(default_factory=MachineLog)
    stop: Any = field(default_factory=lambda: StopRule(max_steps=100))
    begun: dict[str, Any] = field(default_factory=dict)
    stop_reason: str | None = None
    ended_by: str | None = None
    interrupted: bool = False
    failure: str | None = None
    best_psnr: float = float("-inf")
    points_per_step: int = 24
    image_curve: list[dict[str, Any]] = field(default_factory=list)
    names: tuple[str, ...] = ("",)
    title: str = "2 regions"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    drawn: int = 0

    @cached_property
    def views(self) -> list[Any]:
        grid = self.signal.shape[:-1]
        labels = (torch.arange(self.signal.shape[:-1].numel()) % 2).reshape(grid)
        partition = SimpleNamespace(labels=labels)
        kind = default_kind(len(grid))
        return [SimpleNamespace(name=name, signal=self.signal, partition=partition, kind=kind) for name in self.names]

    def reconstructions(self) -> list[Tensor]:
        self.drawn += 1
        return [3 * self.signal - 1 for _ in self.names]

    def weights(self) -> Iterator[tuple[str, bytes]]:
        yield from ((name, b"weights") for name in self.names)

    def tables(self) -> dict[str, Any]:
        return {"images.csv": self.image_curve}

    def adaptations(self) -> tuple[()]:
        return ()

    def divides(self, devices: int) -> str | None:
        return None if devices == 1 else "regions"

    def facts(self) -> dict[str, Any]:
        return {
            "regions": 2,
            "seconds": {"partition": 0.25, "saved": None},
            "signal": {"shape": list(self.signal.shape), "sha256": "0123"},
        }

    def final_metrics(self) -> dict[str, Any]:
        return {"sharpness": 0.5}

    def evaluate(self, psnr: float = 20.0) -> None:
        row = {"step": self.step, "seconds": self.clock.training, "cpu_seconds": self.clock.training_cpu}
        self.curve.append({**row, "macs": 7, "loss": 0.01, "psnr": psnr, "ssim": 0.5, "lr": 1e-4})
        self.best_psnr = max(self.best_psnr, psnr)


class FakeTrainer:
    """Saves checkpoints, and stops when told. The only process there is."""

    should_stop = False
    progress_bar_callback = None
    world_size = 1
    num_devices = 1
    is_global_zero = True
    strategy = SimpleNamespace(broadcast=lambda value: value)

    def __init__(self) -> None:
        self.saved: list[Path] = []

    def save_checkpoint(self, path: Path) -> None:
        self.saved.append(path)
        path.write_bytes(b"checkpoint %d" % len(self.saved))


@pytest.fixture
def make_regime() -> Callable[..., FakeRegime]:
    return FakeRegime


@pytest.fixture
def trainer() -> FakeTrainer:
    return FakeTrainer()


@pytest.fixture
def second() -> Any:
    """The trainer of the second of two processes; ``agreed`` is what the first one thinks."""
    trainer: Any = FakeTrainer()
    trainer.world_size, trainer.is_global_zero, trainer.agreed = 2, False, False
    trainer.save_checkpoint = trainer.saved.append
    trainer.strategy = SimpleNamespace(
        broadcast=lambda value: trainer.agreed,
        reduce=lambda value, reduce_op: torch.maximum(value, torch.tensor(trainer.agreed)),
    )
    return trainer


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of :func:`time.monotonic`, to be set as ``clock.now``."""
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("time.monotonic", lambda: time.now)
    return time

"""W&B's own files, read back, and the command line."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]
from wandb.sdk.lib.wbauth import unauthenticate_session

from tests.commands import Answer, call

TINY = ("data.size=16", "partition.regions=4", "backbone.match_params=500", "max_steps=4", "regime.evaluate_every=1")
BLOCK = 32768


@dataclass
class Offline:
    """What one offline file of W&B holds."""

    path: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    exits: list[int] = field(default_factory=list)

    @property
    def curve(self) -> list[dict[str, float]]:
        """The rows that have a PSNR, without what W&B adds."""
        rows = [row for row in self.history if "psnr" in row]
        return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]

    def media(self, key: str) -> list[Path]:
        """The files of the last pictures under a key."""
        row = next(row for row in reversed(self.history) if any(name.startswith(f"{key}.") for name in row))
        names = row.get(f"{key}.filenames") or [row[f"{key}.path"]]
        return [self.path.parent / "files" / name for name in names]


def records(path: Path) -> Iterator[Any]:
    """The records of a file in LevelDB's format for logs, after a header of seven bytes."""
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        at += 7
        whole += data[at : at + length]
        at += length
        if kind in (1, 4):  # full, or the last part
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def read(path: Path, seconds: float = 10) -> Offline:
    """What a file holds; W&B's service may still be at its end."""
    end = time.monotonic() + seconds
    while not (found := _read(path)).exits and time.monotonic() < end:
        time.sleep(0.02)
    return found


def _read(path: Path) -> Offline:
    found = Offline(path)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        found.kinds.add(kind)
        if kind == "run":
            found.run = record.run
            found.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            found.history.append(_values(record.history.item))
        elif kind == "summary":
            found.summary.update(_values(record.summary.update))
        elif kind == "metric":
            found.axes[record.metric.name] = record.metric.step_metric
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "exit":
            found.exits.append(record.exit.exit_code)
    return found


def _values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def offline_files(run: Path) -> list[Path]:
    return sorted(run.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="session")
def offline() -> Callable[[Path], list[Offline]]:
    """The offline W&B runs in a run directory, the oldest first."""
    return lambda run: [read(path) for path in offline_files(run)]


@pytest.fixture(scope="session")
def partinr() -> Callable[..., Answer]:
    """``partinr("sync", run)``: code, out and err of the command."""
    return call


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Answer]:
    """A tiny run with W&B."""
    return lambda *arguments: call("logger=wandb", *TINY, *arguments)


def _same(one: list[dict[str, float]], other: list[dict[str, float]]) -> bool:
    def alike(a: float, b: float) -> bool:
        return a == b or (math.isnan(a) and math.isnan(b))

    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a) for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="session")
def same_rows() -> Callable[..., bool]:
    """Whether two curves are equal, every digit and every NaN."""
    return _same


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line sets for its own process is taken back, and nobody is logged in."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("NETRC", "/nowhere/netrc")
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fresh() -> Iterator[None]:
    """W&B reads the environment once a process; here it does so before and after the test."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    wandb.teardown()
    unauthenticate_session(update_settings=False)

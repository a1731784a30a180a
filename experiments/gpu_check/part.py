"""Runs one part of the check, and holds what the parts share: the device, the time left, runs and tables.

python experiments/gpu_check/part.py NAME --size tiny --images FOLDER --seconds 60
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from partinr.cli import main as partinr_main

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
BUILTIN = ("astronaut", "chelsea", "coffee", "rocket")
QUIET = ("~callbacks.pictures", "~callbacks.checkpoint", "~callbacks.progress")


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the content of ``run.json``, and its curve."""

    folder: Path
    facts: dict[str, Any]
    curve: list[dict[str, float]]


@dataclass
class Job:
    """What a part is given.

    Attributes:
        size: ``tiny`` or ``full``.
        images: folder of images, or None.
        ends: when the part should end, on the monotonic clock.
        failed: names of what has failed; the part goes on, and ends with exit code 1.
    """

    size: str
    images: Path | None
    ends: float
    failed: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def tiny(self) -> bool:
        """Whether only the working of the check is of interest."""
        return self.size == "tiny"

    @property
    def left(self) -> float:
        """Seconds until the part should end."""
        return self.ends - time.monotonic()

    @contextmanager
    def attempt(self, *name: object) -> Iterator[None]:
        """Go on after an error: a row of the table says it."""
        try:
            yield
        except (Exception, SystemExit) as error:  # whatever a driver, a compiler or a run raises
            self.failed.append(" ".join(map(str, name)))
            row(*name, short(error), "**failed**")

    def sources(self, most: int) -> list[tuple[str, list[str]]]:
        """Names of up to ``most`` images, with the overrides that choose them."""
        if self.images is None:
            return [(name, ["data=builtin", f"data.name={name}"]) for name in BUILTIN[:most]]
        return [(file.stem, ["data=image", f"data.path={file}"]) for file in self.files()[:most]]

    def files(self) -> list[Path]:
        """The image files of the folder; none without a folder."""
        if self.images is None:
            return []
        found = sorted(each for each in self.images.iterdir() if each.suffix.lower() in IMAGES)
        if not found:
            raise SystemExit(f"{self.images} holds no image")
        return found

    def run(self, *overrides: str, keep: Sequence[str] = ()) -> Run:
        """Carry out a run as a user would.

        Args:
            overrides: the words of the command.
            keep: callbacks to keep, which are else left out, as they only cost time.

        Raises:
            RuntimeError: the run was refused or failed.
        """
        folder, said = Path(f"run-{next(self._numbers)}").resolve(), io.StringIO()
        left_out = [each for each in QUIET if each.lstrip("~") not in keep]
        try:
            with redirect_stdout(said), redirect_stderr(said):
                partinr_main([*overrides, *left_out, f"hydra.run.dir={folder}", "cache_dir=null"])
        except SystemExit as end:
            if end.code:
                last = said.getvalue().strip().splitlines()[-1:]
                raise RuntimeError(f"{' '.join(last)} (exit code {end.code} of partinr {' '.join(overrides)})") from end
        with (folder / "curve.csv").open(encoding="utf-8") as file:
            curve = [{name: float(row[name]) for name in ("step", "seconds", "psnr")} for row in csv.DictReader(file)]
        return Run(folder, json.loads((folder / "run.json").read_text(encoding="utf-8")), curve)


def head(*names: str) -> None:
    """Print the head of a table."""
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")


def row(*values: object) -> None:
    """Print a row of a table at once, so that it is kept if the part is stopped."""
    print(f"| {' | '.join(map(str, values))} |", flush=True)


def cut(what: str) -> None:
    """Say what the limit has left out."""
    print(f"\nCut at the part's limit: {what}.", flush=True)


def short(error: BaseException) -> str:
    """The first line of an error."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].replace("|", "/")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--size", choices=("tiny", "full"), required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    chosen = parser.parse_args(arguments)
    if DEVICE.type == "cpu" and chosen.size != "tiny":
        built = (
            f"torch {torch.__version__} is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else (f"torch {torch.__version__} is built without CUDA")
        )
        raise SystemExit(f"no GPU is found ({built}); on a CPU give SIZE=tiny")
    job = Job(chosen.size, chosen.images, time.monotonic() + chosen.seconds)
    importlib.import_module(chosen.name).main(job)
    if job.failed:
        raise SystemExit(f"{len(job.failed)} failed: {', '.join(job.failed)}")


if __name__ == "__main__":
    # The parts import this file by its name.
    sys.modules["part"] = sys.modules["__main__"]
    main()

"""``partinr rerun``: repeats a run and compares the curves."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from partinr.base.errors import PartinrError
from partinr.base.notes import print_note
from partinr.base.section import leaves
from partinr.base.terminal import short
from partinr.base.text import for_shell
from partinr.experiment.config import settings_for
from partinr.experiment.execute import execute
from partinr.experiment.make import make
from partinr.experiment.migrate import migrated
from partinr.experiment.names import safe_name, with_values
from partinr.experiment.provenance import check_code
from partinr.experiment.relocate import check_there, places_of
from partinr.experiment.show import show_outcomes
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CLOCK_COLUMNS, CURVE, IMAGE_CURVE, MANIFEST
from partinr.runs.words import OUTPUTS
from partinr.samplers import Sampler
from partinr.tracking.fetch import fetch
from partinr.training.schedule import Schedule

_COMPARED = ("versions", "hardware", "git", "signal", "inputs", "code")
"""Entries of ``run.json`` that can change a curve."""

_HARMLESS = ("hardware.cores",)
"""Entries that do not change results; threads would, but their number is kept."""


@dataclass(frozen=True)
class Difference:
    """The first place where two curves differ.

    Attributes:
        file: ``curve.csv`` or ``images.csv``.
        said: a line with the place and both values.
        rows: number of rows that differ.
        compared: number of compared rows.
    """

    file: str
    said: str
    rows: int
    compared: int


WANDB = "wandb:"
"""What stands before the ENTITY/PROJECT/RUN of a run on W&B."""


def rerun(folder: Path, output: Path | None = None, changes: Sequence[str] = ()) -> int:
    """Repeat a run in a new directory; print whether the curves are the same and, if not, possible causes.

    Args:
        folder: the run directory. Nothing in it is changed.
        output: the new directory; by default next to the first, with ``_rerun`` appended to its name.
        changes: new places of files that the run reads, as ``data.path=PLACE``.

    Returns:
        0 for the same curve, 1 for another, 130 or 143 if the run was stopped.

    Raises:
        PartinrError: there is no run, it has no curve yet, or it can no longer be executed; nothing has been written.
    """
    before = RunDirectory.open(folder)
    before.check_allows("rerun")
    if not before.curve() and not before.alive:
        raise PartinrError(
            f"{folder} has no curve to compare with; continue it instead: partinr resume {for_shell(folder)}"
        )
    return _repeated(_Before(before, str(folder)), output or _free(before.path.resolve()), changes)


def rerun_from_wandb(place: str, output: Path | None = None, changes: Sequence[str] = ()) -> int:
    """Repeat a run from its configuration on W&B, and compare the rows of the curve that W&B has.

    Args:
        place: ENTITY/PROJECT/RUN.
        output: the new directory; by default one in ``outputs/runs`` that is named after the id of the run.
        changes: as for :func:`rerun`.

    Returns:
        as :func:`rerun`; 0 as well if W&B has no curve.

    Raises:
        PartinrError: W&B cannot be reached or does not have the run, or the run cannot be executed here.
    """
    with TemporaryDirectory(prefix="partinr-") as temporary:
        before = fetch(place, Path(temporary, "run"))
        again = output or _free(OUTPUTS / "runs" / f"wandb_{safe_name(place.rpartition('/')[2])}")
        return _repeated(_Before(before, f"{WANDB}{place}", partly=True), again, changes)


@dataclass(frozen=True)
class _Before:
    """The first run.

    Attributes:
        run: its directory.
        title: what the user calls it.
        partly: whether its curve may lack rows, and the curves of its images.
    """

    run: RunDirectory
    title: str
    partly: bool = False

    @property
    def shown(self) -> str:
        """The title, shortened for a terminal."""
        return self.title if self.partly else short(self.run.path)


def _repeated(before: _Before, again: Path, places: Sequence[str]) -> int:
    """Execute a run again, and compare the curves; returns the exit code."""
    manifest = before.run.manifest()
    if before.run.alive:
        raise PartinrError(f"{before.title} is still running; wait for it, or stop it first")
    if os.path.lexists(again / MANIFEST):
        raise PartinrError(f"{again} already holds a run; give another folder with -o")
    check_code(manifest, before.title)
    cfg = migrated(with_values(before.run.config(), manifest.get("settled", {})))
    changes, whole = _to_be_the_same(cfg, manifest, before)
    changes |= places_of(places, before.run)
    overrides = [*before.run.overrides(), *_as_overrides(changes)]
    settings = settings_for(with_values(cfg, changes), overrides)
    check_there(settings, f"partinr rerun {for_shell(before.title)}")
    outcome = execute(settings, again, overrides, repeats=before.title)
    show_outcomes([outcome])
    if outcome.exit_code > 128:
        click.echo("nothing is compared: the second run was stopped")
        return outcome.exit_code
    if not before.run.curve():
        click.echo(f"nothing is compared: W&B has no curve of {before.title}")
        return outcome.exit_code
    return 0 if _compared(before, outcome.run, whole and not before.partly) else 1


def difference(before: RunDirectory, again: RunDirectory, whole: bool = True) -> Difference | None:
    """The first difference between the curves of two runs, in any column except the clocks; None for equal curves.

    Args:
        before: one run.
        again: the other.
        whole: whether both must have the same rows; otherwise only common rows are compared.

    Raises:
        PartinrError: a curve is damaged.
    """
    for file, one, other in (
        (CURVE, before.curve(), again.curve()),
        (IMAGE_CURVE, before.image_curve(), again.image_curve()),
    ):
        rows, others = _by_place(one), _by_place(other)
        every = sorted({**rows, **others}, key=lambda place: place[0])
        places = every if whole else [place for place in every if place in rows and place in others]
        wrong = [place for place in places if list(_unlike(rows.get(place), others.get(place)))]
        if wrong:
            first = next(_unlike(rows.get(wrong[0]), others.get(wrong[0])))
            said = f"row {every.index(wrong[0]) + 1} ({_place(wrong[0])}): {first}"
            return Difference(file, said, len(wrong), len(places))
    return None


def causes(before: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Possible causes of a difference between two runs, one line each: ``versions.torch: 2.12.0, now 2.13.0``."""
    one, other = (leaves({key: each.get(key) for key in _COMPARED}) for each in (before, again))
    # Entries that an older partinr did not write are not compared.
    return [
        f"{key}: {_brief(one[key])}, now {_brief(other[key])}"
        for key in one
        if key in other and one[key] != other[key] and key not in _HARMLESS
    ]


def _free(base: Path) -> Path:
    """An unused name for a folder next to a run."""
    path, number = base.with_name(f"{base.name}_rerun"), 2
    while os.path.lexists(path):
        path, number = base.with_name(f"{base.name}_rerun_{number}"), number + 1
    return path


def _to_be_the_same(
    cfg: Mapping[str, Any], manifest: Mapping[str, Any], before: _Before
) -> tuple[dict[str, Any], bool]:
    """The settings for an identical second run. A note says what cannot be identical.

    Returns:
        values by dotted keys, and whether all rows of the two curves can be compared.
    """
    changes = {**_same_threads(cfg, manifest), **_same_rows(cfg, before.run)}
    folder = before.title
    schedule = make(cfg.get("schedule"), "schedule", Schedule)
    steps = manifest.get("steps")
    sampler = make(migrated(cfg)["sampler"], "sampler", Sampler)
    followed = {
        f"the learning rate of {folder} followed the clock (schedule={type(schedule).__name__.lower()}": schedule,
        f"the samples of the steps of {folder} followed the clock (sampler={sampler.title}": sampler,
    }
    for what, each in followed.items():
        if each.follows_end and cfg.get("max_steps") is None:
            print_note(
                f"{what} over max_seconds), so the curve of a second run is another; with max_steps instead of "
                "max_seconds it would be the same"
            )
            return changes, False
    if manifest.get("stop") == "max_seconds" and isinstance(steps, int):
        if not schedule.follows_end and steps > schedule.warmup_steps:
            # Only the end of such a run depends on the clock.
            print_note(f"{folder} was stopped by the clock after {steps:,} steps; the second run takes as many")
            return {**changes, "max_steps": steps, "max_seconds": None}, True
        print_note(
            f"{folder} was stopped by the clock after {steps:,} steps, and so is the second run; "
            "the rows that both have are compared"
        )
        return changes, False
    if manifest["status"] in ("completed", "failed"):
        return changes, True
    print_note(f"{folder} is not complete; the rows that both have are compared")
    return changes, False


def _same_rows(cfg: Mapping[str, Any], before: RunDirectory) -> dict[str, Any]:
    """The settings for evaluations at the same steps, where the clock chose them; an evaluation may change a step."""
    regime = cfg.get("regime")
    if cfg.get("max_steps") is not None or not isinstance(regime, Mapping) or "evaluate_at" not in regime:
        return {}
    if not (steps := [int(row["step"]) for row in before.curve()]):
        return {}
    return {"regime.evaluate_every": max(1, *steps), "regime.evaluate_at": [step for step in steps if step > 0]}


def _same_threads(cfg: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, int]:
    """The setting for the same number of threads, which affects the rounding of sums."""
    hardware, trainer = manifest.get("hardware"), cfg.get("trainer")
    if not isinstance(hardware, Mapping) or not isinstance(trainer, Mapping) or trainer.get("threads") is not None:
        return {}
    threads = hardware.get("threads")
    by_itself = max(1, torch.get_num_threads() // (trainer.get("devices") or 1))
    return {"trainer.threads": threads} if isinstance(threads, int) and threads != by_itself else {}


def _as_overrides(changes: Mapping[str, Any]) -> list[str]:
    return [f"{key}={'null' if value is None else value}" for key, value in changes.items()]


def _compared(first: _Before, again: RunDirectory, whole: bool) -> bool:
    """Print whether two curves are the same, else why not; returns whether they are."""
    before = first.run
    old, new = before.manifest(), again.manifest()
    if old["status"] == "failed" and new["status"] == "completed":
        whole = False
    found = difference(before, again, whole)
    why = causes(old, new)
    both = len(_by_place(before.curve()).keys() & _by_place(again.curve()).keys())
    rows = f"all {both} rows" if whole else f"the {both} rows that both have"
    if found is not None:
        click.echo(f"differs  {found.file}, {found.said}; in all {found.rows} of {found.compared} rows")
    elif "failed" in (old["status"], new["status"]) and old["status"] != new["status"]:
        click.echo(f"differs  it was {old['status']} and is {new['status']} now; {rows} of the curve are the same")
    else:
        click.echo(f"same     {rows} of the curve of {first.shown}, bit by bit")
        for line in why:
            click.echo(f"         although {line}")
        return True
    then, now = _psnr(old), _psnr(new)
    if then is not None and now is not None:
        click.echo(f"         PSNR at the end: {then:.2f} dB then, {now:.2f} dB now")
    for line in why:
        click.echo(f"         {line}")
    if not why:
        click.echo("         versions, hardware, threads, git commit, signal and code are the same")
    return False


def _by_place(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, str | None], Mapping[str, Any]]:
    """Rows by step and, for several images, by image."""
    return {(row["step"], row.get("image")): row for row in rows}


def _place(place: tuple[int, str | None]) -> str:
    step, image = place
    return f"step {step}" if image is None else f"step {step}, image {image}"


def _unlike(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> Iterator[str]:
    """Each column in which two rows differ, and by how much."""
    if one is None or other is None:
        yield "only the first run has it" if other is None else "only the second run has it"
        return
    for name in {**one, **other}:
        if name in CLOCK_COLUMNS:
            continue
        left, right = one.get(name), other.get(name)
        # Compared as text: NaN equals NaN, and 0.0 differs from -0.0.
        if repr(left) != repr(right):
            by = ""
            if isinstance(left, (int, float)) and isinstance(right, (int, float)) and math.isfinite(left - right):
                by = f", by {abs(left - right):.1e}"
            yield f"{name} was {left!r} and is {right!r}{by}"


def _brief(value: Any) -> str:
    """A value in few characters; digests are shortened."""
    text = "none" if value is None else str(value)
    return text if len(text) < 40 or " " in text or "-" in text else f"{text[:12]}…"


def _psnr(manifest: Mapping[str, Any]) -> float | None:
    metrics = manifest.get("metrics")
    psnr = metrics.get("psnr") if isinstance(metrics, Mapping) else None
    return psnr if isinstance(psnr, (int, float)) else None

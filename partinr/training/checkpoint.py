"""Writes and reads checkpoints as local files, and checks them against the run that will continue."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from partinr.base.errors import PartinrError
from partinr.base.section import leaves
from partinr.base.text import for_shell
from partinr.base.version import __version__
from partinr.partition import Partition
from partinr.signals.identity import SignalIdentity

if TYPE_CHECKING:
    from partinr.training.loop import TrainingLoop


SIGNALS = "signals"
"""Key of a fingerprint for the identities of signals."""

VERSION = "partinr_version"
"""Key of a checkpoint for the version that saved it; 0.1 had no such key."""


class OtherVersionError(PartinrError):
    """A checkpoint of another minor version, whose state this version cannot restore."""


class LocalFiles(TorchCheckpointIO):
    """Checkpoints as local files.

    Lightning would first write each checkpoint to the system's temporary folder, which may be full or slow while the
    run's disk has room. It would also treat a path that contains ``::`` as remote.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        # Serialised in memory first, because torch hides the errors of a full disk.
        content = io.BytesIO()
        torch.save({**checkpoint, VERSION: __version__}, content)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with Path(path).open("wb") as file:
                file.write(content.getbuffer())
        except OSError as error:
            error.filename = str(path)  # an error of a write has no file name
            raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint."""
        found: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=weights_only)
        return found


def kept_partitions(names: Sequence[str], partitions: Sequence[Partition]) -> dict[str, dict[str, Any]]:
    """Label maps as a checkpoint keeps them: without those that follow from options."""
    kept = {}
    for name, partition in zip(names, partitions, strict=True):
        if not partition.free:
            narrow = torch.uint8 if partition.regions <= 256 else torch.int32
            kept[name] = {"labels": partition.labels.to(narrow), "seconds": partition.seconds}
    return kept


def read_partitions(path: Path) -> dict[str, Partition]:
    """The partitions that a checkpoint keeps, by name of the signal; none if it cannot be read."""
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)["partinr"].get("partitions", {})
        return {name: Partition(**each) for name, each in kept.items()}
    except Exception:  # as in `read_checkpoint`, which says what is wrong
        return {}


def read_widths(path: Path) -> dict[str, list[int] | None]:
    """The widths of the networks of a checkpoint, by name of the signal; none if it cannot be read."""
    try:
        found = read_checkpoint(path)[0]
    except PartinrError:  # which the check of the run says again
        return {}
    return {name: each.get("widths") for name, each in found.get("image", {"": found}).items()}


class OtherRunError(PartinrError):
    """A checkpoint is from another run.

    Attributes:
        problem: what differs.

    Args:
        problem: see there.
        path: of the checkpoint.
        what: what would have to be given for it to fit.
    """

    def __init__(self, problem: str, path: Path | None = None, what: str = "the settings") -> None:
        where = "" if path is None or (run := _run_of(path)) is None else f" ({run})"
        super().__init__(
            f"ckpt_path={path} is from another run: {problem}; give {what} of that run{where}, "
            "or leave ckpt_path out to start again"
        )
        self.problem = problem


def check_checkpoint(path: Path, module: TrainingLoop) -> str | None:
    """Check that a module can continue from a checkpoint.

    Returns:
        how this machine read the signals differently, within :data:`TOLERANCE <partinr.signals.identity.TOLERANCE>`;
        None if equal.

    Raises:
        OtherVersionError: another version saved the checkpoint.
        OtherRunError: the checkpoint is from another run.
        PartinrError: the checkpoint is missing, damaged, or past the end of this run.
    """
    if not path.is_file():
        raise PartinrError(f"ckpt_path={path} does not exist; give the checkpoints/last.ckpt of a run directory")
    fingerprint, step = read_checkpoint(path)
    here = module.fingerprint()
    known = {name: SignalIdentity(**each) for name, each in fingerprint.pop(SIGNALS).items()}
    note = None
    missing = leaves(module.defaults())
    found, expected = (leaves(each) for each in (fingerprint, {**here, SIGNALS: None}))
    for key in {**expected, **found}:
        if key == SIGNALS:
            note = _check_signals(path, known, module.identities)
            continue
        then, now = (values.get(key, missing.get(key)) for values in (found, expected))
        if then != now:
            raise OtherRunError(_difference(key, then, now), path)
    if module.stop.max_steps is not None and step > module.stop.max_steps:
        raise PartinrError(
            f"ckpt_path={path} has {step} steps behind it, max_steps is {module.stop.max_steps}; give a larger one"
        )
    return note


def _difference(key: str, then: Any, now: Any) -> str:
    """What differs, in words; digests say nothing to a reader."""
    what, digest, _ = key.rpartition("_sha256")
    if digest:
        return f"its {what} are not those here: another partition, or a file that it reads has changed"
    return f"its {key} is {then}, here it is {now}"


def _check_signals(path: Path, then: Mapping[str, SignalIdentity], now: Mapping[str, SignalIdentity]) -> str | None:
    """Check that a module has the signals of a checkpoint. Signals that only one of them has show in the settings.

    Returns:
        as for :func:`check_checkpoint`.

    Raises:
        OtherRunError: a signal differs.
    """
    notes = []
    for name, signal in now.items():
        before = then.get(name)
        if before is None:
            continue
        if signal.file_sha256 is not None and signal.file_sha256 == before.file_sha256 and signal.cut != before.cut:
            problem = f"its {signal.name} is cut {before.cut}, here it is {signal.cut}"
            raise OtherRunError(problem, path)
        difference = signal.differs(before)
        if difference is None:
            raise OtherRunError(_another(before.name, signal.name), path, "the signal")
        if difference:
            notes.append(f"{signal.name or 'the signal'}: {difference}")
    more = f" (and {len(notes) - 1} more like it)" if len(notes) > 1 else ""
    return f"{notes[0]}{more}; the run continues anyway" if notes else None


def _another(then: str, now: str) -> str:
    if then != now:
        return f"it was fitted to {then}, and {now} is another signal"
    return f"the content of {now} is not what it was fitted to" if now else "it was fitted to another signal"


def _run_of(path: Path) -> Path | None:
    """The run directory of a checkpoint; None if it is in none."""
    folder = path.parent.parent
    return folder if (folder / "run.json").is_file() else None


def read_checkpoint(path: Path) -> tuple[dict[str, Any], int]:
    """Fingerprint and step of a checkpoint, after a check of every byte.

    Raises:
        OtherVersionError: another minor version saved it.
        PartinrError: the file is damaged or not a checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch ignores the checksums.
            if archive.testzip() is not None:
                raise ValueError("a checksum differs")
        content = torch.load(path, map_location="cpu", weights_only=True)
        state, version = content["partinr"], str(content.get(VERSION, "0.1"))
        found = dict(state["fingerprint"]), int(state["step"])
    except Exception as error:  # torch, zipfile and pickle raise a dozen types for other files
        raise PartinrError(
            f"ckpt_path={path} is no partinr checkpoint, or it is damaged; "
            "give the checkpoints/last.ckpt of a run directory"
        ) from error
    if version.split(".")[:2] != __version__.split(".")[:2] or SIGNALS not in found[0]:
        run = for_shell(_run_of(path) or "RUN_DIR")
        raise OtherVersionError(
            f"ckpt_path={path} was saved by partinr {version}, and this {__version__} cannot continue it; "
            f"repeat the run with partinr rerun {run}, or continue it with that version"
        )
    return found

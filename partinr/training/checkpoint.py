"""Writes and reads checkpoints as local files, and checks them against the run that will continue."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from partinr.base.errors import PartinrError
from partinr.base.version import __version__

if TYPE_CHECKING:
    from partinr.training.loop import TrainingLoop


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
            with Path(path).open("wb") as file:
                file.write(content.getbuffer())
        except OSError as error:
            error.filename = str(path)  # an error of a write has no file name
            raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint."""
        found: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=weights_only)
        return found


def check_checkpoint(path: Path, module: TrainingLoop) -> None:
    """Check that a module can continue from a checkpoint.

    Raises:
        PartinrError: the checkpoint is missing, damaged, from another run, or past the end of this one.
    """
    if not path.is_file():
        raise PartinrError(f"ckpt_path={path} does not exist; give the checkpoints/last.ckpt of a run directory")
    fingerprint, step = read_checkpoint(path)
    missing = _leaves(module.defaults())
    found, expected = (_leaves(each) for each in (fingerprint, module.fingerprint()))
    for key in {**expected, **found}:
        then, now = (values.get(key, missing.get(key)) for values in (found, expected))
        if then != now:
            raise PartinrError(
                f"ckpt_path={path} is from another run: its {key} is {then}, here it is {now}; "
                "continue it as it was with: partinr resume RUN_DIR"
            )
    if module.stop.max_steps is not None and step > module.stop.max_steps:
        raise PartinrError(
            f"ckpt_path={path} has {step} steps behind it, max_steps is {module.stop.max_steps}; give a larger one"
        )


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
    if version.split(".")[:2] != __version__.split(".")[:2]:
        raise OtherVersionError(
            f"ckpt_path={path} was saved by partinr {version}, and {__version__} cannot continue it; "
            "make the run anew with partinr rerun RUN_DIR, or continue it with that version"
        )
    return found


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of dictionaries as one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(_leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat

"""Label maps that were made once, found again by what they were made from."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from partinr.base.errors import PartinrError, PartinrWarning
from partinr.base.files import write_atomically
from partinr.partition.base import Partition, PartitionRule
from partinr.signals import Source


@dataclass(frozen=True)
class LabelCache:
    """A folder of label maps, one file a signal and rule.

    The name of a file is the hash of the signal's values and of everything else that the map depends on
    (:meth:`PartitionRule.fingerprint`), so nothing ever has to be declared out of date; a file may be deleted at any
    time. Several processes may share a folder.

    Attributes:
        folder: made when there is something to put into it.
    """

    folder: Path

    def partition(self, rule: PartitionRule, signal: Tensor, source: Source | None = None) -> Partition:
        """What ``rule(signal, source)`` gives, from the folder if it is there; ``seconds`` are those of the making.

        Raises:
            PartinrError: the rule cannot be carried out, or the folder cannot be written.
        """
        if not rule.cached:
            return rule(signal, source)
        file = self.folder / f"{self.key(rule, signal)}.npz"
        found = _read(file, tuple(signal.shape[:-1]))
        if found is not None:
            return rule.check(replace(found, free=rule.free))
        partition = rule(signal, source)
        labels = partition.labels.numpy()
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, labels=labels.astype(np.min_scalar_type(labels.max())), seconds=np.float64(partition.seconds)
        )
        try:
            write_atomically(file, buffer.getvalue())
        except OSError as error:
            raise PartinrError(
                f"cannot keep a label map in {self.folder}: {error.strerror}; "
                "choose another place with cache_dir=PATH, or none with cache_dir=null"
            ) from error
        return partition

    def has(self, rule: PartitionRule, signal: Tensor) -> bool:
        """Whether there is a label map for this rule and signal, sound or not."""
        return (self.folder / f"{self.key(rule, signal)}.npz").exists()

    def key(self, rule: PartitionRule, signal: Tensor) -> str:
        """Thirty-two hexadecimal digits of SHA-256 over signal and rule."""
        values = signal.detach().cpu().float().contiguous()
        content = hashlib.sha256(values.numpy().tobytes())
        about = {"shape": list(signal.shape), "rule": rule.fingerprint()}
        # An option that is neither plain nor a path is an error: two different arrays may be the same as text.
        content.update(json.dumps(about, sort_keys=True, default=os.fspath).encode())
        return content.hexdigest()[:32]


def carry_out(rule: PartitionRule, signal: Tensor, source: Source | None, cache: LabelCache | None) -> Partition:
    """What a rule gives, from the cache if there is one; what is to be noticed stays in the partition, unsaid.

    Raises:
        PartinrError: the rule cannot be carried out, or the cache cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartinrWarning)
        return rule(signal, source) if cache is None else cache.partition(rule, signal, source)


def _read(file: Path, shape: tuple[int, ...]) -> Partition | None:
    """What is in a file; None if it is not there, or is damaged, and is then made anew."""
    try:
        # From memory: of a damaged file NumPy would leave the handle open.
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as content:
            found = Partition(torch.from_numpy(content["labels"].astype(np.int64)), seconds=float(content["seconds"]))
    except Exception:  # zipfile, zlib, NumPy and Partition have half a dozen kinds for what may be wrong
        return None
    return found if found.shape == shape else None

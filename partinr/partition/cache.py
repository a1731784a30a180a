"""Makes partitions from rules, with a cache of label maps."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.partition.base import Partition, PartitionRule
from partinr.signals import Source


@door
def make(
    rule: PartitionRule, signal: Tensor, source: Source | None = None, cache: LabelCache | None = None
) -> Partition:
    """The partition that a rule makes of a signal, from the cache if possible.

    This function neither prints nor warns: notices are in the partition's ``notice``. A partition from the cache has
    the ``seconds`` of the original run.

    Args:
        rule: any rule. The cache is used for those that are :attr:`~PartitionRule.cached`.
        signal: float32 ``[*grid, C]`` in [0, 1].
        source: where the signal is from, for rules that look at more than its values.
        cache: cache of label maps; None for no cache.

    Raises:
        PartinrError: the rule fails on this signal, or the cache cannot be written.
    """
    if cache is None or not rule.cached:
        return rule.carry_out(signal, source)
    key = cache.key(rule, signal)
    if (found := cache.get(key, tuple(signal.shape[:-1]))) is not None:
        return rule.check(replace(found, free=rule.free))
    partition = rule.carry_out(signal, source)
    cache.put(key, partition)
    return partition


@dataclass(frozen=True)
class LabelCache:
    """A folder of label maps, one file for each signal and rule.

    The name of a file is the hash of everything that the map depends on (:meth:`PartitionRule.fingerprint` and the
    signal's values), so a file never becomes stale. Any file may be deleted at any time. Several processes may share
    the folder.

    Attributes:
        folder: created when the first map is kept.
    """

    folder: Path

    @classmethod
    def at(cls, folder: str | os.PathLike[str] | None) -> LabelCache | None:
        """The cache in a folder; None for None."""
        return None if folder is None else cls(Path(folder))

    def key(self, rule: PartitionRule, signal: Tensor) -> str:
        """The first 32 hexadecimal digits of a SHA-256 over signal and rule."""
        values = signal.detach().cpu().float().contiguous()
        content = hashlib.sha256(values.numpy().tobytes())
        about = {"shape": list(signal.shape), "rule": rule.fingerprint()}
        # An option that is neither plain nor a path raises an error: two different arrays may have the same text.
        content.update(json.dumps(about, sort_keys=True, default=os.fspath).encode())
        return content.hexdigest()[:32]

    def has(self, key: str) -> bool:
        """Whether the cache has a file for this key, valid or damaged."""
        return self._file(key).exists()

    def get(self, key: str, shape: tuple[int, ...]) -> Partition | None:
        """The partition for a key; None if it is missing, damaged, or of another shape."""
        try:
            # NumPy would leave the handle of a damaged file open, so it reads from memory.
            with np.load(io.BytesIO(self._file(key).read_bytes()), allow_pickle=False) as content:
                labels = torch.from_numpy(content["labels"].astype(np.int64))
                found = Partition(labels, seconds=float(content["seconds"]))
        except Exception:  # zipfile, zlib, NumPy and Partition raise many types for a damaged file
            return None
        return found if found.shape == shape else None

    def put(self, key: str, partition: Partition) -> None:
        """Store a partition for a key.

        Raises:
            PartinrError: the folder cannot be written.
        """
        labels = partition.labels.numpy()
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, labels=labels.astype(np.min_scalar_type(labels.max())), seconds=np.float64(partition.seconds)
        )
        try:
            write_atomically(self._file(key), buffer.getvalue())
        except OSError as error:
            raise PartinrError(
                f"cannot keep a label map in {self.folder}: {error.strerror}; "
                "choose another place with cache_dir=PATH, or none with cache_dir=null"
            ) from error

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

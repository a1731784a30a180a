"""LSUN: photographs of scenes, one LMDB database for each category."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.spec import READS, spec
from partinr.signals.decode import decoder
from partinr.signals.identity import Reading, SignalIdentity, block_means, samples_sha256
from partinr.signals.image import resized
from partinr.signals.image_data import Size
from partinr.signals.sets import Item, SignalSet
from partinr.signals.userfile import quoted

if TYPE_CHECKING:
    from torchvision import datasets
else:
    datasets = Later("torchvision.datasets")

_DOWNLOAD = "github.com/fyu/lsun has the script that downloads it (python3 download.py -c {category}); unpack both zips"


@dataclass(frozen=True)
class LsunItem(Item):
    """One photograph.

    Attributes:
        name: see :class:`~partinr.signals.Item`.
        folder: folder of the database.
        index: number of the photograph in the database.
        size: side of the square, in pixels.
        source: None, since it has no file of its own.
    """

    name: str
    folder: str
    index: int
    size: int
    source: None = None

    @door
    def load(self) -> Tensor:
        """The photograph: float32 ``[size, size, 3]`` in [0, 1].

        Raises:
            PartinrError: it cannot be read.
        """
        return LsunItem.read(self).values  # not of self: a subclass may read what it loads

    def read(self) -> Reading:
        """The photograph and its identity: the samples in the database.

        Raises:
            PartinrError: it cannot be read.
        """
        database = _database(self.folder, os.getpid())
        try:
            image = np.asarray(database[self.index][0])
        except Exception as error:  # the errors of Pillow and LMDB have no common base
            raise PartinrError(
                f"photograph {self.index} of {quoted(Path(self.folder))} cannot be read; download the database again"
            ) from error
        values = resized(torch.from_numpy(image.astype(np.float32) / 255), self.size, None)
        pixels = samples_sha256(image, f"to {self.size}")
        return Reading(values, SignalIdentity(self.name, pixels, block_means(values), decoder=decoder()))


@spec
class LsunData(SignalSet):
    """A category of LSUN (Yu et al., "LSUN", 2015), read by torchvision; its validation set is held out.

    Attributes:
        path: the folder with ``CATEGORY_train_lmdb`` and ``CATEGORY_val_lmdb``.
        category: such as ``church_outdoor`` or ``bedroom``.
        size: centre crop to a square and resize it to this side, in pixels.
        limit: use only the first photographs to learn from.
    """

    path: Annotated[str, READS]
    category: Annotated[str, Field(pattern=r"^[a-z_]+$")] = "church_outdoor"
    size: Size = 256
    limit: Annotated[int, Field(ge=1)] | None = None

    @property
    def title(self) -> str:
        """The category."""
        return self.category

    def train(self) -> Sequence[LsunItem]:
        """The training set, or the first ``limit`` of it.

        Raises:
            PartinrError: there is no such database, or the package that reads it is missing.
        """
        return self._items("train")[: self.limit]

    def val(self) -> Sequence[LsunItem]:
        """The validation set.

        Raises:
            PartinrError: there is no such database, or the package that reads it is missing.
        """
        return self._items("val")

    def members(self, field: str, folder: Path, data: SignalSet) -> list[Path]:
        """The two databases."""
        return [folder / f"{self.category}_{part}_lmdb" / "data.mdb" for part in ("train", "val")]

    def _items(self, part: Literal["train", "val"]) -> list[LsunItem]:
        folder = Path(os.path.abspath(os.path.expanduser(self.path))) / f"{self.category}_{part}_lmdb"
        if not (folder / "data.mdb").is_file():
            raise PartinrError(
                f"there is no LSUN database {quoted(folder / 'data.mdb')}; "
                f"{_DOWNLOAD.format(category=self.category)} into data.path"
            )
        count = len(_database(str(folder), os.getpid()))
        if count == 0:
            raise PartinrError(f"{quoted(folder)} is an LSUN database without photographs; download it again")
        return [LsunItem(f"{self.category}-{part}-{n}", str(folder), n, self.size) for n in range(count)]


@functools.lru_cache(maxsize=4)
def _database(folder: str, process: int) -> Any:
    """The database, opened once in each process: LMDB must not be used across a fork."""
    try:
        # torchvision keeps a list of keys in the working directory, and would trust one it finds there.
        with tempfile.TemporaryDirectory() as elsewhere, contextlib.chdir(elsewhere), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves that file open
            return datasets.LSUNClass(root=folder)
    except ImportError as error:
        raise PartinrError("data=lsun needs the package lmdb, which is not installed; pip install lmdb") from error
    except Exception as error:  # lmdb's errors cannot be named without importing it
        raise PartinrError(
            f"{quoted(Path(folder))} cannot be opened as an LSUN database ({' '.join(str(error).split())}); "
            "download it again"
        ) from error

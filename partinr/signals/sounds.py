"""Sets of sounds: the files of a folder, and generated ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import READS, spec
from partinr.signals.audio_data import AudioData
from partinr.signals.folder import Names, files_of, lot
from partinr.signals.identity import Reading
from partinr.signals.kind import SignalKind
from partinr.signals.kinds.audio import AudioKind
from partinr.signals.melody import GENERATED
from partinr.signals.sets import GeneratedSet, Item, SignalSet
from partinr.signals.sound import Listen, Mix, values_of
from partinr.signals.source import Source

SOUND_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".aiff")
"""Endings of the files of a folder that are sounds."""


@dataclass(frozen=True)
class SoundItem(Item):
    """One sound of a set.

    Attributes:
        name: see :class:`~partinr.signals.Item`.
        data: its file, and which part of it is used.
        source: the file.
    """

    name: str
    data: AudioData
    source: Source

    def load(self) -> Tensor:
        """The sound, see :meth:`AudioData.load`."""
        return SoundItem.read(self).values  # not of self: a subclass may read what it loads

    def read(self) -> Reading:
        """The sound and its identity, see :meth:`AudioData.read`."""
        return self.data.read()


@spec
class SoundsData(SignalSet):
    """All sounds of a folder, without its subfolders.

    Attributes:
        path: the folder.
        start: first second of each file that is used.
        seconds: how many seconds from there; None for all.
        rate: samples per second after resampling [Hz]; None for those of each file.
        channels: ``mono`` for the mean of all channels; ``as_is`` keeps them.
        normalise: stretch the loudest sample of each sound to the ends of [0, 1].
        limit: takes only the first sounds, this many; held-out ones do not count.
        val_fraction: holds out about this fraction, chosen by name.
    """

    path: Annotated[str, READS]
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    rate: Annotated[int, Field(ge=1)] | None = None
    channels: Mix = "as_is"
    normalise: bool = True
    limit: Annotated[int, Field(ge=1)] | None = None
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None

    @property
    def title(self) -> str:
        """The name of the folder."""
        return self._folder.name or "sounds"

    @property
    def _folder(self) -> Path:
        return Path(os.path.abspath(os.path.expanduser(self.path)))

    def members(self, field: str, folder: Path, data: SignalSet) -> list[Path]:
        """The sounds of the folder."""
        return files_of(folder, field, SOUND_ENDINGS, "sound", "audio")

    def train(self) -> Sequence[SoundItem]:
        """The sounds that are not held out.

        Raises:
            PartinrError: there is none, or no such folder.
        """
        return self._items()[0]

    def val(self) -> Sequence[SoundItem]:
        """The sounds that are held out.

        Raises:
            PartinrError: there is none although some should be held out, or no such folder.
        """
        return self._items()[1]

    def _items(self) -> tuple[list[SoundItem], list[SoundItem]]:
        """Both parts together, so that names are unique."""
        files, names = self.members("path", self._folder, self), Names()
        held = [file for file in files if self.val_fraction is not None and lot(file.name) < self.val_fraction]
        if self.val_fraction is not None and len(held) in (0, len(files)):
            how, other = ("all", "smaller") if held else ("none", "larger")
            said = f"data.val_fraction={self.val_fraction:g} holds out {how} of the {len(files)} sounds"
            raise PartinrError(f"{said}; give a {other} one")
        train = [file for file in files if file not in held]
        return self._read(train[: self.limit], names), self._read(held, names)

    def _read(self, files: Sequence[Path], names: Names) -> list[SoundItem]:
        part = {key: getattr(self, key) for key in ("start", "seconds", "rate", "channels", "normalise")}
        return [
            SoundItem(names.new(file.stem), AudioData(path=str(file), **part), Source(file.stem, str(file)))
            for file in files
        ]


@spec
class MelodiesData(GeneratedSet):
    """Generated sounds with silences in them.

    Attributes:
        name: ``melody`` or ``chirps``.
        seconds: length of each.
        rate: samples per second [Hz].
    """

    name: Literal["melody", "chirps"] = "melody"
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    rate: Annotated[int, Field(ge=1)] = 8000

    @property
    def title(self) -> str:
        """The name of the generator."""
        return self.name

    @property
    def kind(self) -> SignalKind:
        """A sound of this rate; the level of each is lost."""
        return AudioKind(rate=float(self.rate))

    def make(self, seed: tuple[int, int]) -> Tensor:
        """One sound: float32 ``[N, 1]`` in [0, 1]."""
        series, number = seed
        sound = GENERATED[self.name](self.seconds, self.rate, 2 * number + series)
        return values_of(sound, self.rate, Listen())[0]

"""One sound: a file, or a generated one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import READS, Unused, spec
from partinr.signals.identity import Reading, SignalIdentity
from partinr.signals.melody import GENERATED
from partinr.signals.sets import SingleSignal
from partinr.signals.sound import Listen, Mix, read_sound, values_of

RATE = 16_000
"""Samples per second of a generated sound, unless they are given."""

SECONDS = 4.0
"""Length of a generated sound, unless it is given."""


@spec
class AudioData(SingleSignal):
    """A sound, and which part of it is used.

    Attributes:
        path: a file that libsndfile reads, such as WAV, FLAC or MP3; None for the generated sound ``name``.
        name: of a generated sound, ``melody`` or ``chirps``, None for the melody; not used if ``path`` is given.
        start: first second that is used.
        seconds: how many seconds from there; None for all of a file.
        rate: samples per second after resampling [Hz]; None for those of the file.
        channels: ``mono`` for the mean of all channels; ``as_is`` keeps them.
        normalise: stretch the loudest sample to the ends of [0, 1], as the papers do. Files that are written have the
            original loudness.
        seed: of a generated sound.
    """

    path: Annotated[str | None, READS] = None
    name: Annotated[str | None, Unused(beside="path")] = None
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    rate: Annotated[int, Field(ge=1)] | None = None
    channels: Mix = "as_is"
    normalise: bool = True
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        """Check that there is a sound.

        Raises:
            PartinrError: there is no generated sound of that name.
        """
        if not self.path and self.title not in GENERATED:
            raise PartinrError(
                f"data.name={self.name} is no generated sound; give {' or '.join(GENERATED)}, or data.path=FILE"
            )

    @property
    def title(self) -> str:
        """The name of the file without its ending, or of the generated sound."""
        return Path(os.path.expanduser(self.path)).stem if self.path else self.name or "melody"

    def load(self) -> Tensor:
        """The sound: float32 ``[N, C]`` in [0, 1], where 0.5 is silence.

        Raises:
            PartinrError: the file cannot be read, or is no sound that can be fitted.
        """
        return AudioData.read(self).values  # not of self: a subclass may read what it loads

    def read(self) -> Reading:
        """The sound, its identity and its rate.

        Raises:
            PartinrError: as for :meth:`load`.
        """
        listen = Listen(self.start, self.seconds, self.rate, self.channels, self.normalise)
        if self.path:
            return read_sound(self.path, listen)
        rate = self.rate or RATE
        first, last = (round(each * rate) for each in (self.start, self.start + (self.seconds or SECONDS)))
        sound = GENERATED[self.title](last / rate, rate, self.seed)[first:last]
        values, kind = values_of(sound, rate, listen)
        return Reading(values, SignalIdentity.of(self.title, values), kind)

"""One film: a file, or a folder of frames."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import READS, spec
from partinr.signals.channels import Alpha, Channels
from partinr.signals.folder import image_files
from partinr.signals.identity import Reading
from partinr.signals.image_data import Size
from partinr.signals.kinds.video import VideoKind
from partinr.signals.sets import SignalSet, SingleSignal
from partinr.signals.video import Cut, FilmSource, read_video

_Number = Annotated[int, Field(ge=0)]


@spec
class VideoData(SingleSignal):
    """A film, and how it is cut.

    Attributes:
        path: a file that FFmpeg reads, such as an MP4, a WebM or a GIF, or a folder of frames.
        first: number of the first frame, from 0 on.
        frames: number of frames; None for all from there.
        stride: use every so many-th frame.
        crop: window in pixels of the film: top, left, height, width; None for all.
        size: cut the window to its centred square and resize it to this side, in pixels.
        max_side: shrink frames so that the longer side has at most this many pixels, keeping the aspect.
        rate: frames a second of what is used; None for what the file says, 25 of a folder.
        alpha: what to do with transparency: ``refuse`` it, composite over ``white`` or ``black``, ``drop`` it,
            or keep it as a further ``channel``.
        channels: convert to ``grey`` or ``rgb``; ``as_is`` keeps the channels of the film.
    """

    path: Annotated[str, READS]
    first: _Number = 0
    frames: Size | None = None
    stride: Size = 1
    crop: tuple[_Number, _Number, Size, Size] | None = None
    size: Size | None = None
    max_side: Size | None = None
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    alpha: Alpha = "refuse"
    channels: Channels = "as_is"

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            PartinrError: both ``size`` and ``max_side`` are given, or no path.
        """
        if self.size is not None and self.max_side is not None:
            raise PartinrError("data.size excludes data.max_side; give one or the other")
        if not self.path:
            raise PartinrError("data.path is empty; give the path of a film or of a folder of frames")

    @property
    def title(self) -> str:
        """The name of the file or folder."""
        return Path(os.path.abspath(os.path.expanduser(self.path))).stem

    @property
    def source(self) -> FilmSource:
        """The file or folder, and how its frames are cut."""
        return FilmSource(self.title, self.path, self.size, self.max_side, window=self.crop)

    def members(self, field: str, folder: Path, data: SignalSet) -> list[Path]:
        """The frames of a folder."""
        return image_files(folder, field)

    @property
    def _cut(self) -> Cut:
        given = (self.first, self.frames, self.stride, self.crop, self.size, self.max_side, self.alpha, self.channels)
        return Cut(*given)

    def load(self) -> Tensor:
        """The film: float32 ``[T, H, W, C]`` in [0, 1].

        Raises:
            PartinrError: there is no film that can be read, or its frames cannot be fitted together.
        """
        return VideoData.read(self).values

    def read(self) -> Reading:
        """The film and its identity: its file and the samples in it.

        Raises:
            PartinrError: as for :meth:`load`.
        """
        film = read_video(self.path, self._cut)
        return Reading(film.values, film.identity, VideoKind(rate=self.rate or film.rate))

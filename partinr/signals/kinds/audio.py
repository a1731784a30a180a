"""Sounds: samples over time."""

from __future__ import annotations

import wave
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.files import replacing
from partinr.base.later import of_extra
from partinr.base.section import field
from partinr.base.spec import spec
from partinr.metrics.sound import log_spectral_distance, si_snr, snr
from partinr.pictures.draw import partition_overlay
from partinr.pictures.sound import DECIBELS, sound_columns, sound_picture
from partinr.pictures.write import Depth
from partinr.signals.kind import Asked, SignalKind

_QUALITY = {"span": "Quality", "note": "At the end"}

MOST_CHANNELS = 8
"""Limit of channels in a FLAC file."""


@spec
class AudioKind(SignalKind):
    """A sound. Stored values of 0.5 are silence.

    Attributes:
        rate: samples per second [Hz].
    """

    name: ClassVar[str] = "audio"
    words: ClassVar[tuple[str, str]] = ("sound", "sounds")
    leads: ClassVar[str] = "snr"
    error_scaled: ClassVar[bool] = False
    levels: ClassVar[tuple[int, ...]] = (15, 20, 25, 30)
    axes: ClassVar[tuple[str, ...]] = ("time",)
    metrics: ClassVar[tuple[Mapping[str, Any], ...]] = (
        field("snr", "SNR dB", "metrics.snr", better="high", short="SNR dB", **_QUALITY),
        field("si_snr", "SI-SNR dB", "metrics.si_snr", better="high", short="SI-SNR dB", **_QUALITY),
        field("lsd", "LSD", "metrics.lsd", "fixed:3", better="low", short="LSD", **_QUALITY),
    )
    endings: ClassVar[tuple[str, ...]] = (".wav", ".flac")
    kept: ClassVar[str] = ".wav"
    media: ClassVar[str] = "audio"
    sides: ClassVar[tuple[str, ...]] = ("the number of samples",)
    most_samples: ClassVar[int] = 2**31

    low: float = -1.0
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def size(self, shape: Sequence[int]) -> str:
        """See :meth:`SignalKind.size`."""
        return f"{shape[0] / self.rate:.2f} s at {self.rate:,.0f} Hz"

    def legend(self, shape: Sequence[int]) -> str:
        """See :meth:`SignalKind.legend`."""
        return f"0 to {shape[0] / self.rate:.3g} s; frequencies from 0 to {self.rate / 2000:.3g} kHz, {DECIBELS:.0f} dB"

    def measure(self, reconstruction: Tensor, signal: Tensor) -> dict[str, float]:
        """SNR, SI-SNR and log-spectral distance, see :meth:`SignalKind.measure`."""
        measures = (snr, si_snr, log_spectral_distance)
        keys = (each["key"] for each in self.metrics)
        return {key: each(reconstruction, signal) for key, each in zip(keys, measures, strict=True)}

    def picture(self, values: Any) -> NDArray[Any]:
        """Waveform and spectrogram, see :meth:`SignalKind.picture`."""
        return sound_picture(2 * np.asarray(values, np.float32) - 1)

    def label_plane(self, labels: Any) -> NDArray[np.integer[Any]]:
        """See :meth:`SignalKind.label_plane`."""
        return sound_columns(np.asarray(labels))

    def partition_picture(self, labels: Any, values: Any) -> NDArray[Any]:
        """See :meth:`SignalKind.partition_picture`; the tints are faint, so that the spectrogram stays readable."""
        return partition_overlay(self.picture(values), self.label_plane(labels), alpha=0.25)

    def error_picture(self, signal: Any, reconstruction: Any) -> NDArray[Any]:
        """Waveform and spectrogram of the error, on the scales of the signal's."""
        return sound_picture(2 * (np.asarray(reconstruction, np.float32) - np.asarray(signal, np.float32)))

    def shape_for(self, grid: Sequence[int | Fraction], asked: Asked) -> list[int]:
        """See :meth:`SignalKind.shape_for`.

        Raises:
            PartinrError: the resolution is no sampling rate, or is given twice.
        """
        if asked.rate is None:
            return super().shape_for(grid, asked)
        if asked.scale is not None or asked.size is not None:
            raise PartinrError("--rate, --scale and --size all say how many samples there are; give one of them")
        if not 1 <= asked.rate <= 2**31:
            raise PartinrError(f"--rate {asked.rate:g} is no sampling rate; give one in Hz, such as 44100")
        return [max(1, round(grid[0] * Fraction(asked.rate) / Fraction(self.rate)))]

    def resampled(self, grid: Sequence[int | Fraction], shape: Sequence[int], asked: Asked) -> Self:
        """The sound with its new rate, see :meth:`SignalKind.resampled`."""
        return replace(self, rate=float(asked.rate or self.rate * shape[0] / grid[0]))

    def write(self, path: Path, values: Iterable[NDArray[np.float32]], shape: Sequence[int], depth: Depth) -> None:
        """Write 16-bit WAV or FLAC as loud as the original, see :meth:`SignalKind.write`.

        Raises:
            PartinrError: FLAC needs a package that is missing, or has too many channels.
        """
        ending = path.suffix.lower()
        if ending not in self.endings:
            super().write(path, values, shape, depth)
            return
        rate, channels = max(1, round(self.rate)), shape[-1]
        if ending == ".flac" and channels > MOST_CHANNELS:
            raise PartinrError(f"{path} cannot hold {channels} channels; give a file that ends in .wav or .npy")
        pcm = (np.rint(self.physical(each.clip(0, 1)).clip(-1, 1) * 32767).astype("<i2") for each in values)
        if ending == ".flac":
            soundfile = of_extra("soundfile", "audio", "FLAC is written")
            with (
                replacing(path) as file,
                soundfile.SoundFile(file, "w", rate, channels, format="FLAC", subtype="PCM_16") as sound,
            ):
                for block in pcm:
                    sound.write(block)
            return
        with replacing(path) as file, wave.open(file, "wb") as sound:
            sound.setparams((channels, 2, rate, shape[0], "NONE", ""))
            for block in pcm:
                sound.writeframesraw(block.tobytes())

"""Reads sounds: WAV, FLAC, MP3, Ogg and what else libsndfile knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.base.later import of_extra
from partinr.signals.identity import Reading, SignalIdentity, block_means, file_sha256, samples_sha256
from partinr.signals.kinds.audio import AudioKind
from partinr.signals.userfile import open_file, quoted

Mix = Literal["as_is", "mono"]
"""What to make of the channels of a sound: leave them, or take their mean."""


@dataclass(frozen=True)
class Listen:
    """What is used of a sound.

    Attributes:
        start: first second that is used.
        seconds: how many seconds from there; None for all.
        rate: samples per second after resampling; None for those of the sound.
        channels: ``mono`` for the mean of all channels.
        normalise: stretch the loudest sample to the ends of [0, 1].
    """

    start: float = 0.0
    seconds: float | None = None
    rate: int | None = None
    channels: Mix = "as_is"
    normalise: bool = True


def read_sound(path: str, listen: Listen) -> Reading:
    """A sound from a file: values float32 ``[N, C]`` in [0, 1], where 0.5 is silence.

    Raises:
        PartinrError: the file is no sound, has a NaN, or nothing but silence in the part that is used; or a package of
            the extra ``audio`` is missing.
    """
    file = Path(os.path.expanduser(path))
    samples, rate, decoder = _samples(file, listen)
    try:
        values, kind = values_of(samples, rate, listen)
    except PartinrError as error:
        raise PartinrError(f"{quoted(file)}: {error}") from error
    about = f"{vars(listen)}"
    digests = samples_sha256(samples, about), block_means(values), file_sha256(file)
    return Reading(values, SignalIdentity(file.name, *digests, about, decoder), kind)


def _samples(file: Path, listen: Listen) -> tuple[NDArray[np.float32], int, str]:
    """The part of a file that is used, ``[N, C]`` as stored, its rate, and the program that read it."""
    soundfile: Any = of_extra("soundfile", "audio", "sounds are read")
    with open_file(file, "a sound") as stream:
        try:
            with soundfile.SoundFile(stream) as sound:
                rate, whole = sound.samplerate, sound.frames
                start = round(listen.start * rate)
                count = whole - start if listen.seconds is None else min(whole - start, round(listen.seconds * rate))
                if count < 1:
                    raise PartinrError(
                        f"{quoted(file)} has {whole / rate:.3g} s, and nothing from data.start={listen.start:g} on; "
                        "give an earlier data.start, or more data.seconds"
                    )
                sound.seek(start)
                samples: NDArray[np.float32] = sound.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise PartinrError(
                f"{quoted(file)} is no sound that can be read ({error.error_string.rstrip('.')}); give WAV, FLAC or MP3"
            ) from error
    return samples, rate, f"libsndfile {soundfile.__libsndfile_version__}"


def values_of(samples: NDArray[np.floating], rate: int, listen: Listen) -> tuple[torch.Tensor, AudioKind]:
    """Samples as a signal: mixed, resampled and scaled.

    Args:
        samples: ``[N, C]``, in [-1, 1] unless they are normalised.
        rate: samples per second.
        listen: what is used of them; ``start`` and ``seconds`` are ignored.

    Returns:
        float32 ``[N, C]`` in [0, 1], and its kind, which restores the loudness.

    Raises:
        PartinrError: a sample is NaN or out of range, or all are 0.
    """
    wrong = int((~np.isfinite(samples)).sum())
    if wrong:
        raise PartinrError(f"{wrong} of {samples.size} samples are NaN or infinite; repair the sound")
    if listen.channels == "mono":
        samples = samples.mean(axis=1, keepdims=True)
    if listen.rate is not None and listen.rate != rate:
        soxr: Any = of_extra("soxr", "audio", "sounds are resampled")
        samples, rate = soxr.resample(samples, rate, listen.rate), listen.rate
    if samples.shape[0] < 1:
        raise PartinrError(f"nothing is left at data.rate={rate}; give a higher one")
    peak = float(np.abs(samples).max())
    if peak == 0:
        raise PartinrError("the part that is used is silent; give another data.start or data.seconds")
    if not listen.normalise and peak > 1:
        raise PartinrError(f"samples reach {peak:.4g}, beyond 1; give data.normalise=true")
    loudest = peak if listen.normalise else 1.0
    values = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    scaled = (values / (2 * loudest) + 0.5).clamp(0, 1)
    return scaled, AudioKind(rate=float(rate), low=-loudest, high=loudest)

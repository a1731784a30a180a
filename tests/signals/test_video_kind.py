"""What the kind of films answers."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.signals import film, load_video
from partinr.signals.film import FilmData
from partinr.signals.kind import Asked
from partinr.signals.kinds import VideoKind, kind_of
from partinr.signals.video import Cut, read_video
from partinr.signals.video_data import VideoData


def test_a_rate_changes_frames_and_a_scale_pixels() -> None:
    kind = VideoKind(rate=24.0)
    assert kind_of(kind.plain(), 3) == kind
    assert kind.shape_for([72, 48, 64], Asked()) == [72, 48, 64]
    assert kind.shape_for([72, 48, 64], Asked(scale=1.5)) == [72, 72, 96]
    asked = Asked(rate=30.0, size=(10, 20))
    assert kind.shape_for([72, 48, 64], asked) == [90, 10, 20]
    assert kind.resampled([72, 48, 64], [90, 10, 20], asked).rate == 30.0
    # Half a second of the film.
    assert kind.shape_for([Fraction(12), Fraction(48), Fraction(64)], Asked(rate=48.0)) == [24, 48, 64]
    for wrong in (Asked(rate=0.0), Asked(rate=math.nan), Asked(spacing=1.0)):
        with pytest.raises(PartinrError, match=r"--(rate|spacing)"):
            kind.shape_for([72, 48, 64], wrong)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_every_film_is_measured_drawn_and_written(tmp_path: Path, channels: int) -> None:
    kind, values = VideoKind(rate=5.0), film(4, 10, 14, channels, shots=2)
    worse = values.clone()
    worse[2] = (worse[2] + 0.2).clamp(0, 1)
    assert kind.measure(worse, values)["psnr_worst_frame"] == kind.final(worse, values)["psnr_of_frames"][2] < 30
    worse[1, 0, 0, 0] = math.nan
    assert math.isnan(kind.measure(worse, values)["psnr_worst_frame"])
    labels = torch.zeros(4, 10, 14, dtype=torch.int64)
    labels[2:] = 1
    picture = kind.picture(values)
    assert picture.shape[2] == (1 if channels == 1 else 3)
    assert kind.label_plane(labels).shape == picture.shape[:2] == kind.error_picture(values, worse).shape[:2]
    assert kind.partition_picture(labels, values).shape[2] == 3
    kind.write(tmp_path / "film.mp4", [values[:1].numpy(), values[1:].numpy()], values.shape, "float")
    found = read_video(tmp_path / "film.mp4", Cut(channels="grey"))
    assert (found.rate, found.values.shape[:3]) == (5.0, (4, 10, 14))
    kind.write(tmp_path / "film.npy", [values.numpy()], values.shape, "float")
    assert np.array_equal(np.load(tmp_path / "film.npy"), values.numpy())


def test_sets_say_the_rate(tmp_path: Path) -> None:
    data = FilmData(frames=3, height=8, width=8, shots=1, rate=12.0)
    reading = data.read()
    assert reading.kind == VideoKind(rate=12.0)
    VideoKind(rate=12.0).write(tmp_path / "a.mp4", [reading.values.numpy()], reading.values.shape, "float")
    assert VideoData(path=str(tmp_path / "a.mp4"), stride=2).read().kind == VideoKind(rate=6.0)
    assert VideoData(path=str(tmp_path / "a.mp4"), rate=50.0).read().kind == VideoKind(rate=50.0)
    assert load_video(tmp_path / "a.mp4").shape == reading.values.shape

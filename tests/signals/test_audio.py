"""Sounds: files, generated ones, and the way through a run, its files and its pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from partinr.base.errors import PartinrError
from partinr.signals import AudioData, MelodiesData, SoundsData
from partinr.signals.kind import Asked
from partinr.signals.kinds import kind_of
from partinr.signals.kinds.audio import AudioKind

RATE = 8000


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """A second of two tones, as loud as half of the scale."""
    time = np.arange(RATE) / RATE
    path = tmp_path / "tones.flac"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * time[:, None] * [440, 880]), RATE)
    return path


def test_a_file_is_stretched_and_written_as_loud_as_it_was(stereo: Path, tmp_path: Path) -> None:
    values, identity, kind, _ = AudioData(path=str(stereo)).read()
    assert (values.shape, values.dtype) == ((RATE, 2), torch.float32)
    assert (float(values.min()), float(values.max())) == pytest.approx((0, 1), abs=1e-4)
    assert identity.name == "tones.flac"
    assert isinstance(kind, AudioKind)
    assert kind_of(kind.plain(), 1) == kind
    for ending in (".wav", ".flac"):
        kind.write(path := tmp_path / f"x{ending}", [values[:100].numpy(), values[100:].numpy()], values.shape, "float")
        read, rate = soundfile.read(path)
        assert rate == RATE
        assert np.abs(read - soundfile.read(stereo)[0]).max() <= 2 / 32768


def test_the_part_the_rate_and_the_channels_that_are_used(stereo: Path) -> None:
    values, _, kind, _ = AudioData(path=str(stereo), start=0.25, seconds=0.5, rate=4000, channels="mono").read()
    assert values.shape == (2000, 1)
    assert kind is not None
    assert kind.size([2000]) == "0.50 s at 4,000 Hz"
    whole = AudioData(name="chirps", seconds=0.4, rate=RATE, normalise=False).load()
    part = AudioData(name="chirps", start=0.1, seconds=0.3, rate=RATE, normalise=False).load()
    assert torch.equal(whole[800:], part)


@pytest.mark.parametrize("name", ["melody", "chirps"])
def test_generated_sounds_have_silence_in_them(name: str) -> None:
    values = AudioData(name=name, seconds=2.0, rate=RATE).load()
    assert float((values == 0.5).float().mean()) > 0.05
    assert torch.equal(values[:100], AudioData(name=name, seconds=2.0, rate=RATE).load()[:100])


def test_bad_sounds_get_one_line(tmp_path: Path, stereo: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.1]), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "loud.wav", np.array([0.0, 1.5]), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "silent.wav", np.zeros(9), RATE)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    for name, options, said in (
        ("text.wav", {}, "is no sound that can be read"),
        ("nan.wav", {}, "1 of 3 samples are NaN"),
        ("loud.wav", {"normalise": False}, "samples reach 1.5, beyond 1; give data.normalise=true"),
        ("silent.wav", {}, "is silent"),
        ("empty.wav", {}, "nothing from data.start=0 on"),
        ("tones.flac", {"start": 2.0}, "has 1 s, and nothing from data.start=2 on"),
        ("gone.wav", {}, "no such file"),
    ):
        with pytest.raises(PartinrError, match=said):
            AudioData(path=str(tmp_path / name), **options).read()
    with pytest.raises(PartinrError, match=r"data\.name=organ is no generated sound; give chirps or melody"):
        AudioData(name="organ")


def test_a_missing_package_is_named(stereo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(PartinrError, match=r"pip install 'partinr\[audio\]'"):
        AudioData(path=str(stereo)).read()


def test_a_rate_is_a_resolution() -> None:
    kind = AudioKind(rate=8000.0)
    assert kind.shape_for([4000], Asked(rate=44100)) == [22050]
    assert kind.resampled([4000], [22050], Asked(rate=44100)).rate == 44100
    assert kind.resampled([4000], [8000], Asked(scale=2)).rate == 16000
    for asked, said in ((Asked(rate=1, scale=2), "give one of them"), (Asked(rate=-1), "no sampling rate")):
        with pytest.raises(PartinrError, match=said):
            kind.shape_for([4000], asked)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_sound_can_be_drawn(channels: int) -> None:
    kind, values = AudioKind(rate=8000.0), torch.rand(300, channels)
    assert kind.picture(values).shape == kind.error_picture(values, values).shape == (480, 1024, 3)
    labels = torch.arange(300) // 100
    assert sorted(set(kind.label_plane(labels)[0].tolist())) == [0, 1, 2]
    assert kind.partition_picture(labels, values).shape == (480, 1024, 3)
    assert set(kind.measure(values, values)) == {"snr", "si_snr", "lsd"}


def test_a_folder_is_a_set_of_sounds(stereo: Path, tmp_path: Path) -> None:
    for name in ("b10.wav", "b9.wav"):
        soundfile.write(tmp_path / name, np.sin(np.arange(400) / 9), RATE)
    (tmp_path / "notes.txt").write_text("no sound")
    whole = SoundsData(path=str(tmp_path), seconds=0.01)
    assert [item.name for item in whole.train()] == ["b9", "b10", "tones"]
    assert [tuple(item.load().shape) for item in whole.train()] == [(80, 1), (80, 1), (80, 2)]
    parts = SoundsData(path=str(tmp_path), val_fraction=0.5)
    assert {item.name for item in (*parts.train(), *parts.val())} == {"b9", "b10", "tones"}
    assert 0 < len(parts.val()) < 3
    with pytest.raises(PartinrError, match="for one sound take data=audio"):
        SoundsData(path=str(stereo)).train()
    (tmp_path / "empty").mkdir()
    with pytest.raises(PartinrError, match="no sound among the 0 files"):
        SoundsData(path=str(tmp_path / "empty")).train()


def test_generated_sounds_are_held_out_apart() -> None:
    data = MelodiesData(train_items=2, val_items=1, seconds=0.1)
    first, second, held = (item.read() for item in (*data.train(), *data.val()))
    assert first.kind == AudioKind(rate=8000.0)
    assert not torch.equal(first.values, second.values)
    assert not torch.equal(first.values, held.values)

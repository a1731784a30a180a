"""Signals as a caller has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import soundfile
import torch
import trimesh
from PIL import Image

import partinr
from partinr.base.errors import PartinrError
from partinr.partition import Grid
from partinr.signals import AudioData, SdfData, SingleSignal, VideoData, VolumeData, signal_from

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
IMAGE = torch.from_numpy(PIXELS) / 255


def test_a_file_an_array_and_a_tensor_are_the_same_signal(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    frozen = PIXELS[::-1][::-1]
    frozen.flags.writeable = False
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), frozen, torch.from_numpy(PIXELS), IMAGE):
        assert torch.equal(signal_from(given, 2), IMAGE)
    for rounded in (PIXELS.astype(np.uint16) * 257, PIXELS / 255, IMAGE.double().requires_grad_()):
        found = signal_from(rounded, 2)
        assert (found.dtype, found.requires_grad) == (torch.float32, False)
        torch.testing.assert_close(found, IMAGE)


@pytest.mark.parametrize(
    ("given", "axes", "shape"),
    [
        (PIXELS[..., 0], None, (4, 6, 1)),
        (IMAGE[..., 0], 2, (4, 6, 1)),
        (IMAGE[0], None, (6, 3)),
        (IMAGE[0, :, 0], 1, (6, 1)),
        (IMAGE[None], 3, (1, 4, 6, 3)),
        (IMAGE, 3, (4, 6, 3, 1)),
    ],
)
def test_the_axis_of_one_channel_may_be_left_out(given: Any, axes: int | None, shape: tuple[int, ...]) -> None:
    assert signal_from(given, axes).shape == shape


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (7, "of type int; give a file's path, a NumPy array or a tensor"),
        (IMAGE > 0.5, "bool values; give floats in [0, 1], or uint8"),
        ((PIXELS > 99).astype(np.uint8), "uint8 values of 0 and 1, such as a mask"),
        (IMAGE * 255, "must stay in [0, 1]"),
        (IMAGE.permute(2, 0, 1), "the channels go last"),
        (IMAGE[:0], "give samples on 2 axes"),
        (IMAGE[None], "give samples on 2 axes"),
    ],
)
def test_what_is_no_signal_is_one_line(given: Any, said: str) -> None:
    with pytest.raises(PartinrError) as caught:
        signal_from(given, 2)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound, a film, a still GIF, a volume and a mesh in the current folder."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.sin(np.arange(4000) / 9) * (np.arange(4000) < 2000), 8000)
    frames = [Image.fromarray(np.roll(PIXELS.repeat(4, 0).repeat(4, 1), by, 1)) for by in range(3)]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    frames[0].save("still.gif")
    nibabel.save(nibabel.Nifti1Image(PIXELS[..., :2].astype(np.float32), np.eye(4)), "a.nii.gz")
    trimesh.creation.box((1, 2, 3)).export("a.ply")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("name", "data", "axes"),
    [
        ("a.wav", AudioData, 1),
        ("film.gif", VideoData, 3),
        ("a.nii.gz", VolumeData, 3),
        pytest.param("a.ply", SdfData, 3, marks=pytest.mark.slow),
    ],
)
def test_the_ending_says_how_a_file_is_read(name: str, data: type[SingleSignal], axes: int) -> None:
    found = signal_from(name, axes)
    assert torch.equal(found, data(path=name).load())  # type: ignore[call-arg]
    assert found.ndim == axes + 1


@pytest.mark.usefixtures("files")
def test_a_file_of_other_axes_or_an_unknown_ending_is_one_line() -> None:
    assert signal_from("still.gif").ndim == signal_from("still.gif", 2).ndim == 3
    Path("a.aac").write_bytes(b"no picture")
    for name, axes, said in (
        ("a.wav", 2, "'a.wav' has the shape [4000, 1] (sound); give a file with samples on 2 axes"),
        ("a.aac", 1, "ends in one such as .png, .wav, .mp4, .nii, .obj"),
        ("b.aac", 1, "no such file: 'b.aac'"),
    ):
        with pytest.raises(PartinrError) as caught:
            signal_from(name, axes)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("files")
def test_a_sound_is_partitioned_and_fitted_by_its_name() -> None:
    partition = Grid(regions=2)("a.wav")
    model = partinr.PiecewiseINR(partition, partinr.backbones.Siren(hidden_features=8), channels=1)
    result = partinr.fit(model, "a.wav", steps=3, progress=False)
    assert result.steps == 3

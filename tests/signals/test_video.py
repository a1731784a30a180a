"""Films from files and folders, and the generated one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.metrics import psnr
from partinr.pictures.film import write_film
from partinr.signals import film, load_video
from partinr.signals.channels import converted
from partinr.signals.film import shot_bounds
from partinr.signals.video import Cut, FilmSource, read_video
from partinr.signals.video_data import VideoData

FILM = film(8, 12, 20, shots=2)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "shapes.mp4"
    write_film(path, (8, 12, 20), 12.5, [FILM[:3].numpy(), FILM[3:].numpy()])
    return path


def frames_in(folder: Path, sizes: list[tuple[int, int]], mode: str = "RGB") -> Path:
    for number, (height, width) in enumerate(sizes):
        Image.new(mode, (width, height), 10 * (number + 1)).save(folder / f"{number}.png")
    return folder


def test_the_film_has_shots_and_is_the_same_every_time() -> None:
    assert torch.equal(FILM, film(8, 12, 20, shots=2))
    changes = (FILM[1:] - FILM[:-1]).square().mean(dim=(1, 2, 3))
    assert int(changes.argmax()) + 1 == shot_bounds(8, 2)[1]
    assert film(3, 5, 4, 1, shots=1).shape == (3, 5, 4, 1)


def test_a_file_is_read_as_it_was_written(mp4: Path) -> None:
    found = read_video(mp4)
    assert found.rate == 12.5
    assert found.values.shape == FILM.shape
    # Colours have half the resolution of brightness in the file.
    assert psnr(converted(found.values, "grey"), converted(FILM, "grey")) > 30
    again = read_video(mp4, Cut(first=1, frames=3, stride=2, crop=(2, 4, 8, 10), channels="grey"))
    assert again.values.shape == (3, 8, 10, 1)
    assert again.rate == 6.25
    whole = load_video(mp4, Cut(channels="grey"))
    assert torch.equal(again.values, whole[1:7:2, 2:10, 4:14])
    assert load_video(mp4, Cut(size=6)).shape == (8, 6, 6, 3)
    assert again.identity.pixels_sha256 != found.identity.pixels_sha256
    assert again.identity.file_sha256 == found.identity.file_sha256


def test_a_film_of_one_channel_and_odd_sides_keeps_its_size(tmp_path: Path) -> None:
    grey = film(4, 9, 15, 1, shots=1)
    write_film(tmp_path / "odd.mp4", (4, 9, 15), 30, [grey.numpy()])
    found = load_video(tmp_path / "odd.mp4", Cut(channels="grey"))
    assert psnr(found, grey) > 35


def test_a_gif_and_a_folder_are_films(tmp_path: Path) -> None:
    pictures = [Image.fromarray((each.numpy() * 255).astype(np.uint8)) for each in FILM]
    pictures[0].save(tmp_path / "shapes.gif", save_all=True, append_images=pictures[1:], duration=100)
    found = read_video(tmp_path / "shapes.gif")
    assert (found.rate, found.values.shape) == (10, FILM.shape)
    folder = frames_in(tmp_path, [(4, 6)] * 11, "L")
    found = read_video(folder)
    assert (found.rate, found.values.shape) == (25, (11, 4, 6, 1))
    # 10 comes after 9.
    assert bool((found.values[1:, 0, 0, 0] > found.values[:-1, 0, 0, 0]).all())
    data = VideoData(path=str(folder))
    assert len(data.members("path", folder, data)) == 11


def test_masks_are_cut_like_frames() -> None:
    labels = torch.arange(8 * 10).reshape(8, 10)
    source = FilmSource("film", size=3, window=(1, 2, 6, 8))
    assert source.cut_labels(labels).tolist() == labels[2:7:2, 4:9:2].tolist()


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (Cut(frames=9), "data.frames=8"),
        (Cut(first=8), "8 frames, none from data.first=8"),
        (Cut(first=3, stride=2, frames=9), "data.frames=3"),
        (Cut(crop=(0, 0, 13, 4)), "12×20"),
    ],
)
def test_frames_that_are_not_there(mp4: Path, cut: Cut, words: str) -> None:
    with pytest.raises(PartinrError, match=words):
        read_video(mp4, cut)


def test_files_that_are_no_films(mp4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile: Any = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    (tmp_path / "b.mp4").write_bytes(mp4.read_bytes()[:700])
    (tmp_path / "c.txt").write_text("no film\n" * 100)
    (tmp_path / "d.mp4").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(tmp_path / "e.png")
    folder = tmp_path / "f"
    folder.mkdir()
    frames_in(folder, [(4, 6), (4, 5)])
    faults = {
        "a.wav": "no video stream .but audio",
        "b.mp4": "not a film",
        "c.txt": "not a film",
        "d.mp4": "not a film",
        "e.png": "data=image",
        "f": "4×6 and of 4×5",
        "g.mp4": "no such file",
    }
    for name, words in faults.items():
        with pytest.raises(PartinrError, match=words):
            read_video(tmp_path / name)
    monkeypatch.setattr("partinr.signals.video.MAX_PIXELS", 500)
    with pytest.raises(PartinrError, match=r"data\.stride"):
        read_video(mp4)

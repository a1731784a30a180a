"""Refusals of files and of their options: what they advise is done, and works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageOps
from scipy.io import savemat

from partinr.base.errors import PartinrError
from partinr.partition import Mask
from partinr.signals import FolderData, ImageData

RNG = np.random.default_rng(0)
LABELS = np.arange(192).reshape(12, 16) // 48


def image(**options: Any) -> None:
    ImageData(**options).load()


def folder(**options: Any) -> None:
    data = FolderData(**options)
    assert all(item.load().ndim == 3 for item in (*data.train(), *data.val()))


def mask(**options: Any) -> None:
    photo = ImageData(path="photo.png")
    Mask(**options).carry_out(photo.load(), photo.source)


@pytest.fixture(autouse=True)
def _files(mat_is_read_here: None) -> None:
    """Good and bad files, in the folder that the test runs in."""
    photo = Image.fromarray(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    photo.save("photo.png")
    photo.convert("CMYK").save("cmyk.tif")
    photo.save("pages.tif", save_all=True, append_images=[photo])
    photo.convert("LAB").save("lab.tif")
    Path("text.png").write_text("hello")
    Image.fromarray(RNG.integers(0, 256, (12, 16, 4), dtype=np.uint8)).save("clear.png")
    Path("photos").mkdir()
    for name in ("a", "b", "c"):
        photo.save(f"photos/{name}.png")
    Path("list.txt").write_text("a.pgn\n")
    np.save("labels.npy", LABELS)
    np.save("stack.npy", np.stack([label == LABELS for label in range(4)], -1))
    np.save("halves.npy", LABELS / 2)
    np.save("photo.npy", np.asarray(photo).astype(int) @ [65_536, 256, 1])
    savemat("maps.mat", {"one": LABELS, "two": LABELS > 1})
    savemat("map.mat", {"one": LABELS})
    Path("maps").mkdir()
    Image.fromarray(LABELS.astype(np.uint8)).save("maps/photo.png")
    np.save("maps/photo.npy", LABELS)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(LABELS).astype(np.uint8)).save("upright.png")
    Image.fromarray(LABELS.astype(np.uint8)).save("turned.png", exif=exif)


def again(path: str, change: Callable[[Image.Image], Image.Image]) -> None:
    """Save a picture as its refusal says."""
    with Image.open(path) as opened:
        changed = change(opened.copy())
    changed.save(path)


def taken_as_an_image() -> dict[str, Any]:
    """Take the file as the refusal says, and give the folder instead."""
    image(path="photo.png")
    return {"path": "photos"}


# What is refused, and what is done to the file where the advice is not about an option.
REFUSED: dict[str, tuple[Callable[..., None], dict[str, Any], Callable[[], Any] | None]] = {
    "another name": (image, {"path": "foto.png"}, None),
    "a folder": (image, {"path": "photos"}, lambda: {"path": "photos/a.png"}),
    "transparency": (image, {"path": "clear.png"}, None),
    "CMYK": (image, {"path": "cmyk.tif"}, lambda: again("cmyk.tif", lambda opened: opened.convert("RGB"))),
    "pages": (image, {"path": "pages.tif"}, lambda: again("pages.tif", lambda opened: opened)),
    "LAB": (image, {"path": "lab.tif"}, lambda: Image.new("RGB", (3, 3)).save("lab.tif")),
    "text": (image, {"path": "text.png"}, lambda: Image.new("RGB", (3, 3)).save("text.png")),
    "bits of 8": (image, {"path": "photo.png", "bits": 12}, None),
    "two sizes": (image, {"path": "photo.png", "size": 8, "max_side": 8}, lambda: {"size": None}),
    "a file for a folder": (folder, {"path": "photo.png"}, taken_as_an_image),
    "another folder": (folder, {"path": "photoz"}, lambda: {"path": "photos"}),
    "no image held out": (folder, {"path": "photos", "val_fraction": 0.001}, lambda: {"val_fraction": 0.4}),
    "crops without a size": (folder, {"path": "photos", "crops": 2}, lambda: {"size": 8}),
    "a size of no crops": (folder, {"path": "photos", "crop_size": 8}, None),
    "too large crops": (folder, {"path": "photos", "crops": 2, "crop_size": 99}, lambda: {"crop_size": 9}),
    "another name in a list": (folder, {"path": "photos", "val_list": "list.txt"},
                               lambda: Path("list.txt").write_text("a.png\n") and None),
    "a map of another name": (mask, {"path": "labls.npy"}, None),
    "a stack": (mask, {"path": "stack.npy"}, None),
    "no stack": (mask, {"path": "labels.npy", "stack": "first"}, None),
    "a tolerance of numbers": (mask, {"path": "labels.npy", "tolerance": 3}, None),
    "a key of numbers": (mask, {"path": "labels.npy", "key": "one"}, None),
    "several variables": (mask, {"path": "maps.mat"}, None),
    "another variable": (mask, {"path": "maps.mat", "key": "three"}, lambda: {"key": "two"}),
    "another annotator": (mask, {"path": "map.mat", "annotator": 1}, None),
    "parts of labels": (mask, {"path": "halves.npy"}, lambda: np.save("halves.npy", LABELS)),
    "several maps": (mask, {"path": "maps"}, None),
    "a pattern for a file": (mask, {"path": "labels.npy", "pattern": "{name}.png"}, None),
    "too many pixels": (mask, {"path": "labels.npy", "min_pixels": 99}, lambda: {"min_pixels": 9}),
    "a photograph": (mask, {"path": "photo.png"}, lambda: {"path": "photo.npy"}),
    "the other side": (mask, {"path": "upright.png"},
                       lambda: again("upright.png", lambda opened: opened.rotate(-90, expand=True))),
    "a map with an orientation": (mask, {"path": "turned.png"},
                                  lambda: Image.fromarray(LABELS.astype(np.uint8)).save("turned.png")),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_advice_works(kind: str) -> None:
    use, options, edit = REFUSED[kind]
    with pytest.raises(PartinrError) as refused:
        use(**options)
    said = str(refused.value)
    assert re.fullmatch(r"[^\n]+; [^\n]+", said)
    use(**{**options, **(advised(said, options) if edit is None else edit() or {})})


def advised(said: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options as the end of a refusal says: another value, another name, or without the one it begins with."""
    advice = said.rpartition("; ")[2]
    if meant := re.search(r"did you mean '(.*?)'", advice):
        return {"path": meant[1]}
    given = re.findall(r"(?:data|partition)\.(\w+)=([^\s,;)]+)", advice)
    if given:
        return {key: yaml.safe_load(value) for key, value in given[:1]}
    key = re.findall(r"(?:data|partition)\.(\w+)", said)[0]
    assert "leave it out" in advice
    assert key in options
    return {key: 0 if key == "annotator" else None}


def test_the_orientation_of_a_square_image_is_noticed_and_its_advice_works() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.fromarray(RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    photo.save("photo.png", exif=exif)
    labels = np.arange(144).reshape(12, 12) // 72
    np.save("labels.npy", labels)
    data = ImageData(path="photo.png")
    said = Mask(path="labels.npy").carry_out(data.load(), data.source)
    assert "save the image without the orientation" in str(said.notice)
    again("photo.png", lambda opened: opened)
    with Image.open("photo.png") as opened:
        assert ImageOps.exif_transpose(opened).tobytes() == photo.tobytes()
    found = Mask(path="labels.npy")(data.load(), data.source)
    assert torch.equal(found.labels, torch.from_numpy(labels))

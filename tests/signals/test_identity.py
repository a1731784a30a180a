"""A signal is the same on every machine, and another where its content is another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.signals import FolderData, ImageData, SignalSet, SmoothData, TextData
from partinr.signals.identity import TOLERANCE, SignalIdentity, block_means, identity_facts

PICTURE = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)


def saved(name: str, picture: np.ndarray = PICTURE, **options: Any) -> str:
    Image.fromarray(picture).save(name, **options)
    return name


def pixels(data: SignalSet) -> str:
    return str(identity_facts([item.read().identity for item in data.train()])["pixels_sha256"])


def test_processors_that_resize_differently_have_one_image():
    file = str(Path(saved("photo.png")).resolve())
    program = (
        f"from partinr.signals import ImageData;print(ImageData(path={file!r}, size=16).read().identity.pixels_sha256)"
    )
    plain = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    found = subprocess.check_output([sys.executable, "-c", program], env=plain, text=True)
    assert found.strip() == ImageData(path=file, size=16).read().identity.pixels_sha256


def test_what_makes_another_image_and_what_does_not():
    saved("photo.png")
    one = pixels(ImageData(path="photo.png", size=16))
    turned = Image.Exif()
    turned[0x0112] = 6
    saved("turned.png", np.rot90(PICTURE).copy(), exif=turned)
    Image.fromarray(PICTURE).convert("RGBA").save("opaque.png")
    saved("small.png", PICTURE, compress_level=9)
    saved("square.png", PICTURE[:, 5:35].copy())
    os.makedirs("set")
    saved("set/other name.png")
    same = {path: ImageData(path=path, size=16) for path in ("turned.png", "opaque.png", "small.png", "square.png")}
    for name, data in {**same, "a folder of one": FolderData(path="set", size=16)}.items():
        assert pixels(data) == one, name
    changed = PICTURE.copy()
    changed[15, 20, 0] ^= 1
    saved("changed.png", changed)
    Image.fromarray(PICTURE[..., 0].astype(np.uint16)).save("deep.png")
    Image.fromarray(PICTURE[..., 0]).save("grey.png")
    others = [ImageData(path="photo.png", size=17), ImageData(path="photo.png", max_side=16)]
    others += [ImageData(path=path, size=16) for path in ("changed.png", "deep.png", "grey.png")]
    found = [one, *map(pixels, others), pixels(FolderData(path="set", crops=1, crop_size=16))]
    assert len(set(found)) == len(found)


def test_transparency_is_part_of_an_image():
    alpha = np.full((30, 40, 1), 90, np.uint8)
    saved("clear.png", np.concatenate([PICTURE, alpha], 2))
    saved("photo.png")
    ways: tuple[Literal["white", "black", "drop"], ...] = ("white", "black", "drop")
    over = {way: pixels(ImageData(path="clear.png", alpha=way)) for way in ways}
    assert len(set(over.values())) == 3
    assert over["drop"] == pixels(ImageData(path="photo.png"))


@pytest.mark.parametrize("data", [TextData(size=16, train_items=2), SmoothData(shape=[9], train_items=2)], ids=str)
def test_generated_signals_are_known_by_their_values(data):
    one, other = (item.read() for item in data.train())
    assert one.identity.differs(data.train()[0].read().identity) == ""
    assert one.identity.differs(other.identity) is None
    assert "file_sha256" not in identity_facts([one.identity])


def test_a_difference_within_the_tolerance_is_told():
    values = torch.from_numpy(PICTURE / 255).float()
    one = SignalIdentity.of("", values)
    said = one.differs(SignalIdentity.of("", (values + 0.9 * TOLERANCE).clamp(0, 1)))
    assert said is not None
    assert said.startswith("its values differ")
    assert one.differs(SignalIdentity.of("", values.flip(0))) is None
    assert one.differs(SignalIdentity.of("", values[:-1])) is None


@pytest.mark.parametrize("shape", [(5000,), (7, 100), (64, 64), (3, 40, 40)], ids=str)
def test_block_means_are_few_and_have_the_mean_of_the_signal(shape):
    values = torch.rand(*shape, 2, generator=torch.Generator().manual_seed(0))
    means = block_means(values)
    assert means[..., 0].numel() <= 1024
    torch.testing.assert_close(means.reshape(-1, 2).mean(0), values.reshape(-1, 2).mean(0), atol=0.05, rtol=0)


class Inverted(ImageData):
    """A kind of another package that loads something else than its base class."""

    def load(self):
        return 1 - super().load()


def test_a_class_that_overrides_loading_is_read_as_it_loads():
    one, other = Inverted(name="camera", size=8), ImageData(name="camera", size=8)
    assert torch.equal(one.read().values, one.load())
    assert torch.equal(one.train()[0].read().values, 1 - other.read().values)
    assert pixels(one) != pixels(other)

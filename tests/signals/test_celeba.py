"""CelebA on a folder of the same form, with photographs made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.signals.celeba import CelebaData

PARTS = {"000001.jpg": 0, "000002.jpg": 0, "000003.jpg": 1, "000004.jpg": 2, "000005.jpg": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    rows = np.repeat(np.arange(218, dtype=np.uint8)[:, None, None], 178, axis=1).repeat(3, axis=2)
    for name in PARTS:
        Image.fromarray(rows).save(images / name, "png")  # the content decides on the decoder, not the ending
    lines = [f"{name} {part}" for name, part in PARTS.items()]
    (images.parent / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return images.parent


def test_parts_and_the_square_of_learnit(folder: Path) -> None:
    data = CelebaData(path=str(folder))
    assert [item.name for item in data.train()] == ["000001", "000002"]
    assert [item.name for item in data.val()] == ["000004", "000005"]
    (item,) = CelebaData(path=str(folder), held_out="valid", limit=1).train()
    assert [item.name for item in CelebaData(path=str(folder), held_out="valid").val()] == ["000003"]
    image = item.load()
    assert image.shape == (178, 178, 3)
    # learnit crops image[20:-20].
    assert torch.equal((image[:, 0, 0] * 255).round().long(), torch.arange(20, 198))
    assert [file.name for file in data.members("path", folder, data)] == [
        "list_eval_partition.txt",
        "000001.jpg",
        "000002.jpg",
        "000004.jpg",
        "000005.jpg",
    ]


def test_what_is_missing_is_said(folder: Path) -> None:
    (folder / "img_align_celeba" / "000005.jpg").unlink()
    with pytest.raises(PartinrError, match=r"there is no .*000005.jpg.*download"):
        CelebaData(path=str(folder)).val()
    (folder / "list_eval_partition.txt").write_text("000001.jpg 2\n")
    with pytest.raises(PartinrError, match="names no photograph of the part train"):
        CelebaData(path=str(folder)).train()
    with pytest.raises(PartinrError, match=r"list_eval_partition.txt.*give that folder as data.path"):
        CelebaData(path=str(folder / "img_align_celeba")).train()

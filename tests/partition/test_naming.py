"""Label maps are found in folders as the usual data sets have them, and the advice for others works."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.partition import Mask
from partinr.signals import FolderData, ImageData

SETS = {
    # Images, label maps, other files beside these, the folder of label maps, and the pattern.
    "Cityscapes": (
        [f"leftImg8bit/train/aachen/aachen_00000{k}_000019_leftImg8bit.png" for k in range(2)],
        [f"gtFine/train/aachen/aachen_00000{k}_000019_gtFine_labelIds.png" for k in range(2)],
        ["gtFine/train/aachen/aachen_000000_000019_gtFine_color.png", "gtFine/train/aachen/README"],
        "gtFine",
        "**/{name-_leftImg8bit}_gtFine_labelIds.png",
    ),
    "VOC": (
        ["JPEGImages/2007_000032.jpg", "JPEGImages/2007_000039.jpg"],
        ["SegmentationClass/2007_000032.png", "SegmentationClass/2007_000039.png"],
        ["SegmentationObject/2007_000032.png"],
        "SegmentationClass",
        None,
    ),
    "VOC, one folder up": (
        ["JPEGImages/2007_000032.jpg"],
        ["SegmentationClass/2007_000032.png"],
        ["SegmentationObject/2007_000032.png"],
        ".",
        "SegmentationClass/{stem}.png",
    ),
    "ADE20K": (
        ["ADE/training/street/ADE_train_1.jpg"],
        ["ADE/training/street/ADE_train_1_seg.png"],
        ["ADE/training/street/ADE_train_1_parts_1.png"],
        "ADE",
        "**/{name}_seg.png",
    ),
    "scene parsing of ADE": (
        ["images/training/ADE_train_00000001.jpg"],
        ["annotations/training/ADE_train_00000001.png"],
        ["annotations/validation/ADE_val_00000001.png"],
        "annotations",
        "**/{stem}.png",
    ),
    "another beginning": (
        ["i/img-1.png", "i/img-11.png"],
        ["m/mask-1.png", "m/mask-11.png"],
        [],
        "m",
        "mask-{name-img-}.png",
    ),
    "signs of patterns": (["i/a[1]*.png"], ["m/a[1]*_m.png"], ["m/a1x_m.png"], "m", "{name}_m.png"),
    "beside the image": (["a.png"], ["a_mask.png"], [], ".", "{name}_mask.png"),
    "another ending": (["a.png"], ["m/a.dat"], [], "m", "{name}.dat"),
}


def write(path: str, labels: int = 0) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray((np.arange(192).reshape(12, 16) // 32 % (labels or 9)).astype(np.uint8))
    image.save(path, None if path.endswith((".png", ".jpg")) else "PNG")


@pytest.mark.parametrize("kind", SETS)
def test_the_usual_data_sets(kind: str) -> None:
    images, maps, others, folder, pattern = SETS[kind]
    for number, (image, labels) in enumerate(zip(images, maps, strict=True)):
        write(image)
        write(labels, number + 2)
    for other in others:
        if other.endswith(".png"):
            write(other)
    data = FolderData(path=str(Path(images[0]).parent))
    rule = Mask(path=folder, pattern=pattern)
    items = [item for item in data.train() if item.source.path in images]
    assert [rule(item.load(), item.source).regions for item in items] == [number + 2 for number in range(len(images))]
    found = {str(file) for file in rule.members("path", Path(folder), data)}
    assert found == set(maps)


@pytest.mark.parametrize(
    "place",
    ["m/a b_gt.png", "m/deep/er/a b.png", "m/old-a b (1).tif", "m/deep/a b.npy", "m/deep/labels of a b.mat.png"],
)
def test_the_advice_for_other_names(place: str) -> None:
    write("a b.png")
    write("m/another.png")
    write(place.removesuffix(".npy"), 3)
    if place.endswith(".npy"):
        np.save(place, np.arange(192).reshape(12, 16) // 96)
    image = ImageData(path="a b.png")
    with pytest.raises(PartinrError, match=r"has no label map for the image a b; for names such as .* give ") as said:
        Mask(path="m")(image.load(), image.source)
    pattern = re.findall(r"partition.pattern=(.*)$", str(said.value))[0]
    assert Mask(path="m", pattern=pattern)(image.load(), image.source).regions in (2, 3)


def test_patterns_that_are_refused() -> None:
    write("photo.png")
    write("m/x.png", 2)
    image = ImageData(path="photo.png")
    for pattern in ("labels.png", "", "{name", "{image}.png", "../{name}.png", "/{name}.png", "{name}{x}.png"):
        with pytest.raises(PartinrError, match=r"is no pattern for the names .*; give one such as \{name\}.png, "):
            Mask(path="m", pattern=pattern)
    for pattern, said in (
        ("{name}_gt.png", r"no label map for the image photo; there is no photo_gt.png in it; correct"),
        ("{name-_img}.png", r"leaves '_img' out of the names of images, and photo does not begin or end with it; give"),
    ):
        with pytest.raises(PartinrError, match=said):
            Mask(path="m", pattern=pattern)(image.load(), image.source)
    with pytest.raises(PartinrError, match=r"partition.pattern=\{name\}.png is for a folder, and .* a file; leave it"):
        Mask(path="m/x.png", pattern="{name}.png")(torch.zeros(12, 16, 3))

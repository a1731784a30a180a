"""A folder of images: which are taken, in which order, how they are cut, and which are held out."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.partition import Mask
from partinr.signals import Crop, FolderData, builtin_image, load_image
from tests.covering import cases

Fill = Callable[..., Path]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """``fill("photos", "a.png", …)`` makes a folder of pictures, each of its own colours."""

    def make(folder: str, *names: str, shape: tuple[int, int] = (6, 9)) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            rng = np.random.default_rng(list(os.fsencode(name)))
            file = tmp_path / folder / name
            if file.suffix.lower() == ".txt":
                file.write_text("no image")
            else:
                Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(file)
        return tmp_path / folder

    return make


def taken(**options: Any) -> list[Any]:
    """What is learned from."""
    return list(FolderData(**options).train())


def names(items: Any) -> list[str]:
    return [item.name for item in items]


def test_images_in_the_order_of_their_names(fill):
    folder = fill("photos", "b10.png", "b2.PNG", "A.jpg", "notes.txt", ".hidden.png", "c.webp", "d.bmp", "e.tif")
    fill("photos/inner", "z.png")
    data = FolderData(path=str(folder))
    assert names(data.train()) == ["A", "b2", "b10", "c", "d", "e"]
    assert data.val() == []
    assert data.title == "photos"
    for item in taken(path=str(folder)):
        assert item.source.name == item.name
        assert torch.equal(item.load(), load_image(item.source.path))
        assert pickle.loads(pickle.dumps(item)) == item


def test_size_side_and_alpha_reach_the_files(fill, tmp_path):
    folder = fill("photos", "a.png")
    assert taken(path=str(folder), size=4)[0].load().shape == (4, 4, 3)
    assert taken(path=str(folder), max_side=3)[0].load().shape == (2, 3, 3)
    (tmp_path / "clear").mkdir()
    Image.fromarray(np.zeros((4, 5, 4), dtype=np.uint8)).save(tmp_path / "clear" / "a.png")
    with pytest.raises(PartinrError, match="alpha"):
        taken(path="clear")[0].load()
    assert (taken(path="clear", alpha="white")[0].load() == 1).all()


def test_names_are_unique_and_fit_for_folders(fill):
    folder = fill("photos", "a.png", "a.jpg", "A.bmp", "a_2.png", "x?:y.png", " .png", "é b.png")
    found = names(taken(path=str(folder), crops=2, crop_size=2))
    assert len({name.casefold() for name in found}) == len(found) == 14
    assert all(re.fullmatch(r"[\w -]+", name) for name in found)
    assert {"a", "a_2", "x-y", "x-y_2", "image", "é b"} <= {name.lower() for name in found}


def test_no_name_is_both_learned_from_and_held_out(fill):
    data = FolderData(path=str(fill("one", "a.png", "b.png")), val_path=str(fill("two", "a.png", "c.png")))
    assert names(data.train()) == ["a", "b"]
    assert names(data.val()) == ["a_2", "c"]
    assert [Path(str(item.source.path)).parent.name for item in data.val()] == ["two", "two"]


def test_the_first_few(fill):
    folder = fill("photos", *(f"{n}.png" for n in range(6)))
    (folder / "held.txt").write_text("1\n")
    data = FolderData(path=str(folder), limit=3, val_list=str(folder / "held.txt"))
    assert names(data.train()) == ["0", "2", "3"]
    assert names(data.val()) == ["1"]
    crops = taken(path=str(folder), limit=2, crops=2, crop_size=3)
    assert names(crops) == ["0", "0_2", "1", "1_2"]


# -- squares --------------------------------------------------------------------------------------------------------


def test_squares_lie_in_the_image(fill):
    folder = fill("photos", "a.png", shape=(20, 33))
    whole = load_image(folder / "a.png")
    items = taken(path=str(folder), crops=40, crop_size=8)
    places = set()
    for item in items:
        square = item.load()
        (down, right) = (int(at * (n - 7)) for at, n in zip(item.source.crop.at, (20, 33), strict=True))
        assert torch.equal(square, whole[down : down + 8, right : right + 8])
        places.add((down, right))
    assert len(places) > 30
    assert min(down for down, _ in places) <= 1
    assert max(right for _, right in places) >= 24


def test_a_square_has_its_place_whatever_else_there_is(fill):
    folder = fill("photos", "a.png", shape=(20, 30))
    few = taken(path=str(folder), crops=2, crop_size=8)
    fill("photos", "0.png", "b.png")
    many = taken(path=str(folder), crops=5, crop_size=8)
    assert [item.source.crop for item in few] == [item.source.crop for item in many[5:7]]
    assert many[0].source.crop != many[5].source.crop


def test_squares_are_resized_and_may_be_as_large_as_the_image(fill):
    folder = fill("photos", "a.png", shape=(20, 30))
    item = taken(path=str(folder), crops=1, size=5)[0]
    assert item.load().shape == (5, 5, 3)
    assert item.source.crop.side is None
    corner = load_image(folder / "a.png", crop=Crop((0.5, 0.999)))
    assert torch.equal(corner, load_image(folder / "a.png")[:, 10:])
    with pytest.raises(PartinrError, match=r"a\.png.*20×30 pixels have no square of 21×21.*crop_size"):
        taken(path=str(folder), crops=1, crop_size=21)[0].load()


def test_a_label_map_is_cut_as_the_square_was(fill, tmp_path):
    folder = fill("photos", "a.png", shape=(20, 30))
    np.save(tmp_path / "a.npy", np.arange(600).reshape(20, 30))
    for item in taken(path=str(folder), crops=3, crop_size=8):
        labels = item.source.cut_labels(torch.arange(600).reshape(20, 30))
        assert torch.equal(load_image(folder / "a.png").reshape(600, 3)[labels], item.load())
        assert Mask(path=str(tmp_path))(item.load(), item.source).regions == 64
    resized = taken(path=str(folder), crops=1, crop_size=8, size=4)[0]
    assert resized.source.cut_labels(torch.zeros(20, 30)).shape == (4, 4)


# -- held out -------------------------------------------------------------------------------------------------------


def test_a_list_of_images(fill):
    folder = fill("photos", "a.png", "b.png", "c.d.png")
    Path("held.txt").write_text("\nc.d\n  a.png \n")
    data = FolderData(path=str(folder), val_list="held.txt")
    assert names(data.train()) == ["b"]
    assert names(data.val()) == ["a", "c.d"]


def test_a_list_from_another_system(fill):
    latin_1 = b"caf\xe9".decode("utf-8", "surrogateescape")
    folder = fill("photos", "a.png", "e\u0301.png", "ö.png", f"{latin_1}.png", "z.png")
    data = FolderData(path=str(folder), val_list="held.txt")
    Path("held.txt").write_bytes("\ufeffa.png\r\né\r\no\u0308.png\r\n".encode() + b"caf\xe9.png\r\n")
    assert names(data.train()) == ["z"]
    assert set(names(data.val())) == {"a", "é", "ö", "caf-"}
    Path("held.txt").write_text("a.png", encoding="utf-16")
    with pytest.raises(PartinrError, match="save it as UTF-8"):
        data.val()
    Path("held.txt").write_text("é.png", encoding="utf-8")
    fill("photos", "é.png")
    with pytest.raises(PartinrError, match=r"in two Unicode forms: .*rename one"):
        data.val()


def test_links_to_images(fill):
    folder = fill("photos", "a.png")
    (folder / "b.png").symlink_to(fill("elsewhere", "c.png") / "c.png")
    assert names(FolderData(path=str(folder)).train()) == ["a", "b"]
    (folder / "d.png").symlink_to("nowhere")
    with pytest.raises(PartinrError, match=r"1 of the links in .* lead nowhere, such as 'd.png'; bring back"):
        names(FolderData(path=str(folder)).train())


def test_another_image_changes_nothing_for_those_there(fill):
    folder = fill("photos", *(f"{n:03}.png" for n in range(60)), shape=(1, 1))
    data = FolderData(path=str(folder), val_fraction=0.25)
    before = set(names(data.val()))
    assert 5 <= len(before) <= 25
    assert before.isdisjoint(names(data.train()))
    assert len(before) + len(data.train()) == 60
    fill("photos", *(f"x{n}.png" for n in range(20)), shape=(1, 1))
    after = set(names(data.val()))
    assert {name for name in after if not name.startswith("x")} == before
    assert after <= set(names(FolderData(path=str(folder), val_fraction=0.5).val()))


# -- what is refused ------------------------------------------------------------------------------------------------


def test_options_are_checked_before_anything_is_read():
    for options, said in cases(
        ({"size": 8, "max_side": 8}, "data.size excludes data.max_side"),
        ({"crops": 2, "max_side": 8}, "data.crops excludes data.max_side"),
        ({"crops": 2}, "data.crops needs a size; give data.size"),
        ({"crop_size": 8}, "say how many, such as data.crops=4"),
        ({"val_path": "a", "val_list": "b"}, "data.val_path excludes data.val_list"),
        ({"val_list": "a", "val_fraction": 0.5}, "data.val_list excludes data.val_fraction"),
        ({"val_fraction": 1.0}, r"val_fraction=1\.0"),
        ({"limit": 0}, r"limit=0"),
        ({"path": ""}, "data.path is empty"),
        ({"path": None}, "there are no images; give data.path=FOLDER, or data=builtins"),
        ({"path": None, "names": []}, "names"),
        ({"alpha": "blend"}, "alpha='blend'"),
        ({"folder": "x"}, "no option FolderData.folder"),
    ):
        with pytest.raises(PartinrError, match=said):
            FolderData(**{"path": "photos", **options})


def test_built_in_images_are_a_set_like_a_folder(fill):
    data = FolderData(names=["coffee", "camera", "coffee"], size=8)
    assert (data.title, names(data.train())) == ("builtins", ["coffee", "camera"])
    assert [torch.equal(item.load(), builtin_image(item.name, size=8)) for item in data.train()] == [True, True]
    squares = taken(names=["coffee"], crops=2, crop_size=16)
    assert names(squares) == ["coffee", "coffee_2"]
    assert not torch.equal(squares[0].load(), squares[1].load())
    with pytest.raises(PartinrError, match=r"no built-in image 'tea'.*coffee"):
        taken(names=["tea"])
    # A folder goes first, as with one image.
    assert names(taken(path=str(fill("photos", "a.png")), names=["coffee"])) == ["a"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "phots"}, "no such folder: data.path=phots; check the path, which is taken from"),
        ({"path": "photos/a.png"}, "is a file, not a folder; for one image take data=image"),
        ({"path": "empty"}, "no image among the 2 files in data.path=empty"),
        ({"val_path": "nowhere"}, "no such folder: data.val_path=nowhere"),
        ({"val_list": "nowhere.txt"}, "no such file: data.val_list=nowhere.txt"),
        ({"val_list": "photos"}, "data.val_list=photos cannot be read as text"),
        ({"val_list": "photos/a.png"}, "cannot be read as text"),
        ({"val_list": "wrong.txt"}, r"names 'b\.jpg', which is no image in .*did you mean b\.png"),
        ({"val_list": "none.txt"}, "names no image"),
        ({"val_list": "all.txt"}, "all 2 images of .* are held out"),
        ({"val_fraction": 1e-9}, "holds out none of the 2 images"),
    ],
)
def test_what_is_not_there_is_said_when_it_is_listed(fill, options, said):
    fill("photos", "a.png", "b.png")
    fill("empty", "a.txt", "b.txt")
    for name, content in (("wrong", "b.jpg"), ("none", " \n"), ("all", "a\nb")):
        Path(f"{name}.txt").write_text(content)
    data = FolderData(**{"path": "photos", **options})
    for listed in (data.train, data.val):
        with pytest.raises(PartinrError, match=said) as caught:
            listed()
        assert "\n" not in str(caught.value)

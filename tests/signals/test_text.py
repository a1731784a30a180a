"""Rendered text: the same every time, inside the image, in two colours that can be told apart."""

from __future__ import annotations

import pickle
from collections import Counter

import matplotlib
import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.signals import TextData, text_image
from tests.covering import cases


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colours", [False, True])
def test_text_on_a_ground(channels, colours):
    different = set()
    for number in range(12):
        image = text_image(64, seed=[number], length=3, channels=channels, colours=colours)
        assert image.shape == (64, 64, channels)
        assert image.dtype == torch.float32
        assert torch.equal(image, text_image(64, seed=[number], length=3, channels=channels, colours=colours))
        pixels = Counter(map(tuple, image.reshape(-1, channels).tolist()))
        ((ground, count),) = pixels.most_common(1)
        # Most of it is ground, some of it is ink, and what lies between is edges.
        assert 64 * 64 / 2 < count < 64 * 64
        assert float((image - torch.tensor(ground)).mean(dim=-1).abs().max()) > 0.2
        if not colours:
            assert ground == (1,) * channels
            assert float(image.min()) < 0.2
        different.add(image.numpy().tobytes())
    assert len(different) == 12


def test_text_lies_inside_where_it_fits():
    for number in range(30):
        image = text_image(96, seed=[number], length=2, font_size=(12, 24))
        edge = torch.cat([image[0], image[-1], image[:, 0], image[:, -1]])
        wider = text_image(96, seed=[number], length=2, font_size=(12, 24), channels=3)
        # Rounding may let the outermost of its grey touch the border, no more.
        assert float(edge.min()) > 0.3
        assert torch.equal(wider[..., :1], image)


def test_text_that_is_too_long_covers_the_image():
    for number in range(10):
        image = text_image(16, seed=[number], length=20, font_size=(30, 30))
        assert float(image.min()) < 0.5


def test_an_item_follows_from_its_number():
    few, many = TextData(size=32, train_items=3), TextData(size=32, train_items=30, val_items=4)
    for one, other in zip(few.train(), many.train(), strict=False):
        assert one.name == other.name
        assert torch.equal(one.load(), pickle.loads(pickle.dumps(other)).load())
    everything = [*many.train(), *many.val()]
    assert len({item.name for item in everything}) == len({item.load().numpy().tobytes() for item in everything}) == 34
    assert (many.title, TextData(val_items=0).val()) == ("text", [])


def test_what_makes_no_text_is_refused():
    for options, said in cases(
        ({"channels": 2}, "channels=2"),
        ({"length": 0}, "length=0"),
        ({"min_font_size": 40}, "data.min_font_size=40 is more than data.max_font_size=24"),
        ({"train_items": 0}, "train_items=0"),
        ({"size": 0}, "size=0"),
    ):
        with pytest.raises(PartinrError, match=said):
            TextData(**options)


def test_fonts_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(PartinrError, match=r"there is no font .*install matplotlib again") as caught:
        text_image(8, seed=[0], font_size=(777, 777))
    assert "\n" not in str(caught.value)

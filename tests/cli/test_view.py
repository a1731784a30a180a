"""``partinr view``."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import partinr as api
from partinr.pictures.draw import to_uint8
from partinr.report import viewer
from partinr.runs.layout import IMAGE

Copy = Callable[[Path], Path]


def shown_on(page: Path) -> dict[str, Any]:
    found = re.search(r'id="stage-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    decoded = {}
    data = json.loads(found[1])
    for name, uri in {"image": data["image"], **data["fits"][0]["pictures"]}.items():
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
            decoded[name] = np.asarray(picture)
    return decoded


def test_a_page_of_a_run(partinr: Any, finished: Path, copy_of: Copy) -> None:
    run = copy_of(finished)
    answer = partinr("view", run)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.split() == ["view", str(run / "view.html")]
    shown, model = shown_on(run / "view.html"), api.load(run)
    assert shown.keys() == {"image", "fit", "labels"}
    with Image.open(run / IMAGE) as picture:
        assert np.array_equal(shown["image"], np.asarray(picture))
    assert np.array_equal(shown["fit"], to_uint8(model.render()))
    assert np.array_equal(shown["labels"][:, :, 2], model.partition.labels.numpy())

    answer = partinr("view", run, "--scale", "2.5", "-o", "fine.html")
    assert answer.code == 0, answer.err
    assert np.array_equal(shown_on(Path("fine.html"))["fine"], to_uint8(model.render(2.5)))


def test_one_of_several_images(partinr: Any, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes((pictures / "good.png").read_bytes())
    words = ("data=folder", "partition.regions=4", "backbone.match_params=500", "max_steps=2", "cache_dir=null")
    assert partinr(*words, f"data.path={folder}", "hydra.run.dir=album").code == 0
    assert partinr("view", "album", "--image", "b").code == 0
    assert "<title>b, " in Path("album/images/b/view.html").read_text()
    answer = partinr("view", "album")
    assert answer.code == 2
    assert "choose one with --image NAME" in answer.err


def test_what_is_too_large_for_a_page_is_shrunk(
    partinr: Any, finished: Path, copy_of: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a panorama of 17,000 pixels beside the true limits; then a picture beyond the number of pixels.
    for limit, most, shape in (("MOST_SIDE", 12, (12, 12)), ("MOST_PIXELS", 100, (10, 10))):
        run = copy_of(finished)
        with monkeypatch.context() as patch:
            patch.setattr(viewer, limit, most)
            answer = partinr("view", run)
            assert answer.code == 0, answer.err
            size = f"{shape[0]}×{shape[1]} pixels, {shape[0] / 16:.3g} of the resolution"
            assert answer.err == (
                "partinr: note: the picture is too large for a page, and is shown at "
                f"{size}; partinr render draws all of it\n"
            )
            assert size in (run / "view.html").read_text()
            shown = shown_on(run / "view.html")
            assert {each.shape[:2] for each in shown.values()} == {shape}
            labels = api.load(run).partition.labels.numpy()
            assert np.array_equal(np.unique(shown["labels"][:, :, 2]), np.unique(labels))
            with Image.open(run / IMAGE) as picture:
                assert abs(shown["image"].mean() - np.asarray(picture).mean()) < 2
            answer = partinr("view", run, "--scale", "2")
            assert (answer.code, "give a smaller --scale" in answer.err) == (2, True)
        shutil.rmtree(run)
    assert viewer.shrunk_shape((2, 17_000)) == (1, 2**14)
    assert viewer.shrunk_shape((16, 16)) == (16, 16)


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda run: (run / IMAGE).unlink(), (), "to compare the fit with; partinr render draws the fit alone"),
        (lambda run: (run / IMAGE).write_bytes(b"PNG"), (), "is damaged; partinr render draws the fit alone"),
        (lambda run: Image.new("RGB", (3, 4)).save(run / IMAGE), (), r"\[16, 16, 3\] was fitted; was it replaced\?"),
        (lambda run: None, ("--scale", "1000"), "too large for a page, .* give a smaller --scale"),
        (lambda run: None, ("--scale", "0.5"), "0.5 is not in the range x>=1"),
        (lambda run: None, ("--image", "a"), "fitted one image; leave out the image 'a'"),
    ],
)
def test_what_cannot_be_shown(
    partinr: Any, finished: Path, copy_of: Copy, change: Callable[[Path], object], words: tuple[str, ...], said: str
) -> None:
    run = copy_of(finished)
    change(run)
    answer = partinr("view", run, *words)
    assert answer.code == 2
    assert re.search(said, answer.err), answer.err
    assert not (run / "view.html").exists()

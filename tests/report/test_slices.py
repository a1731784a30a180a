"""The page of a volume."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from partinr.pictures.slices import Upright
from partinr.report import slices
from partinr.report.slices import Block, write_slices

SHAPE = (3, 4, 5)


def page_of(path: Path, axes: str = "zyx", shape: tuple[int, ...] = SHAPE) -> tuple[Path, np.ndarray]:
    """A page of a volume whose samples have their numbers as levels, whose fit is 2 levels lower, and its samples."""
    levels = np.arange(np.prod(shape)).reshape(shape) + 2
    signal, fit = levels[..., None] / 255, levels[..., None] / 255 - 2 / 255
    labels = (levels % shape[-1] >= shape[-1] // 2).astype(np.int64)
    block = Block(signal, fit, labels, Upright.of(axes, (1, 2, 3)), low=0, high=255)
    other = replace(block, fit=signal, labels=1 - labels, name="another")
    return write_slices(path, [block, other], title="A <scan>", facts=["60 samples"]), levels


def stage_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="stage-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    for name, uri in data["pictures"].items():
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
            data["pictures"][name] = np.asarray(picture)
    return data


def test_slices_lie_side_by_side_and_a_body_is_turned(tmp_path: Path) -> None:
    page, levels = page_of(tmp_path / "view.html")
    data = stage_of(page)
    assert (data["shape"], data["columns"], data["spacing"]) == ([3, 4, 5], 2, [1, 2, 3])
    assert (data["pictures"]["signal"][:4, 5:] == levels[1]).all()
    assert (data["pictures"]["fit0"][4:, :5] == levels[2] - 2).all()
    assert data["fits"] == ["fit", "another"]
    assert (data["pictures"]["fit1"] == data["pictures"]["signal"]).all()
    page, levels = page_of(tmp_path / "body.html", "RAS")
    data = stage_of(page)
    assert (data["shape"], data["spacing"], data["planes"][0]) == ([5, 4, 3], [3, 2, 1], "axial")
    assert (data["pictures"]["signal"][:4, :3] == levels[::-1, ::-1, -1].T).all()


def test_a_large_volume_is_shown_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST_SAMPLES", 12)
    page, levels = page_of(tmp_path / "view.html")
    data = stage_of(page)
    assert (data["shape"], data["spacing"]) == ([2, 2, 3], [2, 4, 6])
    assert (data["pictures"]["signal"][:, :3] == levels[0, ::2, ::2]).all()
    assert "every sample of 2 along each axis" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_sliders_and_clicks_move_the_slices(chromium: Any, tmp_path: Path) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    page, levels = page_of(tmp_path / "view.html")
    view = chromium(page)
    expect(view.locator("#sample")).to_have_text("1, 2, 2")
    assert float(view.text_content("#signal")) == levels[1, 2, 2]
    view.locator("figure input").nth(0).fill("2")
    expect(view.locator("#sample")).to_have_text("2, 2, 2")
    fits = [float(value) for value in view.text_content("#fit").split(" | ")]
    assert fits == [levels[2, 2, 2] - 2, levels[2, 2, 2]]
    # The upper left corner of the first slice.
    view.locator("canvas").nth(0).click(position={"x": 3, "y": 3})
    expect(view.locator("#sample")).to_have_text("2, 0, 0")
    for key in ("e", "b", " "):
        view.keyboard.press(key)
    assert view.is_checked("#borders")
    assert view.is_checked("[name=mode][value=error]")
    assert view.is_checked("[name=of][value='1']")
    assert view.text_content("figcaption output") == "3 of 3"

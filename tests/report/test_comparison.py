"""``partinr compare``: a few runs side by side."""

from __future__ import annotations

import numpy as np
import pytest

from partinr.base.errors import PartinrError
from partinr.report.comparison import Comparison
from partinr.report.page import write_comparison
from partinr.report.viewer import Fit, stage_of

NAMES = ("no partition · lr 1e-3", "3×3 grid · lr 1e-4")


FACTS = {"versions": {"torch": "2.0", "python": "3.11.7"}, "metrics": {"seam": {"psnr_band": 28.0}}}


@pytest.fixture
def two(write_run, tmp_path):
    one = write_run(tmp_path / "a", regions=1, settings={"optimizer.lr": 1e-3})
    return [one, write_run(tmp_path / "b", regions=9, facts=FACTS, settings={"output_dir": "elsewhere"})]


def test_what_differs_is_told_run_by_run(two):
    found = Comparison.of(two)
    assert found.names == NAMES
    assert {line.name: line.cells for line in found.differing} == {
        "partition": ("none", "grid #9"),
        "lr": ("1e-3", "1e-4"),
    }
    assert [line.name for line in found.further] == ["output_dir"]
    assert {"optimizer.lr", "max_steps"} <= {line.name for line in found.settings}
    results = {line.name: line.cells for line in found.results}
    assert results["state"] == ("completed", "completed")
    assert results["PSNR dB in the band"] == ("–", "28.00")
    assert results["PSNR [dB]"] == tuple(f"{record.final('psnr'):.2f}" for record in found.records)
    assert {line.name for line in found.circumstances if line.differs} >= {"torch"}


def test_every_run_has_a_name_of_its_own(write_run, tmp_path):
    runs = [write_run(tmp_path / name, regions=4, seed=seed) for name, seed in (("a", 0), ("b", 1), ("c", 1))]
    assert Comparison.of(runs).names == ("2×2 grid · seed 0", "2×2 grid · seed 1", "2×2 grid · seed 1 (2)")
    for wrong in (runs[:1], [runs[0], runs[0], runs[1]]):
        with pytest.raises(PartinrError, match="needs different runs, and at least two"):
            Comparison.of(wrong)


def test_runs_on_different_images_have_no_slider(write_run, tmp_path):
    found = Comparison.of([write_run(tmp_path / image, image=image) for image in ("coffee", "rocket")])
    assert (found.names, found.one_image) == (("no partition · coffee", "no partition · rocket"), False)
    text = write_comparison(found, tmp_path / "page.html", None, "There is no slider: other images.").read_text()
    assert "There is no slider: other images." in text
    assert '"image":"all"' in text
    assert 'id="stage"' not in text


@pytest.mark.browser
def test_the_page_has_settings_curves_and_a_slider(chromium, two, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)) / 255
    labels = np.zeros((20, 30), dtype=int)
    found = Comparison.of(two)
    stage = stage_of(image, [Fit(image, labels, name=name) for name in found.names])
    page = chromium(write_comparison(found, tmp_path / "compare.html", stage))
    page.wait_for_function("() => performance.getEntriesByName('usable').length === 2")
    first = page.locator("#settings > .scroll tbody tr").first
    assert first.inner_text().split("\t") == ["partition", "none", "grid #9"]
    means = page.evaluate("at('curve').data.filter(({ meta }) => meta === 'mean').map(({ name }) => name)")
    assert tuple(means) == NAMES
    page.locator("#stage").scroll_into_view_if_needed()
    assert tuple(page.locator(f"#{side}").inner_text() for side in ("left", "right")) == NAMES
    # The wheel scrolls the page until the stage has been clicked, and then zooms.
    page.locator("#stage").hover()
    before = page.locator("#zoom").inner_text()
    page.mouse.wheel(0, -100)
    assert page.locator("#zoom").inner_text() == before
    page.locator("#stage").click(position={"x": 5, "y": 5})
    page.mouse.wheel(0, -100)
    page.wait_for_function("before => document.getElementById('zoom').textContent !== before", arg=before)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("w => document.querySelector('#curve .main-svg').clientWidth <= w", arg=width)
        assert page.evaluate("document.documentElement.scrollWidth") == width

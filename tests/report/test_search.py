"""The view of a search: which settings it has, what explains the results, and what the page draws."""

import math

import numpy as np
import pytest

from partinr.report import collect, make_report
from partinr.report.groups import Study
from partinr.report.page import rank
from partinr.report.search import importance
from partinr.runs.swept import Swept, swept


def settings_of(folder):
    return {each.key: each for each in swept([group.flat for group in Study.of(collect([folder])).groups])}


@pytest.fixture(scope="module")
def sweep(write_run, tmp_path_factory):
    """Twelve learning rates drawn on a logarithmic scale, with an optimum inside; the highest one fails."""
    folder = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(0)
    for at, lr in enumerate(np.geomspace(1e-4, 1e-1, 12).tolist()):
        failed = at == 11
        psnr = 30 - 2 * (math.log10(lr) + 2.5) ** 2
        write_run(
            folder / f"{at:02}",
            status="failed" if failed else "completed",
            message="the loss is not finite at step 3" if failed else None,
            rows=[] if failed else None,
            pictures=None,
            # A setting of a third party's regime, and one in words.
            settings={
                "optimizer.lr": lr,
                "regime.weight": float(rng.uniform(0, 1)),
                "optimizer.name": ["adam", "adamw"][at % 2],
            },
            facts={} if failed else {"metrics": {"psnr": psnr, "ssim": 0.5}},
        )
    return folder


def test_numbers_and_words_that_differ_are_settings_of_the_search(sweep):
    found = settings_of(sweep)
    assert list(found) == ["regime.weight", "optimizer.lr", "optimizer"]
    assert [each.log for each in found.values()] == [False, True, False]
    assert found["optimizer"].words == ["adam", "adamw"]


def test_numbers_that_are_spaced_by_factors_have_a_logarithmic_axis():
    for values, log in (
        ((16, 32, 64, 128, 256), True),
        (range(10, 101, 10), False),
        ((1e-4, 1e-2), True),
        ((0, 1e3), False),
    ):
        assert Swept("", "", tuple(values)).log is log


def test_pictures_are_in_the_order_of_the_results(sweep):
    ranked = sorted(Study.of(collect([sweep])).groups, key=rank)
    ends = [group.records[0].final("psnr") for group in ranked]
    assert ends[:-1] == sorted(filter(None, ends), reverse=True)
    assert ranked[-1].state == "failed"


def test_a_table_of_partitions_is_no_search(study):
    assert settings_of(study) == {}


def test_an_optimum_in_the_middle_is_important():
    x = [*range(20)]
    assert importance(x, [-((value - 10) ** 2) for value in x]) == pytest.approx(1, abs=0.1)
    noise = np.random.default_rng(0).permutation(20).tolist()
    assert importance(x, noise) == pytest.approx(0, abs=0.3)
    assert importance(["a", "b"] * 10, [value % 2 for value in x]) == 1
    assert importance([1, 2, 3, 4], [1, 2, 3, 4]) is None, "too few"
    assert importance([1, 2, None, 3, 4, 5], [1, 2, 99, 3, 4, 5]) == 1


@pytest.mark.browser
def test_the_page_shows_the_search(chromium, sweep, tmp_path):
    page = chromium(make_report([sweep], tmp_path / "report.html"))
    names = page.locator(".importance li").evaluate_all("all => all.map(one => one.dataset.settingName)")
    assert names[0] == "lr"
    page.locator(".parallel").scroll_into_view_if_needed()
    drawn = page.evaluate_handle("document.querySelector('.plot[data-setting=\"1\"]')")
    page.wait_for_function("plot => plot.data && document.querySelector('.parallel').data", arg=drawn)
    assert drawn.evaluate("plot => plot.layout.xaxis.type") == "log"
    done = "plot => plot.data.filter(trace => trace.meta === 'runs').flatMap(trace => trace.x).length"
    assert drawn.evaluate(done) == 11
    assert drawn.evaluate("plot => plot.data.at(-1).x") == pytest.approx([0.1]), "the failed run"
    best = page.locator(".best-runs tbody tr")
    assert best.count() == 10
    assert best.first.locator("td").first.inner_text() == "29.96"
    # The filter leaves out runs here, too; the name opens a run.
    page.fill("#filter", "-adamw")
    page.wait_for_function(f"plot => ({done})(plot) === 6", arg=drawn)
    assert best.count() == 6
    best.first.get_by_role("button").click()
    assert page.locator("#runs details[open]").count() == 1
    for width in (1300, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("w => document.querySelector('#curve .main-svg').clientWidth <= w", arg=width)
        assert page.evaluate("document.documentElement.scrollWidth") == width
    # There, the legend is below the chart and not on it.
    top = "(one) => document.querySelector(`#curve .${one}`).getBoundingClientRect().top"
    page.wait_for_function(f"() => ({top})('legend') > ({top})('xtitle')")

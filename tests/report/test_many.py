"""A sweep of two hundred runs on one page, and choosing among them."""

import itertools
import json
import statistics

import pytest

from partinr.report import collect, make_report, write_html
from partinr.report.curves import MeanCurve
from partinr.report.groups import Study
from partinr.report.thumbnails import PictureStore
from partinr.runs.layout import MANIFEST, RECONSTRUCTION

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RUNS = 200
QUEUED = 60
FAILED = "the loss is not finite at step 9; try a smaller optimizer.lr"


def status_of(index):
    if index >= RUNS - QUEUED:
        return "queued"
    return {7: "running", 3: "failed"}.get(index % 50, "completed")


@pytest.fixture(scope="module")
def sweep(write_run, tmp_path_factory):
    """2 images, 5 partitions, 5 settings and 4 seeds; the last runs wait for their turn."""
    folder = tmp_path_factory.mktemp("sweep")
    settings = [(1e-4, 30.0), (1e-3, 30.0), (1e-4, 20.0), (1e-3, 20.0), (1e-3, 10.0)]
    each = itertools.product(settings, ("astronaut", "coffee"), (1, 4, 9, 16, 25), range(4))
    for index, ((lr, omega), image, regions, seed) in enumerate(each):
        status = status_of(index)
        run = write_run(
            folder / f"{index:03}-{image}",
            image=image,
            regions=regions,
            seed=seed,
            status=status,
            message=FAILED if status == "failed" else None,
            hardness=1 + 100 * lr + omega / 100,
            settings={"optimizer.lr": lr, "backbone.omega_0": omega},
            pictures=None if status == "queued" else 64,
            rows=[] if status == "queued" else None,
        )
        if status == "queued":
            (run / MANIFEST).write_text(json.dumps({"format": 1, "status": "queued"}))
    return folder


@pytest.fixture(scope="module")
def records(sweep):
    return collect([sweep])


@pytest.fixture(scope="module")
def report(records, tmp_path_factory):
    return write_html(records, tmp_path_factory.mktemp("report") / "report.html")


def labels(page, table="results"):
    return page.locator(f"#{table} tbody th[scope=row]").evaluate_all("all => all.map(head => head.dataset.value)")


def means(page):
    return page.evaluate("document.getElementById('curve').data.filter(trace => trace.meta === 'mean')")


def tick(page, facet, *values):
    """Open the list of a facet, tick or untick values, and close it."""
    box = page.locator(f"[data-facet='{facet}']")
    box.locator("summary").click()
    for value in values:
        box.locator(f"input[value='{value}']").click()
    page.keyboard.press("Escape")


def test_hundreds_of_runs_are_a_small_page(chromium, report, records):
    assert report.stat().st_size < 10_000_000
    page = chromium(report)
    assert page.locator("#counts").get_attribute("data-runs") == str(RUNS)
    count = {state: sum(record.status == state for record in records) for state in ("completed", "running", "failed")}
    said = f"{count['completed']} completed, {count['running']} running"
    said += f", {QUEUED} queued, {count['failed']} failed"
    assert page.locator("#states").inner_text() == said
    assert (
        page.locator("#unfinished li[data-status=queued]").inner_text().endswith(f"{QUEUED} runs wait for their turn")
    )
    # What is not looked at is no element, no trace and no decoded picture.
    assert page.evaluate("document.querySelectorAll('*').length") < 12_000
    assert page.evaluate("document.getElementById('curve').data.length") < 80
    assert 0 < page.locator("img[src]").count() <= 24 * 4
    assert page.locator("#runs dl").count() == 0
    page.locator("#runs summary").first.click()
    assert page.locator("#runs dl").count() == 1
    assert "omega_0: 30.0" in page.locator("#runs pre").inner_text()


def test_runs_are_filtered_by_words_and_by_settings(chromium, report, records):
    page = chromium(report)
    page.locator("#filter").fill("3x3 grid lr=1e-3 -queued")
    study = Study.of(records).in_words()
    kept = [
        record
        for group in study.groups
        for record in group.records
        if "3×3 grid" in group.label and "lr 1e-3" in group.label and record.status != "queued"
    ]
    page.wait_for_function(
        "said => document.getElementById('matching').textContent === said", arg=f"{len(kept)} of {RUNS} runs"
    )
    assert len(set(labels(page))) > 1
    assert all("3×3 grid" in label and "lr 1e-3" in label for label in labels(page))
    assert labels(page) == labels(page, "convergence")
    assert len(means(page)) == len(page.locator("#results tbody:first-of-type th[scope=row]").all())
    shown = page.locator("article.group:visible").evaluate_all("all => all.map(one => one.dataset.label)")
    assert shown
    assert set(shown) <= set(labels(page))
    assert page.locator("#runs > details:visible").count() == len(kept)

    page.locator("#clear").click()
    assert page.locator("#runs > details:visible").count() == RUNS
    tick(page, "seed", "0", "2")
    tick(page, "status", "running")
    assert page.locator("#matching").inner_text() == f"0 of {RUNS} runs"
    assert page.locator("#curve").inner_text() == "No run that has been evaluated matches the filter."
    tick(page, "status", "running", "completed")
    group = study.on("astronaut")[-1]
    of_seeds = [record for record in group.counted if record.seed in (0, 2)]
    cell = page.locator(f'td[data-key=psnr][data-group="{group.label}"][data-image=astronaut]')
    assert cell.get_attribute("data-n") == str(len(of_seeds))
    mean = statistics.mean(psnr for record in of_seeds if (psnr := record.final("psnr")) is not None)
    assert float(cell.get_attribute("data-value")) == pytest.approx(mean)


def test_groups_and_colours_are_chosen(chromium, report, records):
    page = chromium(report)
    page.locator("nav").get_by_text("all", exact=True).click()
    tick(page, "by", "lr", "ω0")
    assert labels(page) == ["no partition", "2×2 grid", "3×3 grid", "4×4 grid", "5×5 grid"]
    assert [mean["name"] for mean in means(page)] == labels(page)
    completed = [record for record in records if record.regions == 9 and record.status == "completed"]
    wanted = MeanCurve.of(completed)
    assert means(page)[2]["y"] == pytest.approx(list(wanted.mean), abs=1e-4)
    page.get_by_text("seconds", exact=True).first.click()
    assert means(page)[2]["x"] == pytest.approx(list(wanted.seconds), rel=1e-4)

    tick(page, "by", "lr")
    page.locator("#colour").select_option("lr")
    colours = {mean["name"].split(" · ")[-1]: mean["line"]["color"] for mean in means(page)}
    assert set(colours) == {"lr 1e-4", "lr 1e-3"}
    assert len(set(colours.values())) == 2
    assert all(mean["line"]["color"] == colours[mean["name"].split(" · ")[-1]] for mean in means(page))


def test_an_address_keeps_what_was_chosen(chromium, report):
    page = chromium(report)
    assert "#" not in page.url
    page.locator("nav").get_by_text("coffee").click()
    page.locator("#filter").fill("-failed")
    tick(page, "by", "ω0")
    page.get_by_text("log", exact=True).click()
    page.locator("#level").fill("19")
    heading = page.locator("#results").get_by_role("button", name="PSNR dB")
    heading.click()
    heading.click()
    page.wait_for_function("() => location.hash.includes('level=19') && location.hash.includes('filter=')")
    before = labels(page), page.locator("#efforts").inner_text(), [mean["name"] for mean in means(page)]
    page.reload()
    assert (labels(page), page.locator("#efforts").inner_text(), [mean["name"] for mean in means(page)]) == before
    assert page.locator("#filter").input_value() == "-failed"
    assert page.evaluate("document.getElementById('curve').layout.xaxis.type") == "log"
    assert page.locator("#results th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert page.locator("h2 [data-image-name]").first.inner_text().endswith("coffee")
    # An address of another day: values that are not there leave the page whole.
    page.evaluate("location.hash = 'image==gone&by=nothing&only.lr=7&sort=x+y+z&axis=z'")
    page.wait_for_function("() => document.getElementById('matching').textContent.startsWith('0 of')")


def test_bars_are_as_long_as_the_effort(chromium, report, records):
    page = chromium(report)
    page.locator("#level").fill("18.5")
    page.wait_for_function("() => location.hash.includes('18.5')")
    groups = {group.label: group for group in Study.of(records).in_words().on("astronaut")}
    found = page.locator("#efforts li").evaluate_all(
        "all => all.map(one => [one.dataset.label, one.dataset.value, one.querySelector('.fill')?.offsetWidth])"
    )
    efforts = [(float(value), width) for _, value, width in found if value]
    assert efforts == sorted(efforts)
    for label, value, _ in found:
        mean = groups[label].stat(lambda record: record.steps_to(18.5)).mean
        assert (mean is None) == (value is None)
        assert mean is None or float(value) == pytest.approx(mean, rel=1e-4)


def test_tables_that_the_script_writes_are_those_of_the_page(chromium, study, tmp_path):
    page = chromium(make_report([study], tmp_path / "report.html"))
    cells = """() => [...document.querySelectorAll('td[data-key]')].map(cell => [
        cell.dataset.key, cell.dataset.group, cell.dataset.image, cell.textContent,
        [...cell.classList].sort().join(' '), cell.dataset.n, cell.title])"""
    before = page.evaluate(cells)
    for table in ("results", "convergence"):
        page.locator(f"#{table} thead th button").nth(1).click()
        assert page.locator(f"#{table}[data-written]").count() == 1
        assert sorted(page.evaluate(cells), key=str) == sorted(before, key=str)


def test_means_of_the_script_are_those_of_the_figures(chromium, study, tmp_path):
    page = chromium(make_report([study], tmp_path / "report.html"))
    groups = Study.of(collect([study])).on("astronaut")
    for mean, group in zip(means(page), groups, strict=True):
        assert mean["x"] == list(MeanCurve.of(group.counted).step)
        assert mean["y"] == pytest.approx(list(MeanCurve.of(group.counted).mean), abs=1e-4)
        std = MeanCurve.of(group.counted).std
        assert std is not None
        assert mean["text"][-1] == f"{MeanCurve.of(group.counted).mean[-1]:.2f} ± {std[-1]:.2f} dB"


def test_a_few_runs_have_no_filter(chromium, write_run, tmp_path):
    for seed in range(4):
        write_run(tmp_path / "runs" / str(seed), seed=seed)
    page = chromium(make_report([tmp_path / "runs"], tmp_path / "report.html"))
    assert page.locator("#filter, #grouping, nav").count() == 0
    assert page.locator("#efforts li").count() == 1


def test_an_open_page_follows_a_sweep_where_it_was_read(chromium, write_run, tmp_path):
    for seed in range(6):
        write_run(tmp_path / "runs" / str(seed), seed=seed, regions=4 if seed % 2 else 1)
    report = write_html(collect([tmp_path / "runs"]), tmp_path / "report.html", refresh=0.5)
    page = chromium(report)
    page.locator("#filter").fill("grid")
    page.wait_for_function("() => document.getElementById('matching').textContent === '3 of 6 runs'")
    page.evaluate("scrollTo(0, 400)")
    write_run(tmp_path / "runs" / "7", seed=7, regions=4)
    write_html(collect([tmp_path / "runs"]), report)
    page.wait_for_function("() => document.getElementById('counts')?.dataset.runs === '7'")
    page.wait_for_function("() => document.getElementById('matching').textContent === '4 of 7 runs'")
    page.wait_for_function("() => scrollY === 400")
    # The last page of a sweep stays as it is.
    assert page.locator("#follow").count() == 0


def test_pictures_keep_within_their_bytes(study):
    store = PictureStore(expected=4, budget=4 * 3_000)
    pictures = [store.add(path / RECONSTRUCTION) for path in sorted(study.iterdir())[:12:3]]
    sizes = [len(uri.partition(",")[2]) * 3 / 4 for uri in store.uris.values()]
    assert all(pictures)
    assert max(sizes) <= 3_000
    again = PictureStore(expected=4, budget=4 * 3_000, cache=store.cache)
    assert [again.add(path / RECONSTRUCTION) for path in sorted(study.iterdir())[:12:3]] == pictures
    again.forget()
    assert again.uris == store.uris

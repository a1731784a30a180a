import pytest

from partinr.report import collect, make_report
from partinr.report.groups import Study
from partinr.runs.layout import CURVE_COLUMNS

pytestmark = pytest.mark.browser

MEANS = "() => document.getElementById('curve').data.filter(trace => trace.meta === 'mean')"


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return make_report([study], tmp_path_factory.mktemp("report") / "report.html")


def cell(page, key, group, image="astronaut"):
    return page.locator(f'td[data-key="{key}"][data-group="{group}"][data-image="{image}"]')


def test_the_page_shows_what_the_runs_say(chromium, report, study):
    page = chromium(report)
    groups = Study.of(collect([study])).in_words().groups
    assert page.get_attribute("#counts", "data-runs") == "24"
    for group in groups:
        mean = group.stat(lambda record: record.final("psnr")).mean
        found = cell(page, "psnr", group.label, group.image)
        assert float(found.get_attribute("data-value")) == pytest.approx(mean)
        assert found.inner_text().startswith(f"{mean:.2f} ±")
    assert page.locator("td.best[data-key=psnr]").count() == 1  # on the other image, two runs do not tell
    # The script has the same rule.
    bold = """() => [...document.querySelectorAll("td.best")].map(
        ({ dataset: { key, group, image } }) => [key, group, image].join())"""
    made = page.evaluate(bold)
    page.locator("#filter").fill("siren")
    page.wait_for_function("() => document.querySelector('table[data-written]')")
    assert sorted(page.evaluate(bold)) == sorted(made)
    assert len(made) > 3
    page.locator("#clear").click()
    unfinished = page.locator("#unfinished li").evaluate_all("all => all.map(item => item.dataset.status)")
    assert unfinished == ["running", "failed"]


def test_switches_change_the_curves(chromium, report):
    page = chromium(report)
    means = page.evaluate(MEANS)
    assert [mean["name"] for mean in means] == ["no partition", "2×2 grid", "3×3 grid", "4×4 grid"]
    assert means[0]["x"][-1] == 1500
    assert means[0]["x"][0] == 0
    page.get_by_text("seconds", exact=True).first.click()
    seconds = page.evaluate(MEANS)
    assert seconds[0]["x"][-1] == pytest.approx(75.75)
    assert seconds[0]["y"] == means[0]["y"]
    page.get_by_text("log", exact=True).click()
    assert page.evaluate("document.getElementById('curve').layout.xaxis.type") == "log"
    assert min(page.evaluate(MEANS)[0]["x"]) > 0
    page.get_by_text("multiply-accumulates", exact=True).first.click()
    assert page.evaluate(MEANS)[0]["x"][-1] > 1e12


def test_an_image_is_chosen_for_curves_and_pictures(chromium, report):
    page = chromium(report)
    first = page.evaluate(MEANS)[0]["y"]
    shown = page.locator("article.group:visible img")
    assert shown.count() == 16
    assert all(width > 0 for width in shown.evaluate_all("all => all.map(img => img.naturalWidth)"))
    page.locator("nav").get_by_text("coffee").click()
    assert page.evaluate(MEANS)[0]["y"] != first
    assert shown.count() == 16
    assert shown.first.get_attribute("src").startswith("data:image/png;base64,")

    # A picture is enlarged, and changed in its place.
    page.locator("article.group:visible [data-picture]").nth(2).click()
    large = page.locator("dialog[open] img")
    assert large.get_attribute("alt") == "reconstruction of coffee, no partition"
    assert large.bounding_box()["width"] > 600
    page.keyboard.press("ArrowRight")
    assert large.get_attribute("alt") == "absolute error of coffee, no partition"
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_tables_are_sorted_within_each_image_and_the_page_fits_its_window(chromium, report):
    page = chromium(report)
    order = "() => [...document.querySelectorAll('#results tbody th[scope=row]')].map(head => head.dataset.value)"
    ascending = ["no partition", "2×2 grid", "3×3 grid", "4×4 grid"]
    page.locator("#results").get_by_role("button", name="PSNR dB").click()
    assert page.evaluate(order) == ascending * 2
    page.locator("#results").get_by_role("button", name="PSNR dB").click()
    assert page.evaluate(order) == ascending[::-1] * 2
    page.locator("#results").get_by_role("button", name="group").click()
    assert page.evaluate(order) == [*ascending[1:], "no partition"] * 2
    for width in (1280, 800, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("w => document.querySelector('#curve .main-svg').clientWidth <= w", arg=width)
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_odd_runs_open_without_an_error(chromium, write_run, tmp_path):
    write_run(tmp_path / "a", image="<b>&", steps=1, pictures=None)
    write_run(tmp_path / "b", image="none yet", rows=[], status="running", pictures=None)
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    assert page.locator("h1").inner_text() == "<b>&, none yet: no partition"
    page.locator("nav").get_by_text("none yet").click()
    assert page.locator("#curve").inner_text() == "No run on this image has been evaluated."
    page.locator("nav").get_by_text("<b>&").click()
    assert len(page.evaluate(MEANS)) == 1


def test_a_page_of_damaged_runs_opens(chromium, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text("{")
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    assert page.locator("#unfinished li").get_attribute("data-status") == "damaged"


def test_every_column_of_a_finished_study_is_in_sight(chromium, write_run, tmp_path):
    for regions in (1, 9, 16):
        for seed in range(2):
            write_run(tmp_path / f"{regions}-{seed}", regions=regions, seed=seed)
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    inner, outer = page.locator("#results").evaluate("table => [table.scrollWidth, table.parentElement.clientWidth]")
    assert inner <= outer
    assert cell(page, "lone_total_ratio", "3×3 grid").is_visible()
    # All have completed: no column says so of each.
    assert page.locator("td[data-key=state]").count() == 0


def test_a_run_that_did_not_complete_brings_the_column_of_states(chromium, report):
    assert chromium(report).locator("td[data-key=state]").count() == 8


def test_cpu_seconds_are_an_axis_and_the_script_marks_what_the_page_marks(chromium, write_run, tmp_path):
    for regions in (1, 4):
        for seed in range(3):
            shared = {"machine": {"ran": 2.0, "waited": 1.0}} if (regions, seed) == (4, 1) else {}
            write_run(tmp_path / f"{regions}-{seed}", regions=regions, seed=seed, facts=shared)
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    texts = "tables => tables.flatMap(table => [...table.querySelectorAll('tbody td')].map(cell => cell.innerText))"
    made = page.locator("table[data-study]").evaluate_all(texts)
    assert sum("†" in text for text in made) >= 5
    page.get_by_text("CPU seconds", exact=True).first.click()
    assert page.evaluate(MEANS)[0]["x"][-1] == pytest.approx(143.925)
    assert [mean["name"] for mean in page.evaluate(MEANS)] == ["no partition", "2×2 grid"]
    assert "†" not in page.locator("#efforts").inner_text()
    page.get_by_text("seconds", exact=True).first.click()
    assert [mean["name"] for mean in page.evaluate(MEANS)] == ["no partition", "2×2 grid†"]
    assert page.locator("#efforts .much").first.inner_text().count("†") == 1
    # Sorting makes the script write the rows.
    for _ in range(2):
        page.locator("#results [data-column=group] button").click()
    page.locator("#results [data-column=regions] button").click()
    written = page.locator("table[data-study]").evaluate_all(texts)
    assert written == made
    page.fill("#filter", "-seed=1")
    page.locator("#results td", has_text="†").first.wait_for(state="detached")


def test_an_axis_that_no_run_knows_is_not_offered(chromium, write_run, tmp_path):
    path = write_run(tmp_path / "old", facts={"cpu_seconds": {}})
    lines = [line.split(",") for line in (path / "curve.csv").read_text().splitlines()]
    (path / "curve.csv").write_text("\n".join(",".join(line[:2] + line[3:]) for line in lines) + "\n")
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    assert page.get_by_text("CPU seconds", exact=True).count() == 0
    assert page.evaluate(MEANS)[0]["x"][-1] == 1500
    page.evaluate("location.hash = 'axis=cpu_seconds'")
    page.get_by_text("These runs do not know their CPU seconds").wait_for()


def test_seconds_have_no_prefix_on_their_axis(chromium, write_run, tmp_path):
    rows = [{**dict.fromkeys(CURVE_COLUMNS, step), "seconds": step / 1000, "psnr": 20} for step in (0, 100, 1000)]
    write_run(tmp_path / "a", rows=rows)
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    ticks = "() => [...document.querySelectorAll('#curve .xtick text')].map(tick => tick.textContent)"
    for scale, tick in (("linear", "0.2"), ("log", "0.1")):
        page.evaluate(f"location.hash = 'axis=seconds&scale={scale}'")
        page.wait_for_function(f"tick => ({ticks})().includes(tick)", arg=tick)
        assert not any("m" in each for each in page.evaluate(ticks))


def test_a_printed_chart_is_drawn_for_paper_and_leaves_its_caption_free(chromium, write_run, tmp_path):
    write_run(tmp_path / "a")
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    chart = "document.querySelector('#curve .main-svg').getBoundingClientRect()"
    wide = page.evaluate(f"{chart}.width")
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = [{chart}.width, {chart}.height]; }})")
    page.pdf()
    assert page.evaluate("window.printed") == [680, 460]
    assert page.evaluate(f"{chart}.width") == pytest.approx(wide, abs=16), "it is drawn for the screen again"
    page.emulate_media(media="print")
    page.wait_for_function(f"() => {chart}.width === 680")
    page.set_viewport_size({"width": 718, "height": 1000})
    caption = page.evaluate("document.querySelector('#curve + .caption').getBoundingClientRect().top")
    assert page.evaluate(f"{chart}.bottom") <= caption
    assert page.evaluate("document.documentElement.scrollWidth") == 718


def test_curves_show_the_metric_that_is_chosen(chromium, write_run, tmp_path):
    for seed, factor in enumerate((1, 4)):
        rows = [
            {**dict.fromkeys(CURVE_COLUMNS, step), "psnr": 20, "ssim": 0.5, "loss": factor / (1 + step), "lr": 1e-3}
            for step in (0, 100, 1000)
        ]
        write_run(tmp_path / str(seed), seed=seed, rows=[{**row, "sharpness": 7} for row in rows], pictures=None)
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    chosen = page.locator("select[name=metric]")
    said = ["PSNR [dB]", "SSIM", "loss", "learning rate", "sharpness"]
    assert chosen.locator("option").all_inner_texts() == said
    chosen.select_option("loss")
    (mean,) = page.evaluate(MEANS)
    assert mean["y"] == pytest.approx([2, 2 / 101, 2 / 1001]), "the geometric mean"
    assert mean["text"][0] == "2.00 ×÷ 2.67"
    assert page.evaluate("document.getElementById('curve').layout.yaxis.type") == "log"
    # A constant column is one number in the page.
    chosen.select_option("sharpness")
    assert page.evaluate(MEANS)[0]["y"] == [7, 7, 7]
    assert page.evaluate("document.getElementById('curve').layout.yaxis.type") == "linear"
    assert "metric=sharpness" in page.url

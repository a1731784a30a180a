import pytest

from partinr.pictures.palette import styles
from partinr.report import collect, make_report
from partinr.report.groups import Study
from partinr.report.payload import payload
from partinr.report.table import rows
from partinr.runs.directory import RunDirectory

SETTINGS = {"float32": 32, "int16 channel": 17, "int16 tensor": 16, "int8 channel": 9, "int8 tensor": 8}


def rate_rows(parameters=100, psnr=30.0, step=1500):
    """Rows of a rate.csv: of a fit in all precisions, and of two codecs."""
    nothing = {"weight_bits": 0, "scale_bits": 0, "label_bits": 0, "file_bytes": 0, "deflated_bytes": 0}
    fits = [
        {"coder": "fit", "setting": name, "bpp": bits * parameters / 1000, "psnr": psnr - 0.1 * place}
        for place, (name, bits) in enumerate(SETTINGS.items())
    ]
    codecs = [
        {"coder": coder, "setting": str(quality), "bpp": 0.25 * 2**quality, "psnr": start + 4 * quality}
        for coder, start in (("jpeg", 22.0), ("webp", 24.0))
        for quality in range(6)
    ]
    return [{**nothing, **row, "bits": round(1000 * row["bpp"]), "step": step} for row in fits + codecs]


@pytest.fixture
def measured(write_run, tmp_path):
    """Two groups of which every run has been measured, and one of which one run has not."""
    for regions in (1, 4, 9):
        for seed in range(2):
            run = RunDirectory(write_run(tmp_path / f"{regions}-{seed}", regions=regions, seed=seed))
            if (regions, seed) != (9, 1):
                run.write_rate(rate_rows(100, 28.0 + regions + seed))
    return tmp_path


def write_folder_run(write_run, path, regions, seed, psnr):
    """A run over three images of which each has been measured; a dB apart, and the middle one in half the bits."""
    names = ("a", "b", "c")
    facts = {
        "images": {name: {"shape": [64, 64, 3], "regions": regions, "psnr": psnr} for name in names},
        "signal": {"name": "photos", "shape": [64, 64, 3], "images": 3, "sha256": "abc"},
    }
    run = RunDirectory(write_run(path, regions=regions, seed=seed, facts=facts))
    parts = {name: rate_rows(50 if name == "b" else 100, psnr + at - 1) for at, name in enumerate(names)}
    for name, rows_of_image in parts.items():
        run.write_rate(rows_of_image, name)
    run.write_rate(
        {**first, **{key: (first[key] + second[key] + third[key]) / 3 for key in ("bpp", "psnr")}}
        for first, second, third in zip(*parts.values(), strict=True)
    )
    return run


@pytest.fixture
def measured_folder(write_run, tmp_path):
    """Two groups over a folder, two seeds each."""
    for regions in (1, 4):
        for seed in range(2):
            write_folder_run(write_run, tmp_path / f"{regions}-{seed}", regions, seed, 28.0 + regions + seed)
    return tmp_path


def embedded(folder):
    records = collect([folder])
    study = Study.of(records)
    return payload(records, {"fits": (study, rows(study), styles(study.labels, None))}, [({}, "")] * len(records))


def test_the_page_has_what_the_runs_say(measured):
    data = embedded(measured)
    [image] = data["studies"]["fits"]["images"]
    assert image["codecs"]["jpeg"][:2] == [[0.25, 22], [0.5, 26]]
    found = {run["path"].rpartition("/")[2]: run.get("rates") for run in data["runs"]}
    assert found["9-1"] is None
    assert found["4-1"] == [
        [name, pytest.approx(bits / 10), pytest.approx(33 - 0.1 * place)]
        for place, (name, bits) in enumerate(SETTINGS.items())
    ]


def test_rates_of_other_weights_and_damaged_ones_are_left_out(write_run, tmp_path):
    old = RunDirectory(write_run(tmp_path / "old", seed=0))
    old.write_rate(rate_rows(step=700))
    write_run(tmp_path / "damaged", seed=1).joinpath("rate.csv").write_text("step,coder\n1,fit\n")
    assert [(record.status, list(record.rates)) for record in collect([tmp_path])] == [("completed", [])] * 2
    page = make_report([tmp_path], tmp_path / "report.html").read_text()
    assert 'id="rates"' not in page


def test_the_page_has_each_image_of_a_folder(measured_folder):
    data = embedded(measured_folder)
    [image] = data["studies"]["fits"]["images"]
    assert image["count"] == 3
    assert [part["name"] for part in image["parts"]] == ["a", "b", "c"]
    assert image["parts"][2]["codecs"]["webp"][0] == [0.25, 24]
    assert image["codecs"]["jpeg"][:2] == [[0.25, 22], [0.5, 26]]
    run = next(run for run in data["runs"] if run["path"].endswith("4-1"))
    assert run["rates"][0] == ["float32", pytest.approx(3.2 * 5 / 6, rel=1e-5), 33]
    assert [part[0] for part in run["parts"]] == [[3.2, 32], [1.6, 33], [3.2, 34]]
    assert {len(part) for part in run["parts"]} == {len(SETTINGS)}


def test_without_all_images_there_are_only_means(write_run, tmp_path):
    gone, old, bad = (write_folder_run(write_run, tmp_path / name, 1, at, 30.0) for at, name in enumerate("abc"))
    gone.file("images/b/rate.csv").unlink()
    old.write_rate(rate_rows(step=700), "b")
    bad.file("images/b/rate.csv").write_text("step,coder\n1,fit\n")
    records = collect([tmp_path])
    assert [(len(record.rates), dict(record.image_rates)) for record in records] == [(17, {})] * 3
    data = embedded(tmp_path)
    [image] = data["studies"]["fits"]["images"]
    assert (image["count"], image["parts"]) == (3, [])
    assert image["codecs"]["jpeg"]
    assert not any("parts" in run for run in data["runs"])


def test_of_very_many_images_there_are_only_means(measured_folder, monkeypatch):
    monkeypatch.setattr("partinr.runs.records.RATED_IMAGES", 2)
    assert all(record.rates and not record.image_rates for record in collect([measured_folder]))


@pytest.mark.browser
def test_groups_stand_beside_jpeg_and_webp(chromium, measured):
    page = chromium(make_report([measured], measured / "report.html"))
    page.locator("#rates").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('rates').data?.length > 0")
    drawn = page.evaluate("document.getElementById('rates').data.map(({ name, meta, x, y }) => ({ name, meta, x, y }))")
    by_kind = {(trace["name"], trace["meta"]): trace for trace in drawn}
    assert by_kind.keys() == {
        *((name, kind) for name in ("no partition", "2×2 grid") for kind in ("channel", "tensor")),
        ("JPEG", "jpeg"),
        ("WebP", "webp"),
    }
    # Means over the two seeds.
    assert by_kind["no partition", "channel"]["x"] == pytest.approx([3.2, 1.7, 0.9])
    assert by_kind["no partition", "channel"]["y"] == pytest.approx([29.5, 29.4, 29.2])
    assert by_kind["2×2 grid", "tensor"]["y"] == pytest.approx([32.3, 32.1])
    # No more of a codec than what is around these bits.
    assert by_kind["JPEG", "jpeg"]["x"] == [0.25, 0.5, 1, 2, 4]

    cells = page.locator("#rate-table tbody tr").evaluate_all(
        "all => all.map(row => [...row.children].map(cell => cell.textContent))"
    )
    assert len(cells) == 10
    assert cells[1] == ["no partition", "int16 channel", "1.70", "29.40 ± 0.71", "−0.10", "33.06", "35.06"]
    assert page.evaluate("document.documentElement.scrollWidth") == 1280


@pytest.mark.browser
def test_the_plot_takes_in_the_codecs_of_a_fit_that_takes_far_more_bits(chromium, write_run, tmp_path):
    even = [{**row, "psnr": 10.0} if row["coder"] == "fit" else row for row in rate_rows(100_000)]
    RunDirectory(write_run(tmp_path / "a")).write_rate(even)
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    page.locator("#rates").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('rates').data?.length > 0")
    drawn = page.evaluate("document.getElementById('rates').data.map(({ meta, x, y }) => ({ meta, x, y }))")
    jpeg = next(trace for trace in drawn if trace["meta"] == "jpeg")
    assert jpeg["x"] == [2, 4, 8]
    x, y = page.evaluate("['xaxis', 'yaxis'].map(axis => document.getElementById('rates').layout[axis].range)")
    assert all(10 ** x[0] < bits < 10 ** x[1] for trace in drawn for bits in trace["x"])
    assert all(y[0] < psnr < y[1] for trace in drawn for psnr in trace["y"])


@pytest.mark.browser
def test_axes_of_alike_rates_are_not_magnified(chromium, write_run, tmp_path):
    rows = [{**row, "psnr": 10.0, "bpp": 2.0} for row in rate_rows() if row["coder"] == "fit"]
    RunDirectory(write_run(tmp_path / "a")).write_rate(rows)
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    page.locator("#rates").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('rates').data?.length > 0")
    x, y = page.evaluate("['xaxis', 'yaxis'].map(axis => document.getElementById('rates').layout[axis].range)")
    assert y == pytest.approx([9.5, 10.5])
    assert x[1] - x[0] == pytest.approx(1)
    assert page.locator("#rates .xtick").count() >= 3


@pytest.mark.browser
def test_a_filter_leaves_groups_out(chromium, measured):
    page = chromium(make_report([measured], measured / "report.html"))
    page.locator("#filter").fill("-grid-4")
    page.wait_for_function("() => document.querySelectorAll('#rate-table tbody tr').length === 5")


@pytest.mark.browser
def test_a_folder_has_one_panel_of_means(chromium, measured_folder):
    page = chromium(make_report([measured_folder], measured_folder / "report.html"))
    page.locator("#rates").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('rates').data?.length > 0")
    assert "bits per pixel, mean over 3 images" in page.locator("#rates .xtitle").text_content()
    assert page.locator("#rates .ytitle").text_content() == "mean PSNR [dB]"
    drawn = page.evaluate(
        "document.getElementById('rates').data.map(({ name, meta, x, y, text }) => ({ name, meta, x, y, text }))"
    )
    by_kind = {(trace["name"], trace["meta"]): trace for trace in drawn}
    assert len(by_kind) == 2 * 3 + 2
    # Means over images and the two seeds.
    assert by_kind["2×2 grid", "channel"]["x"] == pytest.approx([bits / 10 * 5 / 6 for bits in (32, 17, 9)], rel=1e-5)
    assert by_kind["2×2 grid", "channel"]["y"] == pytest.approx([32.5, 32.4, 32.2])
    # Each image is a line, with a gap behind it; of it JPEG and WebP are those of the same image.
    each = by_kind["2×2 grid", "image"]
    assert each["x"][:4] == [pytest.approx(3.2), pytest.approx(1.7), pytest.approx(0.9), None]
    assert each["x"][4] == pytest.approx(1.6)
    assert each["y"][4::4][:1] == [pytest.approx(32.5)]
    assert len(each["x"]) == 3 * 4
    assert each["text"][1] == "a, int16 channel<br>JPEG 33.06, WebP 35.06"
    assert page.locator("#rate-table tbody tr").count() == 2 * 5
    assert "means over the images" in page.locator("#rate .caption").text_content()


@pytest.mark.browser
def test_many_single_images_are_not_drawn(chromium, write_run, tmp_path):
    for at in range(17):
        write_folder_run(write_run, tmp_path / str(at), 1 + at, 0, 30.0 + at / 10)
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    page.locator("#rates").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('rates').data?.length > 0")
    assert page.evaluate("new Set(document.getElementById('rates').data.map(({ meta }) => meta)).has('image')") is False
    page.locator("#filter").fill("grid-4")
    page.wait_for_function("() => document.getElementById('rates').data.some(({ meta }) => meta === 'image')")


@pytest.mark.browser
def test_a_crowd_has_a_short_legend(chromium, write_run, tmp_path):
    for regions in (1, 4, 9, 16, 25):
        for width in (8, 16, 32, 64, 128):
            at = tmp_path / f"{regions}-{width}"
            run = write_run(at, regions=regions, settings={"backbone.hidden_features": width}, pictures=None)
            RunDirectory(run).write_rate(rate_rows(width, 20.0 + regions))
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    page.locator("#rates").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('rates').data?.length > 0")
    shown = page.locator("#rates .legendtext").evaluate_all("all => all.map(text => text.textContent)")
    assert shown == ["no partition", "2×2 grid", "3×3 grid", "4×4 grid", "5×5 grid", "JPEG", "WebP"]
    said = page.evaluate("document.getElementById('rates').data[0].text")
    assert said[0] == "no partition · width 8<br>float32"

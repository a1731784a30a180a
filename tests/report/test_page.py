import html
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.report import collect, make_report, write_html
from partinr.report.groups import Study
from partinr.report.table import rows as table_rows
from partinr.report.thumbnails import PICTURE_LIMIT, PictureStore
from partinr.runs.layout import CURVE_COLUMNS, ERROR, RECONSTRUCTION


def page_of(folder: Path, output: Path, title: str | None = None) -> str:
    return make_report([folder], output, title=title).read_text(encoding="utf-8")


def own_part(page: str) -> str:
    """The page without plotly.js."""
    return re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.DOTALL)


def embedded(page: str, name: str) -> dict:
    found = re.search(f'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    content = json.loads(found[1], parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert isinstance(content, dict)
    return content


def test_the_page_needs_nothing_else(study, tmp_path):
    page = page_of(study, tmp_path / "report.html")
    own = own_part(page)
    assert len(own) < len(page) / 2
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:)[a-z]+:""", own) == []
    assert not re.search(r"https?://", own)
    assert "default-src 'none'" in own
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_by_default_it_is_in_the_first_folder(study, write_run, tmp_path):
    write_run(tmp_path / "runs" / "a")
    assert make_report([tmp_path / "runs", study]) == tmp_path / "runs" / "report.html"


def test_numbers_can_be_read_off(study, tmp_path):
    page = page_of(study, tmp_path / "report.html")
    cell = re.search(r'<td[^>]*data-key="psnr" data-group="3×3 grid" data-image="coffee"[^>]*>', page)
    assert cell
    facts = dict(re.findall(r'data-(\w+)="([^"]*)"', cell[0]))
    runs = [run for run in collect([study]) if run.path.name.startswith("coffee-09")]
    psnr = [run.manifest["metrics"]["psnr"] for run in runs]
    assert float(facts["value"]) == pytest.approx(np.mean(psnr))
    assert float(facts["std"]) == pytest.approx(np.std(psnr, ddof=1))
    assert (facts["n"], facts["reached"]) == ("3", "3")


def test_seams_have_a_table_of_their_own(study, write_run, tmp_path):
    assert 'id="seams"' not in page_of(study, tmp_path / "without.html")
    seam = {"psnr_band": 24.5, "psnr_inside": 30.0}
    write_run(tmp_path / "runs" / "a", regions=4, facts={"metrics": {"psnr": 30.0, "ssim": 0.5, "seam": seam}})
    page = page_of(tmp_path / "runs", tmp_path / "with.html")
    assert '<table id="seams" data-study="fits">' in page
    assert re.search(r'data-key="seam_psnr_band"[^>]*data-value="24.5"', page)


def test_names_and_messages_are_text_and_not_markup(write_run, tmp_path):
    nasty = "</script><script>alert(1)</script> & \"ünï\" '日本'"
    write_run(tmp_path / "runs" / "a", image=nasty, regions=4)
    write_run(tmp_path / "runs" / "b", image=nasty, seed=1, status="failed", message=nasty)
    write_run(tmp_path / "runs" / "c", image=nasty, regions=4, settings={"engine": nasty})
    page = page_of(tmp_path / "runs", tmp_path / "report.html", title=nasty)
    assert "<script>alert" not in page
    assert f"<h1>{html.escape(nasty)}</h1>" in page.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
    assert embedded(page, "data")["studies"]["fits"]["images"][0]["name"] == nasty


def test_a_number_that_is_none_is_a_gap(write_run, tmp_path):
    psnr = [10.0, math.nan, math.inf]
    rows = [{**dict.fromkeys(CURVE_COLUMNS, 0), "step": i, "psnr": p} for i, p in enumerate(psnr)]
    write_run(tmp_path / "runs" / "a", rows=rows)
    write_run(tmp_path / "runs" / "b", rows=rows, seed=1)
    runs = embedded(page_of(tmp_path / "runs", tmp_path / "r.html"), "data")["runs"]
    assert [run["curve"]["psnr"] for run in runs] == [[10, None, None]] * 2


def test_no_run_is_dropped(write_run, tmp_path):
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", seed=1, status="failed", message="the loss is not finite")
    write_run(tmp_path / "runs" / "c", seed=2, status="running", rows=[], pictures=None)
    write_run(tmp_path / "runs" / "d")
    (tmp_path / "runs" / "d" / "curve.csv").write_text("?\n?\n")
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    assert re.findall(r'<li data-status="(\w+)"', page) == ["failed", "running", "damaged"]
    assert "3 of 4 runs have not completed" in page
    assert "the loss is not finite" in page
    assert page.count("<details>") == 4


def test_a_sweep_that_merely_runs_is_no_warning(write_run, tmp_path):
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", seed=1, status="running", steps=50)
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    assert '<section class="unfinished under-way"' in page
    assert "1 of 2 runs is under way" in page
    write_run(tmp_path / "runs" / "c", seed=2, status="failed", message="the loss is not finite")
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    assert '<section class="unfinished"' in page
    assert "2 of 3 runs have not completed" in page


def test_only_damaged_runs_still_make_a_page(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text("{")
    page = page_of(tmp_path, tmp_path / "report.html")
    assert "1 of 1 runs has not completed" in page
    assert len(page) < 100_000


def test_the_same_picture_is_stored_once_and_a_damaged_one_is_missing(write_run, tmp_path):
    for seed, regions in ((0, 1), (0, 4)):
        write_run(tmp_path / "runs" / str(regions), seed=seed, regions=regions)
    (tmp_path / "runs" / "4" / RECONSTRUCTION).write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    (tmp_path / "runs" / "4" / ERROR).unlink()
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    # Both have the same image, which is also the partition picture of the lone network.
    assert len(embedded(page, "store")) == 4
    assert page.count("no picture<") == 2


def test_a_large_picture_is_shown_smaller(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > PICTURE_LIMIT
    store = PictureStore(4)
    picture = store.add(tmp_path / "noise.png")
    assert picture is not None
    assert (picture["width"], picture["height"]) == (720, 540)
    (uri,) = store.uris.values()
    assert uri.startswith("data:image/webp;base64,")


def test_unequal_parameters_and_a_missing_lone_network_are_told(write_run, tmp_path):
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", regions=4, facts={"parameters": 250_000})
    write_run(tmp_path / "runs" / "c", regions=4, settings={"optimizer.lr": 1e-3})
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    assert "Not at equal parameters: 2×2 grid · lr 1e-4 has 2.50 times" in page
    assert "No speed-up for 2×2 grid · lr 1e-3" in page


def test_a_place_that_cannot_be_written_is_one_line(study, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PartinrError, match=r"cannot write .*report") as error:
        write_html(collect([study]), tmp_path / "file" / "report.html")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_hundred_runs_are_a_page_of_some_megabytes(write_run, tmp_path):
    for image in range(5):
        for regions in (1, 4, 9, 16, 25):
            for seed in range(4):
                write_run(tmp_path / f"{image}-{regions}-{seed}", image=f"i{image}", regions=regions, seed=seed)
    assert make_report([tmp_path], tmp_path / "report.html").stat().st_size < 10_000_000


def test_the_page_begins_with_the_best_speed_up(write_run, tmp_path):
    def tiles() -> dict[str, str]:
        page = page_of(tmp_path / "runs", tmp_path / "report.html")
        return dict(re.findall(r'data-tile="(\w+)">.*?<div class="number">(.*?)</div>', page, re.DOTALL))

    def rows(*psnr: float) -> list[dict[str, float]]:
        blank = dict.fromkeys(CURVE_COLUMNS, 0)
        return [{**blank, "step": i, "seconds": i / 2, "psnr": p} for i, p in enumerate(psnr)]

    write_run(tmp_path / "runs" / "a", rows=rows(0, 10, 20))
    assert tiles() == {}
    write_run(tmp_path / "runs" / "b", regions=4, rows=rows(0, 5, 15))
    assert tiles() == {"lone_step_ratio": "–", "lone_time_ratio": "–", "gain": "−5.00 dB"}
    write_run(tmp_path / "runs" / "c", regions=9, rows=rows(0, 40, 41))
    assert tiles() == {"lone_step_ratio": "4.00×", "lone_time_ratio": "4.00×", "gain": "+21.00 dB"}


def test_where_no_group_reaches_the_lone_end_the_speed_up_is_to_the_highest_level_reached(write_run, tmp_path):
    def rows(*psnr: float) -> list[dict[str, float]]:
        return [{**dict.fromkeys(CURVE_COLUMNS, 0), "step": i, "seconds": i / 2, "psnr": p} for i, p in enumerate(psnr)]

    write_run(tmp_path / "runs" / "a", rows=rows(0, 20, 40))
    write_run(tmp_path / "runs" / "b", regions=4, rows=rows(0, 36, 38))
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    tiles = dict(re.findall(r'data-tile="(\w+)">.*?<div class="number">(.*?)</div>', page, re.DOTALL))
    # 35 dB: the lone network between steps 1 and 2, at 1.75; the four between 0 and 1, at 35 / 36.
    assert tiles["lone_step_ratio"] == tiles["lone_time_ratio"] == "1.80×"
    assert "to 35 dB. No group reached the final PSNR of the runs with no partition." in page


def test_a_slow_down_is_called_one(write_run, tmp_path):
    def rows(*psnr: float) -> list[dict[str, float]]:
        return [{**dict.fromkeys(CURVE_COLUMNS, 0), "step": i, "seconds": i / 2, "psnr": p} for i, p in enumerate(psnr)]

    write_run(tmp_path / "runs" / "a", rows=rows(0, 10, 20))
    write_run(tmp_path / "runs" / "b", regions=4, rows=rows(0, 5, 10, 15, 20))
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    tiles = re.findall(r'<div class="what">(.*?)</div>\s*<div class="number">(.*?)</div>', page)
    assert tiles[:2] == [("slow-down in steps", "2.00× as many"), ("slow-down in training time", "2.00× as much")]


def test_seconds_of_a_shared_machine_are_marked_and_cpu_seconds_stand_beside_them(write_run, tmp_path):
    def rows(*psnr: float, cpu: float) -> list[dict[str, float]]:
        blank = {**dict.fromkeys(CURVE_COLUMNS, 0), "seconds": 0.0}
        return [{**blank, "step": i, "seconds": i / 2, "cpu_seconds": cpu * i, "psnr": p} for i, p in enumerate(psnr)]

    def tiles() -> dict[str, str]:
        page = page_of(tmp_path / "runs", tmp_path / "report.html")
        return dict(re.findall(r'data-tile="(\w+)">.*?<div class="number">(.*?)</div>', page, re.DOTALL))

    shared = {"machine": {"ran": 2.0, "waited": 1.0}, "cpu_seconds": {"training": 2.0}}
    write_run(tmp_path / "runs/a", rows=rows(0, 10, 20, cpu=1), facts=shared)
    write_run(tmp_path / "runs/b", regions=4, rows=rows(0, 20, 30, cpu=0.5), facts={"cpu_seconds": {"training": 1.0}})
    # The lone network's seconds are those of a shared machine, and every ratio to them is as doubtful.
    gain = {"gain": "+10.00 dB"}
    assert tiles() == {"lone_step_ratio": "2.00×", "lone_time_ratio": "2.00×†", "lone_cpu_ratio": "4.00×", **gain}
    lone, grid = table_rows(Study.of(collect([tmp_path / "runs"])))
    assert {key for key, cell in lone.cells.items() if cell.shared} == {
        "seconds",
        "seconds_per_step",
        "lone_seconds",
        "partition_seconds",
    }
    assert {key for key, cell in grid.cells.items() if cell.shared} == {"lone_time_ratio", "lone_total_ratio"}
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    note = "† Shared machine: 1 of 2 runs, such as none siren astronaut, seed 0: its threads spent 33% of their time"
    assert note in page
    assert page.count("†: measured while other work shared the machine.") == 2, "below two of the three tables"
    assert 'value="cpu_seconds"' in page


def test_runs_without_cpu_seconds_have_a_dash_beside_others_and_no_tile(write_run, tmp_path):
    def rows(*psnr: float, **further: float) -> list[dict[str, float]]:
        known = [name for name in CURVE_COLUMNS if name != "cpu_seconds"]
        return [
            {
                **dict.fromkeys(known, 0),
                "step": i,
                "seconds": i / 2,
                "psnr": p,
                **{key: each * i for key, each in further.items()},
            }
            for i, p in enumerate(psnr)
        ]

    write_run(tmp_path / "runs/a", rows=rows(0, 10, 20), facts={"cpu_seconds": {}})
    page = page_of(tmp_path / "runs", tmp_path / "report.html")
    assert 'value="cpu_seconds"' not in page
    assert 'id="cpu"' not in page
    write_run(
        tmp_path / "runs/b", regions=4, rows=rows(0, 20, 30, cpu_seconds=0.5), facts={"cpu_seconds": {"training": 1.0}}
    )
    lone, grid = table_rows(Study.of(collect([tmp_path / "runs"])))
    keys = ("cpu_seconds", "lone_cpu", "lone_cpu_ratio")
    assert [lone.cells[key].text for key in keys] == ["–", "–", "–"]
    assert [grid.cells[key].text for key in keys] == ["1.00", "0.500", "–"]
    assert 'data-tile="lone_cpu_ratio"' not in page_of(tmp_path / "runs", tmp_path / "report.html")

import csv
import io
import re
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.pictures.paper import COLUMN, PAGE, drawn
from partinr.report import Looks, Wording, collect, figures, make_report, write_figures
from partinr.report.groups import Study
from partinr.report.strips import strips_of


def test_every_figure_is_written_twice_and_the_table_once(study, tmp_path):
    runs = sorted(study.glob("coffee-*-[01]"))
    make_report(runs, tmp_path / "report.html", figures=tmp_path / "figures")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = [f"curve-coffee-{axis}" for axis in ("steps", "seconds", "cpu-seconds", "macs")] + ["pictures-coffee"]
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")} | {"table.csv"}
    with Image.open(tmp_path / "figures" / "curve-coffee-macs.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert picture.width == round(COLUMN * 300)
    with Image.open(tmp_path / "figures" / "pictures-coffee.png") as picture:
        assert picture.width == round(PAGE * 300)
    pdf = (tmp_path / "figures" / "curve-coffee-steps.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf
    with (tmp_path / "figures" / "table.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_many_groups_with_any_letters_are_several_strips_and_a_legend_above(write_run, tmp_path):
    # Dollars would be read as mathematics; the font has no Japanese; a slash is no part of a file name.
    for k, engine in enumerate(("$\\bad{", "日本", "a", "b", "c", "d", "e")):
        write_run(tmp_path / str(k), image="../$x_$/日本", settings={"engine": engine}, steps=10)
    written = write_figures(collect([tmp_path]), tmp_path / "figures", Looks(formats=("pdf",)))
    assert {path.parent for path in written} == {tmp_path / "figures"}
    assert sum("pictures" in path.name for path in written) == 2
    page = next(path for path in written if path.name.endswith("steps.pdf")).read_bytes()
    width = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", page)
    assert width is not None
    assert float(width[1]) == pytest.approx(PAGE * 72, abs=1)


def test_without_curves_or_pictures_it_makes_what_it_can_and_the_same_again(write_run, tmp_path):
    write_run(tmp_path / "a", rows=[], pictures=None, status="failed", message="no")
    write_run(tmp_path / "b", regions=4, pictures=None, steps=1)
    records = collect([tmp_path])
    first = {path.name: path.read_bytes() for path in write_figures(records, tmp_path / "1")}
    assert len(first) == 9
    assert not any("pictures" in name for name in first)
    assert first == {path.name: path.read_bytes() for path in write_figures(records, tmp_path / "2")}


def test_a_folder_that_cannot_be_made_is_one_line(study, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PartinrError, match="cannot write figures"):
        write_figures(collect([study]), tmp_path / "file" / "figures")


def test_the_looks_are_as_asked(study, tmp_path):
    looks = Looks.read(metric="ssim", width="8", formats="svg,png", labels="grid #9=ours", style="ggplot")
    records = collect([study / "coffee-09-0"])
    written = write_figures(records, tmp_path / "1", looks)
    names = {path.name for path in written}
    assert {"curve-coffee-ssim-steps.svg", "curve-coffee-ssim-seconds.png", "pictures-coffee.svg"} <= names
    assert not any(name.endswith(".pdf") for name in names)
    for name in ("curve-coffee-ssim-steps.png", "pictures-coffee.png"):
        with Image.open(tmp_path / "1" / name) as picture:
            assert picture.width == pytest.approx(8 / 2.54 * 300, abs=1)
    svg = (tmp_path / "1" / "curve-coffee-ssim-steps.svg").read_bytes()
    assert b"Date" not in svg
    assert b"#348abd" in svg.lower()  # the second colour of the style; the first is that of a lone network


def test_an_inset_is_the_same_rectangle_in_all_pictures(study, tmp_path):
    groups = Study.of(collect(sorted(study.glob("coffee-0[49]-0")))).groups
    asked: dict[str, Any] = {"plain": {}, "inset": {"inset": "8:20,30:48"}, "errors": {"error_range": "0.3"}}
    strips = {text: drawn(next(strips_of(groups, Looks.read(**each))), "png") for text, each in asked.items()}
    assert strips["plain"] != strips["errors"]
    # The image, and three pictures of each of two groups; each has a frame around the rectangle and the inset.
    assert frame_pixels(strips["plain"]) == frame_pixels(strips["errors"]) == 0
    assert frame_pixels(strips["inset"]) > 7 * 100


def frame_pixels(data):
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return int((abs(pixels - np.array([0, 0xE5, 0xFF])).max(axis=2) < 8).sum())


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("width", "broad", "--width=broad: give column, page, or 3 to 60 centimetres"),
        ("inset", "1,2,3,4", "--inset=1,2,3,4 is no rectangle; give Y0:Y1,X0:X1 in pixels"),
        ("inset", "60:70,0:8", "--inset=60:70,0:8 lies outside of coffee, which has 64 rows and 64 columns"),
        ("inset", "0:40,0:8", "--inset=0:40,0:8 is too large to be shown enlarged within coffee; give at most 29 rows"),
        ("error_range", "0.2:0.1", "--error-range=0.2:0.1: give the largest error, or LOW:HIGH"),
        ("formats", "jpg", "--format: there is no format 'jpg'; choose from pdf, png, svg, pgf"),
        ("formats", "pgf", "--format=pgf needs LaTeX to measure letters; install XeLaTeX, or choose pdf"),
        ("style", "gplot", "--style: matplotlib has no style or file 'gplot'; choose from "),
        ("order", "grid", "--order: there is no group 'grid'; did you mean 'grid #4'?"),
    ],
)
def test_looks_that_cannot_be_are_one_line(study, tmp_path, monkeypatch, option, value, said):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PartinrError, match=re.escape(said)):
        write_figures(collect(study.glob("coffee-04-*")), tmp_path / "figures", Looks.read(**{option: value}))
    assert not (tmp_path / "figures").exists()


def test_pgf_has_words_that_latex_can_read_and_no_pictures(write_run, tmp_path, monkeypatch):
    write_run(tmp_path / "a", regions=4)
    said = {}

    def draw(figure, kind):
        said[kind] = {text.get_text() for text in figure.findobj(Text)}
        return b""

    monkeypatch.setattr(figures, "drawn", draw)
    looks = Looks(formats=("pgf", "png"), wording=Wording(labels="grid #4=100% ours_2"))
    written = write_figures(collect([tmp_path]), tmp_path / "figures", looks)
    assert {path.suffix for path in written if path.name.startswith("curve")} == {".pgf", ".png"}
    assert {path.suffix for path in written if path.name.startswith("pictures")} == {".pdf", ".png"}
    assert r"100\% ours\_2" in said["pgf"]
    assert "100% ours_2" not in said["pgf"]


def test_pgf_has_no_metadata(monkeypatch):
    # matplotlib's writer of PGF takes none, and cannot run here without LaTeX.
    given = {}
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **how: given.update(how))
    drawn(Figure(), "pgf")
    assert given == {"format": "pgf"}

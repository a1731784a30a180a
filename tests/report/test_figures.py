import csv

import pytest
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.report import collect, make_report, write_figures
from partinr.report.figures import COLUMN, PAGE


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
    written = write_figures(collect([tmp_path]), tmp_path / "figures")
    assert {path.parent for path in written} == {tmp_path / "figures"}
    assert sum("pictures" in path.name for path in written) == 4
    with Image.open(next(path for path in written if path.name.endswith("steps.png"))) as picture:
        assert picture.width == round(PAGE * 300)


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

import csv

import pytest
from PIL import Image

from partinr.errors import PartinrError
from partinr.report import collect, make_report, write_figures
from partinr.report.figures import COLUMN, PAGE


def test_every_figure_is_written_twice_and_the_table_once(study, tmp_path):
    make_report([study], tmp_path / "report.html", figures=tmp_path / "figures")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = {f"curve-{image}-{axis}" for image in ("astronaut", "coffee") for axis in ("steps", "seconds", "macs")}
    stems |= {"pictures-astronaut", "pictures-coffee"}
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
        assert len(list(csv.DictReader(file))) == 8


def test_a_figure_is_the_same_file_again(write_run, tmp_path):
    write_run(tmp_path / "a")
    records = collect([tmp_path])
    first = {path.name: path.read_bytes() for path in write_figures(records, tmp_path / "1")}
    assert first == {path.name: path.read_bytes() for path in write_figures(records, tmp_path / "2")}


def test_names_with_any_letters_make_figures(write_run, tmp_path):
    # Dollars would be read as mathematics; the font has no Japanese; a slash is no part of a file name.
    write_run(tmp_path / "a", image="../$x_$/日本", regions=4, settings={"engine": "$\\bad{"})
    write_run(tmp_path / "b", image="../$x_$/日本", regions=4, settings={"engine": "日本"})
    written = write_figures(collect([tmp_path]), tmp_path / "figures")
    assert {path.parent for path in written} == {tmp_path / "figures"}
    assert len(written) == 9


def test_runs_without_curves_or_pictures_make_what_they_can(write_run, tmp_path):
    write_run(tmp_path / "a", rows=[], pictures=None, status="failed", message="no")
    write_run(tmp_path / "b", regions=4, pictures=None, steps=1)
    names = [path.name for path in write_figures(collect([tmp_path]), tmp_path / "figures")]
    assert len(names) == 7
    assert not any("pictures" in name for name in names)


def test_many_groups_are_several_strips_and_a_legend_above(write_run, tmp_path):
    for k in range(8):
        write_run(tmp_path / str(k), regions=4, settings={"optimizer.lr": 10.0**-k}, steps=30)
    written = write_figures(collect([tmp_path]), tmp_path / "figures")
    assert {path.name for path in written} >= {"pictures-astronaut-1.png", "pictures-astronaut-2.png"}
    with Image.open(tmp_path / "figures" / "curve-astronaut-steps.png") as picture:
        assert picture.width == round(PAGE * 300)


def test_a_folder_that_cannot_be_made_is_one_line(study, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PartinrError, match="cannot write figures"):
        write_figures(collect([study]), tmp_path / "file" / "figures")

"""The tables of the studies are what their scripts print from the data beside them."""

from __future__ import annotations

import csv
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

STUDIES = Path(__file__).parents[2] / "experiments"

results = SimpleNamespace(**runpy.run_path(str(STUDIES / "results.py")))


@pytest.mark.parametrize("readme", results.readmes(), ids=lambda path: path.parent.name)
def test_no_number_differs(readme: Path) -> None:
    assert results.remade(readme) == readme.read_text(encoding="utf-8")


def test_a_page_with_generated_tables_shows_all_of_its_data() -> None:
    for readme in results.readmes():
        shown = {
            word
            for command, *_ in results.BLOCK.findall(readme.read_text(encoding="utf-8"))
            for word in command.split()
        }
        assert {path.name for path in readme.parent.glob("*.csv")} <= shown, readme


SPREAD = re.compile(r"([\d.,]+) ± ([\d.,]+)")


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*/small/*.csv")), ids=lambda path: path.stem)
def test_the_table_of_a_small_size_has_the_numbers_of_its_file(path: Path) -> None:
    page = (path.parents[1] / "README.md").read_text(encoding="utf-8")
    table = page.partition(f"<!-- small: {path.stem} -->")[2].partition("<!-- end: ")[0]
    shown = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            pairs = [(float(row[name]), float(row[f"{name}_std"])) for name in row if row.get(f"{name}_std")]
            cells = SPREAD.findall(shown[row["group"]])
            assert cells
            for cell in cells:
                digits = len(cell[0].partition(".")[2])
                assert cell in {tuple(f"{number:,.{digits}f}" for number in pair) for pair in pairs}, row["group"]


def test_a_number_that_was_typed_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "table.py").write_text(
        "import pathlib, sys\nprint(f'| {pathlib.Path(sys.argv[1]).read_text()} |\\n')\n"
    )
    (tmp_path / "data.csv").write_text("30.12")
    readme = tmp_path / "README.md"
    readme.write_text("a\n\n<!-- result: table.py data.csv -->\n\n| 31 |\n\n<!-- end: result -->\n\nb\n")
    assert results.remade(readme) == readme.read_text().replace("31", "30.12")
    readme.write_text("<!-- result: table.py data.csv -->\n")
    with pytest.raises(SystemExit, match="without the other"):
        results.remade(readme)

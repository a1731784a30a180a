"""The tables of the studies are what their scripts print from the data beside them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

STUDIES = Path(__file__).parents[2] / "experiments"


def _results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", STUDIES / "results.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


results = _results()


@pytest.mark.parametrize("readme", results.readmes(), ids=lambda path: path.parent.name)
def test_no_number_differs(readme: Path) -> None:
    assert results.remade(readme) == readme.read_text(encoding="utf-8")


def test_all_data_is_shown() -> None:
    for path in STUDIES.glob("*/*.csv"):
        page = (path.parent / "README.md").read_text(encoding="utf-8")
        assert any(path.name in command.split() for command, *_ in results.BLOCK.findall(page)), path


def test_a_number_that_was_typed_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "table.py").write_text("import sys\nprint(f'| {open(sys.argv[1]).read()} |\\n')\n")
    (tmp_path / "data.csv").write_text("30.12")
    readme = tmp_path / "README.md"
    readme.write_text("a\n\n<!-- result: table.py data.csv -->\n\n| 31 |\n\n<!-- end: result -->\n\nb\n")
    assert results.remade(readme) == readme.read_text().replace("31", "30.12")
    readme.write_text("<!-- result: table.py data.csv -->\n")
    with pytest.raises(SystemExit, match="without the other"):
        results.remade(readme)

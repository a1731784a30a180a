"""Every public report in the table has a source, a verdict, and a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
ROW = re.compile(
    r"\| (?P<source>[\w.-]+/[\w.-]+ #\d+) \| [^|]+ "
    r"\| (?P<verdict>passed|mended|(?:refused|left)(?=:))(?:: [^|]+)? \| (?P<file>[\w/]+\.py)::(?P<test>test_\w+) \|"
)


def names_in(file: str) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_table_of_reports() -> None:
    text = (TESTS / "reports" / "README.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.match(r"\|(---| report )", line)]
    rows = {line: ROW.fullmatch(line) for line in lines}
    assert not [line for line, row in rows.items() if row is None]
    found = [row for row in rows.values() if row is not None]
    assert len({row["source"] for row in found}) == len(lines) > 0
    assert not [row["file"] + "::" + row["test"] for row in found if row["test"] not in names_in(row["file"])]

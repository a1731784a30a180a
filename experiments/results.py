"""Remakes the generated tables of the studies from the data that is kept beside them. Nothing is run.

    make results                            # writes those that differ
    python experiments/results.py --check   # names them, and ends with exit code 1

A generated table stands in a README between two marks, of which the first names the script that prints it:

    <!-- result: table.py --show runs.csv -->
    <!-- end: result -->

The script runs in its folder, and what it prints replaces what is between the marks. An empty line before and after it
is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import re
import runpy
import shlex
import sys
from pathlib import Path

HERE = Path(__file__).parent

BLOCK = re.compile(r"(?<=^<!-- result: )(.+?)( -->\n)(.*?)(?=^<!-- end: result -->$)", re.DOTALL | re.MULTILINE)


def readmes() -> list[Path]:
    """Those that have generated tables."""
    return [path for path in sorted(HERE.glob("*/README.md")) if "<!-- result:" in path.read_text(encoding="utf-8")]


def remade(readme: Path) -> str:
    """A README with its generated tables made again.

    Args:
        readme: the file; it is not written.
    """
    page = readme.read_text(encoding="utf-8")
    blocks = len(BLOCK.findall(page))
    if not blocks == page.count("<!-- result:") == page.count("<!-- end: result -->"):
        sys.exit(f"{readme} has a mark without the other; give <!-- result: SCRIPT … --> and <!-- end: result -->")
    return BLOCK.sub(lambda found: f"{found[1]}{found[2]}\n{printed(readme.parent, found[1])}\n\n", page)


def printed(folder: Path, command: str) -> str:
    """What a script of a study prints, without the empty lines around it.

    Args:
        folder: the folder of the study, in which the script runs.
        command: name of the script and its arguments.
    """
    said, before = io.StringIO(), sys.argv
    name, *arguments = shlex.split(command)
    sys.argv = [str(folder.resolve() / name), *arguments]
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(said):
            runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sys.argv = before
    return said.getvalue().strip()


def main() -> None:
    """Write the tables that differ, or name them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    given = parser.parse_args()
    differing = False
    for readme in readmes():
        page, made = readme.read_text(encoding="utf-8"), remade(readme)
        if page == made:
            continue
        differing = True
        name = str(readme.relative_to(HERE.parent))
        print("\n".join(difflib.unified_diff(page.split("\n"), made.split("\n"), name, "remade", n=0, lineterm="")))
        if not given.check:
            readme.write_text(made, encoding="utf-8")
    if given.check and differing:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""What a run has written, as it stands in its files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from partinr.runs.layout import CLOCK_COLUMNS


def rows(run: str | Path, file: str = "curve.csv") -> list[dict[str, str]]:
    """The rows of a CSV file of a run; none without the file."""
    path = Path(run, file)
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def curve(run: str | Path, file: str = "curve.csv") -> list[dict[str, str]]:
    """The rows without the clocks, which no two runs share."""
    return [{name: cell for name, cell in row.items() if name not in CLOCK_COLUMNS} for row in rows(run, file)]


def manifest(run: str | Path) -> dict[str, Any]:
    """run.json"""
    found: dict[str, Any] = json.loads(Path(run, "run.json").read_bytes())
    return found

"""Makes the runs of a study, each once."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from partinr.base.errors import PartinrError
from partinr.cli.main import main

ENDED = ("completed", "failed")


def once(place: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    """What ``run.json`` says of a run that has ended.

    A run that is there is not made again; one that was interrupted is continued. Nothing is printed.

    Args:
        place: directory of the run.
        overrides: the words of its command, without ``hydra.run.dir``.

    Raises:
        PartinrError: the command was refused.
    """
    manifest = Path(place) / "run.json"
    if not manifest.exists() or _read(manifest)["status"] not in ENDED:
        words = ["resume", str(place)] if manifest.exists() else [*overrides, f"hydra.run.dir={place}"]
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                main(words)
        except SystemExit as end:
            # A loss that diverges fails the run, which is a result.
            if end.code not in (0, None) and not (manifest.exists() and _read(manifest)["status"] in ENDED):
                raise PartinrError(f"{place}: {said.getvalue().strip()}") from None
    return _read(manifest)


def _read(manifest: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest.read_bytes())
    return found

"""Rewrites the page of a running sweep whenever something has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from partinr.report.notices import UNDER_WAY, states
from partinr.report.page import PictureCache, write_html
from partinr.runs.records import Reader, RunRecord


def watch_runs(
    paths: Sequence[str | Path],
    output: str | Path,
    seconds: float,
    say: Callable[[str], None],
    title: str | None = None,
) -> None:
    """Keep a page up to date until no run is queued or running, or until Ctrl-C.

    An open page reloads itself until the last one is written. Unchanged runs are not read again, unchanged pictures are
    not made again, and writing takes at most a sixth of the time.

    Args:
        paths: run directories, sweep directories, or folders of them; runs that appear later are included.
        output: the HTML file.
        seconds: shortest time between two readings of the runs.
        say: receives the time and the numbers of runs by state whenever these numbers have changed.
        title: title of the page.

    Raises:
        PartinrError: a path does not exist, no run is found, or the page cannot be written.
    """
    reader, pictures = Reader(), PictureCache()
    records: list[RunRecord] = []
    said = ""
    try:
        while True:
            began = time.monotonic()
            before, records = records, reader.read(paths)
            # An unchanged run is the same object as before.
            changed = set(before) != set(records)
            # Only after a second reading, since for a moment between two runs of a sweep there may be none.
            over = not changed and not any(record.status in UNDER_WAY for record in records)
            if changed or over:
                write_html(records, output, title, refresh=None if over else seconds, cache=pictures)
            if over:
                return
            if (now := states(records)) != said:
                said = now
                say(f"{time.strftime('%H:%M:%S')}  {said}")
            time.sleep(max(seconds, 5 * (time.monotonic() - began)))
    except KeyboardInterrupt:
        # The user ends with Ctrl-C. The last page need not reload itself.
        if records:
            write_html(records, output, title, cache=pictures)

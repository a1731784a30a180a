"""The page of a running sweep, rewritten whenever something has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from partinr.report.groups import states
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

    An open page reloads itself; the last one no longer does. Unchanged runs are not read again, unchanged pictures are
    not made again, and pages take at most a sixth of the time.

    Args:
        paths: run directories, sweep directories, or folders of them; runs that appear later are included.
        output: the HTML file.
        seconds: shortest time between two readings of the runs.
        say: gets one line for each page: the time, how the runs stand, how many have changed.
        title: of the page.

    Raises:
        PartinrError: a path does not exist, there is no run, or the page cannot be written.
    """
    reader, pictures = Reader(), PictureCache()
    records: list[RunRecord] = []
    try:
        while True:
            began = time.monotonic()
            before, records = records, reader.read(paths)
            # An unchanged run is the same object as before.
            same = set(before) & set(records)
            changed = max(len(records), len(before)) - len(same)
            # Only at the second reading: between two runs of a sweep there may be none for a moment.
            over = not changed and not any(record.status in ("queued", "running") for record in records)
            if changed or over:
                write_html(records, output, title, refresh=None if over else seconds, cache=pictures)
            if over:
                return
            if changed:
                say(f"{time.strftime('%H:%M:%S')}  {states(records)}; {changed} changed")
            time.sleep(max(seconds, 5 * (time.monotonic() - began)))
    except KeyboardInterrupt:
        # Ctrl-C is the way to end. The last page need not reload itself.
        if records:
            write_html(records, output, title, cache=pictures)

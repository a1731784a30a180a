"""The page of a sweep that still runs, made again whenever something has changed."""

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

    An open page loads itself again. Of what has not changed nothing is read and no picture is made again; no more than
    a sixth of the time goes into pages. The last page no longer loads itself.

    Args:
        paths: run directories, sweep directories, or folders of them; runs that appear meanwhile are found.
        output: the HTML file.
        seconds: between two looks at the runs, at least.
        say: is given one line each time that the page was made: when, how the runs stand, how many have changed.
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
            # A run that has not changed is the same object as before.
            same = set(before) & set(records)
            changed = max(len(records), len(before)) - len(same)
            # At a second look: between two runs of a sweep there may be none for a moment.
            over = not changed and not any(record.status in ("queued", "running") for record in records)
            if changed or over:
                write_html(records, output, title, refresh=None if over else seconds, cache=pictures)
            if over:
                return
            if changed:
                say(f"{time.strftime('%H:%M:%S')}  {states(records)}; {changed} changed")
            time.sleep(max(seconds, 5 * (time.monotonic() - began)))
    except KeyboardInterrupt:
        # The way to end it. A page that nobody makes again need not look for a newer one.
        if records:
            write_html(records, output, title, cache=pictures)

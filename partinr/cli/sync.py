"""``partinr sync``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.notes import print_error
from partinr.base.terminal import short
from partinr.runs.directory import find_runs

if TYPE_CHECKING:
    from partinr.tracking import server
    from partinr.tracking import sync as syncing
else:
    server = Later("partinr.tracking.server")
    syncing = Later("partinr.tracking.sync")


def sync_runs(paths: Sequence[Path], *, offline: bool, timeout: float | None, **where: str | None) -> bool:
    """Make one complete W&B run of each run directory, and print what was made.

    Args:
        paths: run directories, or folders of them.
        offline: write W&B runs into the run directories instead of sending them.
        timeout: seconds to wait until a run is sent.
        **where: ``project``, ``entity`` and ``group``, instead of those that the runs were started with.

    Returns:
        whether all were made. A run that cannot be sent, such as a running one, is left out.

    Raises:
        PartinrError: there is no run, no login, or no answer from the server.
    """
    runs = find_runs(*paths)
    if not offline and not server.has_login():
        raise PartinrError(f"{server.NO_LOGIN}. {_OFFLINE}")
    made = 0
    for run in runs:
        try:
            settings = syncing.settings_of(run.config(), finish_timeout=timeout, **where)
            rebuilt = syncing.rebuild(run, settings, "offline" if offline else "online")
        except server.Unreachable as error:
            raise PartinrError(f"{error}. {_OFFLINE}") from error
        except PartinrError as error:
            print_error(str(error))
            continue
        made += 1
        rows = "1 evaluation" if rebuilt.rows == 1 else f"{rebuilt.rows:,} evaluations"
        place = short(Path(rebuilt.where)) if offline else rebuilt.where
        click.echo(f"{'written' if offline else 'synced'}  {short(run.path)}  {rows}  {place}")
    count = "1 run" if made == 1 else f"{made:,} runs"
    if offline and made:
        click.echo(f"{count} written; where there is a network: partinr sync {' '.join(short(path) for path in paths)}")
    elif made:
        click.echo(f"{count} synced")
    return made == len(runs)


_OFFLINE = "With --offline nothing is sent, and the W&B runs are written into the run directories"

"""``partinr sync``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from partinr.base.errors import PartinrError
from partinr.base.notes import print_error
from partinr.base.terminal import short
from partinr.runs.directory import find_runs


def sync_runs(
    paths: Sequence[Path],
    *,
    offline: bool,
    project: str | None,
    entity: str | None,
    study: str | None,
    timeout: float | None,
) -> bool:
    """Make a whole W&B run of each run directory, and say what was made.

    Args:
        paths: run directories, or folders of them.
        offline: write W&B runs into the run directories, and send nothing.
        project: instead of the one that the runs were started with.
        entity: likewise.
        study: likewise.
        timeout: seconds to wait for each run until all is sent.

    Returns:
        Whether all of them were made. What is wrong with a run, such as that it still runs, leaves out that one.

    Raises:
        PartinrError: there is no run, no login, or no server.
    """
    from partinr.tracking.mirror import NO_LOGIN, Unreachable, has_login
    from partinr.tracking.sync import rebuild, settings_of

    runs = find_runs(*paths)
    if not offline and not has_login():
        raise PartinrError(f"{NO_LOGIN}. {_OFFLINE}")
    made = 0
    for run in runs:
        try:
            settings = settings_of(run.config(), project=project, entity=entity, study=study, finish_timeout=timeout)
            rebuilt = rebuild(run, settings, "offline" if offline else "online")
        except Unreachable as error:
            raise PartinrError(f"{error}. {_OFFLINE}") from error
        except PartinrError as error:
            print_error(str(error))
            continue
        made += 1
        rows = "1 evaluation" if rebuilt.rows == 1 else f"{rebuilt.rows:,} evaluations"
        where = short(Path(rebuilt.where)) if offline else rebuilt.where
        click.echo(f"{'written' if offline else 'synced'}  {short(run.path)}  {rows}  {where}")
    count = "1 run" if made == 1 else f"{made:,} runs"
    if offline and made:
        click.echo(f"{count} written; where there is a network: partinr sync {' '.join(short(path) for path in paths)}")
    elif made:
        click.echo(f"{count} synced")
    return made == len(runs)


_OFFLINE = "With --offline nothing is sent, and the W&B runs are written into the run directories"

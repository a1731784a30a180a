"""``partinr dashboard``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.later import Later
from partinr.base.notes import print_note
from partinr.base.terminal import short
from partinr.runs.directory import find_runs

if TYPE_CHECKING:
    from partinr.tracking import dashboard as building
    from partinr.tracking import server
else:
    building = Later("partinr.tracking.dashboard")
    server = Later("partinr.tracking.server")

SPEC = "dashboard.json"


def make_dashboard(
    study: Path, output: Path | None, *, project: str | None, entity: str | None, group: str | None
) -> None:
    """Build the W&B workspace and report of the runs in a folder; save them on the server, or else in a file.

    Args:
        study: a folder of runs.
        output: the file; by default :data:`SPEC` in the folder if nothing is sent.
        project: replaces the project that the runs were started with.
        entity: likewise.
        group: W&B's group, likewise.

    Raises:
        PartinrError: there is no run, the runs are from several projects, a package is missing, or a write fails.
    """
    title = study.resolve().name
    runs = building.Study.of(find_runs(study), title, project=project, entity=entity, group=group)
    dashboard = building.Dashboard(runs)
    reason = None
    if dashboard.study.settings.resolved_mode() != "online":
        reason = "W&B is offline"
    elif not server.has_login():
        reason = server.NO_LOGIN
    elif dashboard.study.settings.entity is None:
        reason = "there is no entity; give --entity USER_OR_TEAM"
    else:
        try:
            for kind, url in dashboard.save().items():
                click.echo(f"{kind:<10} {url}")
        except server.Unreachable as error:
            reason = str(error)
    if output is None and reason is not None:
        output = study / SPEC
    if output is not None:
        content = json.dumps(dashboard.spec(), indent=2, ensure_ascii=False).encode() + b"\n"
        try:
            write_atomically(output, content)
        except OSError as error:
            raise PartinrError(f"cannot write {output}: {error.strerror}; choose another with -o") from error
        click.echo(f"{'spec':<10} {short(output)}")
    if reason is not None:
        print_note(f"{reason}; nothing was sent")

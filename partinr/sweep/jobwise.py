"""A sweep over a group, judged job by job: an option of one choice need not be one of the others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.plugins import Plugins

from partinr.experiment import plugins
from partinr.sweep.folders import is_swept, key_of


def left_to_jobs(error: Exception, overrides: Sequence[str]) -> list[str] | None:
    """The overrides of a sweep, with the one that Hydra refused left to its jobs; None if no job could accept it.

    Hydra begins with what all jobs have in common, so without the choices between which they differ. A sweep of one
    value is not part of that.

    Args:
        error: what Hydra raised.
        overrides: of the command line.
    """
    found = re.search(r"Could not override '([^']+)'|An item is already at '([^']+)'", str(error))
    groups = plugins.groups()
    if found is None or not any(is_swept(each) and (key_of(each) in groups or each[0] == "+") for each in overrides):
        return None
    left = [
        f"{each.partition('=')[0]}=choice({each.partition('=')[2] or repr('')})"
        if key_of(each) in found.groups() and not is_swept(each)
        else each
        for each in overrides
    ]
    return None if left == [*overrides] else left


def jobwise_sweeper() -> type:
    """Hydra's own sweeper, but a job that cannot be composed does not keep the others from the launcher."""
    # Hydra loads the module anew when it looks for plug-ins; an import would give the class of before.
    basic = Plugins.instance().class_name_to_class["hydra._internal.core_plugins.basic_sweeper.BasicSweeper"]
    return type("Jobwise", (basic,), {"validate_batch_is_legal": lambda self, batch: None})

"""Checks the keys of a sweep over a group job by job: an option of one choice may be unknown to the others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException

from partinr.experiment import plugins
from partinr.experiment.conf import conf_dir
from partinr.experiment.hydra_errors import in_quotes
from partinr.experiment.names import key_of
from partinr.sweep.folders import is_swept

_REFUSED = r"Could not override '([^']+)'|An item is already at '([^']+)'"


def left_to_jobs(error: Exception, overrides: Sequence[str], own: str | None = None) -> list[str] | None:
    """The overrides of a sweep, with those of a refused key left to its jobs; None if no job could accept them.

    Hydra first composes the overrides that all jobs share, without the choices in which they differ. An override that
    is a sweep, even of one value, is not among them.

    Args:
        error: exception of Hydra.
        overrides: overrides from the command line.
        own: folder of ``--config-dir``.
    """
    found = re.search(_REFUSED, str(error))
    groups = plugins.groups()
    chosen = [each for each in overrides if is_swept(each) and (key_of(each) in groups or each[0] == "+")]
    about = [each for each in overrides if found and key_of(each) in found.groups() and not is_swept(each)]
    if not about or not chosen:
        return None
    try:
        fits = any(_fits(job, about, own) for job in _combinations(chosen))
    except HydraException:  # glob(…), whose values Hydra's sweeper finds
        fits = True
    if not fits:
        return None
    return [_swept(each) if each in about else each for each in overrides]


def _swept(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key}=choice({value or repr('')})"


def _combinations(swept: Sequence[str]) -> Iterator[tuple[str, ...]]:
    parsed = OverridesParser.create().parse_overrides([*swept])
    values = [[f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()] for each in parsed]
    return itertools.product(*values)


def _fits(choices: Sequence[str], about: Sequence[str], own: str | None) -> bool:
    """Whether a job with these choices has the key. The job itself reports any other fault."""
    places = [] if own is None else [f"hydra.searchpath=[{in_quotes(f'file://{Path(own).absolute()}')}]"]
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        try:
            compose("train", [*places, *choices, *about])
        except HydraException as error:
            return re.search(_REFUSED, str(error)) is None
    return True


def jobwise_sweeper() -> type:
    """Hydra's own sweeper, except that a job that cannot be composed does not stop the others."""
    # Hydra reloads the module when it looks for plug-ins; an import would give the class from before.
    basic = Plugins.instance().class_name_to_class["hydra._internal.core_plugins.basic_sweeper.BasicSweeper"]
    return type("Jobwise", (basic,), {"validate_batch_is_legal": lambda self, batch: None})

"""Folder names of a sweep and its runs: a readable part from the overrides, and a hash of the configuration."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from partinr.experiment import names
from partinr.runs.layout import MANIFEST, config_hash


def register_names(overrides: Sequence[str]) -> None:
    """Register ``${partinr.study:NAME}`` and ``${partinr.run:}``, the folders of a sweep and its runs, with OmegaConf.

    Args:
        overrides: overrides from the command line, with all values of a sweep.
    """
    study = study_name(overrides)
    swept = {names.key_of(each) for each in overrides if is_swept(each)}
    OmegaConf.register_new_resolver("partinr.study", lambda named: named or study, replace=True)
    OmegaConf.register_new_resolver("partinr.run", lambda *, _root_: _run_name(_root_, swept), replace=True)


def study_name(overrides: Sequence[str]) -> str:
    """The folder of a sweep without a given name.

    It is named after the experiment, with its size unless that is full. Without an experiment it is named after the
    common settings of all runs and the keys in which they differ, so that a further value joins the others.
    """
    asked = sorted(each for each in overrides if names.is_shown(each))
    experiments = [each.partition("=")[2] for each in asked if names.first_key(each) == "experiment"]
    if experiments and "," not in experiments[0]:
        size = next((each.partition("=")[2] for each in asked if names.first_key(each) == "size"), None)
        return names.folder_label(names.sized(experiments[0], size))
    swept = [names.key_of(each) for each in asked if is_swept(each)]
    fixed = [each for each in asked if not is_swept(each)]
    label = ",".join([*map(names.short, fixed), "by", *(key.rpartition(".")[2] for key in swept)])
    return f"{names.folder_label(label)}_{names.short_hash(' '.join([*fixed, *swept]))}"


@functools.lru_cache(1000)
def is_swept(override: str) -> bool:
    """Whether an override has several values: a list of them, or a range, a choice or an interval of a sweeper."""
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except HydraException:
        return False


def _run_name(cfg: DictConfig, swept: Collection[str]) -> str:
    """The requested settings, first those that differ in the sweep, and a hash of the whole configuration."""
    asked = [each for each in cfg.hydra.overrides.task if names.is_shown(each)]
    label = ",".join(map(names.short, sorted(asked, key=lambda each: (names.key_of(each) not in swept, each))))
    plain = names.plain(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    return f"{names.safe_name(label)[:MOST_LETTERS]}_{config_hash(names.identity(plain))[:HASH_LETTERS]}"


MOST_LETTERS = 72
"""Limit of letters of the requested settings in a run's name. The hash covers what is cut off."""

HASH_LETTERS = 8
"""Digits of the config hash in the name of a run."""


def found(folder: Path) -> Path:
    """The directory that already holds a run. Other overrides give another name but the same hash."""
    same = folder.parent.glob(f"*_{folder.name[-HASH_LETTERS:]}")
    return next((path for path in sorted(same) if path.joinpath(MANIFEST).exists()), folder)


def settings_asked(overrides: Sequence[str]) -> dict[str, str]:
    """The requested settings of a run, without those for its place."""
    return dict(_setting(each) for each in overrides if names.is_shown(each))


def _setting(override: str) -> tuple[str, str]:
    """Key and value of an override, with numbers in their shortest form: 1e-3 is 0.001."""
    key, _, value = override.lstrip("+~").partition("=")
    value = value.strip("'\"")
    try:
        return key, value if value.lstrip("-").isdigit() else f"{float(value):g}"
    except ValueError:
        return key, value

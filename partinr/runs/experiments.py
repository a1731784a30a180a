"""The experiments that runs asked for, which say many of their settings at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partinr.runs.configs import ABSENT_VALUE, Flat, Setting, identity

Overrides = Sequence[Sequence[str]]
"""The overrides of each run of a config."""

_KEY = "experiment"


@dataclass(frozen=True)
class Experiments:
    """What configs asked for with ``experiment=NAME``, if that explains some of their differences.

    Attributes:
        names: the experiment of each config; None for those without one.
        explained: settings that differ only because of the experiment.
    """

    names: tuple[str | None, ...]
    explained: frozenset[Setting] = frozenset()

    @classmethod
    def of(cls, flats: Sequence[Flat], settings: Sequence[Setting], asked: Sequence[Overrides] | None) -> Experiments:
        """The experiments of configs.

        Args:
            flats: distinct configs.
            settings: the differences to explain.
            asked: the overrides of their runs; None if unknown.
        """
        names = [_experiment(runs) for runs in asked or ()]
        explained: set[Setting] = set()
        if len(set(names)) > 1:
            own = {_key(each) for runs in asked or () for run in runs for each in run}
            for setting in settings:
                values: dict[str | None, set[object]] = {}
                for name, flat in zip(names, flats, strict=True):
                    values.setdefault(name, set()).add(identity(flat.get(setting, ABSENT_VALUE)))
                # What a run asked for itself is not the experiment's.
                if all(len(found) == 1 for found in values.values()) and not _is_asked(setting, own):
                    explained.add(setting)
        return cls(tuple(names), frozenset(explained)) if explained else cls((None,) * len(flats))

    @property
    def words(self) -> list[str | None]:
        """The experiment of each config, or "none"; None for all if an experiment explains nothing."""
        return [name or "none" for name in self.names] if self.explained else [None] * len(self.names)

    def phrases(self, brief: bool) -> list[str | None]:
        """The same for a name: experiment fast, no experiment; ``brief`` has no words for the latter."""
        none = None if brief else "no experiment"
        return [none if word == "none" else word and f"experiment {word}" for word in self.words]


def _experiment(runs: Overrides) -> str | None:
    """The experiment that all runs of a config asked for; None if some did not."""
    found = {next((each.partition("=")[2] for each in run if _key(each) == _KEY), None) for run in runs}
    return found.pop() if len(found) == 1 else None


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _is_asked(setting: Setting, keys: set[str]) -> bool:
    """Whether overrides give a setting: its key or one above, or the choice of its group, which is its kind."""
    above = {".".join(setting.path[:depth]) for depth in range(2, len(setting.path) + 1)}
    alone = setting.is_kind or len(setting.path) == 1
    return bool(keys & above) or (alone and ".".join(setting.path) in keys)

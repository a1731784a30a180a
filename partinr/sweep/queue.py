"""Many runs from one command: what is there already is kept, and what is missing is carried out.

A run of a sweep lies in a directory that is named after what it is, so the same command finds it again. All of them
are queued, with their configurations frozen, before the first begins; who carries them out (``hydra/launcher``) gets
nothing but the directories.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.notes import print_error, print_note
from partinr.base.terminal import terminal
from partinr.base.version import __version__
from partinr.experiment import names
from partinr.experiment.outcome import CompletedError, Outcome
from partinr.experiment.show import show_finished, show_outcomes
from partinr.runs.directory import MANIFEST, BusyError, RunDirectory, config_hash
from partinr.sweep.rules import SweepRules, sweep_rules

if TYPE_CHECKING:
    from partinr.experiment import execute
    from partinr.experiment.config import Settings
else:
    execute = Later("partinr.experiment.execute")

Plan = Literal["carry out", "keep", "leave"]
"""What to do with a run: carry it out, from its checkpoint if it has one; keep what it gave; or leave a failed one."""

SUPERSEDED = ".superseded"
"""Folder, beside the runs of a sweep, of those that were made again."""


@dataclass
class Sweep:
    """The runs that one command asks for, and what became of them.

    Attributes:
        say: turns an exception into the one line that is said of it; raises it where a traceback is wanted.
        outcomes: of the runs that ended, in their order.
        kept: how many of them were completed before.
        elsewhere: directories of runs that another process carries out.
        refused: how many were refused.
        begun: whether Hydra has composed one.
        folder: of the sweep; None for a run alone.
        asked: how many runs were asked for.
        settings: what each of them was asked for by, under its directory.
    """

    say: Callable[[Exception], str]
    outcomes: list[Outcome] = field(default_factory=list)
    kept: int = 0
    elsewhere: list[Path] = field(default_factory=list)
    refused: int = 0
    begun: bool = False
    folder: Path | None = None
    asked: int = 0
    settings: dict[Path, dict[str, str]] = field(default_factory=dict)

    def queue(self, cfg: DictConfig) -> Path | None:
        """Freeze a run that Hydra has composed, unless it is there already.

        Args:
            cfg: with the node ``hydra``.

        Returns:
            Its directory; None if it was refused, which has been said then.
        """
        self.begun = True
        self.asked += 1
        hydra = cfg.hydra
        overrides = list(hydra.overrides.task)
        try:
            self.folder = Path(str(hydra.sweep.dir))
            folder = self.folder / str(hydra.sweep.subdir)
            if "${partinr.run:}" in OmegaConf.to_yaml(hydra.sweep, resolve=False):
                folder = _found(folder)
            cfg = cfg.copy()
            with open_dict(cfg):
                del cfg["hydra"]
            settings = execute.settings_for(cfg, overrides)
            rules = sweep_rules(cfg)
            if not _is_there(RunDirectory(folder), settings, rules):
                try:
                    execute.enqueue(settings, folder, overrides)
                except PartinrError:
                    # Another sweep may have been faster.
                    if not _is_there(RunDirectory(folder), settings, rules):
                        raise
        except (PartinrError, OmegaConfBaseException, OSError) as error:
            print_error(f"{self.say(error)} (run {hydra.job.num}: {' '.join(overrides)})")
            self.refused += 1
            return None
        # Not as it was asked for when it was queued, which may have been in other words.
        self.settings[folder] = dict(map(_setting, (each for each in overrides if _first(each) not in _NOT_SHOWN)))
        return folder

    def plan(self, folder: Path, rules: SweepRules) -> Plan:
        """What there is to do for a run that is queued, or was there before.

        Raises:
            PartinrError: its ``run.json`` cannot be read.
        """
        manifest = RunDirectory.open(folder).manifest()
        if manifest["status"] == "completed":
            return "keep"
        if manifest["status"] == "failed" and rules.retry != "failed" and not manifest.get("refused"):
            return "leave"
        return "carry out"

    def carry_out(self, folder: Path, rules: SweepRules) -> Outcome | None:
        """Carry a run out in this process, if there is something to do for it.

        Returns:
            How it ended, now or before; None if it was refused or is carried out elsewhere, which has been said then.
        """
        try:
            if self.plan(folder, rules) != "carry out":
                return self.settle(folder)
            outcome = execute.resume(folder)
        except (BusyError, CompletedError):  # meanwhile
            return self.settle(folder)
        except PartinrError as error:
            print_error(f"{self.say(error)} (run {folder.name})")
            self.refused += 1
            return None
        except Exception as error:
            # A fault of the program, or what nobody has thought of. The other runs need not suffer from it.
            print_error(f"{self.say(error)} (run {folder.name})")
            traceback.print_exception(error)
            outcome = Outcome(RunDirectory.open(folder), 1)
        self._ended(outcome)
        return outcome

    def settle(self, folder: Path, carried_out: bool = False) -> Outcome | None:
        """Take note of a run as its directory says that it is.

        Args:
            folder: its directory.
            carried_out: it was carried out for this sweep, and not before.

        Returns:
            How it ended; None if it was refused, or has not ended.
        """
        run = RunDirectory.open(folder)
        manifest = run.manifest()
        status = manifest["status"]
        if manifest.get("refused"):
            print_error(f"{manifest['message']} (run {folder.name})")
            self.refused += 1
            return None
        if run.alive if status == "running" else status == "queued" and not carried_out:
            self.elsewhere.append(folder)
            print_note(f"{folder.name} is being run by another process")
            return None
        outcome = Outcome(run, 0 if status == "completed" else 1)
        if not carried_out and status == "completed":
            self.kept += 1
        self._ended(outcome, was_there=not carried_out)
        return outcome

    def _ended(self, outcome: Outcome, was_there: bool = False) -> None:
        self.outcomes.append(outcome)
        if not was_there:
            show_finished(outcome)

    def sort(self, folders: Sequence[Path]) -> None:
        """Put the outcomes in the order of the runs, which may not be that in which they ended."""
        place = {folder: number for number, folder in enumerate(folders)}
        self.outcomes.sort(key=lambda outcome: place.get(outcome.run.path, -1))

    def show(self) -> None:
        """Say what came of it."""
        if self.outcomes:
            show_outcomes(self.outcomes, self.folder, self.settings)
        if self.folder is None or not (self.outcomes or self.elsewhere):
            return
        ended = [outcome.run.manifest()["status"] for outcome in self.outcomes]
        completed = ended.count("completed")
        others = {
            **{status: ended.count(status) for status in dict.fromkeys(ended) if status != "completed"},
            "refused": self.refused,
            "carried out elsewhere": len(self.elsewhere),
            "waiting": self.asked - len(self.outcomes) - self.refused - len(self.elsewhere),
        }
        before = f" ({self.kept} of them before)" if self.kept else ""
        parts = [f"{completed} completed{before}", *(f"{count} {what}" for what, count in others.items() if count > 0)]
        runs = "1 run" if self.asked == 1 else f"{self.asked} runs"
        left = others["waiting"] or "interrupted" in others or self.elsewhere
        console = terminal()
        console.print(f"sweep    {runs}: {', '.join(parts)}", highlight=False, soft_wrap=True)
        if left:
            console.print("         the same command goes on with the rest", highlight=False)


def _is_there(run: RunDirectory, settings: Settings, rules: SweepRules) -> bool:
    """Whether a directory holds the run already; one that is to be made again is moved away.

    Raises:
        PartinrError: it holds another one, or its ``run.json`` cannot be read.
        OSError: it cannot be moved.
    """
    if not os.path.lexists(run.file(MANIFEST)):
        return False
    manifest = run.manifest()
    if manifest.get("config_hash") != execute.identity(settings)["config_hash"]:
        run.check_free()
    if manifest["status"] != "completed":
        return True
    other = made_by_another_version(manifest)
    if rules.redo == "all" or (rules.redo == "other_version" and other):
        _supersede(run)
        return False
    if other:
        print_note(
            f"{run.path.name} was completed by partinr {manifest['versions']['partinr']}, this is {__version__}; "
            "to make such runs again: sweep.redo=other_version"
        )
    return True


def made_by_another_version(manifest: Mapping[str, Any]) -> bool:
    """Whether a run is from another version of partinr; of one that says nothing it is not known, and it is not."""
    versions = manifest.get("versions")
    return isinstance(versions, Mapping) and versions.get("partinr", __version__) != __version__


def _supersede(run: RunDirectory) -> None:
    """Move a run out of the way, to where no report looks for it."""
    aside = run.path.parent / SUPERSEDED
    aside.mkdir(exist_ok=True)
    number = 1
    while (target := aside / f"{run.path.name}.{number}").exists():
        number += 1
    run.path.rename(target)


def register_names(overrides: Sequence[str]) -> None:
    """Make ``${partinr.study:NAME}`` and ``${partinr.run:}`` known to OmegaConf: folders of a sweep and of its runs.

    Args:
        overrides: of the command line, with all the values of a sweep.
    """
    study = study_name(overrides)
    swept = {_key(each) for each in overrides if _is_swept(each)}
    OmegaConf.register_new_resolver("partinr.study", lambda named: named or study, replace=True)
    OmegaConf.register_new_resolver("partinr.run", lambda *, _root_: _run_name(_root_, swept), replace=True)


def study_name(overrides: Sequence[str]) -> str:
    """The folder of a sweep that has no name.

    That of its experiment, with the size where it is not the full one; or else what all of its runs have in common and
    the keys in which they differ: so a further value joins those that are there.
    """
    asked = sorted(each for each in overrides if _first(each) not in _NOT_SHOWN)
    experiments = [each.partition("=")[2] for each in asked if _first(each) == "experiment"]
    if experiments and "," not in experiments[0]:
        size = next((each.partition("=")[2] for each in asked if _first(each) == "size"), None)
        return names.folder_label(names.sized(experiments[0], size))
    swept = [_key(each) for each in asked if _is_swept(each)]
    fixed = [each for each in asked if not _is_swept(each)]
    label = ",".join([*map(_short, fixed), "by", *(key.rpartition(".")[2] for key in swept)])
    return f"{names.folder_label(label)}_{names.short_hash(' '.join([*fixed, *swept]))}"


def _is_swept(override: str) -> bool:
    """Whether an override has several values: a list of them, or a range, a choice or an interval of a sweeper."""
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except HydraException:
        return False


def _run_name(cfg: DictConfig, swept: Collection[str]) -> str:
    """What was asked for, to be read, first what differs in a sweep; and a hash of all that the run is."""
    asked = [each for each in cfg.hydra.overrides.task if _first(each) not in _NOT_SHOWN]
    label = ",".join(map(_short, sorted(asked, key=lambda each: (_key(each) not in swept, each))))
    plain = names.plain(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    return f"{names.safe_name(label)[:MOST_LETTERS]}_{config_hash(names.identity(plain))[:HASH_LETTERS]}"


MOST_LETTERS = 72
"""Of what was asked for, in the name of a run. What is cut off is still in the hash."""

HASH_LETTERS = 8


def _found(folder: Path) -> Path:
    """The directory of a run that has another name: asked for in other words, it was the same run."""
    same = folder.parent.glob(f"*_{folder.name[-HASH_LETTERS:]}")
    return next((path for path in sorted(same) if path.joinpath(MANIFEST).exists()), folder)


_NOT_SHOWN = (*names.NOT_IDENTITY, "hydra")


def _first(override: str) -> str:
    """The group, or the key at the root, that an override is about."""
    return re.split(r"[=./@]", override.lstrip("+~"), maxsplit=1)[0]


def _digits(value: str) -> str:
    """A number that a sampler has drawn, as somebody would write it."""
    try:
        return f"{float(value):.4g}" if "." in value and len(value) > 8 else value
    except ValueError:
        return value


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _setting(override: str) -> tuple[str, str]:
    """Key and value of an override, the value a number as short as it can be: 1e-3 is 0.001."""
    key, _, value = override.lstrip("+~").partition("=")
    value = value.strip("'\"")
    try:
        return key, value if value.lstrip("-").isdigit() else f"{float(value):g}"
    except ValueError:
        return key, value


def _short(override: str) -> str:
    """An override without the group of its key, and a file without its folders."""
    key, _, value = override.partition("=")
    value = value.strip("'\"")
    name = Path(value).stem if "/" in value else _digits(value)
    return name if key == "data.path" else f"{key.rpartition('.')[2]}={name}"

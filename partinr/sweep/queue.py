"""Queues many runs from one command: existing runs are kept, and missing ones are executed.

The directory of a run is named after its configuration, so the same command finds it again. All runs are queued with
frozen configurations before the first begins; launchers (``hydra/launcher``) receive only the directories.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.notes import print_error, print_note
from partinr.base.terminal import terminal
from partinr.base.text import visible
from partinr.base.version import __version__
from partinr.experiment.outcome import CompletedError, Outcome
from partinr.experiment.provenance import Inputs, identity
from partinr.experiment.show import show_finished, show_outcomes
from partinr.runs.directory import BusyError, RunDirectory
from partinr.runs.layout import MANIFEST, SUPERSEDED
from partinr.runs.standing import duration
from partinr.sweep.folders import found, settings_asked
from partinr.sweep.rules import SweepRules, sweep_rules

if TYPE_CHECKING:
    from partinr.experiment import config, execute
    from partinr.experiment.config import Settings
else:
    config = Later("partinr.experiment.config")
    execute = Later("partinr.experiment.execute")


@dataclass
class Sweep:
    """The runs that one command requests, and their outcomes.

    Attributes:
        say: turns an exception, and the overrides of its job, into one line; raises it where a traceback is wanted.
        outcomes: outcomes of the runs that ended, in order.
        kept: number of runs that were completed before.
        elsewhere: directories of runs that another process executes.
        refused: number of refused runs.
        begun: whether Hydra has composed a run.
        folder: folder of the sweep; None for a single run.
        asked: number of requested runs.
        settings: requested settings of each run, by its directory.
        again: number of runs that are repeated because something that they read has changed.
        expected: number of runs that a search will request; 0 if unknown.
    """

    say: Callable[..., str]
    outcomes: list[Outcome] = field(default_factory=list)
    kept: int = 0
    elsewhere: list[Path] = field(default_factory=list)
    refused: int = 0
    begun: bool = False
    folder: Path | None = None
    asked: int = 0
    settings: dict[Path, dict[str, str]] = field(default_factory=dict)
    again: int = 0
    expected: int = 0
    _began: float = 0.0
    _carried_out: int = 0
    _inputs: Inputs = field(default_factory=lambda: Inputs(once=True))

    def queue(self, cfg: DictConfig) -> Path | None:
        """Freeze a run that Hydra has composed, unless it exists.

        Args:
            cfg: composed configuration with the node ``hydra``.

        Returns:
            its directory; None if it was refused and the reason printed.
        """
        hydra = cfg.hydra
        overrides = list(hydra.overrides.task)
        self.begun = True
        try:
            self.folder = Path(str(hydra.sweep.dir))
            folder = self.folder / str(hydra.sweep.subdir)
            if "${partinr.run:}" in OmegaConf.to_yaml(hydra.sweep, resolve=False):
                folder = found(folder)
            cfg = cfg.copy()
            with open_dict(cfg):
                del cfg["hydra"]
            settings = config.asked_settings(cfg, overrides)
            rules = sweep_rules(cfg)
            if not self._is_there(RunDirectory(folder), settings, rules):
                try:
                    execute.enqueue(settings, folder, overrides)
                except PartinrError:
                    # Another sweep may have created it first.
                    if not self._is_there(RunDirectory(folder), settings, rules):
                        raise
        except (PartinrError, OmegaConfBaseException, OSError) as error:
            self.refuse(self.say(error, overrides), overrides, hydra.job.num)
            return None
        self._inputs.save()
        # In the form of this command; the run may have been queued with other overrides.
        self.settings[folder] = settings_asked(overrides)
        self.asked += 1
        return folder

    def _is_there(self, run: RunDirectory, settings: Settings, rules: SweepRules) -> bool:
        """Whether a directory holds the run already; a run that is to be made again is moved away.

        Raises:
            PartinrError: it holds another one, its ``run.json`` cannot be read, or what it reads has changed and
                ``sweep.changed`` is ``refuse``.
            OSError: it cannot be moved.
        """
        if not os.path.lexists(run.file(MANIFEST)):
            return False
        manifest = run.manifest()
        if manifest.get("config_hash") != identity(settings)["config_hash"]:
            run.check_free()
        if not self._is_fresh(run, manifest, settings, rules):
            self.again += 1
            return False
        if manifest["status"] != "completed":
            return True
        other = made_by_another_version(manifest)
        if rules.redo == "all" or (rules.redo == "other_version" and other):
            return _supersede(run, manifest) is None
        if other:
            print_note(
                f"{run.path.name} was completed by partinr {manifest['versions']['partinr']}, this is {__version__}; "
                "to make such runs again: sweep.redo=other_version"
            )
        return True

    def _is_fresh(self, run: RunDirectory, manifest: Mapping[str, Any], settings: Settings, rules: SweepRules) -> bool:
        """Whether a run has read what it would read now; one that has not is moved away, or a note says why it stays.

        Raises:
            PartinrError: it has not, and ``sweep.changed`` is ``refuse``.
            OSError: it cannot be moved.
        """
        changes = [] if manifest["status"] == "queued" else self._inputs.changes(manifest, settings)
        if not changes:
            return True
        gone = [change for change in changes if change.gone]
        if gone:
            # Made again, it would be refused.
            print_note(f"{gone[0].what} cannot be read now; {run.path.name}, which was made with it, is kept")
            return True
        what = ", ".join(change.what for change in changes)
        since = f"{what} {'has' if len(changes) == 1 else 'have'} changed since {run.path.name} was made"
        if run.alive:
            print_note(f"{since}; it is still running, and goes on with what it has read")
            return True
        if rules.changed == "keep":
            print_note(f"{since}; it is kept, as sweep.changed=keep says")
            return True
        if rules.changed == "refuse":
            raise PartinrError(
                f"{since}; sweep.changed=redo makes it again, sweep.changed=keep keeps it; or put back what it read"
            )
        place = _supersede(run, manifest)
        if place is not None:
            print_note(f"{since}; making it again, the old one is kept in {SUPERSEDED}/{place.name}")
        return place is None

    def refuse(self, line: str, overrides: Sequence[str], number: int) -> None:
        """Count and print a run that cannot be queued."""
        self.begun = True
        self.asked += 1
        self.refused += 1
        print_error(f"{line} (run {number}: {' '.join(overrides)})")

    def is_missing(self, folder: Path, rules: SweepRules) -> bool:
        """Whether a run must be executed or continued.

        Raises:
            PartinrError: its ``run.json`` cannot be read.
        """
        manifest = RunDirectory.open(folder).manifest()
        if manifest["status"] == "failed" and rules.retry != "failed":
            return bool(manifest.get("refused"))
        return manifest["status"] != "completed"

    def begin(self) -> None:
        """Start the clock that the remaining time is estimated by."""
        self._began = self._began or time.monotonic()

    def carry_out(self, folder: Path) -> Outcome | None:
        """Execute a run in this process.

        Returns:
            its outcome; None if it was refused or is executed elsewhere, which has been printed.
        """
        try:
            outcome = execute.resume(folder)
        except (BusyError, CompletedError):  # by another process in the meantime
            return self.settle(folder)
        except PartinrError as error:
            print_error(f"{self.say(error)} (run {folder.name})")
            self.refused += 1
            return None
        except Exception as error:  # a fault of the program must not end other runs
            print_error(f"{self.say(error)} (run {folder.name})")
            traceback.print_exception(error)
            outcome = Outcome(RunDirectory.open(folder), 1)
        self._ended(outcome)
        return outcome

    def settle(self, folder: Path, carried_out: bool = False) -> Outcome | None:
        """Count a run by the state of its directory.

        Args:
            folder: run directory.
            carried_out: whether this sweep executed it.

        Returns:
            its outcome; None if it was refused or has not ended.
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
            self._carried_out += 1
            show_finished(outcome, self._swept(outcome.run.path), self._place() if outcome.exit_code <= 128 else "")

    def _swept(self, folder: Path) -> str:
        """The settings of a run in which the runs differ; empty for a single run."""
        own = self.settings.get(folder, {})
        keys = [key for key in own if len({each.get(key) for each in self.settings.values()}) > 1]
        return " ".join(f"{key}={visible(own[key])}" for key in keys)

    def _place(self) -> str:
        """The place of the run that has just ended and the remaining time, as far as earlier runs tell it."""
        ended, total = len(self.outcomes) + self.refused + len(self.elsewhere), max(self.asked, self.expected)
        left = (time.monotonic() - self._began) / self._carried_out * (total - ended)
        if total < 2:
            return ""
        return f"run {ended} of {total}" + (f", {duration(left)} to go" if total > ended else "")

    def sort(self, folders: Sequence[Path]) -> None:
        """Sort the outcomes by the order of the runs, which may have ended in another order."""
        place = {folder: number for number, folder in enumerate(folders)}
        self.outcomes.sort(key=lambda outcome: place.get(outcome.run.path, -1))

    def show(self) -> None:
        """Print the outcomes."""
        if self.outcomes:
            show_outcomes(self.outcomes, self.folder, self.settings)
        if self.folder is None or not (self.outcomes or self.elsewhere):
            return
        counts = Counter(outcome.run.manifest()["status"] for outcome in self.outcomes)
        completed = counts.pop("completed", 0)
        counts["refused"] += self.refused
        counts["carried out elsewhere"] += len(self.elsewhere)
        counts["waiting"] += self.asked - len(self.outcomes) - self.refused - len(self.elsewhere)
        before = f" ({self.kept} of them before)" if self.kept else ""
        parts = [f"{completed} completed{before}", *(f"{count} {what}" for what, count in counts.items() if count > 0)]
        runs = "1 run" if self.asked == 1 else f"{self.asked} runs"
        console = terminal()
        again = f" ({self.again} of them made again)" if self.again else ""
        console.print(f"sweep    {runs}{again}: {', '.join(parts)}", highlight=False, soft_wrap=True)
        if counts["waiting"] > 0 or counts["interrupted"] or self.elsewhere:
            console.print("         the same command continues the rest", highlight=False)


def made_by_another_version(manifest: Mapping[str, Any]) -> bool:
    """Whether another version of partinr made a run, according to its manifest."""
    versions = manifest.get("versions")
    return isinstance(versions, Mapping) and versions.get("partinr", __version__) != __version__


def _supersede(run: RunDirectory, manifest: Mapping[str, Any]) -> Path | None:
    """Move a run to a folder that reports ignore.

    Args:
        run: the run.
        manifest: its ``run.json`` when this was decided.

    Returns:
        Its new place; None if another process has repeated or continued it meanwhile.

    Raises:
        PartinrError: the directory cannot be written.
        OSError: the run cannot be moved.
    """
    aside = run.path.parent / SUPERSEDED
    with suppress(BusyError), run.claimed():
        if run.manifest() == manifest:
            aside.mkdir(exist_ok=True)
            number = 1
            while (target := aside / f"{run.path.name}.{number}").exists():
                number += 1
            run.path.rename(target)
            return target
    return None

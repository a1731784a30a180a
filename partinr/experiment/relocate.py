"""The files of a run that goes on: whether they are there, are what they were, or have moved to another place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.text import for_shell
from partinr.experiment.config import Settings, read
from partinr.experiment.provenance import Inputs, readable
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT
from partinr.signals.identity import identity_facts
from partinr.training.checkpoint import OtherRunError
from partinr.training.loop import TrainingLoop

_LIMITS = ("max_steps", "max_seconds", "target_psnr")
"""Settings that a new run may change when it goes on from a checkpoint."""


def places_of(changes: Sequence[str], run: RunDirectory) -> dict[str, str]:
    """New places of what a run reads, by key.

    Args:
        changes: as ``data.path=photos/photo.png``.
        run: its directory.

    Raises:
        PartinrError: one is not of this form, or its key does not name files.
    """
    allowed = readable(read(run.config())) if changes else {}
    places = {}
    for change in changes:
        key, equals, place = change.partition("=")
        if not equals or not place:
            raise PartinrError(f"--set {change}: give a key and the new place, as in --set data.path=FILE")
        if key not in allowed:
            kept = [each for each in run.overrides() if each.partition("=")[0].lstrip("+") != key]
            words = [*kept, change, *([f"ckpt_path={run.file(CHECKPOINT)}"] if key in _LIMITS else [])]
            command = " ".join(["partinr", *map(for_shell, words)])
            start = "that goes on from its checkpoint" if key in _LIMITS else "from the start"
            raise PartinrError(
                f"--set {key}: resume keeps all settings, and only learns where files are now "
                f"({', '.join(allowed)}); for another {key} make a new run {start}: {command}"
            )
        places[key] = os.path.abspath(os.path.expanduser(place))
    return places


def moved(cfg: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """A configuration with other places for some of its files."""
    found = dict(cfg)
    for key, place in places.items():
        group, _, name = key.rpartition(".")
        found.update({group: {**found[group], name: place}} if group else {name: place})
    return found


@contextmanager
def same_content(
    run: RunDirectory, settings: Settings, places: Mapping[str, str]
) -> Iterator[Callable[[TrainingLoop], None]]:
    """The check that a run still reads what it began with: before its module is made inside, and by a call of it after.

    What its checkpoint says of the signals is compared inside, too. Every refusal names the cure.

    Args:
        run: its directory.
        settings: that it goes on with.
        places: new places of what it reads, by key.

    Raises:
        PartinrError: something is not there, or is something else.
    """
    _check_there(run, settings)
    try:
        yield lambda module: _check_content(run, settings, module, places)
    except OtherRunError as error:
        raise _advised(run, settings, places, error.problem) from error


def _check_there(run: RunDirectory, settings: Settings) -> None:
    # Values that are no absolute path may be names that are found elsewhere.
    named = {key: value for key, value in readable(settings).items() if isinstance(value, str) and os.path.isabs(value)}
    missing = {key: value for key, value in named.items() if not os.path.exists(value)}
    if missing:
        said = " and ".join(f"{key}={value}" for key, value in missing.items())
        raise PartinrError(
            f"{said} {'is' if len(missing) == 1 else 'are'} not there; "
            f"say where the content is now: {_resume(run, list(missing))}"
        )


def _check_content(run: RunDirectory, settings: Settings, module: TrainingLoop, places: Mapping[str, str]) -> None:
    """Compare what a run reads with what ``run.json`` says of it.

    A run without a checkpoint begins anew, with what is there, unless places were given for what it began with.
    """
    continues = settings.root.ckpt_path != run.config().get("ckpt_path")
    for key in _changed(run, settings):
        # The same signal may be in other files; a checkpoint has been compared with it.
        if key.startswith("data.") and (continues or _same_signal(run.manifest(), module)):
            continue
        if continues or key in places:
            raise OtherRunError(f"the content of {key} is not what it began with")
    if not continues and places and not _same_signal(run.manifest(), module, unknown=True):
        raise OtherRunError("the signal is not the one that it began with")


def _changed(run: RunDirectory, settings: Settings) -> list[str]:
    """The keys of what a run began with whose content is another now."""
    inputs, now = run.manifest().get("inputs"), Inputs().of(settings)
    known = inputs if isinstance(inputs, Mapping) else {}
    return [key for key, digest in known.items() if key in now and key != "ckpt_path" and now[key] != digest]


def _advised(run: RunDirectory, settings: Settings, places: Mapping[str, str], problem: str) -> PartinrError:
    """The refusal to go on with a run that reads something else now."""
    if places:
        said = " ".join(f"{key}={place}" for key, place in places.items())
        return PartinrError(f"{run.path} cannot go on with {said}: {problem}; give the place of what it began with")
    changed = _changed(run, settings)
    which = f" ({' and '.join(changed)} {'has' if len(changed) == 1 else 'have'} changed)" if changed else ""
    cure = f"put the old files back, or say where they are: {_resume(run, changed)}; " if changed else ""
    return PartinrError(
        f"{run.path} cannot go on: {problem}{which}; {cure}"
        f"to begin anew with what is here: partinr rerun {for_shell(run.path)}"
    )


def _same_signal(manifest: Mapping[str, Any], module: TrainingLoop, unknown: bool = False) -> bool:
    """Whether one of the digests of the signals is as ``run.json`` has it; ``unknown`` where it has none."""
    before, now = manifest.get("signal") or {}, identity_facts(module.identities.values())
    both = [key for key in ("pixels_sha256", "file_sha256") if key in before and key in now]
    return any(before[key] == now[key] for key in both) if both else unknown


def _resume(run: RunDirectory, keys: Sequence[str]) -> str:
    """The command that goes on with a run whose files are elsewhere."""
    return " ".join(["partinr resume", for_shell(run.path), *(f"--set {key}=PLACE" for key in keys)])

"""The files of a run that goes on: whether they are there, are what they were, or have moved to another place."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from partinr.base.errors import PartinrError
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
            words = [*run.overrides(), change, *([f"ckpt_path={run.file(CHECKPOINT)}"] if key in _LIMITS else [])]
            start = "that goes on from its checkpoint" if key in _LIMITS else "from the start"
            raise PartinrError(
                f"--set {key}: resume keeps all settings, and only learns where files are now "
                f"({', '.join(allowed)}); for another {key} make a new run {start}: partinr {shlex.join(words)}"
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


def check_there(run: RunDirectory, settings: Settings) -> None:
    """Check that everything that a run reads is where its configuration says.

    Raises:
        PartinrError: something is not.
    """
    # Other values may be names that are found elsewhere.
    named = {key: value for key, value in readable(settings).items() if isinstance(value, str) and os.path.isabs(value)}
    missing = {key: value for key, value in named.items() if not os.path.exists(value)}
    if missing:
        said = " and ".join(f"{key}={value}" for key, value in missing.items())
        raise PartinrError(
            f"{said} {'is' if len(missing) == 1 else 'are'} not there; "
            f"say where the content is now: {_resume(run, list(missing))}"
        )


def check_content(run: RunDirectory, settings: Settings, module: TrainingLoop, places: Mapping[str, str]) -> None:
    """Check that what lies at new places is what a run read before, as far as ``run.json`` knows it.

    Args:
        run: its directory.
        settings: that it goes on with.
        module: made from them; its checkpoint, if it has one, has been compared with it.
        places: the new ones, by key.

    Raises:
        OtherRunError: it is something else.
    """
    manifest, now = run.manifest(), Inputs().of(settings)
    for key, place in places.items():
        before = _entry(manifest, "inputs").get(key)
        if before in (None, now.get(key)):
            # Runs of older versions know their signal alone.
            same = before is not None or not key.startswith("data.") or _same_signal(manifest, module)
        else:
            # The same signal may be in other files.
            same = key.startswith("data.") and (run.file(CHECKPOINT).is_file() or _same_signal(manifest, module, False))
        if not same:
            raise OtherRunError("", f"the content of {key}={place} is not what it began with", "")


def advised(run: RunDirectory, settings: Settings, places: Mapping[str, str], error: OtherRunError) -> PartinrError:
    """The refusal to go on with a run whose signals or settings are others now.

    Args:
        run: its directory.
        settings: that it would go on with.
        places: new places that were given.
        error: what differs.
    """
    if places:
        said = " ".join(f"{key}={place}" for key, place in places.items())
        return PartinrError(
            f"{run.path} cannot go on with {said}: {error.problem}; give the place of what it began with"
        )
    now = Inputs().of(settings)
    inputs = _entry(run.manifest(), "inputs")
    changed = [key for key, digest in inputs.items() if key in now and key != "ckpt_path" and now[key] != digest]
    cure = f"put the old files back, or say where they are: {_resume(run, changed)}; " if changed else ""
    return PartinrError(
        f"{run.path} cannot go on: {error.problem}{' (' + ', '.join(changed) + ' has changed)' if changed else ''}; "
        f"{cure}to begin anew with what is here: partinr rerun {shlex.quote(str(run.path))}"
    )


def _same_signal(manifest: Mapping[str, Any], module: TrainingLoop, unknown: bool = True) -> bool:
    """Whether one of the digests of the signals is as ``run.json`` has it; ``unknown`` where it has none."""
    before, now = _entry(manifest, "signal"), identity_facts(module.identities.values())
    both = [key for key in ("pixels_sha256", "file_sha256") if key in before and key in now]
    return any(before[key] == now[key] for key in both) if both else unknown


def _entry(manifest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = manifest.get(key)
    return found if isinstance(found, Mapping) else {}


def _resume(run: RunDirectory, keys: Sequence[str]) -> str:
    """The command that goes on with a run whose files are elsewhere."""
    return " ".join(["partinr resume", shlex.quote(str(run.path)), *(f"--set {key}=PLACE" for key in keys)])

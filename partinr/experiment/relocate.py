"""The files of a run that continues: whether they exist, are unchanged, or have moved."""

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
"""Settings that a new run may change when it continues from a checkpoint."""


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
            start = "that continues from its checkpoint" if key in _LIMITS else "from the start"
            instead = f"; for another {key} make a new run {start}: {command}" if kept else ""
            raise PartinrError(
                f"--set {key}: all settings are kept, and --set only says where files are now "
                f"({', '.join(allowed)}){instead}"
            )
        places[key] = os.path.abspath(os.path.expanduser(place))
    return places


@contextmanager
def same_content(
    run: RunDirectory, settings: Settings, places: Mapping[str, str]
) -> Iterator[Callable[[TrainingLoop], None]]:
    """A check that a run still reads what it read at first; every refusal names the cure.

    The files are looked for on entry. Make the module inside, which compares it with the checkpoint, then call the
    check with it.

    Args:
        run: run directory.
        settings: settings of the continuation.
        places: new places of the files, by key.

    Raises:
        PartinrError: a file is missing, or its content is different.
    """
    check_there(settings, f"partinr resume {for_shell(run.path)}")
    try:
        yield lambda module: _check_content(run, settings, module, places)
    except OtherRunError as error:
        if not places and not _continues(run, settings):
            raise  # about the checkpoint of another run, which the user chose
        raise _advised(run, settings, places, error.problem) from error


def check_there(settings: Settings, command: str) -> None:
    """Check that the files of a run are where it read them.

    Args:
        settings: settings of the run.
        command: the command that executes it, for the advice.

    Raises:
        PartinrError: a file is missing.
    """
    # Values that are no absolute path may be names that are found elsewhere.
    named = {key: value for key, value in readable(settings).items() if isinstance(value, str) and os.path.isabs(value)}
    missing = {key: value for key, value in named.items() if not os.path.exists(value)}
    if missing:
        said = " and ".join(f"{key}={value}" for key, value in missing.items())
        raise PartinrError(
            f"{said} {'is' if len(missing) == 1 else 'are'} not there; "
            f"say where the content is now: {_with_places(command, list(missing))}"
        )


def _check_content(run: RunDirectory, settings: Settings, module: TrainingLoop, places: Mapping[str, str]) -> None:
    """Compare the files of a run with the digests in ``run.json``.

    A run without a checkpoint starts again with the present files, unless new places were given.
    """
    continues = _continues(run, settings)
    for key in _changed(run, settings):
        # The same signal may be in other files; a checkpoint has been compared with it.
        if key.startswith("data.") and (continues or _same_signal(run.manifest(), module)):
            continue
        if continues or key in places:
            raise OtherRunError(f"the content of {key} is not what it read at first")
    if not continues and places and not _same_signal(run.manifest(), module, unknown=True):
        raise OtherRunError("the signal is not the one that it read at first")


def _continues(run: RunDirectory, settings: Settings) -> bool:
    """Whether a run continues from a checkpoint of its own."""
    return bool(settings.root.ckpt_path != run.config().get("ckpt_path"))


def _changed(run: RunDirectory, settings: Settings) -> list[str]:
    """The keys of files whose content has changed since the run began."""
    inputs, now = run.manifest().get("inputs"), Inputs().of(settings)
    known = inputs if isinstance(inputs, Mapping) else {}
    return [key for key, digest in known.items() if key in now and key != "ckpt_path" and now[key] != digest]


def _advised(run: RunDirectory, settings: Settings, places: Mapping[str, str], problem: str) -> PartinrError:
    """The refusal to continue a run whose files have changed."""
    if places:
        said = " ".join(f"{key}={place}" for key, place in places.items())
        return PartinrError(
            f"{run.path} cannot continue with {said}: {problem}; give the place of what it read at first"
        )
    changed = _changed(run, settings)
    which = f" ({' and '.join(changed)} {'has' if len(changed) == 1 else 'have'} changed)" if changed else ""
    cure = ""
    if changed:
        command = _with_places(f"partinr resume {for_shell(run.path)}", changed)
        cure = f"put the old files back, or say where they are: {command}; "
    return PartinrError(
        f"{run.path} cannot continue: {problem}{which}; {cure}"
        f"to start again with the present files: partinr rerun {for_shell(run.path)}"
    )


def _same_signal(manifest: Mapping[str, Any], module: TrainingLoop, unknown: bool = False) -> bool:
    """Whether a digest of the signals equals that in ``run.json``; ``unknown`` if it has none."""
    before, now = manifest.get("signal") or {}, identity_facts(module.identities.values())
    both = [key for key in ("pixels_sha256", "file_sha256") if key in before and key in now]
    return any(before[key] == now[key] for key in both) if both else unknown


def _with_places(command: str, keys: Sequence[str]) -> str:
    """A command with the options that say where files are."""
    return " ".join([command, *(f"--set {key}=PLACE" for key in keys)])

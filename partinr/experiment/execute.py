"""Executes and resumes a run."""

from __future__ import annotations

import platform
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from partinr.base.environment import door
from partinr.base.errors import STORAGE, PartinrError
from partinr.base.notes import note_unsent, print_note
from partinr.base.text import for_shell
from partinr.callbacks import CurveFile, Header, Interruption, LoggedFile, Manifest, RunCallback
from partinr.experiment import config, names
from partinr.experiment.nodes import nodes_for, this_node
from partinr.experiment.outcome import CompletedError, Outcome
from partinr.experiment.provenance import Inputs, begun, check_code, identity, origin
from partinr.experiment.relocate import places_of, same_content
from partinr.model.capacity import PROBED
from partinr.regimes.base import RunContext
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT, LOCK, PREVIOUS, REPEATS, WRITER
from partinr.training.checkpoint import OtherVersionError, read_checkpoint, read_partitions, read_widths
from partinr.training.guests import GuestError, GuestFailedError, configured, guests_named, hosted, is_guest
from partinr.training.loop import TrainingLoop
from partinr.training.nodes import RankError
from partinr.training.trainer import check_run, make_trainer, run_fit

_DEFAULT_THREADS = torch.get_num_threads()


def execute(settings: config.Settings, folder: Path, overrides: Sequence[str], repeats: str | None = None) -> Outcome:
    """Execute a run in a new run directory.

    Args:
        settings: settings of the run.
        folder: the new directory; must not hold a run.
        overrides: overrides from the command line.
        repeats: the run that this one repeats as a check, for ``run.json``.

    Raises:
        PartinrError: the input is invalid; nothing has been written.
    """
    RunDirectory(folder).check_free()
    prepared = _prepare(settings, folder, {}, shown=[Header()])
    there: set[Path] = set()
    with suppress(OSError):  # it is not there yet, or it cannot be listed, which is refused next
        there = set(folder.iterdir())
    facts = {"regime": prepared.settings.describe(), **({} if repeats is None else {REPEATS: repeats})}
    run = RunDirectory.create(folder, prepared.settings.plain, overrides, facts=facts)
    with run.claimed(), _undone_if_refused(folder, there):
        return _carry_out(prepared, run)


@contextmanager
def _undone_if_refused(folder: Path, there: Set[Path]) -> Iterator[None]:
    """Remove a run's files from its folder if a callback refuses to begin, so that the run can be requested again."""
    try:
        yield
    except GuestError:
        for path in set(folder.iterdir()) - there:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def enqueue(settings: config.Settings, folder: Path, overrides: Sequence[str]) -> RunDirectory:
    """The directory of a queued run with its frozen configuration, which :func:`resume` executes later.

    Args:
        settings: settings of the run.
        folder: the new directory; must not hold a run.
        overrides: overrides from the command line.

    Raises:
        BusyError: another process is making the directory.
        PartinrError: the directory holds a run, or cannot be written.
    """
    run = RunDirectory(folder)
    run.make()
    with run.claimed():  # so that no process begins before all files exist
        return RunDirectory.create(
            folder,
            settings.plain,
            overrides,
            {**identity(settings), "seed": settings.root.seed},
            facts={"regime": settings.describe()},
        )


def resume(
    folder: Path, force: bool = False, interruption: Interruption | None = None, changes: Sequence[str] = ()
) -> Outcome:
    """Continue a run in its own directory from its last checkpoint, or from the start without one.

    If the last checkpoint is damaged, the previous one is used, and a note says so.

    Args:
        folder: the run directory.
        force: continue even if an unreachable process on another host claims to be running.
        interruption: an active listener for signals; None to listen during this run only.
        changes: new places of files that the run reads, as ``data.path=PLACE``; the run keeps them.

    Raises:
        BusyError: another process is executing the run.
        CompletedError: the run is completed.
        PartinrError: there is no run, its configuration is invalid, a file that it reads is missing or has changed, all
            checkpoints are damaged, or the directory cannot be written.
    """
    run = RunDirectory.open(folder)
    run.check_allows("resume")
    places = places_of(changes, run)
    if this_node() > 0:
        # The first node owns the run. It waits for this node before it changes anything.
        return _carry_out(
            _prepare(config.read(names.with_values(_gone_on_with(run), places)), folder, {}, interruption), run
        )
    _check_not_completed(run)
    if not run.file(LOCK).exists() and run.alive:
        # Runs of older versions have no lock.
        host = run.manifest().get("host")
        if host == platform.node():
            raise PartinrError(f"{folder} is still running; wait for it, or stop it first")
        if not force:
            raise PartinrError(
                f"{folder} is still running on {host}, or was killed there; "
                f"if you know that it was: partinr resume --force {for_shell(folder)}"
            )
    with run.claimed(force):
        manifest = _check_not_completed(run)  # another process may have completed it
        cfg = names.with_values(_gone_on_with(run), places)
        known = {key: value for key, value in manifest.items() if key not in (*WRITER, "refused", "message")}
        try:
            check_code(manifest, folder)
            settings = config.read(cfg)
            with same_content(run, settings, places) as check:
                prepared = _prepare(settings, folder, begun(run, manifest, settings), interruption)
                check(prepared.module)
        except PartinrError as error:
            if manifest["status"] == "queued":
                # The output may have no reader, and the same command tries again.
                run.write_manifest({**known, "status": "failed", "message": str(error), "refused": True})
            raise
        try:
            # From now on this process is the writer, and other processes see it as alive.
            run.write_manifest({**known, "status": "running"})
            run.sweep()
            if places:
                run.write_config(names.with_values(run.config(), places))
            if cfg.get("ckpt_path") == str(run.file(PREVIOUS)):
                # A damaged checkpoint would replace the valid one at the next save.
                run.file(CHECKPOINT).unlink(missing_ok=True)
        except OSError as error:
            raise PartinrError(
                f"cannot write in {folder}: {error.strerror}; its owner can, or continue in a directory of your own: "
                f"partinr … ckpt_path={run.file(CHECKPOINT)}"
            ) from error
        try:
            return _carry_out(prepared, run)
        except GuestError as error:
            if manifest["status"] == "queued":
                run.write_manifest({**run.manifest(), "message": str(error), "refused": True})
            raise


def _check_not_completed(run: RunDirectory) -> dict[str, Any]:
    """The manifest of a run that is not completed.

    Raises:
        CompletedError: the run is completed.
    """
    manifest = run.manifest()
    if manifest["status"] == "completed":
        raise CompletedError(
            f"{run.path} is completed; to make it longer: partinr … max_steps=N ckpt_path={run.file(CHECKPOINT)}"
        )
    return manifest


def _gone_on_with(run: RunDirectory) -> dict[str, Any]:
    """The configuration of a run, with what was settled when it began, and its checkpoint if there is one.

    Raises:
        PartinrError: the configuration cannot be read, or all checkpoints are damaged.
    """
    manifest = run.manifest()
    cfg = names.with_values(run.config(), manifest.get("settled", {}))
    checkpoint = None if manifest["status"] == "queued" else _sound_checkpoint(run)
    return cfg if checkpoint is None else {**cfg, "ckpt_path": str(checkpoint)}


def _sound_checkpoint(run: RunDirectory) -> Path | None:
    """The last valid checkpoint: ``last.ckpt``, else the previous one; None if there is none yet.

    Raises:
        PartinrError: checkpoints exist, but all are damaged.
    """
    last, previous = run.file(CHECKPOINT), run.file(PREVIOUS)
    if not last.is_file() and not previous.is_file():
        # A run with ckpt_path begins from that checkpoint again.
        print_note(f"{run.path} has no checkpoint yet; it starts from the beginning")
        return None
    for path in (last, previous):
        try:
            _, step = read_checkpoint(path)
        except OtherVersionError:
            raise
        except PartinrError:
            continue
        if path == previous:
            print_note(f"{last} is lost or damaged; continuing from the previous checkpoint, at step {step}")
        return path
    raise PartinrError(
        f"no checkpoint in {last.parent} is sound; to start this run again, delete that folder, "
        f"then: partinr resume {for_shell(run.path)}"
    )


@dataclass(frozen=True)
class _Prepared:
    settings: config.Settings
    module: TrainingLoop
    trainer: L.Trainer
    interruption: Interruption
    callbacks: list[L.Callback]
    guests: dict[str, L.Callback]
    """Callbacks of the configuration, by their keys."""


@door
def _prepare(
    settings: config.Settings,
    folder: Path,
    known: Mapping[str, Any],
    interruption: Interruption | None = None,
    shown: Sequence[L.Callback] = (),
) -> _Prepared:
    """Everything that invalid input can stop.

    Args:
        settings: settings of the run.
        folder: run directory.
        known: what ``run.json`` says of the identity and the original inputs of a resumed run; empty for a new run.
        interruption: an active listener for signals; None to listen during this run only.
        shown: callbacks that print something.
    """
    made = time.perf_counter()
    guests = configured(settings.callbacks, folder)
    own = hosted(guests)
    nodes = nodes_for(settings.trainer.num_nodes, folder)
    # Set in any case, since the previous run of a sweep may have changed it.
    torch.set_num_threads(settings.trainer.threads or _DEFAULT_THREADS)
    inputs = Inputs()
    reads = "inputs" not in known
    known = {**origin(settings, inputs), **known} if reads else known
    module = settings.regime.build(_context(settings))
    if reads and (changed := inputs.changes(known, settings)):
        raise PartinrError(f"{changed[0].what} was changed while it was read; give the command again")
    module.shard_by = settings.root.shard
    devices, note = settings.trainer.devices, None
    if nodes.size == 1:
        devices, note = module.useful_devices(devices)
    interruption = interruption or Interruption()
    manifest = Manifest({**known, "signal_name": settings.data.title}, interruption, started=made)
    callbacks = [*_callbacks(settings, folder, own, interruption, manifest), *shown]
    trainer = make_trainer(
        callbacks=callbacks,
        devices=devices,
        nodes=nodes,
        # A logger of Lightning, without which some callbacks refuse to work.
        loggers=[LoggedFile(RunDirectory(folder), module)] if any(map(is_guest, own)) else [],
        folder=folder,
        **settings.trainer.flags(),
    )
    check_run(module, trainer, settings.root.ckpt_path)
    if note is not None:
        print_note(note)
    device = trainer.strategy.root_device
    module.model.check_engine(device, str(trainer.precision), settings.trainer.tf32)
    module.check_gradient(device, torch.float64 if trainer.precision == "64-true" else torch.float32)
    inputs.save()
    return _Prepared(settings, module, trainer, interruption, callbacks, guests)


def _context(settings: config.Settings) -> RunContext:
    """The context for the regime's module."""
    root = settings.root
    wanted = settings.trainer.accelerator
    gpu = wanted in ("gpu", "cuda") or (wanted == "auto" and torch.cuda.is_available())
    return RunContext(
        data=settings.data,
        partition=settings.partition,
        backbone=settings.backbone,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        stop=settings.stop,
        frame=settings.coords.frame,
        layout=settings.coords.layout,
        seed=root.seed,
        capacity=root.capacity,
        overlap=root.overlap,
        global_network=root.global_network,
        engine=root.engine,
        start=settings.start,
        continued=root.ckpt_path is not None,
        cache_dir=None if root.cache_dir is None else Path(root.cache_dir),
        device_type="cuda" if gpu else "cpu",
        devices=settings.trainer.devices,
        precision=settings.trainer.precision,
        plain=settings.plain,
        note=print_note,
        observe=settings.observe,
        sampler=settings.sampler,
        made={} if root.ckpt_path is None else read_partitions(Path(root.ckpt_path)),
        widths={} if root.ckpt_path is None or root.capacity not in PROBED else read_widths(Path(root.ckpt_path)),
    )


def _callbacks(
    settings: config.Settings, folder: Path, own: Sequence[L.Callback], interruption: Interruption, manifest: Manifest
) -> list[L.Callback]:
    """The callbacks of a run in their order of writing."""
    return [
        interruption,
        CurveFile(),
        *own,
        # Last, so that run.json says "completed" only when all other files exist.
        manifest,
        # Mirrors of the run directory follow, since they read it.
        *settings.logger.callbacks(settings.name, settings.plain, note_unsent, folder),
    ]


@door
def _carry_out(prepared: _Prepared, run: RunDirectory) -> Outcome:
    for callback in prepared.callbacks:
        if isinstance(callback, RunCallback):
            callback.bind(run)
    launcher = prepared.trainer.strategy.launcher
    try:
        listening = prepared.interruption.listening(forward=None if launcher is None else launcher.kill)
        with listening, guests_named(prepared.guests, prepared.module):
            result = run_fit(prepared.module, prepared.trainer, prepared.settings.root.ckpt_path)
    except RankError as error:
        if prepared.settings.root.debug == "trace" and error.trace:
            print(error.trace, file=sys.stderr)
        return Outcome(run, 1)
    except GuestFailedError as error:
        if prepared.settings.root.debug == "trace":
            traceback.print_exception(error.__cause__)
        run.write_manifest({**run.manifest(), "status": "failed", "message": f"{error}; debug=trace shows where"})
        return Outcome(run, 1)
    except OSError as error:
        # The disk is full or gone. If run.json could not be written either, the error must say so.
        if prepared.settings.root.debug == "trace" or error.errno not in STORAGE:
            raise
        if run.manifest()["status"] == "running":
            raise
        return Outcome(run, 1)
    except SystemExit:
        # Lightning raises this for a SIGTERM before training.
        if prepared.interruption.received is None:
            raise
        return Outcome(run, 128 + prepared.interruption.received)
    if prepared.interruption.received is not None and result.stop is None and result.failure is None:
        return Outcome(run, 128 + prepared.interruption.received)
    return Outcome(run, 0 if result.failure is None else 1)

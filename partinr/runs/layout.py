"""The run directory: the one place that knows its files, writes them atomically and reads them back.

A run directory is complete in itself. It can be reported, rendered or resumed without the command line that made it::

    .hydra/config.yaml      the composed config          .hydra/overrides.yaml   what was asked for
    run.json                status, metrics, parameters, clocks, hardware, versions (:data:`FORMAT`)
    curve.csv               one row an evaluation (:data:`CURVE_COLUMNS`)
    logged.csv              what callbacks of other packages logged, where there are any: one row a step
    image.png  partition.png  reconstruction.png  error.png
    observation.png         what the loss sees, if that is not the signal; then best.safetensors is the network of the
                            best PSNR, and reconstruction_best.png what it gives
    signal.wav  reconstruction.wav   in the format of the kind of signal, if it has one: ``signal.files`` in run.json
    inr.safetensors         the fitted network
    rate.csv                what it takes in bits (:data:`RATE_COLUMNS`), once somebody has asked: partinr export
    checkpoints/last.ckpt   what a resume needs; during the run also previous.ckpt, the one before it
    output.log              what it said, if a process of its own carried it out
    .lock  .job             held by the process that writes the run; the job of a cluster that was submitted for it
    wandb.id  wandb/        of its mirror on W&B, where there is one
    mlflow.id  tensorboard/ of these loggers, likewise

A study of steps to a fixed error has ``steps.csv``, with one row a trial (:data:`STEPS_COLUMNS`), and no network.

A run of learning to learn has ``adaptation.png`` and ``initialisation.safetensors`` in place of pictures and network.

A run of several images has the pictures and network of each image in ``images/NAME/``. ``images.csv`` has one row per
evaluation and image (:data:`IMAGE_COLUMNS`). ``rate.csv`` has means over all images; ``images/NAME/rate.csv`` is for
one.

Every file is replaced in one step, so a run killed at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

FORMAT = 1
"""Version of the layout of ``run.json``; a reader refuses a newer one."""

REPEATS = "repeats"
"""Entry of ``run.json``: the run that this one repeats as a check, see ``partinr rerun``."""

Status = Literal["queued", "running", "completed", "failed", "interrupted"]
"""``queued``: the config is frozen, and the run waits to be executed."""

CURVE_COLUMNS = ("step", "seconds", "cpu_seconds", "macs", "loss", "psnr", "ssim", "lr")
"""Columns of ``curve.csv``, one row per evaluation.

- ``step``: optimiser steps done
- ``seconds``: training time in seconds, without evaluations, device synchronised
- ``cpu_seconds``: CPU seconds of the training, over all threads and processes of the run; curves of versions before 0.3
  lack it, and it is NaN in a run that was resumed from a checkpoint of such a version
- ``macs``: multiply-accumulates of all forward passes so far
- ``loss``: of the last training step, without finished regions; at step 0 of the untrained networks on the whole signal
- ``psnr``: PSNR in dB over data range 1, of values clamped to [0, 1], on the whole signal
- ``ssim``: SSIM over the same range
- ``lr``: learning rate of the next step

With several images, loss, PSNR and SSIM are means over the images, with each PSNR limited to 100 dB. A regime and the
kind of signal may append columns, which ``regime`` and ``signal.metrics`` of ``run.json`` describe.
"""

IMAGE_COLUMNS = ("step", "seconds", "image", "psnr", "ssim")
"""Columns of ``images.csv``, one row per evaluation and image.

- ``image``: name of the image
- ``step``, ``seconds``, ``psnr``, ``ssim``: as in ``curve.csv``

The kind of signal may append columns.
"""

STEPS_COLUMNS = ("signal", "boundaries", "cells", "draw", "seed", "parts", "steps", "censored", "mse")
"""Columns of ``steps.csv``, one row per trial.

- ``signal``: name of the step function or image
- ``boundaries``: number of boundaries of the function (:class:`partinr.signals.StepSignal`), or length of the edges of
  the image (:class:`partinr.signals.EdgedImage`)
- ``cells``: number of cells of the function; empty for an image
- ``draw``: number of the function among those with the same number of boundaries
- ``seed``: number of the trial among those of the signal; the seed of the run is in ``run.json``
- ``parts``: parts of the signal, each with its own network
- ``steps``: steps until the error was seen below the threshold; if ``censored`` is 1, steps without success
- ``censored``: 1 if the trial met the cap
- ``mse``: mean squared error at that step
"""

RATE_COLUMNS = (
    "step",
    "coder",
    "setting",
    "bits",
    "bpp",
    "psnr",
    "weight_bits",
    "scale_bits",
    "label_bits",
    "file_bytes",
    "deflated_bytes",
)
"""Columns of ``rate.csv``, one row per coder and setting.

- ``step``: step of the measured weights; a run that was resumed later has other weights
- ``coder``: ``fit``, ``jpeg`` or ``webp``
- ``setting``: type of the weights, such as ``int8 channel``; or the quality of JPEG and WebP
- ``bits``: bits of weights, scales and label map, without a header; for JPEG and WebP, of the whole file
- ``bpp``: bits per pixel
- ``psnr``: PSNR in dB of the 8-bit picture against the 8-bit image
- ``weight_bits``, ``scale_bits``, ``label_bits``: the parts of ``bits``
- ``file_bytes``: size of the whole file
- ``deflated_bytes``: its size after zlib

For several images together, bits and bytes are sums; ``bpp`` and ``psnr`` are means, with each PSNR limited to 100 dB.
"""

CODECS = ("jpeg", "webp")
"""Values of ``coder`` in ``rate.csv`` that are no fit."""

CLOCK_COLUMNS = ("seconds", "cpu_seconds")
"""The columns of ``curve.csv`` that differ between two runs of the same command."""

WHOLE_COLUMNS = ("step", "macs")
"""Those of :data:`CURVE_COLUMNS` that are whole numbers; an imported curve may lack them."""

NEW_COLUMNS = ("cpu_seconds",)
"""Those of :data:`CURVE_COLUMNS` that older curves lack."""

WRITER = ("host", "pid", "started", "job")
"""Keys of ``run.json`` that identify its writer."""

CONFIG = ".hydra/config.yaml"
OVERRIDES = ".hydra/overrides.yaml"
MEETING = ".hydra/meeting.json"  # while several nodes execute the run
MANIFEST = "run.json"
CURVE = "curve.csv"
LOGGED = "logged.csv"
IMAGE_CURVE = "images.csv"
STEPS = "steps.csv"
IMAGES = "images"
IMAGE = "image.png"
PARTITION = "partition.png"
RECONSTRUCTION = "reconstruction.png"
ERROR = "error.png"
OBSERVATION = "observation.png"
SIGNAL = "signal"
FITTED = "reconstruction"
BEST = "reconstruction_best"
"""Names of the files, without their ending, in which a run keeps signals such as sounds (``signal.files``)."""
WEIGHTS = "inr.safetensors"
START = "initialisation.safetensors"
ADAPTATION = "adaptation.png"
RATE = "rate.csv"
CHECKPOINT = "checkpoints/last.ckpt"
WANDB_ID = "wandb.id"
MLFLOW_ID = "mlflow.id"
PREVIOUS = "checkpoints/previous.ckpt"
LOCK = ".lock"
LOG = "output.log"
JOB = ".job"
SUPERSEDED = ".superseded"
"""Folder next to the runs of a sweep for runs that were replaced."""

OWN = frozenset(
    name.partition("/")[0]
    for name in (
        *(CONFIG, MANIFEST, CURVE, IMAGE_CURVE, STEPS, IMAGES, IMAGE, PARTITION, RECONSTRUCTION, ERROR, WEIGHTS, START),
        *(OBSERVATION, "best.safetensors", f"{BEST}.png"),
        *(
            ADAPTATION,
            RATE,
            CHECKPOINT,
            WANDB_ID,
            MLFLOW_ID,
            LOCK,
            LOG,
            JOB,
            "wandb",
            "tensorboard",
            "report.html",
            "view.html",
        ),
    )
)
"""Names in a run directory that partinr writes. A regime may have further ones (``regime.files`` in ``run.json``)."""


def of_image(name: str | None, file: str) -> str:
    """Path of an image's file in a run directory; ``name`` is None in a run for one signal."""
    return f"{IMAGES}/{name}/{file}" if name else file


def config_hash(config: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of SHA-256 over the resolved config, whatever the order of its keys."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def crossing(x: Sequence[float], psnr: Sequence[float], level: float) -> float | None:
    """The ``x`` at which a curve first reaches ``level`` dB; None if it does not, or if ``x`` is unknown there.

    The result is linear between the two evaluations around the crossing. NaN evaluations are skipped. If the PSNR jumps
    to infinity, the crossing is at that evaluation.
    """
    before: tuple[float, float] | None = None
    for here, value in zip(x, psnr, strict=True):
        if math.isnan(value):
            continue
        if value >= level:
            found = float(here)
            if before is not None and math.isfinite(value) and math.isfinite(before[1]):
                found = float(before[0] + (level - before[1]) / (value - before[1]) * (here - before[0]))
            return None if math.isnan(found) else found
        before = here, value
    return None

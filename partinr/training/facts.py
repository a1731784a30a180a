"""Entries of ``run.json`` about signals and partitions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from partinr.metrics import EXACT_DB, SEAM, mean_psnr
from partinr.model.signal_stack import SignalStack
from partinr.partition import Partition
from partinr.signals.identity import SignalIdentity, identity_facts

IMAGE_ROW = ("step", "seconds", "image", "psnr", "ssim")
"""Columns of every row of a signal; those of the metrics of its kind follow."""


def signal_sha256(values: Tensor) -> str:
    """SHA-256 of the values of signals in single precision, their original type."""
    return hashlib.sha256(values.float().cpu().contiguous().numpy().data).hexdigest()


def mean_seam(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each result of :func:`partinr.metrics.seam` over the signals that have it."""
    means = {}
    for name in SEAM:
        known = [each[name] for each in found if not math.isnan(each[name])]
        if len(found) > 1 and name.startswith("psnr"):
            known = [min(value, EXACT_DB) for value in known]
        means[name] = sum(known) / len(known) if known else float("nan")
    return means


def mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each number over the signals; see :func:`partinr.metrics.mean_psnr`. Others are left out."""
    found = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key == "psnr":
            found[key] = mean_psnr(values)
        elif all(isinstance(value, (int, float)) for value in values):
            # An exact signal would hide all others.
            finite = [
                math.copysign(EXACT_DB, value) if math.isinf(value) and len(rows) > 1 else value for value in values
            ]
            found[key] = sum(finite) / len(finite)
    return found


def partition_facts(names: Sequence[str], partitions: Sequence[Partition]) -> dict[str, Any]:
    """Region sizes, bits of label maps, and notices of partitions.

    A label map that follows from options, such as a grid, takes 0 bits.
    """
    sizes = torch.cat([partition.sizes for partition in partitions])
    return {
        "bits": sum(partition.bits for partition in partitions),
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        "notice": partition_notice(names, partitions),
    }


def partition_notice(names: Sequence[str], partitions: Sequence[Partition]) -> str | None:
    """The first notice of several partitions, and how many there are; None if there is none."""
    pairs = zip(names, partitions, strict=True)
    noticed = [f"{name}: {each.notice}" if name else each.notice for name, each in pairs if each.notice is not None]
    if not noticed:
        return None
    others = len(noticed) - 1
    return f"{noticed[0]}" + (f" (and {others} more like it)" if others else "")


def partition_seconds(partitions: Sequence[Partition]) -> float | None:
    """Total time of the rule over all signals; None if no rule made a partition."""
    known = [partition.seconds for partition in partitions if partition.seconds is not None]
    return sum(known) if known else None


def signal_facts(
    names: Sequence[str], shapes: Sequence[Sequence[int]], values: Tensor, identities: Collection[SignalIdentity]
) -> dict[str, Any]:
    """The common shape of signals if any, the number of named signals, and their identities.

    Args:
        names: name of each signal; empty for a single signal.
        shapes: ``[*grid, C]`` of each signal.
        values: values of all signals.
        identities: identities of all signals.
    """
    listed = sum(1 for name in names if name)
    return {
        "shape": list(shapes[0]) if len({tuple(shape) for shape in shapes}) == 1 else None,
        **({"images": listed} if listed else {}),
        "sha256": signal_sha256(values),
        **identity_facts(identities),
    }


def further_metrics(metrics: Sequence[Mapping[str, Any]], curve: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The metrics of a kind of signal at the last evaluation, as entries of ``metrics``; empty before the first."""
    return {each["key"]: curve[-1][each["key"]] for each in metrics if curve}


def image_facts(
    model: SignalStack, shapes: Sequence[Sequence[int]], curve: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Shape, regions, parameters, PSNR, SSIM and further metrics of each named signal.

    Args:
        model: model of the signals.
        shapes: ``[*grid, C]`` of each signal.
        curve: one row per evaluation and signal.
    """
    latest = {row["image"]: row for row in curve[-len(model.names) :]}
    of_signals = zip(model.names, shapes, model.partitions, model.parameter_counts, strict=True)
    return {
        name: {
            "shape": list(shape),
            "regions": partition.regions,
            "parameters": parameters,
            "psnr": latest[name]["psnr"] if latest else None,
            "ssim": latest[name]["ssim"] if latest else None,
            **{key: latest[name][key] for key in latest.get(name, {}) if key not in IMAGE_ROW},
        }
        for name, shape, partition, parameters in of_signals
        if name
    }

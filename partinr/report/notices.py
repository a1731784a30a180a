"""Notices for readers who compare runs: machines, states of the code, unexpected partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from partinr.base.text import visible
from partinr.runs.records import RunRecord
from partinr.runs.sharing import footnote

STATE_ORDER = ("completed", "running", "queued", "interrupted", "failed", "damaged")
"""Order of states in lists."""

NAMED = 6
"""Limit of runs that a notice names."""

UNDER_WAY = frozenset({"running", "queued"})
"""States of runs that end by themselves."""


def states(records: Sequence[RunRecord]) -> str:
    """Numbers of runs by state: 312 completed, 40 running, 148 queued."""
    count: Counter[str] = Counter(record.status for record in records)
    return ", ".join(f"{count[status]} {status}" for status in STATE_ORDER if count[status])


def notices_of(counted: Iterable[RunRecord]) -> list[str]:
    """Reasons to doubt a comparison although every number is correct."""
    counted = list(counted)
    notices = []
    machines = dict.fromkeys(machine for record in counted if (machine := machine_of(record)))
    if len(machines) > 1:
        notices.append(
            f"The runs come from {len(machines)} machines or settings of them ({'; '.join(machines)}): "
            "compare their steps, not their seconds."
        )
    if note := footnote([(record.titled, record.shared) for record in counted]):
        notices.append(note)
    notices += dict.fromkeys(notice for record in counted if (notice := _partition_notice(record)))
    notes = (record.at("signal.notice") for record in counted)
    notices += dict.fromkeys(f"{notice}." for notice in notes if notice)
    commits = dict.fromkeys(commit for record in counted if (commit := commit_of(record)))
    if len(commits) > 1:
        notices.append(f"The runs come from {len(commits)} states of the code: {', '.join(commits)}.")
    return notices


def not_counted(repeated: Sequence[RunRecord]) -> list[str]:
    """The notice about runs that another one stands for, by their folders."""
    if not repeated:
        return []
    folders = [visible(record.path.resolve().name) for record in repeated]
    left = len(folders) - NAMED
    listed = ", ".join(folders[:NAMED]) + (f" and {left} other{'s' * (left > 1)}" if left > 0 else "")
    return [f"Not counted, as another run with the same configuration and seed counts: {listed}."]


def _partition_notice(record: RunRecord) -> str | None:
    """The notice of a run's partition as a sentence, or None."""
    notice = record.at("partition.notice")
    return f"{record.at('signal.name') or 'An image'}: {notice}." if notice else None


def machine_of(record: RunRecord) -> str:
    """The hardware of a run in a few words, empty if unknown."""
    gpu, threads = record.at("hardware.gpu"), record.at("hardware.threads")
    name = gpu or record.at("hardware.cpu") or record.at("hardware.device")
    times = f"{devices} × " if (devices := devices_of(record)) > 1 else ""
    if not threads or gpu:
        return f"{times}{name or ''}"
    return f"{name}, {times}{threads} thread{'s' if threads != 1 else ''}"


def devices_of(record: RunRecord) -> int:
    """Number of devices that trained a run; 1 if unknown."""
    devices = record.at("hardware.devices")
    return devices if isinstance(devices, int) else 1


def commit_of(record: RunRecord) -> str:
    """The commit of a run, ``+`` if the tree had changes; empty if unknown."""
    commit = record.at("git.commit")
    return str(commit)[:10] + ("+" if record.at("git.dirty") else "") if commit else ""

"""Reads a run back from W&B, as far as it is there."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CURVE_COLUMNS
from partinr.tracking.server import check_reachable, quiet
from partinr.tracking.summary import AXES, PROVENANCE
from partinr.tracking.words import GROUPED_BY, METHOD

TIMEOUT = 60
"""Seconds that the server may take for an answer."""


def fetch(place: str, folder: Path) -> RunDirectory:
    """A run directory with what W&B has of a run: configuration, curve, results, and what can change a curve.

    Args:
        place: ENTITY/PROJECT/RUN, where RUN is the id at the end of the run's address.
        folder: the new directory.

    Raises:
        PartinrError: there is no login, no answer or no such run, or partinr did not make the run.
    """
    quiet()
    import wandb

    check_reachable()
    try:
        found = wandb.Api(timeout=TIMEOUT).run(place)
        config, summary, running = dict(found.config), found.summary_metrics, found.state == "running"
        rows = found.history(samples=max(1, found.history_line_count or 0), pandas=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise PartinrError(f"{place} cannot be read from W&B: {reason}; give ENTITY/PROJECT/RUN") from error
    if not isinstance(config.get("regime"), Mapping) or "_target_" not in config["regime"]:
        raise PartinrError(f"{place} is no run of partinr on W&B: its config has no regime; give another")
    run = RunDirectory.create(folder, _from_home({key: config[key] for key in config if key not in _ADDED}))
    status = "running" if running else summary.get("status", "interrupted")
    kept: dict[str, Any] = {key: summary[key] for key in ("message", "stop", "steps") if key in summary}
    metrics = {key: summary.get(key) for key in ("psnr", "ssim")}
    run.write_manifest({**(summary.get(PROVENANCE) or {}), **kept, "metrics": metrics, "status": status})
    run.write_curve(_curve(rows))
    return run


_ADDED = (*GROUPED_BY, METHOD)
"""Keys of W&B's config that are no part of the configuration."""


def _curve(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, float]]:
    """The rows of the curve among those of W&B, which also has rows with pictures and tables."""
    for row in rows:
        # W&B writes NaN and infinity as text.
        numbers = {key: float(value) for key, value in row.items() if key[:1] != "_" and _is_number(value)}
        if "step" in numbers and numbers.keys() - AXES:
            whole: dict[str, float] = {key: int(numbers[key]) for key in ("step", "macs") if key in numbers}
            yield {**dict.fromkeys(CURVE_COLUMNS, math.nan), **numbers, **whole}


def _is_number(value: Any) -> bool:
    return value in ("NaN", "Infinity", "-Infinity") if isinstance(value, str) else isinstance(value, (int, float))


def _from_home(node: Any) -> Any:
    """A config with the home folder in place of ``~``, which stands for it on W&B."""
    if isinstance(node, Mapping):
        return {key: _from_home(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_from_home(value) for value in node]
    return os.path.expanduser(node) if isinstance(node, str) and (node == "~" or node.startswith("~/")) else node

"""Environment variables of loggers, which are used for keys that the configuration leaves open."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

VARIABLES = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "name": "WANDB_NAME",
    "notes": "WANDB_NOTES",
    "tags": "WANDB_TAGS",
    "dir": "WANDB_DIR",
}
"""Variable for each key of ``logger``."""


def heeded(key: str, default: Any = None) -> Any:
    """The value of a key of ``logger`` from the environment; the default if its variable is unset or empty."""
    said = os.environ.get(VARIABLES[key])
    if not said:
        return default
    if key == "tags":
        return [tag.strip() for tag in said.split(",") if tag.strip()]
    # A run may continue in another folder.
    return os.path.abspath(os.path.expanduser(said)) if key == "dir" else said


def node_of(config: Mapping[str, Any], target: str = "partinr.tracking.Wandb") -> tuple[str, Mapping[str, Any]]:
    """The key and the node of a logger in a composed configuration; ``logger`` and an empty node if it has none.

    Args:
        config: plain containers, with one logger or several by name.
        target: class of the logger.
    """
    kept = config.get("logger")
    nodes = (
        {"logger": kept, **{f"logger.{name}": node for name, node in kept.items()}} if isinstance(kept, Mapping) else {}
    )
    found = ((key, node) for key, node in nodes.items() if isinstance(node, Mapping) and node.get("_target_") == target)
    return next(found, ("logger", {}))


def overruled(settings: Mapping[str, Any], node: str = "logger") -> str | None:
    """One line about variables that differ from the settings and are not used; None if there are none.

    Args:
        settings: settings of the logger.
        node: key of the logger in the configuration.
    """
    # The settings of an older run may lack a key.
    found = [key for key in VARIABLES if heeded(key) not in (None, settings.get(key))]
    if not found:
        return None
    variables = ", ".join(f"{VARIABLES[key]}={os.environ[VARIABLES[key]]}" for key in found)
    keys = ", ".join(f"{node}.{key}={settings.get(key)}" for key in found)
    return f"{variables} {'are' if len(found) > 1 else 'is'} not used, as the configuration has {keys}"


def mlflow_uri(output_dir: str) -> str:
    """Where MLflow runs go: ``MLFLOW_TRACKING_URI``, else a database in the folder of run directories."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{os.path.abspath(output_dir)}/mlflow.db"

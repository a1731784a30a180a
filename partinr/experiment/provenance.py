"""The provenance of a run: its input files, and code of other packages."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from partinr.base.errors import PartinrError
from partinr.experiment import plugins
from partinr.runs.layout import START


def inputs_of(config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the files that a config names, by key, without the signal's, which ``run.json`` has elsewhere.

    Folders are left out.
    """
    partition = config.get("partition") or {}
    named = {
        "ckpt_path": config.get("ckpt_path"),
        "init": f"{config['init']}/{START}" if config.get("init") else None,
        "partition.path": partition.get("path"),
        "partition.checkpoint": partition.get("checkpoint"),
    }
    found = {}
    for key, path in named.items():
        if isinstance(path, str):
            with suppress(OSError):  # missing or a folder, which the file's reader reports
                found[key] = _sha256(Path(path))
    return found


def code_of(config: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
    """For every class of another package in the config: its plug-in, version and source.

    Returns:
        by module: ``distribution`` and ``version`` of the plug-in, None outside a plug-in; and ``source``, the SHA-256
        of the module's file, None without a file. The module must have been imported.
    """
    modules = {target.rpartition(".")[0] for target in plugins.targets(config)}
    foreign = sorted(module for module in modules if module.partition(".")[0] not in ("partinr", ""))
    owners = {plugin.package.partition(".")[0]: plugin for plugin in plugins.installed()} if foreign else {}
    code = {}
    for module in foreign:
        owner = owners.get(module.partition(".")[0])
        file = getattr(sys.modules.get(module), "__file__", None)
        source = None
        if file is not None:
            with suppress(OSError):
                source = _sha256(Path(file))
        code[module] = {
            "distribution": None if owner is None else owner.distribution,
            "version": None if owner is None else owner.version,
            "source": source,
        }
    return code


def check_code(manifest: Mapping[str, Any], folder: Path) -> None:
    """Refuse a run whose plug-ins are not installed in any version.

    Args:
        manifest: content of its ``run.json``.
        folder: run directory, for the message.

    Raises:
        PartinrError: a plug-in is not installed.
    """
    code = manifest.get("code")
    for module, owner in code.items() if isinstance(code, dict) else ():
        name = owner.get("distribution") if isinstance(owner, dict) else None
        if name is not None and importlib.util.find_spec(module.partition(".")[0]) is None:
            version = owner.get("version")
            raise PartinrError(
                f"{folder} was made with the plug-in {name} {version}, which is not installed here; "
                f"pip install {name}=={version}"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Finds the folder of the configuration, without torch, so that ``partinr --help`` answers at once."""

from __future__ import annotations

from pathlib import Path

from partinr.base.errors import PartinrError


def conf_dir() -> Path:
    """The folder of the configuration: in the installed package, or next to it in a checkout.

    Raises:
        PartinrError: the installation is broken.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise PartinrError(f"there is no conf/train.yaml beside {package}; install partinr again")

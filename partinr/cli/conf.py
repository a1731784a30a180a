"""Where the configuration is. Apart from :mod:`partinr.config`, so that ``partinr --help`` does not wait for torch."""

from __future__ import annotations

from pathlib import Path

from partinr.errors import PartinrError


def conf_dir() -> Path:
    """The folder of the configuration: inside the installed package, or beside it in a checkout.

    Raises:
        PartinrError: the installation is broken.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise PartinrError(f"there is no conf/train.yaml beside {package}; install partinr again")

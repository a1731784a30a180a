"""The output of a notebook's cell that can be replaced, with what every Jupyter has."""

from __future__ import annotations

import importlib
import sys


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


class Output:
    """An output of the running cell; :func:`in_notebook` holds.

    Args:
        html: its content.
        text: the same without HTML.
    """

    def __init__(self, html: str, text: str) -> None:
        display = importlib.import_module("IPython.display").display
        self._handle = display(_bundle(html, text), raw=True, display_id=True)

    def replace(self, html: str, text: str) -> None:
        """Show something else in the place of the content."""
        self._handle.update(_bundle(html, text), raw=True)


def _bundle(html: str, text: str) -> dict[str, str]:
    return {"text/html": html, "text/plain": text}

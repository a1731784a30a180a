"""Figures for a two-column paper: their widths, and the settings of matplotlib."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.3
"""Width of a column [in]."""

PAGE = 6.9
"""Width of both columns and the gap between them [in]."""

SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # part of matplotlib, and has ω, ± and ·
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5c6570",
    "axes.grid": True,
    "image.interpolation": "auto",  # enlarged pixels stay sharp, and shrunk lines stay continuous
    "axes.axisbelow": True,
    "grid.color": "#e2e6ea",
    "grid.linewidth": 0.6,
    "text.parse_math": False,  # a name may contain a dollar sign
    "pdf.fonttype": 42,  # publishers refuse Type 3 fonts
    "savefig.dpi": 300,
    "svg.hashsalt": "partinr",  # equal figures are equal files
}
"""Settings of matplotlib with letters and lines for a column of a paper."""


_UNDATED: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""Metadata without the date, by format."""


def drawn(figure: Figure, kind: str) -> bytes:
    """The file of a figure; equal figures give equal files.

    Args:
        figure: the figure.
        kind: ``png``, ``pdf``, ``svg`` or ``pgf``.
    """
    buffer = BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks become boxes; a warning for each would not help.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        # PGF knows no metadata, not even none.
        dated: dict[str, Any] = {"metadata": _UNDATED[kind]} if kind in _UNDATED else {}
        figure.savefig(buffer, format=kind, **dated)
    return buffer.getvalue()

"""How figures for a paper look: metric, width, inset, formats and style."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import dataclass, field

from partinr.base.errors import PartinrError
from partinr.pictures.errors import ERROR_SCALE, ErrorScale
from partinr.pictures.paper import COLUMN, PAGE
from partinr.report.curves import Metric
from partinr.report.paper import Wording

"""Columns of a curve that figures can show."""

FORMATS = ("pdf", "png", "svg", "pgf")
"""Formats of figures."""

WIDTHS = (3.0, 60.0)
"""Least and greatest width of a figure [cm]."""

INSET_PART = 0.46
"""Greatest part of a picture's height and width that an inset covers."""

LATEX = ("xelatex", "lualatex", "pdflatex")
"""Programs that measure the letters of PGF figures."""


@dataclass(frozen=True)
class Inset:
    """A rectangle of the image, shown enlarged in all pictures [pixels]."""

    top: float
    bottom: float
    left: float
    right: float

    @classmethod
    def read(cls, text: str) -> Inset:
        """The rectangle of ``Y0:Y1,X0:X1``.

        Raises:
            PartinrError: the text has another form, or the rectangle is empty.
        """
        number = r"\s*(\d+(?:\.\d+)?)\s*"
        match = re.fullmatch(f"{number}:{number},{number}:{number}", text)
        found = cls(*map(float, match.groups())) if match else None
        if found is None or found.top >= found.bottom or found.left >= found.right:
            raise PartinrError(f"--inset={text} is no rectangle; give Y0:Y1,X0:X1 in pixels, such as 40:72,64:96")
        return found

    def check(self, image: str, height: int, width: int) -> None:
        """Check that the rectangle can be shown enlarged.

        Raises:
            PartinrError: it lies partly outside of the image, or is as large as its inset.
        """
        said = f"--inset={self.top:g}:{self.bottom:g},{self.left:g}:{self.right:g}"
        if self.bottom > height or self.right > width:
            raise PartinrError(
                f"{said} lies outside of {image}, which has {height} rows and {width} columns; give Y0:Y1,X0:X1 within"
            )
        most = int(INSET_PART * height), int(INSET_PART * width)
        if self.bottom - self.top > most[0] or self.right - self.left > most[1]:
            raise PartinrError(
                f"{said} is too large to be shown enlarged within {image}; "
                f"give at most {most[0]} rows and {most[1]} columns"
            )


@dataclass(frozen=True)
class Looks:
    """The looks of figures. Each option has a usual value."""

    metric: Metric = ""
    """What curves show; empty for the leading metric, as a rule PSNR."""
    wording: Wording = field(default_factory=Wording)
    """Names and order of groups."""
    width: float | None = None
    """Width of each figure [in]; by default a column for curves, and both columns for more than two groups of
    pictures."""
    inset: Inset | None = None
    error_scale: ErrorScale = ERROR_SCALE
    """The colours of absolute errors."""
    formats: tuple[str, ...] = ("png", "pdf")
    styles: tuple[str, ...] = ()
    """Styles of matplotlib, by name or file; later ones win."""

    @classmethod
    def read(
        cls,
        metric: Metric = "",
        labels: str = "",
        order: str = "",
        width: str = "",
        inset: str = "",
        error_range: str = "",
        formats: str = "png,pdf",
        style: str = "",
    ) -> Looks:
        """The looks of the options of ``partinr report``, each as typed; an empty one has its usual value.

        Raises:
            PartinrError: an option has a value that it cannot have.
        """
        return cls(
            metric,
            Wording(labels, order),
            _width(width) if width else None,
            Inset.read(inset) if inset else None,
            _error_scale(error_range) if error_range else ERROR_SCALE,
            _formats(formats),
            tuple(name.strip() for name in style.split(",") if name.strip()),
        )


def _width(text: str) -> float:
    """Inches of ``column``, ``page`` or a number of centimetres."""
    known = {"column": COLUMN, "page": PAGE}
    if text in known:
        return known[text]
    width = _number(text)
    if width is None or not WIDTHS[0] <= width <= WIDTHS[1]:
        low, high = WIDTHS
        raise PartinrError(f"--width={text}: give column, page, or {low:g} to {high:g} centimetres, such as 8.4")
    return width / 2.54


def _error_scale(text: str) -> ErrorScale:
    """The linear scale of ``HIGH`` or ``LOW:HIGH``."""
    first, colon, second = text.partition(":")
    low, high = (_number(first), _number(second)) if colon else (0.0, _number(first))
    if low is None or high is None or not 0 <= low < high <= 1:
        raise PartinrError(
            f"--error-range={text}: give the largest error, or LOW:HIGH, between 0 and 1; such as 0.05 or 0.01:0.2"
        )
    return ErrorScale(low, high)


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in FORMATS:
            raise PartinrError(f"--format: there is no format {name!r}; choose from {', '.join(FORMATS)}")
    if not names:
        raise PartinrError(f"--format is empty; choose from {', '.join(FORMATS)}")
    if "pgf" in names and latex_program() is None:
        raise PartinrError("--format=pgf needs LaTeX to measure letters; install XeLaTeX, or choose pdf")
    return names


def latex_program() -> str | None:
    """The first installed program of :data:`LATEX`."""
    return next((name for name in LATEX if shutil.which(name)), None)


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None

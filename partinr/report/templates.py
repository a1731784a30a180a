"""Templates of the pages, and the colours of their error pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import matplotlib.colors
import numpy as np

from partinr.base.text import visible
from partinr.pictures.errors import ERROR_COLORMAP, ERROR_SCALE


def template(name: str) -> jinja2.Template:
    """A template from this folder, which includes scripts and styles from there."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = lambda path: visible(str(path))
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "allow_nan": False,
        "separators": (",", ":"),
    }
    return environment.get_template(name)


def error_colours(count: int) -> list[str]:
    """``count`` colours of the error pictures, from the smallest error to the largest, as ``#rrggbb``."""
    colormap = matplotlib.colormaps[ERROR_COLORMAP].resampled(256)
    return [matplotlib.colors.to_hex(colormap(share)) for share in np.linspace(0, 1, count)]


def error_legend() -> dict[str, Any]:
    """What ``scale.html`` and the styles show of the colours of errors."""
    return {
        "error_scale": f"linear-gradient(to right, {', '.join(error_colours(9))})",
        "error_ticks": [f"{tick:g}" for tick in ERROR_SCALE.ticks],
    }

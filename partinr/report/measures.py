"""The metrics of the curves of a study, which charts can show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from partinr.pictures.curves import LOGARITHMIC, TITLES
from partinr.report.groups import Study
from partinr.runs.records import Axis
from partinr.runs.regime_facts import SUMMARY
from partinr.runs.subject import measure

_FORMS = {"psnr": "fixed:2", "ssim": "fixed:3"}
"""Forms of the metrics of a curve that have a usual number of decimals."""


@dataclass(frozen=True)
class Measure:
    """A column of curves that is no axis."""

    key: str
    title: str
    """Its name and unit, for an axis."""
    unit: str
    """With a space before it; empty for none."""
    form: str
    """Form of its numbers, see :mod:`partinr.base.numbers`."""
    leads: bool
    """Whether fits are compared by it."""
    log: bool
    """Whether its axis is logarithmic."""


def measures_of(study: Study) -> list[Measure]:
    """The metrics that some run of a study has, the leading one first, and those of third parties last."""
    curves = [record.curve for record in study.records]
    known = {name for curve in curves for name, values in curve.items() if any(map(math.isfinite, values))}
    fields = {each["key"]: each for each in (*SUMMARY, *study.table)}
    leading = study.subject.leading.key
    order = [leading, *TITLES]
    return [
        Measure(key=name, leads=name == leading, log=name in LOGARITHMIC, **_words(name, fields.get(name)))
        for name in sorted({"psnr", *known} - {*get_args(Axis)}, key=lambda name: ([*order, name].index(name), name))
    ]


def _words(name: str, field: Mapping[str, Any] | None) -> dict[str, str]:
    """Title, unit and form of a column of a curve."""
    if field is None:
        return {"title": TITLES.get(name, name), "unit": "", "form": "significant"}
    said, unit = measure({"heading": field.get("short") or field["heading"]})
    title = TITLES.get(name, f"{said} [{unit}]" if unit else said)
    return {"title": title, "unit": f" {unit}" * bool(unit), "form": _FORMS.get(name, field["form"])}

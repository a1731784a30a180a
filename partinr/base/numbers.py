"""Numbers as people read them.

A *form* says how a number is written: ``fixed:2`` (always two decimals), ``significant`` (three digits: 0.0221, 33.1,
1,234), ``steps`` (whole from ten on), ``si`` (794k, 1.23M) or ``milli`` (seconds as milliseconds).
"""

from __future__ import annotations

import math

ABSENT = "–"
"""Stands for a number that is unknown, and for a level that was not reached."""


def shape_of(form: str, number: float) -> tuple[int, float, str]:
    """Decimals, divisor and unit of a number, so that its deviation can be written alike."""
    name, _, decimals = form.partition(":")
    if name == "fixed":
        return int(decimals), 1.0, ""
    if name == "significant":
        return max(0, 2 - _exponent(number)), 1.0, ""
    if name == "steps":
        return 0 if abs(number) >= 10 else 1, 1.0, ""
    if name == "milli":
        return max(0, 2 - _exponent(number * 1000)), 1e-3, ""
    if name != "si":
        raise ValueError(f"{form!r} is not a form of numbers")
    if abs(number) < 1000 and float(number).is_integer():
        return 0, 1.0, ""
    power = min(max(_exponent(number) // 3, 0), 4)
    divisor = 1000.0**power
    return max(0, 2 - _exponent(number / divisor)), divisor, ("", "k", "M", "G", "T")[power]


def _exponent(number: float) -> int:
    """The power of ten of the first significant digit, after rounding to three digits."""
    return int(f"{number:.2e}".partition("e")[2]) if math.isfinite(number) else 0


def shaped(number: float, decimals: int, divisor: float, unit: str) -> str:
    """``number`` in the shape of :func:`shape_of`."""
    if not math.isfinite(number):
        return "∞" if number > 0 else ABSENT
    return f"{number / divisor:,.{decimals}f}{unit}"


def write(number: float, form: str) -> str:
    """``number`` in its form."""
    return shaped(number, *shape_of(form, number))

"""Finds the best setting of an arm of a study, so that arms are compared at their best."""

from __future__ import annotations

from collections.abc import Callable


def climb(quality: Callable[[int], float], start: int, first: int = 3) -> int:
    """The best step of a ladder, such as rates 2 times apart, with a worse step on both sides.

    Args:
        quality: of a step, higher is better; asked once for each.
        start: the middle of the first steps.
        first: number of first steps, an odd number.
    """
    known = {step: quality(step) for step in range(start - first // 2, start + first // 2 + 1)}
    while True:
        best = max(known, key=lambda step: known[step])
        missing = [step for step in (best - 1, best + 1) if step not in known]
        if not missing:
            return best
        known |= {step: quality(step) for step in missing}

"""Finds the best setting of an arm of a study, so that arms are compared at their best."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from statistics import median


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


def flatness(searches: Collection[Sequence[float]]) -> str:
    """How many points the searches of a study tried, and how far the best of each is above the second best.

    Args:
        searches: PSNR [dB] of the points of each, two or more.
    """
    lead = [best - second for *_, second, best in map(sorted, searches)]
    return (
        f"The {len(searches)} searches tried {sum(map(len, searches))} points. The best of a search is "
        f"{median(lead):.2f} dB above the second best in the median, and {max(lead):.2f} at most."
    )

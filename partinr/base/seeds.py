"""Seeds that follow from other seeds."""

from __future__ import annotations


def derived(seed: int, *numbers: int) -> int:
    """A seed for one purpose of many, such as one step or one task, from 0 on and below 2^63.

    Args:
        seed: seed of the run.
        numbers: numbers that identify the purpose, most significant first; each 0 or more.
    """
    place = 0
    for number in numbers:
        place = place * 10_007 + number
    return (seed * 1_000_003 + place) % 2**63

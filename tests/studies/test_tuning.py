"""The search for the best step of a ladder."""

from __future__ import annotations

import pytest

from partinr.studies.tuning import climb


@pytest.mark.parametrize("best", [-7, 0, 1, 12])
def test_the_best_step_has_a_worse_one_on_both_sides(best: int) -> None:
    asked: list[int] = []

    def quality(step: int) -> float:
        asked.append(step)
        return -abs(step - best)

    assert climb(quality, start=1) == best
    assert {best - 1, best, best + 1} <= set(asked)
    assert len(asked) == len(set(asked))

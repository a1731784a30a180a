"""Colours and dashes of groups: the same in curves, tables and pictures, and distinct to colour-blind eyes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONE = ("#5b626d", "#aab2bf")
"""Colour of the lone network, on light and dark ground."""

COLOURS = (
    ("#0072b2", "#58a9e8"),
    ("#d55e00", "#f0894a"),
    ("#009e73", "#3cc9a0"),
    ("#b5589a", "#dd94c6"),
    ("#c48a00", "#efbe52"),
    ("#3a9bd0", "#a5d8f5"),
)
"""Colours on light and dark ground, after Okabe and Ito; the two palest are darkened to be visible on white."""

DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Style:
    """Colour and dashes of a group. ``slot`` is the number of the colour; 0 is that of the lone network."""

    slot: int
    dash: str

    @property
    def light(self) -> str:
        """The colour on white, as ``#rrggbb``."""
        return SLOTS[self.slot][0]


SLOTS = (LONE, *COLOURS)


def styles(labels: Sequence[str], lone: str | None) -> dict[str, Style]:
    """A style for each label. ``lone``, if any, is grey; colours repeat with dashes after the last one."""
    others = [label for label in labels if label != lone]
    found = {
        label: Style(1 + index % len(COLOURS), DASHES[index // len(COLOURS) % len(DASHES)])
        for index, label in enumerate(others)
    }
    return {label: found.get(label, Style(0, DASHES[0])) for label in labels}


def contrast_with(labels: Sequence[str], regions: dict[str, int | None]) -> str | None:
    """The label to compare the others with: the only one with a single region, or None."""
    single = [label for label in labels if regions[label] == 1]
    return single[0] if len(single) == 1 and len(labels) > 1 else None

"""The report section of studies of steps. Imports no torch."""

from __future__ import annotations

from typing import Any

from partinr.base.section import Node, Section, field


class ThresholdSection(Section):
    """Runs that count steps. They have no curve; ``partinr hypothesis`` fits laws to their trials."""

    kind = "threshold"
    title = "Steps to a fixed error"
    key = "threshold"

    @classmethod
    def describe(cls, regime: Node) -> dict[str, Any]:
        """See :meth:`partinr.base.section.Section.describe`."""
        count = {"count": "trials", "reached": "over", "capped": "capped"}
        return {
            "kind": cls.kind,
            "section": f"{cls.__module__}.{cls.__qualname__}",
            "files": {"trials": "steps.csv"},
            "summary": [field(key, heading, f"trials.{key}", "fixed:0") for key, heading in count.items()],
            "result": "{trials.reached|fixed:0} of {trials.count|fixed:0} trials over after {steps|fixed:0} steps",
            "instead": {
                "report": "there are only studies of steps; see: partinr hypothesis {run}",
                "render": "{run} is a study, which keeps no networks; use partinr hypothesis {run}",
            },
            "hints": [["laws", "partinr hypothesis {run}"]],
        }

"""The report section of runs that learned an initialisation. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from partinr.base.numbers import ABSENT
from partinr.base.section import Chart, Node, Section, Table, field, lookup

MOST_INNER_STEPS = 4
"""Inner steps 0 to this number have a column each; beyond it, only ``inner_steps`` and the last step have one."""

_PSNR = "psnr_by_inner_step"
_TRAINED = "config.regime.inner_steps"


def _cut(manifest: Node, config: Node) -> str:
    """The partitions of training and testing, in words."""
    train, test = (lookup(f"partition.{phase}", manifest, config) or ABSENT for phase in ("train", "test"))
    return str(train) if train == test else f"{train} → {test}"


class MetaSection(Section):
    """Learning to learn: PSNR of held-out signals against outer steps and against inner steps."""

    kind = "meta"
    title = "Learning to learn"
    key = "learning"
    steps = "outer steps"
    signals = ("set of held-out signals", "sets of held-out signals")
    after = f"after {{{_TRAINED}}} inner steps, of held-out signals"
    sheet = "held-out signals, and after 0, 1, … inner steps"
    about = (
        "These runs learned an initialisation. Their PSNR is that of held-out signals, each fitted by a few inner "
        "steps; do not compare it with the PSNR of an ordinary fit. Against outer steps: after the inner steps of the "
        "training, while the initialisation is learned. Against inner steps: at the end; circles mark the "
        "number of the training. Lines are means over seeds and held-out signals with a band of one standard deviation "
        "over seeds."
    )
    charts = (Chart("inner", "inner steps", "inner steps, at the end of training", _PSNR, _TRAINED),)
    # One table of all columns would be wider than a page.
    tables = (
        Table(
            "learning",
            "",
            "Mean ± sample standard deviation over seeds; the best value is bold. K: inner steps in training. Other "
            "metrics than PSNR are after K inner steps. Only completed runs count; a group without one is grey and "
            "shows its runs as they are.",
        ),
        Table(
            "learning-cost",
            "Size and cost of learning",
            "Parameters are those of what represents one signal, all regions together. Learned is what the outer steps "
            "move, learning rates included. Seconds are those of the outer steps alone.",
        ),
    )
    phrases: ClassVar[Mapping[tuple[str, ...], Mapping[Any, str]]] = {
        ("regime", "algorithm"): {name: name for name in ("maml", "fomaml", "reptile", "unadapted")},
        ("regime", "partition_in"): {"both": "cut in both", "test": "cut in test only", "neither": "not cut"},
        ("regime", "initialisation"): {"shared": "shared initialisation", "region": "an initialisation a region"},
    }
    of_regions = frozenset({("regime", "partition_in"), ("regime", "initialisation")})
    uncut: ClassVar[Mapping[tuple[str, ...], Any]] = {("regime", "partition_in"): "neither"}
    computed: ClassVar[Mapping[str, Callable[[Node, Node], float | str | None]]] = {**Section.computed, "cut": _cut}

    @classmethod
    def describe(cls, regime: Node) -> dict[str, Any]:
        """See :meth:`partinr.base.section.Section.describe`."""
        trained = int(regime.get("inner_steps", 1))
        last = int(regime.get("validation_steps", trained))
        ends = list(dict.fromkeys((0, trained, last)))
        psnr = [
            field(f"psnr_{step}", "dB at 0" if step == 0 else f"at {step}", f"{_PSNR}.{step}", short=str(step))
            for step in ends
        ]
        return {
            "kind": cls.kind,
            "section": f"{cls.__module__}.{cls.__qualname__}",
            "columns": [f"psnr_{step}" for step in range(last + 1)],
            "files": {"start": "initialisation.safetensors", "sheet": "adaptation.png"},
            "table": _table(trained, last),
            "summary": [*psnr, field("ssim", "SSIM", "metrics.ssim", "fixed:4")],
            "result": f"{{metrics.psnr|fixed:2}} dB after {trained} inner and {{steps|fixed:0}} outer steps",
            "instead": {
                "render": "{run} learned an initialisation, so there is nothing to render; "
                "fit from it with: partinr init={run} data=image data.path=IMAGE"
            },
            "hints": [
                ["report", "partinr report {run}"],
                ["fit", "partinr init={run} data=image data.path=IMAGE"],
            ],
        }

    @classmethod
    def fields(cls, table: Sequence[Node]) -> Sequence[Node]:
        """The columns of the runs, see :meth:`partinr.base.section.Section.fields`."""
        return table

    @classmethod
    def words(cls, config: Node, partition: str) -> tuple[str, str]:
        """The algorithm, and where the partition is used, see :meth:`partinr.base.section.Section.words`."""
        settings = config.get("regime") or {}
        used_in = settings.get("partition_in", "both")
        if used_in == "neither":
            partition = "none"
        elif used_in == "test" and partition != "none":
            partition = f"{partition} in test"
        return str(settings.get("algorithm", cls.kind)), partition


_FIELDS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def _table(trained: int, last: int) -> list[dict[str, Any]]:
    """The columns of a run with ``trained`` inner steps that was evaluated after up to ``last`` inner steps."""
    psnr = [
        field(
            f"psnr_{step}",
            str(step),
            f"{_PSNR}.{step}",
            span="PSNR dB after inner steps",
            note=f"Mean over held-out signals, at the end of training, {step} inner steps from the initialisation",
            better="high",
            short=f"PSNR dB after {step}",
        )
        for step in sorted({*range(min(trained + 1, MOST_INNER_STEPS)), trained, last})
    ]
    return [*_FIELDS["before"], *psnr, *_FIELDS["after"]]

"""Which engine for which stack: one Adam step by each engine and by the automatic choice.

    python experiments/benchmarks/engines.py

Prints milliseconds a step and the ratio of the automatic choice to the best engine. ``LOOP_FROM_MACS`` of
partinr.stack.engine and ``FUSED_UP_TO`` of partinr.stack.fused follow from this table.
"""

from __future__ import annotations

from contextlib import suppress

import torch
from _common import interleaved, step_of, where

from partinr.errors import PartinrError
from partinr.stack import Engine

# Regions, width, hidden layers, pixels a side, even or ragged.
SHAPES = [
    (1, 32, 3, 128, "even"),
    (1, 64, 3, 128, "even"),
    (1, 180, 3, 128, "even"),
    (4, 88, 3, 128, "even"),
    (9, 57, 3, 128, "even"),
    (16, 42, 3, 128, "even"),
    (9, 170, 3, 256, "even"),
    (16, 128, 3, 256, "even"),
    (64, 64, 3, 256, "even"),
    (256, 32, 2, 256, "even"),
    (1024, 9, 2, 512, "even"),
    (1024, 16, 2, 256, "even"),
    (4096, 8, 2, 512, "even"),
    (9, 57, 3, 128, "ragged"),
    (64, 64, 3, 256, "ragged"),
    (64, 128, 3, 256, "ragged"),
    (256, 32, 2, 256, "ragged"),
    (1024, 16, 2, 256, "ragged"),
]

ENGINES: tuple[Engine, ...] = ("loop", "batched", "fused")


def sizes_of(regions: int, pixels: int, kind: str) -> tuple[int, ...]:
    """Even sizes, or sizes that fall geometrically over a factor of a hundred."""
    weights = torch.ones(regions) if kind == "even" else torch.logspace(0, -2, regions)
    sizes = (weights / weights.sum() * pixels).long().clamp(min=1)
    sizes[0] += pixels - sizes.sum()
    return tuple(sizes.tolist())


def main() -> None:
    """Print the table."""
    print(f"One Adam step, fp32. {where()}\n")
    print(
        "| regions | width × hidden layers | pixels | sizes | loop ms | batched ms | fused ms | auto ms | auto / best |"
    )
    print("|---:|---:|---:|---|---:|---:|---:|---:|---:|")
    for regions, width, layers, side, kind in SHAPES:
        sizes = sizes_of(regions, side * side, kind)
        contenders = {}
        for name in (*ENGINES, "auto"):
            with suppress(PartinrError):  # on CUDA there are no fused kernels for wide networks
                contenders[name] = step_of(name, sizes, width, layers)
        times = interleaved(contenders)
        best = min(times[name] for name in times if name != "auto")
        figures = " | ".join(f"{1e3 * times[name]:.1f}" if name in times else "–" for name in (*ENGINES, "auto"))
        print(
            f"| {regions} | {width} × {layers} | {side}² | {kind} | {figures} | {times['auto'] / best:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

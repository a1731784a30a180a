"""Which engine for which stack: one Adam step by each engine and by the automatic choice.

    python experiments/benchmarks/engines.py

Prints milliseconds a step and the ratio of the automatic choice to the best engine. ``LOOP_FROM_MACS`` of
partinr.engines.loop and ``FUSED_UP_TO`` of partinr.engines.fused follow from this table.
"""

from __future__ import annotations

from contextlib import suppress

from _common import interleaved, sizes_of, step_of, where

from partinr.base.errors import PartinrError
from partinr.engines import EngineName

# Regions, width, hidden layers, pixels a side, even or ragged.
SHAPES = [
    (1, 16, 3, 128, "even"),
    (1, 32, 3, 128, "even"),
    (1, 64, 3, 128, "even"),
    (1, 180, 3, 128, "even"),
    (1, 512, 3, 128, "even"),
    (4, 88, 3, 128, "even"),
    (4, 256, 3, 128, "even"),
    (9, 57, 3, 128, "even"),
    (9, 170, 3, 256, "even"),
    (16, 16, 3, 128, "even"),
    (16, 42, 3, 128, "even"),
    (16, 128, 3, 256, "even"),
    (64, 16, 3, 256, "even"),
    (64, 64, 3, 256, "even"),
    (64, 256, 2, 128, "even"),
    (256, 16, 2, 256, "even"),
    (256, 32, 2, 256, "even"),
    (256, 128, 2, 128, "even"),
    (1024, 9, 2, 512, "even"),
    (1024, 16, 2, 256, "even"),
    (1024, 32, 2, 512, "even"),
    (4096, 8, 2, 512, "even"),
    (4096, 16, 2, 512, "even"),
    (4, 256, 3, 128, "ragged"),
    (9, 57, 3, 128, "ragged"),
    (16, 16, 3, 128, "ragged"),
    (64, 64, 3, 256, "ragged"),
    (64, 128, 3, 256, "ragged"),
    (256, 32, 2, 256, "ragged"),
    (1024, 9, 2, 512, "ragged"),
    (1024, 16, 2, 256, "ragged"),
    (4096, 16, 2, 512, "ragged"),
]

ENGINES: tuple[EngineName, ...] = ("loop", "batched", "fused", "tiled")
HOPELESS = 2.0
"""Seconds a step from which an engine is not timed to the end; the table has a dash for it."""


def figure(seconds: float | None) -> str:
    """Milliseconds, or a dash."""
    return "–" if seconds is None or seconds > HOPELESS else f"{1e3 * seconds:.1f}"


def main() -> None:
    """Print the table."""
    print(f"One Adam step, fp32. {where()}\n")
    heads = " | ".join(f"{name} ms" for name in (*ENGINES, "auto"))
    print(f"| regions | width × hidden layers | pixels | sizes | {heads} | auto / best |")
    print("|---:|---:|---:|---|" + "---:|" * (len(ENGINES) + 2))
    for regions, width, layers, side, kind in SHAPES:
        sizes = sizes_of(regions, side * side, kind)
        steps = {}
        for name in (*ENGINES, "auto"):
            with suppress(PartinrError):  # on CUDA there are no fused kernels for wide networks
                steps[name] = step_of(name, sizes, width, layers)
        times = interleaved(steps, rounds=3, seconds=0.2, budget=HOPELESS)
        best = min(times[name] for name in times if name != "auto")
        figures = " | ".join(figure(times.get(name)) for name in (*ENGINES, "auto"))
        print(
            f"| {regions} | {width} × {layers} | {side}² | {kind} | {figures} | {times['auto'] / best:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

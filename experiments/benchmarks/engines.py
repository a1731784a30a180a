"""Which engine for which stack: one Adam step by the contiguous loop, the batched product and the automatic choice.

    python experiments/benchmarks/engines.py

Prints milliseconds a step and the ratio of each engine to the better of loop and batched product. The figure
``LOOP_FROM_MACS`` of partinr.stack.engine follows from this table.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _common import interleaved, where

from partinr.backbones import Siren
from partinr.stack import ENGINES, make_plan, run_stack

# Regions, width, hidden layers, pixels a side, even or ragged.
SHAPES = [
    (1, 180, 3, 128, "even"),
    (4, 88, 3, 128, "even"),
    (9, 57, 3, 128, "even"),
    (16, 42, 3, 128, "even"),
    (9, 170, 3, 256, "even"),
    (16, 128, 3, 256, "even"),
    (64, 64, 3, 256, "even"),
    (256, 32, 2, 256, "even"),
    (1024, 16, 2, 256, "even"),
    (9, 57, 3, 128, "ragged"),
    (64, 64, 3, 256, "ragged"),
    (256, 32, 2, 256, "ragged"),
]


def sizes_of(regions: int, pixels: int, kind: str) -> tuple[int, ...]:
    """Even sizes, or sizes that fall geometrically over a factor of a hundred."""
    weights = torch.ones(regions) if kind == "even" else torch.logspace(0, -2, regions)
    sizes = (weights / weights.sum() * pixels).long().clamp(min=1)
    sizes[0] += pixels - sizes.sum()
    return tuple(sizes.tolist())


def step_of(engine: str, regions: int, width: int, layers: int, side: int, kind: str) -> Callable[[], None]:
    """One Adam step of a stack, ready to be called."""
    generator = torch.Generator().manual_seed(0)
    backbone = Siren(hidden_features=width, hidden_layers=layers)
    params = {name: value.requires_grad_() for name, value in backbone.init(regions, 2, 3, generator).items()}
    sizes = sizes_of(regions, side * side, kind)
    coords = torch.rand(sum(sizes), 2, generator=generator) * 2 - 1
    targets = torch.rand(sum(sizes), 3, generator=generator)
    optimizer = torch.optim.Adam(params.values(), lr=1e-4, fused=True)
    plan = make_plan(sizes, engine, backbone.macs(2, 3), coords.device)

    def step() -> None:
        optimizer.zero_grad()
        loss = (run_stack(backbone.apply, params, coords, plan) - targets).square().mean()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Print the table."""
    print(f"One Adam step, fp32. {where()}\n")
    print("| regions | width × hidden layers | pixels | sizes | loop ms | batched ms | auto ms | auto / best |")
    print("|---:|---:|---:|---|---:|---:|---:|---:|")
    for regions, width, layers, side, kind in SHAPES:
        times = interleaved({name: step_of(name, regions, width, layers, side, kind) for name in ENGINES})
        best = min(times["loop"], times["batched"])
        figures = " | ".join(f"{1e3 * times[name]:.1f}" for name in ("loop", "batched", "auto"))
        print(
            f"| {regions} | {width} × {layers} | {side}² | {kind} | {figures} | {times['auto'] / best:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

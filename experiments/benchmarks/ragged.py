"""Does the cost of a step follow the pixels, or the largest region times their number?

    python experiments/benchmarks/ragged.py

One Adam step of R networks of one width on the same pixels: cut evenly, cut into one huge region and tiny ones, and cut
as HFS, SLIC and k-means cut a photograph. Beside each the padded product over the largest region, which is what a
stack costs that knows no ragged regions. Ratios are to the even cut.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _common import interleaved, where

from partinr.backbones import Siren
from partinr.partition import Grid, KMeans, PartitionRule, Semantic, Superpixel
from partinr.signals import builtin_image
from partinr.stack import make_plan, run_stack

Sizes = tuple[int, ...]

SIDE = 256
# Regions, width, hidden layers.
SHAPES = [(9, 57, 3), (64, 32, 3), (256, 32, 2)]
MEMORY = 2**31
"""Floats in one layer's activations above which the padded product is not even tried."""


def cuts(regions: int) -> dict[str, Sizes]:
    """Samples of each region under each cut of the same image."""
    pixels = SIDE * SIDE
    tiny = pixels // (20 * (regions - 1))
    even = [pixels // regions] * regions
    even[0] += pixels - sum(even)
    image = builtin_image("astronaut", size=SIDE)
    rules: dict[str, PartitionRule] = {
        "grid": Grid(regions=regions),
        "semantic": Semantic(regions=regions, min_size_1=1, min_size_2=1),
        "superpixel": Superpixel(regions=regions),
        "kmeans": KMeans(regions=regions),
    }
    return {
        "even": tuple(even),
        "one huge, the rest tiny": (pixels - tiny * (regions - 1), *[tiny] * (regions - 1)),
        **{name: tuple(rule(image).sizes.tolist()) for name, rule in rules.items()},
    }


def step_of(sizes: Sizes, width: int, layers: int, padded: bool) -> Callable[[], None]:
    """One Adam step of a stack, ready to be called."""
    generator = torch.Generator().manual_seed(0)
    backbone = Siren(hidden_features=width, hidden_layers=layers)
    params = {name: value.requires_grad_() for name, value in backbone.init(len(sizes), 2, 3, generator).items()}
    if padded:
        sizes = (max(sizes),) * len(sizes)
    coords = torch.rand(sum(sizes), 2, generator=generator) * 2 - 1
    targets = torch.rand(sum(sizes), 3, generator=generator)
    optimizer = torch.optim.Adam(params.values(), lr=1e-4, fused=True)
    plan = make_plan(sizes, "batched" if padded else "auto", backbone.macs(2, 3), coords.device)

    def step() -> None:
        optimizer.zero_grad()
        loss = (run_stack(backbone.apply, params, coords, plan) - targets).square().mean()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Print the table."""
    print(f"One Adam step on {SIDE}×{SIDE} pixels, fp32. {where()}\n")
    print("| regions | width × hidden layers | cut | largest region | ms | to even | padded ms | padded to even |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|")
    for regions, width, layers in SHAPES:
        sizes = cuts(regions)
        contenders = {name: step_of(each, width, layers, padded=False) for name, each in sizes.items()}
        fits = {name: each for name, each in sizes.items() if len(each) * max(each) * width < MEMORY // 16}
        contenders |= {f"padded {name}": step_of(each, width, layers, padded=True) for name, each in fits.items()}
        times = interleaved(contenders, rounds=5)
        for name, each in sizes.items():
            padded = times.get(f"padded {name}")
            last = "– | –" if padded is None else f"{1e3 * padded:.1f} | {padded / times['even']:.2f}"
            print(
                f"| {len(each)} | {width} × {layers} | {name} | {max(each) / sum(each):.0%} of the pixels "
                f"| {1e3 * times[name]:.1f} | {times[name] / times['even']:.2f} | {last} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

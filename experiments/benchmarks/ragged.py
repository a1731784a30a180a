"""Does the cost of a step follow the pixels, or the largest region times their number?

    python experiments/benchmarks/ragged.py

One Adam step of R networks of one width on the same pixels: cut evenly, cut into one huge region and tiny ones, and cut
as HFS, SLIC and k-means cut a photograph. Beside each what a stack costs that knows no ragged regions: every region is
padded to the largest and goes through the batched product. Ratios are to the even cut by the same engine.
"""

from __future__ import annotations

import warnings

from _common import interleaved, step_of, where

from partinr.base.errors import PartinrWarning
from partinr.partition import KMeans, PartitionRule, Semantic, Superpixel
from partinr.signals import builtin_image

Sizes = tuple[int, ...]

SIDE = 256
# Regions, width, hidden layers: work for the loop, for the batched product in tiles, and for the fused engine.
SHAPES = [(9, 128, 3), (64, 32, 3), (256, 9, 2)]
MOST_PADDED = 2**21
"""Padded samples beyond which the padded product is not tried: it takes gigabytes."""


def cuts(regions: int) -> dict[str, Sizes]:
    """Samples of each region under each cut of the same image."""
    pixels = SIDE * SIDE
    tiny = pixels // (20 * (regions - 1))
    even = [pixels // regions] * regions
    even[0] += pixels - sum(even)
    image = builtin_image("astronaut", size=SIDE)
    rules: dict[str, PartitionRule] = {
        "HFS": Semantic(regions=regions),
        "SLIC": Superpixel(regions=regions),
        "k-means": KMeans(regions=regions),
    }
    with warnings.catch_warnings():
        # HFS finds no 256 segments in it; the table says how many there are.
        warnings.simplefilter("ignore", PartinrWarning)
        found = {name: tuple(rule(image).sizes.tolist()) for name, rule in rules.items()}
    return {
        "even": tuple(even),
        "one huge, the rest tiny": (pixels - tiny * (regions - 1), *[tiny] * (regions - 1)),
        **found,
    }


def main() -> None:
    """Print the table."""
    print(f"One Adam step on {SIDE}×{SIDE} pixels, fp32. {where()}\n")
    print("| regions | width × hidden layers | cut | largest region | ms | to even | padded ms | to even |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|")
    for regions, width, layers in SHAPES:
        sizes = cuts(regions)
        contenders = {name: step_of("auto", each, width, layers) for name, each in sizes.items()}
        for name, each in sizes.items():
            padded = (max(each),) * len(each)
            if sum(padded) <= MOST_PADDED:
                contenders[f"padded {name}"] = step_of("batched", padded, width, layers)
        times = interleaved(contenders, rounds=5)
        for name, each in sizes.items():
            padded_time = times.get(f"padded {name}")
            last = (
                "– | –"
                if padded_time is None
                else f"{1e3 * padded_time:.1f} | {padded_time / times['padded even']:.2f}"
            )
            print(
                f"| {len(each)} | {width} × {layers} | {name} | {max(each) / sum(each):.0%} of the pixels "
                f"| {1e3 * times[name]:.1f} | {times[name] / times['even']:.2f} | {last} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

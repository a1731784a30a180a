"""How the cost of a step grows with regions, pixels and width.

    python experiments/benchmarks/scaling.py

One Adam step of SIRENs, fp32, automatic choice of the engine:

* against the number of regions, at fixed pixels and parameters in all. A pixel goes through its own network alone, so
  the arithmetic falls; the step should fall with it, and stay flat where it no longer can.
* against pixels, at fixed networks: nanoseconds a pixel should stay the same. Beyond the memory that a full batch may
  take, points are drawn for each step, and time is counted by the drawn ones.
* against width: nanoseconds a multiply-accumulate of the forward pass should fall until the products are large enough.

Slow points have fewer turns than quick ones.
"""

from __future__ import annotations

import itertools

from _common import DEVICE, interleaved, sizes_of, step_of, where

from partinr.backbones import Siren

LAYERS = 2  # with three, 4,096 networks could not be told apart by their number of parameters

REGIONS = (1, 4, 16, 64, 256, 1024, 4096)
BUDGETS = (100_000, 264_000)
SIDES = (256, 512)

# Regions, width, bytes a pixel of a full batch, about. The fused engine, which takes the thin ones on a CPU, keeps
# nothing between the layers; else each layer has products, sines and the gradients of both.
NETWORKS = [(1024, 9, 100 if DEVICE.type == "cpu" else 600), (256, 32, 1600)]
MORE_SIDES = (256, 512, 1024, 2048, 4096)
MEMORY = 8e9
POINTS = 2**20

WIDTHS = (8, 16, 32, 64, 128, 256, 512)
WIDTH_REGIONS = (1, 16)
WIDTH_SIDE = 128


def against_regions() -> None:
    """A table a number of parameters."""
    for budget in BUDGETS:
        widths = {}
        for regions in REGIONS:
            widths[regions] = Siren(match_params=budget, hidden_layers=LAYERS).sized(regions, 2, 3).hidden_features
        times = {
            side: interleaved(
                {
                    str(regions): step_of("auto", sizes_of(regions, side * side), widths[regions], LAYERS)
                    for regions in REGIONS
                },
                rounds=5,
                seconds=0.2,
                budget=1.0,
            )
            for side in SIDES
        }
        print(f"\nRegions, {budget:,} parameters in all, {LAYERS} hidden layers\n")
        print("| regions | width |" + "".join(f" {side}² ms | to the row above |" for side in SIDES))
        print("|---:|---:|" + "---:|---:|" * len(SIDES))
        for before, regions in itertools.pairwise((0, *REGIONS)):
            cells = []
            for side in SIDES:
                took = times[side][str(regions)]
                ratio = f"{took / times[side][str(before)]:.2f}" if before else "–"
                cells.append(f" {1e3 * took:.1f} | {ratio} |")
            print(f"| {regions} | {widths[regions]} |" + "".join(cells), flush=True)


def against_pixels() -> None:
    """One table."""
    print("\nPixels\n")
    print("| regions | width × hidden layers | pixels | points a step | ms | ns a point |")
    print("|---:|---|---:|---:|---:|---:|")
    for regions, width, pixel_bytes in NETWORKS:
        for side in MORE_SIDES:
            pixels = side * side
            points = None if pixels * pixel_bytes <= MEMORY else POINTS
            step = step_of("auto", sizes_of(regions, pixels), width, LAYERS, points=points)
            took = interleaved({"step": step}, rounds=5, seconds=0.3, budget=2.0)["step"]
            ns = 1e9 * took / (points or pixels)
            drawn = "all" if points is None else f"{points:,} drawn"
            print(
                f"| {regions} | {width} × {LAYERS} | {side}² | {drawn} | {1e3 * took:.1f} | {ns:.1f} |",
                flush=True,
            )


def against_width() -> None:
    """One table."""
    pixels = WIDTH_SIDE * WIDTH_SIDE
    steps = {
        f"{regions} {width}": step_of("auto", sizes_of(regions, pixels), width, LAYERS)
        for regions in WIDTH_REGIONS
        for width in WIDTHS
    }
    times = interleaved(steps, rounds=5, seconds=0.2, budget=1.0)
    print(f"\nWidth, {WIDTH_SIDE}² pixels, {LAYERS} hidden layers\n")
    print("| width |" + "".join(f" R = {regions}: ms | ns a multiply-accumulate |" for regions in WIDTH_REGIONS))
    print("|---:|" + "---:|---:|" * len(WIDTH_REGIONS))
    for width in WIDTHS:
        macs = pixels * Siren(hidden_features=width, hidden_layers=LAYERS).macs(2, 3)
        figures = [times[f"{regions} {width}"] for regions in WIDTH_REGIONS]
        print(f"| {width} |" + "".join(f" {1e3 * took:.1f} | {1e9 * took / macs:.3f} |" for took in figures))


def main() -> None:
    """Print the tables."""
    print(f"One Adam step, fp32. {where()}")
    against_regions()
    against_pixels()
    against_width()


if __name__ == "__main__":
    main()

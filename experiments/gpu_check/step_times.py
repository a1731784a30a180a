"""What a step costs: a stack, the same networks in a plain loop over heads, and the limits of the card.

The card's rates of a large matrix product and of copies are measured first. The time of a step's products at the first
rate and of the bytes that it has to move at the second are limits: coordinates and targets are read, and parameters
with their gradients and Adam's two moments are read and written.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _common import interleaved
from part import DEVICE, Job, cut, head, row
from steps import loop_step, stack_step

from partinr.backbones import Siren
from partinr.engines.base import cuda_products
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid

SHAPES = {
    # Regions, width, hidden layers; height and width of the image.
    "full": [(9, 170, 3, (512, 768)), (1024, 9, 2, (512, 768)), (1024, 32, 2, (512, 768))],
    "tiny": [(9, 17, 1, (24, 36)), (16, 9, 1, (24, 36)), (16, 32, 1, (24, 36))],
}
PRECISIONS = ("fp32", "TF32", "bf16")


def rates(job: Job) -> dict[str, float]:
    """FLOP per second of a large product in each precision, and bytes per second of a copy, read and written."""
    side, numbers = (256, 2**18) if job.tiny else (8192, 2**28)
    found = {}
    for precision in PRECISIONS:
        a, b = (torch.randn(side, side, device=DEVICE) for _ in range(2))
        a, b = (a.bfloat16(), b.bfloat16()) if precision == "bf16" else (a, b)
        with cuda_products(tf32=precision == "TF32"):
            found[precision] = 2 * side**3 / timed(lambda a=a, b=b: torch.mm(a, b))
    source = torch.empty(numbers, device=DEVICE)
    target = torch.empty_like(source)
    found["copy"] = 2 * source.nbytes / timed(lambda: target.copy_(source))
    return found


def timed(call: Callable[[], object]) -> float:
    """Median seconds a call."""
    return interleaved({"it": call}, rounds=3, seconds=0.1)["it"]


def main(job: Job) -> None:
    """Print the rates, and a row for each shape and precision."""
    limits = rates(job)
    products = ", ".join(f"{limits[each] / 1e12:.3g} in {each}" for each in PRECISIONS)
    print(f"Measured limits: products at {products} TFLOP/s; copies at {limits['copy'] / 1e9:.3g} GB/s.\n")
    heads = ("regions", "width × layers", "pixels", "precision", "partinr ms", "loop ms", "loop / partinr")
    head(*heads, "products ms", "memory ms", "limit / step")
    for regions, width, layers, grid in SHAPES[job.size]:
        image = torch.rand(*grid, 3, generator=torch.Generator().manual_seed(0))
        partition = Grid(regions=regions)(image)
        for precision in PRECISIONS:
            if job.left < 8:
                cut(f"{regions} × {width} in {precision} and what follows")
                return
            with job.attempt(regions, f"{width} × {layers}", f"{grid[1]}×{grid[0]}", precision):
                backbone = Siren(hidden_features=width, hidden_layers=layers)
                model, bf16 = PiecewiseINR(partition, backbone), precision == "bf16"
                pixels, parameters = grid[0] * grid[1], model.parameter_count
                with cuda_products(tf32=precision == "TF32"):
                    steps = {
                        "partinr": stack_step(model, image, bf16),
                        "loop": loop_step(partition.labels, image, width, layers, bf16),
                    }
                    # A loop over a thousand heads takes a second a step.
                    times = interleaved(steps, rounds=3, seconds=0.02 if job.tiny else 0.2, budget=0.5)
                # The first layer's input needs no gradient.
                flop = 2 * pixels * (3 * backbone.macs(2, 3) - 2 * width)
                moved = 4 * (5 * pixels + 8 * parameters)
                by_products, by_memory = flop / limits[precision], moved / limits["copy"]
                row(
                    regions,
                    f"{width} × {layers}",
                    f"{grid[1]}×{grid[0]}",
                    precision,
                    f"{1e3 * times['partinr']:.3f}",
                    f"{1e3 * times['loop']:.2f}",
                    f"{times['loop'] / times['partinr']:.1f}",
                    f"{1e3 * by_products:.3f}",
                    f"{1e3 * by_memory:.3f}",
                    f"{max(by_products, by_memory) / times['partinr']:.0%}",
                )

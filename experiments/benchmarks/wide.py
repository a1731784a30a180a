"""Wide networks of sines on the CPU: the tiled functions beside the other engines and a plain loop over heads.

    python experiments/benchmarks/wide.py

One full step (forward, loss, backward, Adam) on 256×256 pixels. ``error`` is ``Tiled.error``, which has value and
gradients in one pass, ``values`` is ``Tiled.run`` and torch's own loss. ``TILED_FROM_MACS`` and ``TILED_FROM_WIDTH`` of
partinr.engines.tiled follow from this table.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _common import adam_step, interleaved, sizes_of, where
from steps import LR, loop_step, stack_step
from torch import Tensor

from partinr.backbones import Siren
from partinr.engines.base import Observations
from partinr.engines.tiled import Tiled
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition

SIDE = 256

# Regions, width, hidden layers, even or ragged.
SHAPES = [
    (1, 512, 3, "even"),
    (9, 170, 3, "even"),
    (9, 170, 3, "ragged"),
    (16, 48, 3, "even"),
    (16, 64, 3, "even"),
    (16, 128, 3, "even"),
    (64, 64, 3, "even"),
    (64, 64, 3, "ragged"),
    (64, 96, 3, "even"),
    (64, 128, 3, "even"),
    (4, 32, 2, "even"),
    (256, 32, 2, "even"),
]


def tiled_step(model: PiecewiseINR, image: Tensor, bf16: bool, in_one_pass: bool) -> Callable[[], None]:
    """A step by the tiled functions."""
    batch = model.batch(image)
    sizes = tuple(batch.sizes)

    def loss() -> Tensor:
        chain = model.backbone.chain(dict(model.stack))
        assert chain is not None
        if in_one_pass:
            return Tiled().error(chain, Observations(batch.coords, batch.targets, sizes)) / batch.targets.numel()
        return (Tiled().run(chain, batch.coords, sizes) - batch.targets).square().mean()

    return adam_step(loss, torch.optim.Adam(model.parameters(), lr=LR, fused=True), bf16)


def main() -> None:
    """Print the table."""
    print(f"One step: forward, loss, backward, Adam, {SIDE}² pixels. {where()}\n")
    names = ("plain loop", "loop", "batched", "values", "error")
    print("| regions | width × hidden layers | sizes | precision | " + " | ".join(f"{n} ms" for n in names), end=" ")
    print("| plain loop / error |")
    print("|---:|---|---|---|" + "---:|" * (len(names) + 1))
    image = torch.rand(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    for regions, width, layers, kind in SHAPES:
        sizes = torch.tensor(sizes_of(regions, SIDE * SIDE, kind))
        labels = torch.repeat_interleave(torch.arange(regions), sizes).reshape(SIDE, SIDE)
        backbone = Siren(hidden_features=width, hidden_layers=layers)
        for precision in ("fp32", "bf16"):
            bf16 = precision == "bf16"
            loop, batched, tiled = (
                PiecewiseINR(Partition(labels), backbone, engine=engine) for engine in ("loop", "batched", "auto")
            )
            steps = {
                "plain loop": loop_step(labels, image, width, layers, bf16),
                "loop": stack_step(loop, image, bf16),
                "batched": stack_step(batched, image, bf16),
                "values": tiled_step(tiled, image, bf16, in_one_pass=False),
                "error": tiled_step(tiled, image, bf16, in_one_pass=True),
            }
            times = interleaved(steps, rounds=3, seconds=0.25, budget=1.5)
            figures = " | ".join(f"{1e3 * times[name]:.0f}" for name in names)
            print(
                f"| {regions} | {width} × {layers} | {kind} | {precision} | {figures} "
                f"| {times['plain loop'] / times['error']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

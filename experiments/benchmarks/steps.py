"""What a step costs: a stack, the same networks in a loop over heads, and one network with as many parameters.

    python experiments/benchmarks/steps.py

One full step (forward, loss, backward, Adam) on a grid of regions, in fp32 and under autocast to bfloat16. The loop is
the plain way to write the method: a module a region, which takes its pixels out of the image by their indices and puts
its values back. Its Adam is torch's default one, the others' is the fused one that partinr takes. The lone network is
timed as partinr evaluates it and, "plain", as a loop over one head. Ratios are to what is plain and in fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _common import DEVICE, SHAPES, adam_step, interleaved, where
from torch import Tensor, nn

from partinr.backbones import Siren
from partinr.coords import grid_coords
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Whole

LR = 1e-4


class Sine(nn.Module):
    """A layer of sines, without an initialisation of its own: it costs nothing a step."""

    def __init__(self, n_in: int, n_out: int, omega_0: float = 30.0) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.omega_0 = omega_0

    def forward(self, x: Tensor) -> Tensor:
        """``sin(omega_0 (W x + b))``."""
        return torch.sin(self.omega_0 * self.linear(x))


def head(width: int, layers: int) -> nn.Module:
    """One region's network."""
    hidden = [Sine(width, width) for _ in range(layers)]
    return nn.Sequential(Sine(2, width), *hidden, nn.Linear(width, 3))


def loop_step(labels: Tensor, image: Tensor, width: int, layers: int, bf16: bool) -> Callable[[], None]:
    """A step of the loop over heads."""
    regions = int(labels.max()) + 1
    heads = nn.ModuleList([head(width, layers) for _ in range(regions)]).to(DEVICE)
    masks = [(labels.reshape(-1) == region).nonzero().squeeze(1).to(DEVICE) for region in range(regions)]
    coords, targets = grid_coords(labels.shape).float().to(DEVICE), image.reshape(-1, 3).to(DEVICE)

    def loss() -> Tensor:
        out = torch.zeros_like(targets)
        for network, mask_index in zip(heads, masks, strict=True):
            # Autocast's values are narrower than the image that they are put into.
            out[mask_index] = network(coords[mask_index]).to(out.dtype)
        return (out - targets).square().mean()

    return adam_step(loss, torch.optim.Adam(heads.parameters(), lr=LR), bf16)


def stack_step(model: PiecewiseINR, image: Tensor, bf16: bool) -> Callable[[], None]:
    """A step of a stack."""
    batch = model.to(DEVICE).batch(image)
    coords, targets = batch.coords.to(DEVICE), batch.targets.to(DEVICE)

    def loss() -> Tensor:
        return model.squared_error(coords, targets, batch.sizes) / targets.numel()

    return adam_step(loss, torch.optim.Adam(model.parameters(), lr=LR, fused=True), bf16)


def main() -> None:
    """Print the table."""
    print(f"One step: forward, loss, backward, Adam. {where()}\n")
    print(
        "| regions | width × hidden layers | pixels | parameters | precision | partinr ms | loop ms "
        "| fp32 loop / partinr | lone width | lone ms | plain lone ms | plain fp32 lone / partinr |"
    )
    print("|---:|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for regions, width, layers, side in SHAPES:
        image = torch.rand(side, side, 3, generator=torch.Generator().manual_seed(0))
        grid, whole = Grid(regions=regions)(image), Whole()(image)
        single: dict[str, float] = {}
        for precision in ("fp32", "bf16"):
            bf16 = precision == "bf16"
            model = PiecewiseINR(grid, Siren(hidden_features=width, hidden_layers=layers))
            lone = PiecewiseINR(whole, Siren(match_params=model.parameter_count, hidden_layers=layers))
            alone = lone.backbone.hidden_features
            assert alone is not None
            contenders = {
                "partinr": stack_step(model, image, bf16),
                "loop": loop_step(grid.labels, image, width, layers, bf16),
                "lone": stack_step(lone, image, bf16),
                "plain lone": loop_step(whole.labels, image, alone, layers, bf16),
            }
            # The lone network takes seconds a step on a CPU.
            times = interleaved(contenders, rounds=5, seconds=0.4, budget=3.0)
            ms = {name: 1e3 * value for name, value in times.items()}
            single = single or ms
            print(
                f"| {regions} | {width} × {layers} | {side}² | {model.parameter_count:,} | {precision} "
                f"| {ms['partinr']:.1f} | {ms['loop']:.1f} | {single['loop'] / ms['partinr']:.1f} "
                f"| {alone} | {ms['lone']:.0f} | {ms['plain lone']:.0f} "
                f"| {single['plain lone'] / ms['partinr']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Second derivatives of wide networks on the CPU: the tiled engine with a direction in the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines._tile import Networks, compiled_kernels
from partinr.engines.base import Observations
from partinr.engines.chain import Chain, factors_of, tensors_of
from partinr.engines.threads import SINGLE, Run, runs_of, sum_over_runs


def tiled_curvature(chain: Chain, along: Chain, observed: Observations) -> list[Tensor]:
    """The Hessian of N networks' squared error times a direction, see :data:`partinr.engines.base.HessianVector`.

    Hidden layers must have equal widths.
    """
    passes, networks, ways = (
        _passes(),
        *(Networks(factors_of(chain), tensors_of(each), half=False) for each in (chain, along)),
    )
    x, wanted, weight = observed.arrays()
    runs = runs_of(observed.sizes, 2 * chain[0].weight.shape[1])

    def work(left: Iterable[tuple[Run, list[Tensor]]]) -> None:
        tile = _Tile(passes, networks, ways, max(length for run in runs for _, length in run.tiles))
        for run, place in left:
            sums = [each.numpy() for each in place]
            for start, n in run.tiles:
                samples = slice(start, start + n)
                tile.forward(run.network, x[samples])
                tile.turn(run.network, n, wanted[samples], weight[samples], sums)
                tile.backward(run.network, x[samples], place, sums)

    shapes = [tensor.shape[1:] for tensor in tensors_of(chain)]
    return sum_over_runs(runs, len(observed.sizes), shapes, work)


class _Tile:
    """A thread's data for its current tile, and the passes through the layers and back.

    Activations and their derivatives along the direction are adjacent, and so are gradients.

    Args:
        passes: the compiled passes.
        networks: the stack.
        ways: the direction.
        rows: number of rows of the longest tile.
    """

    def __init__(self, passes: Any, networks: Networks, ways: Networks, rows: int) -> None:
        self.passes, self.networks, self.ways = passes, networks, ways
        self.width, self.last = networks.widths[0], len(networks.biases) - 1
        self.both = torch.empty(self.last, rows, 2 * self.width, **SINGLE)
        self.cosines, self.bends = torch.empty(2, self.last, rows, self.width, **SINGLE).numpy()
        self.product, self.derivative = torch.empty(2, rows, self.width, **SINGLE)
        self.back, self.into = torch.empty(2, rows, 2 * self.width, **SINGLE)
        self.boths = self.both.numpy()
        self.products = self.product.numpy(), self.derivative.numpy()
        self.back_array, self.into_array = self.back.numpy(), self.into.numpy()

    def forward(self, at: int, x: NDArray[np.float32]) -> None:
        """Network ``at`` on its samples ``x [n, d]``, up to the last sines."""
        n, width, networks, ways = len(x), self.width, self.networks, self.ways
        thin = networks.first_scaled[at], networks.biases[0][at], ways.first_scaled[at], ways.biases[0][at]
        self.passes.first(x, *thin, networks.factors[0], self.boths[0], self.cosines[0], self.bends[0])
        for k in range(1, self.last):
            before, weight = self.both[k - 1][:n], networks.hidden_transposed[k][at]
            torch.mm(before[:, :width], weight, out=self.product[:n])
            # Activations by the direction, and their derivatives by the weights.
            torch.mm(before[:, :width], ways.hidden_transposed[k][at], out=self.derivative[:n])
            self.derivative[:n].addmm_(before[:, width:], weight)
            biases = networks.biases[k][at], ways.biases[k][at]
            own = self.boths[k], self.cosines[k], self.bends[k]
            self.passes.sine(n, *self.products, *biases, networks.factors[k], *own)

    def turn(
        self,
        at: int,
        n: int,
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        sums: Sequence[NDArray[np.float32]],
    ) -> None:
        """Evaluate the output layer, and the gradient of the error by its input."""
        networks, ways, last = self.networks, self.ways, self.last
        ends = networks.last_scaled[at], networks.biases[last][at], ways.last_scaled[at], ways.biases[last][at]
        both = self.boths[last - 1]
        self.passes.output(n, both, *ends, networks.factors[last], targets, weights, self.back_array, *sums[-2:])

    def backward(
        self, at: int, x: NDArray[np.float32], place: Sequence[Tensor], sums: Sequence[NDArray[np.float32]]
    ) -> None:
        """Go back to the first layer, adding to ``place`` and ``sums``, the product's tensors and their arrays."""
        n, width = len(x), self.width
        for k in range(self.last - 1, 0, -1):
            cosine, bend = self.cosines[k], self.bends[k]
            self.passes.sine_backward(n, self.back_array, cosine, bend, self.into_array, sums[2 * k + 1])
            before, gradient, back = self.both[k - 1][:n], self.into[:n], self.back[:n]
            weight, way = self.networks.hidden[k][at], self.ways.hidden[k][at]
            place[2 * k].addmm_(gradient[:, width:].t(), before[:, :width])
            place[2 * k].addmm_(gradient[:, :width].t(), before[:, width:])
            torch.mm(gradient[:, :width], weight, out=back[:, :width])
            torch.mm(gradient[:, :width], way, out=back[:, width:])
            back[:, width:].addmm_(gradient[:, width:], weight)
        self.passes.first_backward(x, self.back_array, self.cosines[0], self.bends[0], sums[0], sums[1])


@cache
def _passes() -> Any:
    """The passes, compiled."""
    compiled_kernels()
    from partinr.engines.curvature import _tiled_kernels as passes

    one, two, row, factor = (
        np.zeros((1, 1), np.float32),
        np.zeros((1, 2), np.float32),
        np.zeros(1, np.float32),
        np.float32(1),
    )
    passes.first(one, one, row, one, row, factor, two, one.copy(), one.copy())
    passes.sine(1, one, one, row, row, factor, two, one.copy(), one.copy())
    passes.output(1, two, one, row, one, row, factor, one, row, two.copy(), one.copy(), row.copy())
    passes.sine_backward(1, two, one, one, two.copy(), row.copy())
    passes.first_backward(one, two, one, one, one.copy(), row.copy())
    return passes

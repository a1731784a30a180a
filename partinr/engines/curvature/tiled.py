"""Second derivatives of wide networks on the CPU: the tiled engine with a direction in the parameters."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from partinr.engines._tile import compiled_kernels
from partinr.engines.chain import Chain
from partinr.engines.threads import Run, runs_of, sum_over_runs


def tiled_curvature(
    chain: Chain, along: Chain, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
) -> list[Tensor]:
    """The Hessian of N networks' squared error times a direction, see :data:`partinr.engines.base.HessianVector`.

    Hidden layers are equally wide.
    """
    passes = _passes()
    networks, ways = _Scaled(chain, chain), _Scaled(along, chain)
    factors = [np.float32(link.factor) for link in chain]
    width, last = chain[0].weight.shape[1], len(chain) - 1
    x, wanted = coords.detach().contiguous().numpy(), targets.detach().contiguous().numpy()
    weight = (targets.new_empty(0) if weights is None else weights.detach().contiguous().view(-1)).numpy()
    runs = runs_of(sizes, 2 * width)

    def work(left: Iterable[tuple[Run, list[Tensor]]]) -> None:
        rows = max(length for run in runs for _, length in run.tiles)
        both = torch.empty(last, rows, 2 * width)
        cosine, bend = torch.empty(last, rows, width), torch.empty(last, rows, width)
        product, derivative = torch.empty(2, rows, width)
        back, into = torch.empty(2, rows, 2 * width)
        array = {id(each): each.numpy() for each in (product, derivative, back, into)}
        boths, cosines, bends = both.numpy(), cosine.numpy(), bend.numpy()
        for run, place in left:
            at = run.network
            sums = [each.numpy() for each in place]
            for start, n in run.tiles:
                samples = slice(start, start + n)
                for k in range(last):
                    own = boths[k], cosines[k], bends[k]
                    if k == 0:
                        thin = networks.first[at], networks.biases[0][at], ways.first[at], ways.biases[0][at]
                        passes.first(x[samples], *thin, factors[0], *own)
                        continue
                    before = both[k - 1][:n]
                    torch.mm(before[:, :width], networks.hidden[k][at].t(), out=product[:n])
                    # Activations by the direction, and their derivatives by the weights.
                    torch.mm(before[:, :width], ways.hidden[k][at].t(), out=derivative[:n])
                    derivative[:n].addmm_(before[:, width:], networks.hidden[k][at].t())
                    arrays = array[id(product)], array[id(derivative)]
                    passes.sine(n, *arrays, networks.biases[k][at], ways.biases[k][at], factors[k], *own)
                ends = networks.output[at], networks.biases[last][at], ways.output[at], ways.biases[last][at]
                passes.output(
                    n,
                    boths[last - 1],
                    *ends,
                    factors[last],
                    wanted[samples],
                    weight[samples],
                    array[id(back)],
                    sums[-2],
                    sums[-1],
                )
                for k in range(last - 1, 0, -1):
                    passes.sine_backward(n, array[id(back)], cosines[k], bends[k], array[id(into)], sums[2 * k + 1])
                    before, gradient = both[k - 1][:n], into[:n]
                    place[2 * k].addmm_(gradient[:, width:].t(), before[:, :width])
                    place[2 * k].addmm_(gradient[:, :width].t(), before[:, width:])
                    torch.mm(gradient[:, :width], networks.hidden[k][at], out=back[:n, :width])
                    torch.mm(gradient[:, :width], ways.hidden[k][at], out=back[:n, width:])
                    back[:n, width:].addmm_(gradient[:, width:], networks.hidden[k][at])
                passes.first_backward(x[samples], array[id(back)], cosines[0], bends[0], sums[0], sums[1])

    shapes = [tensor.shape[1:] for link in chain for tensor in (link.weight, link.bias)]
    return sum_over_runs(runs, len(sizes), shapes, work)


class _Scaled:
    """A stack's parameters, or a direction in them, ready for the tiles: the factor in the thin ends and the biases.

    Args:
        chain: which.
        factors_of: the chain whose factors they get.
    """

    def __init__(self, chain: Chain, factors_of: Chain) -> None:
        links = [
            (link.weight.detach(), link.bias.detach(), own.factor) for link, own in zip(chain, factors_of, strict=True)
        ]
        self.first = (links[0][2] * links[0][0]).transpose(1, 2).contiguous().numpy()
        self.output = (links[-1][2] * links[-1][0]).contiguous().numpy()
        self.biases = [(factor * bias).contiguous().numpy() for _, bias, factor in links]
        self.hidden = [weight.contiguous() for weight, _, _ in links]


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

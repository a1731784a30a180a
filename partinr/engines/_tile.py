"""Evaluates a tile of samples forward and backward through a wide network, with torch's products and numba's passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines.base import Observations
from partinr.engines.threads import ROWS, SINGLE, Run, runs_of, spread, sum_over_runs, whole


class Views(NamedTuple):
    """Views of a tile's scratch for products, layer by layer."""

    sines: list[Tensor]
    spare: list[Tensor]
    back: list[Tensor]
    back_transposed: list[Tensor]


class Scratch:
    """A thread's memory for its current tile, as tensors and arrays.

    Args:
        rows: number of rows of the longest tile.
        widths: widths of the layers that end in sines.
        half: whether numbers are bfloat16.
    """

    def __init__(self, rows: int, widths: Sequence[int], half: bool) -> None:
        self._widths = widths
        self._views: dict[int, Views] = {}
        dtype, self.line = (torch.bfloat16, 32) if half else (torch.float32, 16)
        stored = torch.uint16 if half else torch.float32
        self.sines = [torch.empty(rows, whole(width, self.line), dtype=dtype, device="cpu") for width in widths]
        self.cosines = [torch.empty_like(each) for each in self.sines]
        # Layers of equal width share buffers that live only as long as one layer.
        spare = {each.shape[1]: torch.empty_like(each) for each in self.sines}
        back = {each.shape[1]: torch.empty_like(each) for each in self.sines}
        self.spare = [spare[each.shape[1]] for each in self.sines]
        self.back = [back[each.shape[1]] for each in self.sines]
        self.sines_array, self.cosines_array, self.spare_array, self.back_array = (
            [each.view(stored).numpy() for each in many] for many in (self.sines, self.cosines, self.spare, self.back)
        )

    def views(self, rows: int) -> Views:
        """Views of the first rows, for products.

        They are cached, since any work between two products is slow: its code and data have left the cache.
        """
        if rows not in self._views:
            sines, spare, back = (
                [each[:rows, :width] for each, width in zip(many, self._widths, strict=True)]
                for many in (self.sines, self.spare, self.back)
            )
            self._views[rows] = Views(sines, spare, back, [each.t() for each in back])
        return self._views[rows]


class Networks:
    """A stack's parameters, ready for the tiles; see :class:`partinr.engines.sines.Passes`.

    Args:
        factors: factors of the layers.
        tensors: weight and bias of each layer, ``[N, out, in]`` and ``[N, out]``.
        half: whether products between hidden layers use bfloat16.
    """

    def __init__(self, factors: Sequence[float], tensors: Sequence[Tensor], half: bool) -> None:
        self.kernels = compiled_kernels()
        self.half = half
        self.factors = [np.float32(factor) for factor in factors]
        weights, biases = ([each.detach() for each in tensors[start::2]] for start in (0, 1))
        self.widths = [weight.shape[1] for weight in weights[:-1]]
        self.shapes = [tensor.shape[1:] for tensor in tensors]
        self.first = weights[0].contiguous().numpy()
        self.first_scaled = (factors[0] * weights[0]).transpose(1, 2).contiguous().numpy()
        self.last_scaled = (factors[-1] * weights[-1]).contiguous().numpy()
        self.biases = [(factor * bias).contiguous().numpy() for factor, bias in zip(factors, biases, strict=True)]
        # A matrix for each layer and network, except for the first layer.
        dtype = torch.bfloat16 if half else torch.float32
        hidden = [weight.to(dtype) for weight in weights[1:-1]]
        self.hidden = [[], *(weight.unbind(0) for weight in hidden)]
        self.hidden_transposed = [[], *(weight.transpose(1, 2).unbind(0) for weight in hidden)]

    def values(self, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """See :class:`partinr.engines.sines.Passes`."""
        x = coords.contiguous().numpy()
        values = torch.empty(coords.shape[0], self.shapes[-1][0], **SINGLE)
        y = values.numpy()
        runs = runs_of(sizes, max(self.widths))

        def work(left: Iterable[Run]) -> None:
            scratch = self._scratch(runs)
            for run in left:
                for start, length in run.tiles:
                    samples = slice(start, start + length)
                    self._forward(run.network, x[samples], scratch, y[samples])

        spread(work, runs)
        return values

    def gradients(
        self, coords: Tensor, sizes: tuple[int, ...], by_values: Tensor, by_coords: bool
    ) -> tuple[Tensor | None, list[Tensor]]:
        """See :class:`partinr.engines.sines.Passes`."""
        by_y, found = by_values.contiguous().numpy(), torch.empty_like(coords if by_coords else coords[:0])
        by_params = self._gradients(coords, sizes, lambda samples, y: by_y[samples], found)
        return found if by_coords else None, by_params

    def error(self, observed: Observations) -> tuple[Tensor, list[Tensor]]:
        """See :class:`partinr.engines.sines.Passes`."""
        _, wanted, weight = observed.arrays()
        # Keyed by the first sample of a tile, so that the order of the sum does not depend on the threads.
        errors: dict[int, float] = {}

        def by_values(samples: slice, y: NDArray[np.float32]) -> NDArray[np.float32]:
            by_y = np.empty_like(y)
            errors[samples.start] = self.kernels.error(y, wanted[samples], weight[samples], by_y)
            return by_y

        gradients = self._gradients(observed.coords, observed.sizes, by_values, observed.coords[:0])
        return torch.tensor(sum(errors[start] for start in sorted(errors)), **SINGLE), gradients

    def _gradients(
        self,
        coords: Tensor,
        sizes: tuple[int, ...],
        by_y_of: Callable[[slice, NDArray[np.float32]], NDArray[np.float32]],
        by_coords: Tensor,
    ) -> list[Tensor]:
        """Gradients by the parameters, and by the coordinates into ``by_coords``, unless that has no rows.

        Args:
            coords: ``[M, d]``.
            sizes: samples of each network.
            by_y_of: returns the gradient by the values, given some samples and their values.
            by_coords: ``[M, d]`` or ``[0, d]``.
        """
        runs = runs_of(sizes, max(self.widths))
        x, by_x = coords.contiguous().numpy(), by_coords.numpy()

        def work(left: Iterable[tuple[Run, list[Tensor]]]) -> None:
            scratch = self._scratch(runs)
            y = np.empty((max(length for run in runs for _, length in run.tiles), self.shapes[-1][0]), np.float32)
            for run, place in left:
                arrays = [each.numpy() for each in place]
                for start, length in run.tiles:
                    samples = slice(start, start + length)
                    self._forward(run.network, x[samples], scratch, y[:length])
                    by_y = by_y_of(samples, y[:length])
                    self._backward(run.network, x[samples], by_y, scratch, place, arrays, by_x[samples])

        return sum_over_runs(runs, len(sizes), self.shapes, work)

    def _scratch(self, runs: Sequence[Run]) -> Scratch:
        """Memory for the longest tile of the runs."""
        longest = max(length for run in runs for _, length in run.tiles)
        return Scratch(whole(longest, ROWS), self.widths, self.half)

    def _forward(self, network: int, x: NDArray[np.float32], scratch: Scratch, y: NDArray[np.float32]) -> None:
        """Evaluate a tile from coordinates ``x [n, d]`` to values ``y [n, c]``; the scratch keeps the activations."""
        n = len(x)
        rows = whole(n, ROWS)
        views = scratch.views(rows)
        for layer, (sines, cosines) in enumerate(zip(scratch.sines_array, scratch.cosines_array, strict=True)):
            bias, factor = self.biases[layer][network], self.factors[layer]
            if layer == 0:
                self.kernels.first(x, self.first_scaled[network], bias, factor, sines, cosines)
            else:
                torch.mm(views.sines[layer - 1], self.hidden_transposed[layer][network], out=views.spare[layer])
                self.kernels.sine(n, scratch.spare_array[layer], bias, factor, sines, cosines)
            # Products include the rows after the samples.
            if n < rows:
                sines[n:rows] = 0
        self.kernels.output(scratch.sines_array[-1], self.last_scaled[network], self.biases[-1][network], y)

    def _backward(
        self,
        network: int,
        x: NDArray[np.float32],
        by_y: NDArray[np.float32],
        scratch: Scratch,
        into: Sequence[Tensor],
        arrays: Sequence[NDArray[np.float32]],
        by_x: NDArray[np.float32],
    ) -> None:
        """The backward pass of a tile, right after :meth:`_forward`.

        Args:
            network: network of the tile.
            x: ``[n, d]``, as in :meth:`_forward`.
            by_y: ``[n, c]``, the gradient by the values.
            scratch: as :meth:`_forward` left it.
            into: gradients of the network's parameters, added to.
            arrays: the same as arrays.
            by_x: ``[n, d]``, written: the gradient by the coordinates; ``[0, d]`` if not needed.
        """
        n = len(x)
        rows = whole(n, ROWS)
        views = scratch.views(rows)
        last = len(self.widths) - 1
        self.kernels.output_backward(
            by_y,
            scratch.sines_array[last],
            # A single layer of sines is the first layer, which has its own kernel.
            scratch.cosines_array[last] if last > 0 else scratch.cosines_array[last][:0],
            self.last_scaled[network],
            self.factors[-1],
            scratch.back_array[last],
            arrays[-2],
            arrays[-1],
            arrays[2 * last + 1],
        )
        before = scratch.back_array[0]
        for layer in range(last, 0, -1):
            if n < rows:
                scratch.back_array[layer][n:rows] = 0
            self._add_product(into[2 * layer], views.back_transposed[layer], views.sines[layer - 1])
            torch.mm(views.back[layer], self.hidden[layer][network], out=views.spare[layer - 1])
            before = scratch.spare_array[layer - 1]
            if layer > 1:
                self.kernels.sine_backward(
                    n,
                    before,
                    scratch.cosines_array[layer - 1],
                    scratch.back_array[layer - 1],
                    arrays[2 * layer - 1],
                )
        self.kernels.first_backward(
            x, before, scratch.cosines_array[0], self.first[network], arrays[0], arrays[1], by_x
        )

    def _add_product(self, total: Tensor, left: Tensor, right: Tensor) -> None:
        if self.half:
            # The product of a tile is rounded, but not the sum over tiles.
            total.add_(torch.mm(left, right))
        else:
            total.addmm_(left, right)


@cache
def compiled_kernels() -> Any:
    """The compiled kernels for both precisions: ten seconds the first time on a machine, then from numba's cache."""
    from partinr.engines._numba import wide_vectors

    wide_vectors()
    from partinr.engines import _sine_kernels as kernels

    factor, row = np.float32(1), np.zeros(1, dtype=np.float32)
    one = np.zeros((1, 1), dtype=np.float32)
    kernels.error(one, one, row, one.copy())
    for stored in (np.float32, np.uint16):
        h, c, z = np.zeros((3, 1, 1), dtype=stored)
        kernels.first(one, one, row, factor, h, c)
        kernels.sine(1, z, row, factor, h, c)
        kernels.output(h, one, row, one.copy())
        kernels.output_backward(one, h, c, one, factor, z, one.copy(), row.copy(), row.copy())
        kernels.sine_backward(1, h, c, z, row.copy())
        kernels.first_backward(one, h, c, one, one.copy(), row.copy(), one.copy())
    return kernels

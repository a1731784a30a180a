"""The tiled engine: wide networks of sines on the CPU, every tile of samples through all layers on one core.

Half of a step of a wide network is its products, and the other half goes over all its activations again: for the bias,
for the sine, for the cosine, for the sum of a gradient. Here a tile of up to a few thousand samples of one network goes
through all layers and back again on one core. The products are torch's, on one thread, and what lies between them is
one pass forwards and one backwards, compiled (:mod:`partinr.engines._sine_kernels`). The threads that tiles are spread
over are Python's: torch's and numba's would each start and stop for every product and every pass, and wait for one
another. Products and passes both give up Python's lock.

Under autocast to bfloat16 the products between hidden layers take bfloat16, and so do activations and their gradients.
Coordinates, the first layer, the output layer's values, sums over samples and all parameters' gradients stay float32.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines.fused import Chain, chain_network, weighted_error
from partinr.engines.plan import Engine, make_plan, run_stack

TILED_FROM_WIDTH = 48
"""``auto`` takes this engine for networks from this wide on: in thinner ones too little is products."""

TILED_FROM_MACS = 12e6
"""... and from this many multiply-accumulates a forward pass of a network, in the mean: every piece of work goes
through Python, which takes a fraction of a millisecond. Both are measured (experiments/benchmarks/wide.py)."""

TILE = 4096
"""Samples that go through a network at once, at most. More than a cache holds: a call of a product costs some tens of
microseconds beside its work, so that few long tiles are faster than many that fit, most of all in bfloat16."""

SHORTEST_TILE = 256
"""Below that tiles are not cut to have more of them."""

TILE_NUMBERS = 2**20
"""Numbers in the activations of one layer in a tile, at most: so that a thread needs some tens of megabytes."""

TILES = 16
"""A stack is cut into so many tiles at least, where it has the samples: work for as many threads."""

RUNS = 64
"""Pieces of work that a stack is cut into, about: each sums its own gradients. Like the tiles they do not follow the
number of threads, so that results do not."""

ROWS = 32
"""Tiles are rounded up to so many rows, so that there are few shapes to prepare products for."""


def tiles(engine: Engine, chain: Chain, coords: Tensor, sizes: Sequence[int]) -> bool:
    """Whether an engine evaluates a chain by these functions.

    They take single precision on the CPU, also under autocast to bfloat16, but not under the transforms of
    ``torch.func``. ``tiled`` evaluates what they take, ``auto`` those networks of it that are wide and have samples
    enough.
    """
    tensors = (coords, *(tensor for link in chain for tensor in (link.weight, link.bias)))
    if (
        engine not in ("auto", "tiled")
        or len(chain) < 2
        or any(tensor.device.type != "cpu" or tensor.dtype != torch.float32 for tensor in tensors)
        or (torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != torch.bfloat16)
        # torch.func and forward-mode derivatives see tensors without memory of their own.
        or torch._C._are_functorch_transforms_active()
    ):
        return False
    if engine == "tiled":
        return True
    # Of those that have samples: a chunk of a large image has none of most networks.
    macs = sum(link.weight[0].numel() for link in chain) * coords.shape[0] / max(1, sum(size > 0 for size in sizes))
    return max(link.weight.shape[1] for link in chain) >= TILED_FROM_WIDTH and macs >= TILED_FROM_MACS


def run_tiled(chain: Chain, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Evaluate N networks, each on its own samples; differentiable any number of times.

    Activations are not kept for the way back, but computed anew.

    Args:
        chain: the networks; :func:`tiles` says so.
        coords: float32 ``[M, d]``, sorted by network.
        sizes: samples of each network.

    Returns:
        float32 ``[M, c]``, in the order of ``coords``; also under autocast.
    """
    tensors = [tensor for link in chain for tensor in (link.weight, link.bias)]
    return cast(Tensor, _Tiled.apply(coords, sizes, tuple(link.factor for link in chain), _is_half(), *tensors))


def tiled_error(
    chain: Chain, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
) -> Tensor:
    """The squared error of N networks, summed over samples and channels; its gradient comes in the same pass.

    Differentiable by the parameters, and by coordinates if they ask for it, which takes two passes.

    Args:
        chain: the networks; :func:`tiles` says so.
        coords: float32 ``[M, d]``, sorted by network.
        targets: float32 ``[M, c]``, likewise.
        weights: float32 ``[M, 1]``, of each sample; None where all are 1.
        sizes: samples of each network.
    """
    tensors = [tensor for link in chain for tensor in (link.weight, link.bias)]
    if torch.is_grad_enabled() and not coords.requires_grad and any(tensor.requires_grad for tensor in tensors):
        factors = tuple(link.factor for link in chain)
        return cast(Tensor, _TiledError.apply(coords, targets, weights, sizes, factors, _is_half(), *tensors))
    return weighted_error(run_tiled(chain, coords, sizes), targets, weights)


def _is_half() -> bool:
    return torch.is_autocast_enabled("cpu")


# -- how the work is cut --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Tiles of one network, one after the other on one thread.

    Attributes:
        network: theirs.
        tiles: first sample and number of samples of each.
        part: which of the network's runs it is.
    """

    network: int
    tiles: tuple[tuple[int, int], ...]
    part: int


@lru_cache(maxsize=32)  # some numbers a tile or a network, none a sample
def runs_of(sizes: tuple[int, ...], widest: int) -> tuple[Run, ...]:
    """Cut the samples of each network into tiles, and these into runs.

    Args:
        sizes: samples of each network.
        widest: numbers that a sample has in the widest layer.
    """
    tile = max(SHORTEST_TILE, min(TILE, TILE_NUMBERS // widest, -(-sum(sizes) // TILES)))
    # Tiles of a network are equally long, but for the last.
    cut: list[list[tuple[int, int]]] = []
    start = 0
    for size in sizes:
        length = _whole(-(-size // max(1, -(-size // tile))), ROWS)
        cut.append([(start + at, min(length, size - at)) for at in range(0, size, max(length, 1))])
        start += size
    longest = max(1, -(-sum(map(len, cut)) // RUNS))
    runs = []
    for network, pieces in enumerate(cut):
        parts = -(-len(pieces) // longest)
        for part in range(parts):
            own = pieces[len(pieces) * part // parts : len(pieces) * (part + 1) // parts]
            runs.append(Run(network, tuple(own), part))
    return tuple(runs)


def _whole(count: int, unit: int) -> int:
    return -(-count // unit) * unit


# -- threads --------------------------------------------------------------------------------------------------------


def _spread(work: Callable[[Iterable[Any]], None], pieces: Sequence[Any]) -> None:
    """Have ``work`` take the pieces, on as many threads as torch takes; each goes on to the next piece there is."""
    if not pieces:
        return
    threads = torch.get_num_threads()
    # What next() does to it is one step for Python's lock.
    left = iter(pieces)

    def quietly(_: int) -> None:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            work(left)

    if threads == 1:
        quietly(0)
    else:
        # Also a single piece: here torch would spread its products, which then come out otherwise than on one thread.
        for _ in _pool(threads, os.getpid()).map(quietly, range(min(threads, len(pieces)))):
            pass


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads in each of which torch keeps to that one.

    Args:
        threads: how many.
        process: in which: a forked one has none of its parent's.
    """
    pool = ThreadPoolExecutor(threads, "partinr-tiles")
    all_there = threading.Barrier(threads)

    def alone(_: int) -> None:
        # Asked first: a thread that has never asked takes the number of all threads at its first larger operation.
        torch.get_num_threads()
        torch.set_num_threads(1)
        all_there.wait()

    for _ in pool.map(alone, range(threads)):
        pass
    # The number is the thread's own, but threads to come inherit the last one set.
    torch.set_num_threads(threads)
    return pool


# -- the pass over a tile -------------------------------------------------------------------------------------------


class _Views(NamedTuple):
    sines: list[Tensor]
    spare: list[Tensor]
    back: list[Tensor]
    back_transposed: list[Tensor]


class _Scratch:
    """What a thread keeps of the tile it has in hand, and how torch and the kernels see it.

    Args:
        rows: of the longest tile.
        widths: of the layers that end in sines.
        half: in bfloat16.
    """

    def __init__(self, rows: int, widths: Sequence[int], half: bool) -> None:
        self._widths = widths
        self._views: dict[int, _Views] = {}
        dtype, self.line = (torch.bfloat16, 32) if half else (torch.float32, 16)
        stored = torch.uint16 if half else torch.float32
        self.sines = [torch.empty(rows, _whole(width, self.line), dtype=dtype) for width in widths]
        self.cosines = [torch.empty_like(each) for each in self.sines]
        # Layers equally wide share what lives for the time of one layer only.
        spare = {each.shape[1]: torch.empty_like(each) for each in self.sines}
        back = {each.shape[1]: torch.empty_like(each) for each in self.sines}
        self.spare = [spare[each.shape[1]] for each in self.sines]
        self.back = [back[each.shape[1]] for each in self.sines]
        self.sines_array, self.cosines_array, self.spare_array, self.back_array = (
            [each.view(stored).numpy() for each in many] for many in (self.sines, self.cosines, self.spare, self.back)
        )

    def views(self, rows: int) -> _Views:
        """Its first rows, as the products see them.

        They are kept: whatever is done between two products is slow, since its code and data have left the cache.
        """
        if rows not in self._views:
            sines, spare, back = (
                [each[:rows, :width] for each, width in zip(many, self._widths, strict=True)]
                for many in (self.sines, self.spare, self.back)
            )
            self._views[rows] = _Views(sines, spare, back, [each.t() for each in back])
        return self._views[rows]


class _Networks:
    """A stack's parameters, ready for the tiles.

    Args:
        factors: of the layers.
        tensors: weight and bias of each layer, ``[N, out, in]`` and ``[N, out]``.
        half: products between hidden layers in bfloat16.
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
        # One for each layer and network, layers without a hidden product none.
        dtype = torch.bfloat16 if half else torch.float32
        hidden = [weight.to(dtype) for weight in weights[1:-1]]
        self.hidden = [[], *(weight.unbind(0) for weight in hidden)]
        self.hidden_transposed = [[], *(weight.transpose(1, 2).unbind(0) for weight in hidden)]

    def scratch(self, runs: Sequence[Run]) -> _Scratch:
        """For the longest tile of the runs."""
        longest = max(length for run in runs for _, length in run.tiles)
        return _Scratch(_whole(longest, ROWS), self.widths, self.half)

    def forward(self, network: int, x: NDArray[np.float32], scratch: _Scratch, y: NDArray[np.float32]) -> None:
        """A tile's coordinates ``x [n, d]`` through all layers, to values ``y [n, c]``; the scratch keeps the rest."""
        n = len(x)
        rows = _whole(n, ROWS)
        views = scratch.views(rows)
        for layer, (sines, cosines) in enumerate(zip(scratch.sines_array, scratch.cosines_array, strict=True)):
            bias, factor = self.biases[layer][network], self.factors[layer]
            if layer == 0:
                self.kernels.first(x, self.first_scaled[network], bias, factor, sines, cosines)
            else:
                torch.mm(views.sines[layer - 1], self.hidden_transposed[layer][network], out=views.spare[layer])
                self.kernels.sine(n, scratch.spare_array[layer], bias, factor, sines, cosines)
            # What is behind the samples goes into products, too.
            if n < rows:
                sines[n:rows] = 0
        self.kernels.output(scratch.sines_array[-1], self.last_scaled[network], self.biases[-1][network], y)

    def backward(
        self,
        network: int,
        x: NDArray[np.float32],
        by_y: NDArray[np.float32],
        scratch: _Scratch,
        into: Sequence[Tensor],
        arrays: Sequence[NDArray[np.float32]],
        by_x: NDArray[np.float32],
    ) -> None:
        """The way back through a tile that :meth:`forward` has just been through.

        Args:
            network: the tile's.
            x: ``[n, d]``, as in :meth:`forward`.
            by_y: ``[n, c]``, the gradient by the values.
            scratch: as :meth:`forward` left it.
            into: gradients of the network's parameters, added to.
            arrays: the same as arrays.
            by_x: ``[n, d]``, written: by the coordinates; ``[0, d]`` if nobody wants it.
        """
        n = len(x)
        rows = _whole(n, ROWS)
        views = scratch.views(rows)
        last = len(self.widths) - 1
        self.kernels.output_backward(
            by_y,
            scratch.sines_array[last],
            # With one layer of sines, that is the first one, which has a kernel of its own.
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
            # The product of a tile is rounded, their sum is not.
            total.add_(torch.mm(left, right))
        else:
            total.addmm_(left, right)


def sum_over_runs(
    runs: Sequence[Run],
    networks: int,
    shapes: Sequence[Sequence[int]],
    work: Callable[[Iterable[tuple[Run, list[Tensor]]]], None],
) -> list[Tensor]:
    """What the tiles of each network sum up to.

    On as many threads as torch takes, but in an order that does not follow from their number.

    Args:
        runs: of tiles.
        networks: how many.
        shapes: of the parameters of one network.
        work: takes runs, each with zeros of those shapes that it adds to.

    Returns:
        a sum a parameter, ``[N, *shape]``.
    """
    # What a network's first run sums is the sum itself, what the others sum is added to it.
    totals = [torch.zeros(networks, *shape) for shape in shapes]
    others: list[list[list[Tensor]]] = [[] for _ in range(networks)]
    places = []
    for run in runs:
        if run.part == 0:
            place = [total[run.network] for total in totals]
        else:
            place = [torch.zeros(*shape) for shape in shapes]
            others[run.network].append(place)
        places.append(place)

    def add(left: Iterable[int]) -> None:
        for network in left:
            for place in others[network]:
                for total, other in zip(totals, place, strict=True):
                    total[network].add_(other)

    _spread(work, list(zip(runs, places, strict=True)))
    _spread(add, [network for network, more in enumerate(others) if more])
    return totals


def _values(networks: _Networks, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Values ``[M, c]`` without derivatives."""
    x = coords.detach().contiguous().numpy()
    values = torch.empty(coords.shape[0], networks.shapes[-1][0])
    y = values.numpy()
    runs = runs_of(sizes, max(networks.widths))

    def work(left: Iterable[Run]) -> None:
        scratch = networks.scratch(runs)
        for run in left:
            for start, length in run.tiles:
                samples = slice(start, start + length)
                networks.forward(run.network, x[samples], scratch, y[samples])

    _spread(work, runs)
    return values


def _gradients(
    networks: _Networks,
    coords: Tensor,
    sizes: tuple[int, ...],
    by_y_of: Callable[[slice, NDArray[np.float32]], NDArray[np.float32]],
    by_coords: Tensor,
) -> list[Tensor]:
    """Gradients by the parameters, and by the coordinates into ``by_coords``, unless that has no rows.

    Args:
        networks: the stack.
        coords: ``[M, d]``.
        sizes: samples of each network.
        by_y_of: of some samples, which it is given with their values, the gradient by these.
        by_coords: ``[M, d]`` or ``[0, d]``.
    """
    runs = runs_of(sizes, max(networks.widths))
    x, by_x = coords.detach().contiguous().numpy(), by_coords.numpy()

    def work(left: Iterable[tuple[Run, list[Tensor]]]) -> None:
        scratch = networks.scratch(runs)
        y = np.empty((max(length for run in runs for _, length in run.tiles), networks.shapes[-1][0]), np.float32)
        for run, place in left:
            arrays = [each.numpy() for each in place]
            for start, length in run.tiles:
                samples = slice(start, start + length)
                networks.forward(run.network, x[samples], scratch, y[:length])
                by_y = by_y_of(samples, y[:length])
                networks.backward(run.network, x[samples], by_y, scratch, place, arrays, by_x[samples])

    return sum_over_runs(runs, len(sizes), networks.shapes, work)


# -- differentiation ------------------------------------------------------------------------------------------------


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, coords: Tensor, sizes: tuple[int, ...], factors: tuple[float, ...], half: bool, *tensors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(coords, *tensors)
        ctx.sizes, ctx.factors, ctx.half = sizes, factors, half
        return _values(_Networks(factors, tensors, half), coords, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Somebody wants derivatives of these derivatives: torch's own operations have them.
            values = _plain(coords, ctx.sizes, ctx.factors, tensors)
            by_coords, *by_each = _again(values, gradients[0], [coords, *tensors])
            return by_coords, None, None, None, *by_each
        by_values = gradients[0].contiguous().numpy()
        found = torch.empty_like(coords if ctx.needs_input_grad[0] else coords[:0])
        networks = _Networks(ctx.factors, tensors, ctx.half)
        by_params = _gradients(networks, coords, ctx.sizes, lambda samples, y: by_values[samples], found)
        return found if ctx.needs_input_grad[0] else None, None, None, None, *by_params


class _TiledError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        coords: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        sizes: tuple[int, ...],
        factors: tuple[float, ...],
        half: bool,
        *tensors: Tensor,
    ) -> Tensor:
        networks = _Networks(factors, tensors, half)
        wanted = targets.detach().contiguous().numpy()
        weight = (targets.new_empty(0) if weights is None else weights.detach().reshape(-1)).numpy()
        # By the first sample of a tile, so that the order of the sum does not depend on the threads.
        errors: dict[int, float] = {}

        def by_values(samples: slice, y: NDArray[np.float32]) -> NDArray[np.float32]:
            by_y = np.empty_like(y)
            errors[samples.start] = networks.kernels.error(y, wanted[samples], weight[samples], by_y)
            return by_y

        ctx.gradients = _gradients(networks, coords, sizes, by_values, coords[:0])
        ctx.save_for_backward(coords, targets, weights, *tensors)
        ctx.sizes, ctx.factors = sizes, factors
        return torch.tensor(sum(errors[start] for start in sorted(errors)), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, targets, weights, *tensors = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return None, None, None, None, None, None, *(gradients[0] * each for each in ctx.gradients)
        total = weighted_error(_plain(coords, ctx.sizes, ctx.factors, tensors), targets, weights)
        return None, None, None, None, None, None, *_again(total, gradients[0], tensors)


def _plain(coords: Tensor, sizes: tuple[int, ...], factors: tuple[float, ...], tensors: Sequence[Tensor]) -> Tensor:
    """The values by torch's own operations."""
    macs = sum(tensor[0].numel() for tensor in tensors[::2])
    params = {str(number): tensor for number, tensor in enumerate(tensors)}
    return run_stack(chain_network(factors), params, coords, make_plan(sizes, "auto", macs, coords.device))


def _again(values: Tensor, gradient: Tensor, wanted: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient by each of those that ask for one, to be differentiated again."""
    needed = [tensor for tensor in wanted if tensor.requires_grad]
    found = iter(torch.autograd.grad(values, needed, gradient, create_graph=True, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in wanted]


@cache
def compiled_kernels() -> Any:
    """The kernels, compiled for both precisions: ten seconds the first time on a machine, then from numba's cache."""
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

"""How near a step is to what the machine can do.

    python experiments/benchmarks/limits.py

The first table has the machine's own rates: of a large square product, of sines and of memory. The second has the
*floor* of a step, the least time that its arithmetic takes at those rates, and how much of the step that is:

* products: 2 FLOP a multiply-accumulate, thrice for every layer (forward, gradient by input, gradient by weights) but
  twice for the first, whose input needs no gradient; over the rate of the large square product in that precision.
* values: a sine a hidden feature a pixel, and a cosine for its gradient; over the fastest rate of values of torch.sin,
  torch.cos and the fused engine's sincos, which gives two at once, on numbers that lie in the cache.
* the floor is the sum of the two. Memory, launches, loss and Adam are not in it, nor is anything computed twice.

A product of small matrices is far slower than a large one, whoever does it, so there is a second, nearer floor: with
the rate that torch's products reach at the shape of the hidden layers (batched or one by one, whichever is faster).
Its step/floor says what is left for the engine to gain with torch's products; below 1 the engine has better ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from _common import DEVICE, SHAPES, STEPS, interleaved, sizes_of, steps_of_run, where
from torch import Tensor

from partinr.backbones import Siren

ON_CPU = DEVICE.type == "cpu"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SQUARE = 2048 if ON_CPU else 8192
# Numbers that stay in the caches between calls: 128 kB a core on a CPU.
NEAR = 2**15 * torch.get_num_threads() if ON_CPU else 2**22
FAR = 2**26
PASSES = 200
"""Of our own sines over the numbers in the cache, since waking threads takes as long as one pass."""
# A lone network, and experiment=fast with 500,000 parameters on a whole Kodak image.
FURTHER = [(1, 512, 3, 256**2), (1504, 11, 2, 512 * 768)]


def rates(calls: dict[str, tuple[float, Callable[[], object]]]) -> dict[str, float]:
    """Billions a second, from how much each call does."""
    times = interleaved({name: call for name, (_, call) in calls.items()}, rounds=5, seconds=0.1)
    return {name: amount / times[name] / 1e9 for name, (amount, _) in calls.items()}


def fused_sincos(x: Tensor) -> Callable[[], object]:
    """The fused engine's sine and cosine of all numbers in ``x``, PASSES times, on as many threads as torch takes."""
    import numba
    import numpy as np

    from partinr.engines import _numba
    from partinr.engines.threads import together

    _numba.wide_vectors()
    from partinr.engines._blocks import BLOCK, sincos_pi
    from partinr.engines._vectors import LANES, load, next_of, store

    rows, pieces = 1024, len(x) // 1024
    total = PASSES * pieces

    @numba.njit(nogil=True)
    def kernel(counter, x, sine, cosine):
        while True:
            piece = next_of(counter)
            if piece >= total:
                return
            piece %= pieces
            for at in range(piece * rows, (piece + 1) * rows, BLOCK):
                (s0, c0), (s1, c1) = sincos_pi(load(x, at)), sincos_pi(load(x, at + LANES))
                store(sine, at, s0)
                store(cosine, at, c0)
                store(sine, at + LANES, s1)
                store(cosine, at + LANES, c1)

    given, out = x.numpy(), (torch.empty_like(x).numpy(), torch.empty_like(x).numpy())

    def call() -> None:
        counter = np.zeros(1, dtype=np.int64)
        together(lambda: kernel(counter, given, *out))

    return call


def machine(dtype: torch.dtype) -> dict[str, float]:
    """The machine's rates in one precision: billions of FLOP, values and bytes a second."""
    a, b, c = (torch.randn(SQUARE, SQUARE, device=DEVICE).to(dtype) for _ in range(3))
    near, far = ((10 * torch.randn(n, device=DEVICE)).to(dtype) for n in (NEAR, FAR))
    near_out, far_out = torch.empty_like(near), torch.empty_like(far)
    calls: dict[str, tuple[float, Callable[[], object]]] = {
        "product": (2 * SQUARE**3, lambda: torch.mm(a, b, out=c)),
        "sine": (NEAR, lambda: torch.sin(near, out=near_out)),
        "cosine": (NEAR, lambda: torch.cos(near, out=near_out)),
        "sine, from memory": (FAR, lambda: torch.sin(far, out=far_out)),
        # Read and written.
        "copy": (2 * far.nbytes, lambda: far_out.copy_(far)),
        # What a large result costs where the allocator gives memory back to the system and asks for it again.
        "fresh": (far.nbytes, lambda: torch.empty_like(far).zero_()),
        "old": (far.nbytes, lambda: far_out.zero_()),
    }
    if ON_CPU and dtype == torch.float32:
        calls["sincos"] = (2 * NEAR * PASSES, fused_sincos(near))
    return rates(calls)


def product_at(regions: int, width: int, pixels: int, dtype: torch.dtype) -> float:
    """GFLOP/s of a hidden layer's three products, batched or one by one: the faster."""
    n = math.ceil(pixels / regions)
    # Features first where they are batched, samples first where they are not: what the engines do.
    weight, by_weight = (torch.randn(regions, width, width, device=DEVICE).to(dtype) for _ in range(2))
    x, y, gradient, by_x = (torch.randn(regions, width, n, device=DEVICE).to(dtype) for _ in range(4))
    rows = [[tensor.view(regions, n, width)[i] for tensor in (x, y, gradient, by_x)] for i in range(regions)]

    def batched() -> None:
        torch.bmm(weight, x, out=y)
        torch.bmm(weight.mT, gradient, out=by_x)
        torch.bmm(gradient, x.mT, out=by_weight)

    def one_by_one() -> None:
        for i, (x_i, y_i, gradient_i, by_x_i) in enumerate(rows):
            torch.mm(x_i, weight[i].T, out=y_i)
            torch.mm(gradient_i, weight[i], out=by_x_i)
            torch.mm(gradient_i.T, x_i, out=by_weight[i])

    flop = 3 * 2 * regions * n * width**2
    return max(rates({"batched": (flop, batched), "one by one": (flop, one_by_one)}).values())


def main() -> None:
    """Print both tables."""
    print(f"Rates, and steps beside their floors. {where()}\n")
    found = {name: machine(dtype) for name, dtype in DTYPES.items()}
    titles = {
        "product": f"product of {SQUARE}² matrices, GFLOP/s",
        "sine": "torch.sin in the cache, 10⁹ values/s",
        "cosine": "torch.cos in the cache, 10⁹ values/s",
        "sincos": "fused engine's sincos, 10⁹ values/s (two a number)",
        "sine, from memory": "torch.sin from and to memory, 10⁹ values/s",
        "copy": "copy, GB/s read and written",
        "old": "zeros to memory at hand, GB/s",
        "fresh": "zeros to memory just allocated, GB/s",
    }
    print("| rate | fp32 | bf16 |\n|---|---:|---:|")
    for key, title in titles.items():
        figures = " | ".join(f"{found[name][key]:.3g}" if key in found[name] else "–" for name in DTYPES)
        print(f"| {title} | {figures} |")

    print(
        "\n| regions | width × hidden layers | pixels | precision | GFLOP | products ms | 10⁶ values | values ms "
        "| floor ms | step ms | floor / step | GFLOP/s at this shape | nearer floor ms | step / nearer floor |"
    )
    print("|---:|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for regions, width, layers, pixels in [*((*shape, side**2) for *shape, side in SHAPES), *FURTHER]:
        macs = Siren(hidden_features=width, hidden_layers=layers).macs(2, 3)
        gflop = 2 * pixels * (3 * macs - 2 * width) / 1e9
        values = 2 * pixels * width * (layers + 1) / 1e9
        for precision, dtype in DTYPES.items():
            # A sine in fp32 will do for bf16 too, but not the other way round.
            usable = (*found["fp32"].items(), *found[precision].items())
            fastest = max(rate for key, rate in usable if key in ("sine", "cosine", "sincos"))
            products, sines = gflop / found[precision]["product"], values / fastest
            near_rate = product_at(regions, width, pixels, dtype)
            floor, nearer = products + sines, gflop / near_rate + sines
            steps = steps_of_run(sizes_of(regions, pixels), width, layers, precision == "bf16")
            took = interleaved({"steps": steps}, rounds=5, budget=3.0)["steps"] / STEPS
            print(
                f"| {regions} | {width} × {layers} | {pixels:,} | {precision} | {gflop:.1f} | {1e3 * products:.1f} "
                f"| {1e3 * values:.0f} | {1e3 * sines:.1f} | {1e3 * floor:.1f} | {1e3 * took:.1f} | {floor / took:.0%} "
                f"| {near_rate:.3g} | {1e3 * nearer:.1f} | {took / nearer:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

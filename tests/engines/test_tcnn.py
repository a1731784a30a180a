"""The tcnn engine gives what torch's own operations give, on a stand-in for tiny-cuda-nn that computes on the CPU."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import partinr
from partinr.backbones import HashGrid, Siren
from partinr.base.errors import PartinrError
from partinr.engines import tcnn
from partinr.model.inr import PiecewiseINR
from partinr.model.stack import NetworkStack
from partinr.partition import Grid
from partinr.regimes.meta import LearnedStart, check_meta_gradient

CPU = torch.device("cpu")
SIZES = (5, 0, 300, 12)
FOUR_LEVELS = {"levels": 4, "coarsest": 3, "finest": 21}


class Encoding(nn.Module):
    """A hash grid after tiny-cuda-nn's documentation and its headers, in their types: float32 and uint32.

    What it refuses, the library refuses. It pads batches to 256, has its numbers in one row, and no gradient of its
    gradient by them.
    """

    calls: list[tuple[int, bool]]
    offset, slowest_first, alignment = 0.5, False, 8

    def __init__(self, n_input_dims: int, encoding_config: dict[str, Any], seed: int = 1337, dtype: Any = None) -> None:
        super().__init__()
        known = {"otype", "interpolation"}
        known |= {"n_levels", "n_features_per_level", "log2_hashmap_size", "base_resolution", "per_level_scale"}
        assert encoding_config.keys() == known
        assert (encoding_config["otype"], encoding_config["interpolation"]) == ("HashGrid", "Linear")
        assert dtype == torch.float32  # the default is half precision
        if n_input_dims not in (2, 3, 4):
            raise RuntimeError("GridEncoding: number of input dims must be 2, 3 or 4.")
        if encoding_config["n_features_per_level"] not in (1, 2, 4, 8):
            raise RuntimeError("GridEncoding: n_features_per_level must be 1, 2, 4, or 8.")
        self.n_input_dims, self.features = n_input_dims, encoding_config["n_features_per_level"]
        self.n_output_dims = self.features * encoding_config["n_levels"]
        self.levels: list[tuple[np.float32, int, int, int]] = []
        per_level = np.log2(np.float32(encoding_config["per_level_scale"]))
        first = 0
        for level in range(encoding_config["n_levels"]):
            scale = np.exp2(np.float32(level) * per_level) * np.float32(encoding_config["base_resolution"])
            scale = np.float32(scale - np.float32(1))
            resolution = int(np.ceil(scale)) + 1
            dense = resolution**n_input_dims
            size = min(dense + -dense % self.alignment, 2 ** encoding_config["log2_hashmap_size"])
            self.levels.append((scale, resolution, first, size))
            first += size
        generator = torch.Generator().manual_seed(seed)
        self.params = nn.Parameter(2e-4 * torch.rand(first * self.features, generator=generator) - 1e-4)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == self.n_input_dims
        assert self.params.dim() == 1
        self.calls.append((len(x), self.params.requires_grad and torch.is_grad_enabled()))
        padded = F.pad(x, [0, 0, 0, -len(x) % 256]).float().contiguous()
        found: Tensor = Native.apply(self, padded, self.params.contiguous())
        return found[: len(x), : self.n_output_dims]

    def entry(self, resolution: int, size: int, corner: list[np.ndarray]) -> np.ndarray:
        index = np.zeros_like(corner[0])
        if resolution ** len(corner) > size:
            primes = np.array([1, 2654435761, 805459861, 3674653429], np.uint32)
            for one, prime in zip(corner, primes, strict=False):
                index = index ^ one * prime
        else:
            for axis, one in enumerate(corner[::-1] if self.slowest_first else corner):
                index = index + one * np.uint32(resolution**axis)
        return index % np.uint32(size)

    def terms(self, x: np.ndarray) -> list[list[tuple[np.ndarray, np.ndarray]]]:
        """Of each level, for each corner of the cell: which entry, and how much of it."""
        levels = []
        for scale, resolution, first, size in self.levels:
            place = x * scale + np.float32(self.offset)
            low = np.floor(place)
            after, cell = place - low, low.astype(np.int32).astype(np.uint32)
            terms = []
            for bits in itertools.product((0, 1), repeat=x.shape[1]):
                corner = [cell[:, axis] + np.uint32(bit) for axis, bit in enumerate(bits)]
                share = np.ones(len(x), np.float32)
                for axis, bit in enumerate(bits):
                    share = share * (after[:, axis] if bit else 1 - after[:, axis])
                terms.append((first + self.entry(resolution, size, corner).astype(np.int64), share))
            levels.append(terms)
        return levels


class Native(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, encoding: Encoding, x: Tensor, params: Tensor) -> Tensor:
        assert (x.dtype, params.dtype) == (torch.float32, torch.float32)
        ctx.terms, ctx.shape = encoding.terms(x.numpy()), (params.numel() // encoding.features, encoding.features)
        ctx.ran_forward = params.requires_grad
        table = params.detach().numpy().reshape(ctx.shape)
        levels = [sum(share[:, None] * table[entry] for entry, share in terms) for terms in ctx.terms]
        return torch.from_numpy(np.concatenate(levels, axis=1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        assert ctx.ran_forward
        assert gradient.is_contiguous()
        found = np.zeros(ctx.shape, np.float32)
        for level, terms in enumerate(ctx.terms):
            own = gradient.numpy()[:, level * ctx.shape[1] : (level + 1) * ctx.shape[1]]
            for entry, share in terms:
                np.add.at(found, entry, share[:, None] * own)
        return None, None, torch.from_numpy(found.reshape(-1))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[Encoding]:
    """The library, on a CPU in place of a GPU; of each call it notes the samples, and whether for a gradient."""

    class Counted(Encoding):
        pass

    Counted.calls = []
    module = ModuleType("tinycudann")
    module.Encoding = Counted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    monkeypatch.setattr(tcnn, "DEVICE", "cpu")
    monkeypatch.setattr(tcnn, "_encodings", {})
    return Counted


def stacks(backbone: HashGrid, axes: int = 2, networks: int = len(SIZES)) -> tuple[NetworkStack, NetworkStack]:
    """The same networks by the library and without it, in the midst of a training."""
    found = tuple(NetworkStack(backbone, networks, in_features=axes, engine=engine) for engine in ("tcnn", "auto"))
    for stack in found:
        stack.stack["tables"].data *= 1e4
    return found[0], found[1]


def samples(axes: int = 2, count: int = sum(SIZES)) -> Tensor:
    return 2 * torch.rand(count, axes, generator=torch.Generator().manual_seed(1)) - 1


# -- the same function ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("options", "off"),
    [
        # All levels without a hash, most of them filled up to a multiple of 8; few such; tables of a few entries.
        ({**FOUR_LEVELS, "table_size": 2**14}, 1e-6),
        ({**FOUR_LEVELS, "table_size": 2**5, "features": 1}, 1e-6),
        ({"levels": 3, "coarsest": 2, "finest": 5, "table_size": 4, "features": 8}, 1e-6),
        ({"levels": 1, "table_size": 2**8, "features": 4}, 1e-6),
        # The paper's grids. A logarithm off by its last digit moves the corners of the finest by 1e-4 of a cell.
        ({"levels": 16, "table_size": 2**12}, 1e-3),
    ],
)
def test_features_are_those_of_torchs_own_operations(
    library: type[Encoding], axes: int, options: Any, off: float
) -> None:
    backbone = HashGrid(hidden_features=4, **options)
    x = samples(axes, 500)
    # Corners, edges, beyond: there the grids have ended, and a row goes on with the next.
    x[:9] = torch.tensor(list(itertools.product((-1, 1, 1.2), repeat=2)))[:, [0, 1, 1][:axes]]
    x[9:100, 0] = 1
    params = backbone.init(1, axes, 3, torch.Generator().manual_seed(2))
    tables = backbone.tables({**params, "tables": 1e4 * params["tables"]})
    found = tcnn.run_tcnn(tables, x, (500,))
    assert library.calls == [(tcnn.SAMPLES, True), (500, False)]
    torch.testing.assert_close(found, tables.encode(tables.values[0], x), rtol=0, atol=off)
    assert found.std() > 0.1


def test_what_the_grids_of_the_test_above_have() -> None:
    backbone = HashGrid(hidden_features=4, **FOUR_LEVELS, table_size=2**14)
    # Levels that are filled up, and rows that go on with the next: a corner behind the last.
    assert any(corners**2 % 8 for corners in backbone.corners())
    last = [math.floor(scale + 0.5) + 1 for scale in backbone.scales()]
    assert any(corner == corners for corner, corners in zip(last, backbone.corners(), strict=True))


@pytest.mark.parametrize("axes", [2, 3])
def test_values_and_gradients_of_a_ragged_stack(library: type[Encoding], axes: int) -> None:
    by_library, plain = stacks(HashGrid(hidden_features=5, table_size=64, **FOUR_LEVELS), axes)
    x, targets = samples(axes), torch.rand(sum(SIZES), 3)
    torch.testing.assert_close(by_library.evaluate(x, SIZES), plain.evaluate(x, SIZES), rtol=1e-5, atol=1e-6)
    assert library.calls == [(tcnn.SAMPLES, True), *((size, False) for size in SIZES if size)]
    results = []
    for stack in (by_library, plain):
        error = stack.squared_error(x, targets, SIZES)
        error.backward()
        results.append({name: value.grad for name, value in stack.stack.items()})
    assert library.calls[4:] == [(size, True) for size in SIZES if size]
    for name, gradient in results[0].items():
        torch.testing.assert_close(gradient, results[1][name], rtol=1e-4, atol=1e-4)
    assert not results[0]["tables"][1].any()  # a network without samples
    assert results[0]["tables"][2].any()


def test_a_graph_that_is_kept_serves_twice(library: type[Encoding]) -> None:
    stack, _ = stacks(HashGrid(hidden_features=5, table_size=64, **FOUR_LEVELS))
    error = stack(samples(), SIZES).square().sum()
    once, again = (torch.autograd.grad(error, stack.stack["tables"], retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(once, again, rtol=1e-4, atol=1e-4)


def test_gradients_of_gradients(library: type[Encoding]) -> None:
    results = []
    for stack in stacks(HashGrid(hidden_features=5, table_size=64, **FOUR_LEVELS)):
        names = list(stack.stack)
        values = stack(samples(), SIZES)
        first = torch.autograd.grad(values.square().sum(), [stack.stack[name] for name in names], create_graph=True)
        product = torch.stack([each.square().sum() for each in first]).sum()
        results.append(torch.autograd.grad(product, [stack.stack[name] for name in names]))
    assert len(library.calls) == 4
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3 * float(other.abs().max()))


@pytest.mark.parametrize("algorithm", ["maml", "fomaml"])
def test_the_meta_gradient_is_the_true_one(library: type[Encoding], algorithm: Any) -> None:
    backbone = HashGrid(hidden_features=3, table_size=16, **FOUR_LEVELS)
    check_meta_gradient(LearnedStart(backbone, channels=1, engine="tcnn"), algorithm, False)
    assert library.calls


def test_where_the_library_has_nothing_torch_takes_over(library: type[Encoding]) -> None:
    stack, plain = stacks(HashGrid(hidden_features=5, table_size=64, **FOUR_LEVELS))
    x = samples()
    empty = stack(x[:0], [0] * len(SIZES))
    assert empty.shape == (0, 3)
    gradients = [
        torch.autograd.grad(each(place, SIZES).sum(), place)[0]
        for each, place in [(each, x.clone().requires_grad_()) for each in (stack, plain)]
    ]
    assert torch.equal(*gradients)
    given = {name: value.detach() for name, value in stack.stack.items()}
    assert torch.equal(
        torch.func.grad(lambda params: stack(x, SIZES, params).sum())(given)["tables"],
        torch.func.grad(lambda params: plain(x, SIZES, params).sum())(given)["tables"],
    )
    assert torch.equal(stack.double()(x.double(), SIZES), plain.double()(x.double(), SIZES))
    assert library.calls == []


# -- a model ----------------------------------------------------------------------------------------------------------


def test_what_was_fitted_with_it_is_drawn_without(
    library: type[Encoding], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(9, 12, 3, generator=torch.Generator().manual_seed(0))
    backbone = HashGrid(hidden_features=6, table_size=32, finest=32)
    models = [
        PiecewiseINR(Grid(rows=2, cols=2)(image), backbone, frame="local", engine=engine) for engine in ("tcnn", "auto")
    ]
    curves = [[row["psnr"] for row in partinr.fit(model, image, steps=20, lr=1e-2).curve] for model in models]
    assert curves[0] == pytest.approx(curves[1], abs=0.01)
    assert curves[0][-1] > curves[0][0] + 3
    assert models[0].architecture() == models[1].architecture()
    file = tmp_path / "inr.safetensors"
    file.write_bytes(models[0].to_bytes())
    picture, calls = models[0].render(scale=2), len(library.calls)
    # On a machine that has neither.
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    monkeypatch.setattr(tcnn, "DEVICE", "cuda")
    torch.testing.assert_close(PiecewiseINR.load(file).render(scale=2), picture, rtol=1e-5, atol=1e-5)
    assert len(library.calls) == calls


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "axes", "said"),
    [
        (Siren(hidden_features=4), 2, "engine=tcnn is for backbone=hash_grid, not for siren; choose engine=auto"),
        (HashGrid(hidden_features=4), 1, "engine=tcnn is for signals of 2 or 3 axes, not of 1; choose"),
        (HashGrid(hidden_features=4, features=3), 2, r"takes 1, 2, 4 or 8 features, not backbone\.features=3; choose"),
        (HashGrid(hidden_features=4, levels=64, features=4), 2, "up to 128 features over all levels, not 256; give fe"),
        (HashGrid(hidden_features=27), 2, r"a power of two, not of 729 entries; give backbone\.table_size=512, or ch"),
        (HashGrid(hidden_features=4, table_size=100), 2, r"give backbone\.table_size=64, or choose engine=auto"),
    ],
)
def test_networks_that_there_are_no_kernels_for(backbone: Any, axes: int, said: str) -> None:
    with pytest.raises(PartinrError, match=said):
        NetworkStack(backbone, 1, in_features=axes, engine="tcnn")


def small() -> NetworkStack:
    return NetworkStack(HashGrid(hidden_features=4, table_size=64, **FOUR_LEVELS), 2, in_features=2, engine="tcnn")


@pytest.mark.parametrize(
    ("there_is_one", "said"),
    [
        (True, "needs an NVIDIA GPU; choose engine=auto, or trainer.accelerator=gpu"),
        (False, "needs an NVIDIA GPU, and there is none here; choose engine=auto"),
    ],
)
def test_only_a_gpu_will_do(monkeypatch: pytest.MonkeyPatch, there_is_one: bool, said: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_one)
    with pytest.raises(PartinrError, match=f"^engine=tcnn {re.escape(said)}$"):
        small().check_device(CPU)


def test_it_has_to_be_installed(library: type[Encoding], monkeypatch: pytest.MonkeyPatch) -> None:
    small().check_device(CPU)
    monkeypatch.setattr(tcnn, "_encodings", {})
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(PartinrError, match=r"not installed; pip install git\+https.*bindings/torch, or choose engine"):
        small().check_device(CPU)


def test_it_has_to_be_built_for_this_gpu(
    library: type[Encoding], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tinycudann")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tinycudann.py").write_text("raise EnvironmentError('Could not find\\ncompatible extension')")
    with pytest.raises(
        PartinrError, match=r"cannot be used here \(Could not find compatible extension\); build it for"
    ):
        small().check_device(CPU)


def fails(message: str) -> Callable[..., Any]:
    def fail(*given: Any, **options: Any) -> Any:
        raise RuntimeError(message)

    return fail


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        ("offset", 0.0, "has other features, by .*%"),
        ("slowest_first", True, "has other features, by .*%"),
        ("alignment", 1, "has tables of .* numbers, not of .*"),
        ("forward", fails("CUDA error: no kernel"), r"tiny-cuda-nn fails \(CUDA error: no kernel\)"),
        ("__init__", fails("too many levels"), r"tiny-cuda-nn refuses the grids \(too many levels\)"),
    ],
)
def test_a_library_of_another_function_is_not_used(
    library: type[Encoding], monkeypatch: pytest.MonkeyPatch, changed: str, to: Any, said: str
) -> None:
    monkeypatch.setattr(library, changed, to)
    with pytest.raises(PartinrError, match=f"engine=tcnn: .*{said}.*; choose engine=auto"):
        small().check_device(CPU)
    with pytest.raises(PartinrError, match=said):
        small()(samples(), SIZES[1:3])


def test_nor_is_one_with_other_gradients(library: type[Encoding], monkeypatch: pytest.MonkeyPatch) -> None:
    right = Native.backward
    monkeypatch.setattr(Native, "backward", staticmethod(lambda ctx, by: (None, None, 1.05 * right(ctx, by)[2])))
    with pytest.raises(
        PartinrError, match=r"has other gradients, by 5\.0% of what torch's own operations give; choose"
    ):
        small().check_device(CPU)

"""The fused engine's kernels for CUDA, as far as a machine without one can tell: numbers, compilation, choice."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.engines import check_fused, fused, fuses
from partinr.engines.fused import CUDA_UP_TO, FUSED_UP_TO, Chain, Link
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid

CUDA = torch.device("cuda", 0)

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@needs_triton
@pytest.mark.slow
def test_the_interpreter_gives_what_plain_operations_give():
    file = Path(__file__).with_name("interpreted_triton.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=file.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


# For the GPU that is named, not for one that is there: what the interpreter takes, the compiler may not.
COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from partinr.engines import _triton
from partinr.engines.fused import Layer

layers = (Layer(2, 5, 0, 10, 60.0), Layer(5, 5, 15, 40, 30.0), Layer(5, 3, 45, 60, 1.0))
known = {**_triton._constants(layers), "SIZE": 63}
options = {"num_warps": known.pop("num_warps")}
pointers = {"owner": "*i64", "start": "*i64", "first": "*i64"}
for kernel, constants in (
    (_triton.forward_kernel, known),
    (_triton.backward_kernel, {**known, "BY_X": True}),
    (_triton.sum_kernel, {"SIZE": 63, "ROWS": 32, "COLUMNS": 64}),
):
    signature = {
        name: "constexpr" if name in constants else pointers.get(name, "*fp32") for name in kernel.arg_names
    }
    compiled = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 80, 32), options=options)
    print(kernel.__name__, len(compiled.asm["cubin"]) > 0)
"""


@needs_triton
@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["forward_kernel", "True", "backward_kernel", "True", "sum_kernel", "True"], (
        done.stderr
    )


@pytest.mark.slow
def test_importing_partinr_imports_no_triton():
    code = "import sys, partinr.model.inr, partinr.api; print([x for x in ('triton', 'numba') if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]


# -- when they are taken --------------------------------------------------------------------------------------------


def _chain(width: int) -> Chain:
    backbone = Siren(hidden_features=width, hidden_layers=1)
    with torch.device("meta"):
        return backbone.chain(backbone.init(1, 2, 3, None))


def _on_cuda(width: int) -> tuple[Chain, torch.Tensor]:
    """A chain and coordinates that say they lie on a GPU."""
    with FakeTensorMode():
        chain = tuple(
            Link(torch.empty(link.weight.shape, device=CUDA), torch.empty(link.bias.shape, device=CUDA), link.factor)
            for link in _chain(width)
        )
        return chain, torch.empty(5, 2, device=CUDA)


@pytest.fixture
def machine(monkeypatch):
    """Sets whether there is Triton, and whether the GPU is one for it."""

    def become(triton: bool = True, new: bool = True) -> None:
        monkeypatch.setattr(fused, "_has_triton", lambda: triton)
        monkeypatch.setattr(fused, "_runs_triton", lambda device: new)

    return become


@pytest.mark.parametrize(
    ("engine", "width", "taken"),
    [
        ("auto", FUSED_UP_TO["cuda"], True),
        ("auto", FUSED_UP_TO["cuda"] + 1, False),
        ("fused", CUDA_UP_TO, True),
        ("loop", 8, False),
        ("batched", 8, False),
    ],
)
def test_auto_takes_them_for_thin_networks(machine, engine, width, taken):
    machine()
    chain, coords = _on_cuda(width)
    assert coords.device == CUDA
    assert fuses(engine, chain, coords) == taken


@pytest.mark.parametrize("lacks", [{"triton": False}, {"new": False}])
def test_auto_does_without(machine, lacks):
    machine(**lacks)
    assert not fuses("auto", *_on_cuda(8))


def test_not_in_double_precision(machine):
    machine()
    chain, coords = _on_cuda(8)
    assert fuses("auto", chain, coords)
    assert not fuses("auto", chain, coords.double())


@pytest.mark.parametrize(
    ("lacks", "width", "device", "said"),
    [
        ({"triton": False}, 8, CUDA, "needs Triton on CUDA; pip install triton"),
        ({"new": False}, 8, CUDA, "compute capability 8.0 or above; choose engine=auto"),
        ({}, CUDA_UP_TO + 1, CUDA, f"up to {CUDA_UP_TO} wide on CUDA, not {CUDA_UP_TO + 1}; choose engine=auto"),
        ({}, 8, torch.device("mps"), "no kernels for mps; choose engine=auto"),
    ],
)
def test_what_there_are_no_kernels_for_is_refused(machine, lacks, width, device, said):
    machine(**lacks)
    with pytest.raises(PartinrError, match=f"engine=fused .*{said}"):
        check_fused(_chain(width), device)


def test_a_model_tells_before_it_is_moved(machine):
    machine(triton=False)
    partition = Grid(regions=4)(torch.zeros(4, 4, 3))
    model = PiecewiseINR(partition, Siren(hidden_features=4), engine="fused")
    model.check_device(torch.device("cpu"))
    with pytest.raises(PartinrError, match="needs Triton"):
        model.check_device(CUDA)
    PiecewiseINR(partition, ReluPE(hidden_features=4)).check_device(CUDA)

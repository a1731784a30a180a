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
from partinr.engines import fused, registry
from partinr.engines.base import Architecture, Precision
from partinr.engines.fused import CUDA_UP_TO, FUSED_UP_TO
from partinr.model.groups import architecture_of
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from tests.engines.stacks import chosen

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


@needs_triton
@pytest.mark.slow
def test_the_kernels_compile_for_gpus_and_keep_to_their_registers(tmp_path):
    # What the interpreter takes, the compiler may not; it needs no GPU.
    file = Path(__file__).with_name("compiled_triton.py")
    done = subprocess.run(
        [sys.executable, str(file)],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        cwd=file.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {(kernel, capability) for kernel, capability, *_ in rows} == {
        (f"{name}_kernel", capability) for name in ("forward", "backward", "sum") for capability in ("80", "90", "100")
    }
    for *_, registers, spilled in rows:
        assert int(registers) <= 255
        assert int(spilled) == 0


# -- when they are taken --------------------------------------------------------------------------------------------


def _architecture(width: int) -> Architecture:
    return architecture_of(Siren(hidden_features=width, hidden_layers=1), 2, 3)


@pytest.fixture
def machine(monkeypatch):
    """Sets whether there is Triton, and whether the GPU is one for it; the trial there is passed."""

    def become(triton: bool = True, new: bool = True) -> None:
        monkeypatch.setattr(fused, "_has_triton", lambda: triton)
        monkeypatch.setattr(fused, "_runs_triton", lambda device: new)
        monkeypatch.setattr(registry, "agrees", lambda engine, device: True)

    return become


def _takes(engine: str, width: int, dtype: torch.dtype = torch.float32) -> bool:
    """Whether the fused engine evaluates a stack that says it lies on a GPU."""
    backbone = Siren(hidden_features=width, hidden_layers=1)
    with FakeTensorMode():
        params = {name: value.to(CUDA) for name, value in backbone.init(1, 2, 3, None).items()}
        coords = torch.empty(5, 2, device=CUDA, dtype=dtype)
        return isinstance(chosen(engine, backbone, params, coords, (5,)), fused.Fused)


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
    assert _takes(engine, width) == taken


def test_auto_does_without_what_the_machine_or_the_precision_lacks(machine):
    machine(triton=False)
    assert not _takes("auto", 8)
    machine(new=False)
    assert not _takes("auto", 8)
    machine()
    assert _takes("auto", 8)
    assert not _takes("auto", 8, torch.float64)


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
        registry.check("fused", _architecture(width), device, Precision())


def test_a_model_tells_before_it_is_moved(machine):
    machine(triton=False)
    partition = Grid(regions=4)(torch.zeros(4, 4, 3))
    model = PiecewiseINR(partition, Siren(hidden_features=4), engine="fused")
    model.check_engine(torch.device("cpu"))
    with pytest.raises(PartinrError, match="needs Triton"):
        model.check_engine(CUDA)
    PiecewiseINR(partition, ReluPE(hidden_features=4)).check_engine(CUDA)

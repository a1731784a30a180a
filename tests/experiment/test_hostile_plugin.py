"""A plug-in that sets up torch, NumPy and warnings for itself does not change the runs that it is a part of."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.read_back import curve

PLUGIN = """
import random
import warnings

import numpy as np
import torch

from partinr.partition import Grid
from partinr.spec import spec

torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_grad_enabled(False)
torch.set_float32_matmul_precision("medium")
torch.set_autocast_enabled("cpu", True)
torch.use_deterministic_algorithms(True)
torch.manual_seed(5)
np.random.seed(5)
random.seed(5)
np.seterr(all="raise")
warnings.simplefilter("error")


@spec
class Hostile(Grid):
    title = "grid"
"""


@pytest.fixture(autouse=True)
def _taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the plug-in sets is taken back, and it can be imported, here and in further processes."""
    (tmp_path / "hostile.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    states, errors = (torch.get_rng_state(), np.random.get_state(), random.getstate()), np.geterr()
    with warnings.catch_warnings():
        yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("highest")
    torch.set_autocast_enabled("cpu", False)
    torch.use_deterministic_algorithms(False)
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    np.seterr(**errors)
    sys.modules.pop("hostile", None)


@pytest.mark.parametrize("more", [(), pytest.param(("trainer=ddp",), marks=pytest.mark.slow)])
def test_a_run_with_such_a_plugin(more: tuple[str, ...], tiny: Any, partinr: Any) -> None:
    assert tiny("hydra.run.dir=plain", *more).code == 0
    answer = tiny("partition._target_=hostile.Hostile", "hydra.run.dir=other", *more)
    assert answer.code == 0, answer.err
    assert torch.get_default_dtype() == torch.float64
    # Equal to the last digit, but for NaN.
    assert str(curve("other")) == str(curve("plain"))
    for name in ("inr.safetensors", "reconstruction.png"):
        assert Path("other", name).read_bytes() == Path("plain", name).read_bytes(), name
    for words in (["render", "other", "--scale", "2", "-o", "x.png"], ["export", "other", "--bits", "8", "-o", "x"]):
        answer = partinr(*words)
        assert answer.code == 0, answer.err

"""The engines answer for themselves, and a device that no test runs on is tried before it is used."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.engines import EngineName, registry, trial
from partinr.engines.base import Engine, Observations, Precision, Shape, Stack
from partinr.engines.loop import Loop
from partinr.engines.registry import ENGINES
from partinr.model.stack import NetworkStack

CPU = torch.device("cpu")


def test_the_names_are_those_of_the_engines() -> None:
    assert sorted(get_args(EngineName)) == sorted(["auto", *(engine.name for engine in ENGINES)])
    with pytest.raises(PartinrError, match="engine='tcnn' is unknown; choose from auto, loop"):
        NetworkStack(Siren(hidden_features=3), 2, in_features=2, engine="tcnn")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engine", "precision", "tf32", "device", "said"),
    [
        ("fused", "64-true", False, CPU, "fused has no double precision; choose engine=auto"),
        ("tiled", "64-true", False, CPU, "tiled has no double precision; choose engine=auto"),
        ("tiled", "32-true", False, torch.device("cuda"), "tiled is for the CPU; choose engine=auto"),
        ("compiled", "32-true", True, CPU, "compiled and trainer.tf32=true do not go together; choose engine=auto"),
    ],
)
def test_an_engine_refuses_before_training(
    engine: EngineName, precision: str, tf32: bool, device: torch.device, said: str
) -> None:
    stack = NetworkStack(Siren(hidden_features=3), 2, in_features=2, engine=engine)
    stack.check_engine(CPU, "bf16-mixed")
    with pytest.raises(PartinrError, match=f"^engine={said}"):
        stack.check_engine(device, precision, tf32)
    NetworkStack(Siren(hidden_features=3), 2, in_features=2).check_engine(CPU, precision, tf32)


def test_what_a_named_engine_cannot_do_plain_operations_do() -> None:
    fused, loop = (NetworkStack(Siren(hidden_features=3), 2, in_features=2, engine=e) for e in ("fused", "loop"))
    coords = torch.rand(7, 2, dtype=torch.float64)
    assert torch.equal(fused.double()(coords, (3, 4)), loop.double()(coords, (3, 4)))


def test_precisions_by_name() -> None:
    assert Precision.named("32-true") == Precision()
    assert Precision.named("64-true").dtype == torch.float64
    assert Precision.named("bf16-mixed", tf32=True) == Precision(torch.float32, torch.bfloat16, tf32=True)


# -- the trial --------------------------------------------------------------------------------------------------------


class Cheap(Loop):
    """An engine that ``auto`` takes before all others."""

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        return np.zeros(len(sizes))


class Off(Cheap):
    """An engine whose values are wrong by a little."""

    name = "off"

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        return 1.01 * super().values(stack, coords, sizes)


class Scaled(torch.autograd.Function):
    """A number whose gradient is wrong by a little."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 1.01 * gradients[0]


class OffGradient(Cheap):
    """An engine with right values and wrong gradients."""

    name = "off-gradient"

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        scaled: Tensor = Scaled.apply(super().values(stack, coords, sizes))
        return scaled


class OffError(Cheap):
    """An engine with right values whose squared error is NaN."""

    name = "off-error"

    def squared_error(self, stack: Stack, observed: Observations) -> Tensor:
        return super().squared_error(stack, observed) * float("nan")


class Dies(Cheap):
    """An engine that fails."""

    name = "dies"

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        raise RuntimeError("no kernel image")


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine.name != "compiled"], ids=lambda e: e.name)
def test_every_engine_passes_its_trial(engine: Engine) -> None:
    assert trial.differs(engine, CPU) is None


@pytest.mark.parametrize("name", ["auto", "off"])
def test_an_engine_that_differs_is_left_alone_with_one_line(
    name: EngineName, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trial.PROVED == ("cpu",)  # so CUDA is as the CPU is here
    monkeypatch.setattr(registry, "PROVED", ())
    monkeypatch.setattr(registry, "ENGINES", (Off(), OffGradient(), OffError(), Dies(), *registry.ENGINES))
    trial.agrees.cache_clear()
    registry.engines.cache_clear()
    try:
        stack = NetworkStack(ReluPE(hidden_features=3), 2, in_features=2, engine=name)
        plain = NetworkStack(ReluPE(hidden_features=3), 2, in_features=2, engine="loop")
        coords, targets, sizes = torch.rand(7, 2), torch.rand(7, 3), (3, 4)
        torch.testing.assert_close(stack(coords, sizes), plain(coords, sizes))
        errors = [model.squared_error(coords, targets, sizes) for model in (stack, plain)]
        torch.testing.assert_close(*errors)
        gradients = [
            torch.autograd.grad(error, list(model.parameters()))
            for error, model in zip(errors, (stack, plain), strict=True)
        ]
        torch.testing.assert_close(*gradients)
        said = capsys.readouterr().err.splitlines()
        assert "engine=off is left alone on cpu, since it is off by" in said[0]
        if name == "auto":
            assert "engine=off-gradient is left alone on cpu, since it is off by 1.0% there" in said[1]
            assert "engine=off-error is left alone on cpu, since it is off by nan% there" in said[2]
            assert "engine=dies is left alone on cpu, since its trial fails there (no kernel image)" in said[3]
        assert len(said) == (4 if name == "auto" else 1)
        stack(coords, sizes)
        assert capsys.readouterr().err == ""
    finally:
        trial.agrees.cache_clear()
        registry.engines.cache_clear()

"""Steps as a CUDA graph, as far as a CPU can tell: a stand-in repeats the recorded operations on the same memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from partinr.api import fit
from partinr.backbones import Backbone, Siren
from partinr.base.errors import PartinrWarning
from partinr.engines.batched import Tiling
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition
from partinr.regimes import Constant, Cosine, FitModule, FitSettings, Optimizer, Plateau, WarmUp
from partinr.runs.layout import CLOCK_COLUMNS
from partinr.training import graphs
from partinr.training.clock import StopRule
from partinr.training.steps import RecordedSteps
from partinr.training.trainer import make_trainer, run_fit

CUDA = torch.device("cuda", 0)
BACKBONE = Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0)
UNEQUAL = Partition(torch.tensor([0, 1, 1, 2, 2, 2, 2, 0, 1]).expand(6, 9).contiguous())


class Graph(TorchDispatchMode):
    """Stands for a CUDA graph: what is recorded has no effect, and a replay reads and writes the same memory.

    Numbers that Python holds (a learning rate, a decision) are those of the recording, as they would be on a GPU.
    """

    made: list[Graph]

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []
        self.replays = 0
        self.made.append(self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for number, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[number] if number < len(args) else kwargs.get(argument.name)
                self.before += [(each, each.clone()) for each in tree_leaves(given) if isinstance(each, Tensor)]
        out = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, out))
        return out

    def take_back(self) -> None:
        """The last first: what was overwritten twice."""
        for tensor, value in reversed(self.before):
            tensor.copy_(value)

    def replay(self) -> None:
        self.replays += 1
        # What autocast had to say is in the recording.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            for func, args, kwargs, out in self.operations:
                again = func(*args, **kwargs)
                if not any(each.alias_info for each in func._schema.returns):  # no view, and not in place
                    for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                        if isinstance(old, Tensor):
                            old.detach().copy_(new)


class Stream:
    def wait_stream(self, other: Stream) -> None:
        pass


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """A CPU that passes for a GPU; the graphs that are made on it."""

    @contextmanager
    def recording(graph: Graph, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        # Narrowed weights that are kept would be those of the recording for ever.
        assert not (torch.is_autocast_enabled("cpu") and torch.is_autocast_cache_enabled())
        with graph:
            yield
        with torch.no_grad():
            graph.take_back()

    monkeypatch.setattr(Graph, "made", [], raising=False)
    monkeypatch.setattr("torch.cuda.CUDAGraph", Graph)
    monkeypatch.setattr("torch.cuda.graph", recording)
    monkeypatch.setattr("torch.cuda.Stream", Stream)
    monkeypatch.setattr("torch.cuda.current_stream", Stream)
    monkeypatch.setattr("torch.cuda.stream", lambda stream: nullcontext())
    rule = graphs.can_be_graphed
    monkeypatch.setattr("partinr.training.steps.can_be_graphed", lambda device, *rest: rule(CUDA, *rest))
    return Graph.made


def _fit(
    signal: Tensor,
    *,
    allowed: bool = True,
    precision: str = "32-true",
    optimizer: str = "adam",
    lr: float = 3e-3,
    options: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    widths: tuple[int, ...] | None = None,
    backbone: Backbone = BACKBONE,
    engine: Any = "batched",  # numba's kernels are no operations of torch's that could be recorded
    callbacks: tuple[L.Callback, ...] = (),
    steps: int = 40,
    schedule: Any = None,
    **rest: Any,
) -> FitModule:
    module = FitModule(
        PiecewiseINR(UNEQUAL, backbone, widths=widths, engine=engine),
        signal,
        optimizer=Optimizer(name=optimizer, lr=lr, options=options or {}),
        schedule=schedule or Constant(),
        stop=StopRule(max_steps=steps),
        settings=FitSettings(**{"evaluate_every": 8, **(settings or {})}),
    )
    trainer = make_trainer(accelerator="cpu", precision=precision, callbacks=callbacks, cuda_graphs=allowed)
    run_fit(module, trainer, **rest)
    return module


def same(one: FitModule, other: FitModule, tolerance: float = 1e-4) -> None:
    assert len(one.curve) == len(other.curve)
    for row, expected in zip(one.curve, other.curve, strict=True):
        clocks = dict.fromkeys(CLOCK_COLUMNS, 0.0)
        assert {**row, **clocks} == pytest.approx({**expected, **clocks}, rel=tolerance, nan_ok=True)
    for name, value in one.model.stack.items():
        torch.testing.assert_close(value, other.model.stack[name], rtol=tolerance, atol=tolerance)


CASES: dict[str, dict[str, Any]] = {
    "adam": {},
    "adam, several widths, loss by region": {"widths": (4, 7, 4), "settings": {"loss": "region"}},
    "adam, amsgrad, weight decay": {"options": {"amsgrad": True, "weight_decay": 0.1}},
    "adamw, cosine": {"optimizer": "adamw", "schedule": Cosine(warmup_steps=5)},
    "sgd, warm-up": {"optimizer": "sgd", "lr": 0.02, "schedule": WarmUp(warmup_steps=20)},
    "sgd, momentum, dampening": {"optimizer": "sgd", "lr": 0.02, "options": {"momentum": 0.9, "dampening": 0.3}},
    "adam, plateau": {"schedule": Plateau(patience=0, threshold=5.0)},
    # A rate of few digits: in a graph it is in single precision, and bf16 would round the difference up.
    "bf16": {"precision": "bf16-mixed", "lr": 2**-8},
    "a loop": {"engine": "loop"},
}


@pytest.mark.parametrize("name", CASES)
def test_replayed_steps_are_steps(cuda: list[Graph], signal: Tensor, name: str) -> None:
    plain = _fit(signal, allowed=False, **CASES[name])
    assert cuda == []
    graphed = _fit(signal, **CASES[name])
    (graph,) = cuda
    assert graph.replays == 40 - graphs.WARM_UP
    same(graphed, plain)
    assert len({row["lr"] for row in plain.curve[1:]}) > (2 if "schedule" in CASES[name] else 0)


def test_the_stand_in_notices_numbers_of_the_recording(cuda: list[Graph], signal: Tensor, monkeypatch: Any) -> None:
    case = CASES["adamw, cosine"]
    plain = _fit(signal, allowed=False, **case)
    monkeypatch.setattr(graphs.GraphedSteps, "_write_rates", lambda self: None)
    with pytest.raises(AssertionError):
        same(_fit(signal, **case), plain)


def test_frozen_regions_are_recorded_anew(cuda: list[Graph], signal: Tensor) -> None:
    case: dict[str, Any] = {
        "steps": 120,
        "lr": 1e-2,
        "settings": {"freeze_at_psnr": 22.0, "evaluate_every": 8},
        "widths": (4, 7, 4),
    }
    plain = _fit(signal, allowed=False, **case)
    graphed = _fit(signal, **case)
    assert graphed.stop_reason == plain.stop_reason
    assert int(plain.finished.sum()) > 0
    assert len(cuda) > 1
    same(graphed, plain)


def test_a_checkpoint_is_the_same_and_is_gone_on_with(cuda: list[Graph], signal: Tensor, tmp_path: Any) -> None:
    class Keep(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: Any, *rest: Any) -> None:
            if module.step == 16:
                trainer.save_checkpoint(tmp_path / f"{module.cuda_graphs}.ckpt")

    case = CASES["adamw, cosine"]
    plain, _ = (_fit(signal, allowed=allowed, callbacks=(Keep(),), **case) for allowed in (False, True))
    by_plain, by_graph = (torch.load(tmp_path / f"{allowed}.ckpt", weights_only=True) for allowed in (False, True))
    (one,), (other,) = by_plain["optimizer_states"], by_graph["optimizer_states"]
    assert one["param_groups"] == other["param_groups"]  # a number for the rate, and nothing of a recording
    for number, entry in one["state"].items():
        for key, value in entry.items():
            torch.testing.assert_close(other["state"][number][key], value, rtol=1e-4, atol=1e-6)
    same(_fit(signal, ckpt_path=tmp_path / "True.ckpt", **case), plain)


def test_the_indices_of_a_graph_are_held(cuda: list[Graph], signal: Tensor) -> None:
    optimizer_of: list[Any] = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: Any, *rest: Any) -> None:
            if isinstance(module._stepping, RecordedSteps) and module._stepping not in optimizer_of:
                optimizer_of.append(module._stepping)

    module = _fit(signal, callbacks=(Look(),))
    (steps,) = optimizer_of
    (tiling,) = steps._graph._held
    assert isinstance(tiling, Tiling)
    assert tiling.gather is not None
    # With the training the memory of the graph goes.
    assert module._stepping is None


def test_where_it_cannot_be_recorded_one_is_told_once(cuda: list[Graph], signal: Tensor, monkeypatch: Any) -> None:
    plain = _fit(signal, allowed=False)

    @contextmanager
    def refuses(graph: Graph, capture_error_mode: str) -> Iterator[None]:
        with graph:
            yield
        with torch.no_grad():
            graph.take_back()
        raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr("torch.cuda.graph", refuses)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fallen_back = _fit(signal)
    notes = [str(each.message) for each in said if issubclass(each.category, PartinrWarning)]
    assert notes == [
        "steps are taken one by one, since CUDA cannot record them: CUDA error: operation not permitted when stream is "
        "capturing; trainer.cuda_graphs=false does not try"
    ]
    same(fallen_back, plain, 1e-6)
    assert [graph.replays for graph in cuda] == [0]


# -- when they are taken --------------------------------------------------------------------------------------------


class Hook(L.Callback):
    def on_before_zero_grad(self, *rest: Any) -> None:
        pass


@pytest.mark.parametrize(
    "case",
    [
        {"settings": {"points_per_step": 20}},
        {"optimizer": "nadam"},
        {"options": {"foreach": True}},
        {"precision": "64-true"},
        {"callbacks": (Hook(),)},
        {"allowed": False},
    ],
    ids=["drawn points", "another optimiser", "not fused", "double precision", "a hook in a step", "not allowed"],
)
def test_where_steps_are_taken_one_by_one(cuda: list[Graph], signal: Tensor, case: dict[str, Any]) -> None:
    _fit(signal, steps=8, **case)
    assert cuda == []


def test_what_can_be_graphed() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    fused = torch.optim.Adam([parameter], fused=True)
    assert graphs.can_be_graphed(CUDA, "32-true", fused)
    assert graphs.can_be_graphed(CUDA, "bf16-mixed", torch.optim.SGD([parameter], fused=True))
    assert not graphs.can_be_graphed(torch.device("cpu"), "32-true", fused)
    assert not graphs.can_be_graphed(CUDA, "16-mixed", fused)
    assert not graphs.can_be_graphed(CUDA, "32-true", torch.optim.Adam([parameter]))


def test_a_notebook_says_it_to_the_trainer(signal: Tensor) -> None:
    model = PiecewiseINR(UNEQUAL, Siren(hidden_features=3, hidden_layers=0))
    seen = []

    class Look(L.Callback):
        def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
            seen.append(module.cuda_graphs)

    for allowed in (True, False):
        fit(model, signal, steps=1, trainer=make_trainer(accelerator="cpu", callbacks=[Look()], cuda_graphs=allowed))
    assert seen == [True, False]

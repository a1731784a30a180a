"""What a program sets for torch, NumPy and warnings neither changes what partinr gives, nor is changed by it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import partinr
from partinr import metrics
from partinr.backbones import Siren
from partinr.base import environment
from partinr.base.errors import PartinrWarning
from partinr.partition import Grid, Semantic, Superpixel
from partinr.regimes import Constant, FitModule, FitSettings, Optimizer, StopRule, make_trainer
from partinr.regimes.meta import LearnedStart, TaskBatch, outer_gradients
from partinr.training.quiet import quiet_lightning
from partinr.training.trainer import SignalDataModule

CALM = environment.calm_warnings
"""What takes the place of errors; tests/conftest.py lets them be errors in all other tests."""


@contextlib.contextmanager
def _set(change: Callable[[Any], object], value: Any, before: Any) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(before)


@contextlib.contextmanager
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@contextlib.contextmanager
def _numpy_raises() -> Iterator[None]:
    before = np.seterr(all="raise")
    try:
        yield
    finally:
        np.seterr(**before)


@contextlib.contextmanager
def _other_numbers_drawn() -> Iterator[None]:
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    yield
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


ENVIRONMENTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: _set(torch.set_default_dtype, torch.float64, torch.float32),
    "float16": lambda: _set(torch.set_default_dtype, torch.float16, torch.float32),
    "default device": lambda: _set(torch.set_default_device, "meta", None),
    "device": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "grad": lambda: _set(torch.set_grad_enabled, False, True),
    "deterministic": lambda: _set(torch.use_deterministic_algorithms, True, False),
    "products": lambda: _set(torch.set_float32_matmul_precision, "medium", "highest"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "warnings": _warnings_are_errors,
    "numpy": _numpy_raises,
    "random": _other_numbers_drawn,
}


def state() -> dict[str, Any]:
    """What a program can set, and does not expect to find changed."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "inference": torch.is_inference_mode_enabled(),
        "grad": torch.is_grad_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "products": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "warnings": list(warnings.filters),
        "numpy": np.geterr(),
        "random": (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()),  # type: ignore[index]
    }


def journey(file: Path) -> dict[str, Any]:
    """A little of all that the Python API does, as arrays, numbers and bytes."""
    image = partinr.load_image(file, size=16)
    found: dict[str, Any] = {"image": image, "builtin": partinr.builtin_image("camera", size=8)}
    for rule in (Grid(rows=2, cols=2), Semantic(regions=3), Superpixel(regions=4)):
        found[type(rule).__name__] = rule(image).labels
    partition = Grid(rows=2, cols=2)(image)
    for engine in ("auto", "batched"):
        model = partinr.PiecewiseINR(partition, Siren(hidden_features=8), engine=engine, overlap=engine == "batched")
        settings = FitSettings(points_per_step=100, sampling="error") if engine == "auto" else FitSettings()
        result = partinr.fit(model, image, steps=4, lr=1e-2, settings=settings, trainer=make_trainer(accelerator="cpu"))
        curve = [[row[name] for name in ("step", "loss", "psnr", "lr")] for row in result.curve]
        found[f"{engine} curve"] = np.array(curve)
        found[f"{engine} picture"] = picture = model.render(scale=1.5)
        found[f"{engine} bands"] = [*model.bands(model.raster(), samples=64)]
        found[f"{engine} bytes"] = model.to_bytes()
        small = model.render()
        found[f"{engine} metrics"] = [metrics.psnr(small, image), metrics.ssim(small, image)]
        found[f"{engine} seam"] = list(metrics.seam(small, image, partition).values())
        assert picture.dtype == torch.float32
    found["gradient"] = partinr.PiecewiseINR(partition, Siren(hidden_features=8)).render(field="gradient")
    found["coords"] = partinr.coords.grid_coords((3, 4))
    album = partinr.Album({"a": partinr.PiecewiseINR(partition, Siren(hidden_features=8))})
    found["album"] = partinr.fit(album, [image], steps=1, optimizer=Optimizer(name="adamw")).model.member(0).to_bytes()
    start = LearnedStart(Siren(hidden_features=8), cells=4, inner_lr=1e-2)
    batch = TaskBatch.of([image], [partition], "local")
    *_, adapted = start.adapt(batch, batch.context("region"), 2)
    found["adapted"] = [*adapted.values(), start.values(batch, adapted)]
    found["start"] = start.to_bytes()
    return found


def flat(found: Any) -> list[bytes]:
    """The bits of it."""
    if isinstance(found, dict):
        return [each for name, value in found.items() for each in (name.encode(), *flat(value))]
    if isinstance(found, (list, tuple)):
        return [each for value in found for each in flat(value)]
    if isinstance(found, torch.Tensor):
        assert not found.is_inference()
        return [f"{found.dtype} {found.device} {list(found.shape)}".encode(), found.detach().numpy().tobytes()]
    return [found if isinstance(found, bytes) else np.asarray(found).tobytes()]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "image.png"
    y, x = np.mgrid[0:24, 0:32]
    values = np.stack([x * 8, y * 10, 255 * (x > y)], -1).astype(np.uint8)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture(scope="module")
def plain(file: Path) -> list[bytes]:
    return flat(journey(file))


@pytest.mark.parametrize(
    "names",
    [  # those that do not undo each other
        ("float64", "default device", "inference", "deterministic", "warnings", "random"),
        ("float16", "device", "no_grad", "products", "numpy"),
        ("grad", "autocast"),
    ],
    ids=" ".join,
)
def test_results_and_settings_stay(names: tuple[str, ...], file: Path, plain: list[bytes]) -> None:
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(ENVIRONMENTS[name]())
        before = state()
        found = journey(file)
        after = state()
    assert after == before
    assert flat(found) == plain


def test_a_default_device_that_the_machine_may_lack(file: Path, plain: list[bytes]) -> None:
    with _set(torch.set_default_device, "cuda", None):
        found = journey(file)
    assert flat(found) == plain


@pytest.mark.parametrize("name", ["inference", "float64"])
def test_tensors_that_the_caller_made_there(name: str, file: Path) -> None:
    def fitted() -> bytes:
        labels = torch.arange(16, device="cpu").reshape(4, 4) % 2
        signal = torch.linspace(0, 1, 48, dtype=torch.float32, device="cpu").reshape(4, 4, 3)
        model = partinr.PiecewiseINR(partinr.Partition(labels), Siren(hidden_features=4))
        partinr.fit(model, signal, steps=2, trainer=make_trainer(accelerator="cpu"))
        return model.to_bytes()

    expected = fitted()
    with ENVIRONMENTS[name]():
        assert fitted() == expected


@pytest.mark.parametrize("engine", ["loop", "batched", "fused", "tiled"])
@pytest.mark.parametrize("name", ["float64", "default device", "deterministic", "warnings", "numpy"])
def test_a_training_loop_of_the_callers_own(name: str, engine: Any) -> None:
    def gradients() -> list[torch.Tensor]:
        image = partinr.builtin_image("camera", size=12)
        model = partinr.PiecewiseINR(
            Grid(rows=3, cols=2)(image), Siren(hidden_features=16), engine=engine, channels=image.shape[-1]
        )
        batch = model.batch(image)
        values = model(batch.coords, batch.sizes)
        error = model.squared_error(batch.coords, batch.targets, batch.sizes)
        (values.square().sum() + error).backward()
        return [values, error, *(value.grad for value in model.stack.values() if value.grad is not None)]

    expected = flat(gradients())
    with ENVIRONMENTS[name]():
        found = gradients()
    assert flat(found) == expected


def test_meta_gradients(file: Path) -> None:
    image = partinr.load_image(file, size=12)

    def gradients() -> list[torch.Tensor]:
        start = LearnedStart(Siren(hidden_features=16), cells=4, inner_lr=1e-2)
        batch = TaskBatch.of([image], [Grid(rows=2, cols=2)(image)], "global")
        outer_gradients(start, batch, batch.context("region"), batch.weights(), steps=2, algorithm="maml")
        return [value.grad for value in start.parameters() if value.grad is not None]

    expected = flat(gradients())
    for name in ("float64", "default device", "inference", "no_grad", "autocast"):
        with ENVIRONMENTS[name]():
            assert flat(gradients()) == expected, name


def test_a_module_and_a_trainer(file: Path) -> None:
    image = partinr.load_image(file, size=8)

    def trained() -> bytes:
        module = FitModule(
            partinr.PiecewiseINR(Grid(rows=1, cols=2)(image), Siren(hidden_features=4)),
            image,
            optimizer=Optimizer(name="adam", lr=1e-2),
            schedule=Constant(),
            stop=StopRule(max_steps=2),
            settings=FitSettings(),
        )
        make_trainer(accelerator="cpu").fit(module, datamodule=SignalDataModule())
        return module.model.member(0).to_bytes()

    with quiet_lightning():
        expected = trained()
        for name in ("float64", "default device"):
            with ENVIRONMENTS[name]():
                assert trained() == expected, name


@pytest.mark.parametrize(
    "room",
    ["partinr", "partinr.metrics", "partinr.partition", "partinr.regimes", "partinr.regimes.meta", "partinr.signals"],
)
def test_every_public_function_that_makes_tensors_is_a_door(room: str) -> None:
    package = importlib.import_module(room)
    functions = [each for name in package.__all__ if inspect.isfunction(each := getattr(package, name))]
    outside = [each.__name__ for each in functions if not hasattr(each, "__isdoor__")]
    assert functions
    assert [name for name in outside if "torch." in inspect.getsource(getattr(package, name))] == []


def test_between_two_pieces_the_caller_has_its_own(file: Path) -> None:
    image = partinr.load_image(file, size=8)
    model = partinr.PiecewiseINR(Grid(rows=1, cols=2)(image), Siren(hidden_features=4))
    with ENVIRONMENTS["float64"]():
        kinds = {(band.dtype, torch.get_default_dtype()) for band in model.bands(model.raster(), samples=8)}
    assert kinds == {(torch.float32, torch.float64)}


def test_an_error_puts_everything_back() -> None:
    with contextlib.ExitStack() as stack:
        for name in ("float64", "default device", "no_grad", "products", "autocast", "warnings", "numpy"):
            stack.enter_context(ENVIRONMENTS[name]())
        before = state()
        with pytest.raises(partinr.PartinrError):
            partinr.load_image("missing.png")
        assert state() == before


def test_the_last_thread_to_leave_puts_back() -> None:
    inside, over = threading.Event(), threading.Event()
    kinds = []

    def other() -> None:
        with environment.own_environment():
            inside.set()
            over.wait(60)
            kinds.append(torch.get_default_dtype())

    thread = threading.Thread(target=other)
    with ENVIRONMENTS["float64"]():
        with environment.own_environment():
            thread.start()
            inside.wait(60)
        kinds.append(torch.get_default_dtype())  # the other one is still at work
        over.set()
        thread.join()
        kinds.append(torch.get_default_dtype())
    assert kinds == [torch.float32, torch.float32, torch.float64]


def test_a_notice_is_no_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "calm_warnings", CALM)

    @environment.door
    def notice() -> int:
        warnings.warn("fewer regions", PartinrWarning, stacklevel=1)
        return 3

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("error")
        assert notice() == 3
        with pytest.raises(PartinrWarning):
            warnings.warn("the caller's own", PartinrWarning, stacklevel=1)
    assert [str(each.message) for each in said] == ["fewer regions"]

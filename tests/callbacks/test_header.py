"""The lines at the start of a run."""

from types import SimpleNamespace
from typing import Any

import pytest

from partinr.callbacks import Header
from partinr.callbacks.header import describe
from partinr.runs.directory import RunDirectory
from partinr.training.clock import StopRule

HARDWARE = {"devices": 1, "device": "cpu", "gpu": None, "threads": 2}


@pytest.mark.parametrize(
    ("stop", "hardware", "shape", "said"),
    [
        ({"max_seconds": 10.0}, {}, [20, 30, 3],
         ["siren: 20×30×3, 2 regions, 1,234 parameters", "cpu, 2 threads; 10 s of training"]),
        ({"max_steps": 1500}, {"threads": 1}, None, ["siren: 2 regions, 1,234", "cpu, 1 thread; 1,500 steps"]),
        (
            {"max_steps": 9, "max_seconds": 0.5, "target_psnr": 40.0},
            {"devices": 2, "device": "cuda:0", "gpu": "A card"},
            [64, 1],
            ["siren: 64×1, 2", "2 processes, A card, 2 threads; until 40 dB, at most 9 steps or 0.5 s of training"],
        ),
    ],
)  # fmt: skip
def test_three_lines(
    stop: dict[str, Any],
    hardware: dict[str, Any],
    shape: list[int] | None,
    said: list[str],
    run: RunDirectory,
    make_regime: Any,
    trainer: Any,
    second: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = {"status": "running", "name": "photo\n grid siren", "parameters": 1234, "signal": {"shape": shape}}
    run.write_manifest({**manifest, "hardware": {**HARDWARE, **hardware}})
    header = Header()
    header.bind(run)
    limits = {"max_steps": None, "max_seconds": None, "target_psnr": None, **stop}
    for process in (trainer, second):
        header.on_train_start(process, make_regime(stop=StopRule(**limits)))
    fit, on, into = capsys.readouterr().out.splitlines()
    assert fit.startswith("fit      photo\\n grid siren: ")
    assert said[0] in fit
    assert on == f"on       {said[1]}"
    assert into == "into     run"


@pytest.mark.parametrize(
    ("backbone", "parameters", "images", "said"),
    [
        ({"match_params": 1000}, 975, 1, ""),
        ({"match_params": 1000}, 820, 1, " (18% fewer than backbone.match_params=1000: widths are whole numbers)"),
        ({"match_params": 500}, 1100, 2, " (10% more than backbone.match_params=500: widths are whole numbers)"),
        ({"match_params": 1000, "hidden_features": 9}, 300, 1, ""),
        ({"width": 4}, 300, 1, ""),
    ],
)
def test_a_number_of_parameters_that_was_not_reached(
    backbone: dict[str, int], parameters: int, images: int, said: str
) -> None:
    several: dict[str, Any] = {"images": {str(number): {} for number in range(images)}} if images > 1 else {}
    manifest = {"name": "a", "parameters": parameters, "signal": {}, "hardware": HARDWARE, **several}
    fit, _ = describe(
        manifest, {"backbone": backbone}, "2 regions", SimpleNamespace(max_steps=1, max_seconds=None, target_psnr=None)
    )
    assert fit == f"fit      a: 2 regions, {parameters:,} parameters{said}"

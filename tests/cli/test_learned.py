"""What the terminal says of a run that learned an initialisation, and the words that it has no use for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import partinr as api

SMALL = (
    "regime=meta",
    "data=smooth",
    "data.shape=[8,8]",
    "data.train_items=4",
    "data.val_items=2",
    "partition.regions=4",
    "backbone.match_params=300",
    "backbone.hidden_layers=1",
    "regime.inner_lr=1e-2",
    "max_steps=2",
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory, partinr: Any) -> tuple[Path, str]:
    """A run directory, for reading only, and what the terminal said."""
    run = tmp_path_factory.mktemp("learned") / "run"
    answer = partinr(*SMALL, f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    return run, answer.out


def test_the_table_has_psnr_after_inner_steps(learned: tuple[Path, str]) -> None:
    run, said = learned
    head, row = said[said.index("run ") :].splitlines()[:2]
    assert " ".join(head.split()) == "run seed regions parameters steps seconds dB at 0 at 3 at 10 SSIM"
    found = api.load_run(run).manifest["psnr_by_inner_step"]
    assert row.split()[-4:-1] == [f"{found[step]:.2f}" for step in (0, 3, 10)]
    assert max(map(len, [head, row])) <= 100
    assert "(initialisation.safetensors, adaptation.png)" in said
    assert "fit      partinr init=" in said


def test_a_sweep_with_unlike_inner_steps_or_with_fits_makes_sense(partinr: Any) -> None:
    answer = partinr(*SMALL, "-m", "regime.inner_steps=1,2", "hydra.sweep.dir=sweep")
    assert (answer.code, answer.err) == (0, "")
    assert "dB after 1 inner and 2 outer steps" in answer.out
    # A table for each number of inner steps: their columns are not the same.
    heads = [" ".join(line.split()) for line in answer.out.splitlines() if line.startswith("run ")]
    assert ["dB at 0 at 1 at 10" in heads[0], "dB at 0 at 2 at 10" in heads[1]] == [True, True]


def test_there_is_nothing_to_render(learned: tuple[Path, str], partinr: Any) -> None:
    run, _ = learned
    answer = partinr("render", run, "-o", "x.png")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "learned an initialisation, so there is nothing to render" in answer.err
    assert f"partinr init={run} data=image" in answer.err
    with pytest.raises(api.PartinrError, match="nothing to render"):
        api.load(run)
    with pytest.raises(api.PartinrError, match="nothing to render"):
        api.load_run(run).model()

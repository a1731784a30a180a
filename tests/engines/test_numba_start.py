"""What the environment says about numba costs a line, and no run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.engines import numba_start, registry, trial
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid

CODE = """
from partinr.engines.numba_start import fault
print(fault())
"""


NOT_FOLLOWED = {
    "NUMBA_NUM_THREADS": "abc",
    "NUMBA_CACHE_DIR": "/dev/null/none",
    "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",  # no other place for what is compiled
}


@pytest.mark.parametrize(
    ("variables", "fault", "notes"),
    [
        (
            NOT_FOLLOWED,
            "None",
            (
                ".*NUMBA_NUM_THREADS' .* 'abc' could not be parsed; unset or remove .*",
                ".*; set NUMBA_CACHE_DIR to a folder that you may write to",
            ),
        ),
        (
            {"NUMBA_NUM_THREADS": "0"},
            r"needs numba, which does not start \(.*\); unset or remove NUMBA_NUM_THREADS",
            (),
        ),
    ],
)
def test_what_it_cannot_follow(variables: dict[str, str], fault: str, notes: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert re.fullmatch(fault, ended.stdout.strip()), ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == len(notes), lines
    for line, note in zip(lines, notes, strict=True):
        assert re.fullmatch(f"partinr: note: {note}", line)


COPIED = """
import sys
sys.path.insert(0, {folder!r})
from partinr.engines import numba_start
assert numba_start.fault() is None
from partinr.engines._adam import compiled_adam
kernel = compiled_adam()
print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def test_a_change_in_what_a_kernel_calls_compiles_it_again(tmp_path: Path) -> None:
    package = tmp_path / "partinr"
    shutil.copytree(Path(numba_start.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}

    def hits_and_misses() -> str:
        command = [sys.executable, "-c", COPIED.format(folder=str(tmp_path))]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert [hits_and_misses() for _ in range(2)] == ["0 1", "1 0"]
    with (package / "engines" / "_blocks.py").open("a") as helper:
        helper.write("# changed")
    assert hits_and_misses() == "0 1"


@pytest.fixture
def _no_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import numba

    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    caches: list[Any] = [numba_start.fault, trial.works, trial._note]
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


@pytest.mark.usefixtures("_no_kernels")
def test_without_kernels_plain_torch_takes_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    image = torch.rand(6, 6, 3, generator=torch.Generator().manual_seed(0))
    partition, cpu = Grid(rows=1, cols=2)(image), torch.device("cpu")
    pictures = [PiecewiseINR(partition, Siren(hidden_features=8), engine=name).render() for name in ("auto", "batched")]
    assert torch.equal(*pictures)
    why = "needs numba, which compiles nothing; unset or remove NUMBA_DISABLE_JIT"
    assert capsys.readouterr().err == f"partinr: note: an engine {why}; plain torch takes its place\n"
    model = PiecewiseINR(partition, Siren(hidden_features=8), engine="tiled")
    with pytest.raises(PartinrError, match=f"engine=tiled {why}"):
        model.check_engine(cpu)
    PiecewiseINR(partition, Siren(hidden_features=8)).check_engine(cpu)
    assert {engine.name for engine in registry.engines("auto") if trial.works(engine, cpu)} >= {"loop", "batched"}

"""What the shell completes, and that bash does so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from partinr.cli.commands import commands
from partinr.cli.completion import Bash, Fish

ROOT = Path(__file__).parents[2]


def completed(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What bash gets for a line up to the cursor."""
    monkeypatch.setenv("COMP_LINE", line)
    return Bash(commands, {}, "partinr", "_PARTINR_COMPLETE").complete().splitlines()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("partinr re", ["render", "report", "rerun", "resume", "regime=", "regime."]),
        ("partinr seed=0 re", ["regime=", "regime."]),
        ("partinr -m backb", ["backbone=", "backbone."]),
        ("partinr partition=sem", ["semantic"]),
        ("partinr -m partition=none,g", ["none,grid"]),
        ("partinr optimizer.l", ["optimizer.lr="]),
        ("partinr hydra/launcher=sub", ["submitit_local", "submitit_slurm"]),
        ("partinr ++max_s", ["++max_steps=", "++max_seconds="]),
        ("partinr --cf", ["--cfg"]),
        ("partinr report --fig", ["--figures"]),
        ("partinr photo", []),
    ],
)
def test_words(line: str, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(line, monkeypatch) == found


@pytest.mark.parametrize("command", ["render", "resume", "report", "compare", "seed=0 table"])
def test_run_directories(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("runs/one", "runs/two", "sweeps/many/first"):
        Path("outputs", place).mkdir(parents=True)
        Path("outputs", place, "run.json").touch()
    os.utime("outputs/runs/one", (0, 0))
    Path("outputs/runs/empty").mkdir()
    found = completed(f"partinr {command} outputs/r", monkeypatch)
    assert found == ([] if "seed" in command else ["outputs/runs/two", "outputs/runs/one"])


def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "partinr").write_text(f'#!/bin/sh\nexec {sys.executable} -m partinr "$@"\n')
    (tmp_path / "partinr").chmod(0o755)
    script = """
eval "$(_PARTINR_COMPLETE=bash_source partinr)"
COMP_LINE="partinr partition=gr" COMP_POINT=20 COMP_WORDS=(partinr partition = gr) COMP_CWORD=3
_partinr_completion partinr gr =
printf '%s\\n' "${COMPREPLY[@]}"
"""
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-euc", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "grid\n", "")


def test_fish_cuts_nothing_at_a_comma() -> None:
    # What it does in a shell needs one; this is the part of click's script that is replaced.
    assert 'string split -m 1 ","' in Fish.source_template

"""Every tensor of a run lies where it belongs: whole runs on a stand-in device with CUDA's rules (card.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.utils.backend_registration


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no device written in Python",
)
def test_runs_on_a_card_are_those_of_the_cpu_and_steps_read_no_value(tmp_path: Path) -> None:
    # In a process of its own, since torch never forgets a device.
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.placed_runs"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) > 15
    for _, off, reads in rows:
        assert float(off) < 1e-4  # dB
        assert int(reads) == 0

"""``partinr export``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import partinr as api
from partinr.run import RATE, RunDirectory

Copy = Callable[[Path], Path]


def test_a_small_file_and_what_it_costs(partinr: Any, finished: Path, copy_of: Copy) -> None:
    run = copy_of(finished)
    answer = partinr("export", run, "-o", "small.safetensors", "--bits", "16", "--per", "tensor")
    assert (answer.code, answer.err) == (0, "")
    *table, last = answer.out.splitlines()
    assert re.fullmatch(r"small\.safetensors  int16 tensor, [\d,]+ bytes, \d+\.\d\d dB", last)
    assert [line.split()[0] for line in table] == ["weights", "float32", *["int16"] * 2, *["int8"] * 2]
    assert max(map(len, table)) <= 100
    # So few pixels take more as networks than in the best qualities of JPEG and WebP.
    assert table[1].count(">") == 2

    model, small = api.load(run), api.load("small.safetensors")
    torch.testing.assert_close(small.render(), model.render(), rtol=0, atol=2e-3)
    answer = partinr("render", "small.safetensors", "-o", "small.png")
    assert answer.out == "small.png  16×16\n"
    rows = RunDirectory.open(run).rate()
    by_setting = {row["setting"]: row for row in rows if row["coder"] == "fit"}
    assert by_setting["int16 tensor"]["file_bytes"] == Path("small.safetensors").stat().st_size
    assert by_setting["float32"]["weight_bits"] == 32 * model.parameter_count
    assert {row["label_bits"] for row in rows} == {0}  # a grid
    assert by_setting["float32"]["bpp"] == by_setting["float32"]["bits"] / 16**2
    assert {row["step"] for row in rows} == {3}
    assert {row["coder"] for row in rows} == {"fit", "jpeg", "webp"}
    # What the run says of itself is of the values before they are rounded to 8 bits.
    assert by_setting["float32"]["psnr"] == pytest.approx(api.load_run(run).psnr, abs=0.1)


def test_a_map_that_somebody_has_to_store_is_counted(partinr: Any, tiny: Any) -> None:
    assert tiny("partition=kmeans", "hydra.run.dir=run").code == 0
    assert partinr("export", "run").code == 0
    [*_, bits] = {row["label_bits"] for row in RunDirectory.open("run").rate() if row["coder"] == "fit"}
    assert bits == api.load("run").partition.bits > 0


def test_several_runs_are_measured(partinr: Any, finished: Path, copy_of: Copy) -> None:
    run = copy_of(finished)
    answer = partinr("export", run, finished, "-o", "x.safetensors")
    assert answer.code == 2
    assert "give one run" in answer.err
    assert not (run / RATE).exists()
    other = run.with_name("other")
    run.rename(other)
    run = copy_of(finished)
    assert partinr("export", run, other).code == 0
    assert (run / RATE).read_bytes() == (other / RATE).read_bytes()


def test_what_cannot_be_exported(partinr: Any, finished: Path, copy_of: Copy) -> None:
    run = copy_of(finished)
    for words, said in (
        ((run, "--bits", "4"), "'4' is not one of '8', '16'"),
        ((run, "--image", "a"), "leave out the image 'a'"),
        ((run, "-o", "small/small/x"), None),
        ((run.parent,), "is not a run directory"),
        ((run, "-o", run), "cannot write"),
    ):
        answer = partinr("export", *words)
        assert (answer.code == 0) == (said is None)
        assert said is None or said in answer.err

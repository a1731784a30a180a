"""Runs of a study, each made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from partinr.base.errors import PartinrError
from partinr.cli.once import once

SMALL = ["data.size=8", "partition=none", "backbone.hidden_features=4", "callbacks.pictures=null"]


def test_a_run_is_made_once_and_continued_if_it_was_interrupted(tmp_path: Path) -> None:
    place = tmp_path / "a"
    said = once(place, [*SMALL, "max_steps=3"])
    assert (said["status"], said["steps"]) == ("completed", 3)
    written = (place / "run.json").stat().st_mtime_ns
    assert once(place, [*SMALL, "max_steps=3"]) == said
    assert (place / "run.json").stat().st_mtime_ns == written
    manifest = place / "run.json"
    manifest.write_text(manifest.read_text().replace('"completed"', '"interrupted"'))
    assert once(place, [])["status"] == "completed"


def test_a_loss_that_diverges_is_a_result_and_a_refusal_an_error(tmp_path: Path) -> None:
    said = once(tmp_path / "a", [*SMALL, "max_steps=30", "optimizer=sgd", "optimizer.lr=1e30"])
    assert said["status"] == "failed"
    with pytest.raises(PartinrError, match="max_steps"):
        once(tmp_path / "b", [*SMALL, "max_steps=-1"])

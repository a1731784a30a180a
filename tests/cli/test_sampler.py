"""Samplers from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Partinr
from tests.read_back import manifest, rows


def test_one_of_a_third_party_is_chosen_by_name(tiny: Partinr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in_order.py").write_text(
        "import torch\n"
        "from partinr.samplers import Draws, Sampler\n"
        "from partinr.spec import spec\n"
        "class InOrder(Draws):\n"
        "    def draw(self, step):\n"
        "        return ((step * self.points + torch.arange(self.points)) % self.pool.samples).sort().values\n"
        "@spec\n"
        "class Window(Sampler):\n"
        "    def begin(self, pool):\n"
        "        return InOrder(pool)\n"
    )
    (tmp_path / "own" / "sampler").mkdir(parents=True)
    (tmp_path / "own" / "sampler" / "window.yaml").write_text("_target_: in_order.Window\nfraction: 0.25\n")
    monkeypatch.syspath_prepend(tmp_path)
    answer = tiny("--config-dir", tmp_path / "own", "sampler=window", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert manifest("run")["points_per_step"] == 64


def test_the_older_word_still_means_the_same_and_says_so(tiny: Partinr) -> None:
    curves = []
    for word in ("regime.sampling=error", "sampler=error"):
        answer = tiny("regime.points_per_step=50", word, f"hydra.run.dir={word}", "regime.evaluate_every=1")
        assert answer.code == 0, answer.err
        said = "note: regime.sampling=error is sampler=error from 0.4 on; regime.sampling=error goes in 0.5\n"
        assert (said in answer.err) == word.startswith("regime")
        curves.append([row["loss"] for row in rows(word)])
        assert manifest(word)["config_hash"] == manifest("regime.sampling=error")["config_hash"]
    assert curves[0] == curves[1]
    assert len(curves[0]) > 2

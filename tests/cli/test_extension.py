"""A partition rule, a backbone and a callback from outside of the repository: a class and a YAML, and they run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import partinr as api

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"

WORDS = ("data.size=16", "max_steps=3", "backbone.match_params=900", "hydra.run.dir=run")

BACKBONE = """
import torch
from typing import Annotated
from pydantic import Field
from partinr.backbones.base import Mlp
from partinr.spec import spec


@spec
class Bump(Mlp):
    width: Annotated[float, Field(gt=0)] = 0.1

    def init_layer(self, layer, weight, bias, generator):
        weight.normal_(0, weight.shape[-1] ** -0.5, generator=generator)
        bias.uniform_(-1, 1, generator=generator)

    def activation(self, layer, x, weight, bias, linear):
        return torch.exp(-linear(x, weight, bias).square() / (2 * self.width**2))
"""

CALLBACK = """
from lightning import Callback


class Counter(Callback):
    def __init__(self, path: str):
        self.path, self.rows = path, 0

    def on_train_batch_end(self, trainer, module, *rest):
        self.rows = len(module.curve)

    def on_fit_end(self, trainer, module):
        with open(self.path, "w") as file:
            file.write(str(self.rows))
"""


@pytest.fixture(autouse=True)
def _on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield
    for name in {"my_rules", "my_backbones", "my_callbacks", "my_regimes", "my_signals"} & (set(sys.modules) - before):
        del sys.modules[name]


def example(name: str) -> str:
    """The code block of docs/extending.md that begins with the name of a file."""
    found = re.search(rf"```\w+\n# {re.escape(name)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_rule_of_the_documentation(partinr: Any) -> None:
    Path("my_rules.py").write_text(example("my_rules.py"))
    Path("my_conf/partition").mkdir(parents=True)
    Path("my_conf/partition/stripes.yaml").write_text(example("my_conf/partition/stripes.yaml"))
    words = [*WORDS, "--config-dir", "my_conf", "partition=stripes"]
    answer = partinr(*words, "partition.count=8")
    assert answer.code == 0, answer.err
    said = json.loads(Path("run/run.json").read_text())
    assert (said["status"], said["regions"], said["name"]) == ("completed", 8, "astronaut stripes siren")
    rows = torch.arange(16)[:, None].expand(16, 16) // 2
    assert torch.equal(api.load("run").partition.labels, rows)
    assert partinr("render", "run", "--scale", "2", "-o", "x.png").code == 0
    # It is checked as partinr's own are.
    for wrong, said in [
        ("partition.count=few", "partition.count='few': should be a valid integer"),
        ("+partition.cuont=2", r"unknown option partition.cuont; did you mean partition.count\?"),
        ("zoom=2", "unknown option zoom; "),
    ]:
        answer = partinr(*words, "hydra.run.dir=other", wrong)
        assert answer.code == 2
        assert re.fullmatch(f"partinr: error: {said}.*\n", answer.err), answer.err


def test_a_backbone(tiny: Any, partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my_backbones.py").write_text(BACKBONE)
    Path("my_conf/backbone").mkdir(parents=True)
    Path("my_conf/backbone/bump.yaml").write_text(
        "_target_: my_backbones.Bump\nmatch_params: 900\nhidden_features: null\nhidden_layers: 1\nwidth: 0.2\n"
    )
    words = ["--config-dir", "my_conf", "backbone=bump", "backbone.match_params=900", "hydra.run.dir=run"]
    answer = tiny(*words, "callbacks.checkpoint.every_seconds=0")
    assert answer.code == 0, answer.err
    said = json.loads(Path("run/run.json").read_text())
    assert (said["status"], said["name"]) == ("completed", "astronaut grid bump")
    assert said["parameters"] == pytest.approx(900, rel=0.2)
    # Another process, that has only the run directory and the module, gets the same picture.
    del sys.modules["my_backbones"]
    monkeypatch.setenv("PARTINR_TRUST", "my_backbones")
    assert api.load("run").render().shape == (16, 16, 3)
    more = tiny("--config-dir", "my_conf", "backbone=bump", "backbone.match_params=900", "max_steps=5",
                "ckpt_path=run/checkpoints/last.ckpt", "hydra.run.dir=more")  # fmt: skip
    assert more.code == 0, more.err
    # Without the module it says so.
    del sys.modules["my_backbones"]
    Path("my_backbones.py").unlink()
    answer = partinr("render", "run", "-o", "x.png")
    assert answer.code == 2
    assert "my_backbones.Bump is not installed here; install" in answer.err


def test_a_class_by_its_path_alone(partinr: Any) -> None:
    Path("my_rules.py").write_text(example("my_rules.py"))
    answer = partinr(*WORDS, "partition=none", "partition._target_=my_rules.Stripes", "+partition.count=2")
    assert answer.code == 0, answer.err
    assert api.load("run").partition.regions == 2


def test_the_regime_and_the_signal_of_the_documentation(partinr: Any) -> None:
    for name in ("my_regimes.py", "my_signals.py"):
        Path(name).write_text(example(name))
    for name, text in (
        ("regime/inpaint.yaml", example("my_conf/regime/inpaint.yaml")),
        ("data/rings.yaml", "_target_: my_signals.Rings\nsize: 64\ncount: 4\n"),
    ):
        Path("my_conf", name).parent.mkdir(parents=True, exist_ok=True)
        Path("my_conf", name).write_text(text)
    answer = partinr(*WORDS, "--config-dir", "my_conf", "data=rings", "regime=inpaint", "regime.evaluate_every=1")
    assert answer.code == 0, answer.err
    said = json.loads(Path("run/run.json").read_text())
    assert (said["regime"]["kind"], said["signal"]["name"], said["signal"]["shape"]) == (
        "inpaint",
        "rings",
        [16, 16, 1],
    )
    assert said["metrics"]["psnr"] > 0


def test_a_callback(tiny: Any) -> None:
    Path("my_callbacks.py").write_text(CALLBACK)
    answer = tiny("+callbacks.mine._target_=my_callbacks.Counter", "+callbacks.mine.path=rows.txt", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert Path("rows.txt").read_text() == "4"


def test_a_rule_with_a_fault_is_said(partinr: Any) -> None:
    Path("my_rules.py").write_text(
        "import torch\nfrom partinr.partition import PartitionRule\nfrom partinr.spec import spec\n"
        "@spec\nclass Gap(PartitionRule):\n"
        "    def labels(self, signal):\n        return 2 * torch.ones(signal.shape[:-1], dtype=torch.int64)\n"
        "@spec\nclass Short(PartitionRule):\n"
        "    def labels(self, signal):\n        return torch.zeros(3, dtype=torch.int64)\n"
    )
    for name, said in [
        ("Gap", "no sample has label 0; number the regions"),
        ("Short", r"labels of shape \[3\] .*; a rule"),
    ]:
        answer = partinr(*WORDS, "partition=none", f"partition._target_=my_rules.{name}")
        assert answer.code == 2
        assert re.fullmatch(f"partinr: error: .*{said}.*\n", answer.err), answer.err
        assert not Path("run").exists()

"""Which processes get what: the choice of ``shard=auto``, refusals, and advice that works."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.base.machine import cores
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition
from partinr.regimes import Constant, FitModule, FitSettings, Optimizer, StopRule
from partinr.training.trainer import make_trainer


def module_of(regions: int, by: Any = "auto", points: int | None = None, **model: Any) -> FitModule:
    signal = torch.rand(6, 8, 3, generator=torch.Generator().manual_seed(0))
    partition = Partition((torch.arange(8) * regions // 8).expand(6, 8))
    module = FitModule(
        PiecewiseINR(partition, Siren(hidden_features=4, hidden_layers=1), **model),
        signal,
        optimizer=Optimizer(),
        schedule=Constant(),
        stop=StopRule(max_steps=1),
        settings=FitSettings(points_per_step=points),
    )
    module.shard_by = by
    return module


@pytest.mark.parametrize(
    ("regions", "model", "devices", "divided"),
    [
        (4, {}, 1, None),
        (4, {}, 4, "regions"),
        (4, {}, 5, "samples"),
        (1, {}, 2, "samples"),
        (4, {"overlap": 1}, 2, "samples"),
        (4, {"global_network": True}, 2, "samples"),
        (4, {"overlap": 1}, 1, None),
    ],
)
def test_what_auto_divides(regions: int, model: dict[str, Any], devices: int, divided: str | None) -> None:
    module = module_of(regions, **model)
    assert module.divides(devices) == divided
    module.check_devices(devices)
    said = None if divided is None else f"{devices} devices divide the {divided} among each other (shard=auto)"
    assert module.useful_devices(devices) == (devices, said)
    if divided is not None:
        chosen = module_of(regions, divided, **model)
        assert chosen.useful_devices(devices) == (devices, None)


@pytest.mark.parametrize(
    ("words", "useful", "why"),
    [
        ({"regions": 1, "by": "regions"}, 1, "there is only 1 region"),
        ({"regions": 3, "by": "regions"}, 3, "there are only 3 regions"),
        ({"regions": 3, "by": "regions", "overlap": 1}, 3, "trains regions apart, but with overlap"),
        ({"regions": 1, "by": "samples", "points": 3}, 3, "there are only 3 samples in a step"),
    ],
)
def test_more_devices_than_work(words: dict[str, Any], useful: int, why: str) -> None:
    module = module_of(**words)
    assert module.useful_devices(5)[0] == useful
    with pytest.raises(PartinrError, match=f"trainer.devices=5.*{why}") as refused:
        module.check_devices(5)
    # Every piece of advice works.
    advice = str(refused.value)
    if (fewer := re.search(r"give trainer.devices=(\d+)", advice)) is not None:
        module.check_devices(int(fewer[1]))
    if re.search("(give|or) shard=samples", advice):
        module_of(**words | {"by": "samples"}).check_devices(5)
    if "overlap=0" in advice:
        module_of(**words | {"overlap": 0}).check_devices(3)
    if "points_per_step" in advice:
        module_of(**words | {"points": 5}).check_devices(5)
    assert advice.count("give") == 1


def test_no_other_choice() -> None:
    with pytest.raises(PartinrError, match="shard='pixels'; choose from auto, regions, samples"):
        module_of(4, "pixels").check_devices(1)


def test_far_more_processes_than_cores_are_refused_and_the_advice_works() -> None:
    with pytest.raises(PartinrError, match=r"trainer.devices=\d+ would start \d+ processes on this CPU") as refused:
        make_trainer(accelerator="cpu", devices=99 * cores())
    fewer = re.search(r"give trainer.devices=(\d+)$", str(refused.value))
    assert fewer is not None
    assert make_trainer(accelerator="cpu", devices=int(fewer[1])).world_size == cores()

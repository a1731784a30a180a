"""What is learned: made, given out, written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.partition import Partition
from partinr.regimes.meta import LearnedStart, TaskBatch
from tests.covering import cases

SMALL = Siren(hidden_features=4, hidden_layers=1, first_omega_0=4.0)


# ---------------------------------------------------------------------------------------------------------------------
# What a batch begins with


def test_every_region_begins_with_the_one_initialisation(make_start, batch):
    start = make_start()
    for name, value in start.start(batch).items():
        assert value.shape == (12, *start.networks.stack[name].shape[1:])
        assert (value == start.networks.stack[name]).all()


def test_a_region_begins_with_that_of_its_cell(make_start, batch):
    start = make_start(cells=4)
    for name, value in start.start(batch).items():
        assert torch.equal(value, torch.cat([start.networks.stack[name]] * 3))


def test_cells_are_learned_apart(make_start, batch):
    # An initialisation a region: a task's error in one region says nothing of the others'.
    start = make_start(cells=4)
    *_, fast = start.adapt(batch, batch.context("region"), 2, order="second")
    values = start.networks(batch.coords, batch.sizes, fast)
    values[: batch.sizes[0]].sum().backward()
    for value in start.networks.stack.values():
        assert value.grad is not None
        assert value.grad.flatten(1).any(1).tolist() == [True, False, False, False]


def test_the_same_seed_begins_alike():
    one, same, other = (LearnedStart(SMALL, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(value, same.networks.stack[name]) for name, value in one.networks.stack.items())
    assert not torch.equal(one.networks.stack["weight_0"], other.networks.stack["weight_0"])


def test_values_are_those_of_the_networks(make_start, batch):
    start = make_start()
    values = start.values(batch, start.start(batch))
    assert not values.requires_grad
    weighted = (batch.weights() * (values - batch.targets).square()).sum()
    torch.testing.assert_close(start.error(batch, start.start(batch), batch.weights()).detach(), weighted)


# ---------------------------------------------------------------------------------------------------------------------
# Keeping

KEPT: dict[str, dict[str, Any]] = {
    "usual": {},
    "static": {"inner_lr_kind": "static", "inner_lr": 0.03},
    "positive": {"inner_lr_kind": "per_step", "inner_lr_positive": True},
    "cells": {"cells": 4, "frame": "local"},
    "last layer": {"adapt_layers": 1, "inner_loss": "image"},
    "relu_pe": {"backbone": "relu_pe", "engine": "loop"},
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_read_adapts_as_what_was_written(make_start, batch, tmp_path, case):
    start = make_start(**KEPT[case]).float()
    path = tmp_path / "initialisation.safetensors"
    path.write_bytes(start.to_bytes())
    read = LearnedStart.load(path)
    assert read.architecture() == start.architecture()
    assert read.networks.engine == start.networks.engine
    single = batch.to(torch.device("cpu"), torch.float32)
    context = single.context(start.inner_loss)
    for found, expected in zip(read.adapt(single, context, 4), start.adapt(single, context, 4), strict=True):
        for name, value in expected.items():
            assert torch.equal(found[name], value)


def test_bytes_are_the_same_each_time():
    assert LearnedStart(SMALL).to_bytes() == LearnedStart(SMALL).to_bytes()


def _file(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, str]) -> Path:
    path.write_bytes(save(tensors, header))
    return path


def _changed(path: Path, **changes: Any) -> Path:
    """A good file, but for its header."""
    start = LearnedStart(SMALL)
    header = {"format": 1, "engine": "auto", **start.architecture(), **changes}
    return _file(path, dict(start.state_dict()), {"partinr_start": json.dumps(header)})


BAD = {
    "cut short": lambda path: path.write_bytes(LearnedStart(SMALL).to_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("initialisation"),
    "another model": lambda path: _file(path, {"weight": torch.zeros(2)}, {"partinr": "{}"}),
    "no header": lambda path: path.write_bytes(save({"weight": torch.zeros(2)})),
    "a header that is no mapping": lambda path: _file(path, {}, {"partinr_start": "[]"}),
    "a header that is no JSON": lambda path: _file(path, {}, {"partinr_start": "{"}),
    "no tensors": lambda path: _file(path, {}, {"partinr_start": json.dumps({"format": 1})}),
    "another width": lambda path: _changed(path, options={"hidden_features": 5, "hidden_layers": 1}),
    "a key too many": lambda path: _changed(path, colour="red"),
    "another number of rates": lambda path: _changed(path, inner_steps=2),
}


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    for case in BAD:
        path = tmp_path / "initialisation.safetensors"
        BAD[case](path)
        with pytest.raises(PartinrError) as caught:
            LearnedStart.load(path)
        assert str(caught.value).startswith(f"{path} is not a readable initialisation of partinr: ")
        assert "\n" not in str(caught.value)


def test_a_file_says_why_it_is_refused(tmp_path):
    for changes, says in cases(
        ({"format": 3}, "was written by a newer partinr; update partinr to read it"),
        (
            {"backbone": "nowhere.Siren"},
            "nowhere.Siren is neither partinr's nor a plug-in's, and no code is imported because a file names it",
        ),
        ({"backbone": "torch.nn.Linear"}, "torch.nn.Linear is no backbone; the model file is damaged"),
        ({"options": {"hidden_features": 4, "depth": 1}}, "there is no option Siren.depth"),
        ({"adapt_layers": 9}, "regime.adapt_layers=9 is out of range"),
    ):
        with pytest.raises(PartinrError) as caught:
            LearnedStart.load(_changed(tmp_path / "initialisation.safetensors", **changes))
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(PartinrError, match=r"^[^\n]* does not exist; give the directory of a run with regime=meta$"):
        LearnedStart.load(tmp_path / "initialisation.safetensors")


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


@spec
class Unordered(Siren):
    """A backbone that does not say which its layers are."""

    def layers(self):
        return None


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no layer": ({"adapt_layers": 0}, "regime.adapt_layers=0 is out of range; siren has 3 layers"),
    "too many layers": ({"adapt_layers": 4}, "regime.adapt_layers=4 is out of range; siren has 3 layers"),
    "layers without an order": (
        {"backbone": Unordered(hidden_features=4), "adapt_layers": 1},
        "regime.adapt_layers=1, but unordered does not say which its layers are (Backbone.layers); "
        "leave the option out to adapt them all",
    ),
    "inner loss": ({"inner_loss": "pixel"}, "regime.inner_loss='pixel' is unknown; choose from region, image"),
    "frame": ({"frame": "own"}, "coords.frame='own' is unknown; choose from global, local"),
    "kind of rates": (
        {"inner_lr_kind": "each"},
        "regime.inner_lr_kind='each' is unknown; "
        "choose from static, global, per_step, per_parameter, per_parameter_per_step",
    ),
    "rate": ({"inner_lr": 0.0}, "regime.inner_lr=0; give a number above 0"),
    "steps": ({"inner_steps": 0}, "cells=1 and inner_steps=0; give 1 or more of each"),
    "cells": ({"cells": 0}, "cells=0 and inner_steps=3; give 1 or more of each"),
    "engine": (
        {"backbone": ReluPE(hidden_features=4), "engine": "tiled"},
        "engine=tiled is for chains of sines, such as a plain backbone=siren, not for relu_pe; choose engine=auto",
    ),
}


def test_bad_options_are_one_line():
    for case in REFUSED:
        options, says = REFUSED[case]
        with pytest.raises(PartinrError) as caught:
            LearnedStart(**{"backbone": SMALL, **options})
        assert str(caught.value) == says


def test_a_task_of_another_number_of_regions_is_refused(make_start, signals, partitions):
    cut = [partitions[0], Partition(torch.zeros(2, 5, dtype=torch.int64))]
    batch = TaskBatch.of(signals[:2], cut, "global").to(torch.device("cpu"), torch.float64)
    with pytest.raises(PartinrError) as caught:
        make_start(cells=4).start(batch)
    assert str(caught.value) == (
        "there is an initialisation for each of 4 regions, but a task has 1; choose regime.initialisation=shared"
    )
    make_start().start(batch)

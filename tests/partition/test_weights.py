"""The weights of a network are found however a script has saved them, and no code in the file is run."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from partinr.partition.weights import WeightsError, read_weights, weights_of

RUN: list[str] = []


class Network(nn.Module):
    """Named like a network of segmentation-models-pytorch."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))
        self.segmentation_head = nn.Conv2d(width, 2, 1)


class Task(nn.Module):
    """What holds a network: a LightningModule, with a loss that has weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.loss, self.net = nn.CrossEntropyLoss(torch.ones(2)), network


def run(what: str) -> None:
    RUN.append(what)


class Code:
    """An object whose pickle runs code."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return run, ("code",)


torch.manual_seed(0)
NETWORK, OTHER = Network(), Network()
WEIGHTS, OTHERS = NETWORK.state_dict(), OTHER.state_dict()
PARALLEL = {f"module.{name}": value for name, value in WEIGHTS.items()}
COMPILED = {f"_orig_mod.{name}": value for name, value in WEIGHTS.items()}
SETTINGS = OmegaConf.create({"lr": 0.1, "names": ["a"]})

SAVED: dict[str, Any] = {
    "alone": WEIGHTS,
    "DataParallel": PARALLEL,
    "compiled": COMPILED,
    "compiled in DataParallel": {f"module.{name}": value for name, value in COMPILED.items()},
    "a compiled part": {name.replace("encoder.", "encoder._orig_mod."): value for name, value in WEIGHTS.items()},
    "a DataParallel part": {name.replace("encoder.", "encoder.module."): value for name, value in WEIGHTS.items()},
    "Lightning": {"state_dict": Task(NETWORK).state_dict(), "hyper_parameters": argparse.Namespace(lr=1e-3)},
    "Lightning with Hydra": {"state_dict": Task(NETWORK).state_dict(), "hyper_parameters": {"config": SETTINGS}},
    "Lightning with paths": {
        "callbacks": {Path("x"): {1, 2}},
        "state_dict": {f"model.{k}": v for k, v in PARALLEL.items()},
    },
    "averaged": AveragedModel(NETWORK).state_dict(),
    "weights and their average": {"ema": OTHERS, "model": WEIGHTS, "epoch": 3},
    "student and teacher": {
        f"{who}.{k}": v for who, w in (("teacher", OTHERS), ("student", WEIGHTS)) for k, v in w.items()
    },
    "an average only": {"optimizer": torch.optim.Adam(NETWORK.parameters()).state_dict(), "model_ema": PARALLEL},
    "nested": {"checkpoint": {"net": {"model_state_dict": COMPILED}}},
    "a whole module": Task(NETWORK),
    "a whole module among others": {"model": nn.DataParallel(NETWORK), "best": Code()},
    **{name: {name: WEIGHTS} for name in ("state_dict", "model_state_dict", "model", "net", "ema", "weights")},
}


@pytest.mark.parametrize("kind", SAVED)
def test_weights_are_found(tmp_path: Path, kind: str) -> None:
    torch.save(SAVED[kind], tmp_path / "weights")
    torch.save(SAVED[kind], tmp_path / "old", _use_new_zipfile_serialization=False)
    for file in ("weights", "old"):
        found = weights_of(read_weights(tmp_path / file), WEIGHTS.keys())
        assert found.keys() == WEIGHTS.keys()
        assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())
    assert not RUN


def test_weights_of_safetensors(tmp_path: Path) -> None:
    save_file(PARALLEL, tmp_path / "weights")
    assert weights_of(read_weights(tmp_path / "weights"), WEIGHTS.keys()).keys() == WEIGHTS.keys()


def test_no_code_is_run(tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "extra": Code()}, tmp_path / "weights")
    assert weights_of(read_weights(tmp_path / "weights"), WEIGHTS.keys()).keys() == WEIGHTS.keys()
    (tmp_path / "weights").write_bytes(pickle.dumps(Code()))
    with pytest.raises(WeightsError, match=r"no file of torch\.save"):
        read_weights(tmp_path / "weights")
    assert not RUN


def test_what_does_not_belong_to_the_network_stays_visible() -> None:
    # A deeper encoder has all the names of this one, and more: the network must refuse it.
    deeper = {**WEIGHTS, "encoder.2.weight": torch.ones(3)}
    assert weights_of(deeper, WEIGHTS.keys()).keys() == deeper.keys()
    assert weights_of({"fc.weight": torch.ones(3)}, WEIGHTS.keys()) == {}


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "program", "w") as archive:
        archive.writestr("program/constants.pkl", pickle.dumps(()))
    torch.save(WEIGHTS, tmp_path / "damaged")
    (tmp_path / "damaged").write_bytes((tmp_path / "damaged").read_bytes()[:-500])
    (tmp_path / "text").write_text("version https://git-lfs.github.com/spec/v1")
    for name, said in (("program", "program of TorchScript"), ("damaged", "or it is damaged"), ("text", "no file of")):
        with pytest.raises(WeightsError, match=said):
            read_weights(tmp_path / name)

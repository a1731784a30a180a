"""A key that holds text gets the text that was typed."""

import importlib
import re
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from partinr.experiment import names
from partinr.experiment.annotations import UnknownError, type_of
from partinr.experiment.conf import conf_dir
from partinr.experiment.hydra_errors import readable
from partinr.experiment.typed import _fields, _takes, as_typed
from tests.commands import Partinr

NUMBERS = ("2024_01_31", "1e5", "007", "0x1F", "1.50", ".5", "inf", "1:30", "2024-01-31")
SIGNS = ("epoch=9-step=99.ckpt", "me@home 50%_#4")
TEXTS = (*NUMBERS, *SIGNS, "True", "off", "NaN", "[1]", "{a:1}", "~", "x ")


@pytest.fixture(autouse=True)
def _resolvers() -> None:
    names.register_resolvers()


def composed(*overrides: str) -> DictConfig:
    read = as_typed([readable(each) for each in overrides])
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        return hydra.compose("train", read, return_hydra_config=True)


def test_text_stays_as_it_was_typed() -> None:
    keys = ("study", "data.path", "partition.path", "logger.project", "hydra.run.dir", "hydra.job.name")
    for text in TEXTS:
        chosen = ["data=folder", "partition=mask", "logger=wandb", *(f"{key}={text}" for key in keys)]
        config = composed(*chosen)
        assert [OmegaConf.select(config, key) for key in keys] == [text] * len(keys)


def test_names_of_folders_in_yaml(partinr: Partinr) -> None:
    Path("own/experiment").mkdir(parents=True)
    name = "2024_01_31"
    Path("own/experiment/mine.yaml").write_text(
        f"# @package _global_\nhydra: {{run: {{dir: {name}}}, sweep: {{dir: {name}, subdir: 1e3}}}}\n"
    )
    answer = partinr("--cfg", "hydra", "--config-dir", "own", "experiment=mine")
    assert re.findall(r"^ +(?:sub)?dir: '?(\S+?)'?(?: |$)", answer.out, re.MULTILINE)[:3] == [name, name, "1e3"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("max_steps=1_000 optimizer.lr=1e-3", "max_steps=1_000 optimizer.lr=1e-3"),
        ("max_seconds=5 data.size=16,32", "max_seconds=5 data.size=16,32"),
        ("study=null output_dir=null", "study=null output_dir='null'"),
        ("study='1e5' partition.regoins=4", "study='1e5' partition.regoins=4"),
        ("data=builtins data.names=[1_0,camera]", "data=builtins data.names=['1_0',camera]"),
        ("data=builtin,folder data.path=1_0,b,choice", "data=builtin,folder data.path='1_0',b,choice"),
        ("experiment=1_0", "experiment='1_0'"),
        ("study=choice(1_0,null)", "study=choice('1_0',null)"),
        ("experiment=demo +hydra.job.env_set.X=1e5", "experiment=demo +hydra.job.env_set.X='1e5'"),
    ],
)
def test_numbers_stay_numbers(typed: str, read: str) -> None:
    assert as_typed(typed.split()) == read.split()


def test_the_type_of_a_foreign_class_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "class Watch:\n    def __init__(self, name: str | None = None, n: int | None = None): ...\n"
    (tmp_path / "theirs.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    given = ["+callbacks.x._target_=theirs.Watch", "+callbacks.x.name=1_0", "+callbacks.x.n=1_0"]
    assert as_typed(given) == [*given[:1], "+callbacks.x.name='1_0'", given[2]]


def test_types_are_read_from_the_source() -> None:
    """As importing would give them, but for limits, which a value is checked against later."""
    targets = {
        target
        for file in conf_dir().rglob("*.yaml")
        for target in re.findall(r"_target_: (partinr\.\S+)", file.read_text(encoding="utf-8"))
    }
    left = set()
    for target in sorted({*targets, "partinr.experiment.config.Root", "partinr.experiment.config.Coords"}):
        module, _, name = target.rpartition(".")
        for field, known in _fields(getattr(importlib.import_module(module), name)).items():
            if "ClassVar" in str(known):
                continue
            try:
                read = _takes(type_of(target, field))
            except UnknownError:
                left.add(f"{name}.{field}")
                continue
            takes = _takes(known)
            for value in ("x", True, None, ["x"]):
                assert read(value) == takes(value), (target, field, value)
            for number in (9, 0.5, [9]):
                assert read(number) or not takes(number), (target, field, number)
    free = {
        "Bicubic.aspect",
        "Experts.pretrain_options",
        "Grid.shape",
        "Optimizer.options",
        "PerNetwork.options",
        "Shared.signals",
        "SoftCells.pretrain_options",
        "VideoData.crop",
    }
    assert left == free


def test_a_sweep_over_texts(tiny: Partinr, partinr: Partinr) -> None:
    for name in ("1_0", "10", "1e1"):
        Path(name).mkdir()
        Image.new("RGB", (8, 8), (200, len(name), 7)).save(f"{name}/1_0.png")
    answer = tiny("-m", "data=folder", "data.path=1_0,10,1e1", "study=2024_01", "max_steps=1")
    assert answer.code == 0, answer.err
    runs = sorted(Path("outputs/sweeps/2024_01").glob("*/run.json"))
    assert len(runs) == 3
    again = partinr("rerun", next(run.parent for run in runs if "1_0" in run.parent.name), "-o", "again")
    assert again.code == 0, again.err + again.out

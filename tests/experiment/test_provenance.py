"""What a run reads is known by its content: random edits change what a run is, if and only if they matter."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from partinr.backbones import Siren
from partinr.base.spec import READS, marked
from partinr.experiment import config, names
from partinr.experiment.conf import conf_dir
from partinr.experiment.provenance import Inputs, origin
from partinr.partition import Mask, Smp
from partinr.runs.origin import Origin, told_apart
from partinr.signals import FolderData, ImageData, LsunData
from partinr.signals.identity import identity_facts
from partinr.sweep.folders import register_names

NET = """
from partinr.backbones import Siren
from partinr.spec import spec
from outer.helper import SCALE

@spec
class Outer(Siren):
    scale: float = SCALE
"""


class World:
    """Files that runs read or do not read, and what of them matters."""

    def __init__(self) -> None:
        self.content: dict[str, int] = {}
        for folder in ("images", "masks", "outer"):
            Path(folder).mkdir()
        Path("outer/__init__.py").touch()
        for name in ("images/a.png", "images/b.png", "masks/a.npy", "masks/b.npy", "ckpt", *EDITS):
            self.write(name, 0)

    def write(self, name: str, number: int) -> None:
        """Give a file one of its contents; what matters of it is the same after the same number."""
        self.content[name] = number
        if name.startswith("images") and name.endswith(".png"):
            level = random.randint(0, 9)  # other bytes of the same pixels
            pixels = np.full((8, 8, 3), 50 * number, dtype=np.uint8)
            Image.fromarray(pixels).save(name, compress_level=level)
        elif name.endswith(".npy"):
            np.save(name, np.arange(64).reshape(8, 8) > 16 * (number + 1))
        elif name.endswith(".py"):
            Path(name).write_text(f"SCALE = {number + 1}.0\n" if "helper" in name else f"{NET}# {number}\n")
        else:
            Path(name).write_text(str(number))

    def matters(self, continued: bool) -> tuple[Any, ...]:
        """What decides what a run computes, beside its signal."""
        kept = ["masks/a.npy", "masks/b.npy", "outer/helper.py", "outer/net.py", *["ckpt"] * continued]
        return (continued, *(self.content[name] for name in kept))

    def pixels(self) -> tuple[int, int]:
        """What decides what its signal is."""
        return self.content["images/a.png"], self.content["images/b.png"]


EDITS = ("masks/unread.npy", "images/notes.txt", "outer/helper.py", "outer/net.py")


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A configuration that reads a folder of images, a folder of masks and code from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names.register_resolvers()
    register_names([])
    words = ["data=folder", "data.path=images", "partition=mask", "partition.path=masks", "max_steps=1"]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        composed = OmegaConf.to_container(hydra.compose("train", words), resolve=True)
    assert isinstance(composed, dict)
    composed["backbone"] = {"_target_": "outer.net.Outer", "hidden_features": 4}
    return {str(key): value for key, value in composed.items()}


def test_an_edit_makes_another_run_if_and_only_if_it_matters(plain: dict[str, Any]) -> None:
    random.seed(17)
    world = World()
    made: list[tuple[bool, tuple[Any, ...], dict[str, Any]]] = []
    for _ in range(25):
        name = random.choice([*world.content, "touch"])
        if name == "touch":
            Path("masks/a.npy").touch()
        else:
            world.write(name, random.randint(0, 1))
        continued = random.random() < 0.3
        settings = config.read({**plain, "ckpt_path": "ckpt" if continued else None})
        matters = (*world.matters(continued), world.pixels())
        queued = Inputs(once=True)
        for other, before, manifest in made:
            if other == continued:
                assert bool(queued.changes(manifest, settings)) == (before != matters)
        signal = identity_facts([item.read().identity for item in settings.data.train()])
        run = {**origin(settings, Inputs()), "signal": {**signal, "sha256": str(world.pixels())}}
        assert not queued.changes(run, settings)
        made.append((continued, matters, {**run, "config": settings.plain}))
    told = told_apart([Origin(run, run["config"]) for *_, run in made], [matters[-1] for _, matters, _ in made])
    pools = {(matters[-1], words): matters for (_, matters, _), words in zip(made, told.words, strict=True)}
    for (_, matters, _), words in zip(made, told.words, strict=True):
        assert pools[matters[-1], words] == matters
    assert len(pools) == len({matters for _, matters, _ in made}) > 5


def test_a_continued_run_has_another_hash(plain: dict[str, Any]) -> None:
    World()
    hashes = {
        origin(config.read({**plain, "ckpt_path": path}), Inputs())["config_hash"] for path in (None, "ckpt", "other")
    }
    assert len(hashes) == 3
    # A configuration of before, which had no such key or did not count it, keeps its hash.
    assert names.identity(plain) == names.identity({key: each for key, each in plain.items() if key != "ckpt_path"})


@pytest.mark.parametrize("cls", [ImageData, FolderData, LsunData, Mask, Smp, config.Root])
def test_what_a_run_reads_has_an_absolute_path_before_anything_is_loaded(cls: type) -> None:
    group = {"partinr.signals": "data", "partinr.partition": "partition"}.get(cls.__module__.rpartition(".")[0])
    fields = marked(cls, READS)
    named = dict.fromkeys(fields, ".")
    plain = {"data": {}, "partition": {}, **({group: named} if group else named)}
    absolute = names.with_absolute_paths(plain)
    assert fields
    assert all(Path((absolute[group] if group else absolute)[name]).is_absolute() for name in fields)
    assert not marked(Siren, READS)

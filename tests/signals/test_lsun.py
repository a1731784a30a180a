"""LSUN through torchvision, on a tiny database: one of lmdb if it is installed, and one that only looks like it."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.regimes.meta.loading import TaskDataModule
from partinr.signals import LsunData
from partinr.signals import lsun as module
from tests.covering import cases

Fill = Callable[[str, int], Path]


def photograph(number: int) -> bytes:
    rng = np.random.default_rng(number)
    buffer = io.BytesIO()
    image = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    image.save(buffer, "webp", lossless=True)
    return buffer.getvalue()


def pixels(number: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(photograph(number)))) / np.float32(255))


class FakeLmdb(ModuleType):
    """As much of lmdb as torchvision uses; a database is a pickled dictionary."""

    @staticmethod
    def open(root: str, **options: Any) -> Any:
        content = pickle.loads((Path(root) / "data.mdb").read_bytes())

        class Transaction:
            def __enter__(self) -> Any:
                cursor = SimpleNamespace(iternext=lambda keys, values: iter(sorted(content)))
                return SimpleNamespace(
                    stat=lambda: {"entries": len(content)}, cursor=lambda: cursor, get=lambda key: content.get(key)
                )

            def __exit__(self, *about: Any) -> None:
                pass

        return SimpleNamespace(begin=lambda write: Transaction())


@pytest.fixture(params=["lmdb", "fake"])
def fill(request, tmp_path, monkeypatch) -> Fill:
    """``fill("tower_val", 3)`` makes a database of three photographs."""
    real = request.param == "lmdb"
    if not real:
        monkeypatch.setitem(sys.modules, "lmdb", FakeLmdb("lmdb"))
    elif importlib.util.find_spec("lmdb") is None:
        pytest.skip("the package lmdb is not installed; it is no dependency of partinr")
    module._database.cache_clear()

    def make(name: str, count: int) -> Path:
        folder = tmp_path / "lsun" / f"{name}_lmdb"
        folder.mkdir(parents=True)
        content = {f"{n:040}".encode(): photograph(n) for n in range(count)}
        if real:
            with importlib.import_module("lmdb").open(str(folder)) as env, env.begin(write=True) as write:
                for key, value in content.items():
                    write.put(key, value)
        else:
            (folder / "data.mdb").write_bytes(pickle.dumps(content))
        return folder.parent

    return make


def test_photographs_are_cut_and_named(fill):
    path = fill("church_outdoor_train", 4)
    fill("church_outdoor_val", 2)
    data = LsunData(path=str(path), size=6, limit=3)
    assert data.title == "church_outdoor"
    assert [item.name for item in data.train()] == [f"church_outdoor-train-{n}" for n in range(3)]
    assert [item.name for item in data.val()] == ["church_outdoor-val-0", "church_outdoor-val-1"]
    for number, item in enumerate(data.train()):
        assert torch.equal(pickle.loads(pickle.dumps(item)).load(), pixels(number)[:, 1:7])
    assert LsunData(path=str(path), size=4).train()[3].load().shape == (4, 4, 3)


def test_nothing_is_left_where_somebody_works(fill):
    path = fill("tower_train", 2)
    (name,) = {"_cache_" + "".join(filter(str.isalpha, str(path / "tower_train_lmdb")))}
    Path(name).write_bytes(b"somebody else's")
    before = sorted(os.listdir())
    LsunData(path=str(path), category="tower").train()[0].load()
    assert sorted(os.listdir()) == before


def test_processes_open_databases_of_their_own(fill):
    items = LsunData(path=str(fill("tower_train", 3)), category="tower", size=6).train()
    here, there = (next(iter(TaskDataModule(items, meta_batch_size=3, workers=n).train_dataloader())) for n in (0, 2))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.signal, other.signal)


def test_what_is_not_there_is_said(fill):
    path = fill("church_outdoor_train", 0)
    for data, part, said in [
        (
            LsunData(path="nowhere"),
            "train",
            r"no LSUN database '.*nowhere/church_outdoor_train_lmdb/data\.mdb'; github",
        ),
        (LsunData(path=str(path)), "val", r"church_outdoor_val_lmdb.*download\.py -c church_outdoor"),
        (LsunData(path=str(path)), "train", "an LSUN database without photographs"),
    ]:
        with pytest.raises(PartinrError, match=said) as caught:
            getattr(data, part)()
        assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_said(fill):
    path = fill("church_outdoor_train", 1)
    item = LsunData(path=str(path)).train()[0]
    beyond = module.LsunItem(item.name, item.folder, 7, 8)
    with pytest.raises(PartinrError, match=r"photograph 7 of .*church_outdoor_train_lmdb' cannot be read"):
        beyond.load()
    module._database.cache_clear()
    (path / "church_outdoor_train_lmdb" / "data.mdb").write_bytes(b"no database")
    with pytest.raises(PartinrError, match="cannot be opened as an LSUN database"):
        LsunData(path=str(path)).train()


def test_the_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    module._database.cache_clear()
    (tmp_path / "church_outdoor_train_lmdb").mkdir()
    (tmp_path / "church_outdoor_train_lmdb" / "data.mdb").touch()
    with pytest.raises(PartinrError, match=r"needs the package lmdb, which is not installed; pip install lmdb$"):
        LsunData(path=str(tmp_path)).train()


def test_what_means_nothing_is_refused():
    for options in cases({"category": "../x"}, {"size": 0}, {"limit": 0}):
        with pytest.raises(PartinrError, match=next(iter(options))):
            LsunData(**{"path": "lsun", **options})

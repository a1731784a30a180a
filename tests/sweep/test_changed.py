"""A sweep asked for again after something that its runs read was edited: no stale run is kept in silence."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from partinr.experiment.conf import conf_dir
from partinr.experiment.names import OWN_CALLBACKS
from partinr.report.groups import studies_of
from partinr.report.table import summary_rows
from partinr.runs.directory import RunDirectory, find_runs
from partinr.runs.records import collect

TINY = ("data=image", "data.path=photo.png", "data.size=16", "backbone.hidden_features=4", "max_steps=2")
SWEEP = ("hydra.sweep.dir=sweep", "callbacks.pictures=null", "trainer.threads=1")


def photo(seed: int, **save: Any) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8)).save("photo.png", **save)


def mask(row: int, path: str = "mask.npy") -> None:
    labels = np.zeros((24, 24), dtype=np.int64)
    labels[row:] = 1
    np.save(path, labels)


@pytest.fixture
def sweep(partinr: Any) -> Callable[..., Any]:
    photo(0)
    return lambda *words: partinr("-m", *TINY, *SWEEP, *words)


def manifests() -> dict[str, dict[str, Any]]:
    return {run.path.name: run.manifest() for run in find_runs("sweep")}


def superseded() -> list[str]:
    return sorted(path.name for path in Path("sweep/.superseded").glob("*"))


def test_an_edited_label_map_makes_its_runs_again(sweep: Callable[..., Any]) -> None:
    words = ("partition=mask", "partition.path=mask.npy")
    mask(12)
    assert sweep(*words, "seed=0").code == 0
    shutil.copytree("sweep", "before")
    mask(6)
    # Advice that is followed works: refuse names the choices, and keep is one of them.
    answer = sweep(*words, "seed=0,1", "sweep.changed=refuse")
    assert answer.code == 2
    (advice,) = re.findall(
        r"partition\.path mask\.npy has changed since \S+ was made; .*(sweep\.changed=keep)", answer.err
    )
    answer = sweep(*words, "seed=0,1", advice)
    assert "2 runs: 2 completed (2 of them before)" in answer.out
    # What was kept is not averaged with what was made since, on any output.
    (study,) = studies_of(collect(["sweep"]))
    assert [group.n for group in study.groups] == [1, 1]
    assert len({group.label for group in study.groups} & {row["group"] for row in summary_rows(study.records)}) == 2
    assert all(re.search(r" · mask\.npy [0-9a-f]{6}$", group.label) for group in study.groups)
    assert "2 groups differ only in the content of partition.path." in study.notices
    answer = sweep(*words, "seed=0,1")
    (name,) = superseded()
    line = f"partition.path mask.npy has changed since {name[:-2]} was made; making it again, the old one is kept in "
    assert answer.err.count(f"{line}.superseded/{name}") == 1
    assert "2 runs (1 of them made again): 2 completed (1 of them before)" in answer.out
    assert len({each["inputs"]["partition.path"] for each in manifests().values()}) == 1
    assert len(studies_of(collect(["sweep"]))[0].groups) == 1
    # Of single runs around an edit, or of folders put together, likewise.
    assert sorted(group.n for group in studies_of(collect(["before", "sweep"]))[0].groups) == [1, 2]
    Path("mask.npy").touch()
    assert "2 runs: 2 completed (2 of them before)" in sweep(*words, "seed=0,1").out
    Path("mask.npy").unlink()
    answer = sweep(*words, "seed=0,1")
    assert "2 runs: 2 completed (2 of them before)" in answer.out
    assert "cannot be read now" in answer.err


def test_a_replaced_photo_makes_its_runs_again(sweep: Callable[..., Any]) -> None:
    assert sweep("seed=0,1").code == 0
    photo(1)
    answer = sweep("seed=0,1,2")
    assert "3 runs (2 of them made again): 3 completed" in answer.out
    assert answer.err.count("data.path photo.png has changed since") == 2
    assert len({each["signal"]["sha256"] for each in manifests().values()}) == 1
    assert len(superseded()) == 2
    # A stopped run does not continue with another photo; a queued one reads the new file.
    for run, status in zip(find_runs("sweep"), ("interrupted", "failed", "queued"), strict=True):
        run.file("run.json").write_text(json.dumps({**run.manifest(), "status": status}))
    photo(2)
    answer = sweep("seed=0,1,2")
    assert "3 runs (2 of them made again): 3 completed" in answer.out
    assert len({each["inputs"]["data.path"] for each in manifests().values()}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(2))
def test_random_edits_between_two_calls(sweep: Callable[..., Any], draw: int) -> None:
    rng = random.Random(draw)
    content = {"photo": 0, "mask": 12}
    made: dict[int, tuple[int, int]] = {}  # by seed, what its run in the sweep has read
    for _ in range(12):
        edited = rng.choice(["photo", "mask", "nothing"])
        if edited == "photo":
            content["photo"] = rng.randrange(3)
        elif edited == "mask":
            content["mask"] = rng.choice([6, 12])
        photo(content["photo"], compress_level=rng.randrange(10))  # other bytes of the same pixels
        mask(content["mask"])
        seed, now = rng.randrange(3), (content["photo"], content["mask"])
        answer = sweep("partition=mask", "partition.path=mask.npy", f"seed={seed}")
        expected = {None: "1 run: 1 completed", now: "1 run: 1 completed (1 of them before)"}
        again = "1 run (1 of them made again): 1 completed"
        assert re.search(r"1 run.*", answer.out)[0].strip() == expected.get(made.get(seed), again)  # type: ignore[index]
        made[seed] = now
        (study,) = studies_of(collect(["sweep"]))
        assert sorted(group.n for group in study.groups) == sorted(Counter(made.values()).values())


def test_a_continued_run_is_no_fresh_one(sweep: Callable[..., Any], partinr: Any) -> None:
    assert partinr(*TINY, "hydra.run.dir=first").code == 0
    more = ("max_steps=4", "seed=0")
    checkpoint = "ckpt_path=first/checkpoints/last.ckpt"
    assert sweep(*more, checkpoint).code == 0
    assert "1 run: 1 completed\n" in sweep(*more).out
    assert len({each["config_hash"] for each in manifests().values()}) == 2
    assert "1 run: 1 completed (1 of them before)" in sweep(*more, checkpoint).out
    (study,) = studies_of(collect(["sweep"]))
    assert not any("Not counted" in notice for notice in study.notices)
    labels = {group.label for group in study.groups}
    assert any("no ckpt_path" in label for label in labels)
    assert any("last.ckpt" in label for label in labels)
    # A run that continues from its own checkpoint keeps its identity.
    before = manifests()
    for run in find_runs("sweep"):
        run.file("run.json").write_text(json.dumps({**run.manifest(), "status": "interrupted"}))
        assert partinr("resume", run.path).code == 0
    for name, each in manifests().items():
        assert all(each[key] == before[name][key] for key in ("config_hash", "inputs", "name"))
    # Another checkpoint in the same place.
    assert partinr(*TINY, "max_steps=3", "hydra.run.dir=second").code == 0
    shutil.copy("second/checkpoints/last.ckpt", "first/checkpoints/last.ckpt")
    assert "1 run (1 of them made again): 1 completed" in sweep(*more, checkpoint).out


def test_an_old_run_that_was_continued_is_not_kept_as_a_fresh_one(sweep: Callable[..., Any]) -> None:
    assert sweep("seed=0").code == 0
    (run,) = find_runs("sweep")
    # Before, the checkpoint was no part of the hash.
    manifest = run.manifest()
    run.file("run.json").write_text(json.dumps({**manifest, "inputs": {"ckpt_path": "0" * 64}}))
    assert "1 of them made again" in sweep("seed=0").out
    # One that says nothing of what it read is kept.
    (run,) = find_runs("sweep")
    del manifest["inputs"]
    run.file("run.json").write_text(json.dumps(manifest))
    assert "1 of them before" in sweep("seed=0").out


RULE = """
import torch
from pathlib import Path
from typing import Annotated
from acme.helper import EDGE
from partinr.partition import PartitionRule
from partinr.spec import READS, spec

@spec
class Stripes(PartitionRule):
    table: Annotated[str, READS]

    def labels(self, signal):
        labels = torch.zeros(signal.shape[:-1], dtype=torch.int64)
        labels[EDGE + int(Path(self.table, "rows.txt").read_text()) :] = 1
        return labels
"""


def test_the_files_and_the_code_of_an_outside_class_count(
    sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, content in {"__init__": "", "helper": "EDGE = 4\n", "rules": RULE}.items():
        Path("acme").mkdir(exist_ok=True)
        Path("acme", f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("tables").mkdir()
    Path("tables/rows.txt").write_text("2")
    words = ("partition=none", "partition._target_=acme.rules.Stripes", "+partition.table=tables")
    assert sweep(*words).code == 0
    (run,) = find_runs("sweep")
    assert run.config()["partition"]["table"] == str(tmp_path / "tables")
    assert "1 of them before" in sweep(*words).out
    Path("tables/rows.txt").write_text("3")
    assert "partition.table tables has changed since" in sweep(*words).err
    Path("acme/helper.py").write_text("EDGE = 5\n")
    assert "the code of acme.rules has changed since" in sweep(*words).err
    assert RunDirectory(Path("sweep/.superseded", superseded()[0])).manifest()["status"] == "completed"
    assert "1 of them before" in sweep(*words).out


def test_a_run_that_another_sweep_has_taken_is_left_to_it(sweep: Callable[..., Any]) -> None:
    assert sweep("seed=0").code == 0
    (run,) = find_runs("sweep")
    photo(1)
    with run.claimed():
        answer = sweep("seed=0")
    assert (answer.code, superseded()) == (0, [])
    assert "made again" not in answer.out
    assert "1 of them made again" in sweep("seed=0").out


COUNTING = """
import lightning as L

class Ends(L.Callback):
    def __init__(self, at=1):
        self.at = at

    def on_train_batch_end(self, trainer, module, *_):
        trainer.should_stop = module.step == self.at
"""


def test_callbacks_of_other_packages_count(
    sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("ending_for_a_test.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(OWN_CALLBACKS) == set(yaml.safe_load((conf_dir() / "callbacks/default.yaml").read_text()))
    words = ("+callbacks.mine._target_=ending_for_a_test.Ends", "+callbacks.mine.at=1,2")
    assert "2 runs: 2 completed" in sweep(*words).out
    assert sorted(each["steps"] for each in manifests().values()) == [1, 2]
    assert [name[:9] for name in sorted(manifests())] == ["at-1_Ends", "at-2_Ends"]
    (study,) = studies_of(collect(["sweep"]))
    assert [group.n for group in study.groups] == [1, 1]
    # What is kept while a run is in progress does not count, but code does.
    assert "2 of them before" in sweep(*words, "callbacks.progress=null").out
    Path("ending_for_a_test.py").write_text(COUNTING.replace("== self.at", ">= self.at"))
    assert "the code of ending_for_a_test has changed since" in sweep(*words).err

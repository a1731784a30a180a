"""``regime=meta`` as a user has it: from the command line to the run directory, broken off and gone on with."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.experiment import config, names
from partinr.experiment.execute import _prepare
from partinr.regimes import MetaModule
from partinr.regimes.meta import LearnedStart, inner
from partinr.runs.layout import ADAPTATION, CHECKPOINT, START
from tests.covering import covering
from tests.read_back import curve, manifest, rows

TINY = (
    "regime=meta",
    "data=smooth",
    "data.shape=[12,12]",
    "data.train_items=6",
    "data.val_items=3",
    "partition.regions=4",
    "backbone.hidden_features=8",
    "backbone.hidden_layers=1",
    "regime.validation_steps=4",
    # Without the fused engine, whose kernels every process would load again.
    "engine=batched",
    "trainer.accelerator=cpu",
    "optimizer.lr=1e-3",
    "callbacks.pictures=null",  # half the time of such a run
    "max_steps=3",
)

LONG = (
    *TINY[:-2],
    "max_steps=150",
    "regime.evaluate_every=4",
    # Drawn points, momentum and a moving rate: all that a checkpoint has to bring back.
    "regime.context_fraction=0.5",
    "regime.clip_norm=0.1",
    "schedule=cosine",
    "callbacks.pictures.every_seconds=0.1",
    "callbacks.checkpoint.every_seconds=1000",
)


@pytest.fixture(scope="module")
def learn(partinr: Any) -> Any:
    """The command of a tiny run with the words given."""
    return lambda *words: partinr(*without(TINY, words), *words)


@pytest.fixture(scope="module")
def learned(partinr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with a completed run, for reading only."""
    run = tmp_path_factory.mktemp("learned") / "run"
    words = [word for word in TINY if word != "callbacks.pictures=null"]
    answer = partinr(*words, "regime.evaluate_every=1", f"hydra.run.dir={run}")
    assert (answer.code, answer.err) == (0, "")
    return run


def without(base: tuple[str, ...], words: Any) -> list[str]:
    """Words of a tiny run but those that would be an option of another choice."""
    groups = {word.partition("=")[0] for word in words if word.partition("=")[0] in ("data", "partition", "regime")}
    return [word for word in base if word.partition("=")[0].partition(".")[0] not in groups]


def same(run: Path, unbroken: Path) -> None:
    """Bit for bit, but for the clocks."""
    for file in ("curve.csv", "images.csv"):
        assert curve(run, file) == curve(unbroken, file)
    assert (run / START).read_bytes() == (unbroken / START).read_bytes()
    one, other = manifest(run), manifest(unbroken)
    assert (one["status"], one["message"], one["stop"]) == ("completed", None, "max_steps")
    for key in ("steps", "metrics", "parameters", "signal", "seed", "psnr_by_inner_step", "inner_lr"):
        assert one[key] == other[key], key
    seconds = [float(row["seconds"]) for row in rows(run)]
    assert seconds == sorted(seconds)
    assert one["seconds"]["training"] >= seconds[-1]


# -- what a run leaves behind -----------------------------------------------------------------------------------------


def test_a_run_directory_is_whole(learned: Path) -> None:
    assert {path.name for path in learned.iterdir()} == {
        ".hydra",
        ".lock",
        "run.json",
        "curve.csv",
        "images.csv",
        START,
        ADAPTATION,
        "checkpoints",
    }
    with Image.open(learned / ADAPTATION) as picture:
        assert min(picture.size) > 100
    start = LearnedStart.load(learned / START)
    assert (start.cells, start.inner_steps, start.networks.backbone.hidden_features) == (1, 3, 8)


def test_the_facts(learned: Path) -> None:
    said, last, start = manifest(learned), rows(learned)[-1], LearnedStart.load(learned / START)
    assert (said["status"], said["stop"], said["steps"], said["regions"]) == ("completed", "max_steps", 3, 4)
    one = start.parameter_count
    assert said["parameters"] == 4 * one
    # The one initialisation, and a rate for each of its numbers and each step.
    assert said["parameters_learned"] == one + 3 * one
    assert said["macs_per_pixel"] == start.networks.macs_of_networks[0]
    assert said["partition"] | {"notice": None} == said["partition"]
    assert {key: said["partition"][key] for key in ("train", "test", "smallest", "largest")} == {
        "train": "grid",
        "test": "grid",
        "smallest": 36,
        "largest": 36,
    }
    signals = {"name": "smooth", "shape": [12, 12, 3], "train": 6, "held_out": 3, "kind": {"name": "image"}}
    assert said["signal"] == {**signals, "pixels_sha256": said["signal"]["pixels_sha256"]}
    assert said["points_per_step"] == 4 * 144
    assert said["psnr_by_inner_step"] == [float(last[f"psnr_{step}"]) for step in range(5)]
    assert said["metrics"]["psnr"] == float(last["psnr"]) == said["psnr_by_inner_step"][3]
    assert said["inner_lr"] == float(last["inner_lr"]) == start.rates.mean()
    # Three steps of four tasks of 144 samples: three inner ones and the outer.
    assert int(last["macs"]) == 3 * 4 * 144 * 4 * said["macs_per_pixel"]
    assert said["seconds"]["training"] == pytest.approx(float(last["seconds"]))
    assert said["seconds"]["setup"] > 0
    assert said["seconds"]["evaluation"] > 0
    assert said["peak_memory_bytes"] > 0
    images = rows(learned, "images.csv")
    assert [row["image"] for row in images] == 4 * [f"smooth-val-{number}" for number in range(3)]
    for number, row in enumerate(rows(learned)):
        psnr = [float(row["psnr"]) for row in images[3 * number : 3 * number + 3]]
        assert float(row["psnr"]) == pytest.approx(sum(psnr) / 3)


def test_validation_tasks_are_picked_evenly(learn: Any) -> None:
    answer = learn("data.val_items=10", "regime.validation_tasks=4", "max_steps=1", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert [row["image"] for row in rows(Path("run"), "images.csv")[:4]] == [f"smooth-val-{n}" for n in (0, 2, 5, 7)]
    assert manifest(Path("run"))["signal"]["held_out"] == 4


def test_validation_does_not_depend_on_the_batch(learn: Any, learned: Path) -> None:
    answer = learn("regime.meta_batch_size=1", "max_steps=1", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    for file in ("curve.csv", "images.csv"):
        one, other = rows(Path("run"), file)[0], rows(learned, file)[0]
        for name in set(one) - {"image", "seconds"}:
            assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-5), name


@pytest.fixture
def photos() -> str:
    """A folder of photographs of two shapes."""
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        shape = (12, 18) if number % 2 else (16, 12)
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(f"photos/{number}.png")
    Path("held.txt").write_text("2\n5\n")
    return "photos"


@pytest.mark.parametrize("where", ["both", "test"])
def test_a_folder_of_images_of_several_shapes(learn: Any, photos: str, where: str) -> None:
    words = ("data=folder", f"data.path={photos}", "data.val_list=held.txt", "partition=kmeans", "partition.regions=3")
    answer = learn(*words, f"regime.partition_in={where}", "regime.workers=1", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    made = {"both": ["6 label maps: 0 found, 6 made", "2 label maps: 0 found, 2 made"], "test": ["2 label maps: "]}
    assert all(said in line for said, line in zip(made[where], answer.err.splitlines(), strict=True))
    run = manifest(Path("run"))
    assert run["signal"] | {"name": "photos", "shape": None, "train": 6, "held_out": 2} == run["signal"]
    assert run["points_per_step"] == 4 * (16 * 12 + 12 * 18) // 2
    assert [row["image"] for row in rows(Path("run"), "images.csv")[:2]] == ["2", "5"]
    names = {"train": "kmeans" if where == "both" else "none", "test": "kmeans"}
    assert {key: run["partition"][key] for key in names} == names
    if where == "both":  # the second time they are there
        again = learn(*words, "hydra.run.dir=again")
        assert (again.code, again.err) == (0, "")


# -- the partition ----------------------------------------------------------------------------------------------------

PREPARED = tuple(word for word in TINY if not word.startswith("backbone.hidden_f"))


def prepared(*words: str) -> tuple[MetaModule, Any]:
    """The module and its data, as the command line makes them."""
    import hydra

    from partinr.experiment.conf import conf_dir

    names.register_resolvers()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        made = _prepare(config.read(hydra.compose("train", [*PREPARED, *words])), Path("run"), {})
    assert isinstance(made.module, MetaModule)
    return made.module, made.module.data


@covering(place=[("both", 4, 4), ("test", 1, 4), ("neither", 1, 1)], budget=["match_params=2000", "hidden_features=8"])
def test_where_the_partition_is(place: tuple[str, int, int], budget: str) -> None:
    where, in_training, in_testing = place
    module, data = prepared(f"regime.partition_in={where}", f"backbone.{budget}")
    assert {task.partition.regions for task in data.train_tasks} == {in_training}
    assert {task.partition.regions for task in data.val_tasks} == {in_testing}
    assert {count for batch in module._validation for count in batch.regions} == {in_testing}
    facts = module.facts()
    assert facts["regions"] == in_testing
    assert facts["parameters"] == in_testing * module.model.parameter_count
    names = {1: "none", 4: "grid"}
    assert (facts["partition"]["train"], facts["partition"]["test"]) == (names[in_training], names[in_testing])
    if budget.startswith("match"):
        assert facts["parameters"] == pytest.approx(2000, rel=0.05)
    else:
        assert module.model.networks.backbone.hidden_features == 8


def test_no_partition_is_the_same_wherever_it_is(learn: Any) -> None:
    for run, words in (("none", ["partition=none"]), ("neither", ["regime.partition_in=neither"])):
        assert learn(*words, f"hydra.run.dir={run}").code == 0
    assert curve(Path("none")) == curve(Path("neither"))


def test_an_initialisation_for_each_region() -> None:
    module, data = prepared("regime.initialisation=region", "backbone.hidden_features=8")
    start = module.model
    assert start.cells == 4
    assert module.facts()["parameters"] == start.parameter_count
    batch = data.collate([data.train_tasks[0], data.train_tasks[1]])
    for name, value in start.start(batch).items():
        row = start.networks.stack[name]
        assert torch.equal(value, torch.cat([row, row]))
        if name.endswith("weight"):
            assert not torch.equal(row[0], row[1])


def test_each_region_learns_its_own_row(learn: Any) -> None:
    answer = learn("regime.initialisation=region", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    start = LearnedStart.load(Path("run") / START)
    assert start.cells == 4
    assert all(len(value) == 4 for value in start.networks.stack.values())
    assert manifest(Path("run"))["parameters_learned"] == 4 * start.parameter_count


# -- precision --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_precisions(learn: Any, learned: Path, precision: str) -> None:
    answer = learn(f"trainer.precision={precision}", "regime.evaluate_every=1", "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, "")
    dtype = torch.float64 if precision == "64-true" else torch.float32
    from safetensors.torch import load_file

    assert {value.dtype for value in load_file(Path("run") / START).values()} == {dtype}
    for one, other in zip(rows(Path("run")), rows(learned), strict=True):
        assert float(one["psnr"]) == pytest.approx(float(other["psnr"]), abs=0.05)
    assert LearnedStart.load(Path("run") / START).cells == 1


# -- broken off and gone on with --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(partinr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    answer = partinr(*LONG, f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    return run


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2])
def test_after_a_polite_signal(
    start: Any, until: Callable[..., None], partinr: Any, unbroken: Path, workers: int
) -> None:
    run = Path("run").resolve()
    process = start(*LONG, f"regime.workers={workers}", f"hydra.run.dir={run}")
    until(lambda: len(rows(run)) > 3, process)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    said = manifest(run)
    assert (said["status"], said["message"], said["stop"]) == ("interrupted", "stopped from outside (SIGTERM)", None)
    assert 0 < said["steps"] < 150
    for name in (CHECKPOINT, START, ADAPTATION):
        assert (run / name).exists(), name
    answer = partinr("resume", run)
    assert answer.code == 0, answer.err
    same(run, unbroken)
    again = partinr("resume", run)
    assert again.code == 2
    assert "is completed; to make it longer: " in again.err


def test_a_longer_run_in_a_new_directory(learn: Any) -> None:
    words = ("regime.evaluate_every=2", "regime.context_fraction=0.5")
    assert learn(*words, "max_steps=4", "hydra.run.dir=first").code == 0
    answer = learn(*words, "max_steps=9", "hydra.run.dir=second", f"ckpt_path=first/{CHECKPOINT}", "regime.workers=2")
    assert answer.code == 0, answer.err
    assert learn(*words, "max_steps=9", "hydra.run.dir=whole").code == 0
    same(Path("second"), Path("whole"))
    first = rows(Path("first"))
    assert rows(Path("second"))[: len(first)] == first  # with the clocks


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_limit_of_time(learn: Any) -> None:
    answer = learn("max_steps=null", "max_seconds=0.3", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    said = manifest(Path("run"))
    assert (said["status"], said["stop"]) == ("completed", "max_seconds")
    assert said["seconds"]["training"] == float(rows(Path("run"))[-1]["seconds"]) >= 0.3


def test_a_target(learn: Any) -> None:
    answer = learn(
        "max_steps=500", "target_psnr=10", "regime.evaluate_every=5", "optimizer.lr=1e-2", "hydra.run.dir=run"
    )
    assert answer.code == 0, answer.err
    said = manifest(Path("run"))
    assert (said["status"], said["stop"]) == ("completed", "target_psnr")
    assert said["metrics"]["psnr"] >= 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("regime.inner_lr=1e30",), r"the PSNR is nan after 0 steps; lower regime.inner_lr \(now 1e\+30\)"),
        (
            ("optimizer.lr=1e30",),
            r"the PSNR is nan after 1 steps; lower optimizer.lr \(now 1e\+30\) or regime.inner_lr, .*",
        ),
    ],
)
def test_a_failure(learn: Any, learned: Path, words: tuple[str, ...], said: str) -> None:
    answer = learn(*words, "hydra.run.dir=run")
    assert (answer.code, answer.err) == (1, "")
    run = Path("run")
    found = manifest(run)
    assert (found["status"], found["stop"]) == ("failed", None)
    assert re.fullmatch(said, found["message"]), found["message"]
    assert found["message"] in answer.out
    # The best weights are those that it began with.
    begin, _ = prepared("backbone.hidden_features=8", *words)
    kept = LearnedStart.load(run / START)
    for name, value in begin.model.state_dict().items():
        assert torch.equal(kept.state_dict()[name], value), name


# -- the self-test ----------------------------------------------------------------------------------------------------


def test_a_wrong_gradient_is_refused(monkeypatch: pytest.MonkeyPatch, learn: Any) -> None:
    gradient = inner._gradient

    def forgetful(objective: Any, params: Any, names: Any, twice: bool) -> Any:
        return gradient(objective, params, names, twice=False)

    monkeypatch.setattr(inner, "_gradient", forgetful)
    answer = learn("hydra.run.dir=run")
    assert (answer.code, answer.out) == (2, "")
    assert re.fullmatch(
        r"partinr: error: the meta-gradient of regime\.algorithm=maml with engine=batched on cpu is wrong, by .*; "
        r"choose another engine, .*\n",
        answer.err,
    )
    assert not Path("run").exists()
    # That of the other order is not what was forgotten.
    assert learn("regime.algorithm=fomaml", "hydra.run.dir=run").code == 0


# -- bad input --------------------------------------------------------------------------------------------------------

REFUSED = r"""
# data
data=image data.path=PHOTO                          -> regime=meta learns from many signals, .*; choose data=folder
data.val_items=0                                    -> regime=meta is judged on signals .*; hold some out, such as
data.train_items=3                                  -> regime.meta_batch_size=4 is more than the 3 .*; give fewer
data=folder data.path=FOLDER                        -> regime=meta is judged on signals .*; hold some out, such as
# partition
partition=none regime.partition_in=test             -> regime.partition_in=test with partition=none: .*; choose
partition=none regime.initialisation=region         -> regime.initialisation=region needs regions .*; choose
regime.initialisation=region data=folder data.path=FOLDER data.val_path=SHAPES -> of 8×12 and 12×8: .*; give part
partition.regions=auto                              -> partition.regions=auto is for one image; .*give a number
partition.regions=200                               -> smooth-0: partition.regions=200 is more than the 144 .*; give
# the inner loop
regime.adapt_layers=4                               -> regime.adapt_layers=4 is out of range; siren has 3 layers
schedule=cosine schedule.warmup_steps=3             -> schedule.warmup_steps=3 leaves nothing .*; give a shorter
# what is of the ordinary regime
regime.points_per_step=10                           -> option of regime=fit, regime=threshold only; choose
regime.freeze_at_psnr=30                            -> regime.freeze_at_psnr is an option of regime=fit only; choose
regime.loss=image                                   -> regime.loss is an option of regime=fit only; choose
regime=fit data=builtin regime.inner_lr=1e-3        -> regime.inner_lr is an option of regime=meta only; choose
capacity=area                                       -> capacity=area: an initialisation has one width, .*; leave
# how it is computed
optimizer.clip_norm=2                               -> clips each .*; give optimizer.clip_norm=null regime.clip_norm=2
trainer.precision=16-mixed                          -> trainer.precision=16-mixed scales the outer loss, .*; choose
trainer=ddp trainer.devices=2 shard=samples         -> shard=samples: devices divide the signals .*; leave shard=auto
trainer=ddp trainer.devices=5                       -> regime.meta_batch_size=4 is less than trainer.devices=5, .*; give
engine=fused trainer.precision=64-true              -> engine=fused has no double precision; choose
# checkpoints
ckpt_path=missing.ckpt                              -> ckpt_path=missing.ckpt does not exist; give
ckpt_path=FIT                                       -> ckpt_path=.* is from another run: its kind is fit, here .*; give
ckpt_path=META regime.algorithm=fomaml              -> its regime.algorithm is maml, here it is fomaml; give
ckpt_path=META seed=1                               -> its seed is 0, here it is 1; give
ckpt_path=META data.train_items=5                   -> is from another run: its data.train_items is .*; give
ckpt_path=META partition.regions=2                  -> is from another run: its partition.regions is .*; give
ckpt_path=META backbone.hidden_features=9           -> its options.hidden_features is 8, here it is 9; give
ckpt_path=META max_steps=2                          -> has 3 steps behind it, max_steps is 2; give a larger one
"""


def table(text: str) -> dict[str, list[tuple[str, str]]]:
    """What is typed and what is said, by the heading above it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for section in text.split("\n# ")[1:]:
        heading, *lines = section.strip().splitlines()
        rows = (line.partition(" -> ") for line in lines)
        found[heading] = [(typed.strip(), said.strip()) for typed, _, said in rows]
    return found


@pytest.mark.parametrize("cases", table(REFUSED).values(), ids=table(REFUSED))
def test_a_run_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    learn: Any,
    learned: Path,
    finished: Path,
    contents: Any,
    cases: list[tuple[str, str]],
) -> None:
    Path("folder").mkdir()
    for number in range(5):
        Image.new("RGB", (12, 12), (number, 0, 0)).save(f"folder/{number}.png")
    Path("shapes").mkdir()
    for number, shape in enumerate([(8, 12), (12, 8)]):
        Image.new("RGB", shape).save(f"shapes/{number}.png")
    stands_for = {
        "SHAPES": "shapes",
        "FIT": finished / CHECKPOINT,
        "META": learned / CHECKPOINT,
        "FOLDER": "folder",
        "PHOTO": "folder/0.png",
    }

    def refuse(*_: Any) -> None:
        raise AssertionError("training has begun")

    monkeypatch.setattr(MetaModule, "training_step", refuse)
    before = contents(Path())
    for command, said in cases:
        for name, path in stands_for.items():
            command = command.replace(name, str(path))
        answer = learn(*shlex.split(command), "cache_dir=null", "hydra.run.dir=run")
        assert re.fullmatch(rf"partinr: error: .*{said}.*\n", answer.err), answer.err
        assert (answer.code, answer.out) == (2, "")
        assert contents(Path()) == before, command


def test_a_meta_checkpoint_is_none_of_a_fit(tiny: Any, learned: Path) -> None:
    answer = tiny(f"ckpt_path={learned / CHECKPOINT}", "hydra.run.dir=run")
    assert (answer.code, answer.out) == (2, "")
    assert re.fullmatch(r"partinr: error: ckpt_path=.* is from another run: its .*; give .*\n", answer.err)
    assert not Path("run").exists()


def test_what_is_wrong_with_one_image_to_learn_from_is_said_before_the_training(partinr, tmp_path):
    for shape, mode, said in [
        ((1, 9), "RGB", "small: a grid of 2×2 regions does not fit 1×9 samples"),
        ((8, 9), "L", "all signals need the same channels, but .* has 3 and small has 1"),
        (None, "RGB", "small.*cannot be read|small.*is not an image"),
    ]:
        pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        for name in ("a", "b", "c", "d"):
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        if shape is None:
            (tmp_path / "small.png").write_bytes(b"no picture")
        else:
            Image.fromarray(pixels[: shape[0], : shape[1]]).convert(mode).save(tmp_path / "small.png")
        (tmp_path / "held.txt").write_text("a\n")
        answer = partinr(
            "regime=meta", "data=folder", f"data.path={tmp_path}", f"data.val_list={tmp_path / 'held.txt'}",
            "partition=grid", "partition.regions=null", "partition.rows=2", "partition.cols=2", "max_steps=1",
            "regime.meta_batch_size=2", "cache_dir=null", f"hydra.run.dir={tmp_path / 'run'}",
        )  # fmt: skip
        assert answer.code == 2
        assert len(answer.err.strip().splitlines()) == 1
        assert re.search(said, answer.err), answer.err
        assert not (tmp_path / "run").exists()

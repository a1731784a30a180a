"""The configuration: every YAML composes, is explained and says what its class takes; what is wrong is named."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from partinr.base.errors import PartinrError
from partinr.experiment import config, names
from partinr.experiment.conf import conf_dir
from partinr.experiment.make import make
from partinr.partition import Grid, Whole
from partinr.signals import SignalSet
from partinr.sweep.folders import register_names
from partinr.sweep.launchers import register
from partinr.sweep.queue import Sweep
from partinr.sweep.rules import SweepRules
from tests.covering import covering

CONF = conf_dir()
FILES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))
FILES = [path for path in FILES if not path.startswith("local/")]
CHOICES = [path.removesuffix(".yaml").rsplit("/", 1) for path in FILES if "/" in path]
SWEEPERS = [each for each in CHOICES if each[0] in ("hydra/launcher", "sweep")]
"""What is chosen for a sweep, and not for a run."""
WITHIN = [each for each in CHOICES if each[0] in ("case", "size") or each[0].startswith("experiment/")]
"""What is chosen within a study, and not by itself."""
REQUIRED = {
    "mask": ["partition.path=labels.npy"],
    "smp": ["partition.model=owner/name"],
    "learned": ["start.run=run"],
    "shared": ["start.signals=photos"],
}
"""What a choice does not go without."""


@pytest.fixture(autouse=True)
def _resolvers() -> None:
    names.register_resolvers()
    register_names([])
    register(Sweep(str))


def compose(*overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return hydra.compose("train", list(overrides))


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The default configuration, as plain containers."""
    composed = OmegaConf.to_container(compose(), resolve=True)
    assert isinstance(composed, dict)
    return {str(key): value for key, value in composed.items()}


# -- the files ----------------------------------------------------------------------------------------------------


SETS = {
    "builtins": [],
    "folder": ["data.path=photos"],
    "celeba": ["data.path=celeba"],
    "lsun": ["data.path=lsun"],
    "melodies": [],
    "smooth": [],
    "sounds": ["data.path=sounds"],
    "steps": [],
    "text": [],
}
"""Those of the group ``data`` that are many signals, and what they do not go without."""


def test_every_set_of_signals_composes_and_reads() -> None:
    for name in SETS:
        node = OmegaConf.to_container(compose(f"data={name}", *SETS[name]).data, resolve=True, throw_on_missing=True)
        assert make(node, "data", SignalSet).title


@pytest.mark.parametrize("data", ["audio", "sdf"])
def test_a_file_is_read_in_place_of_a_built_in_signal(data: str) -> None:
    overrides = [f"data={data}", "data.path=given"]
    settings = config.asked_settings(compose(*overrides), overrides)
    assert Path(settings.data.path).name == "given"  # type: ignore[attr-defined]


RUNS = [each for each in CHOICES if each[1] not in SETS and each not in SWEEPERS + WITHIN]


@pytest.mark.parametrize("group", sorted({group for group, _ in RUNS}))
def test_every_choice_composes_and_reads(group: str) -> None:
    for name in (name for of, name in RUNS if of == group):
        # What is generated has no path.
        path = [] if name.startswith(("film", "hypothesis", "meta_text", "phantom")) else ["data.path=x.png"]
        needed = [] if group == "observe" else REQUIRED.get(name, [])  # its mask needs no file
        settings = config.read(compose(f"{group}={name}", *path, *needed))
        # The regime that learns to learn says so, and where it cuts.
        learned = r"(maml \w+( in test)?|\w+)"
        seen = "" if settings.observe.sees_all else rf"{name} "
        assert re.fullmatch(rf"\S+ {seen}{learned} \w+", settings.name), name


def test_the_default_reads() -> None:
    settings = config.read(compose())
    assert isinstance(settings.partition, Grid)
    assert settings.stop.max_steps == settings.root.max_steps
    assert set(settings.callbacks) == {"checkpoint", "pictures", "progress"}


def test_an_experiment_says_how_it_is_run() -> None:
    for path in (CONF / "experiment").glob("*.yaml"):
        head = path.read_text().partition("defaults:")[0]
        assert f"experiment={path.stem}" in head
        assert "# @package _global_" in head, path.stem


def runs_of(*overrides: str) -> list[DictConfig]:
    """The configurations of all runs that a study asks for, but for those of further seeds."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        params = hydra.compose("train", list(overrides), return_hydra_config=True).hydra.sweeper.params or {}
    choices = [
        [f"{key}={value}" for value in str(values).split(",")] for key, values in params.items() if key != "seed"
    ]
    # What is asked for has the last word, as in Hydra's sweeper.
    return [compose(*chosen, *overrides) for chosen in itertools.product(*choices)]


SMALL = [group.partition("/")[2] for group, name in CHOICES if group.startswith("experiment/") and name == "small"]
TABLES = [name for name in SMALL if name.endswith("_table")]


@pytest.mark.parametrize("name", SMALL)
def test_a_small_study_needs_no_file_and_is_smaller(name: str) -> None:
    needs_a_file = name in ("boundaries", "grid_speedup", "mask_source", "paper_meta_table", "regions")
    full = config.read(compose(f"experiment={name}", *(["data.path=x"] if needs_a_file else [])))
    runs = [config.read(cfg) for cfg in runs_of(f"experiment={name}", "size=small")]
    assert len({str(run.plain["partition"]) for run in runs}) > 1
    for run in runs:
        assert run.plain["data"].get("path") is None
        # All of them run on one thread, so that the table is the same on any number of cores.
        assert run.trainer.threads == 1
        sizes = [
            (each.root.max_steps, each.backbone.hidden_features, each.backbone.match_params) for each in (run, full)
        ]
        assert sizes[0] != sizes[1] or run.plain["data"] != full.plain["data"]


@pytest.mark.parametrize("name", TABLES)
def test_the_rows_of_a_table_differ_in_their_case_alone(name: str) -> None:
    rows = [config.read(cfg).plain for cfg in runs_of(f"experiment={name}", "data.path=x")]
    cases = [(row.pop("partition"), row["regime"].pop("partition_in", None)) for row in rows]
    assert all(row == rows[0] for row in rows)
    assert len(set(map(str, cases))) == len(cases) == (5 if name == "paper_meta_table" else 6)


@pytest.mark.parametrize(
    ("name", "alone", "nine", "width"), [("siren", 791_043, 794_097, 170), ("relu", 912_899, 910_251, 147)]
)
def test_the_tables_have_the_published_sizes(name: str, alone: int, nine: int, width: int) -> None:
    backbone = config.read(compose(f"experiment=paper_{name}_table")).backbone
    sized = [backbone.sized(networks, 2, 3) for networks in (1, 9)]
    assert [each.hidden_features for each in sized] == [512, width]
    assert [n * each.parameters(2, 3) for n, each in zip((1, 9), sized, strict=True)] == [alone, nine]
    # But for the width as the experiment for a single run.
    single = compose(f"experiment=paper_{name}")
    assert (single.optimizer, single.max_steps) == (
        (table := compose(f"experiment=paper_{name}_table")).optimizer,
        table.max_steps,
    )


def test_cases_of_learning_to_learn_are_the_experiments_of_these_names() -> None:
    for case in ("test_grid", "test_semantic", "both_grid", "both_semantic"):
        row = compose("experiment=paper_meta_table", f"case=meta_{case}", "data.path=x")
        assert row == compose(f"experiment=meta_lsun_{case}", "data.path=x")
    row = compose("experiment=paper_meta_table", "case=meta_neither", "data.path=x")
    # Where the partition is used nowhere it does not matter which it is.
    assert row == compose("experiment=meta_lsun_neither", "partition=none", "data.path=x")


def undocumented(text: str) -> Iterator[str]:
    """Keys with a value but without a comment next to them, on the line above, or at their parent."""
    explained: list[tuple[int, bool]] = []
    above = False
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            above = bool(line.strip())
            continue
        found = re.match(r"( *)([\w.]+):(?: +(?!#)(.*?))?(?: +(# *\S.*))?$", line)
        if found is None:  # an entry of a list
            above = False
            continue
        indent = len(found[1])
        explained = [each for each in explained if each[0] < indent]
        well = bool(found[4]) or above or any(each[1] for each in explained)
        if found[3] and not well and found[2] != "_target_":
            yield found[2]
        explained.append((indent, bool(found[4])))
        above = False


def test_undocumented_keys_are_found() -> None:
    text = "a: 1\nb: 2 # b\n# c\nc: 3\nd:\n  e: 4\nf: # all of f\n  g: 5\n_target_: x\nh: '#'\n"
    assert list(undocumented(text)) == ["a", "e", "h"]


def test_every_key_is_explained() -> None:
    # An experiment sets keys that are explained in their groups; Hydra's own are Hydra's to explain.
    for path in (path for path in FILES if not path.startswith("experiment/")):
        text = (CONF / path).read_text().partition("\nhydra:")[0]
        assert text.startswith("#"), f"the first line of {path} says what the file is"
        assert (path, list(undocumented(text))) == (path, [])


def nodes(content: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(content, dict):
        if "_target_" in content:
            yield path, content
        for key, value in content.items():
            yield from nodes(value, f"{path}:{key}")


NODES = [node for path in FILES for node in nodes(yaml.safe_load((CONF / path).read_text()), path)]


UNWRITTEN = {"partition/none.yaml": {"regions"}}
"""What an experiment may set for every rule; in the file it would change the hash of runs that older versions made."""


def test_a_file_has_the_options_of_its_class() -> None:
    for where, node in NODES:
        module, _, name = node["_target_"].rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        options = inspect.signature(getattr(cls, "settings_class", cls)).parameters
        assert {key for key in node if key != "_target_"} == set(options) - UNWRITTEN.get(where, set()), where


def test_the_root_has_the_options_of_its_class(plain: dict[str, Any]) -> None:
    options = set(inspect.signature(config.Root).parameters)
    groups = {*config.GROUPS, "coords", "sweep"}
    assert {key for key in plain if key not in groups} == options - {"debug"}  # a file sets it
    assert set(plain["coords"]) == set(inspect.signature(config.Coords).parameters)
    assert set(plain["sweep"]) == set(inspect.signature(SweepRules).parameters)


def test_a_group_is_a_folder() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert folders - {"case", "debug", "experiment", "hydra", "local", "size", "sweep"} == set(config.GROUPS)


# -- what is refused ----------------------------------------------------------------------------------------------

WRONG = [
    ("seed", "abc", "seed='abc': should be"),
    ("seed", 1.5, "seed=1.5: should be"),
    ("seed", True, "seed=True: should be"),
    ("seed", None, "seed=None: should be"),
    ("seed", 2**63, "seed=9223372036854775808: should be"),
    ("max_steps", 0, "max_steps=0: should be"),
    ("max_steps", 1e3, "max_steps=1000.0: should be"),
    ("max_steps", None, "give max_steps or max_seconds"),
    ("max_seconds", 0, "max_seconds=0: should be"),
    ("max_seconds", float("nan"), "max_seconds=nan: should be"),
    ("target_psnr", float("inf"), "target_psnr=inf: should be"),
    ("ckpt_path", 5, "ckpt_path=5: should be"),
    ("output_dir", None, "output_dir=None: should be"),
    ("engine", "quick", "engine='quick': should be 'auto'"),
    ("debug", True, "debug=True: should be 'trace'"),
    ("zoom", 2, "unknown option zoom; there are: .*max_steps"),
    ("max_step", 2, r"unknown option max_step; did you mean max_steps\?"),
    ("coords", 5, "coords=5 is no configuration; "),
    ("coords", "local", "coords='local' is no configuration; "),
    ("coords", {"frame": "polar"}, "coords.frame='polar': should be 'global' or 'local'"),
    ("coords", {"zoom": 2}, "unknown option coords.zoom; there are: frame"),
    ("coords", {"layout": "row"}, "coords.layout='row': should be 'public_code'"),
    ("coords", {"layout": "public_code", "frame": "local"}, "coords.layout=public_code .*; give coords.frame=global"),
    ("data", None, "data=None is no configuration; choose one by name"),
    ("data", [1], r"data=\[1\] is no configuration; choose one by name"),
    ("data.size", 0, "data.size=0: should be"),
    ("data.size", "big", "data.size='big': should be"),
    ("data.alpha", "green", "data.alpha='green': should be 'refuse'"),
    ("data.zoom", 2, "unknown option data.zoom; there are: path, name"),
    ("partition.regions", 0, "partition.regions=0: should be"),
    ("partition.regions", 2.5, "partition.regions=2.5: should be"),
    ("partition.rows", 2, "partition.rows and partition.cols go together; give both"),
    ("partition.region", 2, r"unknown option partition.region; did you mean partition.regions\?"),
    ("partition._target_", None, "partition._target_=None cannot be imported: .*; give"),
    ("partition._target_", "Grid", "partition._target_='Grid' cannot be imported: .*; give"),
    ("partition._target_", ".relative.Rule", "partition._target_='.relative.Rule' cannot be imported: .*; give"),
    ("partition._target_", "nowhere.Rule", "partition._target_='nowhere.Rule' cannot be imported: .*; give"),
    ("partition._target_", "partinr.partition.Rule", "partition._target_=.* cannot be imported: .*; give"),
    ("partition._target_", "math.pi", "partition._target_='math.pi' is no class; give"),
    ("partition._target_", "builtins.dict", "partition._target_=builtins.dict is no PartitionRule; derive"),
    ("partition", {"_target_": "partinr.partition.PartitionRule"}, "partition: Can't instantiate abstract class"),
    ("partition", {"rows": 2}, "partition needs a _target_"),
    ("backbone.hidden_features", 0, "backbone.hidden_features=0: should be"),
    ("backbone.hidden_layers", -1, "backbone.hidden_layers=-1: should be"),
    ("backbone.match_params", None, "give backbone.hidden_features or backbone.match_params"),
    ("backbone.omega_0", 0, "backbone.omega_0=0: should be"),
    ("backbone.omega_0", "30", "backbone.omega_0='30': should be"),
    ("backbone.first_omega_0", float("nan"), "backbone.first_omega_0=nan: should be"),
    ("regime.loss", "l1", "regime.loss='l1': should be 'image' or 'region'"),
    ("regime.border_weight", 0, "regime.border_weight=0: should be"),
    ("regime.border_width", 0, "regime.border_width=0: should be"),
    ("overlap", -1, "overlap=-1: should be"),
    ("overlap", 33, "overlap=33: should be"),
    ("overlap", 1.5, "overlap=1.5: should be"),
    ("global_network", 2, "global_network=2: should be"),
    ("global_network", "layer", "global_network='layer': should be .*'layers'"),
    ("regime.points_per_step", 0, "regime.points_per_step=0: should be"),
    ("regime.evaluate_at", [0], "regime.evaluate_at.0=0: should be"),
    ("regime.evaluate_at", 5, "regime.evaluate_at=5: should be"),
    ("regime.evaluations_per_decade", 101, "regime.evaluations_per_decade=101: should be"),
    ("regime.collapse_db", -1, "regime.collapse_db=-1: should be"),
    ("optimizer.name", "adamm", r"no optimizer 'adamm'; did you mean adam\?"),
    ("optimizer.name", "lbfgs", "no optimizer 'lbfgs'; choose from adadelta"),
    ("optimizer.name", "nowhere.Adam", "optimizer.name='nowhere.Adam' cannot be imported"),
    ("optimizer.name", "torch.nn.Linear", "optimizer.name='torch.nn.Linear' is no torch optimiser class"),
    ("optimizer.lr", 0, "optimizer.lr=0: should be"),
    ("optimizer.lr", float("nan"), "optimizer.lr=nan: should be"),
    ("optimizer.options", 5, "optimizer.options=5: should be"),
    ("optimizer.options", {"momentum": 0.9}, "optimizer adam takes no momentum; choose"),
    ("schedule.warmup_steps", -1, "schedule.warmup_steps=-1: should be"),
    ("schedule.warmup_steps", 1500, "schedule.warmup_steps=1500 leaves nothing of max_steps=1500; give"),
    ("trainer.accelerator", "abacus", "trainer.accelerator='abacus': should be 'auto'"),
    ("trainer.threads", 0, "trainer.threads=0: should be"),
    ("trainer.devices", 0, "trainer.devices=0: should be"),
    ("shard", "pixels", "shard='pixels': should be 'auto', 'regions' or 'samples'"),
    ("trainer.precision", "transformer-engine", "trainer.precision='transformer-engine': should be '32-true'"),
    ("trainer.precision", 32, "trainer.precision=32: should be '32-true'"),
    ("callbacks", None, "callbacks=None is no configuration; choose"),
    ("callbacks.progress", 5, "callbacks.progress needs a _target_"),
    ("callbacks.mine", {"_target_": "builtins.dict"}, "callbacks.mine._target_=builtins.dict is no Callback; derive"),
    ("callbacks.checkpoint.every_seconds", -1, "callbacks.checkpoint.every_seconds=-1; give"),
    ("callbacks.checkpoint.every_seconds", None, "callbacks.checkpoint.every_seconds=None; give"),
    ("callbacks.checkpoint.every_seconds", True, "callbacks.checkpoint.every_seconds=True; give"),
    ("callbacks.pictures.every_seconds", 0, "callbacks.pictures.every_seconds=0; give"),
    ("callbacks.pictures.every_seconds", "soon", "callbacks.pictures.every_seconds='soon'; give"),
    ("callbacks.pictures.often", 1, "unknown option callbacks.pictures.often; there are: every_seconds"),
]


@pytest.mark.parametrize("group", sorted({key.partition(".")[0] for key, *_ in WRONG}))
def test_what_is_wrong_is_named(plain: dict[str, Any], group: str) -> None:
    for key, value, said in (each for each in WRONG if each[0].partition(".")[0] == group):
        asked = copy.deepcopy(plain)
        *above, name = key.split(".")
        node = asked
        for part in above:
            node = node[part]
        node[name] = value
        with pytest.raises(PartinrError, match=said) as raised:
            config.read(asked)
        assert "\n" not in str(raised.value), key


@covering(regime=["meta", "threshold"], shared=["overlap=1", "global_network=true", "global_network=layers"])
def test_only_a_fit_has_blended_networks(regime: str, shared: str) -> None:
    with pytest.raises(PartinrError, match="overlap and global_network are for regime=fit"):
        config.read(compose(f"regime={regime}", shared))


def test_several_faults_are_said_at_once(plain: dict[str, Any]) -> None:
    asked = {**plain, "seed": -1, "max_steps": 0}
    with pytest.raises(PartinrError, match=r"max_steps=0: .*; seed=-1: "):
        config.read(asked)


def test_an_option_that_is_left_out_has_its_default(plain: dict[str, Any]) -> None:
    asked = {name: value for name, value in plain.items() if name not in ("seed", "coords", "engine", "ckpt_path")}
    settings = config.read({**asked, "partition": {"_target_": "partinr.partition.Whole"}})
    assert (settings.root.seed, settings.coords.frame, settings.root.engine) == (0, "global", "auto")
    assert isinstance(settings.partition, Whole)


def test_a_run_directory_keeps_absolute_paths(
    plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    mask = {"_target_": "partinr.partition.Mask", "path": "../masks"}
    asked = {**plain, "data": {**plain["data"], "path": "~/x.png"}, "partition": mask, "ckpt_path": "runs/last.ckpt"}
    before = copy.deepcopy(asked)
    kept = config.read(asked).plain
    assert kept["data"]["path"] == "/home/me/x.png"
    assert kept["partition"]["path"] == str(tmp_path.parent / "masks")
    assert kept["ckpt_path"] == str(tmp_path / "runs" / "last.ckpt")
    assert asked == before
    assert config.read(plain).plain == plain


@pytest.mark.parametrize("key", ["path", "val_path", "val_list"])
def test_folders_of_signals_are_kept_as_absolute_paths(plain: dict[str, Any], tmp_path: Path, key: str) -> None:
    kept = names.with_absolute_paths({**plain, "data": {"_target_": "partinr.signals.FolderData", key: "held/out"}})
    assert kept["data"][key] == str(tmp_path / "held" / "out")


@pytest.mark.parametrize(("model", "kept"), [("nets/unet", "nets/unet"), ("nets/here", "{}/nets/here")])
def test_a_name_stays_a_name_where_no_folder_has_it(
    plain: dict[str, Any], tmp_path: Path, model: str, kept: str
) -> None:
    Path("nets/here").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        Path("nets/here", name).touch()
    asked = {**plain, "partition": {"_target_": "partinr.partition.Smp", "model": model}}
    assert config.read(asked).plain["partition"]["model"] == kept.format(tmp_path)


def test_a_callback_can_be_left_out(plain: dict[str, Any]) -> None:
    asked = {**plain, "callbacks": {**plain["callbacks"], "pictures": None}}
    assert set(config.read(asked).callbacks) == {"checkpoint", "progress"}


# -- names of folders ---------------------------------------------------------------------------------------------


def test_a_label_is_the_name_of_a_folder() -> None:
    for overrides, label in [
        ("", "default"),
        ("partition=grid,seed=1", "partition-grid_seed-1"),
        ("data.path='~/my pictures/photo (1).png'", "data.path-my-pictures-photo-1-.png"),
        ("data.path=../../etc", "data.path-..-..-etc"),
        ("optimizer.lr=1e-4,+optimizer.options.x=[1,2]", "optimizer.lr-1e-4_+optimizer.options.x-1_2"),
        ("...", "default"),
    ]:
        assert names.folder_label(overrides) == label


def test_a_label_is_never_long_and_never_shared() -> None:
    labels = [names.folder_label(f"data.path={'x' * 300},seed={seed}") for seed in range(20)]
    assert len(set(labels)) == 20
    assert {len(label) for label in labels} == {80}


def test_every_start_has_a_name_of_its_own() -> None:
    tokens = []
    for _ in range(50):
        names.register_resolvers()
        composed = OmegaConf.create({"one": "${partinr.token:}", "two": "${partinr.token:}"})
        assert composed.one == composed.two
        tokens.append(composed.one)
    assert len(set(tokens)) == len(tokens)
    assert all(re.fullmatch("[0-9a-f]{6}", token[20:]) for token in tokens)
    started = datetime.strptime(tokens[0][:19], "%Y-%m-%d_%H-%M-%S")
    assert abs((datetime.now() - started).total_seconds()) < 60


def test_paths_of_runs_hold_nothing_that_must_be_quoted() -> None:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        composed = hydra.compose("train", ["data.path='a, b=(1).png'", "seed=1"], return_hydra_config=True)
    assert re.fullmatch(r"outputs/runs/a_-b-1-_grid_siren_seed-1_2[-_0-9]+_[0-9a-f]{6}", composed.hydra.run.dir)


def test_the_configuration_is_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from partinr.experiment import conf

    assert (CONF / "train.yaml").is_file()
    monkeypatch.setattr(conf, "__file__", str(tmp_path / "partinr" / "cli" / "conf.py"))
    with pytest.raises(PartinrError, match=r"no conf/train.yaml beside .*; install partinr again"):
        conf.conf_dir()
    for folder in (tmp_path / "conf", tmp_path / "partinr" / "conf"):  # a checkout, an installation
        folder.mkdir(parents=True)
        (folder / "train.yaml").touch()
        assert conf.conf_dir() == folder

"""Refusals whose advice is followed: what they tell to type is typed, and works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

LIGHTNING = "lightning.pytorch.callbacks"


def own(name: str, text: str) -> None:
    """A YAML of the user's in the folder ``own``."""
    path = Path(f"own/{name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("typed", "said", "instead"),
    [
        ("+experiment=fast", r"replace it, without the plus: (experiment=fast)$", r"\1"),
        ("++experiment=fast", r"replace it, without the plus: (experiment=fast)$", r"\1"),
        ("experiment=fsat", r"no experiment=fsat; choose from boundaries, .*; did you mean (experiment=fast)\?", r"\1"),
        ("partition=gird", r"did you mean (partition=grid)\?$", r"\1"),
        ("backbone=SIREN", r"did you mean (backbone=siren)\?$", r"\1"),
        ("wandb=true", r"unknown option wandb; did you mean (logger=wandb)\?$", r"\1"),
        ("--versio", r"arguments: --versio; did you mean (--version)\?$", r"\1"),
        ("--seed=3", r"arguments: --seed=3; did you mean (seed=3)\?$", r"\1"),
        ("experiment=", r"experiment= names no choice; choose from boundaries, (demo), ", r"experiment=\1"),
        ("+seed=1", r"seed is there already; set it without the plus: (seed)=VALUE$", r"\1=3"),
        ("optimizer.options.maximize=false", r"add it with a plus: (\+optimizer.options.maximize)=VALUE$", r"\1=false"),
        (f"callbacks.m._target_={LIGHTNING}.Timer", r"add it with a plus: (\+callbacks.m._target_)=VALUE$",
         rf"\1={LIGHTNING}.Timer"),
        ("~zoom", r"~zoom removes nothing, as there is no such key or choice; (leave it out)$", ""),
        ("~seed=3", r"the value of seed is 0; to remove it whatever it is: (~seed)$", r"\1"),
        ("--config-name nope", r"there is no configuration nope.yaml; leave out --config-name, or give (.*)$", r"\1"),
        ("--config-path nope", r"leave --config-path out: (--config-dir) PATH adds a folder of your own$", r"\1 own"),
        ("--config-dir nope", r"there is no folder /.*/nope; give (--config-dir) one that is there$", r"\1 own"),
        ("--config-dir own group=a", r"group has no choice so far; add one: (\+group=a)$", r"--config-dir own \1"),
        ("--config-dir own experiment=base", r"own/experiment/base.yaml names experiment=minee in its defaults, "
         r"which is not there; did you mean (mine)\?$", r"--config-dir own experiment=\1"),
        ("--config-dir own experiment=below", r"own/experiment/below.yaml names data=builtn in its defaults, "
         r"which is not there; did you mean (builtin) or builtins\?$", r"data=\1"),
        ("--config-dir own experiment=second", r"own/experiment/second.yaml adds a second choice of data; write in its "
         r"defaults: - override /(data): (image)$", r"\1=builtin"),
        ("--config-dir own experiment=mapping", r"own/experiment/mapping.yaml has defaults that are no list; begin "
         r"each with a dash: - GROUP: NAME$", ""),
        ("--config-dir own experiment=broken", r"own/experiment/broken.yaml is no YAML: .* in line 3; correct it, or "
         r"(leave the file out)$", ""),
    ],
)  # fmt: skip
def test_a_command_line_that_hydra_refuses(tiny: Any, typed: str, said: str, instead: str) -> None:
    own("group/a", "max_steps: 3\n")
    own("experiment/mine", "# @package _global_\nmax_steps: 3\n")
    own("experiment/base", "# @package _global_\ndefaults:\n  - minee\n")
    own("experiment/below", "# @package _global_\ndefaults:\n  - override /data: builtn\n")
    own("experiment/second", "# @package _global_\ndefaults:\n  - /data: image\n")
    own("experiment/mapping", "# @package _global_\ndefaults:\n  data: builtin\n")
    own("experiment/broken", "# @package _global_\nmax_steps: [3\n")
    answer = tiny(*typed.split())
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer.err
    found = re.search(said, answer.err.strip())
    assert found is not None, answer.err
    followed = found.expand(instead).split()
    assert tiny("--cfg", "job", *followed).code == 0, followed


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        ("GradientAccumulationScheduler +callbacks.m.scheduling={0:2}", "not supported for manual optimization"),
        ("ModelCheckpoint +callbacks.m.save_top_k=3", "MisconfigurationException: .*; debug=trace shows where"),
        (f"Timer +callbacks.n._target_={LIGHTNING}.Timer", "Found more than one stateful callback of type `Timer`"),
        (f"RichProgressBar +callbacks.n._target_={LIGHTNING}.TQDMProgressBar", "You added multiple progress bar"),
    ],
)  # fmt: skip
def test_a_callback_that_cannot_do_its_work(tiny: Any, callback: str, reason: str) -> None:
    Path("run").mkdir()
    Path("run/notes.txt").touch()
    answer = tiny(*f"+callbacks.m._target_={LIGHTNING}.{callback} hydra.run.dir=run".split())
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer.err
    assert re.search(rf"^partinr: error: callbacks\.[mn](:| \(\w+\) cannot be used here: ).*{reason}", answer.err)
    assert "trainer." not in answer.err
    # The place is as it was, so the command can be given again without the callback.
    assert [path.name for path in Path("run").iterdir()] == ["notes.txt"]


def test_a_sweep_over_a_group_checks_its_keys_job_by_job(partinr: Any) -> None:
    # Neither key is one of the choice that Hydra begins with, partition=grid.
    small = ("data.size=16", "backbone.match_params=500", "max_steps=1", "cache_dir=null", "hydra.sweep.dir=sweep")
    answer = partinr("-m", "partition=none,kmeans", "partition.regions=2", "partition.iterations=3", *small)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert re.search(r"error: partition.\w+ is an option of partition=.*only; .*\(run 0: .*partition=none ", answer.err)
    (run,) = Path("sweep").glob("*/run.json")
    manifest = json.loads(run.read_text())
    assert (manifest["status"], manifest["regions"]) == ("completed", 2)
    # The sweeper finds the values of a glob.
    answer = partinr("-m", "partition=glob(km*)", "partition.iterations=3", *small)
    assert answer.code == 0, answer.err
    # What no job has is refused once, and leaves nothing.
    answer = partinr("-m", "partition=none,kmeans", "optimizer.lrr=3", "hydra.sweep.dir=other")
    assert answer.err == "partinr: error: unknown option optimizer.lrr; did you mean optimizer.lr?\n"
    assert not list(Path().glob("other/*/run.json"))


def test_paths_are_where_they_were_typed_wherever_hydra_goes(tiny: Any, pictures: Path) -> None:
    Path("photo.png").write_bytes((pictures / "good.png").read_bytes())
    answer = tiny("data.path=photo.png", "hydra.job.chdir=true", "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(Path("run/run.json").read_text())["status"] == "completed"
    assert not Path("run/run").exists()
    assert not Path("run/outputs").exists()

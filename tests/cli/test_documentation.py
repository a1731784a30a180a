"""Every code block of README, docs/ and the studies is run, or composed where a run would take long."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import nibabel
import numpy as np
import pytest
import tifffile
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

from partinr.cli.commands import commands
from partinr.cli.picture import with_picture
from partinr.experiment import config, names
from partinr.experiment.conf import conf_dir
from partinr.sweep.folders import register_names
from partinr.sweep.launchers import SweepLauncher, register
from partinr.sweep.queue import Sweep

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (ROOT / name).is_file()),
        *(path for path in ROOT.glob("docs/**/*.md") if "generated" not in path.parts),
        *ROOT.glob("experiments/*/README.md"),
    ]
)

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)

STAND_INS = {
    # What a reader puts in for a word in capitals.
    r"\bRUN_OR_SWEEP_DIR\b": "outputs/runs",
    r"(?<!outputs/runs/)\bRUN\b": "outputs/runs/run",
    r"outputs/runs/RUN\b": "outputs/runs/run",
    r"\bSWEEP\b": "study",
    r"\bSTUDY_DIR\b": "outputs/sweeps/study",
    r"\bNAME\b": "a",
    r"40:60,100:130.5": "4:6,10:13.5",
    r"40:72,64:96": "4:8,6:12",
    r"20000,30000": "20,30",
    r"\bUS\b": "someone",
    r"\bFOLDER\b": "photos",
    r"\bCROPS\b": "photo.png",
    r"\bFILE\b": "photo.png",
}

SMALL: dict[str, Any] = {
    # Only those that a configuration has: the command stays as written, but the run takes a second.
    "data.size": 16,
    "data.max_side": None,
    "data.items": 4,
    "data.resolution": 24,
    "data.train_items": 4,
    "data.val_items": 2,
    "backbone.match_params": 3000,
    "backbone.hidden_features": None,
    "schedule.warmup_steps": 0,
    "start.steps": 1,
    "max_steps": 1,
    "max_seconds": None,
    "cache_dir": None,
    "backbone.cells": 4,
}

LONG = (
    "trainer=ddp",
    "experiment=hypothesis",
    "experiment=meta",
    "experiment=demo",
    "data=video",
    "data.path=bunny.ply",
    "data.path=speech.flac",
    "--config-dir",
    "init=",
    "ckpt_path=",
    "partition.path",
    "logger=wandb",
)
"""What is only composed and checked: many runs or processes, or what other tests carry out from end to end."""

STUB = r"""#!/bin/sh
{{ printf '%s\0' {name} "$@"; printf '\1'; }} >>'{file}'
"""


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: the file it is in.
        language: that it says it is.
        text: what it holds.
    """

    page: Path
    language: str
    text: str


def blocks(*languages: str) -> list[Any]:
    """Those of all pages, as pytest's parameters."""
    found_blocks = []
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if found[1] in languages:
                line = page.read_text(encoding="utf-8")[: found.start()].count("\n") + 1
                name = f"{page.relative_to(ROOT)}:{line}"
                found_blocks.append(pytest.param(Block(page, found[1], found[2]), id=name))
    return found_blocks


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path, block: Block) -> Path:
    """A folder such as a reader of the block is in: photos, and runs."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for path in ("photo.png", "photos/a.png", "photos/b.png", "photos/c.png"):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(tmp_path / path)
    Image.fromarray((np.arange(400).reshape(20, 20) // 100).astype(np.uint8)).save(tmp_path / "labels.png")
    (tmp_path / "splats.csv").write_text("iteration,time,psnr\n0,0,9.5\n1000,2.5,31\n")
    scan = rng.integers(-1000, 1000, (8, 9, 10), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    tifffile.imwrite(tmp_path / "stack.tif", scan.astype(np.uint8))
    for place in ("runs/run", "sweeps/study/one"):
        shutil.copytree(finished, tmp_path / "outputs" / place)
    for study in [path.stem for path in conf_dir().glob("experiment/*.yaml") if path.stem in block.text]:
        # What the commands before would have left.
        for place in (f"sweeps/{study}", f"sweeps/{study}_small", study):
            shutil.copytree(finished, tmp_path / "outputs" / place / "one")
    for place in ("BSDS500/train", "BSDS500/val", "BSDS500/groundtruth/val", "kodak", "KODAK", "LSUN", "CELEBA"):
        shutil.copytree(tmp_path / "photos", tmp_path / place)
    for page in ROOT.glob("experiments/*"):
        if page.is_dir():
            (tmp_path / "experiments" / page.name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGES", "photo.png")
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


def typed(block: Block, desk: Path) -> list[list[str]]:
    """What a shell makes of a block: the words of each command of ours, in order. Nothing of it is carried out."""
    places = desk / "places"
    places.mkdir()
    file = desk / "typed"
    for name in ("partinr", "python", "pip", "make", "git", "twine"):
        (places / name).write_text(STUB.format(file=file, name=name))
        (places / name).chmod(0o755)
    text = block.text
    for pattern, word in STAND_INS.items():
        text = re.sub(pattern, word, text)
    environment = {**os.environ, "PATH": f"{places}{os.pathsep}{os.environ['PATH']}"}
    # The words alone count: what a stub does not print, a redirection makes empty.
    done = subprocess.run(
        ["bash", "-euc", text], capture_output=True, text=True, cwd=desk, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [command.split("\0")[:-1] for command in file.read_text().split("\1")[:-1]] if file.exists() else []


def jobs(words: list[str]) -> list[list[str]]:
    """The single run, or runs of a sweep that include the first, the last, and every value at least once."""
    given = with_picture([word for word in words if not word.startswith("-")])
    if not {"-m", "--multirun"} & set(words):
        return [given]
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in OverridesParser.create().parse_overrides(given)
    ]
    count = max(map(len, choices), default=1)
    return [[values[min(number, len(values) - 1)] for values in choices] for number in range(count)]


def check_composes(words: list[str]) -> Any:
    """Compose what runs would have, and check them as runs are before they begin."""
    composed = None
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        for overrides in jobs(words):
            composed = hydra.compose("train", overrides)
            config.read(composed)
    return composed


def check_sweep(words: list[str], partinr: Any) -> None:
    """Give a sweep's command as it is typed. Of its runs, those of `jobs` are composed and checked, not queued."""
    launch = SweepLauncher.launch

    def few(self: SweepLauncher, job_overrides: Any, initial_job_idx: int) -> Any:
        typed = {word for each in job_overrides for word in each}
        wanted = [set(job) & typed for job in jobs(words)]
        kept = [each for each in job_overrides if any(job <= set(each) for job in wanted)]
        assert kept
        return launch(self, kept, initial_job_idx)

    def read(self: Sweep, cfg: Any) -> None:
        config.read(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SweepLauncher, "launch", few)
        patch.setattr(Sweep, "queue", read)
        answer = partinr(*words)
    assert (answer.code, answer.err) == (0, ""), f"{' '.join(words)}\n{answer.err}"


def small(composed: Any) -> list[str]:
    """Overrides with which a run takes a second."""
    found = []
    for key, value in SMALL.items():
        if OmegaConf.select(composed, key, default=None) is not None:
            found.append(f"{key}={'null' if value is None else value}")
    if OmegaConf.select(composed, "max_steps") is None:
        found.append(f"max_steps={SMALL['max_steps']}")
    return found


def check_arguments(script: Path, words: list[str]) -> None:
    """Check that a script of a study takes such arguments, and defines all that it uses. It goes no further."""
    taken: list[argparse.Namespace] = []
    parse = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser, *given: Any) -> argparse.Namespace:
        taken.append(parse(self, *given))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parsed)
        patch.setattr("sys.argv", [str(script), *words])
        patch.syspath_prepend(script.parent)
        with contextlib.suppress(KeyboardInterrupt):
            runpy.run_path(str(script), run_name="__main__")
    (found,) = taken
    text = script.read_text(encoding="utf-8")
    for name in re.findall(r"(\w+) = parser\.parse_args\(", text):
        assert set(re.findall(rf"\b{name}\.(\w+)", text)) <= set(vars(found)), script


RUN_BEFORE: set[str] = set()
"""Commands that stand on several pages are run once."""


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("sh", "bash"))
def test_commands(block: Block, desk: Path, partinr: Any) -> None:
    names.register_resolvers()
    register_names([])
    register(Sweep(str))
    for name, *words in typed(block, desk):
        said = " ".join([name, *words])
        if said in RUN_BEFORE:
            continue
        RUN_BEFORE.add(said)
        if name == "python":
            assert words[0] == "-m" or (ROOT / words[0]).is_file(), said
            if words[0].startswith("experiments") and "parse_args" in (ROOT / words[0]).read_text(encoding="utf-8"):
                check_arguments(ROOT / words[0], words[1:])
        elif name == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in words if "=" not in word} <= set(targets), said
        elif name == "partinr" and words and words[0] in commands.commands:
            command = commands.commands[words[0]]
            if words[0] in ("hypothesis", "sync", "rerun", "resume") or {"--watch", "--image"} & set(words):
                command.make_context(words[0], words[1:])
            else:
                answer = partinr(*words)
                assert answer.code == 0, f"{said}\n{answer.err}"
        elif (
            name == "partinr"
            and words
            and "--config-dir" not in words
            and not any(word.startswith("--") for word in words)
        ):
            if any(word.startswith("sweep=") for word in words):
                continue  # the sweeper's own group: tests/sweep/test_queue.py
            if {"-m", "--multirun"} & set(words):
                check_sweep(words, partinr)
                continue
            composed = check_composes(words)
            if not any(word.startswith(LONG) for word in words):
                answer = partinr(*words, *small(composed))
                assert answer.code == 0, f"{said}\n{answer.err}"


@pytest.mark.parametrize("folder", [".", "experiment", "sweep"])
def test_commands_in_the_comments_of_conf(folder: str) -> None:
    # They are on the generated pages.
    names.register_resolvers()
    register_names([])
    register(Sweep(str))
    for path in sorted(conf_dir().joinpath(folder).glob("*.yaml")):
        for command in re.findall(r"^#   partinr (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            for pattern, word in STAND_INS.items():
                command = re.sub(pattern, word, command)
            words = shlex.split(command, comments=True)
            if words[0] in commands.commands:
                commands.commands[words[0]].make_context(words[0], words[1:])
            elif not {"sweep=optuna_fast", "size=small"} & set(words):  # tests/sweep, tests/cli/test_studies.py
                check_composes(words)


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: Block, desk: Path) -> None:
    text = re.sub(r"\bRUN\b", "run", block.text)
    for pattern, few in (
        (r"\bSWEEP\b", "study"),
        (r"steps=\d+", "steps=1"),
        (r"size=\d+", "size=16"),
        (r"hidden_features=\d+", "hidden_features=4"),
    ):
        text = re.sub(pattern, few, text)
    if text.startswith(("# my_", "@spec")):
        # Classes of one's own: tests/cli/test_extension.py runs them; here that they are Python.
        compile(text, str(block.page), "exec")
        return
    exec(compile(text, str(block.page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("block", blocks("yaml", "toml"))
def test_configuration(block: Block) -> None:
    import tomllib

    assert yaml.safe_load(block.text) if block.language == "yaml" else tomllib.loads(block.text)


def test_readme_names_every_group() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 12_000
    for folder in conf_dir().iterdir():
        if folder.is_dir() and folder.name != "debug":
            assert f"`{folder.name}`" in text or f"{folder.name}/" in text, folder.name


def test_guides_name_every_choice_and_subcommand() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("guides/*.md"))
    text += (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    for group in (
        "partition",
        "backbone",
        "regime",
        "data",
        "observe",
        "optimizer",
        "schedule",
        "logger",
        "hydra/launcher",
    ):
        for choice in (conf_dir() / group).glob("*.yaml"):
            assert f"`{choice.stem}`" in text or f"{group}={choice.stem}" in text, f"{group}={choice.stem}"
    for name in commands.commands:
        assert f"partinr {name}" in text, name


def test_every_key_of_run_json_is_explained(finished: Path) -> None:
    page = (ROOT / "docs" / "reference" / "run_json.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([\w.]+)`", page))

    def check(node: Any, path: str) -> None:
        if path not in explained:
            assert isinstance(node, dict), path
            for key, value in node.items():
                check(value, f"{path}.{key}".lstrip("."))

    for run in (finished, *(ROOT / "tests" / "fixtures").glob("old_runs/runs/*")):
        if (run / "run.json").is_file():
            check(json.loads((run / "run.json").read_text(encoding="utf-8")), "")


def test_links_lead_somewhere() -> None:
    # Those of the other pages are checked when the documentation is built.
    for page in (ROOT / "README.md", ROOT / "outputs" / "README.md"):
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.relative_to(ROOT)}: {link}"


def test_notebooks_have_no_outputs() -> None:
    for path in (ROOT / "docs").glob("notebooks/*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert (cell.get("outputs", []), cell.get("execution_count")) == ([], None), path.name

"""A plug-in: an installed package whose rule, backbone, data and experiment are selected by name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TINY = ("data.size=16", "backbone.match_params=900", "max_steps=2")

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "acme-inr"
version = "1.2"

[project.entry-points."partinr.plugins"]
acme = "acme_inr"
"""

CODE = """
import torch
from partinr.backbones.base import Mlp
from partinr.signals import ImageData
from partinr.partition import PartitionRule
from partinr.signals import Source
from partinr.spec import spec


@spec
class Stripes(PartitionRule):
    count: int = 4

    def labels(self, signal):
        rows = torch.arange(signal.shape[0]) * self.count // signal.shape[0]
        return rows[:, None].expand(signal.shape[:-1])


@spec
class Bump(Mlp):
    width: float = 0.1

    def init_layer(self, layer, weight, bias, generator):
        weight.normal_(0, weight.shape[-1] ** -0.5, generator=generator)
        bias.uniform_(-1, 1, generator=generator)

    def activation(self, layer, x, weight, bias, linear):
        return torch.exp(-linear(x, weight, bias).square() / (2 * self.width**2))


@spec
class Ramp(ImageData):
    @property
    def title(self):
        return "ramp"

    @property
    def source(self):
        return Source(self.title)

    def load(self):
        return torch.linspace(0, 1, self.size)[:, None, None].expand(self.size, self.size, 3).clone()
"""

CONF = {
    "partition/stripes": "_target_: acme_inr.models.Stripes\ncount: 4 # stripes down the image\n",
    "backbone/bump": "_target_: acme_inr.models.Bump\n"
    "match_params: 900\nhidden_features: null\nhidden_layers: 1\nwidth: 0.2\n",
    "data/ramp": "_target_: acme_inr.models.Ramp\nsize: 16\n",
    "experiment/acme": "# @package _global_\n"
    "defaults:\n  - override /data: ramp\n  - override /partition: stripes\n  - override /backbone: bump\n"
    "max_steps: 3\nseed: 7\n",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, which this process finds too."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0].endswith(("_inr", "_package"))]:
        del sys.modules[name]


def process(site: Path, *arguments: str) -> str:
    """What ``partinr`` says as a process of its own, which must end well."""
    paths = [str(site), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "partinr", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(package: Path, conf: dict[str, str], code: str = CODE) -> None:
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models.py").write_text(code)
    for name, content in conf.items():
        file = package / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def install(site: Path, name: str, value: str) -> None:
    """What pip leaves of a distribution with one entry point."""
    info = site / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[partinr.plugins]\nit = {value}\n")


@pytest.mark.slow
def test_a_package_that_is_installed(site: Path, partinr: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write(source / "acme_inr", CONF)
    (source / "pyproject.toml").write_text(PYPROJECT)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", str(site), str(source)], check=True)

    process(site, "experiment=acme", "hydra.run.dir=run")
    said = json.loads(Path("run/run.json").read_bytes())
    assert (said["status"], said["name"], said["seed"], said["regions"]) == ("completed", "ramp stripes bump", 7, 4)
    curve = Path("run/curve.csv").read_bytes()
    Path("run/run.json").write_text(json.dumps({**said, "status": "interrupted"}))
    process(site, "resume", "run")
    assert Path("run/curve.csv").read_bytes() == curve
    assert json.loads(Path("run/run.json").read_bytes())["status"] == "completed"
    process(site, "render", "run", "-o", "x.png")
    help_text = process(site, "--help")
    assert "acme-inr 1.2" in help_text
    for choice in ("partition=stripes", "backbone=bump", "data=ramp", "experiment=acme"):
        assert choice in help_text

    assert partinr("-m", "data=ramp", "partition=none,stripes", *TINY, "hydra.sweep.dir=sweep").code == 0
    assert len(list(Path("sweep").rglob("run.json"))) == 2
    answer = partinr("partition=strips")
    assert answer.code == 2
    assert "stripes" in answer.err.partition("choose from")[2]
    answer = partinr("partition=grid", "partition.count=3")
    assert answer.err == (
        "partinr: error: partition.count is an option of partition=stripes only; choose that, or leave the option out\n"
    )
    answer = partinr("partitions", "astronaut", "--size", "16", "--regions", "4")
    assert (answer.code, answer.err) == (0, "")
    assert "stripes" in answer.out
    doctor = partinr("doctor").out
    assert "plug-in acme-inr" in doctor
    code = said["code"]["acme_inr.models"]
    assert (code["distribution"], code["version"], len(code["source"])) == ("acme-inr", "1.2", 64)
    assert "1.2, adds backbone=bump, data=ramp, experiment=acme, partition=stripes" in doctor

    shutil.rmtree(site)
    for name in [name for name in sys.modules if name.startswith("acme_inr")]:
        del sys.modules[name]
    answer = partinr("rerun", "run")
    assert answer.code == 2
    assert (
        "was made with the plug-in acme-inr 1.2, which is not installed here; pip install acme-inr==1.2" in answer.err
    )


BROKEN = {
    "nothing-there 0.1": ("no_such_package", "there is no package no_such_package; "),
    "it": ("bare_package", r"has no folder conf/"),
    "an-object 0.1": ("acme_inr.models:Stripes", "should name a package"),
    "empty-folder 0.1": ("empty_package", "has no GROUP/NAME.yaml"),
    "takes-over 0.1": ("greedy_package", "would change every run without being asked for"),
}


def test_one_that_is_broken_takes_nothing_down(site: Path, partinr: Any) -> None:
    write(site / "acme_inr", CONF)
    write(site / "bare_package", {})
    write(site / "empty_package", {})
    (site / "empty_package" / "conf").mkdir()
    write(site / "greedy_package", {"local/default": "seed: 5\n"})
    install(site, "good", "acme_inr")
    for name, (value, _) in BROKEN.items():
        install(site, name.removesuffix(" 0.1"), value)
    # Of one without metadata there is but the name of its entry point.
    (site / "it-0.1.dist-info" / "METADATA").unlink()

    answer = partinr("experiment=acme", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert json.loads(Path("run/run.json").read_bytes())["seed"] == 7
    notes = [line for line in answer.err.splitlines() if line.startswith("partinr: note: plug-in ")]
    assert len(notes) == len(BROKEN)
    for name, (_, fault) in BROKEN.items():
        (note,) = [line for line in notes if f"plug-in {name} is left out: " in line]
        assert fault in note
    doctor = partinr("doctor")
    assert doctor.code == 1
    for name in BROKEN:
        assert f"plug-in {name.removesuffix(' 0.1')} " in doctor.out


def test_two_that_have_the_same_name(site: Path, partinr: Any) -> None:
    write(site / "acme_inr", CONF)
    other = {"partition/stripes": "_target_: nobody.Cares\n", "partition/grid": "_target_: nobody.Cares\n"}
    write(site / "other_inr", {**other, "partition/columns": "_target_: other_inr.models.Stripes\n"})
    install(site, "acme", "acme_inr")
    install(site, "other", "other_inr")
    answer = partinr("experiment=acme", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert "other 0.1: its partition=stripes is left out, plug-in acme 0.1 has one; give it another name" in answer.err
    assert "other 0.1: its partition=grid is left out, partinr itself has one; " in answer.err
    assert answer.err.count("left out") == 2
    assert re.search("other 0.1 +partition=columns\n", partinr("--help").out)


def test_code_that_does_not_import(site: Path, partinr: Any) -> None:
    write(site / "acme_inr", CONF, code="raise RuntimeError('no licence')\n")
    (site / "acme_inr" / "conf/partition/torn.yaml").write_text("a: [1\n")
    install(site, "acme", "acme_inr")
    # Whoever does not use it does not notice.
    answer = partinr(*TINY, "partition.regions=4", "hydra.run.dir=run")
    assert (answer.code, "note" in answer.err) == (0, False), answer.err
    answer = partinr("partition=grid", "partition.cuont=3")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    answer = partinr("partition=stripes")
    assert answer.code == 2
    assert answer.err.startswith("partinr: error: partition._target_='acme_inr.models.Stripes' cannot be imported: ")
    assert "RuntimeError: no licence" in answer.err
    assert partinr("partition=torn").err.count("\n") == 1
    answer = partinr("partitions", "astronaut", "--size", "16", "--regions", "4")
    assert answer.code == 0
    assert answer.err.count("partinr: note: stripes is left out: ") == 1
    doctor = partinr("doctor")
    assert doctor.code == 1
    assert "broken: backbone=bump: acme_inr.models.Bump cannot be imported: RuntimeError: no licence" in doctor.out

"""The lowest versions that pyproject.toml allows work with the torch of this environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]

# Their builds take gigabytes on some machines, and their versions go together.
AS_THEY_ARE = {"torch", "torchvision"}

# Some of each room, and what meets every dependency.
SMOKE = (
    "tests/test_api.py",
    "tests/test_coords.py",
    "tests/base/test_spec.py",
    "tests/backbones/test_siren.py",
    "tests/engines/test_fused.py",
    "tests/metrics/test_quality.py",
    "tests/model/test_quantise.py",
    "tests/partition/test_superpixel.py",
    "tests/pictures/test_write.py",
    "tests/runs/test_directory.py",
    "tests/signals/test_image.py",
    "tests/studies/test_growth.py",
    "tests/cli/test_fit.py",
    "tests/cli/test_export.py",
    "tests/report/test_page.py",
    "tests/tracking/test_words.py",
)


def lower_bounds() -> dict[str, str]:
    """Each dependency with the lowest version that is allowed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = dict(each.split(">=") for each in project["dependencies"])
    return {name: version for name, version in found.items() if name not in AS_THEY_ARE}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An interpreter that finds the lowest versions first, and then what this environment has."""
    folder = tmp_path_factory.mktemp("lowest")
    venv.create(folder, with_pip=False)
    interpreter = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    site.joinpath("packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pins = [f"{name}=={version}" for name, version in lower_bounds().items()]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "-q", "--retries", "1", *pins],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    if done.returncode and "(from versions: none)" in done.stderr:
        pytest.skip("there is no package index to install the lowest versions from")
    assert done.returncode == 0, done.stderr
    yield interpreter
    shutil.rmtree(folder)


def test_the_lowest_versions_do_the_job(python: Path) -> None:
    bounds = lower_bounds()
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {list(bounds)}}}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    for name, version in json.loads(done.stdout).items():
        assert version.removesuffix(".0").startswith(bounds[name].removesuffix(".0")), name
    # What these versions warn of is no concern of ours.
    tests = [
        str(python),
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
        "-W",
        "default",
        *SMOKE,
    ]
    done = subprocess.run(
        tests, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stdout[-10_000:]

"""The built distributions: what is in them, what they say of themselves, and what a new user does with them."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from packaging.metadata import Metadata
from PIL import Image

from partinr.base.version import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# A first fit compiles kernels, which takes minutes on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


Step = Callable[..., str]


def files(folder: str) -> set[str]:
    """The files of a folder of the checkout that are not ignored by git, by their path."""
    paths = (path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path for path in paths if "__pycache__" not in path and not path.startswith("conf/local/")}


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, run with nothing of the checkout in the environment."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"  # not the kernels of whoever runs the tests
    process = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, f"{process.stdout}\n{process.stderr}"
    return process.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel built from *it* (not from the checkout)."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installation(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a new virtual environment with the wheel in it, and this environment's packages but for the checkout."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", distributions[1], cwd=folder)
    # Python does not follow the .pth files of a folder that is itself named in one: an editable install stays out.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    packages = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    Path(site, "packages.pth").write_text("\n".join(packages) + "\n")
    return folder / "bin"


def test_everything_is_in_both_distributions(distributions: tuple[Path, Path]) -> None:
    sdist, wheel = distributions
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files("partinr") | files("conf") | {"README.md", "LICENSE", "CHANGELOG.md"} <= names
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "partinr/py.typed" in names
    assert names == files("partinr") | {f"partinr/{path}" for path in files("conf")}


def test_an_index_accepts_the_metadata(distributions: tuple[Path, Path]) -> None:
    sdist, wheel = distributions
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"partinr-{__version__}.dist-info/METADATA")
    with tarfile.open(sdist) as archive:
        information = archive.extractfile(f"partinr-{__version__}/PKG-INFO")
        assert information is not None
        assert information.read() == text
    metadata = Metadata.from_email(text, validate=True)
    assert (str(metadata.version), metadata.license_expression) == (__version__, "MIT")
    assert set(metadata.provides_extra or ()) == set(PROJECT["optional-dependencies"])
    assert metadata.description_content_type == "text/markdown"
    assert (metadata.description or "").startswith("# partinr\n")
    assert not re.search(r"\]\((?!https?:)", metadata.description or ""), "a relative link"


@pytest.fixture
def step(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Step]:
    """``step("a fit", "partinr", …)``: the output of a command; at the end, the seconds of each."""
    taken: list[str] = []

    def carry_out(what: str, *command: str | Path) -> str:
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        out = run(*command, cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        taken.append(f"{what:<10} {time.monotonic() - began:6.1f} s, {cpu:5.1f} s of CPU")
        return out

    yield carry_out
    with capsys.disabled():
        print("", *taken, sep="\n")


def test_a_new_user(installation: Path, tmp_path: Path, step: Step) -> None:
    rows, columns = np.mgrid[0:36, 0:48] / 12
    picture = np.stack([np.sin(2 * columns), np.cos(rows + columns), np.sin(rows * columns)], axis=-1)
    Image.fromarray(np.uint8(127 + 127 * picture)).save(tmp_path / "photo.png")
    python, partinr = installation / "python", installation / "partinr"

    where = step("import", python, "-c", "import partinr; print(partinr.__file__)").strip()
    assert Path(where).is_relative_to(installation.parent)

    out = step("a fit", partinr, "photo.png", "max_seconds=1")
    (fitted,) = (tmp_path / "outputs" / "runs").iterdir()
    manifest = json.loads((fitted / "run.json").read_text())
    assert (manifest["status"], manifest["stop"]) == ("completed", "max_seconds")
    assert manifest["metrics"]["psnr"] > 15, out

    step("a report", python, "-m", "partinr", "report", "outputs/runs")
    assert "photo" in (tmp_path / "outputs" / "runs" / "report.html").read_text(encoding="utf-8")

    swept = ("partition=none,grid", "seed=0,1", "data.path=photo.png", "data.size=24", "max_steps=10")
    out = step("a sweep", partinr, "-m", *swept)
    assert "sweep    4 runs: 4 completed" in out, out

    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    out = step("a table", partinr, "table", sweep)
    assert re.search(r"^3×3 grid .* ± ", out, re.MULTILINE), out

    # `make docs` runs both notebooks. This one has a cell at the end that says which partinr it was.
    notebook = json.loads((ROOT / "docs" / "notebooks" / "first_fit.ipynb").read_text(encoding="utf-8"))
    last = {"cell_type": "code", "id": "last", "source": "print(partinr.__file__)", "outputs": [], "metadata": {}}
    notebook["cells"].append({**last, "execution_count": None})
    copy = tmp_path / "first_fit.ipynb"
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    step("a notebook", python, "-c", "from nbclient.cli import main; main()", "--inplace", copy)
    assert json.loads(copy.read_text(encoding="utf-8"))["cells"][-1]["outputs"][0]["text"] == [f"{where}\n"]


USES: dict[str, tuple[str, ...]] = {
    "cluster": ("-c", "import submitit"),
    "dashboard": ("-c", "import wandb_workspaces.reports.v2"),
    "docs": ("-m", "sphinx", "--version"),
    "dev": ("-m", "pytest", "--version"),
    "mlflow": ("-m", "partinr", "logger=mlflow"),
    "optimizers": ("-m", "partinr", "optimizer=soap"),
    "optuna": ("-m", "partinr", "-m", "sweep=optuna_fast", "hydra.sweeper.n_trials=1"),
    "pandas": ("-c", "import pandas"),
    "tensorboard": ("-m", "partinr", "logger=tensorboard"),
    "all": ("-m", "partinr", "logger=[tensorboard,mlflow]", "optimizer=soap"),
}
"""What each extra is for."""

TINY = ("data.size=16", "backbone.match_params=500", "max_steps=2")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """Python of a new virtual environment that sees no package of this one."""
    venv.create(tmp_path / "venv", with_pip=True)
    yield tmp_path / "venv" / "bin" / "python"
    shutil.rmtree(tmp_path / "venv")  # two gigabytes


@pytest.mark.release
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_a_fresh_environment(distributions: tuple[Path, Path], extra: str, fresh: Path, step: Step) -> None:
    step(f"install {extra}", fresh, "-m", "pip", "install", "-q", f"partinr[{extra}] @ {distributions[1].as_uri()}")
    step("pip check", fresh, "-m", "pip", "check")
    step("doctor", fresh, "-m", "partinr", "doctor")
    arguments = USES[extra]
    step(f"use {extra}", fresh, *arguments, *(TINY if arguments[1] == "partinr" else ()))

"""The built distributions: conf/ is in them, and an installed wheel does the job with no checkout in sight."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml"))
CONFIGS = [path for path in CONFIGS if not path.startswith("local/")]  # git-ignored

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, run with nothing of the checkout in the environment."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
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


def test_conf_is_in_both_distributions(distributions: tuple[Path, Path]) -> None:
    sdist, wheel = distributions
    with tarfile.open(sdist) as archive:
        prefix = sdist.name.removesuffix(".tar.gz")
        assert {f"{prefix}/conf/{path}" for path in CONFIGS} <= set(archive.getnames())
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {f"partinr/conf/{path}" for path in CONFIGS} == {name for name in names if "/conf/" in name}
        assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"partinr"}


def test_the_checkout_is_out_of_sight(installation: Path, tmp_path: Path) -> None:
    where = run(installation / "python", "-c", "import partinr; print(partinr.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(installation.parent)


SIGNALS = {
    "demo": ("data.size=16",),
    "meta_text_both_grid": ("data.size=48", "data.train_items=8", "data.val_items=2"),
}
"""Something small for an experiment to work on."""


# That their settings can be read is tested with the other configurations.
@pytest.mark.parametrize("experiment", SIGNALS)
def test_an_experiment_takes_one_step(installation: Path, experiment: str, tmp_path: Path) -> None:
    overrides = [
        f"experiment={experiment}",
        "max_steps=1",
        "schedule.warmup_steps=0",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    run(installation / "partinr", *overrides, *SIGNALS[experiment], cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "completed"


def test_it_is_a_module_too(installation: Path, tmp_path: Path) -> None:
    assert "partition" in run(installation / "python", "-m", "partinr", "--help", cwd=tmp_path)

"""`make gpu-check` works on a CPU in its tiny size, with the packages that it lists, and survives parts that fail."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).parents[1]
WITH_TORCH = {"numpy", "torch", "triton", "fsspec", "jinja2", "markupsafe", "networkx", "sympy", "mpmath", "setuptools"}
WITH_TORCH |= {"typing-extensions", "filelock"}

# A Python that lacks some packages: neither their modules nor what is said of them is found.
LACKS = """
import importlib.metadata as metadata, os
from importlib.machinery import PathFinder
modules, names = (set(os.environ[key].split()) for key in ("LACKS_MODULES", "LACKS_NAMES"))
find, describe = PathFinder.find_spec, metadata.Distribution.from_name
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in modules else find(name, path, target)
def from_name(cls, name):
    if name.lower().replace("_", "-") in names:
        raise metadata.PackageNotFoundError(name)
    return describe(name)
PathFinder.find_spec = classmethod(find_spec)
metadata.Distribution.from_name = classmethod(from_name)
"""


@pytest.fixture
def check() -> Iterator[ModuleType]:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("gpu_check_run", ROOT / "experiments" / "gpu_check" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def bare(check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes have torch, NumPy and what the check lists, and nothing else."""
    there = WITH_TORCH | {canonicalize_name(name) for name in check.requirements()} | {"partinr"}
    found = packages_distributions()
    # Without torch's own helper, which setuptools brings along.
    modules = {module for module, names in found.items() if not {canonicalize_name(name) for name in names} & there}
    names = {canonicalize_name(each.metadata["Name"]) for each in distributions()} - there
    folder = tmp_path / "lacks"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(LACKS)
    monkeypatch.setenv("LACKS_MODULES", " ".join(modules - {"pkg_resources", "_distutils_hack"}))
    monkeypatch.setenv("LACKS_NAMES", " ".join(names))
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("bare")
def test_the_tiny_check_ends_well(check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Processor seconds are held to two minutes; wall seconds are those of whatever else runs here.
    monkeypatch.setattr(check, "TOTAL", {"tiny": 580.0})
    monkeypatch.setattr(check, "MACHINE", 200.0)
    monkeypatch.setattr(check, "PARTS", [dataclasses.replace(part, seconds={"tiny": 200.0}) for part in check.PARTS])
    images, out = tmp_path / "images", tmp_path / "check.md"
    images.mkdir()
    Image.effect_mandelbrot((40, 30), (-2, -1.5, 1, 1.5), 100).convert("RGB").save(images / "set of one.png")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert check.main(["--size", "tiny", "--images", str(images), "--out", str(out)]) == 0, (
        out.read_text() if out.exists() else ""
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 120
    text = out.read_text()
    assert "5 of 5 parts ended well" in text
    assert "failed" not in text
    for expected in (
        "two ranks, as one | 0.0e+00",
        "tiled, wide, bf16",
        "| 16 | 9 × 1 |",
        "set of one at 60×42",
        "| none |",
    ):
        assert expected in text
    assert "| 0.22 | 1 of 1 |" in text


def test_a_part_that_fails_or_hangs_stops_no_other(check: ModuleType, tmp_path: Path) -> None:
    codes = {
        "Dies": "print('| one row |', flush=True); raise RuntimeError('no kernel image')",
        "Hangs": "print('| kept |', flush=True); import time; time.sleep(60)",
        "Works": "print('| fine |')",
    }
    sections = [
        check.carry_out(title, [sys.executable, "-c", code], 5.0 if title == "Hangs" else 60.0, os.environ, tmp_path)
        for title, code in codes.items()
    ]
    text = check.document({"device": "a card"}, sections, 9.0)
    assert "1 of 3 parts ended well" in text
    assert "- **Dies** failed: exit code 1: RuntimeError: no kernel image" in text
    assert "- **Hangs** failed: stopped at its limit of 5 s" in text
    for row in ("| one row |", "| kept |", "| fine |"):
        assert row in text


def test_what_is_missing_can_be_carried(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = check.find_spec
    monkeypatch.setattr(check, "find_spec", lambda name: None if name == "hydra" else there(name))
    assert check.main(["--size", "tiny", "--out", str(tmp_path / "check.md")]) == 2
    said = capsys.readouterr().err
    assert "lacks hydra-core.\n" in said
    assert "pip wheel --no-deps -w wheels" in said
    for name in ("torchmetrics-1-py3-none-any", "torch-9-py3-none-any", "other-1-cp27-cp27m-any"):
        with zipfile.ZipFile(tmp_path / f"{name}.whl", "w") as wheel:
            wheel.writestr(f"{name.partition('-')[0]}_carried.py", "")
    site = tmp_path / "site"
    check.unpack(tmp_path, site)
    assert [each.name for each in site.iterdir()] == ["torchmetrics_carried.py"]


def test_one_sentence_says_what_has_run_where() -> None:
    page = ROOT / "docs" / "guides" / "speed.md"
    sentence = page.read_text().split("## GPUs\n\n")[1].split("\n\n")[0]
    compiled = (ROOT / "tests" / "engines" / "compiled_triton.py").read_text()
    (listed,) = re.findall(r"^CAPABILITIES = \((.*)\)$", compiled, re.MULTILINE)
    assert re.findall(r"\d+\.\d", sentence) == [f"{int(each) / 10:.1f}" for each in listed.split(",")]
    # Once the file of a card is committed there, the sentence has to change.
    results = list((ROOT / "experiments" / "gpu_check" / "results").glob("*.md"))
    assert ("nothing has run on a GPU" in sentence) == (not results)
    # No other place says it, though a released version's list of changes stays as it was.
    claim = re.compile(r"\b(not|never|nothing|neither)\b[^.|]{0,40}\b(run|timed|measured|tested)\b[^.|]{0,20}\bGPU")
    files = subprocess.run(["git", "ls-files", "*.md", "*.py", "*.yaml"], cwd=ROOT, capture_output=True, text=True)
    paths = [ROOT / name for name in files.stdout.split("\n") if name and "CHANGELOG" not in name]
    assert [path for path in paths if path.is_file() and claim.search(" ".join(path.read_text().split()))] == [
        page,
        Path(__file__),
    ]

"""partinr/_torchvision.py, each time in an interpreter of its own: an operator once defined stays defined."""

import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = "import torch, torchvision; print(hasattr(torch.ops.torchvision, 'nms'))"


def run(code: str, *, before: Path | None = None) -> str:
    """The code's standard output, with warnings as errors; ``before`` goes to the front of the import path."""
    if before is not None:
        code = f"import sys; sys.path.insert(0, {str(before)!r})\n{code}"
    process = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with a torchvision that has no extension yet; where the extension would be is ``torchvision/_C.so``."""
    package = tmp_path / "fake" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return package.parent


@pytest.mark.slow
def test_everything_that_uses_torchvision_imports() -> None:
    run("""
import partinr
import lightning, torchmetrics, torchmetrics.image, segmentation_models_pytorch
import torch, torchvision
assert hasattr(torch.ops.torchvision, "nms") and hasattr(torch.ops.torchvision, "qnms")
""")


@pytest.mark.parametrize("name", ["_C", pytest.param("_C_stable", marks=pytest.mark.slow)])
def test_a_sound_torchvision_is_left_alone(fake: Path, name: str) -> None:
    import torch

    # Any library that loads will do for one that is sound; this one defines no operators.
    library = next((Path(torch.__file__).parent / "lib").glob("*c10.*"))
    (fake / "torchvision" / f"{name}.so").symlink_to(library)
    assert run(f"from partinr.base._torchvision import mend; mend(); {IMPORT}", before=fake) == "False"


@pytest.mark.parametrize(
    "extension", [b"not a library", pytest.param(None, marks=pytest.mark.slow)], ids=["broken", "absent"]
)
def test_operators_are_defined_where_the_extension_does_not_load(fake: Path, extension: bytes | None) -> None:
    if extension is not None:
        (fake / "torchvision" / "_C.so").write_bytes(extension)
    assert run(f"from partinr.base._torchvision import mend; mend(); {IMPORT}", before=fake) == "True"


@pytest.mark.slow
def test_operators_that_exist_are_not_defined_again(fake: Path) -> None:
    code = """
import torch
signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
library = torch.library.Library("torchvision", "DEF")
library.define("nms" + signature)
from partinr.base._torchvision import mend
"""
    assert run(f"{code}mend(); mend(); {IMPORT}; print(hasattr(torch.ops.torchvision, 'qnms'))", before=fake) == (
        "True\nTrue"
    )


def test_mending_imports_nothing_and_is_done_once() -> None:
    code = """
import sys
from partinr.base._torchvision import mend
before = len(sys.meta_path)
mend()
once = len(sys.meta_path)
mend()
print("torch" in sys.modules, once <= before + 1, len(sys.meta_path) == once)
"""
    assert run(code) == "False True True"


def test_an_absent_torchvision_stays_absent() -> None:
    # -S and -I would take torch away too; a finder that finds nothing stands for an environment without torchvision.
    code = """
import importlib.util, sys
from importlib.machinery import PathFinder
from partinr.base._torchvision import mend
mend()
PathFinder.find_spec = lambda *_: None
print(importlib.util.find_spec("torchvision"), "torch" in sys.modules)
"""
    assert run(code) == "None False"

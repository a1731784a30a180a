"""The direction of imports: two wings on common leaves, joined only at the top."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "partinr"

# Each list from the ground up, a floor a line. A module may import from the floors under its own in its own list, and
# from the leaves; those on one floor do not know each other. The top imports everything under it.
LEAVES = [
    {"base"},
    {"pictures", "spec"},
    {"imagefile"},
]
NUMBERS = [
    {"coords"},
    {"signals"},
    {"partition"},
    {"engines"},
    {"backbones"},
    {"model"},
    {"batches", "quantise", "weights"},
    {"capacity", "inr", "metrics"},
    {"album", "meta", "rate"},
    {"data", "training"},
    {"regimes"},
]
RECORD = [
    {"run"},
    {"callbacks", "report"},
    {"studies", "tracking"},
]
TOP = [
    {"api"},
    {"cli", "experiment", "sweep"},
    {"__init__", "__main__"},
]
# What anyone may take from the package itself.
FROM_PACKAGE: set[str] = set()


def allowed() -> dict[str, set[str]]:
    """Module: the modules it may import."""
    leaves = set().union(*LEAVES)
    everything = leaves.union(*NUMBERS, *RECORD)
    table = {}
    for floors, ground in ((LEAVES, set()), (NUMBERS, leaves), (RECORD, leaves), (TOP, everything)):
        under: set[str] = set(ground)
        for floor in floors:
            table.update({module: set(under) for module in floor})
            under |= floor
    for module in TOP[1]:
        table[module] |= TOP[1]
    return table


def sources(package: Path) -> Iterator[tuple[str, Path]]:
    """Each source file with the module it belongs to, a sub-package as a whole counting as one."""
    for path in sorted(package.rglob("*.py")):
        first = path.relative_to(package).parts[0]
        yield first.removesuffix(".py"), path


def statements(package: Path, path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and dotted name, split, of all that a file imports: late, relative, under TYPE_CHECKING or not."""
    home = (package.name, *path.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield node.lineno, (*base, alias.name)


def imported(package: Path, path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of each import from the package."""
    known = {module for module, _ in sources(package)}
    for line, (first, *rest) in statements(package, path):
        inner = rest[0] if rest else "__init__"
        if first == package.name and inner not in FROM_PACKAGE:
            yield line, inner if inner in known else "__init__"


def faults(package: Path) -> list[str]:
    """Every import against the direction, and every module that has no floor."""
    table = allowed()
    found = [
        f"{module}: give it a floor in {Path(__file__).name}" for module, _ in sources(package) if module not in table
    ]
    for module, path in sources(package):
        for line, other in imported(package, path):
            if module in table and other != module and other not in table[module]:
                found.append(f"{path.relative_to(package)}:{line}: {module} imports {other}")
    return sorted(set(found))


def test_imports_follow_the_way_of_the_data() -> None:
    assert faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("coords.py", "import partinr.signals", "coords.py:1: coords imports signals"),
        ("coords.py", "from partinr.runs.directory import RunDirectory", "coords.py:1: coords imports run"),
        ("coords.py", "from partinr import signals", "coords.py:1: coords imports signals"),
        ("coords.py", "from . import signals", "coords.py:1: coords imports signals"),
        ("coords.py", "from partinr import fit", "coords.py:1: coords imports __init__"),
        ("coords.py", "def f():\n    from .run import x", "coords.py:2: coords imports run"),
        ("coords.py", "if TYPE_CHECKING:\n    import partinr.run", "coords.py:2: coords imports run"),
        ("signals/image.py", "from ..run import x", "signals/image.py:1: signals imports run"),
        ("signals/image.py", "from .. import run", "signals/image.py:1: signals imports run"),
        ("report/deep/er.py", "from ...inr import x", "report/deep/er.py:1: report imports inr"),
        ("novelty.py", "", "novelty: give it a floor in test_imports.py"),
        ("signals/image.py", "from . import other\nfrom ..coords import grid\nimport partinr.base.errors", None),
        ("cli/app.py", "import torch\nfrom partinr import run, inr", None),
    ],
)
def test_the_checker_sees(tmp_path: Path, path: str, source: str, fault: str | None) -> None:
    package = tmp_path / "partinr"
    for name in ("coords.py", "signals/__init__.py", "run.py", "inr.py", "base/errors.py", path):
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (package / path).write_text(source)
    assert faults(package) == ([] if fault is None else [fault])


# Asked for before they are imported: what comes with torch for CUDA, in the version that this torch wants, and what an
# extra brings.
OPTIONAL = {"triton", "submitit", "wandb_workspaces"}


def test_what_is_imported_is_declared() -> None:
    # A package that comes along with another may stop doing so.
    def canonical(requirement: str) -> str:
        return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")

    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {canonical(requirement) for requirement in project["dependencies"]}
    distributions = packages_distributions()
    modules = {target[0] for _, path in sources(PACKAGE) for _, target in statements(PACKAGE, path)}
    assert {
        module
        for module in modules - sys.stdlib_module_names - OPTIONAL - {"partinr"}
        if declared.isdisjoint(map(canonical, distributions.get(module, ())))
    } == set()


def test_import_partinr_is_light() -> None:
    # What --help and completion wait for.
    heavy = [
        "torch",
        "lightning",
        "torchmetrics",
        "torchvision",
        "wandb",
        "matplotlib",
        "plotly",
        "pandas",
        "skimage",
        "cv2",
    ]
    code = f"import json, sys, partinr; print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(process.stdout) == []

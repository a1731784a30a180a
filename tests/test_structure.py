"""The rules of the house: rooms and arrows, no circle, small files, and commands that answer without torch."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.covering import cases

ROOT = Path(__file__).parents[1]

# Each column from the ground up. A room imports the rooms under its own in its own column, and the floor under both.
FLOOR = ("base", "spec", "coords", "pictures", "metrics")
NUMBERS = ("signals", "partition", "engines", "backbones", "model", "samplers", "training", "regimes")
RECORD = ("runs", "callbacks", "tracking", "studies", "report")
TOP = ("api", "experiment", "sweep", "cli")
AT_THE_ROOT = {"__init__.py", "__main__.py", "api.py", "coords.py"}

LINES = {"file": 400, "class": 300, "function": 60}


HEAVY = ["torch", "numpy", "lightning", "torchvision", "torchmetrics", "numba", "scipy", "cv2", "skimage"]
HEAVY += ["matplotlib", "plotly", "pandas", "wandb", "tensorboard", "mlflow", "joblib", "submitit"]


class Sources:
    """The modules of a package, and what each imports of it.

    Args:
        package: its folder.
    """

    def __init__(self, package: Path) -> None:
        self.package = package
        files = {self.dotted(path): path for path in sorted(package.rglob("*.py"))}
        self.trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
        self.packages = {name for name, path in files.items() if path.name == "__init__.py"}

    def dotted(self, path: Path) -> str:
        """``partinr.cli.app`` of a file; a package is its ``__init__.py``."""
        parts = path.relative_to(self.package.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def room(self, module: str) -> str:
        """The room that a module is in; ``__init__`` for the package itself."""
        return module.partition(".")[2].partition(".")[0] or "__init__"

    @cache  # noqa: B019
    def imports(self, module: str, for_types: bool = False) -> list[tuple[int, str, str]]:
        """Line, module and name of each import, wherever it stands, and of each that is put off.

        Args:
            module: whose.
            for_types: with those under ``TYPE_CHECKING``.
        """
        home = module.split(".") if module in self.packages else module.split(".")[:-1]
        found: list[tuple[int, str, str]] = []
        for node in self._walk(self.trees[module], for_types):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = home[: len(home) + 1 - node.level] if node.level else []
                base += node.module.split(".") if node.module else []
                found += [(node.lineno, ".".join(base), alias.name) for alias in node.names]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Later", "load"):
                for each in node.args:
                    if isinstance(each, ast.Constant):
                        name, _, attribute = str(each.value).partition(":")
                        found.append((node.lineno, name, attribute))
        return found

    def _walk(self, node: ast.AST, for_types: bool) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING") and not for_types:
                for other in child.orelse:
                    yield other
                    yield from self._walk(other, for_types)
                continue
            yield child
            yield from self._walk(child, for_types)

    @cache  # noqa: B019
    def edges(self, module: str) -> dict[str, int]:
        """The modules of the package that one imports, each with its first line."""
        found: dict[str, int] = {}
        for line, target, name in self.imports(module):
            for each in self._meant(target, name):
                found.setdefault(each, line)
        found.pop(module, None)
        return found

    def _meant(self, target: str, name: str) -> Iterator[str]:
        """The modules that an import needs: of what a package re-exports also the module that it is from."""
        if f"{target}.{name}" in self.trees:
            yield f"{target}.{name}"
        elif target in self.trees:
            yield target
            if target in self.packages and target != self.package.name:
                for _, origin, exported in self.imports(target, True):
                    if exported == name and origin != target:
                        yield from self._meant(origin, name)


@cache
def sources() -> Sources:
    return Sources(ROOT / "partinr")


def allowed() -> dict[str, set[str]]:
    """Room: the rooms that it may import."""
    table: dict[str, set[str]] = {}
    wings = {*FLOOR, *NUMBERS, *RECORD}
    for column, ground in ((FLOOR, set[str]()), (NUMBERS, set(FLOOR)), (RECORD, set(FLOOR)), (TOP, wings)):
        under = set(ground)
        for room in column:
            table[room] = set(under)
            under.add(room)
    table["__init__"] = table["__main__"] = {*wings, *TOP}
    return table


def wrong_arrows(tree: Sources) -> set[str]:
    """Every import against the arrows, as ``module -> module``."""
    table = allowed()
    return {
        f"{module} -> {target}"
        for module in tree.trees
        for target in tree.edges(module)
        if tree.room(target) not in (tree.room(module), *table.get(tree.room(module), table))
    }


def circles(tree: Sources) -> list[list[str]]:
    """Groups of modules that import each other, by whatever way round."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in tree.edges(module):
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            start = stack.index(module)
            if len(stack) - start > 1:
                found.append(sorted(stack[start:]))
            del stack[start:]

    for module in tree.trees:
        if module not in number:
            visit(module)
    return sorted(found)


def test_imports_follow_the_arrows() -> None:
    assert wrong_arrows(sources()) == set()


def test_no_circle() -> None:
    assert circles(sources()) == []


def test_no_module_lies_loose_at_the_root() -> None:
    package = ROOT / "partinr"
    assert {path.name for path in package.glob("*.py")} - AT_THE_ROOT == set()
    rooms = {path.parent.relative_to(package).parts[0] for path in package.glob("*/**/*.py")}
    assert rooms - set(allowed()) == set()


@pytest.mark.parametrize(
    ("path", "source", "arrow"),
    [
        ("coords.py", "import partinr.signals", "coords -> signals"),
        ("coords.py", "from partinr.runs.directory import RunDirectory", "coords -> runs.directory"),
        ("coords.py", "from partinr import fit", "coords -> "),
        ("coords.py", "def f():\n    from .runs import directory", "coords -> runs.directory"),
        ("coords.py", "runs = Later('partinr.runs.directory')", "coords -> runs.directory"),
        ("signals/image.py", "from .. import runs", "signals.image -> runs"),
        ("runs/directory.py", "from partinr.base import late", "runs.directory -> signals"),
        ("coords.py", "if TYPE_CHECKING:\n    import partinr.runs", None),
        ("signals/image.py", "from . import other\nfrom ..coords import grid\nimport partinr.base", None),
        ("cli/app.py", "import torch\nfrom partinr import runs, signals", None),
    ],
)
def test_the_checker_sees(tmp_path: Path, path: str, source: str, arrow: str | None) -> None:
    package = tmp_path / "partinr"
    for name in ("__init__.py", "coords.py", "signals/__init__.py", "runs/__init__.py", "runs/directory.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    (package / "base").mkdir()
    # What a package re-exports late counts as an import from where it is.
    (package / "base/__init__.py").write_text("if TYPE_CHECKING:\n    from partinr.signals import late\n")
    (package / path).parent.mkdir(exist_ok=True)
    (package / path).write_text(source)
    found = {each.replace("partinr.", "").replace("partinr", "") for each in wrong_arrows(Sources(package))}
    assert found == (set() if arrow is None else {arrow})


def too_long() -> dict[str, int]:
    """Files, classes and functions over their limits, with their lines; docstrings of functions are not counted."""
    found = {}
    for path in [*(ROOT / "partinr").rglob("*.py"), *(ROOT / "partinr").rglob("*.js")]:
        name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        lengths = [(name, len(text.splitlines()), "file")]
        for node in ast.walk(ast.parse(text)) if path.suffix == ".py" else ():
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                kind = "class" if isinstance(node, ast.ClassDef) else "function"
                if kind == "function" and ast.get_docstring(node) is not None:
                    lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
                lengths.append((f"{name}:{node.name}", lines, kind))
        found.update({what: lines for what, lines, kind in lengths if lines > LINES[kind]})
    return found


def test_files_classes_and_functions_are_short() -> None:
    assert too_long() == {}


# The same words with other meanings: a coder of rates, a kind of device.
HOMONYMS = ("coder", "kind != 'meta'")


def known_by_kind(tree: Sources) -> set[str]:
    """Comparisons with the kind of a regime, and questions for the class of its settings, outside of its folder."""
    owners: dict[str, str] = {}
    for module in tree.trees:
        if re.fullmatch(r"partinr\.regimes\.\w+\.settings", module):
            folder = module.rpartition(".")[0]
            for node in ast.walk(tree.trees[module]):
                if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "kind":
                    assert isinstance(node.value, ast.Constant)
                    owners[str(node.value.value)] = folder
                elif isinstance(node, ast.ClassDef) and node.name.endswith("Settings"):
                    owners[node.name] = folder
    found = set()
    for module, parsed in tree.trees.items():
        for node in ast.walk(parsed):
            asks = isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass")
            if not asks and not isinstance(node, (ast.Compare, ast.match_case)):
                continue
            words = {str(each.value) for each in ast.walk(node) if isinstance(each, ast.Constant)}
            if asks:
                words = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and each.id[0].isupper()}
            foreign = [word for word in words & owners.keys() if not f"{module}.".startswith(f"{owners[word]}.")]
            if foreign and not any(homonym in ast.unparse(node) for homonym in HOMONYMS):
                found.add(f"{module}:{node.lineno if hasattr(node, 'lineno') else 0}: {ast.unparse(node)}")
    return found


def test_no_regime_is_known_by_its_kind_outside_its_folder() -> None:
    assert known_by_kind(sources()) == set()


def loaded_by(code: str, *arguments: str, folder: Path = ROOT) -> tuple[set[str], str]:
    """The heavy packages that are loaded after some code, and what it wrote."""
    end = f"import json, sys; print('\\n' + json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    process = subprocess.run(
        [sys.executable, "-c", f"import atexit\natexit.register(lambda: exec({end!r}, {{}}))\n{code}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    *output, last = process.stdout.splitlines()
    return set(json.loads(last)), "\n".join([*output, process.stderr])


END = "-- end of a command --"
COMMANDS = f"""
import contextlib, json, sys
import partinr.spec, partinr.experiment.names, partinr.sweep.launchers
from partinr.cli import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(sys.stdout), contextlib.suppress(SystemExit):
        main(words)
    print({END!r})
"""


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory without what a run needs torch for."""
    run = tmp_path_factory.mktemp("runs") / "run"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra/config.yaml").write_text("regime: {_target_: partinr.regimes.FitSettings}\nmax_steps: 10\n")
    (run / "run.json").write_text(
        json.dumps({"format": 1, "status": "completed", "name": "a", "metrics": {"psnr": 20.0, "ssim": 0.5}})
    )
    (run / "curve.csv").write_text("step,seconds,macs,loss,psnr,ssim,lr\n10,1.0,100,0.1,20.0,0.5,0.001\n")
    return run


def test_composing_and_a_command_that_computes_nothing_need_no_torch(run_directory: Path) -> None:
    commands = cases(
        ([], "Three commands to try"),
        (["--help"], "Groups (GROUP=NAME)"),
        (["--version"], "partinr "),
        (["--cfg", "job", "data.size=8", "study=2024_01_31", "regime.points_per_step=9"], "study: '2024_01_31'"),
        (["data.size=8", "study=7", "partition.regoins=4"], "unknown option"),
        (["partition=gird"], "there is no partition=gird"),
        (["rnus"], "did you mean partinr runs?"),
        (["-sc", "query=bash"], ""),
        (["runs", str(run_directory)], "1 completed"),
        (["table", str(run_directory)], "20.00"),
        (["report", "--help"], "curves"),
        (["render", "--help"], "resolution"),
    )
    words = json.dumps([arguments for arguments, _ in commands])
    loaded, output = loaded_by(COMMANDS, words, folder=run_directory.parent)
    for (_, said), answer in zip(commands, output.split(END)[:-1], strict=True):
        assert said in answer
    assert loaded == set()


def test_specs_need_nothing_but_torch() -> None:
    specs = "import partinr.backbones, partinr.partition, partinr.signals, partinr.experiment.config"
    assert loaded_by(specs)[0] <= {"torch", "numpy"}


# Asked for before they are imported: what comes with torch for CUDA, in the version that this torch wants, and what an
# extra brings.
OPTIONAL = {"triton", "submitit", "wandb_workspaces", "mlflow", "optuna", "pandas"}
OPTIONAL |= {"av", "nibabel", "soundfile", "soxr", "trimesh"}


def test_what_is_imported_is_declared() -> None:
    # A package that comes along with another may stop doing so.
    def canonical(requirement: str) -> str:
        return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {canonical(requirement) for requirement in project["dependencies"]}
    distributions = packages_distributions()
    tree = sources()
    modules = {target.partition(".")[0] for module in tree.trees for _, target, _ in tree.imports(module, True)}
    assert {
        module
        for module in modules - sys.stdlib_module_names - OPTIONAL - {"partinr"}
        if declared.isdisjoint(map(canonical, distributions.get(module, ())))
    } == set()


# What stands for something else than a regime where it has the same letters.
OTHER_MEANINGS = {
    "backbones/base.py": {"meta"},  # torch's device
    "engines/base.py": {"meta"},
    "experiment/export.py": {"fit"},  # the fitted signal as a coder, beside JPEG and WebP
    "model/fit_rates.py": {"fit"},
    "model/coupling/base.py": {"meta"},
    "model/groups.py": {"meta"},
    "model/stack.py": {"meta"},
    "report/viewer.py": {"fit"},  # the picture of the fit
    "report/slices.py": {"fit"},  # likewise
    "training/ranks.py": {"meta"},
    "__init__.py": {"fit"},  # the function
}


def test_no_regime_is_known_by_name_outside_its_folder() -> None:
    regimes = ROOT / "partinr" / "regimes"
    kinds = {folder.name for folder in regimes.iterdir() if (folder / "settings.py").is_file()}
    assert {"fit", "meta", "threshold"} <= kinds
    found: dict[str, set[str]] = {}
    for path in (ROOT / "partinr").rglob("*.py"):
        own = path.relative_to(regimes).parts[0] if path.is_relative_to(regimes) else None
        words = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        if others := (words & kinds) - {own}:
            found[path.relative_to(ROOT / "partinr").as_posix()] = others
    found.pop("regimes/meta/report.py")  # names the command that begins a fit with what was learned
    assert found == OTHER_MEANINGS

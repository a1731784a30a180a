"""``partinr doctor``: checks packages, the device that runs would use, and plug-ins, and names cures."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType

from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape

from partinr.base import _torchvision
from partinr.base.version import __version__
from partinr.experiment import plugins
from partinr.experiment.conf import conf_dir

# Distribution, module, purpose.
_PACKAGES = (
    ("torch", "torch", "networks"),
    ("lightning", "lightning", "training"),
    ("hydra-core", "hydra", "configuration"),
    ("omegaconf", "omegaconf", "configuration"),
    ("torchvision", "torchvision", "needed by segmentation-models-pytorch"),
    ("segmentation-models-pytorch", "segmentation_models_pytorch", "segmentation networks"),
    ("scikit-image", "skimage", "built-in images"),
    ("opencv-contrib-python-headless", "cv2", "image files"),
    ("safetensors", "safetensors", "fitted models"),
    ("plotly", "plotly", "report"),
    ("matplotlib", "matplotlib", "figures"),
    ("wandb", "wandb", "dashboards"),
)


@dataclass(frozen=True)
class Finding:
    """One line of output: what was checked, the result, and the cure of a fault."""

    what: str
    found: str
    cure: str | None = None
    optional: bool = False
    """Whether it may be missing, and is."""


def examine() -> bool:
    """Print all findings; returns whether all is well."""
    console = Console(highlight=False)
    findings = list(look())
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "[red]bad[/] " if finding.cure is not None else "[dim]--[/]  " if finding.optional else "[green]ok[/]  "
        console.print(f"{mark} {finding.what:<{width}}  {escape(finding.found)}", soft_wrap=True)
        if finding.cure is not None:
            console.print(f"     {'':<{width}}  [bold]→ {escape(finding.cure)}[/]", soft_wrap=True)
    bad = sum(finding.cure is not None for finding in findings)
    console.print("\nall is well" if not bad else f"\n{bad} amiss")
    return not bad


def look() -> Iterator[Finding]:
    """All findings."""
    yield Finding("partinr", __version__)
    yield Finding("python", platform.python_version())
    try:
        yield from _hardware()
    except Exception as error:  # torch itself is broken, and is reported below
        yield Finding("device", f"unknown: {_reason(error)}", "see torch below")
    for distribution, module, purpose in _PACKAGES:
        yield _package(distribution, module, purpose)
    with suppress(importlib.metadata.PackageNotFoundError):  # a checkout that is not installed
        yield from extras(importlib.metadata.requires("partinr") or ())
    if _torchvision.mended():
        yield Finding("torchvision", "built for another torch and mended by partinr: import partinr before lightning")
    yield _attempt("configuration", lambda: str(conf_dir()), "install partinr again")
    yield from _plugins()
    yield _attempt("output", _writable, "change to a folder that you may write to, or give output_dir=PATH")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    yield Finding("browser", chromium or "none found; only partinr's own tests of the report need one")


def _hardware() -> Iterator[Finding]:
    import torch  # its own failure is a finding

    yield _device(torch)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    yield Finding(
        "processor",
        f"{cores} cores, {threads} threads",
        f"a run would use {threads} threads on {cores} cores; set trainer.threads={cores} or unset OMP_NUM_THREADS"
        if threads > cores
        else None,
    )


def _device(torch: ModuleType) -> Finding:
    if torch.cuda.is_available():
        return Finding("device", f"{torch.cuda.get_device_name()} ({torch.cuda.device_count()} in all)")
    if torch.backends.mps.is_available():
        return Finding("device", "Apple GPU")
    if torch.version.cuda is not None and shutil.which("nvidia-smi"):
        return Finding(
            "device",
            "CPU, although there is an NVIDIA driver",
            f"torch {torch.__version__} finds no usable GPU: see nvidia-smi and CUDA_VISIBLE_DEVICES",
        )
    return Finding("device", "CPU")


def _package(distribution: str, module: str, purpose: str) -> Finding:
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        if importlib.util.find_spec(module) is None:
            return Finding(distribution, f"not installed ({purpose})", f"pip install {distribution}")
        version = "version unknown"
    return _attempt(
        distribution,
        lambda: (importlib.import_module(module), version)[1],
        f"pip install --force-reinstall {distribution}",
    )


def extras(required: Sequence[str]) -> Iterator[Finding]:
    """A finding for each extra that users install: its packages, or what to install.

    Args:
        required: the requirements of partinr. The extra ``all`` has those of each feature.
    """
    packages: dict[str, dict[str, Requirement]] = {}
    for each in map(Requirement, required):
        marker = str(each.marker or "")
        if named := re.search(r"extra == ['\"]([^'\"]+)['\"]", marker):
            packages.setdefault(named[1], {})[each.name] = each
    features = packages.pop("all", {}).keys()
    for extra, needed in sorted(packages.items()):
        if needed.keys() <= features:
            yield _extra(extra, needed)


def _extra(extra: str, needed: Mapping[str, Requirement]) -> Finding:
    there, missing = [], []
    for name, requirement in sorted(needed.items()):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"no {name}")
        else:
            if requirement.specifier.contains(version, prereleases=True):
                there.append(f"{name} {version}")
            else:
                missing.append(f"{name} {version} does not fit {requirement.specifier}")
    if missing:
        return Finding(f"extra {extra}", f"{', '.join(missing)}; pip install 'partinr[{extra}]'", optional=True)
    return Finding(f"extra {extra}", ", ".join(there))


def _plugins() -> Iterator[Finding]:
    """A finding for each plug-in, and one for each of its choices that exist already."""
    for plugin in plugins.installed():
        what = f"plug-in {plugin.distribution}"
        version = plugin.version or "version unknown"
        cure = f"ask its author, or pip uninstall {plugin.distribution}"
        fault = plugins.check(plugin)
        if fault is None:
            yield Finding(what, f"{version}, adds {', '.join(plugin.adds) or 'nothing'}")
        else:
            yield Finding(what, f"{version}, broken: {fault}", cure)
        for choice, owner in plugin.clashes:
            yield Finding(what, f"its {choice} is left out: {owner} has one", cure)


def _writable() -> str:
    with tempfile.TemporaryFile(dir="."):
        return f"{os.getcwd()} can be written"


def _attempt(what: str, attempt: Callable[[], str], cure: str) -> Finding:
    try:
        return Finding(what, attempt())
    except Exception as error:
        # Any exception of a broken installation is a finding.
        return Finding(what, _reason(error), cure)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__

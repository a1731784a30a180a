"""What every test runs under: a directory of its own, no network, no display, and a browser for those that ask."""

import contextlib
import fcntl
import gc
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before anything imports matplotlib, torch or wandb; child processes inherit it all.
os.environ["MPLBACKEND"] = "Agg"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker would start a thread a core, and they would wait for each other.
    os.environ["OMP_NUM_THREADS"] = "1"

OpenPage = Callable[..., Any]
"""``open_page(where, width=1280, height=900)`` gives a playwright ``Page`` of a file or a string of HTML."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where a mark alone is asked for, no file without it: to import all of them takes each worker ten seconds."""
    mark = config.option.markexpr.partition(" ")[0]
    if mark in ("slow", "alone", "release") and collection_path.match("test_*.py"):
        return f"mark.{mark}" not in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.hookimpl(trylast=True)  # after others have left some out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker begins with files of its own whose tests may take longest, so that none comes last.

    What xdist gives a worker at first is one piece of the list.
    """
    limits: dict[Path, float] = {}
    for item in items:
        if (mark := item.get_closest_marker("timeout")) is not None:
            limits[item.path] = max(mark.args[0], limits.get(item.path, 0))
    files = sorted(limits, key=lambda path: -limits[path])
    rest = [item for item in items if item.path not in limits]
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        long = [item for path in files[worker::workers] for item in items if item.path == path]
        short = max(0, (len(items) - len(dealt)) // (workers - worker) - len(long))
        dealt += [*long, *rest[:short]]
        del rest[:short]
    items[:] = dealt + rest


def pytest_collection_finish() -> None:
    """Everything is imported; a search for garbage that goes through it takes a tenth of the tests' time."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a temporary working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _warnings_stay_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """In partinr's own code too, which would else print them."""
    monkeypatch.setattr("partinr.base.environment.calm_warnings", contextlib.nullcontext)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """A test that reaches out fails, on every machine alike. (A child process is held by the variables above.)"""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test tried to connect to {address[0]}:{address[1]}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_power_fails() -> Iterator[None]:
    """Of tens of thousands of files, each would else wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _kernels_are_compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """By one worker, seconds a kernel, while the others wait; then numba's cache has them."""
    from numba.core.dispatcher import Dispatcher

    compiled, thread = Dispatcher.compile, threading.local()
    # The workers' folders lie side by side.
    lock = tmp_path_factory.getbasetemp().parent / "kernels.lock"

    def compile_alone(self: Any, signature: Any) -> Any:
        if getattr(thread, "compiles", False):  # a kernel that another one calls
            return compiled(self, signature)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            thread.compiles = True
            try:
                return compiled(self, signature)
            finally:
                thread.compiles = False
                fcntl.flock(file, fcntl.LOCK_UN)  # a forked process may have the file open

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dispatcher, "compile", compile_alone)
        yield


@pytest.fixture(scope="module")
def _browser() -> Iterator[Any]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    # A module's scope, not the session's: while playwright runs, no other test of the thread could use asyncio.
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root, which containers are; the pages are the tests' own.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def chromium(_browser: Any) -> Iterator[OpenPage]:
    """Opens pages, offline. One that throws or logs an error, or asks for anything over the network, fails the test."""
    faults: list[str] = []
    contexts = []

    def open_page(where: Path | str, width: int = 1280, height: int = 900) -> Any:
        context = _browser.new_context(viewport={"width": width, "height": height}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda line: faults.append(f"console: {line.text}") if line.type == "error" else None)
        page.on(
            "request",
            lambda request: (
                faults.append(f"asks for {request.url}") if request.url.startswith(("http:", "https:", "ws")) else None
            ),
        )
        if isinstance(where, Path):
            page.goto(where.resolve().as_uri())
        else:
            page.set_content(where)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults, faults

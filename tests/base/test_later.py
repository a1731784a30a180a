"""Imports without a search for garbage, and the end of a process without one."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from partinr.base.errors import PartinrError
from partinr.base.later import Later, load, of_extra, without_collection


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that note whether garbage is searched for while they are imported."""
    for name, last in (("seen_one", ""), ("seen_two", ""), ("seen_broken", "raise ImportError")):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(f"import gc\nenabled = gc.isenabled()\n{last}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_imports_search_for_no_garbage(seen: None) -> None:
    assert gc.isenabled()
    assert not load("seen_one:enabled")
    assert not Later("seen_two").enabled
    with pytest.raises(ImportError):
        load("seen_broken:enabled")
    assert gc.isenabled()


def test_a_notebook_keeps_searching_for_its_garbage(seen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("partinr.base.later._Process.own", False)
    before = gc.get_freeze_count()
    assert not load("seen_one:enabled")
    assert gc.get_freeze_count() == before


def test_a_program_without_collection_keeps_it_off() -> None:
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_ends_without_a_search() -> None:
    # What was registered before the command runs after all that the command has registered.
    code = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count()))
from partinr.cli import main
main(["--version"])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(process.stdout.splitlines()[-1]) > 1000


def test_a_module_of_an_extra_that_is_missing_says_what_to_install(seen: None) -> None:
    assert of_extra("seen_one", "mesh", "meshes are read").enabled is False
    with pytest.raises(PartinrError, match=r"^meshes are read by unseen, .*: pip install 'partinr\[mesh\]'$"):
        of_extra("unseen", "mesh", "meshes are read")

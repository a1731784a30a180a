"""A kernel is compiled once per machine, and a user who waits for it is told why."""

from __future__ import annotations

import sys

import pytest

from partinr.engines import _cached


def test_a_terminal_is_told_once_that_kernels_are_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def double(x):
        return 2 * x

    for compiles in (True, False):
        _cached._announce.cache_clear()
        kernel = _cached.kernel()(double)
        assert [kernel(1), kernel(1.0)] == [2, 2.0]
        # Two signatures, one note; the second time both are read from the cache.
        assert capsys.readouterr().err.count("compiles its kernels") == compiles

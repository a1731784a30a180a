"""Kernels that numba compiles once per machine, and again after a change in a module that they call."""

# numba has no types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import functools
import hashlib
import sys
from pathlib import Path

from numba import njit
from numba.core.caching import FunctionCache

from partinr.base.notes import print_note

_DIGEST = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("_*.py")))
).hexdigest()


class _Cache(FunctionCache):
    """Numba's cache goes by the file of a kernel alone."""

    def _index_key(self, sig, codegen):
        return (*super()._index_key(sig, codegen), _DIGEST)

    def load_overload(self, sig, target_context):
        found = super().load_overload(sig, target_context)
        if found is None:
            _announce()
        return found


@functools.cache
def _announce() -> None:
    """Say once why the first run begins late, to a user who is waiting for it."""
    if sys.stderr.isatty():
        print_note("compiles its kernels for this processor, once; this takes about 20 s")


def kernel(**options):
    """A decorator like ``njit(cache=True)``; for its options see numba."""

    def decorate(function):
        compiled = njit(**options)(function)
        compiled._cache = _Cache(function)
        return compiled

    return decorate

"""SciPy's reader of MAT files in a process of its own: a file on the standard input, its matrices on the output.

Run as a file, by :mod:`partinr.partition.labelmap`, so that it imports nothing but NumPy and SciPy. The reader trusts
what it reads: a wrong byte in a damaged file may end the process, which is then this one alone.
"""

import io
import sys
from typing import Any

import numpy as np
from scipy.io import loadmat


def matrices(value: Any) -> list[Any]:
    """A matrix itself, or those in the field ``Segmentation`` of a struct, or in the cells of a cell array."""
    if not isinstance(value, np.ndarray):  # a sparse matrix
        return []
    if value.dtype.names is not None:
        value = value["Segmentation"] if "Segmentation" in value.dtype.names else np.empty(0, object)
    if value.dtype == object:
        return [matrix for cell in value.flat for matrix in matrices(cell)]
    # In MATLAB a single number is a matrix too.
    return [value] if value.dtype.kind in "biuf" and value.ndim == 2 and value.size > 1 else []


def main() -> None:
    """Read a MAT file of version 5, write ``.npz`` bytes: ``NAME:0``, ``NAME:1`` … are the matrices of a variable.

    ``NAME:`` is there for every variable, so that those without a matrix can be named too.
    """
    content = loadmat(io.BytesIO(sys.stdin.buffer.read()))
    found: dict[str, Any] = {}
    for name, value in sorted(content.items()):
        if not name.startswith("__"):
            found[f"{name}:"] = np.empty(0)
            found |= {f"{name}:{k}": matrix for k, matrix in enumerate(matrices(value))}
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    sys.stdout.buffer.write(buffer.getvalue())


if __name__ == "__main__":
    main()

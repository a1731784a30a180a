"""A program that reads a MAT file from the standard input and writes its matrices to the standard output.

:mod:`partinr.partition.labelmap` runs it as a file, so that it imports NumPy and SciPy only. It is a process of its own
because SciPy's reader trusts its input: a wrong byte in a damaged file may crash the process.
"""

import io
import sys
from typing import Any

import numpy as np
from scipy.io import loadmat


def matrices(value: Any) -> list[Any]:
    """The matrices in a value: itself, the field ``Segmentation`` of a struct, or the cells of a cell array."""
    if not isinstance(value, np.ndarray):  # a sparse matrix
        return []
    if value.dtype.names is not None:
        value = value["Segmentation"] if "Segmentation" in value.dtype.names else np.empty(0, object)
    if value.dtype == object:
        return [matrix for cell in value.flat for matrix in matrices(cell)]
    # In MATLAB a single number is a matrix too. A third axis is that of a stack.
    return [value] if value.dtype.kind in "biuf" and value.ndim in (2, 3, 4) and value.size > 1 else []


def main() -> None:
    """Convert a MAT file of version 5 to ``.npz``: ``NAME:0``, ``NAME:1`` … are the matrices of a variable.

    Every variable also has an entry ``NAME:``, so that a message can name those without a matrix.
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

"""Prints ``kernel compute-capability width registers spilled-bytes`` of each Triton kernel, compiled without a GPU."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from partinr.engines import _triton
from partinr.engines.chain import Layer
from partinr.engines.fused import FUSED_UP_TO

CAPABILITIES = (80, 90, 100)
POINTERS = {"owner": "*i64", "start": "*i64", "first": "*i64"}
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def cases() -> Iterator[tuple[int, object, dict[str, object], int]]:
    """Width, kernel, its constants and its warps: a thin network, and the widest that ``auto`` takes."""
    for width in (8, FUSED_UP_TO["cuda"]):
        hidden, start = width * (width + 1), 3 * width
        layers = (
            Layer(2, width, 0, 2 * width, 60.0),
            Layer(width, width, start, start + width * width, 30.0),
            Layer(width, 3, start + hidden, start + hidden + 3 * width, 1.0),
        )
        size = start + hidden + 3 * (width + 1)
        known = {**_triton.constants(layers), "SIZE": size}
        warps = known.pop("num_warps")
        yield width, _triton.forward_kernel, known, warps
        yield width, _triton.backward_kernel, {**known, "BY_X": True}, warps
    yield 0, _triton.sum_kernel, {"SIZE": size, "ROWS": 32, "COLUMNS": 64}, 4


kernel: Any
for width, kernel, constants, warps in cases():
    signature = {name: "constexpr" if name in constants else POINTERS.get(name, "*fp32") for name in kernel.arg_names}
    for capability in CAPABILITIES:
        target = GPUTarget("cuda", capability, 32)
        made = triton.compile(ASTSource(kernel, signature, constants), target=target, options={"num_warps": warps})
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(made.asm["cubin"])
            command = [str(CUOBJDUMP), "--dump-resource-usage", file.name]
            usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
        assert found is not None, usage
        print(kernel.__name__, capability, width, *found.groups())

"""Reads hundreds of damaged and forged ``inr.safetensors``, watched, and says in JSON what came of it.

A process of its own: its memory is limited, and an audit hook sees what the interpreter is made to do.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.callbacks.manifest import peak_memory
from partinr.model.inr import PiecewiseINR
from partinr.model.serialise import serialise
from partinr.partition import Grid

MEMORY = 2**29
"""Bytes that all this may take beyond what the process has when it begins."""

WATCHED = (
    "import", "exec", "compile", "pickle.", "marshal.", "subprocess.", "shutil.", "socket.", "ctypes.", "webbrowser.",
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "os.remove", "os.rename", "os.mkdir",
    "os.rmdir", "os.chmod", "os.putenv",
)  # fmt: skip
"""What runs code, or changes anything but memory; plug-ins are looked up by reading folders."""

OTHERS: list[Any] = [
    None, True, False, -1, 0, 1, 2.5, 1e308, float("nan"), 10**9, 2**63, 10**40, "", "x", "partinr", [], [0], [[0]], {},
    {"a": 1}, [10**9] * 4, list(range(300)),
]  # fmt: skip

NAMES = [
    "canary.Siren", "canary", "canary.deep.er.Siren", "os.system", "posix.system", "subprocess.Popen", "builtins.eval",
    "builtins.exec", "importlib.import_module", "torch.load", "torch.nn.Linear", "partinr.model.inr.PiecewiseINR",
    "pickle.loads", "a b.c", "canary\n.Siren",
    "partinr.backbones.base.Backbone", "partinr.backbones.base.Mlp", "partinr.backbones.Siren.__init__", "..", ".Siren",
    "partinr.backbones.siren.math", "partinr.__main__.Siren", "this.Siren", "antigravity.Siren",
]  # fmt: skip

Case = tuple[str, bytes, bool]
"""What was done to it; the content; whether the checksum is right all the same."""


def good() -> tuple[bytes, dict[str, Any], dict[str, torch.Tensor]]:
    model = PiecewiseINR(Grid(rows=2, cols=2)(torch.zeros(9, 12, 3)), Siren(hidden_features=5, hidden_layers=1))
    tensors = {**{name: value.detach() for name, value in model.stack.items()}}
    tensors["partition.labels"] = model.partition.labels.int()
    return model.to_bytes(), {"format": 3, "engine": model.engine, **model.architecture()}, tensors


def damaged(data: bytes, rng: random.Random) -> Iterator[Case]:
    """Bytes that are missing, too many, or others."""
    (length,) = struct.unpack("<Q", data[:8])
    start = 8 + length
    for end in [*range(12), *rng.sample(range(12, start), 25), start, *rng.sample(range(start, len(data)), 25)]:
        yield f"cut at {end}", data[:end], False
    for extra in (b"\0", b"\xff" * 7, data):
        yield f"{len(extra)} bytes more", data + extra, False
    for name, part in (("header", range(8, start)), ("data", range(start, len(data)))):
        for place in rng.sample(part, 120):
            changed = bytearray(data)
            changed[place] ^= rng.randrange(1, 256)
            yield f"another byte at {place} of the {name}", bytes(changed), False
    for said in (0, 1, length - 1, length + 1, len(data), 10**8 + 1, 2**31, 2**63, 2**64 - 1):
        yield f"a header of {said} bytes", struct.pack("<Q", said) + data[8:], False
    for _ in range(30):
        low, high = sorted(rng.sample(range(len(data)), 2))
        yield f"{low}:{high} zeroed", data[:low] + bytes(high - low) + data[high:], False
        yield f"{low}:{high} turned round", data[:low] + data[low:high][::-1] + data[high:], False
    header = json.loads(data[8:start])
    entries = [name for name in header if name != "__metadata__"]
    for name in entries:
        for field, values in {
            "dtype": ["F64", "F16", "I64", "U8", "BOOL", "F8_E4M3", "X", None, 1],
            "shape": [[], [0], [2**40, 2**40], [-1], "x", None, header[name]["shape"][::-1]],
            "data_offsets": [[0, 0], [1, 0], [0, 2**63], [-1, 4], None, header[entries[0]]["data_offsets"]],
        }.items():
            for value in values:
                other = {**header, name: {**header[name], field: value}}
                text = json.dumps(other).encode()
                yield f"{name}.{field}={value}", struct.pack("<Q", len(text)) + text + data[start:], False
    for value in (None, [], "x", {"partinr": 1}, {"partinr": "["}, {"partinr": "[" * 100_000}, {"partinr": "{}"}):
        text = json.dumps({**header, "__metadata__": value}).encode()
        yield f"metadata {str(value)[:20]}", struct.pack("<Q", len(text)) + text + data[start:], False


def forged(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Iterator[Case]:
    """Arbitrary content by a writer who knows the format, including its checksum."""

    def sealed(what: str, said: dict[str, Any], values: dict[str, torch.Tensor] = tensors) -> Case:
        return what, serialise("partinr", said, values), True

    for field in header:
        yield sealed(f"no {field}", {name: value for name, value in header.items() if name != field})
        for value in OTHERS:
            yield sealed(f"{field}={str(value)[:20]}", {**header, field: value})
    for option in [*header["options"], "colour"]:
        for value in OTHERS:
            options = {**header["options"], option: value}
            yield sealed(f"options.{option}={str(value)[:20]}", {**header, "options": options})
    for name in NAMES:
        yield sealed(f"backbone={name}", {**header, "backbone": name})
    labels = tensors["partition.labels"]
    lists: dict[str, torch.Tensor] = {
        "negative": labels - 1, "with a gap": labels * 2, "huge": labels + 2**30, "long": labels.long(),
        "flat": labels.reshape(-1), "none": labels[:0], "a number": labels[0, 0], "floats": labels.float(),
        "one region": labels * 0, "turned": labels.T.contiguous(), "deep": labels.reshape([1] * 60 + [9, 12]),
    }  # fmt: skip
    for what, value in lists.items():
        yield sealed(f"labels {what}", header, {**tensors, "partition.labels": value})
        said = {**header, "shape": list(value.shape), "regions": int(value.max()) + 1 if value.numel() else 0}
        yield sealed(f"labels {what}, and said so", said, {**tensors, "partition.labels": value})
    for name, value in tensors.items():
        yield sealed(f"no {name}", header, {other: each for other, each in tensors.items() if other != name})
        yield sealed(f"{name} twice", header, {**tensors, f"{name}_": value.clone()})
        for what, other in {
            "halved": value[:1], "turned": value.transpose(0, -1).contiguous(), "bytes": value.to(torch.uint8),
            "half": value.half(), "bfloat16": value.bfloat16(), "long": value.long(),
            "NaN": value * float("nan"), "infinite": value.float() + float("inf"), "empty": value[:0],
        }.items():  # fmt: skip
            yield sealed(f"{name} {what}", header, {**tensors, name: other})


def main(folder: Path) -> dict[str, Any]:
    data, header, tensors = good()
    path = folder / "inr.safetensors"
    path.write_bytes(data)
    assert PiecewiseINR.load(path).to_bytes() == data
    cases = [*damaged(data, random.Random(0)), *forged(header, tensors)]
    # Modules that Python imports at the first such error.
    for name in ("nowhere.Siren", "torch.nn.Linear"):
        path.write_bytes(serialise("partinr", {**header, "backbone": name}, tensors))
        try:
            PiecewiseINR.load(path)
        except PartinrError:
            continue
        raise AssertionError(f"{name} is taken for a backbone")

    watching, faults, seen = False, [], []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching:
            writes = event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) <= set("rbt"))
            if event.startswith(WATCHED) or (writes and arguments[1] is not None):
                seen.append(f"{event} {str(arguments)[:80]}")

    sys.addaudithook(watch)
    process = psutil.Process()
    before = process.memory_info()
    resource.setrlimit(resource.RLIMIT_AS, (before.vms + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    refused, slowest = 0, 0.0
    for what, content, sealed in cases:
        path.write_bytes(content)
        begin = time.monotonic()
        watching = True
        try:
            model = PiecewiseINR.load(path)
        except PartinrError as error:
            refused += 1
            if "\n" in str(error) or str(path) not in str(error) or len(str(error)) > 600:
                faults.append(f"{what}: says {str(error)[:700]!r}")
        except BaseException as error:
            faults.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
        else:
            if not sealed and model.to_bytes() != data:
                faults.append(f"{what}: is taken for a sound one")
        finally:
            watching = False
        slowest = max(slowest, time.monotonic() - begin)
        faults += [f"{what}: {event}" for event in seen]
        seen.clear()
    # Not getrusage: it counts the memory of the process that this one was forked from.
    grown = peak_memory(torch.device("cpu")) - before.rss
    return {"cases": len(cases), "refused": refused, "faults": faults, "slowest": slowest, "grown": grown}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))

"""Weights in safetensors files, with a header that describes them.

A checksum in the header covers the header and the weights, so that a damaged or altered file is refused. It is not a
signature, since a forger can compute it too. The reader therefore checks each field of a header, and a name in a file
alone runs no code (:mod:`partinr.base.trust`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from partinr.backbones.named import BUILT_IN
from partinr.base.errors import PartinrError

CHECKSUM = "sha256"
"""Key of the header for the :func:`checksum` of its other entries and the tensors."""

RENAMED = {
    "backbone": {f"partinr.backbones.{name}.{kind.__name__}": name for name, kind in BUILT_IN.items()},
    "engine": {"grouped": "auto", "tcnn": "auto"},
}
"""Values in the headers of older versions, by key, and their present names."""

MOST_SAID = 400
"""Longest message, in characters."""

Made = TypeVar("Made")


def serialise(key: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file.

    Args:
        key: names the kind of file; the header is kept under it.
        header: plain containers; its ``format`` is the version of the layout.
        tensors: by name.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # A single key of metadata: safetensors writes several in no fixed order, and equal models must give equal files.
    return save(kept, {key: json.dumps({**header, CHECKSUM: checksum(header, kept)})})


def checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a header and all tensors with their names, types and shapes, in hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def deserialise(
    path: str | Path,
    key: str,
    newest: int,
    make: Callable[[dict[str, Any], dict[str, Tensor]], Made],
    *,
    what: str,
    cure: str,
    unsealed: int = 0,
) -> Made:
    """Read a file and make an object of it.

    Args:
        path: path of the file.
        key: key that the file was written with.
        newest: latest version of the layout that can be read.
        make: makes the object from the header, without its ``format``, and the tensors.
        what: kind of file, for messages.
        cure: what to give instead of a missing file, for messages.
        unsealed: the last version of the layout without a checksum.

    Raises:
        PartinrError: the file is missing, of another kind, damaged, altered, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise PartinrError(f"{path} does not exist; give {cure}")
    try:
        # safetensors opens no path that is not UTF-8.
        content = path.read_bytes()
        tensors = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
        if key not in metadata:
            raise ValueError(f"something else wrote it; give {cure}")
        header = json.loads(metadata[key])
        sealed = header.pop(CHECKSUM, None)
        version = header["format"]
        if type(version) is not int or version < 1:
            raise ValueError(f"its format is {str(version)[:20]!r}")
        if version > newest:
            raise PartinrError(
                f"{path} was written by a newer partinr; update partinr to read it (its format is {version}, and "
                f"this one reads up to {newest})"
            )
        if (version > unsealed or sealed is not None) and sealed != checksum(header, tensors):
            raise ValueError("it is damaged or was altered, its checksum is another; take another copy")
        del header["format"]
        for name, words in RENAMED.items():
            header[name] = words.get(header[name], header[name])
        return make(header, tensors)
    except PartinrError as error:
        # A message may quote arbitrary content of a bad file.
        said = " ".join(str(error).split())[:MOST_SAID]
        raise PartinrError(said if said.startswith(str(path)) else f"{path}: {said}") from error
    except SafetensorError as error:
        raise PartinrError(
            f"{path} is not {what}: it is cut off, damaged or no such file at all; take another copy, or give {cure}"
        ) from error
    except Exception as error:  # a bad file may raise anything
        said = " ".join(str(error).split())[:MOST_SAID]
        reason = said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}"
        raise PartinrError(f"{path} is not {what}: {reason}") from error


def check_tensors(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Check that a file has the weights of an architecture.

    Raises:
        ValueError: a tensor is missing, superfluous, of another shape or type, or not finite.
    """
    if wanted.keys() != given.keys():
        raise ValueError(f"its weights are {', '.join(sorted(given))}; expected are {', '.join(sorted(wanted))}")
    for name, value in given.items():
        if value.shape != wanted[name].shape:
            raise ValueError(f"its {name} is {list(value.shape)}, and {list(wanted[name].shape)} by its header")
        if value.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"its {name} is {value.dtype}, not float32 or float64")
        if not value.isfinite().all():
            raise ValueError(f"its {name} has values that are NaN or infinite")


def check_said(said: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Check that a header matches the model. Options that the header lacks have their defaults.

    Raises:
        ValueError: the header does not match.
    """
    for name, value in said.items():
        if name == "options":
            check_said(value, found[name])
        elif name not in found or json.dumps(value) != json.dumps(found[name]):
            raise ValueError(f"its header says {name}={str(value)[:60]}, which does not go with the rest of it")

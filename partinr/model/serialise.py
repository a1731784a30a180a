"""Weights as the content of safetensors files, with what they are the weights of in the header.

In the header is a checksum of it and of the weights, so that a file that was damaged or altered is not read. It is
no signature: whoever forges a file can forge its checksum. So nothing in a file is believed because of it; whoever
makes something of a header looks at each field, and no code runs because a file says so (:mod:`partinr.base.trust`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from partinr.base.errors import PartinrError

CHECKSUM = "sha256"
"""Under this key of the header is the :func:`checksum` of the rest of it and of the tensors."""

MOST_SAID = 400
"""Characters of a message."""

Made = TypeVar("Made")


def serialise(key: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file.

    Args:
        key: under which the header is kept: what kind of file it is.
        header: plain containers; its ``format`` is the version of the layout.
        tensors: by name.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # One key of metadata alone: safetensors writes several in no order, and the same model is to be the same file.
    return save(kept, {key: json.dumps({**header, CHECKSUM: checksum(header, kept)})})


def checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a header and of all tensors, their names, types and shapes, in hexadecimal digits."""
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
    """Read a file, and make of it what it stands for.

    Args:
        path: of the file.
        key: as it was written with.
        newest: version of the layout that can be read.
        make: from the header without its ``format``, and the tensors.
        what: the file is, for messages.
        cure: what to give where there is no such file.
        unsealed: the last version of the layout that had no checksum.

    Raises:
        PartinrError: no such file, not one of these, damaged, altered, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise PartinrError(f"{path} does not exist; give {cure}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if (version > unsealed or sealed is not None) and sealed != checksum(header, tensors):
            raise ValueError("it is damaged or was altered, its checksum is another; take another copy")
        del header["format"]
        return make(header, tensors)
    except PartinrError as error:
        # Of a file that is wrong at all a message may hold anything.
        said = " ".join(str(error).split())[:MOST_SAID]
        raise PartinrError(said if said.startswith(str(path)) else f"{path}: {said}") from error
    except SafetensorError as error:
        raise PartinrError(
            f"{path} is not {what}: it is cut off, damaged or no such file at all; take another copy, or give {cure}"
        ) from error
    except Exception as error:  # a file can be wrong in more ways than can be named
        said = " ".join(str(error).split())[:MOST_SAID]
        reason = said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}"
        raise PartinrError(f"{path} is not {what}: {reason}") from error

"""Weights as the content of safetensors files, with what they are the weights of in the header."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from partinr.errors import PartinrError

Made = TypeVar("Made")


def serialise(key: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file.

    Args:
        key: under which the header is kept: what kind of file it is.
        header: plain containers; its ``format`` is the version of the layout.
        tensors: by name.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(kept, {key: json.dumps(header)})


def deserialise(
    path: str | Path,
    key: str,
    newest: int,
    make: Callable[[dict[str, Any], dict[str, Tensor]], Made],
    *,
    what: str,
    cure: str,
) -> Made:
    """Read a file, and make of it what it stands for.

    Args:
        path: of the file.
        key: as it was written with.
        newest: version of the layout that can be read.
        make: from the header without its ``format``, and the tensors.
        what: the file is, for messages.
        cure: what to give where there is no such file.

    Raises:
        PartinrError: no such file, not one of these, damaged, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise PartinrError(f"{path} does not exist; give {cure}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[key])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if header.pop("format") > newest:
            raise PartinrError(f"{path} was written by a newer partinr; update partinr to read it")
        return make(header, tensors)
    except PartinrError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PartinrError(f"{path} is not {what}: {reason}") from error

"""The identity of a signal on every machine: digests of the samples before any resize, and coarse means of values.

Machines resize differently in the last bits, and two JPEG libraries decode one file a level apart. A digest of the
fitted values would therefore differ between machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from partinr.base.digests import of_text

if TYPE_CHECKING:
    from partinr.signals.kind import SignalKind

BLOCKS = 1024
"""Limit of blocks in :attr:`SignalIdentity.means`: 32 x 32 of an image, 32 along a line."""

TOLERANCE = 1 / 255
"""Tolerance of block means within which two signals count as one: one level of 8 bits."""


@dataclass(frozen=True, eq=False)
class SignalIdentity:
    """The identity of a signal.

    Attributes:
        name: of the signal in messages: its file without the folder, or its name in a set; empty if it has none.
        pixels_sha256: of the samples as they were decoded, upright, cut to what is used and before any resize, with
            their type, and of the shape that they are resized to. Of a signal without a file: of its values.
        means: means of at most :data:`BLOCKS` equal blocks, float32 ``[*blocks, C]``; empty if a set of signals is
            identified by its digests alone.
        file_sha256: of its file; None without one.
        cut: what is done with the file's samples: the part that is used, its shape in the end, transparency.
        decoder: program that read the file.
        notice: what a user should know of the values, in a line.
    """

    name: str
    pixels_sha256: str
    means: Tensor
    file_sha256: str | None = None
    cut: str = ""
    decoder: str | None = None
    notice: str | None = None

    @classmethod
    def of(cls, name: str, values: Tensor) -> SignalIdentity:
        """The identity of a signal without a file, from its values.

        Args:
            name: of the signal; may be empty.
            values: ``[*grid, C]``.
        """
        return cls(name, samples_sha256(values.detach().float().cpu().numpy()), block_means(values))

    def plain(self) -> dict[str, Any]:
        """The form in a checkpoint."""
        return dict(vars(self))

    def differs(self, other: SignalIdentity) -> str | None:
        """How another machine or library read this signal differently; empty if it is equal bit by bit.

        Returns:
            None if ``other`` is another signal.
        """
        if self.pixels_sha256 == other.pixels_sha256:
            return ""
        if self.file_sha256 is not None and (self.file_sha256, self.cut) == (other.file_sha256, other.cut):
            return f"the same file was decoded differently, {decoders(self.decoder, other.decoder)}"
        if self.means.numel() and self.means.shape == other.means.shape and self.cut == other.cut:
            most = float((self.means - other.means).abs().max())
            if most <= TOLERANCE:
                return f"its values differ a little (block means by at most {255 * most:.2g} levels of 255)"
        return None


Everywhere = Callable[[Tensor], Tensor]
"""A signal at any places: from coordinates, float64 ``[M, d]`` in [-1, 1], to values, float32 ``[M, C]`` in [0, 1].

Coordinates are those of :mod:`partinr.coords`, so that at the samples it gives the values of the grid. A value depends
on its own place alone.
"""


class Reading(NamedTuple):
    """A signal and what is known of it.

    Attributes:
        values: the samples, float32 ``[*grid, C]`` in [0, 1].
        identity: its identity.
        kind: its kind; None for the one that follows from the number of axes.
        everywhere: its values between the samples, too; None if only the samples are known.
    """

    values: Tensor
    identity: SignalIdentity
    kind: SignalKind | None = None
    everywhere: Everywhere | None = None


def decoders(one: str | None, other: str | None) -> str:
    """The decoders of a file that was decoded in two ways, in words."""
    return f"by {one} and by {other}" if one != other else f"by {one} both times"


def samples_sha256(samples: np.ndarray, about: str = "") -> str:
    """SHA-256 of samples, their type and shape, and of what is done with them; the same on every machine."""
    little = np.ascontiguousarray(samples, dtype=samples.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str} {little.shape} {about}\n".encode())
    digest.update(little.data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def block_means(values: Tensor) -> Tensor:
    """The means of at most :data:`BLOCKS` blocks.

    Args:
        values: ``[*grid, C]`` on a grid of 1, 2 or 3 axes.

    Returns:
        float32 ``[*blocks, C]`` on the CPU.
    """
    pools = (functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)
    axes = values.ndim - 1
    most = min(32, int(BLOCKS ** (1 / axes) + 1e-9))
    shape = [min(most, samples) for samples in values.shape[:-1]]
    planes = values.detach().float().cpu().movedim(-1, 0)
    means: Tensor = pools[axes - 1](planes, shape if axes > 1 else shape[0])  # type: ignore[arg-type]
    return means.movedim(0, -1).contiguous()


def joined(digests: Sequence[str | None]) -> str | None:
    """One digest for several: a single one is unchanged; None if any is unknown."""
    known = [digest for digest in digests if digest is not None]
    if not known or len(known) < len(digests):
        return None
    return known[0] if len(known) == 1 else of_text("\n".join(known))


def identity_facts(identities: Collection[SignalIdentity]) -> dict[str, Any]:
    """The entries of signal identities in ``run.json``."""
    noticed = [each for each in identities if each.notice is not None]
    more = f" (and {len(noticed) - 1} more like it)" if len(noticed) > 1 else ""
    facts = {
        "pixels_sha256": joined([each.pixels_sha256 for each in identities]),
        "file_sha256": joined([each.file_sha256 for each in identities]),
        "decoder": next((each.decoder for each in identities if each.decoder is not None), None),
        "notice": f"{noticed[0].name}: {noticed[0].notice}{more}" if noticed else None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def no_means() -> Tensor:
    """The block means of signals that are identified by digests alone."""
    return torch.empty(0)

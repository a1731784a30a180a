"""A signal without a kind of its own, such as a step function."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.pictures.write import Depth
from partinr.signals.kind import SignalKind


@spec
class GridKind(SignalKind):
    """Values on a grid of any number of axes. Runs keep no pictures of them, and arrays are their files."""

    name: ClassVar[str] = "grid"
    drawn: ClassVar[bool] = False

    def depth_of(self, path: Path, depth: Depth | None) -> Depth:
        """See :meth:`SignalKind.depth_of`.

        Raises:
            PartinrError: the file is no array.
        """
        if path.suffix.lower() != ".npy":
            raise PartinrError(
                f"cannot write {path}: the fitted signal is no picture; give a file that ends in .npy, or use "
                "partinr.load(…).render() in Python"
            )
        return super().depth_of(path, depth)

"""Kinds of signals, by their names in files."""

from collections.abc import Mapping
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.trust import named_class
from partinr.signals.kind import SignalKind
from partinr.signals.kinds.audio import AudioKind
from partinr.signals.kinds.field import FieldKind
from partinr.signals.kinds.grid import GridKind
from partinr.signals.kinds.image import ImageKind
from partinr.signals.kinds.video import VideoKind
from partinr.signals.kinds.volume import VolumeKind

_KINDS = (
    AudioKind,
    FieldKind,
    GridKind,
    ImageKind,
    VideoKind,
    VolumeKind,
)

BUILT_IN: dict[str, type[SignalKind]] = {kind.name: kind for kind in _KINDS}
"""partinr's kinds by name. Files contain the names, so a name never changes its meaning."""


def default_kind(axes: int) -> SignalKind:
    """The kind of a signal that does not say it: an image on two axes."""
    return ImageKind() if axes == 2 else GridKind()


def kind_of(plain: Mapping[str, Any] | None, axes: int) -> SignalKind:
    """The kind from :meth:`SignalKind.plain`.

    Args:
        plain: None for a file of an older version, or for a signal that does not say its kind.
        axes: number of axes of the grid.

    Raises:
        PartinrError: the kind is missing, not trusted (:mod:`partinr.base.trust`), or refuses the facts.
    """
    if plain is None:
        return default_kind(axes)
    facts = dict(plain)
    name = facts.pop("name", "")
    kind = BUILT_IN.get(name) or named_class(name)
    if not (isinstance(kind, type) and issubclass(kind, SignalKind)):
        raise PartinrError(f"{name} is no kind of signal; the file is damaged")
    return kind(**facts)


__all__ = [
    "BUILT_IN",
    "AudioKind",
    "FieldKind",
    "GridKind",
    "ImageKind",
    "SignalKind",
    "VideoKind",
    "VolumeKind",
    "default_kind",
    "kind_of",
]

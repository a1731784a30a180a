"""Sets of signals: many that are fitted at once, or learned from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from partinr.base.spec import spec
from partinr.signals.source import Source


class Item(ABC):
    """One signal of a set, which is not read before it is needed.

    Items are sent to other processes, so they hold what it takes to make the signal, and nothing large.

    Attributes:
        name: of the signal; no two in a set have the same, and it is fit to be the name of a folder. The name of a
            signal that is no part of a set is empty.
        source: where it is from, for a partition rule that looks beside it; None for one that has no file.
    """

    name: str
    source: Source | None

    @abstractmethod
    def load(self) -> Tensor:
        """Read or make it: float32 ``[*grid, C]`` in [0, 1]; the same every time.

        Raises:
            PartinrError: it cannot be read, or is no signal that can be fitted.
        """


@spec
class SignalSet(ABC):
    """What a config of the group ``data`` is that stands for many signals.

    A subclass is a spec of its own settings, says what its :attr:`title` is, and lists its items. One signal is a set
    of one: see :class:`SingleSignal`.
    """

    alone: ClassVar[bool] = False
    """Whether there is one signal, which needs no name."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A short name for tables and legends."""

    @abstractmethod
    def train(self) -> Sequence[Item]:
        """The items that are learned from, or fitted; at least one, in an order that does not change.

        Raises:
            PartinrError: there is none.
        """

    @abstractmethod
    def val(self) -> Sequence[Item]:
        """The items that are held out; empty where the settings hold none out.

        Raises:
            PartinrError: they cannot be listed.
        """


@spec
class SingleSignal(SignalSet):
    """What a config of the group ``data`` is that stands for one signal. A subclass says how it is loaded."""

    alone: ClassVar[bool] = True

    @property
    def source(self) -> Source | None:
        """Where the signal is from, for a partition rule that looks beside it; None for one that has no file."""
        return None

    @abstractmethod
    def load(self) -> Tensor:
        """Read or make the signal: float32 ``[*grid, C]`` in [0, 1]; the same every time.

        Raises:
            PartinrError: it cannot be read, or is no signal that can be fitted.
        """

    def train(self) -> Sequence[Item]:
        """The signal, without a name."""
        return [_Only(self, self.source)]

    def val(self) -> Sequence[Item]:
        """Nothing is held out."""
        return ()


@dataclass(frozen=True)
class _Only(Item):
    """The item of a single signal."""

    data: SingleSignal
    source: Source | None
    name: str = ""

    def load(self) -> Tensor:
        return self.data.load()

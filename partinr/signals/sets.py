"""Sets of signals, to fit at once or to learn from. One signal is a set of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from partinr.base.spec import spec
from partinr.signals.identity import Reading, SignalIdentity
from partinr.signals.kind import SignalKind
from partinr.signals.source import Source


class Readable(ABC):
    """Base class for what loads a signal. A subclass writes :meth:`load`."""

    @abstractmethod
    def load(self) -> Tensor:
        """The signal, the same every time: float32 ``[*grid, C]`` in [0, 1].

        Raises:
            PartinrError: it cannot be read, or is no signal that can be fitted.
        """

    def read(self) -> Reading:
        """The signal and its identity. Override this if a file identifies it better than its values.

        Raises:
            PartinrError: as for :meth:`load`.
        """
        values = self.load()
        return Reading(values, SignalIdentity.of(str(getattr(self, "name", None) or ""), values))

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # The base class would read another signal than the one that this class loads.
        if "load" in vars(cls) and "read" not in vars(cls):
            cls.read = Readable.read  # type: ignore[method-assign]


class Item(Readable):
    """One signal of a set, loaded on demand.

    Items are sent to other processes, so they contain what is needed to make the signal, and nothing large.

    Attributes:
        name: unique in its set, and a valid folder name. The name of a single signal is empty.
        source: source of the signal, for partition rules that need more than its values; None without a file.
    """

    name: str
    source: Source | None


@spec
class SignalSet(ABC):
    """Base class for the group ``data``.

    A subclass is a spec of its own settings, has a :attr:`title`, and lists its items. For a single signal, derive from
    :class:`SingleSignal`.
    """

    alone: ClassVar[bool] = False
    """Whether this is a single signal, without a name."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A short name for tables and legends."""

    @abstractmethod
    def train(self) -> Sequence[Item]:
        """The items to fit or to learn from: at least one, in a fixed order.

        Raises:
            PartinrError: there is none.
        """

    @abstractmethod
    def val(self) -> Sequence[Item]:
        """The held-out items; may be empty.

        Raises:
            PartinrError: the items cannot be listed.
        """

    @property
    def sources(self) -> list[Source]:
        """Where the items are from, those that are held out too; without items that have no file.

        Raises:
            PartinrError: they cannot be listed.
        """
        return [item.source for item in (*self.train(), *self.val()) if item.source is not None]

    def members(self, field: str, folder: Path, data: SignalSet) -> list[Path] | None:
        """The files of a folder, named by a field that is marked :data:`~partinr.base.spec.READS`, that a run reads.

        Args:
            field: its name.
            folder: its value.
            data: the set itself.

        Returns:
            The files of the items that lie in it; None, for all files, where no item has a file.

        Raises:
            PartinrError: the items cannot be listed.
        """
        files = dict.fromkeys(Path(source.path) for source in data.sources if source.path is not None)
        return [file for file in files if folder in file.parents] if files else None


@spec
class SingleSignal(SignalSet, Readable):
    """Base class for a single signal in the group ``data``. A subclass writes :meth:`load`."""

    alone: ClassVar[bool] = True

    @property
    def source(self) -> Source | None:
        """Source of the signal, for partition rules that need more than its values; None without a file."""
        return None

    def train(self) -> Sequence[Item]:
        """The signal, without a name."""
        return [_Only(self, self.source)]

    def val(self) -> Sequence[Item]:
        """Empty: nothing is held out."""
        return ()


@dataclass(frozen=True)
class _Only(Item):
    """The item of a single signal."""

    data: SingleSignal
    source: Source | None
    name: str = ""

    def load(self) -> Tensor:
        return self.data.load()

    def read(self) -> Reading:
        return self.data.read()


@dataclass(frozen=True)
class GeneratedItem(Item):
    """One generated signal.

    Attributes:
        name: see :class:`~partinr.signals.Item`.
        seed: number of the series, and number in the series.
        data: the set that makes it.
        source: None, since it has no file.
    """

    name: str
    seed: tuple[int, int]
    data: GeneratedSet
    source: None = None

    def load(self) -> Tensor:
        """The signal: float32 ``[*grid, C]`` in [0, 1].

        Raises:
            PartinrError: the signal cannot be made on this machine.
        """
        return self.data.make(self.seed)

    def read(self) -> Reading:
        """The signal, its identity and its kind."""
        return Readable.read(self)._replace(kind=self.data.kind)


@spec
class GeneratedSet(SignalSet):
    """Generated signals, the same in every run and independent of their number. A subclass writes :meth:`make`.

    Attributes:
        train_items: number of signals to learn from.
        val_items: number of further, held-out signals.
    """

    train_items: Annotated[int, Field(ge=1)] = 256
    val_items: Annotated[int, Field(ge=0)] = 16

    @property
    def kind(self) -> SignalKind | None:
        """The kind of the signals; None for the kind that follows from their number of axes."""
        return None

    @abstractmethod
    def make(self, seed: tuple[int, int]) -> Tensor:
        """The signal of a series and a number: float32 ``[*grid, C]`` in [0, 1].

        Raises:
            PartinrError: the signal cannot be made on this machine.
        """

    def train(self) -> Sequence[GeneratedItem]:
        """The first ``train_items`` signals."""
        return [GeneratedItem(f"{self.title}-{number}", (0, number), self) for number in range(self.train_items)]

    def val(self) -> Sequence[GeneratedItem]:
        """The first ``val_items`` signals of another series."""
        return [GeneratedItem(f"{self.title}-val-{number}", (1, number), self) for number in range(self.val_items)]

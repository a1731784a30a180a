"""The contract of a start, and the start of every backbone's paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import Tensor

from partinr.base.spec import spec
from partinr.model.inr import PiecewiseINR
from partinr.signals.identity import SignalIdentity

if TYPE_CHECKING:
    from partinr.backbones import Backbone
    from partinr.coords import Frame
    from partinr.regimes.base import RunContext
    from partinr.regimes.meta.learned import LearnedStart


class Fitted(NamedTuple):
    """A signal that is fitted, and its networks.

    Attributes:
        name: of the signal; empty for a single one.
        model: its networks, with the random weights of the seed.
        signal: float32 ``[*grid, C]``, as far as the loss sees it.
        identity: of the signal.
    """

    name: str
    model: PiecewiseINR
    signal: Tensor
    identity: SignalIdentity


@spec
class Start(ABC):
    """How the networks of a fit begin: the base class of the group ``start``.

    A subclass is a spec and writes :meth:`begin`.

    Attributes:
        title: name of the start in messages; by default the class's name in lower case.
        random: whether networks keep the random weights of their backbone.
    """

    title: ClassVar[str]
    random: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "title" not in vars(cls):
            cls.title = cls.__name__.lower()

    @abstractmethod
    def begin(self, fitted: Sequence[Fitted], context: RunContext) -> None:
        """Change the weights of the models in place, before training.

        What this takes belongs into ``context.begun``: seconds under ``seconds.start``, other facts under ``start``. A
        run that continues from a checkpoint (``context.continued``) gets its weights from there.

        Args:
            fitted: all signals of the run.
            context: configuration of the run.

        Raises:
            PartinrError: the models cannot begin this way.
        """

    def identity(self) -> dict[str, Any]:
        """What must be equal to continue from a checkpoint; empty if the weights that follow say enough."""
        return {}

    def brings(self) -> tuple[Backbone, Frame] | None:
        """The backbone and the frame that a run takes from the start; None if the configuration chooses them.

        Raises:
            PartinrError: the start does not exist.
        """
        return None

    def learned(self) -> LearnedStart | None:
        """The initialisation with learning rates of its own that the models begin with, or None."""
        return None

    @property
    def inner_steps(self) -> int:
        """Number of first steps with the rates of :meth:`learned`."""
        return 0


@spec
class Random(Start):
    """Random weights, as the paper of the backbone draws them."""

    random: ClassVar[bool] = True

    def begin(self, fitted: Sequence[Fitted], context: RunContext) -> None:
        """Change nothing."""

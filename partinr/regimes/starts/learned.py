"""The start that a run of ``regime=meta`` has learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from partinr.base.later import Later
from partinr.base.spec import spec
from partinr.regimes.starts.base import Fitted, Start

if TYPE_CHECKING:
    from partinr.backbones import Backbone
    from partinr.coords import Frame
    from partinr.regimes.base import RunContext
    from partinr.regimes.meta import learned as meta
else:
    meta = Later("partinr.regimes.meta.learned")

FILE = "initialisation.safetensors"
"""The file of a run with ``regime=meta`` that has what it learned."""


@spec
class Learned(Start):
    """The initialisation of a run with ``regime=meta``, with its backbone.

    Attributes:
        run: directory of that run.
        steps: number of first steps that are inner steps with the learned rates.
    """

    run: str
    steps: Annotated[int, Field(ge=0)] = 0

    def learned(self) -> meta.LearnedStart:
        """What the run has learned.

        Raises:
            PartinrError: the file is missing or damaged.
        """
        return meta.LearnedStart.load(Path(self.run).expanduser() / FILE)

    def begin(self, fitted: Sequence[Fitted], context: RunContext) -> None:
        """Initialise every network with what was learned."""
        start = self.learned()
        for each in fitted:
            start.begin(each.model)

    def brings(self) -> tuple[Backbone, Frame]:
        """The backbone and the frame that it was learned for."""
        start = self.learned()
        return start.networks.backbone, start.frame

    @property
    def inner_steps(self) -> int:
        """The number of steps with the learned rates."""
        return self.steps

"""What a run passes on: to one that continues from its checkpoint, and to the process that started it."""

from __future__ import annotations

from typing import Any

from partinr.base.spec import course, defaults
from partinr.training.checkpoint import SIGNALS
from partinr.training.contract import Contract
from partinr.training.optimizer import Optimizer
from partinr.training.schedule import Schedule

STATE = ("step", "macs", "clock", "machine", "curve", "image_curve", "stop_reason", "ended_by", "failure", "best_psnr")
"""Attributes, in addition to the weights, that a module trained in another process passes to the parent."""


class Continued(Contract):
    """A module that knows which runs may continue it, and what its parent process needs.

    Attributes:
        optimizer: the optimiser and its options.
        schedule: schedule of the learning rate.
        settings: settings of the regime, a spec with a ``kind``.
        seed: seed of random draws.
    """

    optimizer: Optimizer
    schedule: Schedule
    settings: Any
    seed: int

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal in two runs for one to continue from the other's checkpoint."""
        # A checkpoint is compared in this order: settings, then signals, then what follows from both.
        return {
            "kind": self.kind,
            # Options are included, since a continued run restores them from the checkpoint.
            "optimizer": course(self.optimizer),
            "schedule": {"name": type(self.schedule).__qualname__, **course(self.schedule)},
            "regime": course(self.settings),
            "seed": self.seed,
            **self.about,
            SIGNALS: {name: each.plain() for name, each in self.identities.items()},
            **self.identity(),
        }

    def defaults(self) -> dict[str, Any]:
        """Values for fields that a :meth:`fingerprint` of an older version lacks."""
        settings = {"optimizer": self.optimizer, "schedule": self.schedule, "regime": self.settings}
        return {group: defaults(each) for group, each in settings.items()}

    def export_state(self) -> dict[str, Any]:
        """The training state that the parent process needs."""
        weights = {name: value.detach().cpu() for name, value in self.weights_to_keep().items()}
        return {"weights": weights, **{name: getattr(self, name) for name in STATE}}

    def import_state(self, state: dict[str, Any]) -> None:
        """Restore the state in which the module of another process ended."""
        self.restore(state["weights"])
        for name in STATE:
            setattr(self, name, state[name])

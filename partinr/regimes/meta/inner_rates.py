"""Learning rates of the inner loop: fixed, or learned along with the initialisation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from partinr.base.environment import door
from partinr.base.errors import PartinrError, check_choice

RateKind = Literal["static", "global", "per_step", "per_parameter", "per_parameter_per_step"]
RATE_KINDS: tuple[str, ...] = get_args(RateKind)


class InnerRates(nn.Module):
    """The learning rate of every inner step and parameter.

    ``static`` is one fixed number. ``global`` is one learned number. ``per_step`` (Antoniou et al., "How to train your
    MAML", 2019) is one per step. ``per_parameter`` (Li et al., "Meta-SGD", 2017) is one for each number of the
    initialisation. ``per_parameter_per_step`` is one for each number and step, as in the partition paper.

    Steps beyond the training's last step use the median over its steps, and 0 where that is negative. The rates of the
    last step would not do: in training nothing follows it, so that it learns to overshoot.

    Args:
        params: the adapted parameters, each ``[C, *shape]``.
        kind: one of the kinds above.
        value: initial value of every rate.
        steps: inner steps of the training, K; 1 or more.
        positive: learn logarithms, so that rates stay positive.

    Attributes:
        learned: whether any rate is learned.

    Raises:
        PartinrError: the kind is unknown, or the value is not positive and finite.
    """

    @door
    def __init__(
        self, params: Mapping[str, Tensor], kind: RateKind, value: float, steps: int, positive: bool = False
    ) -> None:
        super().__init__()
        check_choice("regime.inner_lr_kind", kind, RATE_KINDS)
        like = next(iter(params.values()))
        if not math.isfinite(value) or value <= 0:
            raise PartinrError(f"regime.inner_lr={value:g}; give a number above 0")
        if value > torch.finfo(like.dtype).max:
            raise PartinrError(f"regime.inner_lr={value:g} is more than there is in {like.dtype}; give a smaller one")
        self.kind = kind
        self.value = value
        self.steps = steps
        self.positive = positive
        begin = math.log(value) if positive else value
        self._by_name = kind in ("per_parameter", "per_parameter_per_step")
        self._by_step = kind in ("per_step", "per_parameter_per_step")
        lead = (self.steps,) if self._by_step else ()
        shapes = {name: tuple(each.shape) for name, each in params.items()} if self._by_name else {"all": ()}
        self.raw = nn.ParameterDict(
            {}
            if kind == "static"
            else {
                name: torch.full((*lead, *shape), begin, dtype=like.dtype, device=like.device)
                for name, shape in shapes.items()
            }
        )

    @property
    def learned(self) -> bool:
        """Whether any rate is learned."""
        return self.kind != "static"

    def at(self, step: int, name: str, cell: Tensor | None = None) -> Tensor | float:
        """The rate of a parameter at an inner step, counted from 0.

        Args:
            step: may exceed the number of training steps.
            name: name of the parameter.
            cell: int64 ``[N]``, the row of the initialisation that each network began with; None if all share one row.

        Returns:
            a number or tensor that broadcasts with ``[N, *shape]``.
        """
        if self.kind == "static":
            return self.value
        value: Tensor = self.raw[name if self._by_name else "all"]
        if self._by_step:
            value = value[step] if step < self.steps else self._beyond(value)
        if self._by_name and cell is not None:
            value = value.index_select(0, cell)
        return value.exp() if self.positive else value

    def _beyond(self, raw: Tensor) -> Tensor:
        """The raw rates after the last step of the training, from those of its steps ``[K, …]``."""
        median = raw.median(dim=0).values
        return median if self.positive else median.clamp(min=0)

    def mean(self) -> float:
        """Mean over all rates, for display."""
        if self.kind == "static":
            return self.value
        values = torch.cat([each.detach().reshape(-1) for each in self.raw.values()])
        return float((values.exp() if self.positive else values).mean())

"""Optimisers by name: torch's own, or any class with the same interface."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.model.stack import NetworkStack

# LBFGS needs a closure that evaluates the loss several times a step, SparseAdam needs sparse gradients.
_UNSUITABLE = {"lbfgs", "sparseadam", "optimizer"}
# These treat a parameter as one matrix, but a parameter of a stack holds the matrices of all networks.
_OF_MATRICES = {"muon", "adafactor"}

_EXTRA = {"pytorch_optimizer": "partinr[optimizers]"}
"""The extra that installs a package."""


@spec
class Optimizer:
    """An elementwise optimiser and its settings.

    Attributes:
        name: name of an optimiser of torch in lower case (``adam``, ``adamw``, ``sgd``, ``nadam``, ``rmsprop`` …), or
            the dotted path of a class. An optimiser that treats a parameter as a whole would mix the networks of a
            stack; use :class:`PerNetwork <partinr.regimes.PerNetwork>` for those.
        lr: learning rate, above 0.
        options: further arguments of the class, such as ``betas`` or ``momentum``.
        clip_norm: limit of the norm of each network's gradient, above 0; None for no limit. A network that exceeds it
            takes its step with the gradient scaled down to the limit, and does not affect others.

    Raises:
        PartinrError: the optimiser or an option does not exist.
    """

    name: str = "adam"
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    options: dict[str, Any] = Field(default_factory=dict)
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    takes_any: ClassVar[bool] = True
    """Whether a class that accepts ``**kwargs`` takes every option."""

    def __post_init__(self) -> None:
        """Check that the class exists and accepts the options."""
        parameters = inspect.signature(self._class()).parameters.values()
        named = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
        if self.takes_any and len(named) < len(parameters):
            return
        unknown = sorted(set(self.options) - (named - {"params", "lr"}))
        if unknown:
            without = " ".join(f"~optimizer.options.{name}" for name in unknown)
            cure = f"choose the whole group with optimizer={self.name}, or add" if self.takes_any else "add"
            raise PartinrError(f"optimizer {self.name} takes no {', '.join(unknown)}; {cure} {without}")

    def build(self, params: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
        """The optimiser for parameters that belong to no network.

        Raises:
            PartinrError: the optimiser refuses the value of an option, or ``clip_norm`` is given.
        """
        if self.clip_norm is not None:
            raise PartinrError(
                "optimizer.clip_norm clips each network by itself, and regime=meta also learns what belongs to none; "
                f"give optimizer.clip_norm=null regime.clip_norm={self.clip_norm:g}"
            )
        return self._made(params)

    def _made(self, params: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
        kind, options = self._class(), self._options()
        if "fused" in inspect.signature(kind).parameters and not {"fused", "foreach"} & set(options):
            # Fused: the same arithmetic in one pass over the parameters instead of a dozen.
            options["fused"] = True
        try:
            return kind(list(params), lr=self.lr, **options)
        except (TypeError, ValueError) as error:
            raise PartinrError(f"optimizer {self.name} refuses its options: {error}; see optimizer.options") from error

    def build_stack(self, model: NetworkStack, params: Mapping[str, torch.Tensor]) -> torch.optim.Optimizer:
        """The optimiser for networks of a stack, each of which is trained independently.

        Args:
            model: the stack.
            params: parameters of the networks, by the names of the stack and in its order, each with a leading axis of
                networks.

        Raises:
            PartinrError: as for :meth:`build`, or the optimiser would mix the networks.
        """
        if self.name in _OF_MATRICES:
            raise PartinrError(
                f"optimizer.name={self.name} takes a parameter for one matrix and would mix the networks of a stack; "
                "choose optimizer=muon or optimizer=soap (in Python PerNetwork), which treat each network by itself"
            )
        return self._made(params.values())

    def _options(self) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in self.options.items()}

    def _class(self) -> Callable[..., torch.optim.Optimizer]:
        known = {
            name.lower(): value
            for name, value in vars(torch.optim).items()
            if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name.lower() not in _UNSUITABLE
        }
        if self.name in known:
            return known[self.name]
        module, _, attribute = self.name.rpartition(".")
        if module:
            try:
                found = getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                extra = _EXTRA.get(module.partition(".")[0]) if isinstance(error, ModuleNotFoundError) else None
                cure = "" if extra is None else f"; install it: pip install '{extra}'"
                raise PartinrError(f"optimizer.name={self.name!r} cannot be imported: {error}{cure}") from error
            if isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
                return found
            raise PartinrError(f"optimizer.name={self.name!r} is no torch optimiser class")
        near = difflib.get_close_matches(self.name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; choose from {', '.join(sorted(known))}"
        raise PartinrError(f"there is no optimizer {self.name!r}{hint}")

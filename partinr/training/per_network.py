"""Optimisers that treat a parameter as a whole, such as a matrix, applied to each network of a stack.

Muon or SOAP cannot use a stack's ``weight [N, out, in]`` directly: they would treat the axis of networks as another
side of the matrix. Here the library's step is written for one network, and :func:`torch.vmap` runs it for all networks
at once. Stacked therefore equals separate by construction, without a loop over networks.

As with every other optimiser, the state of a network is a row of tensors with a leading axis of networks, so
checkpoints, frozen regions and several devices need no special case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from partinr.backbones.base import all_digits
from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.model.stack import NetworkStack
from partinr.training.optimizer import Optimizer


@spec
class PerNetwork(Optimizer):
    """An optimiser that sees the parameters of one network at a time: matrices and vectors.

    Any class works whose step :func:`torch.vmap` can run: it must not read the value of a tensor, and must count its
    steps in its parameter group, or not at all.

    Attributes:
        adamw_lr: learning rate of AdamW for all parameters except the matrices between hidden layers, as is usual with
            Muon: first and output layer, biases, tables. It changes in proportion to ``lr``. AdamW's other settings are
            torch's defaults without weight decay. None: the optimiser has all parameters.

    Raises:
        PartinrError: the optimiser or an option does not exist.
    """

    name: str = "pytorch_optimizer.SOAP"
    adamw_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    takes_any: ClassVar[bool] = False  # what only ``**kwargs`` accept has no effect

    def build(self, params: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Refuse parameters that do not belong to a network.

        Raises:
            PartinrError: always.
        """
        raise PartinrError(
            f"optimizer {self.name} treats each network by itself, and regime=meta also learns what belongs to none; "
            "choose optimizer=adam"
        )

    def build_stack(self, model: NetworkStack, params: Mapping[str, Tensor]) -> torch.optim.Optimizer:
        """See :meth:`Optimizer.build_stack`.

        Raises:
            PartinrError: the optimiser refuses the value of an option; its step does not work for many networks at
                once; or ``adamw_lr`` is given and the networks have no hidden matrices.
        """
        chosen = frozenset(params)
        if self.adamw_lr is not None:
            hidden = model.hidden_matrices()
            if hidden is None:
                raise PartinrError(
                    f"optimizer {self.name} is for the matrices between hidden layers, and backbone "
                    f"{model.backbone.title} has none of real numbers; choose optimizer=adam or optimizer=soap"
                )
            chosen = hidden
        self._try_out()
        return self._make([(value, name in chosen) for name, value in params.items()])

    def _make(self, params: Sequence[tuple[Tensor, bool]]) -> NetworkSteps:
        # The optimiser checks its options when it is made, for which only shapes matter.
        kind, options = self._class(), self._options()
        examples = [nn.Parameter(torch.zeros(value.shape[1:])) for value, chosen in params if chosen]
        try:
            inner = kind(examples, lr=self.lr, **options)
        except (TypeError, ValueError) as error:
            raise PartinrError(f"optimizer {self.name} refuses its options: {error}; see optimizer.options") from error
        return NetworkSteps(params, inner, self.lr, self.adamw_lr)

    def _try_out(self) -> None:
        """Refuse an optimiser that fails in two steps of two small networks."""
        shapes = [(2, 3, 4)] if self.adamw_lr is not None else [(2, 3, 4), (2, 3)]
        params = [nn.Parameter(torch.ones(shape)) for shape in shapes]
        steps = self._make([(value, True) for value in params])
        for _ in range(2):
            for value in params:
                value.grad = torch.ones_like(value)
            try:
                steps.step()
            except Exception as error:  # the library may raise any type
                reason = " ".join(str(error).split())[:200]
                raise PartinrError(
                    f"optimizer {self.name} cannot take the steps of many networks at once: {reason}; "
                    "choose optimizer=muon, soap or adam"
                ) from error


class NetworkSteps(torch.optim.Optimizer):
    """An optimiser's steps for each network of a stack, and AdamW's steps for the other parameters.

    Args:
        params: parameters of the stack in its order, ``[N, *shape]`` each (N differs between widths), and whether the
            optimiser has them.
        inner: the optimiser, made for one network.
        lr: its learning rate.
        adamw_lr: learning rate of AdamW at that rate; None if the optimiser has all parameters.
    """

    def __init__(
        self,
        params: Sequence[tuple[Tensor, bool]],
        inner: torch.optim.Optimizer,
        lr: float,
        adamw_lr: float | None,
    ) -> None:
        super().__init__([value for value, _ in params], {"lr": lr})
        # By position, since the parameters are replaced when regions freeze.
        self._chosen = [chosen for _, chosen in params]
        self._inner = inner
        self._settings = {name: value for name, value in inner.param_groups[0].items() if name != "params"}
        self._adamw_share = None if adamw_lr is None else adamw_lr / lr
        self._adamw = torch.optim.AdamW([torch.zeros(0)], lr=lr, weight_decay=0.0)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the current gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        alike: dict[Any, list[Tensor]] = defaultdict(list)
        others = []
        for value, chosen in zip(group["params"], self._chosen, strict=True):
            if value.grad is None:
                continue
            if chosen:
                state = self.state.get(value, {})
                alike[len(value), bool(state), int(state.get("step", 0))].append(value)
            else:
                others.append(value)
        for params in alike.values():
            self._step_networks(params, group["lr"])
        if others:
            assert self._adamw_share is not None
            (rest,) = self._adamw.param_groups
            rest["params"], rest["lr"] = others, group["lr"] * self._adamw_share
            # Set each time, since loading a checkpoint replaces the whole state.
            self._adamw.state = self.state
            self._adamw.step()
        return loss

    def _step_networks(self, params: Sequence[Tensor], lr: float) -> None:
        """One step of the parameters with one number of networks and steps."""
        inner, states = self._inner, [self.state[value] for value in params]
        settings = {**self._settings, "lr": lr}
        if "step" in states[0]:
            settings["step"] = int(states[0]["step"])
        kept = [_split({**state, "step": None})[0] for state in states]
        plain = [_split(state)[1] for state in states]
        found_plain: list[dict[str, Any]] = []

        def network(
            values: Sequence[Tensor], gradients: Sequence[Tensor], tensors: Sequence[dict[str, Tensor]]
        ) -> list[dict[str, Tensor]]:
            """One network's step in the library; returns the tensors of its state."""
            inner.param_groups = [{**settings, "params": list(values)}]
            inner.state = defaultdict(dict)
            for value, gradient, own, also in zip(values, gradients, tensors, plain, strict=True):
                value.grad = gradient
                if own or also:
                    inner.state[value] = _nested({**own, **also})
            with _Batched(values[0].new_zeros(())):
                inner.step()
            after = [_split(_flat(inner.state[value])) for value in values]
            found_plain.extend(also for _, also in after)
            return [own for own, _ in after]

        gradients = [value.grad for value in params if value.grad is not None]
        try:
            # Lightning leaves autocast enabled during optimiser steps.
            with all_digits(params[0]):
                found = torch.vmap(network)([value.detach() for value in params], gradients, kept)
            count = inner.param_groups[0].get("step")
        finally:
            # Drop references to tensors inside vmap.
            inner.param_groups, inner.state = [{**self._settings, "params": []}], defaultdict(dict)
        for value, tensors, also in zip(params, found, found_plain, strict=True):
            # One memory layout for all, since it affects the rounding of products.
            self.state[value] = {**{name: each.contiguous() for name, each in tensors.items()}, **also}
            if count is not None:
                # In the form of torch's optimisers, which merging across processes relies on.
                self.state[value]["step"] = torch.tensor(float(count))


class _Batched(TorchFunctionMode):
    """Adapts a library's operations to many networks at once.

    A new matrix of zeros gets an axis of networks, since vmap cannot write to a shared one. ``lerp`` replaces
    ``lerp_``, which vmap of torch 2.13 runs as a loop over networks. Muon's cast to bf16, which pays off for large
    matrices on a GPU, is skipped: with so few digits, the result of a network would depend on its stack.
    """

    makers = (torch.zeros, torch.ones, torch.eye)

    def __init__(self, zero: Tensor) -> None:
        super().__init__()
        self.zero = zero

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.lerp_:
            return args[0].copy_(torch.lerp(*args, **kwargs))
        if func is Tensor.bfloat16:
            return args[0].clone()  # a copy, as the cast gives
        made = func(*args, **kwargs)
        return made + self.zero.to(made.dtype) if func in self.makers else made


def _split(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a parameter's state, and the rest."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def _flat(state: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's state with flattened lists: ``{"Q": [a, b]}`` becomes ``{"Q.0": a, "Q.1": b}``."""
    flat: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, list):
            flat.update({f"{name}.{number}": each for number, each in enumerate(value)})
        else:
            flat[name] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`_flat`."""
    state: dict[str, Any] = {}
    for name, value in sorted(flat.items()):
        key, dot, _ = name.partition(".")
        if dot:
            state.setdefault(key, []).append(value)
        else:
            state[name] = value
    return state

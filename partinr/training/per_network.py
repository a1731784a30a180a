"""Optimisers that look at a parameter as a whole, such as at a matrix: each network's own by itself.

Such an optimiser (Muon, SOAP) cannot be given a stack's ``weight [N, out, in]``: it would take the networks for one
more side of the matrix. Here the library's own step is written for one network, as it stands in the library, and
:func:`torch.vmap` carries it out for all of them at once. So stacked equals separate by construction, and there is no
loop over networks.

What the optimiser keeps of a network is a row of tensors with the axis of networks in front, as with every other
optimiser. Checkpoints, frozen regions and several devices know no difference.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

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
    """An optimiser that is given the parameters of each network by themselves: matrices and vectors.

    Any class will do whose step :func:`torch.vmap` can carry out: that asks for no value of a tensor and counts its
    steps in its group, or not at all.

    Attributes:
        adamw_lr: learning rate of AdamW, which then has all parameters but the matrices between hidden layers, as is
            the custom with Muon: those of the first and the output layer, biases, tables. It moves as ``lr`` does. The
            other settings of AdamW are torch's, without weight decay. None: the optimiser has all parameters.

    Raises:
        PartinrError: there is no such optimiser, or it has no such option.
    """

    name: str = "pytorch_optimizer.SOAP"
    adamw_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def __post_init__(self) -> None:
        """Check that the class exists and takes the options; one that would take any has no use for the others."""
        super().__post_init__()
        accepted = {
            name
            for name, parameter in inspect.signature(self._class()).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        }
        unknown = sorted(set(self.options) - (accepted - {"params", "lr"}))
        if unknown:
            raise PartinrError(f"optimizer {self.name} takes no {', '.join(unknown)}; see optimizer.options")

    def build(self, params: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Refuse parameters of which nobody says to which network they belong.

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
            PartinrError: an option has a value that the optimiser refuses; its step cannot be taken for many networks
                at once; or with ``adamw_lr`` the networks have no hidden matrices.
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
        # What the optimiser thinks of its options it says when it is made; of the parameters only the shapes matter.
        kind, options = self._class(), self._options()
        examples = [nn.Parameter(torch.zeros(value.shape[1:])) for value, chosen in params if chosen]
        try:
            inner = kind(examples, lr=self.lr, **options)
        except (TypeError, ValueError) as error:
            raise PartinrError(f"optimizer {self.name} refuses its options: {error}; see optimizer.options") from error
        return NetworkSteps(params, inner, self.lr, self.adamw_lr)

    def _try_out(self) -> None:
        """Take two steps of two small networks: an optimiser of which one cannot be taken is refused at once."""
        shapes = [(2, 3, 4)] if self.adamw_lr is not None else [(2, 3, 4), (2, 3)]
        params = [nn.Parameter(torch.ones(shape)) for shape in shapes]
        steps = self._make([(value, True) for value in params])
        for _ in range(2):
            for value in params:
                value.grad = torch.ones_like(value)
            try:
                steps.step()
            except Exception as error:  # a library's, of any kind
                reason = " ".join(str(error).split())[:200]
                raise PartinrError(
                    f"optimizer {self.name} cannot take the steps of many networks at once: {reason}; "
                    "choose optimizer=muon, soap or adam"
                ) from error


class NetworkSteps(torch.optim.Optimizer):
    """Takes the steps of an optimiser for each network of a stack, and those of AdamW for what it does not have.

    Args:
        params: those of the stack in its order, ``[N, *shape]`` each, N where networks have several widths another for
            each width; and whether the optimiser has them.
        inner: the optimiser, made for one network.
        lr: its learning rate.
        adamw_lr: that of AdamW at that rate; None if it has nothing.
    """

    def __init__(
        self,
        params: Sequence[tuple[Tensor, bool]],
        inner: torch.optim.Optimizer,
        lr: float,
        adamw_lr: float | None,
    ) -> None:
        super().__init__([value for value, _ in params], {"lr": lr})
        # By place: the parameters themselves are exchanged when regions freeze.
        self._chosen = [chosen for _, chosen in params]
        self._inner = inner
        self._settings = {name: value for name, value in inner.param_groups[0].items() if name != "params"}
        self._adamw_share = None if adamw_lr is None else adamw_lr / lr
        self._adamw = torch.optim.AdamW([torch.zeros(0)], lr=lr, weight_decay=0.0)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the gradients that there are."""
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
            # Loading a checkpoint replaces the whole of it.
            self._adamw.state = self.state
            self._adamw.step()
        return loss

    def _step_networks(self, params: Sequence[Tensor], lr: float) -> None:
        """A step of the chosen parameters of as many networks."""
        inner, states = self._inner, [self.state[value] for value in params]
        settings = {**self._settings, "lr": lr}
        if "step" in states[0]:
            settings["step"] = int(states[0]["step"])
        plain = [{name: each for name, each in state.items() if not isinstance(each, Tensor)} for state in states]
        kept = [
            {name: each for name, each in state.items() if isinstance(each, Tensor) and name != "step"}
            for state in states
        ]
        found_plain: list[dict[str, Any]] = []

        def network(
            values: Sequence[Tensor], gradients: Sequence[Tensor], tensors: Sequence[dict[str, Tensor]]
        ) -> list[dict[str, Tensor]]:
            """One network's step, as the library takes it; gives what the library keeps."""
            inner.param_groups = [{**settings, "params": list(values)}]
            inner.state = defaultdict(dict)
            for value, gradient, own, also in zip(values, gradients, tensors, plain, strict=True):
                value.grad = gradient
                if own or also:
                    inner.state[value] = _nested({**own, **also})
            with _Batched(values[0].new_zeros(())):
                inner.step()
            flat = [_flat(inner.state[value]) for value in values]
            found_plain.extend(
                {name: each for name, each in one.items() if not isinstance(each, Tensor)} for one in flat
            )
            return [{name: each for name, each in one.items() if isinstance(each, Tensor)} for one in flat]

        gradients = [value.grad for value in params if value.grad is not None]
        try:
            # Lightning has autocast on around steps, too.
            with all_digits(params[0]):
                found = torch.vmap(network)([value.detach() for value in params], gradients, kept)
            count = inner.param_groups[0].get("step")
        finally:
            # What they hold belongs to the call.
            inner.param_groups, inner.state = [{**self._settings, "params": []}], defaultdict(dict)
        for value, tensors, also in zip(params, found, found_plain, strict=True):
            # One layout: products of the same numbers in another one may be rounded otherwise.
            self.state[value] = {**{name: each.contiguous() for name, each in tensors.items()}, **also}
            if count is not None:
                # As torch's own optimisers count, so that of several processes the one that goes on is heard.
                self.state[value]["step"] = torch.tensor(float(count))


class _Batched(TorchFunctionMode):
    """What a library does, as it has to be done for all networks at once.

    A matrix of zeros that it makes is made for each network: otherwise all would share one, and it could not be written
    to. ``lerp_``, for which vmap of torch 2.13 has nothing but a loop over the networks, is done by ``lerp``. And what
    Muon narrows to bf16, which large matrices on a GPU gain by, keeps its digits: with two or three of them, a network
    would come out otherwise in another stack.
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
            return args[0].clone()  # which may be written to
        made = func(*args, **kwargs)
        return made + self.zero.to(made.dtype) if func in self.makers else made


def _flat(state: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimiser keeps of a parameter, lists taken apart: ``{"Q": [a, b]}`` becomes ``{"Q.0": a, "Q.1": b}``."""
    flat: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, list):
            flat.update({f"{name}.{number}": each for number, each in enumerate(value)})
        else:
            flat[name] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The way back from :func:`_flat`."""
    state: dict[str, Any] = {}
    for name, value in sorted(flat.items()):
        key, dot, _ = name.partition(".")
        if dot:
            state.setdefault(key, []).append(value)
        else:
            state[name] = value
    return state

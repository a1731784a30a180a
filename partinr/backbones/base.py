"""The contract of a backbone: an initialisation and a pure function of its parameters."""

from __future__ import annotations

import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.engines.base import Linear
from partinr.engines.chain import Chain

FACTOR_SPREAD = 0.1
"""Standard deviation of the logarithm of a weight's initial factor, as Wang et al. (2022) recommend."""

Frequency = Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"]
"""What sets a network's first frequencies, or ``auto``, see :func:`partinr.model.frequency.settle_frequency`."""


def settled(frequency: float | Literal["auto"]) -> float:
    """A frequency as a number.

    Raises:
        PartinrError: it is ``auto``.
    """
    if frequency == "auto":
        raise PartinrError(f"a frequency is auto, which {_FOLLOWS}")
    return frequency


_FOLLOWS = (
    "follows from the signal of a fit (regime=fit); give a number, or settle it with "
    "partinr.model.frequency.settle_frequency"
)


@spec
class Backbone(ABC):
    """A coordinate network from d coordinates to c values, for one network or a stack of them.

    A subclass is a spec (:mod:`partinr.spec`) and defines three methods: :meth:`init`, :meth:`apply` and :meth:`macs`.
    They work for any number of networks.

    Attributes:
        title: the backbone's name in tables; by default the class's name in lower case.
        hidden_features: width of the hidden layers, at least 1; None to derive it from ``match_params``.
        match_params: selects the width whose parameter count over all networks of the stack is nearest to this number;
            unused if ``hidden_features`` is given.
        fixed: names of parameters that :meth:`init` draws but that are never trained, such as random frequencies. They
            are saved with the others but do not count as parameters.
        between: whether the network has values between the samples that it was fitted to; without them it is rendered
            at its own samples only.
        frequency: name of the field that sets the first frequencies and may be ``auto``; None if there is none.
        period: value of that field for which the first layer has about one period over [-1, 1].
    """

    title: ClassVar[str]
    fixed: ClassVar[frozenset[str]] = frozenset()
    between: ClassVar[bool] = True
    frequency: ClassVar[str | None] = None
    period: ClassVar[float] = 1.0
    hidden_features: Annotated[int, Field(ge=1)] | None = None
    match_params: Annotated[int, Field(ge=1)] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "title" not in vars(cls):
            cls.title = cls.__name__.lower()
        if "init" in vars(cls):
            cls.init = door(cls.init)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Check that the width is determined.

        Raises:
            PartinrError: neither ``hidden_features`` nor ``match_params`` is given.
        """
        if self.hidden_features is None and self.match_params is None:
            raise PartinrError("the backbone has no width; give backbone.hidden_features or backbone.match_params")

    @abstractmethod
    def init(
        self, networks: int, in_features: int, out_features: int, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Initial parameters of a stack, drawn from ``generator``: by name, each ``[networks, *shape]``."""

    @abstractmethod
    def apply(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """Values of one network, or of k networks at once.

        Args:
            params: as from :meth:`init`, with the leading axis reduced to the k networks, or removed.
            x: coordinates ``[..., n, d]``.
            linear: ``linear(x, weight, bias)`` for ``[..., n, in]``, ``[..., out, in]`` and ``[..., out]``. Use it for
                every product: the engine decides how products are computed.

        Returns:
            values ``[..., n, c]``.
        """

    @abstractmethod
    def macs(self, in_features: int, out_features: int) -> int:
        """Forward multiply-accumulates of one network for one sample."""

    def macs_a_pass(self, in_features: int, out_features: int) -> int:
        """Forward multiply-accumulates of one network in each pass, whatever its number of samples."""
        return 0

    def chain(self, params: Mapping[str, Tensor]) -> Chain | None:
        """The networks as a chain of affine maps with sines between them, for engines with such kernels.

        Args:
            params: as from :meth:`init`.

        Returns:
            the chain that computes the same as :meth:`apply`; None for other networks.
        """
        return None

    def layers(self) -> tuple[tuple[str, ...], ...] | None:
        """Names of the parameters by layer, output layer last; None without such an order."""
        return None

    def output_bias(self) -> str | None:
        """Name of the parameter ``[N, c]`` that is added to the output last, or None."""
        return None

    def affine_inputs(self) -> tuple[tuple[str, str], ...] | None:
        """Names of the weights ``[N, out, d]`` and biases ``[N, out]`` of all maps that the coordinates enter.

        An affine change of coordinates can be folded into them. None if coordinates enter otherwise, as an encoding.
        """
        return None

    def hidden_matrices(self) -> tuple[str, ...] | None:
        """Names of the matrices ``[N, out, in]`` between the features of two hidden layers.

        Matrices of the first layer, the output layer, an encoding or a filter do not count. None if there are no such
        matrices, or if they are stored in another form.
        """
        return None

    @property
    def unsettled(self) -> bool:
        """Whether the frequency is ``auto``."""
        return self.frequency is not None and getattr(self, self.frequency) == "auto"

    def at_frequency(self, value: float) -> Self:
        """This backbone with another value of the field :attr:`frequency`."""
        assert self.frequency is not None, "ask frequency first"
        options: dict[str, Any] = {self.frequency: value}
        return dataclasses.replace(self, **options)

    @door
    def parameters(self, in_features: int, out_features: int) -> int:
        """Number of trained parameters of one network."""
        own = self.at_frequency(self.period) if self.unsettled else self
        with torch.device("meta"):
            params = own.init(1, in_features, out_features, None)
        return sum(value.numel() for name, value in params.items() if name not in self.fixed)

    def sized(self, networks: int, in_features: int, out_features: int) -> Self:
        """This backbone with a definite width, derived from ``match_params`` for ``networks`` networks if needed.

        Raises:
            PartinrError: the budget is too small for networks of width 1, or the frequency is ``auto``.
        """
        if self.unsettled:
            raise PartinrError(f"backbone.{self.frequency}=auto {_FOLLOWS}")
        if self.hidden_features is not None:
            return self
        assert self.match_params is not None  # checked by __post_init__
        narrowest = networks * self.with_width(1).parameters(in_features, out_features)
        if narrowest > self.match_params:
            raise PartinrError(
                f"backbone.match_params={self.match_params} is too few: {networks} networks one feature wide have "
                f"{narrowest} parameters; give more, or fewer regions"
            )
        return self.with_width(self.width_for(self.match_params, networks, in_features, out_features))

    def width_for(self, budget: float, networks: int, in_features: int, out_features: int) -> int:
        """The width for which ``networks`` networks are nearest to ``budget`` parameters, from below or above."""

        def total(width: int) -> int:
            return networks * self.with_width(width).parameters(in_features, out_features)

        # Half a feature is rounded down.
        return max(1, math.ceil(width_between(budget, total) - 0.5))

    def with_width(self, width: int) -> Self:
        """This backbone with another ``hidden_features``."""
        return dataclasses.replace(self, hidden_features=width, match_params=None)


def all_digits(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def init_by_fan(weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
    """Fill ``weight [N, out, in]`` and ``bias [N, out]`` uniformly in ±1 / sqrt(in), as torch's ``Linear`` starts."""
    bound = 1 / math.sqrt(weight.shape[-1])
    weight.uniform_(-bound, bound, generator=generator)
    bias.uniform_(-bound, bound, generator=generator)


@spec
class Mlp(Backbone):
    """A multilayer perceptron: encoding, first layer, ``hidden_layers`` hidden layers, linear output layer.

    Parameters are ``weight_i [N, out, in]`` and ``bias_i [N, out]``, i = 0 … hidden_layers + 1, after those of the
    encoding, if there are any.

    With ``factorisation`` the weights are ``diag(exp(s)) V``, and s and V are trained (Wang et al., "Random Weight
    Factorization Improves the Training of Continuous Neural Representations", 2022, section 3). s starts normal with
    this mean and standard deviation 0.1, and V so that the product starts as the weights do without it. The paper
    recommends a mean of 0.5 or 1. Each layer then has a parameter ``scale_i [N, out]``, s.

    Attributes:
        hidden_layers: layers from ``hidden_features`` to ``hidden_features``, 0 or more, not counting first and output
            layer, as usual in the field.
        factorisation: mean of the logarithm of the weights' factors; None for weights without factors.
        encoding: names of the parameters that :meth:`init_encoding` makes.
    """

    hidden_layers: Annotated[int, Field(ge=0)] = 3
    factorisation: Annotated[float, Field(allow_inf_nan=False)] | None = None
    encoding: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """Fill ``weight [N, out, in]`` and ``bias [N, out]`` of one layer in place."""

    @abstractmethod
    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """Layer ``layer`` with its non-linearity, ``[..., n, in]`` to ``[..., n, out]``; not for the output layer."""

    def init_encoding(self, networks: int, in_features: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Initial parameters of the encoding, each ``[networks, *shape]``; empty by default."""
        return {}

    def encode(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """The first layer's input for coordinates ``[..., n, d]``; by default the coordinates."""
        return x

    def encoded_features(self, in_features: int) -> int:
        """The number of features that :meth:`encode` makes from ``in_features`` coordinates."""
        return in_features

    def further(self, layer: int) -> tuple[str, ...]:
        """Names of a layer's parameters beside weight and bias, without the number of the layer."""
        return () if self.factorisation is None else ("scale",)

    def init_further(self, layer: int, weight: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """The parameters :meth:`further`, each ``[N, *shape]``; may change the initial ``weight`` in place."""
        if self.factorisation is None:
            return {}
        scale = torch.empty(weight.shape[:-1]).normal_(self.factorisation, FACTOR_SPREAD, generator=generator)
        weight /= scale.exp().unsqueeze(-1)
        return {"scale": scale}

    def settle(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Mapping[str, Tensor]:
        """The parameters as the layers take them: what a pass computes once rather than for each sample.

        Args:
            params: as in :meth:`apply`.
            x: the coordinates; nothing may follow from their values.
            linear: as in :meth:`apply`.
        """
        if self.factorisation is None:
            return params
        names = [(f"weight_{layer}", f"scale_{layer}") for layer in range(self.hidden_layers + 2)]
        return {**params, **{name: params[scale].exp().unsqueeze(-1) * params[name] for name, scale in names}}

    def layer(self, number: int, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """One layer before the output layer, with settled parameters; by default :meth:`activation`."""
        return self.activation(number, x, params[f"weight_{number}"], params[f"bias_{number}"], linear)

    def widths(self, in_features: int, out_features: int) -> list[int]:
        """Features before, between and after the layers."""
        assert self.hidden_features is not None, "call sized() first"
        hidden = [self.hidden_features] * (self.hidden_layers + 1)
        return [self.encoded_features(in_features), *hidden, out_features]

    def shapes(self, in_features: int, out_features: int) -> list[tuple[int, int]]:
        """Rows and columns of the weights, layer by layer."""
        widths = self.widths(in_features, out_features)
        return [(fan_out, fan_in) for fan_in, fan_out in itertools.pairwise(widths)]

    def init(
        self, networks: int, in_features: int, out_features: int, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Initial parameters, layer by layer, see :meth:`Backbone.init`."""
        params = self.init_encoding(networks, in_features, generator)
        for layer, (rows, columns) in enumerate(self.shapes(in_features, out_features)):
            weight, bias = torch.empty(networks, rows, columns), torch.empty(networks, rows)
            self.init_layer(layer, weight, bias, generator)
            params[f"weight_{layer}"], params[f"bias_{layer}"] = weight, bias
            further = self.init_further(layer, weight, generator)
            params.update({f"{name}_{layer}": value for name, value in further.items()})
        return params

    def apply(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """Values, see :meth:`Backbone.apply`.

        Autocast applies to the hidden layers only. First and output layer keep full precision: lower precision would
        merge neighbouring pixels, and the first layer's frequencies multiply earlier errors.
        """
        output = self.hidden_layers + 1
        with all_digits(x):
            params = self.settle(params, x, linear)
            x = self.encode(params, x, linear)
            x = self.layer(0, params, x, linear)
        for layer in range(1, output):
            x = self.layer(layer, params, x, linear)
        weight = params[f"weight_{output}"]
        with all_digits(x):
            return linear(x.to(weight.dtype), weight, params[f"bias_{output}"])

    def output_bias(self) -> str:
        """The bias of the output layer."""
        return f"bias_{self.hidden_layers + 1}"

    def affine_inputs(self) -> tuple[tuple[str, str], ...] | None:
        """Those of the first layer, unless there is an encoding or the weights have factors."""
        plain = type(self).encode is Mlp.encode and self.factorisation is None
        return (("weight_0", "bias_0"),) if plain else None

    def hidden_matrices(self) -> tuple[str, ...] | None:
        """The weights of the hidden layers."""
        return tuple(f"weight_{layer}" for layer in range(1, self.hidden_layers + 1)) or None

    def layers(self) -> tuple[tuple[str, ...], ...]:
        """The parameters of each layer; the learned part of an encoding belongs to the first."""
        first, *others = [
            tuple(f"{name}_{layer}" for name in ("weight", "bias", *self.further(layer)))
            for layer in range(self.hidden_layers + 2)
        ]
        return ((*(name for name in self.encoding if name not in self.fixed), *first), *others)

    def macs(self, in_features: int, out_features: int) -> int:
        """Products of the layers, without encoding and activations."""
        return sum(rows * columns for rows, columns in self.shapes(in_features, out_features))


def width_between(budget: float, cost: Callable[[int], int]) -> float:
    """The width that costs so many parameters, between whole widths by their costs; below 1 if not even 1 is paid."""
    if budget < cost(1):
        return budget / cost(1)
    low, high = 1, 2
    while cost(high) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return low + (budget - cost(low)) / (cost(high) - cost(low))

"""Stacks for the tests of the engines: a backbone's function by plain operations, and which engine takes it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from partinr.backbones import Backbone
from partinr.engines import plan, registry
from partinr.engines.base import Architecture, Engine, Network, Shape, Stack
from partinr.engines.chain import Chain, products, widths_of

PLAIN = {"loop": plan.PLAIN[:1], "batched": plan.PLAIN[1:], "auto": plan.PLAIN}


def chained(backbone: Backbone, params: Mapping[str, Tensor]) -> Chain:
    """The layers of networks that are a chain."""
    chain = backbone.chain(params)
    assert chain is not None
    return chain


def stack_of(network: Network, params: Mapping[str, Tensor], macs: int = 1) -> Stack:
    """N networks that are no chain, with a cost for one sample of one of them."""
    return Stack(Architecture("test", network, lambda params: None, Shape(macs)), params)


def evaluate(
    network: Network,
    params: Mapping[str, Tensor],
    coords: Tensor,
    sizes: tuple[int, ...],
    engine: str = "loop",
    macs: int = 1,
) -> Tensor:
    """Values by torch's own operations: one network after the other, in one product, or as ``auto`` divides them."""
    return plan.values(PLAIN[engine], stack_of(network, params, macs), coords, sizes)


def chosen(
    name: str, backbone: Backbone, params: Mapping[str, Tensor], coords: Tensor, sizes: tuple[int, ...]
) -> Engine | None:
    """The engine behind a name that evaluates all networks; None where they differ."""
    widths = widths_of(backbone.chain(params))
    architecture = Architecture(backbone.title, backbone.apply, backbone.chain, Shape(products(widths), widths))
    stack = Stack(architecture, params)
    return plan.only_engine(registry.usable(name, stack, coords, sizes), stack, sizes, coords.device)

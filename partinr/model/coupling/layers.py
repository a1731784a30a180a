"""Local-Global networks (Ashkenazi and Treister, "Towards Croppable Implicit Neural Representations", NeurIPS 2024)."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from partinr.backbones import Mlp
from partinr.backbones.base import all_digits, width_between
from partinr.engines.base import Architecture, Linear, Shape
from partinr.engines.chain import Chain
from partinr.model.coupling.base import SHARED, Params, Places, Sharing

GLOBAL_PART = 0.1
"""Approximate part of the global network in the parameters of both, as in the paper's code by default."""

MERGE = f"{SHARED}merge_weight", f"{SHARED}merge_bias"
CENTRE, EXTENT = "centre", "extent"


class Layers(Sharing):
    """After each layer but the last, a region's features are merged with those of a global network.

    A region's network and the global one have equally many layers; the global one has no output layer and sees global
    coordinates. With local features h and global features g of layer i, the input of the region's layer i + 1 is
    ``activation(M [h; g] + m)``: the paper's merge operator in the form of its public code ("concat_and_fc"), in which
    one M serves all layers and regions. Every part starts as the backbone's layers do, at its frequencies. The width of
    the global network follows from that of the regions (:data:`GLOBAL_PART`).
    """

    said = "layers"

    def init(
        self, backbone: Mlp, networks: int, signals: int, features: tuple[int, int], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """See :meth:`Sharing.init`."""
        params = backbone.init(networks, *features, generator)
        whole = global_network(backbone, networks // signals, features)
        last = backbone.layers()[-1]
        of_signals = whole.init(signals, *features, generator)
        params |= {f"{SHARED}{name}": value for name, value in of_signals.items() if name not in last}
        local, merged = backbone.widths(*features)[1], backbone.widths(*features)[1] + whole.widths(*features)[1]
        weight, bias = torch.empty(signals, local, merged), torch.empty(signals, local)
        backbone.init_layer(1, weight, bias, generator)
        return {**params, MERGE[0]: weight, MERGE[1]: bias}

    def architecture(self, backbone: Mlp, regions: int, features: tuple[int, int]) -> Architecture:
        """See :meth:`Sharing.architecture`."""
        whole = global_network(backbone, regions, features)
        network = LocalGlobal(backbone, whole)
        h, g = backbone.widths(*features)[1], whole.widths(*features)[1]
        macs = backbone.macs(*features) + whole.macs(*features) - g * features[1]
        shape = Shape(macs + (backbone.hidden_layers + 1) * (h + g) * h)
        return Architecture(f"{backbone.title} with global layers", network.apply, network.chain, shape)

    def of_networks(self, backbone: Mlp, params: Params, places: Places | None) -> Params:
        """All parameters, and the place of each network's frame."""
        return params if places is None else {**params, CENTRE: places.centre, EXTENT: places.extent}

    def hidden_matrices(self, backbone: Mlp) -> tuple[str, ...]:
        """Those of local and global layers, and the merge operator."""
        own = backbone.hidden_matrices() or ()
        return *own, *(f"{SHARED}{name}" for name in own), MERGE[0]


@lru_cache(maxsize=256)
def global_network(backbone: Mlp, regions: int, features: tuple[int, int]) -> Mlp:
    """The global network of so many regions, with an output layer that is left out.

    Args:
        backbone: of the regions, with a definite width.
        regions: how many.
        features: coordinates and values per sample.
    """
    budget = regions * backbone.parameters(*features) * GLOBAL_PART / (1 - GLOBAL_PART)

    def cost(width: int) -> int:
        return backbone.with_width(width).parameters(*features) - (width + 1) * features[1]

    return backbone.with_width(max(1, round(width_between(budget, cost))))


@dataclass(frozen=True)
class LocalGlobal:
    """The function of one network.

    Attributes:
        local: the region's layers.
        whole: the global layers.
    """

    local: Mlp
    whole: Mlp

    def chain(self, params: Params) -> Chain | None:
        """None, since no chain of layers computes the same."""
        return None

    def apply(self, params: Params, x: Tensor, linear: Linear) -> Tensor:
        """Values, see :meth:`Backbone.apply`; precision as in :meth:`Mlp.apply`."""
        # The global network has no output layer; settle() wants to see one.
        shared: Params = {name: params[name] for name in self.local.layers()[-1]} | {
            name.removeprefix(SHARED): value for name, value in params.items() if name.startswith(SHARED)
        }
        z = x
        if CENTRE in params:
            z = params[CENTRE].unsqueeze(-2) + params[EXTENT].unsqueeze(-2) * x
        local, whole = self.local, self.whole
        with all_digits(x):
            params, shared = local.settle(params, x, linear), whole.settle(shared, z, linear)
            x, z = local.encode(params, x, linear), whole.encode(shared, z, linear)
        for layer in range(local.hidden_layers + 1):
            with all_digits(x) if layer == 0 else nullcontext():
                x, z = local.layer(layer, params, x, linear), whole.layer(layer, shared, z, linear)
            both = torch.cat([x.mT, z.mT], dim=-2).mT  # the memory layout of the batched engine
            x = local.activation(1, both, params[MERGE[0]], params[MERGE[1]], linear)
        weight = params[f"weight_{local.hidden_layers + 1}"]
        with all_digits(x):
            return linear(x.to(weight.dtype), weight, params[local.output_bias()])

"""Shared hidden layers, modulated for each region, with a head for each."""

from __future__ import annotations

import torch
from torch import Tensor

from partinr.backbones import Mlp
from partinr.engines.base import Architecture
from partinr.model.coupling.base import SHARED, Params, Places, Sharing
from partinr.model.groups import architecture_of


class Modulate(Sharing):
    """The regions of a signal share all layers but the last, of which each has its own.

    A shared layer is ``activation((1 + gain) (W x + b) + shift)`` with gain and shift of the region, one of each for
    every feature: the shifts of Dupont et al., "From data to functa" (2022, section 3.1), and scales as in feature-wise
    linear modulation (Perez et al. 2018). Both start at 0, where all regions have the same features; the rest starts as
    the backbone's layers do. Since gain and shift go into weights and bias, a modulated network is an ordinary one, and
    every engine evaluates it. The shared layers see the coordinates of the region's frame.
    """

    said = "modulate"

    def init(
        self, backbone: Mlp, networks: int, signals: int, features: tuple[int, int], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """See :meth:`Sharing.init`."""
        shared, last, width = (
            backbone.init(signals, *features, generator),
            backbone.layers()[-1],
            backbone.hidden_features,
        )
        assert width is not None, "call sized() first"
        weight, bias = torch.empty(networks, features[1], width), torch.empty(networks, features[1])
        output = backbone.hidden_layers + 1
        backbone.init_layer(output, weight, bias, generator)
        further = backbone.init_further(output, weight, generator)
        own = dict(zip(last, (weight, bias, *further.values()), strict=True))
        for layer in range(backbone.hidden_layers + 1):
            own |= {f"{name}_{layer}": torch.zeros(networks, width) for name in ("gain", "shift")}
        return own | {f"{SHARED}{name}": value for name, value in shared.items() if name not in last}

    def architecture(self, backbone: Mlp, regions: int, features: tuple[int, int]) -> Architecture:
        """See :meth:`Sharing.architecture`."""
        return architecture_of(backbone, *features)

    def of_networks(self, backbone: Mlp, params: Params, places: Places | None) -> Params:
        """The weights and biases that compute the modulated layers."""
        found = {name.removeprefix(SHARED): value for name, value in params.items() if name.startswith(SHARED)}
        for layer in range(backbone.hidden_layers + 1):
            factor = 1 + params[f"gain_{layer}"]
            found[f"weight_{layer}"] = factor.unsqueeze(-1) * found[f"weight_{layer}"]
            found[f"bias_{layer}"] = factor * found[f"bias_{layer}"] + params[f"shift_{layer}"]
        return found | {name: params[name] for name in backbone.layers()[-1]}

    def hidden_matrices(self, backbone: Mlp) -> tuple[str, ...]:
        """Those of the shared layers."""
        return tuple(f"{SHARED}{name}" for name in backbone.hidden_matrices() or ())

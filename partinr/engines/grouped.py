"""The grouped engine: ragged networks in bf16 by one grouped product a layer, without padded samples.

``torch.nn.functional.grouped_mm`` multiplies each network's samples ``[n, in]`` with its own weights, however many it
has. Its rows have to be whole pieces of 16 bytes, so that features are filled up with zeros to a multiple of 8; one of
these columns is of ones and carries the bias. It is for bf16 on CUDA, so the engine takes over under such an autocast
alone: what is computed in other precisions, evaluations among it, goes by the automatic choice. Layers that a backbone
keeps out of autocast, a SIREN's first and last, go network by network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.engines.cache import kept
from partinr.engines.plan import NETWORK_BYTES, Engine, Network

_MULTIPLE = 8
"""Of features: 16 bytes."""


def groups(engine: Engine, coords: Tensor) -> bool:
    """Whether an engine evaluates samples by grouped products: ``grouped``, under autocast to bf16."""
    kind = coords.device.type
    return (
        engine == "grouped"
        and torch.is_autocast_enabled(kind)
        and torch.get_autocast_dtype(kind) == torch.bfloat16
        and coords.shape[0] > 0
        # There is no batching rule for it.
        and not torch._C._are_functorch_transforms_active()
    )


def check_grouped(device: torch.device) -> None:
    """Refuse a device without grouped products worth the name.

    Raises:
        PartinrError: the device is no GPU that has kernels for them, or torch is too old.
    """
    if not hasattr(F, "grouped_mm"):
        raise PartinrError("engine=grouped needs torch 2.10 or newer; update torch, or choose engine=auto")
    # Older ones have the function, but torch waits for the sizes there and multiplies network by network.
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (9, 0):
        raise PartinrError("engine=grouped needs a GPU of compute capability 9.0 or above; choose engine=auto")


def run_grouped(network: Network, params: Mapping[str, Tensor], coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Evaluate N networks, each on its own samples.

    Args:
        network: the backbone's function. Its parameters may go into products alone: samples of all networks are seen
            as ``[M, features]``, beside parameters ``[N, ...]``.
        params: every parameter ``[N, *shape]``.
        coords: ``[M, d]``, sorted by network.
        sizes: samples of each network.

    Returns:
        ``[M, c]``, in the order of ``coords``.

    Raises:
        PartinrError: the network does something else with a parameter.
    """
    ends = _ends(sizes, coords.device)

    def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if x.shape[:-1] != coords.shape[:-1]:
            raise PartinrError(
                "engine=grouped is for networks whose parameters go into products alone; choose engine=auto"
            )
        if not torch.is_autocast_enabled(x.device.type):
            # A layer that keeps all digits; there is no grouped product with them.
            pieces = zip(x.split(list(sizes)), weight, bias, strict=True)
            return torch.cat([F.linear(piece, w, b) for piece, w, b in pieces])
        n_out, n_in = weight.shape[-2:]
        more_in, more_out = _MULTIPLE - n_in % _MULTIPLE, -n_out % _MULTIPLE
        rows = F.pad(F.pad(x.bfloat16(), (0, 1), value=1.0), (0, more_in - 1))
        both = torch.cat([weight, bias.unsqueeze(-1)], dim=-1).bfloat16()
        both = F.pad(both, (0, more_in - 1, 0, more_out))
        return F.grouped_mm(rows, both.transpose(-2, -1), offs=ends)[:, :n_out]

    return network(params, coords, linear)


@kept(lambda ends: len(ends) * NETWORK_BYTES)
@torch.inference_mode(False)
def _ends(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """int32 ``[N]``: where each network's samples end."""
    return torch.tensor(sizes).cumsum(0).int().to(device)

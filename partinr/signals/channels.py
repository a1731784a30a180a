"""Images in grey or RGB, as ``data.channels`` says, with or without transparency, as ``data.alpha`` says."""

from __future__ import annotations

import os
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from partinr.base.errors import PartinrError

Channels = Literal["as_is", "grey", "rgb"]
"""What to make of the channels of an image: leave them, or convert them to one or three."""

Alpha = Literal["refuse", "white", "black", "drop", "channel"]
"""What to do with transparency, see :func:`partinr.load_image`."""

BACKGROUNDS = {"white": 1.0, "black": 0.0}
"""The value of each background."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, as for JPEG (ITU-R BT.601)."""


def converted(image: Tensor, channels: Channels) -> Tensor:
    """An image in grey or RGB; grey is the luma, and RGB of a grey image has three equal channels.

    Args:
        image: float32 ``[H, W, C]`` in [0, 1]; C = 1 or 3, any for ``as_is``.
        channels: ``grey``, ``rgb``, or ``as_is`` to leave it.

    Raises:
        PartinrError: ``channels`` is none of these, or not for so many channels.
    """
    if channels not in get_args(Channels):
        raise PartinrError(f"channels must be as_is, grey or rgb, not {channels!r}; choose one of them")
    if channels != "as_is" and image.shape[-1] not in (1, 3):
        raise PartinrError(
            f"channels={channels} is for images of one or three channels, not of {image.shape[-1]}; give channels=as_is"
        )
    if channels == "grey" and image.shape[-1] == 3:
        return (image * image.new_tensor(_LUMA)).sum(dim=-1, keepdim=True).clamp(0, 1)
    if channels == "rgb" and image.shape[-1] == 1:
        return image.repeat(1, 1, 3)
    return image


def cure_for(count: int) -> str:
    """Advice that gives signals ``count`` channels."""
    word = {1: "grey", 3: "rgb"}.get(count)
    generated = f"data.channels={count} for data=text and data=smooth"
    return f"give data.channels={word} ({generated})" if word else f"give a signal with {count} channels"


def without_alpha(
    samples: np.ndarray, alpha: Alpha, path: str | os.PathLike[str]
) -> tuple[np.ndarray, Literal["white", "black"] | None]:
    """The samples without an irrelevant alpha channel, and the background to composite them over.

    Args:
        samples: ``[H, W, C]``; a second or fourth channel is the opacity, unless ``alpha`` is ``channel``.
        alpha: what to do with it.
        path: the file, for messages.

    Raises:
        PartinrError: it is transparent in places, and ``alpha`` refuses that.
    """
    if samples.shape[2] in (1, 3) or alpha == "channel":
        return samples, None
    opaque = np.iinfo(samples.dtype).max if samples.dtype.kind == "u" else 1
    if alpha == "drop" or bool((samples[:, :, -1] == opaque).all()):
        return samples[:, :, :-1], None
    if alpha == "refuse":
        raise PartinrError(
            f"{os.fspath(path)!r} is transparent in places; give data.alpha=white, black, drop or channel"
        )
    return samples, alpha

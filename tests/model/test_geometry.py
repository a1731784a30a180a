"""An image that is not square is fitted as well as a square one: rows and columns are never taken for each other."""

import torch

import partinr
from partinr.backbones import Siren
from partinr.partition import Grid

RULES = {"alone": (1, 1), "2x2": (2, 2), "4x4": (4, 4)}


def waves(height: int, width: int) -> torch.Tensor:
    """Waves of all directions that are alike everywhere, on pixels of one size: float32 ``[height, width, 3]``."""
    generator = torch.Generator().manual_seed(0)
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.zeros(height, width, 3)
    for _ in range(12):
        angle, phase = 2 * torch.pi * torch.rand(2, generator=generator)
        length = 6 + 10 * torch.rand((), generator=generator)  # pixels
        along = (rows * angle.cos() + cols * angle.sin()) * 2 * torch.pi / length
        image += torch.rand(3, generator=generator) * (along + phase).sin()[..., None]
    return (image - image.min()) / (image.max() - image.min())


def fitted(image: torch.Tensor, *rules: str) -> dict[str, float]:
    """PSNR [dB] under rules, with as many parameters a pixel whatever the image and the rule."""
    found = {}
    for name in rules:
        rows, cols = RULES[name]
        backbone = Siren(match_params=image.shape[0] * image.shape[1] // 2, hidden_layers=2, first_omega_0=20)
        model = partinr.PiecewiseINR(Grid(rows=rows, cols=cols)(image), backbone, frame="local")
        found[name] = partinr.fit(model, image, steps=150, lr=3e-3).psnr
    return found


def test_an_oblong_image_ranks_the_rules_as_its_square_crop_does() -> None:
    image = waves(32, 48)
    oblong, upright, square = (fitted(each, *RULES) for each in (image, image.transpose(0, 1), image[:, 8:40]))
    assert sorted(oblong, key=oblong.__getitem__) == sorted(square, key=square.__getitem__)
    assert sorted(upright, key=upright.__getitem__) == sorted(square, key=square.__getitem__)
    # Pixels laid out along the other axis than their coordinates would be noise to one network: 8 dB less.
    scrambled = fitted(image.transpose(0, 1).reshape(image.shape), "alone")
    assert scrambled["alone"] + 4 < min(oblong["alone"], upright["alone"])
    assert square["alone"] - 4 < min(oblong["alone"], upright["alone"])

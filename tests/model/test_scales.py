"""A fitted function between the pixels that it was fitted to, against the true one."""

from __future__ import annotations

import torch

import partinr
from partinr.backbones import Siren
from partinr.coords import Frame
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from partinr.signals import smooth_signal
from partinr.training.schedule import Cosine
from tests.covering import covering

SHAPE = (20, 28)
SEED = [3]
# A diagonal, so that the border is stairs.
CUTS = {
    "grid": Grid(rows=2, cols=2)(torch.zeros(*SHAPE, 1)),
    "diagonal": Partition((torch.arange(20)[:, None] * 28 > torch.arange(28) * 20).long()),
}


@covering(cut=list(CUTS), frame=["global", "local"])
def test_a_smooth_image_is_as_right_between_its_pixels_as_at_them(cut: str, frame: Frame) -> None:
    backbone = Siren(hidden_features=14, hidden_layers=1, first_omega_0=4.0, omega_0=6.0)
    model = PiecewiseINR(CUTS[cut], backbone, frame=frame, seed=1)
    image = smooth_signal(SHAPE, 3, seed=SEED, frequency=1.0)
    partinr.fit(model, image, steps=300, lr=5e-3, schedule=Cosine())
    error = {}
    for scale in (1, 2, 4):
        truth = smooth_signal([scale * n for n in SHAPE], 3, seed=SEED, frequency=1.0)
        error[scale] = float((model.render(scale) - truth).square().mean().sqrt())
    assert error[1] < 0.02
    # The outermost samples of a region lie half a pixel within it; beyond them the function extrapolates.
    assert max(error[2], error[4]) < 2 * error[1]
    # Enlarging the true pixels is worse.
    pixels = image.repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert float((pixels - truth).square().mean().sqrt()) > error[4]

"""The Shepp-Logan phantom, against scikit-image's picture of it."""

import skimage.data
import torch

from partinr.signals import PhantomData, shepp_logan


def test_in_the_plane_it_is_the_known_picture():
    known = torch.from_numpy(skimage.data.shepp_logan_phantom())
    ours = shepp_logan([400, 400])[..., 0]
    # They differ in pixels that an edge runs through.
    assert ((ours - known).abs() > 0.02).float().mean() < 0.01


def test_in_space_it_is_a_head():
    volume = shepp_logan([24, 32, 40])
    assert volume.shape == (24, 32, 40, 1)
    levels = {round(level, 4) for level in volume.unique().tolist()}
    assert levels == {0.0, 0.1, 0.2, 0.3, 1.0} or levels == {0.0, 0.2, 0.3, 1.0}
    # The middle slice shows the two ventricles in the brain, and the corners are air.
    assert volume[12, 16, 20] == 0.2
    assert volume[12, 16, 15] == volume[12, 16, 25] == 0
    assert volume[0].max() == volume[:, 0].max() == volume[..., 0, :].max() == 0
    # Half of the ellipsoids lie below the middle, and the large one is in front.
    assert torch.equal(PhantomData(shape=[24, 32, 40]).load(), volume)


def test_a_place_has_its_value_at_every_resolution():
    coarse, fine = shepp_logan([11, 11, 11]), shepp_logan([33, 33, 33])
    assert torch.equal(fine[1::3, 1::3, 1::3], coarse)

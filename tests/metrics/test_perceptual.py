"""MS-SSIM and LPIPS, against torchmetrics."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from partinr.base.errors import PartinrError
from partinr.metrics import ssim
from partinr.metrics.perceptual import LEAST, SCALES, VARIABLE, lpips, lpips_weights, ms_ssim
from tests.commands import TINY, call
from tests.read_back import manifest


def pair(height: int, width: int, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    signal = torch.rand(height, width, channels, generator=generator)
    return signal + 0.2 * torch.randn(signal.shape, generator=generator), signal


@pytest.mark.parametrize("size", [(176, 180, 3), (187, 176, 1)])
def test_ms_ssim_has_the_contrasts_of_torchmetrics(size):
    """Of all scales but the last, where torchmetrics also counts windows beyond the border of the image."""
    from torchmetrics.functional.image.ssim import _ssim_update

    reconstruction, signal = pair(*size)
    planes = [each.clamp(0, 1).movedim(-1, 0).unsqueeze(0).double() for each in (reconstruction, signal)]
    expected = 1.0
    for exponent in SCALES[:-1]:
        _, contrast = _ssim_update(planes[0], planes[1], data_range=1.0, return_contrast_sensitivity=True)
        expected *= float(contrast) ** exponent
        planes = [F.avg_pool2d(each, 2) for each in planes]
    last = ssim(*(each.squeeze(0).movedim(0, -1).float() for each in planes))
    assert ms_ssim(reconstruction, signal) == pytest.approx(expected * last ** SCALES[-1], abs=1e-5)
    assert ms_ssim(signal, signal) == pytest.approx(1, abs=1e-6)


def test_images_that_are_too_small_have_none():
    assert LEAST == 176
    assert math.isnan(ms_ssim(*pair(175, 200)))
    assert math.isnan(ms_ssim(torch.rand(400, 1), torch.rand(400, 1)))


def weights(path: Path) -> Path:
    """AlexNet with random weights, as torchvision stores it."""
    generator = torch.Generator().manual_seed(2)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    state = {}
    for layer, (out, into, side) in shapes.items():
        bound = (into * side**2) ** -0.5
        state[f"features.{layer}.weight"] = (2 * torch.rand(out, into, side, side, generator=generator) - 1) * bound
        state[f"features.{layer}.bias"] = (2 * torch.rand(out, generator=generator) - 1) * bound
    torch.save(state, path)
    return path


@pytest.mark.slow
def test_lpips_is_that_of_torchmetrics(tmp_path):
    from torchmetrics.functional.image.lpips import _LPIPS

    path = weights(tmp_path / "alexnet.pth")
    reference = _LPIPS(pretrained=True, net="alex", pnet_rand=True).eval()
    state = torch.load(path, weights_only=True)
    layers = dict(reference.net.named_parameters())
    with torch.no_grad():
        for name, value in layers.items():
            value.copy_(state[f"features.{name.split('.', 1)[1]}"])
    reconstruction, signal = pair(40, 48)
    planes = [2 * each.clamp(0, 1).movedim(-1, 0).unsqueeze(0) - 1 for each in (reconstruction, signal)]
    assert lpips(reconstruction, signal, path) == pytest.approx(float(reference(*planes)), rel=1e-4)


def test_lpips_needs_no_more_than_a_file(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert lpips_weights() is None
    path = weights(tmp_path / "alexnet.pth")
    monkeypatch.setenv(VARIABLE, str(path))
    assert lpips_weights() == path
    reconstruction, signal = pair(31, 40)
    assert lpips(signal, signal, path) == 0
    assert lpips(reconstruction, signal, path) > 0
    assert lpips(*pair(31, 40, 1), path) > 0
    assert math.isnan(lpips(*pair(30, 40), path))
    assert math.isnan(lpips(*pair(40, 40, 2), path))


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_weights_that_are_none_are_refused(tmp_path, monkeypatch, content):
    path = tmp_path / "alexnet.pth"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(PartinrError, match=f"{VARIABLE}=.*alexnet.pth cannot be read: .*; give torchvision's"):
        lpips_weights()


def test_a_run_has_both_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "missing.pth")
    answer = call(*TINY, "hydra.run.dir=run")
    assert (answer.code, answer.err.count("\n"), Path("run").exists()) == (2, 1, False)
    monkeypatch.setenv(VARIABLE, str(weights(tmp_path / "alexnet.pth")))
    assert call(*TINY, "data.size=32", "hydra.run.dir=run").code == 0
    found = manifest("run")["metrics"]
    assert found["lpips"] > 0
    assert found["ms_ssim"] is None
    table = call("table", "run", "--format", "md").out
    assert "LPIPS" in table
    assert "MS-SSIM" not in table

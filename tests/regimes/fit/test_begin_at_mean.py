"""Networks that begin at the mean of their region."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import partinr
from partinr.backbones import Backbone, Fourier, HashGrid, Mfn, Siren, Wire
from partinr.base.errors import PartinrError
from partinr.partition import Partition
from partinr.regimes import FitSettings

BACKBONES: list[Backbone] = [
    Siren(hidden_features=6, hidden_layers=1),
    Fourier(hidden_features=6, hidden_layers=1, frequencies=4),
    Wire(hidden_features=6, hidden_layers=1),
    Mfn(hidden_features=6, hidden_layers=1),
    HashGrid(hidden_features=6, hidden_layers=1, levels=2, table_size=16),
]


@pytest.fixture
def image() -> Tensor:
    return torch.rand(12, 15, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def ragged() -> Partition:
    labels = torch.randint(0, 4, (12, 15), generator=torch.Generator().manual_seed(1))
    return Partition(labels)


def _fit(model: partinr.PiecewiseINR, image: Tensor, steps: int = 1, begin_at_mean: bool = True) -> list[float]:
    settings = FitSettings(begin_at_mean=begin_at_mean, evaluate_every=1)
    return [row["psnr"] for row in partinr.fit(model, image, steps=steps, lr=1e-3, settings=settings).curve]


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda each: each.title)
@pytest.mark.parametrize("widths", [None, (3, 6, 3, 9)], ids=["one width", "several widths"])
def test_without_the_last_weights_the_values_are_the_means(
    image: Tensor, ragged: Partition, backbone: Backbone, widths: tuple[int, ...] | None
) -> None:
    model = partinr.PiecewiseINR(ragged, backbone, widths=widths)
    batch = model.batch(image)
    model.begin_at_mean(batch.targets, batch.sizes)
    layers = backbone.layers()
    assert layers is not None
    with torch.no_grad():
        for name, value in model.stack.items():
            if name.split("/")[-1] in layers[-1] and not name.endswith(str(backbone.output_bias())):
                value.zero_()
    picture = model.render()
    for region in range(4):
        here = ragged.labels == region
        expected = image[here].mean(0).expand_as(picture[here])
        torch.testing.assert_close(picture[here], expected, atol=1e-5, rtol=0)


def test_nothing_else_is_changed_and_the_start_is_better(image: Tensor, ragged: Partition) -> None:
    backbone = Siren(hidden_features=6, hidden_layers=1)
    plain, other = (partinr.PiecewiseINR(ragged, backbone, seed=3) for _ in range(2))
    batch = other.batch(image)
    other.begin_at_mean(batch.targets, batch.sizes)
    changed = [name for name, value in other.stack.items() if not torch.equal(value, plain.stack[name])]
    assert changed == ["bias_2"]
    assert _fit(other, image)[0] > _fit(plain, image, begin_at_mean=False)[0] + 3


def test_a_network_without_samples_keeps_its_bias() -> None:
    from partinr.model.stack import NetworkStack

    stack = NetworkStack(Siren(hidden_features=3, hidden_layers=1), 3, in_features=2)
    before = stack.stack["bias_2"].detach().clone()
    targets = torch.tensor([[0.0, 0.2, 0.4], [1.0, 0.4, 0.4], [0.1, 0.2, 0.3]])
    stack.begin_at_mean(targets, [2, 0, 1])
    torch.testing.assert_close(stack.stack["bias_2"][0], torch.tensor([0.5, 0.3, 0.4]))
    assert torch.equal(stack.stack["bias_2"][1], before[1])
    assert torch.equal(stack.stack["bias_2"][2], targets[2])


def test_a_backbone_without_such_a_bias_is_refused(
    image: Tensor, ragged: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Siren, "output_bias", Backbone.output_bias)
    with pytest.raises(PartinrError, match="has no bias"):
        _fit(partinr.PiecewiseINR(ragged, Siren(hidden_features=4)), image)

"""Cuts along time: where a sound pauses or begins, and where a film changes; any number of regions on demand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from partinr.base.errors import PartinrError, PartinrWarning
from partinr.partition import Cuts, Onsets, Shots, Silence


def tone(samples: int, period: float, channels: int = 1) -> np.ndarray:
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(samples) / period)
    return np.repeat(wave[:, None], channels, axis=1)


def sound(channels: int = 1) -> Tensor:
    """Three tones with pauses of 3,000 and 4,000 samples between them, and one of 500 inside the last."""
    parts = [(6000, 40.0), (3000, 0), (5000, 25.0), (4000, 0), (3000, 60.0), (500, 0), (3500, 60.0)]
    waves = [tone(n, period, channels) if period else np.full((n, channels), 0.5) for n, period in parts]
    return torch.from_numpy(np.concatenate(waves).astype(np.float32))


def film(*lengths: int) -> Tensor:
    """Shots of a moving gradient, each of another brightness; a flash in the middle of the last one."""
    columns = np.linspace(0, 0.3, 20)
    frames = [
        np.roll(columns, frame)[None, :, None] + 0.25 * (shot % 3) + np.zeros((12, 20, 3))
        for shot, length in enumerate(lengths)
        for frame in range(length)
    ]
    frames[-lengths[-1] // 2] = np.ones((12, 20, 3))
    return torch.from_numpy(np.stack(frames).astype(np.float32))


def edges(labels: Tensor) -> list[int]:
    return (labels.diff().nonzero()[:, 0] + 1).tolist()


def test_a_sound_is_cut_in_the_middle_of_its_pauses():
    for channels in (1, 2):
        labels = Silence(window=64, shortest=1000)(sound(channels)).labels
        assert edges(labels) == pytest.approx([7500, 16_000], abs=40)
    assert len(edges(Silence(window=64, shortest=200)(sound()).labels)) == 3
    # The longest pauses come first; without enough of them the parts are divided.
    assert edges(Silence(window=64, shortest=200, regions=2)(sound()).labels) == pytest.approx([16_000], abs=40)
    partition = Silence(window=64, shortest=200, regions=25)(sound())
    assert partition.regions == 25
    assert {7500, 16_000} <= {round(edge, -2) for edge in edges(partition.labels)}
    assert int(partition.sizes.max()) <= 2 * int(partition.sizes.min())


def test_a_sound_is_cut_where_notes_begin():
    notes = [tone(4000, period, 2) for period in (50, 37.3, 28.1, 50)]
    melody = torch.from_numpy(np.concatenate(notes).astype(np.float32))
    labels = Onsets(window=512)(melody).labels
    assert edges(labels) == pytest.approx([4000, 8000, 12_000], abs=512)
    assert Onsets(window=512, regions=2)(melody).regions == 2
    assert Onsets(window=512, regions=40)(melody).regions == 40


def test_a_film_is_cut_between_its_shots():
    clip = film(9, 4, 12)
    assert edges(Shots()(clip).labels[:, 0, 0]) == [9, 13]
    assert edges(Shots(regions=2)(film(9, 4, 12)).labels[:, 0, 0]) in ([9], [13])
    partition = Shots(regions=24)(clip)
    assert partition.regions == 24
    # No box crosses a cut.
    shots = [set(partition.labels[a:b].unique().tolist()) for a, b in ((0, 9), (9, 13), (13, 25))]
    assert sum(map(len, shots)) == 24


@pytest.mark.parametrize(
    ("rule", "shape"),
    [(Silence(), (500,)), (Silence(), (1,)), (Onsets(), (2000,)), (Onsets(), (1,)), (Shots(), (1, 4, 5))],
)
def test_without_a_cut_there_is_one_region_and_a_notice(rule: Cuts, shape: tuple[int, ...]) -> None:
    with pytest.warns(PartinrWarning, match=f"{rule.title} finds no cut in this signal.* or partition.regions"):
        assert rule(torch.full((*shape, 2), 0.3)).regions == 1


def test_another_number_of_axes_is_refused():
    for rule, shape, said in [
        (Silence(), (8, 8), "partition=silence is for signals of 1 axis, and this one has 2; choose partition=grid"),
        (Onsets(), (4, 8, 8), "partition=onsets is for signals of 1 axis, and this one has 3"),
        (Shots(), (8, 8), "partition=shots is for signals of 3 axes, and this one has 2"),
        (Shots(regions=10**6), (4, 8, 8), "partition.regions=1000000 is more than the 256 samples of a 4×8×8 signal"),
    ]:
        with pytest.raises(PartinrError, match=said) as caught:
            rule(torch.rand(*shape, 3))
        assert "\n" not in str(caught.value)

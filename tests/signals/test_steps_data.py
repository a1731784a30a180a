import pickle

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.signals import StepsData


def test_a_set_has_every_draw_of_every_count_once():
    data = StepsData(shape=[64], counts=[1, 5], draws=3, seed=2)
    items = data.train()
    assert [(item.name, item.counts, item.draw) for item in items] == [
        (f"steps-{count}-{draw}", (count,), draw) for count in (1, 5) for draw in range(3)
    ]
    assert data.val() == []
    for item in items:
        signal = item.load()
        assert signal.shape == (64, 1)
        assert set(signal.unique().tolist()) == {0.0, 1.0}
        assert int((signal.diff(dim=0) != 0).sum()) == item.signal().boundaries == item.counts[0]


def test_a_draw_does_not_depend_on_the_others_of_its_set():
    alone = StepsData(shape=[64], counts=[5], draws=1).train()[0]
    among = StepsData(shape=[64], counts=[3, 5, 7], draws=4).train()[4]
    assert torch.equal(alone.signal().borders[0], among.signal().borders[0])
    other_seed = StepsData(shape=[64], counts=[5], draws=1, seed=1).train()[0]
    assert not torch.equal(alone.signal().borders[0], other_seed.signal().borders[0])
    assert torch.equal(pickle.loads(pickle.dumps(alone)).load(), alone.load())


def test_in_the_plane_a_count_is_borders_multiplied():
    (item,) = StepsData(shape=[20, 30], counts=[12], draws=1).train()
    assert item.signal().counts == (3, 4)
    assert item.load().shape == (20, 30, 1)


def test_a_count_that_is_there_twice_is_refused():
    with pytest.raises(PartinrError, match=r"data\.counts has 3 twice"):
        StepsData(counts=[1, 3, 3])

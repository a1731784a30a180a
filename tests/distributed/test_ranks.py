"""What processes tell each other: three of them, over gloo."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from partinr.training.ranks import Ranks

WORK = """
import torch
from partinr.training.ranks import Ranks


def work(rank, port, path):
    store = torch.distributed.TCPStore("127.0.0.1", port, 3)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=3)
    ranks = Ranks(3, rank)
    part = torch.zeros(3, dtype=torch.float64)
    part[rank] = 0.1 * (rank + 1)
    state = {"state": {0: {"step": torch.tensor(float(rank)), "mean": torch.eye(3)[rank]}}, "param_groups": ["same"]}
    if rank == 1:  # the only one that has anything of this
        state["state"][11] = {"mean": torch.ones(2), "rate": 0.5}
    heard = {
        "whole": ranks.whole(part),
        "total": ranks.total(rank, 1.0),
        "most": ranks.most(rank, -rank),
        "first": ranks.first(rank + 5.0, float("nan")),
        "merged": ranks.merged(state),
    }
    torch.save(heard, f"{path}/{rank}.pt")
    torch.distributed.destroy_process_group()
"""


def test_three_processes(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ranks_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    from ranks_work import work  # type: ignore[import-not-found]

    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")
    started = [context.Process(target=work, args=(rank, store.port, str(tmp_path))) for rank in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    for rank in range(3):
        heard = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(heard["whole"], torch.tensor([0.1, 0.2, 0.30000000000000004], dtype=torch.float64))
        assert heard["total"] == [3.0, 3.0]
        assert heard["most"] == [2.0, 0.0]
        assert heard["first"] == pytest.approx([5.0, float("nan")], nan_ok=True)
        merged = heard["merged"]
        assert merged["param_groups"] == ["same"]
        assert sorted(merged["state"]) == [0, 11]
        assert torch.equal(merged["state"][0]["mean"], torch.ones(3))
        assert merged["state"][0]["step"] == 2  # of the one that went furthest
        assert torch.equal(merged["state"][11]["mean"], torch.ones(2))
        assert merged["state"][11]["rate"] == 0.5


def test_one_alone_sends_nothing() -> None:
    ranks, part = Ranks(), torch.ones(2)
    state: dict[str, Any] = {"state": {0: {"step": 3}}}
    assert ranks.whole(part) is part
    assert ranks.total(1.0, 2.0) == ranks.most(1.0, 2.0) == ranks.first(1.0, 2.0) == [1.0, 2.0]
    assert ranks.merged(state) is state

"""Runs each case on the stand-in card and on the CPU, and continues each on the other.

Prints ``case largest-difference-in-dB values-read-in-steps``; an error ends it.
"""

from __future__ import annotations

import csv
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from partinr.model.inr import PiecewiseINR
from partinr.training import trainer as trainers
from partinr.training.steps import PlainSteps
from tests.commands import TINY, call
from tests.training.card import CARD, card, reads

# As on a card that no engine of partinr's own has passed its trial on.
PLAIN = "engine=batched"
Words = tuple[str, ...]
FOUR: Words = ("partition=grid", "partition.regions=4", PLAIN)
FIT: Words = (*TINY[:3], "regime.evaluate_every=4", "optimizer.lr=3e-3", PLAIN)
META: Words = (
    "regime=meta",
    "data=smooth",
    "partition=grid",
    "partition.regions=4",
    "backbone.hidden_features=6",
    PLAIN,
)
META += ("data.shape=[8,8]", "data.train_items=4", "data.val_items=2", "regime.evaluate_every=4")
STUDY: Words = (
    "regime=threshold",
    "data=steps",
    "data.shape=[40]",
    "data.counts=[1,3]",
    "data.draws=1",
    "partition=grid",
)
STUDY += ("backbone.hidden_features=6", "regime.threshold=0.2")
BEGUN: Words = (*FOUR, "data=smooth", "data.shape=[8,8]", "data.train_items=1", "data.val_items=0")
CASES: dict[str, Words] = {
    "plain": FIT,
    "loop": (*FIT, "engine=loop"),
    "detail": (*FIT, "partition=random", "capacity=detail"),
    "blended": (*FIT, "overlap=1", "global_network=true"),
    "points": (*FIT, "regime.points_per_step=50"),
    "error": (*FIT, "regime.points_per_step=50", "regime.sampling=error"),
    "frozen": (*FIT, "regime.freeze_at_psnr=12"),
    "local": (*FIT, "coords.frame=local", "regime.begin_at_mean=true", "regime.border_weight=2"),
    "folder": (*FIT, "data=builtins"),
    "soap": (*FIT, "optimizer=soap"),
    "sgd": (*FIT, "optimizer=sgd"),
    "plateau": (*FIT, "schedule=plateau"),
    "hash_grid": (*FIT, "backbone=hash_grid"),
    "meta": META,
    "meta recompute": (*META, "regime.recompute=true", "regime.context_fraction=0.5"),
    "reptile": (*META, "regime.algorithm=reptile", "regime.inner_lr_kind=static"),
    "meta by region": (*META, "regime.initialisation=region", "regime.inner_loss=image"),
    "begun": (*BEGUN, "init=meta by region/cpu", "init_steps=3"),
    "study": STUDY,
    "study by points": (*STUDY, "regime.points_per_step=30"),
}


class Trainer(trainers.OwnTrainer):
    """A trainer on the card."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.strategy._root_device = CARD  # type: ignore[attr-defined]


class Counter:
    """Counts the values that ordinary steps read."""

    found = 0
    take = PlainSteps.take

    @classmethod
    def counted(cls, steps: PlainSteps, step: int) -> Tensor:
        before = len(reads)
        loss = cls.take(steps, step)
        cls.found += len(reads) - before
        return loss


def run(on_card: bool, folder: Path, *overrides: str) -> list[float]:
    """The PSNR of each evaluation of a run."""
    trainers.OwnTrainer = Trainer if on_card else Trainer.__base__  # type: ignore[misc, assignment]
    with card() if on_card else nullcontext():
        answer = call(*overrides, f"hydra.run.dir={folder}", "debug=trace")
    if answer.code:
        sys.exit(f"{folder}: {answer.err}")
    with (folder / "curve.csv").open() as file:
        return [float(row["psnr"]) for row in csv.DictReader(file)]


def check_rendering(folder: Path) -> None:
    """Compare pictures and derivatives of a model on the card with those of the CPU."""
    model = PiecewiseINR.load(folder / "inr.safetensors")
    options: list[dict[str, Any]] = [{"scale": 2}, {"scale": 2, "smooth": True}]
    options += [] if model.blended else [{"field": "laplacian"}]
    right = [model.render(**each) for each in options]
    with card():
        found = [model.to(CARD).render(**each) for each in options]
    assert all(torch.allclose(*each, atol=1e-4) for each in zip(found, right, strict=True))


def check_card() -> None:
    """The card refuses what CUDA refuses."""
    with card():
        there, here = torch.ones(3, device=CARD), torch.ones(3)
        for mixed in (lambda: there + here, lambda: here[there > 0], lambda: here.index_put_((here > 0,), there)):
            try:
                mixed()
            except RuntimeError:
                continue
            raise AssertionError("the card takes tensors of the CPU")
        before = len(reads)
        assert float(there[here > 0].sum() + here[0]) == 4
        assert len(reads) == before + 1


def main(names: list[str]) -> None:
    """Run the named cases; all by default."""
    check_card()
    trainers.L.pytorch.accelerators.CPUAccelerator.setup_device = lambda self, device: None  # type: ignore[method-assign]
    PlainSteps.take = lambda self, step: Counter.counted(self, step)  # type: ignore[method-assign]
    for name in names or CASES:
        overrides, off = CASES[name], 0.0
        Counter.found = 0
        folders = {on_card: Path(name, "card" if on_card else "cpu").absolute() for on_card in (True, False)}
        curves = [run(on_card, folder, *overrides, "max_steps=9") for on_card, folder in folders.items()]
        for on_card, folder in folders.items():
            last = f"ckpt_path={folder / 'checkpoints' / 'last.ckpt'}"
            curves.append(run(not on_card, folder.with_suffix(".2"), *overrides, "max_steps=12", last))
        pairs = [(curves[0], curves[1]), (curves[2], curves[3])]
        off = max(abs(one - other) for pair in pairs for one, other in zip(*pair, strict=True))
        if name in ("plain", "blended"):
            check_rendering(folders[False])
        print(f"{name.replace(' ', '_')} {off:.1e} {Counter.found}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

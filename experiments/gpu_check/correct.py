"""What the card computes against what the CPU computes in double precision, and runs that change devices."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from part import DEVICE, Job, Run, cut, head, row
from torch import Tensor

from partinr.backbones import Siren
from partinr.engines import trial
from partinr.engines.base import Engine, Observations, Precision, Stack, cuda_products
from partinr.engines.loop import LOOP
from partinr.engines.registry import ENGINES
from partinr.model.inr import PiecewiseINR
from partinr.model.stack import NetworkStack
from partinr.partition import Grid
from partinr.regimes.meta import LearnedStart
from partinr.regimes.meta.selftest import check_meta_gradient

LIMITS = {"fp32": 1e-4, "TF32": 1e-2, "bf16": 0.1}
"""Relative errors of values, squared error and gradients, that the rounding of a precision explains."""

STACKS = {
    # Width, hidden layers, samples of each network.
    "thin": (9, 2, (257, 0, 128, 1, 390)),
    "32 wide": (32, 2, (300, 7, 300)),
    "wide": (170, 3, (900, 0, 1100)),
}

SIGNAL: tuple[str, ...] = ("data.size=24", "partition.regions=4", "backbone.match_params=2000", "optimizer.lr=1e-3")
SIGNAL += ("regime.evaluate_every=10",)
SAME_CURVE = 0.05
"""Limit in dB on the difference of two short runs that differ in rounding alone."""

Found = tuple[float, float]
"""What was measured, and its limit."""


def outcome(engine: Engine, model: NetworkStack, observed: Observations) -> list[Tensor]:
    """Values, squared error, and the gradients of both, in double precision on the CPU."""
    params = {name: value.detach().requires_grad_() for name, value in model.stack.items()}
    stack, wanted = Stack(model.groups[0].architecture, params), list(params.values())
    values = engine.values(stack, observed.coords, observed.sizes)
    error = engine.squared_error(stack, observed)
    found = [values, *torch.autograd.grad(values.square().sum(), wanted), error, *torch.autograd.grad(error, wanted)]
    return [each.detach().double().cpu() for each in found]


def engine_error(engine: Engine, stack: str, precision: str) -> Found:
    """The largest relative error of an engine."""
    width, layers, sizes = STACKS[stack]
    backbone = Siren(hidden_features=width, hidden_layers=layers, first_omega_0=6.0, omega_0=6.0)
    model, generator = NetworkStack(backbone, len(sizes), in_features=2), torch.Generator().manual_seed(0)
    coords, targets = (2 * torch.rand(sum(sizes), n, generator=generator) - 1 for n in (2, 3))
    right = outcome(LOOP, copy.deepcopy(model).double(), Observations(coords.double(), targets.double(), sizes))
    observed = Observations(coords.to(DEVICE), targets.to(DEVICE), sizes)
    with (
        torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16"),
        cuda_products(tf32=precision == "TF32"),
    ):
        found = outcome(engine, model.to(DEVICE), observed)
    # Torch's maximum, since Python's leaves out NaN.
    off = torch.stack([(own - other).norm() / other.norm() for own, other in zip(found, right, strict=True)]).max()
    return float(off), LIMITS[precision]


def on_trial(engine: Engine) -> Found:
    """Whether partinr's own check before the first use accepts an engine: 0, or 1."""
    if reason := trial.differs(engine, DEVICE):
        raise RuntimeError(reason)
    return 0, 0


def difference(one: Run, other: Run) -> Found:
    """The largest difference between two curves, from their ends on."""
    pairs = zip(reversed(one.curve), reversed(other.curve), strict=False)
    return float(torch.tensor([own["psnr"] - right["psnr"] for own, right in pairs]).abs().max()), SAME_CURVE


def other_device(job: Job, first: str, second: str) -> Found:
    """A run that continues on another device, against one that stays on the CPU."""
    right = job.run(*SIGNAL, "max_steps=40", "trainer.accelerator=cpu")
    begun = job.run(*SIGNAL, "max_steps=20", f"trainer.accelerator={first}", keep=["callbacks.checkpoint"])
    checkpoint = begun.folder / "checkpoints" / "last.ckpt"
    found = job.run(*SIGNAL, "max_steps=40", f"trainer.accelerator={second}", f"ckpt_path={checkpoint}")
    return difference(found, right)


def same_curve(job: Job, *both: str, card: tuple[str, ...] = ()) -> Found:
    """A run on the card against one on the CPU; ``card`` are words for the former alone."""
    words = (*SIGNAL, "max_steps=40", *both)
    return difference(job.run(*words, *card), job.run(*words, "trainer.accelerator=cpu"))


def meta_gradient(algorithm: str, recompute: bool) -> Found:
    """Partinr's own comparison of the meta-gradient with finite differences."""
    start = LearnedStart(Siren(hidden_features=16, hidden_layers=1), inner_lr=1e-2).to(DEVICE)
    check_meta_gradient(start, algorithm, recompute)
    return 0, 0


def rendering() -> Found:
    """The largest difference of a model's values on a fine grid."""
    model = PiecewiseINR(Grid(regions=4)(torch.zeros(24, 24, 3)), Siren(hidden_features=9, hidden_layers=1))
    right = model.render(2)
    return float((model.to(DEVICE).render(2) - right).abs().max()), 1e-3


def checks(job: Job) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Each check by name, by worth."""
    own = [engine for engine in ENGINES if engine.name != "compiled"]
    for engine in own:
        yield f"{engine.name}: first-use check", partial(on_trial, engine)
    for stack, (width, layers, _) in STACKS.items():
        architecture = (
            NetworkStack(Siren(hidden_features=width, hidden_layers=layers), 1, in_features=2).groups[0].architecture
        )
        for engine in own:
            if engine.refuses(architecture, DEVICE, Precision()) is None:
                for precision in LIMITS:
                    yield f"{engine.name}, {stack}, {precision}", partial(engine_error, engine, stack, precision)
    gpu = "gpu" if DEVICE.type == "cuda" else "cpu"
    yield "whole fit, as on the CPU", partial(same_curve, job)
    yield "blended fit, as on the CPU", partial(same_curve, job, "overlap=1", "global_network=true")
    yield "checkpoint from CPU to GPU", partial(other_device, job, "cpu", gpu)
    yield "checkpoint from GPU to CPU", partial(other_device, job, gpu, "cpu")
    for algorithm, recompute in (("maml", False), ("maml", True), ("fomaml", False)):
        yield f"meta-gradient, {algorithm}{', recomputed' * recompute}", partial(meta_gradient, algorithm, recompute)
    yield "rendering", rendering
    yield "CUDA graphs, as without", partial(same_curve, job, card=("trainer.cuda_graphs=true",))
    if torch.cuda.device_count() > 1 or DEVICE.type == "cpu":
        words = ("trainer=ddp", "trainer.devices=2", f"trainer.accelerator={gpu}")
        yield "two ranks, as one", partial(same_curve, job, card=words)
    if not job.tiny:
        compiled = next(engine for engine in ENGINES if engine.name == "compiled")
        yield "compiled, thin, fp32", partial(engine_error, compiled, "thin", "fp32")


def main(job: Job) -> None:
    """Print a row for each check; a failed one stops no other."""
    head("check", "found", "limit", "result")
    for name, check in checks(job):
        if job.left < 3:
            cut(f"{name} and what follows")
            break
        with job.attempt(name):
            found, limit = check()
            if not found <= limit:  # NaN counts as wrong
                raise ArithmeticError(f"{found:.1e}, and the limit is {limit:g}")
            row(name, f"{found:.1e}", f"{limit:g}", "passed")
    if torch.cuda.device_count() == 1:
        print("\nTwo ranks: skipped, since there is one GPU.")

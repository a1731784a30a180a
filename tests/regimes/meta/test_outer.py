"""Outer gradients: against finite differences, against the same written out network by network, and against parts."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from partinr.partition import Partition
from partinr.regimes.meta import RATE_KINDS, Context, LearnedStart, TaskBatch, outer_gradients
from tests.covering import covering

ALGORITHMS = ["maml", "fomaml", "reptile", "unadapted"]


def gradients(
    start: LearnedStart, batch: TaskBatch, context: Context | None = None, weights: Tensor | None = None, **options
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective and the gradient of all that is learned."""
    start.zero_grad(set_to_none=True)
    context = batch.context(start.inner_loss) if context is None else context
    weights = batch.weights() if weights is None else weights
    objective = outer_gradients(start, batch, context, weights, **options)
    assert not objective.requires_grad
    found = {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in start.named_parameters()
    }
    return objective, found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-11) -> None:
    """Each gradient, to a fraction of its own largest number."""
    assert found.keys() == expected.keys()
    for name, one in found.items():
        scale = float(expected[name].abs().max())
        assert float((one - expected[name]).abs().max()) <= tolerance * scale, name


def only(batch: TaskBatch, signals, partitions, tasks: list[int]) -> TaskBatch:
    """Some of the tasks, in double precision."""
    some = TaskBatch.of([signals[t] for t in tasks], [partitions[t] for t in tasks], "global")
    return some.to(torch.device("cpu"), torch.float64)


# ---------------------------------------------------------------------------------------------------------------------
# Finite differences

CASES: dict[str, tuple[dict, dict]] = {
    **{
        f"{kind}{', positive' if positive else ''}": ({"inner_lr_kind": kind, "inner_lr_positive": positive}, {})
        for kind in RATE_KINDS
        for positive in (False, True)
    },
    "relu_pe": ({"backbone": "relu_pe"}, {}),
    "relu_pe, last layer": ({"backbone": "relu_pe", "adapt_layers": 1}, {}),
    "image": ({"inner_loss": "image", "inner_lr": 0.5}, {}),
    "last layer": ({"adapt_layers": 1}, {}),
    "last two layers": ({"adapt_layers": 2, "inner_lr_kind": "per_parameter"}, {}),
    "cells": ({"cells": 4}, {}),
    "cells, positive": ({"cells": 4, "inner_lr_positive": True, "inner_lr_kind": "per_parameter"}, {}),
    "cells, per step": ({"cells": 4, "inner_lr_kind": "per_step"}, {}),
    "cells, last layer, image": ({"cells": 4, "adapt_layers": 1, "inner_loss": "image"}, {}),
    "half the context": ({}, {"fraction": 0.5, "seeds": (1, 2, 3)}),
    # One sample a task: most regions have none.
    "hardly a context": ({"inner_loss": "image"}, {"fraction": 0.01, "seeds": (4, 5, 6)}),
    "relu_pe, cells, half the context": ({"backbone": "relu_pe", "cells": 4}, {"fraction": 0.5, "seeds": (1, 2, 3)}),
    "one step": ({"inner_steps": 1}, {}),
    "loop": ({"engine": "loop"}, {}),
}


def differences(start: LearnedStart, batch: TaskBatch, context: Context) -> dict[str, tuple[Tensor, float]]:
    """For everything that is learned: a direction, and the derivative along it."""
    generator = torch.Generator().manual_seed(7)
    weights = batch.weights()

    def objective() -> float:
        *_, fast = start.adapt(batch, context, start.inner_steps, order="none")
        return float(start.error(batch, fast, weights))

    found = {}
    for name, value in start.named_parameters():
        way = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        # So small that no kink of a ReLU is stepped over: there the inner gradient jumps.
        begin, h = value.detach().clone(), 1e-6
        at = []
        for steps in (2, 1, -1, -2):
            with torch.no_grad():
                value.copy_(begin + steps * h * way)
            at.append(objective())
        with torch.no_grad():
            value.copy_(begin)
        found[name] = way, (-at[0] + 8 * at[1] - 8 * at[2] + at[3]) / (12 * h)
    return found


@covering(case=list(CASES), recompute=[False, True])
def test_the_gradient_of_maml_equals_finite_differences(make_start, batch, case, recompute):
    options, chosen = CASES[case]
    start = make_start(**options)
    context = batch.context(start.inner_loss, **chosen)
    _, found = gradients(start, batch, context, recompute=recompute)
    for name, (way, derivative) in differences(start, batch, context).items():
        along = (found[name] * way).sum()
        assert abs(float(along) - derivative) <= 1e-7 * float(found[name].norm() * way.norm()), name


@pytest.mark.parametrize("case", ["per_parameter_per_step", "cells, last layer, image", "half the context"])
def test_a_step_computed_again_gives_the_gradient_of_one_that_was_kept(make_start, batch, case):
    options, chosen = CASES[case]
    start = make_start(**options)
    context = batch.context(start.inner_loss, **chosen)
    objective, kept = gradients(start, batch, context)
    again, computed = gradients(start, batch, context, recompute=True)
    assert torch.equal(objective, again)
    assert_same(computed, kept, 1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# The same written out: a function of one network's parameters, and torch.func


def siren(params: dict[str, Tensor], x: Tensor) -> Tensor:
    x = torch.sin(4.0 * (x @ params["weight_0"].T + params["bias_0"]))
    x = torch.sin(3.0 * (x @ params["weight_1"].T + params["bias_1"]))
    return x @ params["weight_2"].T + params["bias_2"]


def pixels(signal: Tensor, labels: Tensor, region: int) -> tuple[Tensor, Tensor]:
    """Coordinates of the pixels' centres and values, of one region."""
    height, width = labels.shape
    places = [
        [(2 * row + 1) / height - 1, (2 * column + 1) / width - 1]
        for row, column in itertools.product(range(height), range(width))
        if labels[row, column] == region
    ]
    return torch.tensor(places, dtype=torch.float32).double(), signal[labels == region].double()


def mean_error(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    return (siren(params, x) - y).square().mean()


def fitted(params, rates, x: Tensor, y: Tensor, first_order: bool) -> dict[str, Tensor]:
    """Two inner steps of one network on its region."""
    for step in range(2):
        slope = torch.func.grad(mean_error)(params, x, y)
        if first_order:
            slope = {name: each.detach() for name, each in slope.items()}
        params = {name: value - rates[name][step] * slope[name] for name, value in params.items()}
    return params


@pytest.fixture
def written_out(signals, partitions):
    """``written_out(params, rates, algorithm)``: objective and gradients by both, task by task, region by region."""

    def run(params, rates, algorithm):
        def objective(params, rates):
            by_task = []
            for signal, partition in zip(signals, partitions, strict=True):
                errors = torch.zeros((), dtype=torch.float64)
                for region in range(partition.regions):
                    x, y = pixels(signal, partition.labels, region)
                    end = params if algorithm == "unadapted" else fitted(params, rates, x, y, algorithm != "maml")
                    errors = errors + (siren(end, x) - y).square().sum()
                by_task.append(errors / signal.numel())
            return torch.stack(by_task).mean()

        by_params, by_rates = torch.func.grad(objective, argnums=(0, 1))(params, rates)
        return objective(params, rates), by_params, by_rates

    return run


def parts(start: LearnedStart) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The one network's parameters, and its rates by step."""
    params = {name: value.detach()[0].clone() for name, value in start.networks.stack.items()}
    return params, {name: torch.as_tensor(value).detach()[:, 0].clone() for name, value in start.rates.raw.items()}


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "unadapted"])
def test_the_stack_learns_what_lone_networks_written_out_do(make_start, batch, written_out, algorithm):
    start = make_start()
    objective, found = gradients(start, batch, algorithm=algorithm)
    value, by_params, by_rates = written_out(*parts(start), algorithm)
    torch.testing.assert_close(objective, value)
    expected = {f"networks.stack.{name}": each[None] for name, each in by_params.items()}
    expected |= {f"rates.raw.{name}": each[:, None] for name, each in by_rates.items()}
    assert_same(found, expected)
    if algorithm == "unadapted":
        assert not any(each.any() for name, each in found.items() if name.startswith("rates."))


def test_the_ends_of_adaptation_are_those_of_lone_networks(make_start, batch, signals, partitions):
    start = make_start()
    params, rates = parts(start)
    *_, ends = start.adapt(batch, batch.context("region"), 2)
    n = 0
    for signal, partition in zip(signals, partitions, strict=True):
        for region in range(partition.regions):
            x, y = pixels(signal, partition.labels, region)
            for name, value in fitted(params, rates, x, y, first_order=True).items():
                torch.testing.assert_close(ends[name][n], value)
            n += 1
    assert n == len(batch.sizes)


@pytest.mark.parametrize("cells", [1, 4])
def test_reptile_goes_to_where_the_inner_steps_lead(make_start, batch, cells):
    start = make_start(cells=cells, inner_lr_kind="static")
    objective, found = gradients(start, batch, algorithm="reptile")
    *_, ends = start.adapt(batch, batch.context("region"), 2)
    torch.testing.assert_close(objective, start.error(batch, ends, batch.weights()).detach())
    for name, value in start.networks.stack.items():
        expected = torch.zeros_like(value)
        for n, cell in enumerate(batch.cell.tolist()):
            row = cell if cells > 1 else 0
            expected[row] += (value[row] - ends[name][n]).detach() / len(batch.sizes)
        torch.testing.assert_close(found[f"networks.stack.{name}"], expected)


def test_reptile_weighs_tasks_alike_however_many_regions_they_have(make_start, signals):
    cut = [Partition(torch.zeros(3, 4, dtype=torch.int64)), Partition(torch.arange(10).reshape(2, 5))]
    pair = TaskBatch.of(signals[:2], cut, "global").to(torch.device("cpu"), torch.float64)
    start = make_start(inner_lr_kind="static")
    _, both = gradients(start, pair, algorithm="reptile")
    lone = [gradients(start, only(pair, signals, cut, [task]), algorithm="reptile")[1] for task in range(2)]
    assert_same(both, {name: (lone[0][name] + lone[1][name]) / 2 for name in both})


def test_the_orders_differ(make_start, batch):
    # Or else the comparisons above would say little.
    start = make_start()
    second, first = (gradients(start, batch, algorithm=name)[1] for name in ("maml", "fomaml"))
    for name in second:
        if name.startswith("networks."):
            assert (second[name] - first[name]).norm() > 0.05 * second[name].norm(), name


def test_gradients_are_added_to_what_is_there(make_start, batch):
    start = make_start()
    _, once = gradients(start, batch)
    outer_gradients(start, batch, batch.context("region"), batch.weights())
    for name, value in start.named_parameters():
        torch.testing.assert_close(value.grad, 2 * once[name])


def test_what_is_not_learned_with_has_no_gradient(make_start, batch):
    start = make_start(adapt_layers=1)
    assert set(start.adapted) == {"weight_2", "bias_2"}
    *_, ends = start.adapt(batch, batch.context("region"), 2)
    begin = start.start(batch)
    assert {name for name in ends if not torch.equal(ends[name], begin[name])} == set(start.adapted)
    assert not any(each.requires_grad for each in ends.values())
    # The layers below are learned all the same.
    _, found = gradients(start, batch)
    assert all(each.any() for each in found.values())


# ---------------------------------------------------------------------------------------------------------------------
# Many tasks are as many single ones


@covering(algorithm=ALGORITHMS, cells=[4, 1], recompute=[False, True])
def test_a_batch_is_the_mean_of_its_tasks(make_start, batch, signals, partitions, algorithm, cells, recompute):
    start = make_start(cells=cells)
    options = {"algorithm": algorithm, "recompute": recompute}
    objective, found = gradients(start, batch, **options)
    lone = [gradients(start, only(batch, signals, partitions, [task]), **options) for task in range(3)]
    torch.testing.assert_close(objective, torch.stack([each for each, _ in lone]).mean())
    assert_same(found, {name: torch.stack([each[name] for _, each in lone]).mean(0) for name in found})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parts_of_a_batch_sum_to_the_whole(make_start, batch, signals, partitions, algorithm):
    # As several processes have them, with their gradients summed.
    start = make_start()
    objective, found = gradients(start, batch, algorithm=algorithm)
    shares = []
    for tasks in ([0, 2], [1]):
        part = only(batch, signals, partitions, tasks)
        shares.append(gradients(start, part, weights=part.weights(3), tasks=3, algorithm=algorithm))
    torch.testing.assert_close(objective, shares[0][0] + shares[1][0])
    assert_same(found, {name: shares[0][1][name] + shares[1][1][name] for name in found})


@covering(engine=["loop", "batched", "auto"], inner_loss=["region", "image"])
def test_a_task_is_adapted_alike_whatever_is_beside_it(make_start, signals, partitions, inner_loss, engine):
    start = make_start(inner_loss=inner_loss, engine=engine)
    partitions = [*partitions, Partition(torch.zeros(4, 4, dtype=torch.int64))]
    signals = [*signals, torch.rand(4, 4, 2, generator=torch.Generator().manual_seed(9))]

    def ends(tasks: list[int]) -> dict[int, list[dict[str, Tensor]]]:
        """Of each task, the parameters after every step."""
        some = TaskBatch.of([signals[t] for t in tasks], [partitions[t] for t in tasks], "global")
        some = some.to(torch.device("cpu"), torch.float64)
        steps = list(start.adapt(some, some.context(inner_loss), 4))
        cut = [{name: value.split(some.regions) for name, value in params.items()} for params in steps]
        return {
            task: [{name: pieces[number] for name, pieces in params.items()} for params in cut]
            for number, task in enumerate(tasks)
        }

    every = {task: ends([task])[task] for task in range(4)}
    for tasks in ([0, 1, 2, 3], [3, 1, 0], [2, 3]):
        for task, steps in ends(tasks).items():
            for found, expected in zip(steps, every[task], strict=True):
                for name, value in found.items():
                    torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-14)


def test_a_region_is_adapted_alike_whatever_the_other_regions_are(make_start, signals):
    start = make_start()
    labels = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]])
    ends = []
    for cut in (labels, labels.clamp(max=1)):
        one = TaskBatch.of(signals[:1], [Partition(cut)], "global").to(torch.device("cpu"), torch.float64)
        *_, last = start.adapt(one, one.context("region"), 3)
        ends.append({name: value[0] for name, value in last.items()})
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-12, atol=1e-14)


def test_steps_beyond_those_of_the_training_go_on_with_the_median_of_its_rates(make_start, batch):
    start = make_start()
    longer = LearnedStart(start.networks.backbone, channels=2, inner_steps=4, inner_lr=0.1, engine="batched").double()
    state = start.state_dict()
    for name, value in state.items():
        if name.startswith("rates."):
            middle = value.median(dim=0, keepdim=True).values.clamp(min=0)
            state[name] = torch.cat([value, middle, middle])
    longer.load_state_dict(state)
    context = batch.context("region")
    for found, expected in zip(start.adapt(batch, context, 4), longer.adapt(batch, context, 4), strict=True):
        for name, value in found.items():
            assert torch.equal(value, expected[name])


# ---------------------------------------------------------------------------------------------------------------------
# Engines, in single precision

FLOAT32 = 2e-5
"""Tolerance relative to the largest number of each gradient: some hundred roundings of 6e-8."""


@covering(10, engine=["loop", "batched", "fused", "tiled", "auto"], algorithm=ALGORITHMS, recompute=[False, True])
def test_engines_give_the_same_gradient(make_start, batch, engine, algorithm, recompute):
    start = make_start()
    _, exact = gradients(start, batch, algorithm=algorithm)
    start.float().networks.engine = engine
    _, found = gradients(start, batch.to(torch.device("cpu"), torch.float32), algorithm=algorithm, recompute=recompute)
    assert_same({name: each.double() for name, each in found.items()}, exact, FLOAT32)

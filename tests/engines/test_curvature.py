"""Second derivatives by kernels: the Hessian times a direction is that of torch's own operations."""

from __future__ import annotations

import pytest
import torch

from partinr.backbones import ReluPE, Siren
from partinr.engines.base import Observations
from partinr.engines.curvature import fused_curvature, tiled_curvature
from partinr.model.stack import NetworkStack
from tests.covering import covering

KERNELS = {"fused": fused_curvature, "tiled": tiled_curvature}


def _case(networks, hidden_features, hidden_layers, sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    stack = NetworkStack(
        Siren(hidden_features=hidden_features, hidden_layers=hidden_layers), networks, in_features=2, engine="loop"
    )
    # In the order of the layers, in which a chain has them.
    params = {name: stack.stack[name].detach() for name in stack.groups[0].names}
    along = {name: 0.1 * torch.randn(value.shape, generator=generator) for name, value in params.items()}
    samples = sum(sizes)
    coords = 2 * torch.rand(samples, 2, generator=generator) - 1
    targets, weights = torch.rand(samples, 3, generator=generator), torch.rand(samples, 1, generator=generator)
    return stack, params, along, coords, targets, weights


def _by_torch(stack, params, along, coords, targets, sizes, weights):
    """The product in double precision, as the gradient of the gradient's product with the direction."""
    given = {name: value.double().requires_grad_() for name, value in params.items()}
    weights = None if weights is None else weights.double()
    error = stack.squared_error(coords.double(), targets.double(), sizes, weights, given, twice=True)
    gradients = torch.autograd.grad(error, list(given.values()), create_graph=True)
    product = sum((gradient * along[name].double()).sum() for gradient, name in zip(gradients, given, strict=True))
    return dict(zip(given, torch.autograd.grad(product, list(given.values())), strict=True))


def _close(found, expected):
    for each, name in zip(found, expected, strict=True):
        scale = expected[name].abs().max()
        assert (each.double() - expected[name]).abs().max() <= 3e-5 * scale + 1e-7, name


@covering(
    8,
    kernel=KERNELS,
    case=[(5, 0, (7, 1, 0, 30)), (6, 1, (40,)), (13, 2, (600, 3, 1100)), (64, 3, (0, 33, 290))],
    weighted=[True, False],
)
def test_the_product_is_that_of_torch(kernel, weighted, case):
    hidden_features, hidden_layers, sizes = case
    stack, params, along, coords, targets, weights = _case(len(sizes), hidden_features, hidden_layers, sizes)
    weights = weights if weighted else None
    chain, way = stack.backbone.chain(params), stack.backbone.chain(along)
    found = kernel(chain, way, Observations(coords, targets, sizes, weights))
    _close(found, _by_torch(stack, params, along, coords, targets, sizes, weights))


@pytest.mark.parametrize("kernel", KERNELS)
def test_networks_have_no_part_in_each_other(kernel):
    sizes = (50, 7, 120)
    stack, params, along, coords, targets, weights = _case(3, 9, 2, sizes)
    chain, way = stack.backbone.chain(params), stack.backbone.chain(along)
    together = KERNELS[kernel](chain, way, Observations(coords, targets, sizes, weights))
    start = 0
    for network, size in enumerate(sizes):
        own = stack.backbone.chain({name: value[network : network + 1] for name, value in params.items()})
        own_way = stack.backbone.chain({name: value[network : network + 1] for name, value in along.items()})
        samples = slice(start, start + size)
        alone = KERNELS[kernel](
            own, own_way, Observations(coords[samples], targets[samples], (size,), weights[samples])
        )
        for part, whole in zip(alone, together, strict=True):
            torch.testing.assert_close(part[0], whole[network], rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
        start += size


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_does_not_depend_on_the_threads(kernel):
    sizes = (900, 40, 2000)
    stack, params, along, coords, targets, weights = _case(3, 20, 2, sizes)
    chain, way = stack.backbone.chain(params), stack.backbone.chain(along)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(KERNELS[kernel](chain, way, Observations(coords, targets, sizes, weights)))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_a_stack_says_whether_its_engine_has_it():
    stack, params, along, coords, targets, weights = _case(2, 8, 1, (20, 30))
    assert not stack.has_hessian_vector(coords, (20, 30), params)  # engine=loop
    stack.engine = "auto"
    assert stack.has_hessian_vector(coords, (20, 30), params)
    assert not stack.has_hessian_vector(
        coords.double(), (20, 30), {name: each.double() for name, each in params.items()}
    )
    product = stack.hessian_vector(Observations(coords, targets, (20, 30), weights), params, along)
    assert list(product) == list(params)
    other = NetworkStack(ReluPE(hidden_features=8, hidden_layers=1), 2, in_features=2)
    assert not other.has_hessian_vector(coords, (20, 30), dict(other.stack))

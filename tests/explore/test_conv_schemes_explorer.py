"""The explorer of chapter 7: its costs, errors and accuracies are those of the real layers."""

import numpy as np
import pytest
import torch

from labkit.cost import count
from labkit.datasets import mnist
from labkit.decomposition import SCHEMES, factorize_conv, speedup_bound
from labkit.explore import Cut
from labkit.explore.conv_schemes import SHARES, conv_schemes_explorer, second_layer
from labkit.nets import load
from labkit.training import evaluate


@pytest.fixture(scope="module")
def explorer():
    return conv_schemes_explorer()


@pytest.fixture(scope="module")
def net():
    return load("lenet-5")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_numbers_are_those_of_the_factorised_network(explorer, net, scheme):
    numbers = explorer.compute(scheme=scheme, share=20)["numbers"]
    dense, small = net.conv2, factorize_conv(net.conv2, scheme=scheme, rank=numbers["Rank"])
    assert numbers["Multiply-adds"] == count(small, torch.zeros(1, 20, 12, 12)).macs
    assert numbers["Weights"] == sum(p.numel() for p in small.parameters()) - 50
    error = (small.to_dense().weight - dense.weight).norm() / dense.weight.norm()
    assert numbers["Error of the kernel"] == pytest.approx(100 * error.item(), rel=1e-4)
    assert numbers["Bound at 99 % energy"] == pytest.approx(speedup_bound(dense.weight.detach().numpy(), scheme=scheme))
    net.conv2 = small
    try:
        digits = mnist("test", source="offline")[:500]
        assert numbers["Accuracy, 500 digits"] == pytest.approx(evaluate(net, digits).accuracy, abs=1e-6)
    finally:
        net.conv2 = dense


@pytest.mark.parametrize("scheme", SCHEMES)
def test_full_rank_is_the_dense_layer(explorer, scheme):
    full = explorer.compute(scheme=scheme, share=100)
    assert full["numbers"]["Rank"] == full["numbers"]["Full rank"]
    assert full["numbers"]["Error of the kernel"] == pytest.approx(0, abs=1e-4)
    assert not full["numbers"]["Fewer multiply-adds than dense"]


def test_the_line_is_the_dense_cost(explorer, net):
    (cut,) = [item for item in explorer.compute(scheme="dac", share=20)["errors"] if isinstance(item, Cut)]
    assert 1000 * cut.x == count(net.conv2, torch.zeros(1, 20, 12, 12)).macs


def test_the_marked_point_lies_on_its_curve():
    layer = second_layer()
    for scheme in SCHEMES:
        errors, macs = layer.errors(scheme), layer.macs(scheme)
        assert len(errors) == len(macs) == layer.cut(scheme).full_rank
        assert (np.diff(errors) <= 1e-9).all()
        assert (np.diff(macs) > 0).all()
        assert [layer.rank(scheme, share) for share in SHARES] == sorted({layer.rank(scheme, s) for s in SHARES})

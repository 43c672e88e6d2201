"""Tai et al.: the horizontal-vertical factors of a kernel have a closed form that no search beats."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.decomposition import factorize_conv, kernel_spectrum
from labkit.nets import load


@pytest.fixture(scope="module")
def conv():
    return load("lenet-5").conv2


def distance(layer, conv):
    return (layer.to_dense().weight - conv.weight).norm().item()


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_closed_form_has_the_error_of_the_svd(conv, rank):
    s = kernel_spectrum(conv.weight.detach().numpy(), scheme="hx1_1xw")
    made = factorize_conv(conv, scheme="hx1_1xw", rank=rank)
    assert distance(made, conv) == pytest.approx(np.sqrt(np.sum(s[rank:].astype(float) ** 2)), rel=1e-4)


def test_gradient_descent_on_the_factors_does_not_get_below_the_closed_form(conv):
    """The optimum is global: descent from random factors ends above it, or on it."""
    best = factorize_conv(conv, scheme="hx1_1xw", rank=4)
    torch.manual_seed(0)
    free = factorize_conv(conv, scheme="hx1_1xw", rank=4)
    factors = [free.first.weight, free.second.weight]
    for factor in factors:
        nn.init.normal_(factor, std=0.1)
    optimizer = torch.optim.Adam(factors, lr=0.02)
    for _ in range(300):
        V, H = (factor.squeeze() for factor in factors)  # (r, c, h), (m, r, w)
        loss = (torch.einsum("rch,mrw->mchw", V, H) - conv.weight.detach()).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert distance(best, conv) <= distance(free, conv) * (1 + 1e-5)
    assert distance(free, conv) < 1.2 * distance(best, conv)

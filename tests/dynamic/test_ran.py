"""Multiply-adds counted from what ran, against formulas."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from labkit.cost import count
from labkit.dynamic import macs_ran
from labkit.nets import LeNet5, SmallResNet


@pytest.mark.parametrize("net", [LeNet5(random_state=0), SmallResNet(random_state=0)])
def test_a_whole_network_as_the_cost_model_counts_it(net):
    x = torch.zeros(3, *net.input_shape)
    y, macs = macs_ran(net.eval(), x)
    assert y.shape == (3, 10)
    assert macs == 3 * count(net, x[:1]).macs


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_what_was_left_out_is_not_counted(rows):
    layer = nn.Conv2d(2, 4, 3, stride=2, groups=2)
    assert macs_ran(layer, torch.zeros(rows, 2, 9, 9))[1] == rows * 4 * 4 * 4 * 9


def test_functions_count_too_and_no_gradient_is_kept():
    weight = torch.ones(3, 5, requires_grad=True)
    y, macs = macs_ran(functional.linear, torch.ones(2, 5), weight)
    assert (macs, y.requires_grad) == (30, False)


@pytest.mark.parametrize(
    ("call", "macs"),
    [
        (lambda: torch.ones(3, 5) @ torch.ones(5), 15),
        (lambda: torch.ones(5) @ torch.ones(5), 5),
        (lambda: torch.ones(5) @ torch.ones(5, 2), 10),
        (lambda: torch.addmv(torch.ones(3), torch.ones(3, 5), torch.ones(5)), 15),
        (lambda: functional.linear(torch.ones(5), torch.ones(3, 5), torch.ones(3)), 15),
        (lambda: torch.einsum("bij,bjk->bik", torch.ones(2, 3, 4), torch.ones(2, 4, 5)), 120),
        (lambda: functional.conv_transpose2d(torch.ones(1, 2, 3, 3), torch.ones(2, 4, 2, 2)), 9 * 2 * 4 * 4),
        (lambda: torch.ones(5) * torch.ones(5) + 1, 0),
    ],
)
def test_every_kind_of_product(call, macs):
    assert macs_ran(call)[1] == macs


def test_bad_input():
    with pytest.raises(TypeError, match="function must be a function, got 3"):
        macs_ran(3)

"""BMXNet's two networks: the order of their listings, their sizes, bad input."""

import pytest
import torch

from labkit.nets import BMXNET, BinaryLeNet, LeNet
from labkit.quantization import BinaryConv2d, BinaryLinear, XNORConv2d

LISTING_1 = "conv1 tanh1 pool1 bn1 conv2 bn2 tanh2 pool2 flatten fc1 bn3 tanh3 fc2"
LISTING_2 = "conv1 tanh1 pool1 bn1 ba1 conv2 bn2 pool2 flatten ba2 fc1 bn3 tanh3 fc2"
X = torch.zeros(3, 1, 28, 28)


def test_the_layers_stand_in_the_order_of_the_listings():
    assert " ".join(name for name, _ in LeNet().named_children()) == LISTING_1
    assert " ".join(name for name, _ in BinaryLeNet().named_children()) == LISTING_2


def test_only_the_inner_layers_are_binary():
    model = BinaryLeNet()
    assert (type(model.conv2), type(model.fc1)) == (BinaryConv2d, BinaryLinear)
    assert (type(model.conv1), type(model.fc2)) == (torch.nn.Conv2d, torch.nn.Linear)
    assert type(BinaryLeNet("xnor").conv2) is XNORConv2d


@pytest.mark.parametrize("make", [LeNet, BinaryLeNet])
def test_the_output_has_ten_scores_and_the_seed_decides(make):
    assert make(channels=(3, 4), hidden=5)(X).shape == (3, 10)
    same, other = make(random_state=1), make(random_state=2)
    assert torch.equal(same.fc1.weight, make(random_state=1).fc1.weight)
    assert not torch.equal(same.fc1.weight, other.fc1.weight)


def test_the_sizes_of_the_released_code_give_the_papers_megabytes():
    n_params = sum(p.numel() for p in LeNet(**BMXNET).parameters())
    assert n_params == 1_141_394
    assert round(4 * n_params / 1e6, 1) == 4.6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"channels": 20}, TypeError, "channels must be two integers, got 20"),
        ({"channels": (20, 0)}, ValueError, "channels must be at least 1, got 0"),
        ({"hidden": 1.5}, TypeError, "hidden must be an integer"),
        ({"random_state": "x"}, TypeError, "random_state must be an integer"),
    ],
)
@pytest.mark.parametrize("make", [LeNet, BinaryLeNet])
def test_bad_input_is_named(make, options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


def test_the_method_is_checked():
    with pytest.raises(ValueError, match="method must be one of 2 names, got 'bwn'"):
        BinaryLeNet("bwn")

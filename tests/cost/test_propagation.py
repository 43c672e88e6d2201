"""Errors of approximated layers on their way to the output, and the product of Lipschitz constants that bounds them."""

import copy
import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from labkit.compress import compress
from labkit.cost import error_propagation, lipschitz
from labkit.datasets import mnist
from labkit.decomposition import LowRankScheme, factorize_conv, factorize_linear
from labkit.nets import LeNet5, load

DIGITS = mnist("heldout", source="offline").tensors()[0][:32]


def disturbed(model, names, size=0.3, seed=0):
    """Return a copy with noise of a relative size on the weights of some layers."""
    approx, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for name in names:
        weight = approx.get_submodule(name).weight.data
        noise = torch.randn(weight.shape, generator=generator)
        weight += size * noise * weight.norm() / noise.norm()
    return approx


NAMES = ["conv1", "conv2", "fc1", "fc2"]


def test_error_grows_with_the_number_of_layers_of_low_rank():
    model, errors = load("lenet-5"), [0.0]
    approx = copy.deepcopy(model)
    for name in NAMES:
        factorize = factorize_conv if name.startswith("conv") else factorize_linear
        setattr(approx, name, factorize(approx.get_submodule(name), tol=0.3))
        errors.append(error_propagation(model, approx, DIGITS, bounds=False).relative)
    assert spearmanr(range(5), errors).statistic > 0.8


def test_error_grows_with_the_number_of_disturbed_layers_on_average():
    """Single draws of the noise scatter more than the last layers add, so the mean over draws is what grows."""
    model = load("lenet-5")
    errors = [
        sum(
            error_propagation(model, disturbed(model, NAMES[:n], seed=seed), DIGITS, bounds=False).relative
            for seed in range(4)
        )
        for n in range(5)
    ]
    assert spearmanr(range(5), errors).statistic > 0.8


@pytest.mark.parametrize("size", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("names", [["conv1"], ["conv2", "fc2"], ["conv1", "conv2", "fc1", "fc2"]])
def test_the_bound_holds_at_every_layer(names, size):
    model = load("lenet-5")
    result = error_propagation(model, disturbed(model, names, size), DIGITS)
    assert result.chain
    assert all(row.relative <= row.bound * (1 + 1e-5) for row in result.rows)
    assert 0 < result.relative <= result.bound < math.inf


def test_by_hand_without_nonlinearity_the_bound_is_sharp():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    for layer, weight in zip(model, (2.0, 3.0), strict=True):
        nn.init.constant_(layer.weight, weight)
    approx = copy.deepcopy(model)
    nn.init.constant_(approx[0].weight, 2.5)
    first, second = error_propagation(model, approx, torch.ones(4, 1)).rows
    assert (first.local, first.relative, first.bound) == pytest.approx((0.25, 0.25, 0.25))
    assert (second.local, second.relative, second.bound) == pytest.approx((0, 0.25, 0.25))


def test_equal_networks_have_no_error():
    result = error_propagation(load("lenet-5"), load("lenet-5"), DIGITS)
    assert [(row.local, row.relative, row.bound) for row in result.rows] == [(0, 0, 0)] * len(result.rows)
    assert [row.name for row in result.rows] == ["conv1", "pool", "conv2", "pool", "fc1", "relu", "fc2"]


def test_a_compressed_network_is_compared_by_the_names_of_the_dense_one():
    model = load("lenet-300-100")
    small, _ = compress(model, {"fc1": LowRankScheme(rank=16)}, example_inputs=DIGITS[:1])
    rows = {row.name: row for row in error_propagation(model, small, DIGITS).rows}
    assert rows["fc1"].local == rows["fc1"].relative > 0
    assert rows["fc3"].local == 0 < rows["fc3"].relative < rows["fc3"].bound


def test_without_a_chain_there_is_no_bound():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.b(x + self.a(x))

    model = Residual()
    result = error_propagation(model, disturbed(model, ["a"]), torch.ones(2, 3))
    assert not result.chain
    assert 0 < result.relative < result.bound == math.inf
    chain = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    assert error_propagation(chain, disturbed(chain, ["0"]), torch.ones(2, 3), bounds=False).bound == math.inf


LAYERS = [
    (nn.Linear(6, 4), (1, 6)),
    (nn.Conv1d(3, 5, 3, stride=2, padding=1), (1, 3, 9)),
    (nn.Conv2d(2, 3, 3, padding=2, dilation=2), (1, 2, 7, 6)),
    (nn.Conv2d(4, 6, 3, padding="same", groups=2), (1, 4, 6, 6)),
    (nn.Conv2d(4, 2, 1), (1, 4, 3, 3)),
    (nn.MaxPool2d(3, stride=2), (1, 2, 7, 7)),
    (nn.AvgPool2d(3, stride=1, padding=1), (1, 2, 5, 5)),
    (nn.BatchNorm2d(3), (1, 3, 4, 4)),
    (nn.LeakyReLU(3.0), (1, 5)),
    (nn.Sigmoid(), (1, 5)),
    (nn.Softmax(-1), (1, 5)),
    (nn.Dropout(0.5), (1, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_lipschitz_constants_bound_the_jacobian_and_are_not_idle(layer, shape):
    generator = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.BatchNorm2d):
        layer.running_var.copy_(torch.tensor([0.1, 1.0, 9.0]))
    layer.double().eval()
    norms = []
    for _ in range(5):
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(layer, x).reshape(layer(x).numel(), x.numel())
        norms.append(float(torch.linalg.matrix_norm(jacobian, 2)))
    constant = lipschitz(layer, shape)
    assert max(norms) <= constant * (1 + 1e-9)
    assert constant < 3 * max(norms)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(2, 2, 3, padding=1, padding_mode="reflect"), (1, 2, 5)),
        (nn.ConvTranspose1d(2, 2, 3), (1, 2, 5)),
        (nn.MaxPool1d(2, dilation=2), (1, 2, 5)),
        (nn.BatchNorm1d(3, track_running_stats=False), (2, 3)),
        (nn.LayerNorm(3), (1, 3)),
    ],
)
def test_an_unknown_constant_is_infinite(layer, shape):
    assert lipschitz(layer, shape) == math.inf


def test_networks_stay_as_they_are():
    model = LeNet5().train()
    error_propagation(model, copy.deepcopy(model), DIGITS)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("model", "approx", "x", "error", "message"),
    [
        ("lenet", LeNet5(), DIGITS, TypeError, "model must be Module"),
        (LeNet5(), None, DIGITS, TypeError, "approx must be Module"),
        (LeNet5(), LeNet5(), DIGITS.numpy(), TypeError, "x must be Tensor"),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU(), nn.ReLU()), torch.ones(1), None, None),
        (nn.Sequential(nn.ReLU(), nn.ReLU()), nn.Sequential(nn.ReLU()), torch.ones(1), ValueError, "missing are .'1'"),
    ],
)
def test_bad_input_is_named(model, approx, x, error, message):
    if error is None:  # more layers than the model has do not matter
        assert error_propagation(model, approx, x).relative == 0
        return
    with pytest.raises(error, match=message):
        error_propagation(model, approx, x)


def test_layers_in_another_order_are_refused():
    class Turned(nn.Sequential):
        def forward(self, x):
            return self[0](self[1](x))

    with pytest.raises(ValueError, match="approx must call the layers"):
        error_propagation(nn.Sequential(nn.ReLU(), nn.Tanh()), Turned(nn.ReLU(), nn.Tanh()), torch.ones(1))
    with pytest.raises(TypeError, match="layer must be Module"):
        lipschitz("relu", (1,))
    with pytest.raises(TypeError, match="bounds must be bool"):
        error_propagation(nn.ReLU(), nn.ReLU(), torch.ones(1), bounds=1)

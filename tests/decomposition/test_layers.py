"""Factorised layers equal their dense forms, survive a file, and refuse what they cannot do."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from labkit import paths
from labkit.datasets import CHECKSUMS, mnist
from labkit.decomposition import (
    LowRankConv2d,
    LowRankLinear,
    LowRankScheme,
    ResponseScheme,
    factorize_conv,
    factorize_linear,
    low_rank_plan,
    response_plan,
    truncated_svd,
)
from labkit.nets import load
from labkit.training import evaluate, fit

FULL = all((paths.CACHE / "mnist" / name).exists() for name in CHECKSUMS)
CONVOLUTIONS = {
    "plain": {},
    "stride": {"stride": 2},
    "two strides": {"stride": (1, 3)},
    "padding": {"padding": 2},
    "two paddings": {"padding": (1, 0)},
    "same": {"padding": "same", "dilation": 2},
    "dilation": {"dilation": 2, "padding": 1},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "no bias": {"bias": False},
}


def linear(n=20, m=12, bias=True, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(n, m, bias=bias)


def conv(**arguments):
    torch.manual_seed(0)
    return nn.Conv2d(3, 8, (3, 2), **arguments)


@pytest.fixture(autouse=True)
def _own_seed():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(20, 12), (12, 20), (7, 1), (1, 7)])
def test_full_rank_linear_reproduces_outputs(shape, bias):
    layer = linear(*shape, bias=bias)
    x = torch.randn(5, 4, shape[0])
    torch.testing.assert_close(factorize_linear(layer, rank=min(shape))(x), layer(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_full_rank_convolution_reproduces_outputs(case):
    layer, x = conv(**CONVOLUTIONS[case]), torch.randn(2, 3, 9, 10)
    torch.testing.assert_close(factorize_conv(layer, rank=8)(x), layer(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_to_dense_of_a_convolution_is_the_same_map(case):
    small, x = factorize_conv(conv(**CONVOLUTIONS[case]), rank=3), torch.randn(2, 3, 9, 10)
    torch.testing.assert_close(small.to_dense()(x), small(x), rtol=0, atol=1e-5)


def test_to_dense_of_a_linear_layer_is_the_truncated_weight():
    layer = linear()
    small = factorize_linear(layer, rank=3)
    expected = truncated_svd(layer.weight.detach().numpy(), rank=3).to_tensor()
    np.testing.assert_allclose(small.to_dense().weight.detach().numpy(), expected, atol=1e-6)
    assert torch.equal(small.to_dense().bias, layer.bias)


def test_tol_bounds_the_error_of_the_weight():
    layer = linear()
    small = LowRankLinear.from_linear(layer, tol=0.5)
    error = (small.to_dense().weight - layer.weight).norm() / layer.weight.norm()
    assert error <= 0.5
    assert (LowRankLinear.from_linear(layer, rank=small.rank - 1).to_dense().weight - layer.weight).norm() > (
        0.5 * layer.weight.norm()
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_number_type_and_mode_are_kept(dtype, training):
    for layer, factorize in ((linear(), factorize_linear), (conv(), factorize_conv)):
        small = factorize(layer.to(dtype).train(training), rank=2)
        for module in (small, small.to_dense()):
            assert {p.dtype for p in module.parameters()} == {dtype}
            assert module.training is training


def test_state_dict_round_trip_is_exact():
    for small in (factorize_linear(linear(), rank=3), factorize_conv(conv(padding=1, stride=2), rank=3)):
        other = type(small)(**small.config())
        other.load_state_dict(small.state_dict(), strict=True)
        x = torch.randn(2, 20) if isinstance(small, LowRankLinear) else torch.randn(2, 3, 9, 9)
        assert torch.equal(other(x), small(x))
        assert other.config() == small.config()


def test_factorising_leaves_the_layer_and_the_global_seed_alone():
    layer = linear()
    before, seed = copy.deepcopy(layer.state_dict()), torch.get_rng_state()
    factorize_linear(layer, rank=3).first.weight.data.zero_()
    assert all(torch.equal(layer.state_dict()[key], before[key]) for key in before)
    assert torch.equal(torch.get_rng_state(), seed)


def test_a_factorised_layer_learns():
    small = factorize_linear(linear(), rank=3)
    small(torch.randn(4, 20)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())


def test_parameters_are_counted_by_the_formula():
    assert sum(p.numel() for p in LowRankLinear(784, 300, rank=16).parameters()) == 16 * (784 + 300) + 300
    assert sum(p.numel() for p in LowRankConv2d(20, 50, 5, rank=10).parameters()) == 10 * (500 + 50) + 50


def lenet_at(rank, method, x):
    """The trained LeNet-300-100 with fc1 and fc2 at this rank."""
    model, plan = load("lenet-300-100"), low_rank_plan({"fc1": rank, "fc2": rank})
    for name, scheme in (plan if method == "weights" else response_plan(model, dict.fromkeys(plan, rank), x)).items():
        setattr(model, name, scheme.apply(getattr(model, name)))
    return model


@pytest.mark.skipif(not FULL, reason="needs the full MNIST in the cache: python -m labkit data")
def test_lenet_at_rank_16_keeps_97_percent_after_one_epoch_of_fine_tuning():
    digits = mnist("train", source="cache")
    model = lenet_at(16, "responses", digits[:5000].tensors()[0])
    fit(model, digits, epochs=1, learning_rate=1e-3, random_state=0, progress=False)
    assert evaluate(model, mnist("heldout", source="cache")).accuracy >= 97


def test_lenet_without_fine_tuning_needs_twice_the_rank_for_97_percent():
    """The unseen 1,000 digits judge; the other 4,000 only give responses."""
    x, digits = mnist("train", source="offline").tensors()[0], mnist("test", source="offline")
    assert evaluate(lenet_at(32, "responses", x), digits).accuracy >= 97
    weights, responses = (evaluate(lenet_at(16, method, x), digits).accuracy for method in ("weights", "responses"))
    assert weights < responses < 97


def test_lenet_at_full_rank_reproduces_outputs():
    model, x = load("lenet-300-100"), mnist("test", source="offline").tensors()[0]
    small = copy.deepcopy(model)
    for name, layer in model.named_children():
        if isinstance(layer, nn.Linear):
            setattr(small, name, factorize_linear(layer, rank=min(layer.weight.shape)))
    with torch.no_grad():
        torch.testing.assert_close(small(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("factorize", "layer"),
    [(factorize_linear, linear()), (factorize_conv, conv()), (LowRankLinear.from_linear, linear())],
)
@pytest.mark.parametrize(
    "arguments",
    [{}, {"rank": 2, "tol": 0.1}, {"rank": 0}, {"rank": 13}, {"rank": 2.0}, {"tol": 2}, {"tol": float("nan")}],
)
def test_bad_rank_or_tol_is_refused(factorize, layer, arguments):
    with pytest.raises((TypeError, ValueError), match=r"rank|tol"):
        factorize(layer, **arguments)


def test_bad_layers_are_refused():
    with pytest.raises(TypeError, match="layer must be Linear, got ReLU"):
        factorize_linear(nn.ReLU(), rank=1)
    with pytest.raises(TypeError, match="layer must be Linear, got Conv2d"):
        factorize_linear(conv(), rank=1)
    with pytest.raises(TypeError, match="layer must be Conv2d, got Linear"):
        factorize_conv(linear(), rank=1)
    with pytest.raises(ValueError, match="rank must be between 1 and 2"):
        factorize_conv(nn.Conv2d(4, 4, 3, groups=2), rank=3)
    broken = linear()
    broken.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"layer\.weight must be finite"):
        factorize_linear(broken, rank=1)


@pytest.mark.parametrize(
    "build",
    [
        lambda: LowRankLinear(0, 4, rank=1),
        lambda: LowRankLinear(4, 4, rank=5),
        lambda: LowRankLinear(4, 4.0, rank=1),
        lambda: LowRankConv2d(3, 8, 3, rank=9),
        lambda: LowRankConv2d(3, 8, 3, rank=0),
        lambda: LowRankConv2d(3, -8, 3, rank=1),
        lambda: LowRankConv2d(4, 8, 3, rank=1, groups=3),
    ],
)
def test_constructors_refuse(build):
    with pytest.raises((TypeError, ValueError), match="must be"):
        build()


def test_schemes_equal_the_functions_they_stand_for():
    layer, x = linear(), torch.randn(30, 20)
    assert torch.equal(LowRankScheme(rank=3).apply(layer)(x), factorize_linear(layer, rank=3)(x))
    assert LowRankScheme(tol=0.5).apply(conv()).rank == factorize_conv(conv(), tol=0.5).rank
    assert isinstance(ResponseScheme(rank=3, data=x).apply(layer), LowRankLinear)


def test_plans_name_every_layer():
    model = nn.Sequential(linear(20, 12), nn.ReLU(), linear(12, 8))
    assert low_rank_plan({"0": 3}) == {"0": LowRankScheme(rank=3)}
    plan = response_plan(model, {"2": 3}, torch.randn(30, 20))
    assert plan["2"].data.shape == (30, 12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: LowRankScheme(),
        lambda: LowRankScheme(rank=1, tol=0.1),
        lambda: LowRankScheme(rank=1).apply(nn.ReLU()),
        lambda: ResponseScheme(rank=1, data=torch.ones(3, 3)).apply(nn.ReLU()),
        lambda: low_rank_plan([3]),
        lambda: response_plan(nn.Sequential(linear()), {"1": 3}, torch.ones(3, 20)),
        lambda: response_plan(nn.Sequential(linear()), 3, torch.ones(3, 20)),
    ],
)
def test_schemes_and_plans_refuse(call):
    with pytest.raises((TypeError, ValueError), match=r"must be|exactly one"):
        call()

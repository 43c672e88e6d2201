"""Factorised and Kronecker convolutions replace any nn.Conv2d: same outputs, same file format, clear refusals."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from labkit.cost import count
from labkit.decomposition import (
    SCHEMES,
    ConvScheme,
    Cut,
    KConv2d,
    KConvScheme,
    KroneckerLinear,
    KroneckerScheme,
    LowRankConv2d,
    SeparableConv,
    SeparableScheme,
    SharedGroupConv2d,
    SharedGroupScheme,
    dac,
    factorize_conv,
    factorize_convnd,
    factorize_kernel,
    kpsvd,
    separable_kernel,
    suggest_left,
)
from tests.decomposition.windows import WINDOWS, X, conv


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


# --- the four schemes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_full_rank_reproduces_every_convolution(scheme, window):
    layer = conv(**WINDOWS[window])
    full = Cut(tuple(layer.weight.shape), scheme, layer.groups).full_rank
    small = factorize_conv(layer, scheme=scheme, rank=full)
    assert small.rank == full
    close(small(X), layer(X))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_to_dense_is_the_same_map_at_any_rank(scheme, window):
    layer = conv(**WINDOWS[window])
    small = factorize_conv(layer, scheme=scheme, rank=2)
    dense = small.to_dense()
    close(dense(X), small(X))
    expected = factorize_kernel(layer.weight.detach().numpy(), scheme=scheme, rank=2, groups=layer.groups)
    np.testing.assert_allclose(dense.weight.detach().numpy(), expected.to_tensor(), atol=1e-12)
    assert str(dense) == str(layer)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_state_and_config_rebuild_the_layer(scheme):
    small = factorize_conv(conv(stride=2, padding=1, groups=2), scheme=scheme, rank=2).float()
    other = LowRankConv2d(**small.config())
    other.load_state_dict(small.state_dict(), strict=True)
    assert torch.equal(other(X.float()), small(X.float()))
    assert other.config() == small.config()
    assert set(small.state_dict()) == {"first.weight", "second.weight", "second.bias"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_cost_is_that_of_the_formula(scheme):
    """At stride 1 without padding, on an input of the size of the kernel, every stage after the first is one pixel."""
    layer = LowRankConv2d(4, 8, (3, 2), rank=2, scheme=scheme, bias=False)
    cut = Cut((8, 4, 3, 2), scheme)
    assert sum(p.numel() for p in layer.parameters()) == cut.n_params(2)
    macs = count(layer, torch.zeros(1, 4, 3, 2)).macs
    first = {"hw_1x1": 1, "1x1_hw": 6, "hx1_1xw": 2, "dac": 1}[scheme]  # pixels between the two convolutions
    assert macs == first * layer.first.weight.numel() + layer.second.weight.numel()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_type_mode_and_gradient(scheme, dtype):
    layer = conv().to(dtype).eval()
    small = factorize_conv(layer, scheme=scheme, rank=2)
    assert {p.dtype for p in small.parameters()} == {p.dtype for p in small.to_dense().parameters()} == {dtype}
    assert not small.training
    small(X.to(dtype)).float().square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in small.parameters())


def test_dac_is_depthwise_then_pointwise_and_needs_no_data():
    layer = conv(padding=1)
    small = dac(layer, rank=3)
    assert small.first.groups == 4
    assert small.first.out_channels == 12
    assert small.second.kernel_size == (1, 1)
    close(dac(layer, tol=1e-12)(X), layer(X))


def test_horizontal_vertical_is_the_separable_convolution():
    layer = conv(stride=2, padding=1, groups=2)
    close(factorize_conv(layer, scheme="hx1_1xw", rank=3)(X), factorize_convnd(layer, rank=3)(X))


def test_factorising_leaves_the_layer_alone():
    layer = conv()
    before = copy.deepcopy(layer.state_dict())
    small = dac(layer, rank=1)
    with torch.no_grad():
        for p in small.parameters():
            p.zero_()
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in before.items())


# --- one-dimensional convolutions in a row ------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
def test_separable_reproduces_every_convolution(window):
    layer = conv(**WINDOWS[window])
    full = min(3 * 4 // layer.groups, 2 * 8 // layer.groups)
    close(factorize_convnd(layer, rank=full)(X), layer(X))
    small = factorize_convnd(layer, tol=0.5)
    close(small.to_dense()(X), small(X))
    error = (small.to_dense().weight - layer.weight).norm() / layer.weight.norm()
    assert error <= 0.5


@pytest.mark.parametrize("arguments", [{}, {"stride": (1, 2, 1), "padding": 1}, {"groups": 2, "dilation": (1, 1, 2)}])
def test_three_dimensions(arguments):
    torch.manual_seed(0)
    layer, x = nn.Conv3d(4, 6, (2, 3, 2), **arguments).double(), torch.randn(2, 4, 6, 7, 8).double()
    small = factorize_convnd(layer, tol=0)
    close(small(x), layer(x))
    assert [tuple(part.kernel_size) for part in small.parts] == [(2, 1, 1), (1, 3, 1), (1, 1, 2)]
    other = SeparableConv(**factorize_convnd(layer, rank=(3, 2)).config()).double()
    close(other.to_dense()(x), other(x))


def test_separable_kernel_keeps_tol_and_protocol():
    W = np.random.default_rng(0).standard_normal((6, 4, 2, 3, 2))
    full = separable_kernel(W, tol=0)
    np.testing.assert_allclose(full.to_tensor(), W, atol=1e-12)
    for tol in (0.2, 0.5, 0.8):
        parts = separable_kernel(W, tol=tol)
        error = np.linalg.norm(W - parts.to_tensor())
        assert error <= parts.error_bound + 1e-12
        assert parts.error_bound <= tol * np.linalg.norm(W) + 1e-12
    x = np.random.default_rng(1).standard_normal((48, 3))
    np.testing.assert_allclose(parts.matmul(x), parts.to_tensor().reshape(6, 48) @ x, atol=1e-12)
    np.testing.assert_allclose(parts.matmul(x[:, 0]), parts.to_tensor().reshape(6, 48) @ x[:, 0], atol=1e-12)
    assert parts.n_params == sum(kernel.size for kernel in parts.kernels())
    assert separable_kernel(W, rank=2).rank == separable_kernel(W, rank=(2, 2)).rank == (2, 2)
    assert repr(separable_kernel(W, rank=1)) == "SeparableKernel(shape=(6, 4, 2, 3, 2), rank=(1, 1), n_params=23)"


def test_separable_state_and_config_rebuild_the_layer():
    small = factorize_convnd(conv(stride=2), rank=3)
    other = SeparableConv(**small.config()).double()
    other.load_state_dict(small.state_dict(), strict=True)
    assert torch.equal(other(X), small(X))


# --- Kronecker layers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("right", [(2, 3), (4, 2), (1, 6), (12, 1), (1, 1)])
def test_kronecker_linear_equals_the_dense_layer(right, bias):
    layer = nn.Linear(6, 12, bias=bias).double()
    x = torch.randn(3, 2, 6, dtype=torch.double)
    full = min(72 // (right[0] * right[1]), right[0] * right[1])
    close(KroneckerLinear.from_linear(layer, right=right, rank=full)(x), layer(x))
    small = KroneckerLinear.from_linear(layer, right=right, tol=0.6)
    close(small.to_dense()(x), small(x))
    expected = kpsvd(layer.weight.detach().numpy(), right=right, tol=0.6).to_tensor()
    np.testing.assert_allclose(small.to_dense().weight.detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("right", "macs"), [((2, 3), 2 * (2 * 2 * 3 + 6 * 2 * 2)), ((6, 1), 2 * (2 * 6 + 2 * 6))])
def test_kronecker_linear_takes_the_cheaper_product_first(right, macs):
    """The first case costs 72 with B first, 72 with A first; the second 2 * 6 * (6 + 2) with B first."""
    layer = KroneckerLinear(6, 12, right=right, rank=2)
    assert count(layer, torch.zeros(1, 6)).macs == macs
    assert count(layer, torch.zeros(5, 6)).macs == macs


def test_gradients_are_right():
    layer = KroneckerLinear(6, 4, right=(2, 3), rank=2).double()
    assert torch.autograd.gradcheck(layer, torch.randn(3, 6, dtype=torch.double, requires_grad=True))
    parameters = tuple(layer.parameters())

    def run(*values):
        names = [name for name, _ in layer.named_parameters()]
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), torch.ones(1, 6).double())

    assert torch.autograd.gradcheck(run, parameters)


LEFTS = [(4, 2, 3, 1), (2, 2, 1, 2), (8, 4, 1, 1), (1, 1, 3, 2), (2, 1, 1, 1), (4, 4, 3, 2)]


@pytest.mark.parametrize("window", [w for w in WINDOWS if w != "groups"])
@pytest.mark.parametrize("left", LEFTS)
def test_kconv_reproduces_every_convolution(left, window):
    layer = conv(**WINDOWS[window])
    full = min(np.prod(left), 192 // np.prod(left))
    close(KConv2d.from_conv(layer, left=left, rank=int(full))(X), layer(X))
    small = KConv2d.from_conv(layer, left=left, rank=1)
    close(small.to_dense()(X), small(X))


@pytest.mark.parametrize("window", ["plain", "stride", "same", "everything", "circular"])
def test_kconv_with_two_wide_factors_dilates_the_left_one(window):
    layer = conv(kernel=4, **WINDOWS[window])
    close(KConv2d.from_conv(layer, left=(4, 2, 2, 2), rank=16)(X), layer(X))
    parts = kpsvd(layer.weight.detach().numpy(), right=(2, 2, 2, 2), rank=2)
    small = KConv2d.from_conv(layer, left=(4, 2, 2, 2), rank=2)
    np.testing.assert_allclose(small.to_dense().weight.detach().numpy(), parts.to_tensor(), atol=1e-12)
    close(small.to_dense()(X), small(X))


@pytest.mark.parametrize(
    ("shape", "config"),
    [
        ((128, 48, 9, 9), (1, 128, 24, 9, 1)),
        ((512, 64, 8, 8), (1, 256, 64, 8, 1)),
        ((128, 48, 9, 9), (1, 128, 48, 1, 9)),
        ((512, 64, 8, 8), (1, 512, 64, 1, 8)),
        ((128, 48, 9, 9), (2, 64, 24, 9, 1)),
        ((512, 64, 8, 8), (2, 256, 64, 8, 1)),
        ((96, 1, 9, 9), (2, 12, 1, 1, 9)),
        ((96, 1, 9, 9), (2, 96, 1, 1, 9)),
    ],
)
def test_the_lectures_configurations(shape, config):
    """Second and third layer of a text recogniser with 9 x 9 and 8 x 8 filters; counts by the formula."""
    (m, c, h, w), (r, o1, c1, h1, w1) = shape, config
    with torch.device("meta"):
        layer = KConv2d(c, m, (h, w), rank=r, left=(o1, c1, h1, w1), bias=False)
    o2, c2, h2, w2 = m // o1, c // c1, h // h1, w // w1
    assert sum(p.numel() for p in layer.parameters()) == r * (o1 * c1 * h1 * w1 + o2 * c2 * h2 * w2)
    side = 12
    rows, columns = side - h1 + 1, side - w1 + 1  # of the features between the two convolutions
    first = rows * columns * c2 * o1 * r * c1 * h1 * w1
    second = (side - h + 1) * (side - w + 1) * m * r * c2 * h2 * w2
    assert count(layer, torch.zeros(1, c, side, side, device="meta")).macs == first + second


@pytest.mark.parametrize("kind", ["linear", "conv", "shared"])
def test_kronecker_state_config_type_and_mode(kind):
    made = {
        "linear": lambda: (KroneckerLinear.from_linear(nn.Linear(6, 4).eval(), right=(2, 3), rank=2), torch.ones(2, 6)),
        "conv": lambda: (KConv2d.from_conv(conv(padding=1).eval(), left=(4, 2, 3, 1), rank=2), X),
        "shared": lambda: (SharedGroupConv2d.from_conv(conv(padding=1, groups=2).eval()), X),
    }
    small, x = made[kind]()
    assert not small.training
    assert {p.dtype for p in small.parameters()} == {x.dtype}
    other = type(small)(**small.config()).to(x.dtype)
    other.load_state_dict(small.state_dict(), strict=True)
    assert torch.equal(other(x), small(x))
    small(x).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in small.parameters())


def test_new_kronecker_layers_start_with_the_usual_spread():
    """The entries of the product have about the variance 1 / (3 fan-in) of nn.Linear and nn.Conv2d."""
    torch.manual_seed(0)
    made = [
        (KroneckerLinear(784, 300, right=(10, 28), rank=4), 784),
        (KConv2d(20, 50, 5, rank=4, left=(25, 10, 5, 1)), 500),
    ]
    for layer, fan_in in made:
        assert 0.7 < layer.to_sum().to_tensor().var() * 3 * fan_in < 1.4


def test_shared_groups_are_tied_groups_and_a_kronecker_layer():
    shared = SharedGroupConv2d(4, 8, (3, 2), groups=2, padding=1, stride=2).double()
    W0 = shared.shared.weight.detach()
    tied = nn.functional.conv2d(X, torch.cat([W0, W0]), shared.bias, stride=2, padding=1, groups=2)
    close(shared(X), tied)
    dense = shared.to_dense()
    np.testing.assert_allclose(
        dense.weight.detach().numpy(), np.kron(np.eye(2)[:, :, None, None], W0.numpy()), atol=1e-12
    )
    close(dense(X), shared(X))
    close(shared.to_kronecker()(X), shared(X))
    assert count(shared, X[:1]).uncounted == ()


def test_shared_groups_from_a_layer_are_the_mean_of_its_groups():
    grouped = conv(groups=2)
    shared = SharedGroupConv2d.from_conv(grouped)
    close(shared.shared.weight, (grouped.weight[:4] + grouped.weight[4:]) / 2)
    plain = SharedGroupConv2d.from_conv(conv(), groups=2)
    W = conv().weight
    close(plain.shared.weight, (W[:4, :2] + W[4:, 2:]) / 2)
    errors = []
    for step in (0, 0.01, -0.01):  # the mean is the nearest: any move away from it is worse
        moved = copy.deepcopy(plain)
        moved.shared.weight.data += step
        errors.append((moved.to_dense().weight - W).norm().item())
    assert errors[0] == min(errors)


@pytest.mark.parametrize("shape", [(50, 20, 5, 5), (128, 48, 9, 9), (512, 64, 8, 8), (64, 64, 3, 3), (96, 32, 3, 3)])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_suggested_configurations_follow_the_rule(shape, rank):
    o1, c1, h1, w1 = suggest_left(shape, rank=rank)
    assert 0.5 <= rank * (shape[1] // c1) / c1 <= 2
    assert (h1, w1) == (shape[2], 1)
    assert KConv2d(shape[1], shape[0], shape[2:], rank=rank, left=(o1, c1, h1, w1), device="meta").rank == rank


# --- schemes of a plan --------------------------------------------------------------------------------------------


def test_schemes_equal_the_functions_they_stand_for():
    layer, dense = conv(), nn.Linear(6, 4)
    assert torch.equal(ConvScheme("1x1_hw", rank=2).apply(layer)(X), factorize_conv(layer, scheme="1x1_hw", rank=2)(X))
    assert torch.equal(SeparableScheme(rank=2).apply(layer)(X), factorize_convnd(layer, rank=2)(X))
    assert ConvScheme("dac", tol=0.5).apply(layer).rank == dac(layer, tol=0.5).rank
    assert isinstance(KConvScheme((4, 2, 3, 1), tol=0.5).apply(layer), KConv2d)
    assert isinstance(KroneckerScheme((2, 3), rank=1).apply(dense), KroneckerLinear)
    assert isinstance(SharedGroupScheme(2).apply(layer), SharedGroupConv2d)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: factorize_conv(nn.Linear(2, 2), rank=1), "layer must be Conv2d"),
        (lambda: factorize_conv(conv(), scheme="fast", rank=1), "scheme must be one of"),
        (lambda: dac(conv(), rank=9), "rank must be between 1 and 6"),
        (lambda: dac(conv()), "exactly one"),
        (lambda: LowRankConv2d(4, 8, 3, rank=1, scheme="dac", dillation=1), "did you mean 'dilation'"),
        (lambda: LowRankConv2d(4, 8, 3, rank=10, scheme="dac"), "rank must be between 1 and 8"),
        (lambda: factorize_convnd(nn.Linear(2, 2), rank=1), "layer must be Conv2d or Conv3d"),
        (lambda: factorize_convnd(conv()), "exactly one"),
        (lambda: factorize_convnd(conv(), rank=13), r"rank\[0\] must be between 1 and 12"),
        (lambda: factorize_convnd(conv(), rank=(1, 1)), "rank must hold 1 integers"),
        (lambda: factorize_convnd(conv(), rank=1.0), r"rank\[0\] must be an integer"),
        (lambda: factorize_convnd(conv(), tol=2), "tol must be between 0 and 1"),
        (lambda: SeparableConv(4, 8, (3,), rank=()), "must be between 2 and 3"),
        (lambda: SeparableConv(4, 8, 3, rank=(1,)), "kernel_size must be tuple or list"),
        (lambda: SeparableConv(4, 8, (3, 3), rank=(1,), window=2), "argument must be one of"),
        (lambda: separable_kernel(np.ones((2, 2, 3)), rank=1), "N at least 2"),
        (lambda: separable_kernel(np.ones((3, 2, 3, 3)), rank=1, groups=2), "groups must divide the 3 filters"),
        (lambda: separable_kernel(np.full((2, 2, 3, 3), np.nan), rank=1), "W must be finite"),
        (lambda: separable_kernel(np.ones((2, 2, 3, 3)), rank=1).matmul(np.ones(3)), "x must have shape"),
        (lambda: KroneckerLinear.from_linear(conv(), right=(1, 1), rank=1), "layer must be Linear"),
        (lambda: KroneckerLinear.from_linear(nn.Linear(6, 4), right=(3, 3), rank=1), "right must divide"),
        (lambda: KroneckerLinear(6, 4, right=(2, 3), rank=5), "rank must be between 1 and 4"),
        (lambda: KroneckerLinear(6, 4, right=(2, 3), rank=2.0), "rank must be an integer"),
        (lambda: KroneckerLinear(6, 4, right=6, rank=2), "right must be a tuple of 2 integers"),
        (lambda: KroneckerLinear(0, 4, right=(2, 3), rank=2), "in_features must be at least 1"),
        (lambda: KConv2d(4, 8, 3, rank=1, left=(3, 2, 3, 1)), "left must divide"),
        (lambda: KConv2d(4, 8, 3, rank=1, left=(4, 2, 3)), "left must be a tuple of 4 integers"),
        (lambda: KConv2d(4, 8, 3, rank=13, left=(4, 2, 3, 1)), "rank must be between 1 and 12"),
        (lambda: KConv2d(4, 8, 3, rank=1, left=(4, 2, 3, 1), groups=2), "argument must be one of"),
        (lambda: KConv2d.from_conv(conv(groups=2), left=(4, 2, 3, 1), rank=1), "groups=2"),
        (lambda: KConv2d.from_conv(conv(), left=(4, 2, 3, 1)), "exactly one"),
        (lambda: SharedGroupConv2d(4, 8, 3, groups=3), "groups must divide"),
        (lambda: SharedGroupConv2d(4, 8, 3, groups=1), "groups must be at least 2"),
        (lambda: SharedGroupConv2d.from_conv(conv()), "groups must be at least 2"),
        (lambda: SharedGroupConv2d.from_conv(conv(groups=2), groups=4), "groups must be 2, as in the layer"),
        (lambda: suggest_left((8, 4, 3), rank=1), "shape must be four integers"),
        (lambda: suggest_left((8, 4, 3, 3), rank=0), "rank must be at least 1"),
        (lambda: suggest_left((2, 1, 1, 1), rank=3), "rank must be between"),
        (lambda: ConvScheme("fast", rank=1), "scheme must be one of"),
        (lambda: ConvScheme("dac"), "exactly one"),
        (lambda: ConvScheme("dac", rank=1).apply(nn.Linear(2, 2)), "layer must be Conv2d"),
        (lambda: SeparableScheme(), "exactly one"),
        (lambda: SeparableScheme(rank=1).apply(nn.Conv1d(2, 2, 1)), "layer must be Conv2d or Conv3d"),
        (lambda: KroneckerScheme((2, 3)), "exactly one"),
        (lambda: KroneckerScheme((2, 3), rank=1).apply(conv()), "layer must be Linear"),
        (lambda: KConvScheme((4, 2, 3, 1), rank=1, tol=0.5), "exactly one"),
        (lambda: KConvScheme((4, 2, 3, 1), rank=1).apply(nn.Linear(2, 2)), "layer must be Conv2d"),
        (lambda: SharedGroupScheme(1), "groups must be at least 2"),
        (lambda: SharedGroupScheme(2).apply(nn.Linear(2, 2)), "layer must be Conv2d"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_weights_that_are_not_finite_are_refused():
    layer = conv()
    layer.weight.data[0, 0, 0, 0] = float("nan")
    for call in (lambda: dac(layer, rank=1), lambda: KConv2d.from_conv(layer, left=(4, 2, 3, 1), rank=1)):
        with pytest.raises(ValueError, match=r"layer\.weight must be finite"):
            call()

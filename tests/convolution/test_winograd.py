"""Winograd convolution: the direct one for every shape, in NumPy and as a layer, and how its error grows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.convolution.winograd import conv2d, f23, transform_kernel
from labkit.convolution.winograd_layer import WinogradConv2d
from tests.convolution.conv_cases import Case, conv_cases


@given(
    d=st.lists(st.integers(-99, 99), min_size=4, max_size=4), g=st.lists(st.integers(-99, 99), min_size=3, max_size=3)
)
def test_f23_is_the_correlation(d: list[int], g: list[int]) -> None:
    step = f23(d, g)
    assert step.outputs == tuple(np.correlate(d, g, mode="valid"))
    m1, m2, m3, m4 = step.products
    assert step.outputs == (m1 + m2 + m3, m2 - m3 - m4)


def test_the_lectures_example_and_counts() -> None:
    assert f23([0, 0, 1, 2], [10, 20, 30]).outputs == (30, 80)
    assert (f23([0, 0, 1, 2], [10, 20, 30]).INPUTS, f23([0] * 4, [0] * 3).OUTPUTS) == ((4, 0), (4, 4))


@settings(max_examples=60, deadline=None)
@given(conv_cases(), st.integers(1, 4), st.integers(1, 4))
def test_any_shape_equals_torch(case: Case, mh: int, mw: int) -> None:
    arrays, options, wanted = case
    np.testing.assert_allclose(conv2d(*arrays, m=(mh, mw), **options), wanted, rtol=1e-9, atol=1e-9)


def test_a_kernel_may_be_transformed_before() -> None:
    random = np.random.default_rng(0)
    x, w = random.normal(size=(2, 4, 9, 7)), random.normal(size=(6, 2, 3, 3))
    U = transform_kernel(w, m=(4, 2))
    again = conv2d(x, w, m=(4, 2), padding=1, groups=2, transformed=U)
    np.testing.assert_array_equal(again, conv2d(x, w, m=(4, 2), padding=1, groups=2))
    with pytest.raises(ValueError, match=r"transformed must have shape \(16, 6, 2\) of floats, got \(24, 6, 2\)"):
        conv2d(x, w, m=2, groups=2, transformed=U)
    with pytest.raises(ValueError, match="w must"):
        transform_kernel(w[0], m=2)


def test_precision_follows_the_input() -> None:
    x, w = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 3, 3), np.float32)
    assert conv2d(x, w, m=2).dtype == np.float32
    assert conv2d(x, w.astype(np.float64), m=2).dtype == np.float64


@pytest.mark.parametrize(("m", "padding", "groups", "bias"), [(2, 1, 1, True), (4, 0, 2, False), (3, 2, 4, True)])
def test_layer_equals_the_plain_one(m: int, padding: int, groups: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 8, 3, padding=padding, groups=groups, bias=bias).double()
    layer, x = WinogradConv2d.from_conv(plain, m=m), torch.randn(2, 4, 9, 7).double()
    torch.testing.assert_close(layer(x), plain(x))
    torch.testing.assert_close(layer.to_dense()(x), plain(x))
    again = WinogradConv2d(4, 8, 3, m=m, padding=padding, groups=groups, bias=bias).double()
    again.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(again(x), layer(x))


def test_layer_has_the_gradients_of_the_plain_one() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(2, 3, 3).double()
    layer, x = WinogradConv2d.from_conv(plain, m=2), torch.randn(1, 2, 6, 6).double()
    for one in (plain, layer):
        one(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
    assert torch.autograd.gradcheck(layer, x.requires_grad_())


def test_the_error_grows_with_the_tile_and_shrinks_with_the_precision() -> None:
    random = np.random.default_rng(0)
    x, w = random.normal(size=(1, 16, 24, 24)), random.normal(size=(16, 16, 3, 3))
    exact = conv2d(x, w, m=2)

    def error(m: int, dtype: type) -> float:
        return np.abs(conv2d(x.astype(dtype), w.astype(dtype), m=m) - exact).max() / np.abs(exact).max()

    assert error(2, np.float32) < error(4, np.float32) < error(8, np.float32) < 1e-2
    assert error(8, np.float64) < 1e-9


X, W = np.ones((1, 2, 5, 5)), np.ones((4, 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: f23([1, 2, 3], [1, 2, 3]), ValueError, "d must have 4 entries"),
        (lambda: f23([1, 2, 3, np.nan], [1, 2, 3]), ValueError, "d must be finite"),
        (lambda: conv2d(X[0], W, m=2), ValueError, "x must have 4 dimensions"),
        (lambda: conv2d(X, W[:, :1], m=2), ValueError, "w must have 2 channels"),
        (lambda: conv2d(X, W, m=0), ValueError, "m must be"),
        (lambda: conv2d(X, W, m=2.0), TypeError, "m must be an integer"),
        (lambda: conv2d(X, W, np.ones(3), m=2), ValueError, "b must have one entry"),
        (lambda: conv2d(X, np.ones((1, 2, 7, 7)), m=2), ValueError, "kernel_size must fit"),
        (lambda: conv2d(X * 1j, W, m=2), TypeError, "x must hold real numbers"),
        (lambda: WinogradConv2d(2, 2, 3, m=0), ValueError, "m must be"),
        (lambda: WinogradConv2d.from_conv(nn.Linear(2, 2), m=2), TypeError, "layer must be"),
        (lambda: WinogradConv2d.from_conv(nn.Conv2d(2, 2, 3, stride=2), m=2), ValueError, "layer must have stride"),
        (lambda: WinogradConv2d.from_conv(nn.Conv2d(2, 2, 3, dilation=2), m=2), ValueError, "layer must have dilation"),
        (lambda: WinogradConv2d.from_conv(nn.Conv2d(2, 2, (3, 1)), m=2), ValueError, "square kernel"),
        (lambda: WinogradConv2d.from_conv(nn.Conv2d(2, 2, 3, padding="same"), m=2), ValueError, "numeric padding"),
    ],
)
def test_bad_input(call, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()

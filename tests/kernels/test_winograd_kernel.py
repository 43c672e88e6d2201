"""The compiled Winograd convolution at every level: against torch in double precision, its twin, and bad input."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from labkit.convolution import cook_toom
from labkit.convolution import winograd as numpy_winograd
from labkit.kernels import dispatch, winograd_conv2d, winograd_kernel, winograd_twin

BOUND = {2: 10 * 2**-24, 4: 200 * 2**-24}  # of the largest output that there could be, as the docstring says


def error(y: np.ndarray, x: np.ndarray, w: np.ndarray, padding: int) -> float:
    exact = functional.conv2d(torch.from_numpy(x).double(), torch.from_numpy(w).double(), padding=padding).numpy()
    assert y.shape == exact.shape
    return float(abs(y - exact).max() / (abs(x).max() * abs(w).sum((1, 2, 3)).max()))


def case(n: int, c: int, k: int, h: int, w: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.standard_normal((n, c, h, w), "f"), random.standard_normal((k, c, 3, 3), "f")


@pytest.mark.parametrize("m", [2, 4])
def test_the_matrices_are_those_of_cook_and_toom(m):
    for mine, theirs in zip(
        (winograd_twin.AT, winograd_twin.G, winograd_twin.BT), cook_toom(m, 3).arrays(), strict=True
    ):
        np.testing.assert_allclose(mine[m], theirs, rtol=1e-15)


@pytest.mark.parametrize("m", [2, 4])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_is_within_the_bound(level, m, data):
    def small(high, low=1):
        return data.draw(st.integers(low, high))

    padding, threads = small(2, 0), small(3)
    low = max(1, 3 - 2 * padding)
    x, w = case(small(2), small(40), small(90), small(15, low), small(15, low), small(99))
    assert error(winograd_conv2d(x, w, m=m, padding=padding, threads=threads), x, w, padding) < BOUND[m]


def test_many_tiles_and_channels(level):
    """More than one block of tiles, rows of tiles that do not fill a group, several panels and a rest of them."""
    x, w = case(2, 48, 112, 30, 31)
    for m in (2, 4):
        y = winograd_conv2d(x, w, m=m, padding=1)
        assert error(y, x, w, 1) < BOUND[m]
        np.testing.assert_allclose(y, numpy_winograd.conv2d(x, w, m=m, padding=1), atol=BOUND[m] * abs(y).max())


def test_whole_numbers_are_exact(level):
    """F(2, 3) halves the kernel's sums once in either direction: multiples of 4 leave nothing to round."""
    random = np.random.default_rng(1)
    x = random.integers(-9, 9, (1, 20, 8, 8)).astype(np.float32)
    w = 4 * random.integers(-9, 9, (24, 20, 3, 3)).astype(np.float32)
    assert error(winograd_conv2d(x, w, m=2), x, w, 0) == 0


def test_threads_and_memory_order_change_no_bit(level):
    x, w = case(3, 20, 40, 17, 18)
    one = winograd_conv2d(x, w, padding=1)
    np.testing.assert_array_equal(one, winograd_conv2d(x, w, padding=1, threads=3))
    last = torch.from_numpy(x).to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(one, winograd_conv2d(last, torch.from_numpy(w), padding=1))
    np.testing.assert_array_equal(one, winograd_conv2d(x, w, padding=1, transformed=winograd_kernel(w, m=4)))
    assert one.transpose(0, 2, 3, 1).strides[3] == 4


def test_a_picture_does_not_see_its_neighbours(level):
    x, w = case(2, 16, 16, 9, 9)
    both = winograd_conv2d(x, w, padding=1)
    alone = winograd_conv2d(x[1:], w, padding=1)
    np.testing.assert_allclose(both[1:], alone, atol=BOUND[4] * abs(alone).max())


X, W = case(1, 3, 5, 8, 8)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: winograd_conv2d(X[0], W), ValueError, "x must have 4 dimensions"),
        (lambda: winograd_conv2d(X + np.nan, W), ValueError, "x must be finite"),
        (lambda: winograd_conv2d(X.astype(complex), W), TypeError, "x must hold real"),
        (lambda: winograd_conv2d(X, W[:, :2]), ValueError, r"w must have shape \(K, 3, 3, 3\), got \(5, 2, 3, 3\)"),
        (lambda: winograd_conv2d(X, W[..., :2]), ValueError, "w must have shape"),
        (lambda: winograd_conv2d(X, W[:0]), ValueError, "w must not be empty"),
        (lambda: winograd_conv2d(X, W, m=3), ValueError, "m must be 2 or 4, got 3"),
        (lambda: winograd_conv2d(X, W, m=4.0), TypeError, "m must be an integer"),
        (lambda: winograd_conv2d(X, W, padding=-1), ValueError, "padding must be"),
        (lambda: winograd_conv2d(X, W, threads=0), ValueError, "threads must be"),
        (lambda: winograd_conv2d(X[:, :, :2], W), ValueError, "x must be at least 3 x 3"),
        (lambda: winograd_conv2d(X, W, transformed=winograd_kernel(W, m=2)), ValueError, "transformed must have shape"),
        (lambda: winograd_conv2d(X, W, transformed="U"), ValueError, "transformed must have shape"),
        (lambda: winograd_kernel(W[..., :1], m=2), ValueError, "w must hold kernels of 3 x 3"),
        (lambda: winograd_kernel(W, m=6), ValueError, "m must be 2 or 4"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_the_twin_serves_without_a_compiler():
    with dispatch.forced("numpy"):
        assert error(winograd_conv2d(X, W), X, W, 0) < BOUND[4]

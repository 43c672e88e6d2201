"""im2col, col2im and the convolution made of them, against torch."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from labkit.convolution import col2im, conv2d_gemm, im2col, output_shape, patches

GRID = list(itertools.product([1, 2, 3, (1, 3)], [1, 2, (2, 1)], [0, 1, (0, 2)], [1, 2]))
SEEDS = st.integers(0, 2**32 - 1)


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@st.composite
def windows(draw, side=7):
    """Draw a window of pairs that fits a picture of this side."""

    def pair(low, high):
        return st.tuples(st.integers(low, high), st.integers(low, high))

    padding, dilation = draw(pair(0, 3)), draw(pair(1, 3))
    room = [(side + 2 * p - 1) // d + 1 for p, d in zip(padding, dilation, strict=True)]
    kernel = tuple(draw(st.integers(1, min(4, n))) for n in room)
    return kernel, {"stride": draw(pair(1, 4)), "padding": padding, "dilation": dilation}


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GRID)
def test_conv2d_is_torchs_over_a_grid(kernel, stride, padding, dilation):
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        x, w, b = (gaussian(*s).astype(dtype) for s in ((2, 4, 7, 8), (6, 4, kh, kw), (6,)))
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        expected = functional.conv2d(*map(torch.from_numpy, (x, w, b)), **options).numpy()
        got = conv2d_gemm(x, w, b, **options)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


@given(
    window=windows(),
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    inner=st.integers(1, 3),
    outer=st.integers(1, 3),
)
def test_grouped_conv2d_is_torchs(window, batch, groups, inner, outer):
    kernel, options = window
    x, w = gaussian(batch, groups * inner, 7, 7), gaussian(groups * outer, inner, *kernel)
    expected = functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), groups=groups, **options)
    got = conv2d_gemm(x, w, groups=groups, **options)
    np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=1e-12)


@given(window=windows(), n=st.integers(1, 3), c=st.integers(1, 3))
def test_im2col_is_torchs_unfold_with_patches_as_rows(window, n, c):
    kernel, options = window
    x = gaussian(n, c, 7, 7)
    expected = functional.unfold(torch.from_numpy(x), kernel, **options)  # (N, C kh kw, H'W')
    rows = expected.transpose(1, 2).reshape(-1, expected.shape[1]).numpy()
    np.testing.assert_array_equal(im2col(x, kernel, **options), rows)
    h, w = output_shape((7, 7), kernel, **options)
    assert expected.shape[2] == h * w


@given(window=windows(), n=st.integers(1, 2), c=st.integers(1, 3), seed=SEEDS)
def test_col2im_is_the_adjoint_of_im2col(window, n, c, seed):
    kernel, options = window
    x = gaussian(n, c, 7, 7, seed=seed)
    cols = im2col(x, kernel, **options)
    y = gaussian(*cols.shape, seed=seed + 1)
    back = col2im(y, x.shape, kernel, **options)
    assert np.vdot(cols, y) == pytest.approx(np.vdot(x, back), abs=1e-9)


@given(window=windows(), c=st.integers(1, 3))
def test_col2im_is_torchs_fold(window, c):
    kernel, options = window
    y = functional.unfold(torch.from_numpy(gaussian(2, c, 7, 7)), kernel, **options)
    expected = functional.fold(y, (7, 7), kernel, **options).numpy()
    rows = y.transpose(1, 2).reshape(-1, y.shape[1]).numpy()
    np.testing.assert_allclose(col2im(rows, (2, c, 7, 7), kernel, **options), expected, rtol=0, atol=1e-12)


def test_patches_are_the_lectures_tensor():
    x = gaussian(2, 3, 8, 9)
    X = patches(x, (3, 2), stride=2, dilation=(1, 3))
    n, c, h, w, i, j = 1, 2, 2, 1, 0, 1
    assert X[n, c, h, w, i, j] == x[n, c, 2 * h + i, 2 * w + 3 * j]
    assert X.base is not None
    assert not X.flags.writeable


def test_one_by_one_patches_are_the_feature_map():
    """toeplitz_1x1(F) = F, lecture 000:299."""
    F = gaussian(2, 5, 3, 4)
    np.testing.assert_array_equal(im2col(F, 1), F.transpose(0, 2, 3, 1).reshape(-1, 5))
    np.testing.assert_array_equal(col2im(im2col(F, 1), F.shape, 1), F)


def test_convolution_of_torch_tensors_and_lists():
    x, w = torch.ones(1, 1, 2, 2, requires_grad=True), [[[[1, 1]]]]
    np.testing.assert_array_equal(conv2d_gemm(x, w), [[[[2], [2]]]])


def test_alexnets_first_layer_has_55_places_a_side():
    assert output_shape((224, 224), 11, stride=4, padding=2) == (55, 55)
    assert output_shape((5, 9), (5, 3), stride=(1, 3)) == (1, 3)


X4, W4 = np.ones((1, 2, 5, 5)), np.ones((4, 2, 3, 3))
BAD = [
    (lambda: im2col(np.ones((5, 5)), 3), ValueError, "x must have 4 dimensions"),
    (lambda: im2col(np.ones((0, 1, 5, 5)), 3), ValueError, "x must not be empty"),
    (lambda: im2col(X4 * np.nan, 3), ValueError, "x must be finite"),
    (lambda: im2col(X4 * 1j, 3), TypeError, "x must hold real numbers"),
    (
        lambda: im2col(X4, 6),
        ValueError,
        r"kernel_size must fit: with dilation it covers \(6, 6\), the picture \(5, 5\)",
    ),
    (lambda: im2col(X4, 3, dilation=3), ValueError, r"covers \(7, 7\)"),
    (lambda: im2col(X4, 0), ValueError, "kernel_size must be at least 1, got 0"),
    (lambda: im2col(X4, 3.0), TypeError, "kernel_size must be an integer"),
    (lambda: im2col(X4, (3, 3, 3)), ValueError, "kernel_size must be an integer or a pair"),
    (lambda: im2col(X4, 3, stride=0), ValueError, "stride must be at least 1"),
    (lambda: im2col(X4, 3, padding=-1), ValueError, "padding must be at least 0"),
    (lambda: im2col(X4, 3, padding="same"), TypeError, "padding must be an integer"),
    (lambda: im2col(X4, 3, dilation=0), ValueError, "dilation must be at least 1"),
    (lambda: patches(X4, (True, 1)), TypeError, "kernel_size must be an integer"),
    (lambda: col2im(np.ones((9, 17)), (1, 2, 5, 5), 3), ValueError, r"cols must have shape \(9, 18\)"),
    (lambda: col2im(np.ones((9, 9)), (5, 5), 3), ValueError, r"shape must be \(N, C, H, W\)"),
    (lambda: col2im(np.ones((9, 9)), 5, 3), TypeError, "shape must be tuple or list"),
    (lambda: col2im(np.ones((9, 9)), (1, 1, 2, 5), 3), ValueError, "kernel_size must fit"),
    (lambda: conv2d_gemm(X4, W4[0]), ValueError, "w must have 4 dimensions"),
    (lambda: conv2d_gemm(X4, W4[:, :1]), ValueError, r"w must have 2 channels for x with 2 and 1 group"),
    (lambda: conv2d_gemm(X4, W4, np.ones(3)), ValueError, r"b must have shape \(4,\)"),
    (lambda: conv2d_gemm(X4, W4, groups=3), ValueError, "groups must divide"),
    (lambda: conv2d_gemm(X4, W4, groups=0), ValueError, "groups must be at least 1"),
    (lambda: conv2d_gemm(X4, W4, groups=1.0), TypeError, "groups must be an integer"),
    (lambda: output_shape((2, 2), 3), ValueError, "kernel_size must fit"),
    (lambda: output_shape((0, 2), 1), ValueError, "shape must be at least 1"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()

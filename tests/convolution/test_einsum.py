"""Each layer by its equation, against the layer of torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from labkit.convolution import EINSUM, col2im, conv2d_gemm, einsum_layer, patches

GEOMETRIES = [
    ((3, 3), {"stride": 1, "padding": 0, "dilation": 1}),
    ((3, 3), {"stride": 2, "padding": 1, "dilation": 1}),
    ((2, 3), {"stride": (1, 2), "padding": (1, 0), "dilation": (2, 1)}),
]
N, H, W = 2, 7, 8


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv(x, w, **options):
    return functional.conv2d(torch.from_numpy(x), torch.from_numpy(np.ascontiguousarray(w)), **options)


def conv_layer(x, X, kernel, options):
    A = gaussian(5, 4, *kernel, seed=1)
    return einsum_layer("conv", A, X), conv(x, A, **options)


def depthwise(x, X, kernel, options):
    A = gaussian(4, *kernel, seed=1)
    return einsum_layer("depthwise", A, X), conv(x, A[:, None], groups=4, **options)


def separable(x, X, kernel, options):
    A, B = gaussian(5, 4, seed=1), gaussian(4, *kernel, seed=2)
    expected = conv(conv(x, B[:, None], groups=4, **options).numpy(), A[:, :, None, None])
    return einsum_layer("separable", A, B, X), expected


def grouped(x, X, kernel, options):
    A = gaussian(2, 3, 2, *kernel, seed=1)  # two groups of three filters over two channels
    y = einsum_layer("grouped", A, X.reshape(N, 2, 2, *X.shape[2:]))
    return y.reshape(N, 6, *y.shape[3:]), conv(x, A.reshape(6, 2, *kernel), groups=2, **options)


def low_rank(x, X, kernel, options):
    A, B = gaussian(5, 2, seed=1), gaussian(2, 4, *kernel, seed=2)
    return einsum_layer("low rank", A, B, X), conv(conv(x, B, **options).numpy(), A[:, :, None, None])


def vertical_horizontal(x, X, kernel, options):
    A, B = gaussian(5, 2, kernel[1], seed=1), gaussian(2, 4, kernel[0], seed=2)
    both = {key: value if isinstance(value, tuple) else (value, value) for key, value in options.items()}
    neutral = {"stride": 1, "padding": 0, "dilation": 1}
    down = {key: (value[0], neutral[key]) for key, value in both.items()}
    across = {key: (neutral[key], value[1]) for key, value in both.items()}
    z = conv(x, B[:, :, :, None], **down).numpy()
    return einsum_layer("vertical-horizontal", A, B, X), conv(z, A[:, :, None, :], **across)


def kronecker(x, X, kernel, options):
    A, B = gaussian(3, 2, *kernel, seed=1), gaussian(2, 2, seed=2)
    w = np.stack([[np.kron(A[:, :, i, j], B) for j in range(kernel[1])] for i in range(kernel[0])])
    y = einsum_layer("kronecker", A, B, X.reshape(N, 2, 2, *X.shape[2:]))
    return y.reshape(N, 6, *y.shape[3:]), conv(x, w.transpose(2, 3, 0, 1), **options)


WINDOWED = {
    "conv": conv_layer,
    "depthwise": depthwise,
    "separable": separable,
    "grouped": grouped,
    "low rank": low_rank,
    "vertical-horizontal": vertical_horizontal,
    "kronecker": kronecker,
}


@pytest.mark.parametrize(("kernel", "options"), GEOMETRIES)
@pytest.mark.parametrize("layer", WINDOWED)
def test_windowed_layers_are_torchs(layer, kernel, options):
    x = gaussian(N, 4, H, W)
    got, expected = WINDOWED[layer](x, patches(x, kernel, **options), kernel, options)
    assert got.shape == tuple(expected.shape)
    np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=1e-5)


def test_linear_is_torchs():
    A, x = gaussian(5, 4), gaussian(3, 4, seed=1)
    expected = functional.linear(torch.from_numpy(x), torch.from_numpy(A))
    np.testing.assert_allclose(einsum_layer("linear", A, x), expected.numpy(), rtol=0, atol=1e-5)


def test_pointwise_is_torchs():
    A, x = gaussian(5, 4), gaussian(N, 4, H, W, seed=1)
    expected = conv(x, A[:, :, None, None]).numpy()
    np.testing.assert_allclose(einsum_layer("pointwise", A, x), expected, rtol=0, atol=1e-5)
    on_patches = einsum_layer("conv", A[:, :, None, None], patches(x, 1))
    np.testing.assert_allclose(on_patches, expected, rtol=0, atol=1e-5)


def test_kronecker_linear_is_torchs():
    A, B, x = gaussian(3, 2), gaussian(5, 4, seed=1), gaussian(N, 8, seed=2)
    expected = functional.linear(torch.from_numpy(x), torch.from_numpy(np.kron(A, B))).numpy()
    got = einsum_layer("kronecker linear", A, B, x.reshape(N, 2, 4))
    np.testing.assert_allclose(got.reshape(N, 15), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kernel", "options"), GEOMETRIES)
def test_transposed_is_torchs(kernel, options):
    A, x = gaussian(4, 5, *kernel), gaussian(N, 4, H, W, seed=1)
    expected = functional.conv_transpose2d(torch.from_numpy(x), torch.from_numpy(A), **options).numpy()
    spread = einsum_layer("transposed", A, x)  # (N, K, H, W, kh, kw)
    cols = spread.transpose(0, 2, 3, 1, 4, 5).reshape(N * H * W, -1)
    np.testing.assert_allclose(col2im(cols, expected.shape, kernel, **options), expected, rtol=0, atol=1e-5)


def test_every_layer_is_compared():
    assert set(WINDOWED) | {"linear", "pointwise", "kronecker linear", "transposed"} == set(EINSUM)


def test_the_slides_convolution_forgets_the_places_in_the_window():
    """Without hk and wk in A the sum over the window gives every place the same weight: a box filter."""
    A, x = gaussian(5, 4).astype(float), gaussian(N, 4, H, W, seed=1).astype(float)
    slide = np.einsum("kc,nchwij->nkhw", A, patches(x, 3))
    box = np.broadcast_to(A[:, :, None, None], (5, 4, 3, 3))
    np.testing.assert_allclose(slide, conv2d_gemm(x, box), rtol=0, atol=1e-12)
    full = gaussian(5, 4, 3, 3, seed=2).astype(float)
    assert abs(np.einsum("kc,nchwij->nkhw", full.mean((2, 3)), patches(x, 3)) - conv2d_gemm(x, full)).max() > 1


BAD = [
    (lambda: einsum_layer("convolution", 1), ValueError, "layer must be one of"),
    (lambda: einsum_layer("linear", np.ones((2, 3))), TypeError, "linear takes 2 arrays, kc, nc; got 1"),
    (lambda: einsum_layer("linear", np.ones(3), np.ones((2, 3))), ValueError, "operand kc must have 2 dimensions"),
    (lambda: einsum_layer("linear", np.ones((2, 3)), np.ones((2, 4))), ValueError, "operand nc must have 3 entries"),
    (lambda: einsum_layer("linear", [[np.nan]], [[1]]), ValueError, "operand kc must be finite"),
    (lambda: einsum_layer("linear", [[1j]], [[1]]), TypeError, "operand kc must hold real numbers"),
    (lambda: einsum_layer("linear", np.ones((1, 3)), np.ones((4, 1))), ValueError, "operand nc must have 3 entries"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()

"""Convolutions of signs: against torch on signs padded with +1, against the twin, and against their own laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS
from torch.nn.functional import conv2d, pad

from labkit import kernels
from labkit.kernels import dispatch, twin

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def signs(x):
    return np.where(np.asarray(x) < 0, -1, 1)


def reference(x, w, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    """Torch's convolution of the signs; float64 is exact here."""
    x, w = (torch.from_numpy(signs(value)).double() for value in (x, w))
    padded = pad(x, (padding[1], padding[1], padding[0], padding[0]), value=1.0)
    return conv2d(padded, w, stride=stride, dilation=dilation).numpy()


def random_pair(seed, shape, outputs, kernel):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32), rng.standard_normal((outputs, shape[1], *kernel))


@pytest.mark.parametrize("forced", dispatch.levels())
@given(
    count=st.integers(0, 3),
    channels=st.integers(1, 140),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    outputs=st.integers(0, 9),
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_convolution_equals_torch_and_the_twin(
    forced, count, channels, size, outputs, kernel, stride, padding, dilation, seed
):
    window = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = tuple(max(s, w - 2 * p) for s, w, p in zip(size, window, padding, strict=True))
    x, w = random_pair(seed, (count, channels, *size), outputs, kernel)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    with dispatch.forced(forced):
        result = kernels.binary_conv2d(x, w, **options)
        words, weight = kernels.pack_bits_nchw(x), kernels.pack_bits_nchw(w)
        packed = kernels.binary_conv2d(words, weight, channels=channels, **options)
    np.testing.assert_array_equal(words, twin.pack_bits_nchw(x, np.zeros(channels)), strict=True)
    np.testing.assert_array_equal(kernels.unpack_bits_nchw(words, channels=channels), signs(x))
    assert result.dtype == np.int32
    np.testing.assert_array_equal(packed, result, strict=True)
    if count and outputs:  # torch wants some
        np.testing.assert_array_equal(result, reference(x, w, **options))


@pytest.mark.parametrize(("size", "kernel"), [((14, 14), 3), ((28, 28), 3), ((7, 7), 1), ((5, 33), 5)])
def test_sizes_of_real_layers(level, size, kernel):
    """Results that begin and end within a tile, of one vector and of several."""
    x, w = random_pair(0, (2, 64, *size), 13, (kernel, kernel))
    options = {"padding": (kernel // 2, kernel // 2)}
    np.testing.assert_array_equal(kernels.binary_conv2d(x, w, **options), reference(x, w, **options))


def test_a_window_of_one_pixel_is_a_product(level):
    x, w = random_pair(0, (2, 100, 5, 6), 9, (1, 1))
    rows = np.moveaxis(x, 1, 3).reshape(-1, 100)
    product = kernels.xnor_matmul(kernels.pack_bits(w.reshape(9, 100)), kernels.pack_bits(rows), n=100)
    np.testing.assert_array_equal(
        kernels.binary_conv2d(x, w), product.reshape(9, 2, 5, 6).transpose(1, 0, 2, 3), strict=True
    )


def test_padding_is_plus_one(level):
    """A corner of a 3 x 3 window over a picture of -1 sees four pixels and five places of padding."""
    result = kernels.binary_conv2d(-np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), padding=1)
    np.testing.assert_array_equal(result[0, 0], [[5 - 4, 3 - 6, 5 - 4], [3 - 6, -9, 3 - 6], [5 - 4, 3 - 6, 5 - 4]])


def test_padding_before_the_sign_is_the_same(level):
    """sign(0) = +1: a network that pads with zeros and then takes signs runs here unchanged."""
    x, w = random_pair(0, (2, 5, 6, 7), 4, (3, 3))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    np.testing.assert_array_equal(kernels.binary_conv2d(x, w, padding=1), kernels.binary_conv2d(padded, w))


def test_a_layer_from_words_to_words(level):
    """Convolution, batch normalisation as thresholds, sign, next convolution: no float in between."""
    rng = np.random.default_rng(0)
    x, w = random_pair(0, (2, 70, 6, 6), 80, (3, 3))
    t = rng.integers(-30, 30, 80)
    words = kernels.pack_bits_nchw(
        kernels.binary_conv2d(kernels.pack_bits_nchw(x), kernels.pack_bits_nchw(w), channels=70, padding=1),
        thresholds=t,
    )
    expected = np.where(reference(x, w, padding=(1, 1)) < t[:, None, None], -1, 1)
    np.testing.assert_array_equal(kernels.unpack_bits_nchw(words, channels=80), expected)


@pytest.mark.parametrize("size", [(8, 8), (5, 13), (31, 33), (32, 32), (33, 40), (1, 2100)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_large_images_are_packed_in_blocks(level, dtype, size):
    """Blocks overlap, begin anywhere in memory, and end with the image."""
    numbers = np.random.default_rng(0).integers(-2, 3, 70 * size[0] * size[1] + 9).astype(dtype)
    t = np.arange(70).astype(dtype) % 3 - 1
    for start in range(0, 9, 3):
        x = numbers[start : start + 70 * size[0] * size[1]].reshape(1, 70, *size)
        np.testing.assert_array_equal(kernels.pack_bits_nchw(x, thresholds=t), twin.pack_bits_nchw(x, t), strict=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int32, np.int64])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_dtype_and_number_of_threads_gives_the_same(level, dtype, threads):
    x, w = (np.random.default_rng(0).integers(-3, 4, shape).astype(dtype) for shape in ((3, 70, 6, 5), (4, 70, 3, 2)))
    result = kernels.binary_conv2d(x, w, padding=(1, 0), threads=threads)
    np.testing.assert_array_equal(result, reference(x, w, padding=(1, 0)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8])
def test_packing_takes_every_real_dtype(level, dtype):
    x = np.random.default_rng(0).integers(-3, 4, (2, 70, 9, 8)).astype(dtype)
    words = kernels.pack_bits_nchw(x)
    np.testing.assert_array_equal(words, twin.pack_bits_nchw(x, np.zeros(70, dtype)), strict=True)
    np.testing.assert_array_equal(kernels.pack_bits_nchw(torch.from_numpy(x)), words)


def test_packing_the_edges_of_the_number_line(level):
    x = np.array([0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324])
    assert kernels.pack_bits_nchw(x.reshape(1, 6, 1, 1)) == [[[[0b101000]]]]


def test_bits_past_the_channels_do_not_count(level):
    x, w = random_pair(0, (1, 70, 4, 4), 8, (3, 3))
    words, weight = kernels.pack_bits_nchw(x), kernels.pack_bits_nchw(w)
    expected = kernels.binary_conv2d(x, w, padding=1)
    for array in (words, weight):
        array[:, -1] |= ~np.uint64(0) << np.uint64(6)
    np.testing.assert_array_equal(kernels.binary_conv2d(words, weight, channels=70, padding=1), expected)
    np.testing.assert_array_equal(kernels.unpack_bits_nchw(words, channels=70), signs(x))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_in_memory_does_not_matter(level, layout):
    x, w = random_pair(0, (2, 70, 5, 6), 8, (3, 2))
    expected = reference(x, w)
    np.testing.assert_array_equal(kernels.binary_conv2d(LAYOUTS[layout](x), LAYOUTS[layout](w)), expected)
    words, weight = (LAYOUTS[layout](kernels.pack_bits_nchw(value)) for value in (x, w))
    np.testing.assert_array_equal(kernels.binary_conv2d(words, weight, channels=70), expected)


X, W = np.zeros((1, 2, 3, 3)), np.zeros((4, 2, 3, 3))
WORDS, WEIGHT = kernels.pack_bits_nchw(X), kernels.pack_bits_nchw(W)


@pytest.mark.parametrize(
    ("x", "w", "options", "error", "message"),
    [
        (X[0], W, {}, ValueError, r"x must have 4 dimensions, got shape \(2, 3, 3\)"),
        (X, W[0], {}, ValueError, r"weight must have 4 dimensions, got shape \(2, 3, 3\)"),
        (X, W[:, :1], {}, ValueError, "the numbers of channels must agree, got {'x': 2, 'weight': 1}"),
        (X, W, {"channels": 3}, ValueError, "the numbers of channels must agree"),
        (WORDS, WEIGHT, {}, ValueError, "channels must be given where x and weight are both packed"),
        (WORDS, WEIGHT, {"channels": 65}, ValueError, r"must have shape \(N, 2, height, width\), as 65 channels need"),
        (WORDS[0], WEIGHT, {"channels": 2}, ValueError, r"x must have shape .*got \(1, 3, 3\)"),
        (WORDS, WEIGHT, {"channels": 2.0}, TypeError, "channels must be an integer"),
        (X.astype(bool), W, {}, TypeError, "x must hold integers or float16.*got dtype bool"),
        (X, W.astype(bool), {}, TypeError, "weight must hold integers or float16.*got dtype bool"),
        (X + np.nan, W, {}, ValueError, "x must not hold NaN.*got 18 NaN"),
        (X, W + np.nan, {}, ValueError, "weight must not hold NaN.*got 72 NaN"),
        (X, W, {"stride": 0}, ValueError, "stride must be at least 1|stride must be between 1"),
        (X, W, {"stride": (1, 2, 3)}, ValueError, r"stride must be an integer or a pair of them, got \(1, 2, 3\)"),
        (X, W, {"padding": -1}, ValueError, "padding must be between 0"),
        (X, W, {"padding": 0.5}, TypeError, "padding must be an integer"),
        (X, W, {"padding": 2**31 - 1}, ValueError, "an image with its padding must have at most 2147483647 pixels"),
        (X, W, {"dilation": 0}, ValueError, "dilation must be between 1"),
        (X, W, {"dilation": 2}, ValueError, r"weight has a window of 5 x 5, which must fit the padded image, \(3, 3\)"),
        (X, W[:, :, :0], {}, ValueError, "weight has a window of"),
        (X, W, {"threads": 0}, ValueError, "threads must be between 1"),
    ],
)
def test_bad_input(level, x, w, options, error, message):
    with pytest.raises(error, match=message):
        kernels.binary_conv2d(x, w, **options)


@pytest.mark.parametrize(
    ("x", "thresholds", "error", "message"),
    [
        (X[0], None, ValueError, "x must have 4 dimensions .images, channels, height, width., got shape"),
        ([["a"]], None, TypeError, "x must hold integers or float16"),
        (X, [1.0], ValueError, r"thresholds must have shape \(2,\), one for each column or channel, got \(1,\)"),
        (X.astype(int), [0.5, 1], TypeError, "thresholds must hold integers"),
        (X, [0, np.nan], ValueError, "thresholds must not hold NaN"),
    ],
)
def test_bad_input_of_packing(level, x, thresholds, error, message):
    with pytest.raises(error, match=message):
        kernels.pack_bits_nchw(x, thresholds=thresholds)
    with pytest.raises(TypeError, match="words must be an array of uint64 words"):
        kernels.unpack_bits_nchw(X, channels=2)


@pytest.mark.parametrize(("size", "step"), [((9, 9), 37), ((33, 40), 997)])
def test_one_nan_is_found_anywhere(level, size, step):
    for dtype in (np.float32, np.float64):
        for k in range(0, 70 * size[0] * size[1], step):
            x = np.ones((1, 70, *size), dtype)
            x.flat[k] = np.nan
            with pytest.raises(ValueError, match="got 1 NaN"):
                kernels.pack_bits_nchw(x)
    with pytest.raises(ValueError, match=r"x must not hold NaN.*got 1 NaN"):
        kernels.binary_conv2d(x, np.ones((3, 70, 1, 1)))

"""Convolution by frequencies: the theorem, the transform, the layer, the counts, and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.convolution.fourier import (
    convolve1d,
    correlate1d,
    crossover_kernel,
    direct_conv2d_mults,
    fft,
    fft_conv2d,
    fft_conv2d_mults,
    fft_convolve1d,
    ifft,
    kernel_frequencies,
)
from tests.convolution.conv_cases import Case, conv_cases

REAL = st.floats(-100, 100)


def test_the_lectures_example_both_ways() -> None:
    f, g = [0, 0, 1, 2], [10, 20, 30]
    assert list(correlate1d(f, g)) == [30, 80]
    assert list(convolve1d(f, g)) == [10, 40]
    assert list(correlate1d(f, [10, 20, 20])) == [20, 60], "what the printed sums give"


@given(st.lists(REAL, min_size=1, max_size=12), st.lists(REAL, min_size=1, max_size=12))
def test_against_numpy(f: list[float], g: list[float]) -> None:
    f, g = sorted((f, g), key=len, reverse=True)
    np.testing.assert_allclose(correlate1d(f, g), np.correlate(f, g, "valid"), atol=1e-8)
    np.testing.assert_allclose(convolve1d(f, g), np.convolve(f, g, "valid"), atol=1e-8)
    np.testing.assert_allclose(fft_convolve1d(f, g), np.convolve(f, g), atol=1e-7)


@given(st.integers(0, 7), st.integers(0, 99))
def test_the_transform(log_n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(3, 2**log_n)) + 1j * random.normal(size=(3, 2**log_n))
    np.testing.assert_allclose(fft(x), np.fft.fft(x), atol=1e-10)
    np.testing.assert_allclose(ifft(fft(x)), x, atol=1e-10)


@settings(max_examples=50, deadline=None)
@given(conv_cases())
def test_the_layer_equals_torch(case: Case) -> None:
    arrays, options, wanted = case
    np.testing.assert_allclose(fft_conv2d(*arrays, **options), wanted, rtol=1e-9, atol=1e-9)


def test_float32_stays() -> None:
    assert fft_conv2d(np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 3, 3), np.float32)).dtype == np.float32


def test_counts() -> None:
    assert direct_conv2d_mults(2, 3, size=8, kernel=3) == 6 * 9 * 36
    assert fft_conv2d_mults(2, 3, size=8, kernel=3) == 5 * 64 * 6 + 2 * 6 * 64
    assert fft_conv2d_mults(2, 3, size=8, kernel=3, kernel_ready=False) == 11 * 64 * 6 + 2 * 6 * 64
    few, many = (crossover_kernel(c, c, size=32) for c in (1, 64))
    assert few > many, "more channels share the transforms"
    assert crossover_kernel(1, 1, size=2) is None


X, W = np.ones((1, 2, 5, 5)), np.ones((4, 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: correlate1d([1.0], [1.0, 2.0]), ValueError, "g must have 1 to 1 entries"),
        (lambda: convolve1d([[1.0]], [1.0]), ValueError, "f must have 1 dimensions"),
        (lambda: fft_convolve1d([1.0, np.inf], [1.0]), ValueError, "f must be finite"),
        (lambda: fft([1.0, 2.0, 3.0]), ValueError, "a power of 2"),
        (lambda: fft(["a"]), TypeError, "x must hold real or complex"),
        (lambda: ifft(1.0), ValueError, "a power of 2"),
        (lambda: fft_conv2d(X, W[:, :1]), ValueError, "w must have 2 channels"),
        (lambda: fft_conv2d(X, W, np.ones(3)), ValueError, "b must have one entry"),
        (lambda: fft_conv2d(X, np.ones((1, 2, 7, 7))), ValueError, "kernel_size must fit"),
        (lambda: fft_conv2d(X, W, groups=3), ValueError, "groups must divide"),
        (lambda: fft_conv2d_mults(0, 1, size=4, kernel=3), ValueError, "c_in must be"),
        (lambda: direct_conv2d_mults(1, 1, size=4, kernel=5), ValueError, "kernel must be"),
        (lambda: crossover_kernel(1, 1, size=0), ValueError, "size must be"),
    ],
)
def test_bad_input(call, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_kernels_frequencies_may_be_made_before() -> None:
    random = np.random.default_rng(0)
    x, w = random.normal(size=(2, 4, 9, 7)), random.normal(size=(6, 2, 3, 3))
    F = kernel_frequencies(w, size=(11, 9), groups=2)
    again = fft_conv2d(x, w, padding=1, groups=2, frequencies=F)
    np.testing.assert_array_equal(again, fft_conv2d(x, w, padding=1, groups=2))
    with pytest.raises(ValueError, match="frequencies must have shape"):
        fft_conv2d(x, w, padding=1, groups=2, frequencies=F[:-1])
    with pytest.raises(ValueError, match="size must be at least that of the kernels"):
        kernel_frequencies(w, size=2)
    with pytest.raises(ValueError, match="groups"):
        kernel_frequencies(w, size=8, groups=4)

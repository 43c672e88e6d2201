"""Dot products from bits against dot products of integers, at every length around a word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.kernels import pack_bits, xnor_matmul
from labkit.kernels.bitwise import bit_planes, bitserial_dot, popcount, tail_mask, xnor_dot

SEEDS = st.integers(0, 2**32 - 1)
PAIRS = [(M, K) for M in range(1, 9) for K in range(1, 9)]


@pytest.mark.parametrize(("M", "K"), PAIRS)
def test_bitserial_equals_the_integer_dot(M, K):
    rng = np.random.default_rng(100 * M + K)
    for n in (1, 63, 64, 65, 200):
        x, y = rng.integers(0, 2**M, n), rng.integers(0, 2**K, n)
        assert bitserial_dot(x, y, M, K) == x @ y


@given(SEEDS, st.integers(1, 300), st.integers(1, 16), st.integers(1, 16))
def test_bitserial_law(seed, n, M, K):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 2**M, n), rng.integers(0, 2**K, n)
    assert bitserial_dot(x, y, M, K) == int(x @ y)


def test_largest_numbers():
    x = np.full(1000, 2**16 - 1, np.uint16)
    assert bitserial_dot(x, x, 16, 16) == 1000 * (2**16 - 1) ** 2


@pytest.mark.parametrize("bits", [1, 3, 8, 16])
def test_planes_add_up_to_the_numbers(bits):
    x = np.random.default_rng(bits).integers(0, 2**bits, 130)
    planes = np.unpackbits(bit_planes(x, bits=bits).astype("<u8").view(np.uint8), axis=1, bitorder="little")
    assert np.array_equal((planes[:, :130] << np.arange(bits)[:, None].astype(np.int64)).sum(axis=0), x)
    assert not planes[:, 130:].any()


@pytest.mark.parametrize("n", range(1, 258))
def test_xnor_equals_the_dot_of_signs(n):
    rng = np.random.default_rng(n)
    x, y = rng.choice([-1, 1], (2, n))
    assert xnor_dot(x, y) == x @ y


@given(SEEDS, st.integers(1, 300))
def test_one_dot_is_one_entry_of_the_product(seed, n):
    x, y = np.random.default_rng(seed).standard_normal((2, n))
    assert xnor_dot(x, y) == xnor_matmul(pack_bits(x[None]), pack_bits(y[None]), n=n)[0, 0]


def test_zero_counts_as_plus_one():
    assert xnor_dot([0.0, -0.0, 1.0], [1, 1, 1]) == 3


@pytest.mark.parametrize("n", [1, 63, 64, 65, 128])
def test_the_mask_has_n_ones(n):
    mask = tail_mask(n)
    assert popcount(mask) == n
    assert sum(int(word) << (64 * i) for i, word in enumerate(mask)) == 2**n - 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xnor_dot([1, 2], [1]), ValueError, "of one length"),
        (lambda: xnor_dot([], []), ValueError, "at least 1"),
        (lambda: xnor_dot([[1]], [[1]]), ValueError, "must be vectors"),
        (lambda: xnor_dot([np.nan], [1.0]), ValueError, "NaN"),
        (lambda: xnor_dot(["a"], ["b"]), TypeError, "dtype"),
        (lambda: bit_planes([1, 2], bits=0), ValueError, "bits must be between 1 and 16"),
        (lambda: bit_planes([1, 2], bits=2.0), TypeError, "bits must be an integer"),
        (lambda: bit_planes([4], bits=2), ValueError, r"x must lie in \[0, 4\)"),
        (lambda: bit_planes([-1], bits=2), ValueError, r"x must lie in \[0, 4\)"),
        (lambda: bit_planes([1.0], bits=2), TypeError, "x must hold integers"),
        (lambda: bit_planes([], bits=2), TypeError, "x must hold integers"),
        (lambda: bit_planes(np.zeros((2, 2), int), bits=2), ValueError, "vector"),
        (lambda: bitserial_dot([1, 2], [1], 2, 2), ValueError, "of one length"),
        (lambda: bitserial_dot([1], [1], 17, 2), ValueError, "between 1 and 16"),
        (lambda: popcount([1, 2]), TypeError, "unsigned"),
        (lambda: popcount(np.array([1])), TypeError, "unsigned"),
        (lambda: tail_mask(0), ValueError, "n must be between 1"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

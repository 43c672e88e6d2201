"""Products from bit planes: against the integer product, for every pair of widths, signed or not."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS

from labkit import kernels
from labkit.kernels import dispatch, twin
from labkit.kernels.planes import BITS_MAX, plane_weights

WIDTHS = range(1, 9)


def random_integers(rng, shape, bits, signed=False):
    low = -(2 ** (bits - 1)) if signed else 0
    return rng.integers(low, low + 2**bits, shape)


def test_every_pair_of_widths(level):
    """Row 21.01 of the course: M and K from 1 to 8, at a length that is no multiple of 64."""
    rng = np.random.default_rng(0)
    for M, K in itertools.product(WIDTHS, WIDTHS):
        A, B = random_integers(rng, (7, 131), M), random_integers(rng, (18, 131), K)
        a, b = kernels.pack_planes(A, bits=M), kernels.pack_planes(B, bits=K)
        np.testing.assert_array_equal(kernels.bitserial_matmul(a, b, n=131), A @ B.T)


@pytest.mark.parametrize("forced", dispatch.levels())
@given(
    m=st.integers(0, 20),
    p=st.integers(0, 70),
    n=st.one_of(st.integers(0, 200), st.sampled_from([64 * 33 + 1, 64 * 64, 64 * 130 + 7])),
    bits=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    signed=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=40)
def test_product_equals_the_integer_product(forced, m, p, n, bits, signed, seed):
    rng = np.random.default_rng(seed)
    A, B = random_integers(rng, (m, n), bits[0], signed[0]), random_integers(rng, (p, n), bits[1], signed[1])
    a, b = (
        kernels.pack_planes(X, bits=width, signed=flag) for X, width, flag in zip((A, B), bits, signed, strict=True)
    )
    np.testing.assert_array_equal(kernels.unpack_planes(a, n=n, signed=signed[0]), A)
    with dispatch.forced(forced):
        product = kernels.bitserial_matmul(a, b, n=n, signed=signed)
    np.testing.assert_array_equal(product, A @ B.T)
    assert product.dtype == np.int32
    weights = np.outer(plane_weights(bits[0], signed[0]), plane_weights(bits[1], signed[1]))
    np.testing.assert_array_equal(product, twin.bitserial_matmul(a, b, weights), strict=True)


def test_bits_past_the_end_do_not_count(level):
    rng = np.random.default_rng(0)
    A = random_integers(rng, (5, 70), 3)
    clean = kernels.pack_planes(A, bits=3)
    dirty = clean | np.array([0, ~np.uint64(0) << np.uint64(6)], np.uint64)
    np.testing.assert_array_equal(kernels.bitserial_matmul(dirty, dirty, n=70), A @ A.T)
    np.testing.assert_array_equal(kernels.unpack_planes(dirty, n=70), A)


def test_signs_need_one_plane_only(level):
    """Weights of +-1: A @ B.T = rowsum(A) - 2 A @ U.T, with u = 1 where b is -1."""
    rng = np.random.default_rng(0)
    A, B = random_integers(rng, (9, 100), 4), rng.choice([-1, 1], (20, 100))
    product = kernels.bitserial_matmul(kernels.pack_planes(A, bits=4), kernels.pack_bits(B)[None], n=100)
    np.testing.assert_array_equal(A.sum(axis=1, keepdims=True) - 2 * product, A @ B.T)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_in_memory_does_not_matter(level, layout):
    A = random_integers(np.random.default_rng(0), (9, 200), 3)
    planes = kernels.pack_planes(A, bits=3)
    np.testing.assert_array_equal(kernels.pack_planes(LAYOUTS[layout](A), bits=3), planes)
    other = LAYOUTS[layout](planes)
    np.testing.assert_array_equal(kernels.bitserial_matmul(other, other, n=200), A @ A.T)


def test_the_largest_products_that_int32_holds(level):
    n = (2**31 - 1) // (2**16 - 1)
    a = kernels.pack_planes(np.full((1, n), 2**16 - 1), bits=16)
    ones = kernels.pack_planes(np.ones((1, n), int), bits=1)
    assert kernels.bitserial_matmul(a, ones, n=n) == [[n * (2**16 - 1)]]
    with pytest.raises(ValueError, match=f"n must be at most {n} for 16 and 1 bits, got {n + 1}"):
        kernels.bitserial_matmul(
            kernels.pack_planes(np.zeros((1, n + 1), int), bits=16), np.zeros((1, 1, 513), np.uint64), n=n + 1
        )
    low = kernels.pack_planes(np.full((2, 300), -(2**7)), bits=8, signed=True)
    assert (kernels.bitserial_matmul(low, low, n=300, signed=(True, True)) == 300 * 2**14).all()


@pytest.mark.parametrize(
    ("q", "options", "error", "message"),
    [
        ([[0.5]], {"bits": 2}, TypeError, "q must hold integers, got dtype float64"),
        ([[True]], {"bits": 2}, TypeError, "q must hold integers, got dtype bool"),
        ([1, 2], {"bits": 2}, ValueError, r"q must have 2 dimensions .*got shape \(2,\)"),
        ([[4]], {"bits": 2}, ValueError, r"q must lie in \[0, 3\], as 2 unsigned bits allow, got 4 to 4"),
        ([[-1]], {"bits": 2}, ValueError, r"q must lie in \[0, 3\]"),
        ([[2]], {"bits": 2, "signed": True}, ValueError, r"q must lie in \[-2, 1\], as 2 signed bits allow"),
        ([[0]], {"bits": 0}, ValueError, f"bits must be between 1 and {BITS_MAX}, got 0"),
        ([[0]], {"bits": 17}, ValueError, f"bits must be between 1 and {BITS_MAX}, got 17"),
        ([[0]], {"bits": 2.0}, TypeError, "bits must be an integer, got 2.0"),
    ],
)
def test_bad_input_of_pack_planes(q, options, error, message):
    with pytest.raises(error, match=message):
        kernels.pack_planes(q, **options)


PLANES = np.zeros((2, 3, 2), np.uint64)


@pytest.mark.parametrize(
    ("planes", "n", "error", "message"),
    [
        (PLANES.astype(int), 100, TypeError, "must be an array of uint64 words from pack_bits, got dtype int64"),
        (PLANES[0], 100, ValueError, r"must have shape \(1 to 16 bits, rows, 2\), as n = 100 .*got \(3, 2\)"),
        (PLANES, 200, ValueError, r"must have shape \(1 to 16 bits, rows, 4\)"),
        (PLANES[:0], 100, ValueError, r"got \(0, 3, 2\)"),
        (np.zeros((17, 1, 2), np.uint64), 100, ValueError, r"got \(17, 1, 2\)"),
        (PLANES, -1, ValueError, "n must be between 0"),
        (PLANES, 100.0, TypeError, "n must be an integer"),
    ],
)
def test_bad_planes(level, planes, n, error, message):
    with pytest.raises(error, match=message):
        kernels.unpack_planes(planes, n=n)
    for pair in [(planes, PLANES), (PLANES, planes)]:
        with pytest.raises(error, match=message):
            kernels.bitserial_matmul(*pair, n=n)


@pytest.mark.parametrize("signed", [True, (1, 0), (True,), [True, False], None])
def test_bad_signed(level, signed):
    with pytest.raises(TypeError, match="signed must be a pair of bool, one for a and one for b, got"):
        kernels.bitserial_matmul(PLANES, PLANES, n=100, signed=signed)

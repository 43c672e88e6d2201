"""Packing and products of signs: against plain matrix products, against the twin, and against their own laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from layouts import LAYOUTS

from labkit import kernels
from labkit.kernels import dispatch, twin

LENGTHS = [0, 1, 63, 64, 65, 127, 128, 129, 200, 64 * 64 - 1, 64 * 64, 64 * 64 + 1, 64 * 130 + 7]
ROWS = [0, 1, 2, 5, 6, 7, 33]
DTYPES = [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8]

sizes = st.integers(0, 40)
lengths = st.one_of(st.integers(0, 260), st.sampled_from(LENGTHS))
floats = st.floats(width=32, allow_nan=False)


def signs(x):
    return np.where(np.asarray(x) < 0, -1, 1)


def random_words(rng, rows, n):
    """Words with every bit random, so that the bits past n are dirty."""
    return rng.integers(0, 2**64, (rows, -(-n // 64)), np.uint64)


def clean(words, n):
    """The same words with zeros past n."""
    return kernels.pack_bits(kernels.unpack_bits(words, n=n))


@pytest.mark.parametrize("forced", dispatch.levels())
@given(x=hnp.arrays(np.float32, st.tuples(sizes, st.integers(0, 140)), elements=floats))
@settings(deadline=None)
def test_packing_equals_the_twin_and_unpacks_to_the_signs(forced, x):
    with dispatch.forced(forced):
        words = kernels.pack_bits(x)
    np.testing.assert_array_equal(words, twin.pack_bits(x), strict=True)
    np.testing.assert_array_equal(kernels.unpack_bits(words, n=x.shape[1]), signs(x))


@pytest.mark.parametrize("forced", dispatch.levels())
@given(m=sizes, p=sizes, n=lengths, seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_product_equals_the_twin_and_the_matrix_product(forced, m, p, n, seed):
    rng = np.random.default_rng(seed)
    a, b = random_words(rng, m, n), random_words(rng, p, n)
    with dispatch.forced(forced):
        product = kernels.xnor_matmul(a, b, n=n)
    np.testing.assert_array_equal(product, twin.xnor_matmul(a, b, n=n), strict=True)
    A, B = (kernels.unpack_bits(words, n=n).astype(np.int64) for words in (a, b))
    np.testing.assert_array_equal(product, A @ B.T)


@pytest.mark.parametrize("n", LENGTHS)
def test_every_edge_of_the_tiles(level, n):
    rng = np.random.default_rng(n)
    for m in ROWS:
        for p in ROWS:
            A, B = rng.standard_normal((m, n)), rng.standard_normal((p, n))
            product = kernels.xnor_matmul(kernels.pack_bits(A), kernels.pack_bits(B), n=n)
            np.testing.assert_array_equal(product, signs(A) @ signs(B).T)
            assert product.dtype == np.int32


@pytest.mark.parametrize("n", LENGTHS)
def test_laws(level, n):
    rng = np.random.default_rng(n)
    a, b = random_words(rng, 9, n), random_words(rng, 35, n)
    product = kernels.xnor_matmul(a, b, n=n)
    np.testing.assert_array_equal(product, kernels.xnor_matmul(b, a, n=n).T)  # symmetric
    np.testing.assert_array_equal(np.diag(kernels.xnor_matmul(a, a, n=n)), np.full(9, n))
    np.testing.assert_array_equal(kernels.xnor_matmul(~a, b, n=n), -product)  # a complement changes every sign
    np.testing.assert_array_equal(kernels.xnor_matmul(clean(a, n), clean(b, n), n=n), product)  # the tail is masked
    assert (product % 2 == n % 2).all()


def test_product_of_a_row_cut_in_two_is_the_sum(level):
    rng = np.random.default_rng(0)
    a, b = random_words(rng, 5, 64 * 70), random_words(rng, 3, 64 * 70)
    parts = kernels.xnor_matmul(a[:, :66], b[:, :66], n=64 * 66) + kernels.xnor_matmul(a[:, 66:], b[:, 66:], n=64 * 4)
    np.testing.assert_array_equal(kernels.xnor_matmul(a, b, n=64 * 70), parts)


@pytest.mark.parametrize("dtype", DTYPES)
def test_packing_takes_every_real_dtype(level, dtype):
    x = np.random.default_rng(0).integers(-3, 4, (7, 130)).astype(dtype)
    np.testing.assert_array_equal(kernels.pack_bits(x), twin.pack_bits(x), strict=True)
    np.testing.assert_array_equal(kernels.pack_bits(x.astype(x.dtype.newbyteorder())), twin.pack_bits(x))


def test_packing_takes_lists_and_tensors(level):
    expected = np.array([[0b10]], np.uint64)
    np.testing.assert_array_equal(kernels.pack_bits([[1, -1]]), expected)
    np.testing.assert_array_equal(kernels.pack_bits(torch.tensor([[1.0, -1.0]], requires_grad=True)), expected)


def test_packing_at_the_edges_of_the_number_line(level):
    """Zero of either sign counts as +1; a subnormal number keeps its sign, also in float64 alone."""
    x = np.array([[0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324]])
    assert kernels.pack_bits(x) == [[0b101000]]
    assert kernels.pack_bits(np.array([[0.0, -0.0, 1e-45, -1e-45]], np.float32)) == [[0b1000]]
    assert kernels.pack_bits(np.array([[-(2**63), 2**63 - 1, -1]])) == [[0b101]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layout_in_memory_does_not_matter(level, layout, dtype):
    x = np.random.default_rng(0).standard_normal((9, 200)).astype(dtype)
    words = kernels.pack_bits(x)
    other = LAYOUTS[layout](words)
    np.testing.assert_array_equal(kernels.pack_bits(LAYOUTS[layout](x)), words)
    np.testing.assert_array_equal(kernels.unpack_bits(other, n=200), signs(x))
    np.testing.assert_array_equal(kernels.xnor_matmul(other, other, n=200), signs(x) @ signs(x).T)


@pytest.mark.parametrize("forced", dispatch.levels())
@given(data=st.data(), m=sizes, n=st.integers(0, 140), dtype=st.sampled_from([np.float32, np.float64, np.int32]))
@settings(deadline=None, max_examples=40)
def test_thresholds_stand_for_zero(forced, data, m, n, dtype):
    values = st.integers(-3, 3)
    x = data.draw(hnp.arrays(dtype, (m, n), elements=values))
    t = data.draw(hnp.arrays(dtype, (n,), elements=values))
    with dispatch.forced(forced):
        words = kernels.pack_bits(x, thresholds=t)
    np.testing.assert_array_equal(words, twin.pack_bits(x, t), strict=True)
    np.testing.assert_array_equal(words, kernels.pack_bits(np.where(x < t, -1, 1)))


def test_a_threshold_is_a_batch_normalisation_before_the_sign(level):
    """The layer of a trained network: for integers, x < t is x < ceil(t); gamma < 0 is met by weights of other sign."""
    rng = np.random.default_rng(0)
    gamma, beta, mean, scale = rng.uniform(0.5, 2, 9), rng.normal(0, 3, 9), rng.normal(0, 3, 9), rng.uniform(0.5, 2, 9)
    x = rng.integers(-20, 21, (30, 9)).astype(np.int32)
    t = np.ceil(mean - beta * scale / gamma).astype(np.int64)
    normal = gamma * (x - mean) / scale + beta
    np.testing.assert_array_equal(kernels.pack_bits(x, thresholds=t), kernels.pack_bits(normal))


def test_extreme_thresholds_decide_without_the_number(level):
    always, never = np.full(3, np.inf, np.float32), np.full(3, -np.inf, np.float32)
    x = np.array([[-np.inf, 0, 1e30]], np.float32)
    assert kernels.pack_bits(x, thresholds=always) == [[0b111]]
    assert kernels.pack_bits(x, thresholds=never) == [[0]]
    low, high = -(2**31), 2**31 - 1
    assert kernels.pack_bits(np.array([[low, high]]), thresholds=[high, high]) == [[0b01]]
    assert kernels.pack_bits(np.array([[low, high]]), thresholds=[low, low]) == [[0]]


@pytest.mark.parametrize(
    ("x", "thresholds", "error", "message"),
    [
        ([[1.0]], [1.0, 2.0], ValueError, r"thresholds must have shape \(1,\).*got \(2,\)"),
        ([[1.0]], [np.nan], ValueError, "thresholds must not hold NaN"),
        ([[1.0]], ["a"], TypeError, "thresholds must hold numbers, got dtype <U1"),
        ([[1]], [0.5], TypeError, r"thresholds must hold integers.*ceil.*got dtype float64"),
        ([[1]], [2**31], ValueError, "thresholds must fit int32, got 2147483648"),
        ([[2**40]], [0], ValueError, "x must fit int32, got 1099511627776"),
        ([[np.nan]], [0.0], ValueError, "x must not hold NaN"),
    ],
)
def test_bad_thresholds(level, x, thresholds, error, message):
    with pytest.raises(error, match=message):
        kernels.pack_bits(x, thresholds=thresholds)


def test_the_result_goes_where_the_caller_wants_it(level):
    rng = np.random.default_rng(0)
    for m, p in [(2, 40), (40, 2), (9, 40), (0, 3)]:
        a, b = random_words(rng, m, 200), random_words(rng, p, 200)
        out = np.full((m, p), 7, np.int32)
        assert kernels.xnor_matmul(a, b, n=200, out=out) is out
        np.testing.assert_array_equal(out, twin.xnor_matmul(a, b, n=200))


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.zeros((2, 2)), TypeError, "out must be an int32 array, got float64"),
        ([[0, 0], [0, 0]], TypeError, "out must be an int32 array, got list"),
        (np.zeros((2, 2), ">i4"), TypeError, "out must be an int32 array, got >i4"),
        (np.zeros((2, 3), np.int32), ValueError, r"of shape \(2, 2\), got shape \(2, 3\)"),
        (np.zeros((4, 4), np.int32)[::2, ::2], ValueError, "out must be contiguous"),
        (LAYOUTS["read-only"](np.zeros((2, 2), np.int32)), ValueError, "out must be .*writeable"),
    ],
)
def test_bad_out(level, out, error, message):
    words = np.zeros((2, 3), np.uint64)
    with pytest.raises(error, match=message):
        kernels.xnor_matmul(words, words, n=192, out=out)


def test_arguments_are_left_alone(level):
    x = np.random.default_rng(0).standard_normal((4, 70))
    words = random_words(np.random.default_rng(1), 4, 70)
    before = x.copy(), words.copy()
    kernels.pack_bits(x)
    kernels.xnor_matmul(words, words, n=70)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(words, before[1])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros(3), ValueError, r"x must have 2 dimensions .*got shape \(3,\)"),
        (np.zeros((2, 3, 4)), ValueError, r"x must have 2 dimensions .*got shape \(2, 3, 4\)"),
        (np.zeros((2, 2), bool), TypeError, "x must hold .*float64, got dtype bool"),
        (np.zeros((2, 2), complex), TypeError, "x must hold .*got dtype complex128"),
        (np.zeros((2, 2), np.clongdouble), TypeError, "x must hold"),
        ([["a"]], TypeError, "x must hold .*got dtype <U1"),
        (np.array([[1.0, np.nan, np.nan]]), ValueError, "x must not hold NaN.*got 2 NaN"),
        (np.full((3, 129), np.nan, np.float32), ValueError, "x must not hold NaN.*got 387 NaN"),
    ],
)
def test_bad_input_of_pack_bits(level, x, error, message):
    with pytest.raises(error, match=message):
        kernels.pack_bits(x)


def test_one_nan_is_found_anywhere(level):
    for dtype in (np.float32, np.float64):
        for k in range(130):
            x = np.ones((1, 130), dtype)
            x[0, k] = np.nan
            with pytest.raises(ValueError, match="got 1 NaN"):
                kernels.pack_bits(x)


WORDS = np.zeros((2, 3), np.uint64)


@pytest.mark.parametrize(
    ("words", "n", "error", "message"),
    [
        (np.ones((2, 150)), 150, TypeError, "must be an array of uint64 words from pack_bits, got dtype float64"),
        (np.zeros((2, 3), np.int64), 150, TypeError, "got dtype int64"),
        ([[1, 2, 3]], 150, TypeError, "got list"),
        (WORDS[0], 150, ValueError, r"must have shape \(rows, 3\), as n = 150 signs need, got \(3,\)"),
        (WORDS, 128, ValueError, r"must have shape \(rows, 2\), as n = 128 signs need, got \(2, 3\)"),
        (WORDS, 193, ValueError, r"must have shape \(rows, 4\)"),
        (WORDS, 0, ValueError, r"must have shape \(rows, 0\)"),
        (WORDS, -1, ValueError, "n must be between 0 and 2147483647, got -1"),
        (WORDS, 2**31, ValueError, "n must be between 0 and 2147483647"),
        (WORDS, 150.0, TypeError, "n must be an integer, got 150.0"),
        (WORDS, True, TypeError, "n must be an integer, got True"),
    ],
)
def test_bad_input_of_packed_words(level, words, n, error, message):
    good = np.zeros((1, kernels.bits.n_words(max(int(n), 0))), np.uint64)
    with pytest.raises(error, match=message):
        kernels.unpack_bits(words, n=n)
    with pytest.raises(error, match=message):
        kernels.xnor_matmul(words, good, n=n)
    with pytest.raises(error, match=message):
        kernels.xnor_matmul(good, words, n=n)


def test_the_message_names_the_argument(level):
    for name, pair in {"a": (WORDS.astype(float), WORDS), "b": (WORDS, WORDS.astype(float))}.items():
        with pytest.raises(TypeError, match=f"^{name} must be"):
            kernels.xnor_matmul(*pair, n=150)


@pytest.mark.parametrize("words", [*range(1, 10), 16, 24, 32, 40, 48, 56, 63, 64, 65, 72, 128])
def test_few_rows_of_every_number_of_vectors(level, words):
    """Short rows stay in registers, one case for each number of vectors; longer rows do not."""
    rng = np.random.default_rng(words)
    a, b = (rng.integers(0, 2**64, (rows, words), np.uint64) for rows in (2, 5))
    n = 64 * words
    np.testing.assert_array_equal(kernels.xnor_matmul(a, b, n=n), twin.xnor_matmul(a, b, n=n), strict=True)

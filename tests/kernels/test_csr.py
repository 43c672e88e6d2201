"""Products of sparse matrices: bit for bit against the twin, in tolerance against SciPy, and against their own laws."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import kernels
from labkit.kernels import dispatch, sparse_twin

DTYPES = [np.float32, np.float64]
COLUMNS = [0, 1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 64, 100, 127, 128, 129, 256, 300]


def random_csr(rng, m, n, density, dtype=np.float32):
    """Return A, IA, JA with numbers of very different sizes, so that another order of summation would be seen."""
    mask = rng.random((m, n)) < density
    rows, columns = np.nonzero(mask)
    A = (rng.standard_normal(len(rows)) * 10.0 ** rng.integers(-6, 7, len(rows))).astype(dtype)
    return A, np.append(0, mask.sum(axis=1).cumsum()).astype(np.int32), columns.astype(np.int32)


def reference(parts, n):
    return sp.csr_array((parts[0].astype(np.float64), parts[2], parts[1]), shape=(len(parts[1]) - 1, n))


def assert_bits(found, expected):
    """The same numbers, and no zero has changed its sign."""
    np.testing.assert_array_equal(found, expected, strict=True)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


@pytest.mark.parametrize("forced", dispatch.levels())
@given(
    m=st.integers(0, 20), n=st.integers(0, 40), p=st.one_of(st.integers(0, 40), st.sampled_from(COLUMNS)),
    density=st.floats(0, 1), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
@settings(deadline=None)
def test_every_level_gives_the_bits_of_the_twin(forced, m, n, p, density, dtype, seed):
    rng = np.random.default_rng(seed)
    parts = random_csr(rng, m, n, density, dtype)
    x, X = rng.standard_normal(n).astype(dtype), rng.standard_normal((n, p)).astype(dtype)
    with dispatch.forced(forced):
        y, Y = kernels.csr_matvec(*parts, x), kernels.csr_matmul(*parts, X)
    assert_bits(y, sparse_twin.csr_matvec(*parts, x))
    assert_bits(Y, sparse_twin.csr_matmul(*parts, X))


@pytest.mark.parametrize("n", COLUMNS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_width_of_strips(level, n, dtype):
    rng = np.random.default_rng(n)
    parts, X = random_csr(rng, 9, 50, 0.3, dtype), rng.standard_normal((50, n)).astype(dtype)
    assert_bits(kernels.csr_matmul(*parts, X), sparse_twin.csr_matmul(*parts, X))


@pytest.mark.parametrize("density", [0, 0.01, 0.1, 0.5, 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_those_of_scipy(level, density, dtype):
    rng = np.random.default_rng(1)
    A, IA, JA = random_csr(rng, 60, 70, density)
    A = rng.standard_normal(len(A)).astype(dtype)
    X = rng.standard_normal((70, 33)).astype(dtype)
    expected = reference((A, IA, JA), 70) @ X.astype(np.float64)
    rtol = 1e-12 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(kernels.csr_matmul(A, IA, JA, X), expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(kernels.csr_matvec(A, IA, JA, X[:, 0]), expected[:, 0], rtol=rtol, atol=rtol)


def test_the_order_of_summation_is_the_one_told(level):
    """Product k goes to sum k mod 8; in one sum from left to right the large number would swallow the small ones."""
    values = np.array([1, 1e8, 1, 1, 1, 1, 1, 1, 1, -1e8, 1], np.float32)
    IA, JA = np.array([0, 11], np.int32), np.arange(11, dtype=np.int32)
    assert kernels.csr_matvec(values, IA, JA, np.ones(11, np.float32)) == 9
    assert kernels.csr_matmul(values, IA, JA, np.ones((11, 1), np.float32)) == 1


def test_no_product_is_fused_with_a_sum(level):
    """1 + e squared, less its rounded value: a fused multiply-add would show what rounding has dropped."""
    a = np.float32(1 + 2**-12)
    values, JA = np.array([a * a, a], np.float32), np.array([0, 1], np.int32)
    X = np.array([[-1], [a]], np.float32)
    assert kernels.csr_matmul(values, np.array([0, 2], np.int32), JA, X) == 0


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_nothing(level, threads):
    rng = np.random.default_rng(2)
    for m in (0, 1, 7, 100):
        parts, X = random_csr(rng, m, 30, 0.3), rng.standard_normal((30, 20)).astype(np.float32)
        assert_bits(kernels.csr_matmul(*parts, X, threads=threads), kernels.csr_matmul(*parts, X))
        assert_bits(kernels.csr_matvec(*parts, X[:, 0], threads=threads), kernels.csr_matvec(*parts, X[:, 0]))


def test_a_product_of_stacked_rows_is_stacked(level):
    rng = np.random.default_rng(3)
    A, IA, JA = random_csr(rng, 10, 20, 0.4)
    X = rng.standard_normal((20, 5)).astype(np.float32)
    cut = IA[4]
    top = kernels.csr_matmul(A[:cut], IA[:5], JA[:cut], X)
    rest = kernels.csr_matmul(A[cut:], IA[4:] - cut, JA[cut:], X)
    assert_bits(kernels.csr_matmul(A, IA, JA, X), np.vstack([top, rest]))


def test_infinities_and_nan_go_where_they_are_used(level):
    A, IA, JA = np.array([2.0, 1, 0]), np.array([0, 1, 2, 3], np.int32), np.array([0, 1, 2], np.int32)
    np.testing.assert_array_equal(kernels.csr_matvec(A, IA, JA, [np.inf, np.nan, np.inf]), [np.inf, np.nan, np.nan])


def misaligned(array):
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize("layout", [
    misaligned, np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a[::-1].copy()[::-1],
], ids=["misaligned", "fortran", "strided", "reversed"])  # fmt: skip
def test_layout_in_memory_does_not_matter(level, layout):
    rng = np.random.default_rng(4)
    parts, X = random_csr(rng, 9, 30, 0.4), rng.standard_normal((30, 21)).astype(np.float32)
    before = [array.copy() for array in (*parts, X)]
    others = [layout(array) for array in parts]
    assert_bits(kernels.csr_matmul(*others, layout(X)), kernels.csr_matmul(*parts, X))
    assert_bits(kernels.csr_matvec(*others, layout(X)[:, 2]), kernels.csr_matvec(*parts, X[:, 2]))
    for array, old in zip((*parts, X), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_tensors_lists_and_integers_are_taken(level):
    A, IA, JA = np.array([5.0, 8], np.float32), np.array([0, 2], np.int32), np.array([0, 1], np.int32)
    for x in ([1, 2], np.array([1, 2]), torch.tensor([1.0, 2.0], requires_grad=True), np.array([1.0, 2.0])):
        y = kernels.csr_matvec(A, IA, JA, x)
        assert y == [21]
        assert y.dtype == np.float32


A, IA, JA = np.ones(3, np.float32), np.array([0, 1, 3], np.int32), np.array([0, 1, 3], np.int32)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ((A.astype(np.int32), IA, JA), TypeError, "A must be an array of float32 or float64, got dtype int32"),
        (([1.0], IA, JA), TypeError, "A must be an array .*got list"),
        ((A.astype(np.float16), IA, JA), TypeError, "got dtype float16"),
        ((A, IA.astype(np.int64), JA), TypeError, "IA must be an array of int32, got dtype int64"),
        ((A, IA, JA.astype(np.uint32)), TypeError, "JA must be an array of int32, got dtype uint32"),
        ((A, IA, [0, 1, 3]), TypeError, "JA must be .*got list"),
        ((A[:2], IA, JA), ValueError, r"A and JA must have the same shape \(nnz,\), got \(2,\) and \(3,\)"),
        ((A, IA[:0], JA), ValueError, r"IA must have shape \(rows \+ 1,\), got \(0,\)"),
        ((A, IA[None], JA), ValueError, r"IA must have shape .*got \(1, 3\)"),
        ((A, np.array([0, 1, 4], np.int32), JA), ValueError, "IA must ascend from 0 to the 3 numbers stored"),
        ((A, np.array([1, 1, 3], np.int32), JA), ValueError, "IA must ascend from 0"),
        ((A, np.array([0, 9, 3], np.int32), JA), ValueError, "IA must ascend from 0"),
        ((A, np.array([0, -1, 3], np.int32), JA), ValueError, "IA must ascend from 0"),
        ((A, IA, np.array([0, 1, 4], np.int32)), ValueError, "JA must hold columns .* as . has 4 rows, got 0 to 4"),
        ((A, IA, np.array([-1, 1, 3], np.int32)), ValueError, "JA must hold columns .* as . has 4 rows, got -1 to 3"),
    ],
)
def test_a_matrix_that_is_none_is_refused(level, parts, error, message):
    for product, x in ((kernels.csr_matvec, np.ones(4)), (kernels.csr_matmul, np.ones((4, 2)))):
        with pytest.raises(error, match=message):
            product(*parts, x)


@pytest.mark.parametrize(
    ("x", "X", "error", "message"),
    [
        (np.ones((4, 1)), np.ones(4), ValueError, "[xX] must have [12] dimensions?, got shape"),
        (np.ones(4, complex), np.ones((4, 1), complex), TypeError, "[xX] must hold real numbers, got dtype complex128"),
        (["a"] * 4, [["a"]] * 4, TypeError, "[xX] must hold real numbers, got dtype <U1"),
        (np.ones(3), np.ones((3, 2)), ValueError, "JA must hold columns from 0 to 2, as . has 3 rows, got 0 to 3"),
    ],
)
def test_a_factor_that_does_not_fit_is_refused(level, x, X, error, message):
    with pytest.raises(error, match=message):
        kernels.csr_matvec(A, IA, JA, x)
    with pytest.raises(error, match=message):
        kernels.csr_matmul(A, IA, JA, X)


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (1.0, TypeError), (True, TypeError)])
def test_bad_number_of_threads(level, threads, error):
    with pytest.raises(error, match="threads must be"):
        kernels.csr_matvec(A, IA, JA, np.ones(4), threads=threads)
    with pytest.raises(error, match="threads must be"):
        kernels.csr_matmul(A, IA, JA, np.ones((4, 1)), threads=threads)

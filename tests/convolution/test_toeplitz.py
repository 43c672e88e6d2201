"""Convolutions as matrices, against NumPy, SciPy and torch."""

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from labkit.convolution import conv_matrix, poisson_matrix, toeplitz, toeplitz_2d

LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
SIDES = st.integers(1, 6)
SEEDS = st.integers(0, 2**32 - 1)


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# ---- one dimension


@given(m=st.integers(1, 9), n=st.integers(1, 9), seed=SEEDS)
def test_toeplitz_times_x_is_the_full_convolution(m, n, seed):
    h, x = gaussian(m, seed=seed), gaussian(n, seed=seed + 1)
    T = toeplitz(h, n)
    assert T.shape == (n + m - 1, n)
    np.testing.assert_allclose(T @ x, np.convolve(h, x), rtol=0, atol=1e-12)


@given(m=st.integers(1, 9), n=st.integers(1, 9), seed=SEEDS)
def test_toeplitz_equals_scipys(m, n, seed):
    h = gaussian(m, seed=seed)
    np.testing.assert_array_equal(toeplitz(h, n), scipy.linalg.convolution_matrix(h, n, mode="full"))


def test_toeplitz_of_the_lecture():
    """Column by column the filter moves down; an entry depends on i - j only."""
    T = toeplitz([1, 2, 3], 4)
    np.testing.assert_array_equal(T[:, 0], [1, 2, 3, 0, 0, 0])
    np.testing.assert_array_equal(T[1:, 1:], T[:-1, :-1])
    assert toeplitz(np.ones(2, np.float32), 3).dtype == np.float32


# ---- two dimensions


@given(p=SIDES, q=SIDES, m=SIDES, n=SIDES, mode=st.sampled_from(["full", "same", "valid"]), seed=SEEDS)
def test_blocks_of_toeplitz_times_x_is_the_convolution_of_scipy(p, q, m, n, mode, seed):
    h, x = gaussian(p, q, seed=seed), gaussian(m, n, seed=seed + 1)
    if mode == "valid" and (p > m or q > n):
        with pytest.raises(ValueError, match="h must fit into the picture"):
            toeplitz_2d(h, (m, n), mode=mode)
        return
    expected = scipy.signal.convolve2d(x, h, mode=mode)
    A = toeplitz_2d(h, (m, n), mode=mode)
    assert A.shape == (expected.size, x.size)
    np.testing.assert_allclose(A @ x.ravel(), expected.ravel(), rtol=0, atol=1e-12)


def test_blocks_of_toeplitz_are_toeplitz_blocks():
    h, (m, n) = gaussian(3, 2), (4, 5)
    A = toeplitz_2d(h, (m, n)).toarray().reshape(m + 2, n + 1, m, n)
    for i in range(m + 2):
        for j in range(m):
            block = toeplitz(h[i - j], n) if 0 <= i - j < 3 else np.zeros((n + 1, n))
            np.testing.assert_array_equal(A[i, :, j], block)


def test_zeros_of_the_filter_are_not_stored():
    assert toeplitz_2d(LAPLACIAN, (20, 20), mode="same").nnz == 5 * 400 - 4 * 20
    assert toeplitz_2d(np.ones((2, 2)), (3, 3)).nnz == 36


# ---- Poisson


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13])
def test_poisson_matrix(n):
    A = poisson_matrix(n)
    assert A.nnz == 5 * n**2 - 4 * n
    np.testing.assert_array_equal(A.toarray(), A.toarray().T)
    angles = np.pi * np.arange(1, n + 1) / (n + 1)
    one_axis = 2 - 2 * np.cos(angles)  # the eigenvalues of tridiag(-1, 2, -1), all positive
    expected = np.sort(np.add.outer(one_axis, one_axis).ravel())
    np.testing.assert_allclose(np.linalg.eigvalsh(A.toarray()), expected, rtol=0, atol=1e-12)
    assert expected[0] > 0


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_poisson_matrix_is_the_laplacian_with_zeros_outside(n):
    M = gaussian(n, n)
    torch_M = torch.from_numpy(M)[None, None]
    expected = functional.conv2d(torch_M, torch.from_numpy(LAPLACIAN[None, None]).double(), padding=1)
    np.testing.assert_allclose(poisson_matrix(n) @ M.ravel(), expected.numpy().ravel(), rtol=0, atol=1e-12)
    assert (poisson_matrix(n) != toeplitz_2d(LAPLACIAN, (n, n), mode="same")).nnz == 0
    w = LAPLACIAN[None, None]
    assert (poisson_matrix(n) != conv_matrix(w, (n, n), padding=1)).nnz == 0


def test_poisson_matrix_is_block_tridiagonal_as_on_the_slide():
    n = 6
    A = poisson_matrix(n).toarray().reshape(n, n, n, n).transpose(0, 2, 1, 3)
    D = 4 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    for i in range(n):
        for j in range(n):
            np.testing.assert_array_equal(A[i, j], {0: D, 1: -np.eye(n)}.get(abs(i - j), np.zeros((n, n))))


# ---- the layer of a network


@given(
    groups=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=SEEDS,
)
def test_conv_matrix_and_its_transpose_are_torchs_convolutions(groups, kernel, stride, padding, dilation, seed):
    w, x = gaussian(2 * groups, 2, *kernel, seed=seed), gaussian(1, 2 * groups, 6, 7, seed=seed + 1)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    A = conv_matrix(w, (6, 7), **options)
    x_t = torch.from_numpy(x).requires_grad_()
    y = functional.conv2d(x_t, torch.from_numpy(w), **options)
    np.testing.assert_allclose(A @ x.ravel(), y.detach().numpy().ravel(), rtol=0, atol=1e-12)
    g = gaussian(*y.shape, seed=seed + 2)
    y.backward(torch.from_numpy(g))
    np.testing.assert_allclose(A.T @ g.ravel(), x_t.grad.numpy().ravel(), rtol=0, atol=1e-12)


def test_without_padding_conv_matrix_is_the_valid_part_of_the_flipped_filter():
    w = gaussian(3, 3)
    A = conv_matrix(w[None, None], (5, 6))
    np.testing.assert_array_equal(A.toarray(), toeplitz_2d(w[::-1, ::-1], (5, 6), mode="valid").toarray())
    assert A.nnz == 3 * 4 * 9


def test_sparse_matrices_spend_no_more_bytes_than_they_need():
    """float32 stays float32, and the indices of a matrix of this size fit into 32 bits."""
    h = gaussian(3, 3).astype(np.float32)
    for A in (conv_matrix(h[None, None], (6, 7)), toeplitz_2d(h, (6, 7)), toeplitz_2d(h, (6, 7), mode="same")):
        assert (A.dtype, A.indices.dtype, A.indptr.dtype) == (np.float32, np.int32, np.int32)


# ---- bad input

BAD = [
    (lambda: toeplitz([], 3), ValueError, "h must not be empty"),
    (lambda: toeplitz([[1.0]], 3), ValueError, "h must have 1 dimensions"),
    (lambda: toeplitz([1, np.nan], 3), ValueError, "h must be finite"),
    (lambda: toeplitz([1j], 3), TypeError, "h must hold real numbers"),
    (lambda: toeplitz([1], 0), ValueError, "n must be at least 1, got 0"),
    (lambda: toeplitz([1], 2.0), TypeError, "n must be an integer"),
    (lambda: toeplitz_2d([1, 2], (3, 3)), ValueError, "h must have 2 dimensions"),
    (lambda: toeplitz_2d([[1]], (3, 0)), ValueError, "shape must be at least 1"),
    (lambda: toeplitz_2d([[1]], (3, 3, 3)), ValueError, "shape must be an integer or a pair"),
    (lambda: toeplitz_2d([[1]], (3, 3), mode="wrap"), ValueError, "mode must be one of"),
    (lambda: toeplitz_2d(np.ones((4, 1)), (3, 3), mode="valid"), ValueError, "h must fit"),
    (lambda: poisson_matrix(0), ValueError, "n must be at least 1"),
    (lambda: poisson_matrix(3.0), TypeError, "n must be an integer"),
    (lambda: conv_matrix(np.ones((2, 2)), (3, 3)), ValueError, "w must have 4 dimensions"),
    (lambda: conv_matrix(np.ones((1, 1, 4, 4)), (3, 3)), ValueError, "kernel_size must fit"),
    (lambda: conv_matrix(np.ones((3, 1, 1, 1)), (3, 3), groups=2), ValueError, "groups must divide"),
    (lambda: conv_matrix(np.ones((1, 1, 1, 1)), (3, 3), stride=0), ValueError, "stride must be at least 1"),
    (lambda: conv_matrix(np.ones((1, 1, 1, 1)), "3"), ValueError, "shape must be"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises((error, TypeError) if words == "shape must be" else error, match=words):
        call()

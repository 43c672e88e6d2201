"""Kronecker algebra and the nearest sum of Kronecker products, against NumPy and against its own theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.datasets import photograph
from labkit.decomposition import (
    KroneckerSum,
    block_shapes,
    kpsvd,
    kron,
    kron_error,
    kron_matmul,
    kron_solve,
    kron_spectrum,
    param_count,
    rearrange,
    truncated_svd,
    unvec,
    vec,
)

SIDES = st.integers(1, 4)
SEEDS = st.integers(0, 2**31)


def matrix(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@given(SIDES, SIDES, SIDES, SIDES, SEEDS)
@settings(max_examples=40, deadline=None)
def test_kron_equals_numpys(m, n, p, q, seed):
    A, B = matrix((m, n), seed), matrix((p, q), seed + 1)
    np.testing.assert_array_equal(kron(A, B), np.kron(A, B))


def test_kron_of_kernels_equals_numpys():
    A, B = matrix((2, 3, 1, 2)), matrix((3, 1, 2, 2), 1)
    np.testing.assert_array_equal(kron(A, B), np.kron(A, B))


@given(SIDES, SIDES, SIDES, SIDES, SEEDS)
@settings(max_examples=40, deadline=None)
def test_the_laws(m, n, p, q, seed):
    A, B, C, D = (matrix(shape, seed + i) for i, shape in enumerate([(m, n), (p, q), (n, m), (q, p)]))
    np.testing.assert_allclose(kron(A, B) @ kron(C, D), kron(A @ C, B @ D), atol=1e-12)
    np.testing.assert_array_equal(kron(A, B).T, kron(A.T, B.T))
    np.testing.assert_allclose(np.linalg.norm(kron(A, B)), np.linalg.norm(A) * np.linalg.norm(B))
    ranks = [np.linalg.matrix_rank(M) for M in (A, B, kron(A, B))]
    assert ranks[2] == ranks[0] * ranks[1]


@given(SIDES, SIDES, SIDES, SIDES, SEEDS)
@settings(max_examples=40, deadline=None)
def test_vec_trick(m, n, p, q, seed):
    A, B, X = (matrix(shape, seed + i) for i, shape in enumerate([(m, n), (p, q), (q, n)]))
    np.testing.assert_allclose(kron_matmul(A, B, vec(X)), np.kron(A, B) @ vec(X), atol=1e-12)
    np.testing.assert_allclose(kron_matmul(A, B, vec(X)), vec(B @ X @ A.T), atol=1e-12)
    np.testing.assert_array_equal(unvec(vec(X), (q, n)), X)


@given(SIDES, SIDES, SEEDS)
@settings(max_examples=30, deadline=None)
def test_solve_inverts_the_product(m, p, seed):
    A, B = matrix((m, m), seed) + 4 * np.eye(m), matrix((p, p), seed + 1) + 4 * np.eye(p)
    y = matrix(m * p, seed + 2)
    np.testing.assert_allclose(kron_solve(A, B, y), np.linalg.solve(np.kron(A, B), y), atol=1e-8)
    np.testing.assert_allclose(np.linalg.inv(kron(A, B)), kron(np.linalg.inv(A), np.linalg.inv(B)), atol=1e-8)


@pytest.mark.parametrize("right", [(2, 2), (3, 4), (1, 8), (6, 1), (1, 1), (6, 8)])
def test_rearrangement_of_a_product_is_an_outer_product(right):
    p, q = right
    L, R = matrix((6 // p, 8 // q)), matrix(right, 1)
    np.testing.assert_allclose(rearrange(kron(L, R), right=right), np.outer(L.ravel(), R.ravel()), atol=1e-12)


def test_rows_of_the_rearrangement_are_the_blocks():
    A = np.arange(24.0).reshape(4, 6)
    blocks = [A[2 * i : 2 * i + 2, 3 * j : 3 * j + 3].ravel() for i in range(2) for j in range(2)]
    np.testing.assert_array_equal(rearrange(A, right=(2, 3)), blocks)


def test_every_block_shape_of_a_matrix():
    A = matrix((12, 8))
    shapes = block_shapes(A.shape)
    assert len(shapes) == 6 * 4
    for right in shapes:
        s = kron_spectrum(A, right=right)
        for k in sorted({1, (len(s) + 1) // 2, len(s)}):
            parts = kpsvd(A, right=right, rank=k)
            assert (parts.rank, parts.right, parts.shape) == (k, right, A.shape)
            error = np.linalg.norm(A - parts.to_tensor()) ** 2
            np.testing.assert_allclose(error, np.sum(s[k:] ** 2), atol=1e-10)
            np.testing.assert_allclose(parts.error_bound**2, error, atol=1e-10)
        np.testing.assert_allclose(parts.to_tensor(), A, atol=1e-12)  # the last rank was the full one


@pytest.mark.parametrize("right", [(2, 3), (4, 1)])
def test_a_kronecker_product_is_found_at_rank_1(right):
    A = np.kron(matrix((8 // right[0], 6 // right[1])), matrix(right, 1))
    assert kpsvd(A, right=right, tol=1e-9).rank == 1
    np.testing.assert_allclose(kpsvd(A, right=right, rank=1).to_tensor(), A, atol=1e-12)


def test_with_one_row_and_all_columns_it_is_the_svd():
    A = matrix((6, 8))
    np.testing.assert_allclose(
        kpsvd(A, right=(1, 8), rank=3).to_tensor(), truncated_svd(A, rank=3).to_tensor(), atol=1e-12
    )


def test_no_other_product_is_nearer():
    A, rng = matrix((6, 6)), np.random.default_rng(1)
    best = kpsvd(A, right=(2, 3), rank=1)
    for _ in range(50):
        L, R = (
            best.U[0] * best.s[0] + 0.05 * rng.standard_normal((3, 2)),
            best.V[0] + 0.05 * rng.standard_normal((2, 3)),
        )
        assert np.linalg.norm(A - np.kron(L, R)) >= best.error_bound


def test_tol_is_kept_and_the_rank_is_the_smallest():
    A = matrix((12, 10))
    parts = kpsvd(A, right=(3, 5), tol=0.4)
    assert np.linalg.norm(A - parts.to_tensor()) <= 0.4 * np.linalg.norm(A)
    assert kpsvd(A, right=(3, 5), rank=parts.rank - 1).error_bound > 0.4 * np.linalg.norm(A)


def test_kernels_have_kronecker_sums_too():
    W = matrix((6, 4, 3, 3))
    parts = kpsvd(W, right=(3, 2, 1, 3), rank=4)
    assert (parts.left, parts.shape) == ((2, 2, 3, 1), W.shape)
    expected = sum(s * np.kron(U, V) for U, s, V in zip(*parts, strict=True))
    np.testing.assert_allclose(parts.to_tensor(), expected, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(W - parts.to_tensor()), parts.error_bound)


@given(SIDES, SIDES, SIDES, SIDES, SEEDS)
@settings(max_examples=30, deadline=None)
def test_protocol_of_the_sum(m, n, p, q, seed):
    A = matrix((m * p, n * q), seed)
    k = max(1, min(m * n, p * q) // 2)
    parts = kpsvd(A, right=(p, q), rank=k)
    dense, x = parts.to_tensor(), matrix((n * q, 3), seed + 1)
    np.testing.assert_allclose(parts.matmul(x), dense @ x, atol=1e-12)
    np.testing.assert_allclose(parts.matmul(x[:, 0]), dense @ x[:, 0], atol=1e-12)
    np.testing.assert_allclose(parts.T.to_tensor(), dense.T, atol=1e-12)
    assert parts.n_params == param_count(A.shape, rank=k, right=(p, q), singular_values=True)
    assert parts.factors == tuple(parts)
    first = parts.truncate(1)
    np.testing.assert_allclose(np.linalg.norm(A - first.to_tensor()), first.error_bound, atol=1e-12)


def test_the_lectures_picture_at_800_numbers_a_rank():
    """On the photograph of the book, Kronecker products with blocks of 16 x 20 beat the SVD at ranks 1, 2 and 5."""
    A = photograph("china", size=(320, 480)).astype(float)
    assert param_count(A.shape) == param_count(A.shape, right=(16, 20)) == 800
    for rank in (1, 2, 5):
        plain = kron_error(A, right=(1, 480), n_params=800 * rank)
        blocks = kron_error(A, right=(16, 20), n_params=800 * rank)
        assert plain[0] == blocks[0] == rank
        assert blocks[1] < plain[1]


def test_error_at_equal_numbers():
    A = matrix((6, 8))
    assert kron_error(A, right=(2, 2), n_params=15) == (0, 1.0)  # one term takes 12 + 4
    k, error = kron_error(A, right=(2, 2), n_params=35)
    assert k == 2
    np.testing.assert_allclose(error, kpsvd(A, right=(2, 2), rank=2).error_bound / np.linalg.norm(A))
    assert kron_error(A, right=(2, 2), n_params=10_000)[0] == 4
    assert kron_error(np.zeros((2, 2)), right=(1, 2), n_params=4) == (1, 0.0)


def test_repr_and_float32():
    A = matrix((4, 4)).astype(np.float32)
    parts = kpsvd(A, right=(2, 2), rank=2)
    assert repr(parts) == "KroneckerSum(shape=(4, 4), right=(2, 2), rank=2, n_params=18)"
    assert {factor.dtype for factor in parts} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kron(np.ones((2, 2)), np.ones(2)), "A and B must have equally many axes"),
        (lambda: kron(np.ones((2, 2)), np.full((2, 2), np.nan)), "B must be finite"),
        (lambda: kron(np.ones((0, 2)), np.ones((2, 2))), "A must not be empty"),
        (lambda: kron([["a"]], np.ones((2, 2))), "A must hold real numbers"),
        (lambda: kron(2.0, 3.0), "at least 1"),
        (lambda: vec(np.ones(3)), "X must have 2 dimensions"),
        (lambda: unvec(np.ones(5), (2, 3)), "x must have 6 entries"),
        (lambda: unvec(np.ones(6), 6), "shape must be a tuple of 2 integers"),
        (lambda: unvec(np.ones(6), (2.0, 3)), r"shape\[0\] must be an integer"),
        (lambda: kron_matmul(np.ones((2, 2)), np.ones((2, 2)), np.ones(3)), "x must have 4 entries"),
        (lambda: kron_solve(np.ones((2, 3)), np.eye(2), np.ones(4)), "A and B must be square"),
        (lambda: kron_solve(np.eye(2), np.eye(2), np.ones(3)), "x must have 4 entries"),
        (lambda: rearrange(np.ones((4, 4)), right=(3, 2)), "right must divide shape"),
        (lambda: rearrange(np.ones((4, 4)), right=(2,)), "right must be a tuple of 2 integers"),
        (lambda: rearrange(np.ones((4, 4)), right=4), "right must be a tuple of 2 integers"),
        (lambda: rearrange(np.ones((4, 4)), right=(2, 0)), r"right\[1\] must be at least 1"),
        (lambda: rearrange(3.0, right=()), "at least one axis"),
        (lambda: block_shapes(()), "shape must be a tuple of positive integers"),
        (lambda: block_shapes((4, 2.5)), r"shape\[1\] must be an integer"),
        (lambda: kpsvd(np.ones((4, 4)), right=(2, 2)), "exactly one of rank and tol"),
        (lambda: kpsvd(np.ones((4, 4)), right=(2, 2), rank=5), "rank must be between 1 and 4"),
        (lambda: kpsvd(np.ones((4, 4)), right=(2, 2), rank=0), "rank must be between 1 and 4"),
        (lambda: kpsvd(np.ones((4, 4)), right=(2, 2), rank=1.0), "rank must be an integer"),
        (lambda: kpsvd(np.ones((4, 4)), right=(2, 2), tol=-0.1), "tol must be between 0 and 1"),
        (lambda: kron_error(np.ones((4, 4)), right=(2, 2), n_params=0), "n_params must be at least 1"),
        (lambda: kron_spectrum(np.ones((4, 4)), right=(8, 1)), "right must divide"),
        (lambda: KroneckerSum(np.ones((2, 2, 2)), np.ones(1), np.ones((1, 2, 2))), "U, s, V must have shapes"),
        (lambda: KroneckerSum(np.ones((1, 2, 2)), np.ones(1), np.ones((1, 2))), "U, s, V must have shapes"),
        (lambda: kpsvd(np.ones((4, 4)), right=(2, 2), rank=1).truncate(2), "rank must be between 1 and 1"),
        (lambda: kpsvd(np.ones((4, 4)), right=(2, 2), rank=1).matmul(np.ones(3)), "x must have shape"),
        (lambda: kpsvd(np.ones((2, 2, 2)), right=(1, 1, 2), rank=1).matmul(np.ones(2)), "x must have shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_singular_factor_is_named_by_numpy():
    with pytest.raises(np.linalg.LinAlgError):
        kron_solve(np.zeros((2, 2)), np.eye(2), np.ones(4))

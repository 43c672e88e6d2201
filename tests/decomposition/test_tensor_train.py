"""Tensor train: the guaranteed bound, the ranks of sums and sines, arithmetic, and the extended form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.decomposition import (
    ExtendedTT,
    TensorTrain,
    extended_tt,
    relative_error,
    tensor_param_count,
    tt_matrix,
    tt_ranks,
    tt_round,
    tt_sin,
    tt_sum,
    tt_svd,
)
from labkit.decomposition.tt_matrix import TTMatrix, pair_modes, paired, split_modes

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple)
METHODS = ("auto", "gram", "svd")
GRIDS = [np.linspace(0, 1 + k, n) for k, n in enumerate((4, 5, 6, 3, 4))]


def random_train(rng, shape, rank):
    bonds = (1, *tt_ranks(shape, rank=rank), 1)
    return TensorTrain(tuple(rng.standard_normal((bonds[k], n, bonds[k + 1])) for k, n in enumerate(shape)))


def mesh(function, grids):
    return function(sum(np.meshgrid(*grids, indexing="ij")))


def hilbert(d=4, n=8):
    return 1 / (1 + np.indices((n,) * d).sum(0))


# ---- TT-SVD


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-3, 1e-5, 1e-6])
def test_the_bound_holds(tol, method):
    A = hilbert()
    tt = tt_svd(A, tol=tol, method=method)
    assert relative_error(A, tt.to_tensor()) <= tol
    assert tt.n_params < A.size


@pytest.mark.parametrize("tol", [1e-7, 1e-8, 1e-10, 1e-12])
def test_the_bound_holds_where_the_gram_matrix_would_be_blind(tol):
    """Squaring loses singular values below 1e-8 of the largest; "auto" notices and takes the SVD."""
    A = hilbert()
    assert relative_error(A, tt_svd(A, tol=tol).to_tensor()) <= tol
    assert tt_svd(A, tol=tol).rank == tt_svd(A, tol=tol, method="svd").rank


@settings(deadline=None)
@given(SHAPES, st.floats(1e-3, 0.9))
def test_the_bound_holds_for_any_tensor_and_the_error_is_reported(shape, tol):
    A = np.random.default_rng(0).standard_normal(shape)
    tt = tt_svd(A, tol=tol)
    error = np.linalg.norm(A - tt.to_tensor())
    assert error <= tol * np.linalg.norm(A) * (1 + 1e-9)
    np.testing.assert_allclose(tt.error_bound, error, atol=1e-6)


@settings(deadline=None)
@given(SHAPES)
def test_cores_fit_together_and_largest_ranks_are_exact(shape):
    A = np.random.default_rng(0).standard_normal(shape)
    tt = tt_svd(A, rank=tt_ranks(shape))
    bonds = (1, *tt_ranks(shape), 1)
    assert [G.shape for G in tt.cores] == [(bonds[k], n, bonds[k + 1]) for k, n in enumerate(shape)]
    np.testing.assert_allclose(tt.to_tensor(), A, atol=1e-10)


def test_all_cores_but_the_last_are_orthogonal(rng):
    for G in tt_svd(rng.standard_normal((4, 5, 6, 3)), rank=3).cores[:-1]:
        M = G.reshape(-1, G.shape[2])
        np.testing.assert_allclose(M.T @ M, np.eye(3), atol=1e-10)


def test_of_a_matrix_it_is_the_truncated_svd(rng):
    A = rng.standard_normal((8, 6))
    s = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(A - tt_svd(A, rank=2).to_tensor()), np.linalg.norm(s[2:]))


@pytest.mark.parametrize("method", METHODS)
def test_a_train_is_found_again(method, rng):
    A = random_train(rng, (4, 6, 5, 7), 3).to_tensor()
    tt = tt_svd(A, rank=3, method=method)
    assert relative_error(A, tt.to_tensor()) < 1e-7


def test_float32_stays_float32_and_is_as_good(rng):
    A = hilbert().astype(np.float32)
    tt = tt_svd(A, tol=1e-3)
    assert {G.dtype for G in tt.cores} == {np.dtype(np.float32)}
    assert relative_error(A, tt.to_tensor()) <= 1e-3


def test_no_train_of_these_ranks_is_much_closer(rng):
    """The error is at most sqrt(d - 1) times the best; each unfolding gives a lower bound for any train."""
    A, rank = rng.standard_normal((4, 4, 4, 4)), (3, 5, 3)
    error = np.linalg.norm(A - tt_svd(A, rank=rank).to_tensor())
    worst = max(
        np.linalg.norm(np.linalg.svd(A.reshape(4 ** (k + 1), -1), compute_uv=False)[r:]) for k, r in enumerate(rank)
    )
    assert worst <= error + 1e-12
    assert error <= math.sqrt(3) * worst * 1.5


def test_the_train_of_tensorly():
    tensorly = pytest.importorskip("tensorly.decomposition")
    A = hilbert(4, 6)
    theirs = TensorTrain(tuple(tensorly.tensor_train(A, rank=[1, 2, 3, 2, 1]).factors))
    ours = tt_svd(A, rank=(2, 3, 2), method="svd")
    np.testing.assert_allclose(ours.to_tensor(), theirs.to_tensor(), atol=1e-10)


# ---- sums and sines: every rank is 2


@pytest.mark.parametrize(("make", "function"), [(tt_sum, lambda x: x), (tt_sin, np.sin)])
@pytest.mark.parametrize("d", [2, 3, 5])
def test_explicit_cores_hold_the_function(make, function, d):
    A = mesh(function, GRIDS[:d])
    train = make(GRIDS[:d])
    np.testing.assert_allclose(train.to_tensor(), A, atol=1e-12)
    assert train.rank == (2,) * (d - 1)
    assert tt_svd(A, tol=1e-10).rank == (2,) * (d - 1)
    assert train.at(*[1] * d) == pytest.approx(A[(1,) * d], abs=1e-12)


def test_ten_modes_of_ten_need_360_numbers():
    train = tt_sum([np.arange(10.0)] * 10)
    assert train.n_params == tensor_param_count("tt", d=10, n=10, rank=2) == 360
    assert train.at(*range(10)) == 45
    np.testing.assert_allclose(train.dot(tt_sum([np.ones(10)] * 10)), 10 * 45 * 10**10)  # 10 times the sum of all


# ---- arithmetic and rounding


def test_trains_add_subtract_scale_and_multiply(rng):
    a, b = (random_train(rng, (3, 4, 5), r) for r in (2, 3))
    A, B = a.to_tensor(), b.to_tensor()
    np.testing.assert_allclose((a + b).to_tensor(), A + B, atol=1e-12)
    np.testing.assert_allclose((a - 2 * b).to_tensor(), A - 2 * B, atol=1e-12)
    assert (a + b).rank == (5, 5)
    np.testing.assert_allclose(a.dot(b), np.vdot(A, B))
    np.testing.assert_allclose(a.norm(), np.linalg.norm(A))


@pytest.mark.parametrize("tol", [0.3, 1e-2, 1e-6])
def test_rounding_keeps_its_tolerance_without_the_tensor(tol, rng):
    a = tt_svd(hilbert(), tol=1e-12)
    small = tt_round(a, tol=tol)
    assert relative_error(a.to_tensor(), small.to_tensor()) <= tol
    assert small.rank == tt_svd(a.to_tensor(), tol=tol, method="svd").rank


def test_rounding_finds_the_true_ranks(rng):
    a = random_train(rng, (4, 5, 6, 4), 2)
    twice = a + a
    assert twice.rank == (4, 4, 4)
    assert twice.round(tol=1e-10).rank == (2, 2, 2)
    assert relative_error(2 * a.to_tensor(), twice.round(rank=2).to_tensor()) < 1e-10


# ---- the extended train


@pytest.mark.parametrize("tol", [0.1, 1e-3, 1e-8])
def test_the_extended_train_keeps_its_tolerance(tol):
    A = hilbert(4, 7)
    assert relative_error(A, extended_tt(A, tol=tol).to_tensor()) <= tol


def test_the_extended_train_reconstructs_a_train_with_the_counted_parameters(rng):
    d, n, r = 5, 7, 3
    bases = [np.linalg.qr(rng.standard_normal((n, r)))[0] for _ in range(d - 2)]
    cores = (
        rng.standard_normal((1, n, r)),
        *(rng.standard_normal((r, r, r)) for _ in range(d - 2)),
        rng.standard_normal((r, n, 1)),
    )
    A = ExtendedTT(cores, tuple(bases)).to_tensor()
    found = extended_tt(A, rank=r)
    assert relative_error(A, found.to_tensor()) < 1e-10
    assert found.n_params == tensor_param_count("extended_tt", d=d, n=n, rank=r)
    assert (found.rank, found.mode_rank, found.shape) == ((r,) * 4, (r,) * 3, (n,) * d)
    again = ExtendedTT.from_train(found.train())
    np.testing.assert_allclose(again.to_tensor(), found.to_tensor(), atol=1e-10)
    assert again.mode_rank == (r,) * 3


def test_its_bound_is_a_bound(rng):
    A = rng.standard_normal((4, 5, 6, 4))
    found = extended_tt(A, rank=2, mode_rank=3)
    error = np.linalg.norm(A - found.to_tensor())
    assert error <= found.error_bound <= 1.5 * error


# ---- matrices as trains


def test_pairs_of_modes_hold_the_entries_of_the_matrix(rng):
    W = rng.standard_normal((2 * 3 * 2, 4 * 2 * 5))
    T = paired(W, (2, 3, 2), (4, 2, 5)).reshape(2, 4, 3, 2, 2, 5)
    i, j = (1, 2, 0), (3, 1, 4)
    row, column = np.ravel_multi_index(i, (2, 3, 2)), np.ravel_multi_index(j, (4, 2, 5))
    assert T[1, 3, 2, 1, 0, 4] == W[row, column]


def test_a_matrix_train_multiplies_like_the_matrix(rng):
    W = rng.standard_normal((12, 40))
    exact = tt_matrix(W, out_modes=(2, 3, 2), in_modes=(4, 2, 5), tol=1e-12)
    np.testing.assert_allclose(exact.to_tensor(), W, atol=1e-10)
    small = tt_matrix(W, out_modes=(2, 3, 2), in_modes=(4, 2, 5), rank=2)
    np.testing.assert_allclose(small.error_bound, np.linalg.norm(W - small.to_tensor()), rtol=1e-6)
    x = rng.standard_normal((40, 3))
    np.testing.assert_allclose(small.matmul(x), small.to_tensor() @ x, atol=1e-10)
    np.testing.assert_allclose(small.matmul(x[:, 0]), small.to_tensor() @ x[:, 0], atol=1e-10)
    assert (small.out_modes, small.in_modes, small.rank) == ((2, 3, 2), (4, 2, 5), (2, 2))


def test_a_kronecker_product_is_a_matrix_train_of_rank_1(rng):
    A, B = rng.standard_normal((3, 4)), rng.standard_normal((2, 5))
    tt = tt_matrix(np.kron(A, B), out_modes=(3, 2), in_modes=(4, 5), tol=1e-10)
    assert tt.rank == (1,)


@given(st.integers(1, 3000), st.integers(1, 5))
def test_split_modes_multiply_to_n(n, d):
    sides = split_modes(n, d)
    assert math.prod(sides) == n
    assert sides == tuple(sorted(sides))
    assert len(sides) == d


# ---- bad input

A3 = np.ones((2, 3, 4))
TT3 = tt_sum([np.ones(2)] * 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tt_svd(np.full((2, 2), np.nan), rank=1), "A must be finite"),
        (lambda: tt_svd(np.ones(3), rank=1), "A must have at least 2 modes"),
        (lambda: tt_svd(np.ones((2, 0)), rank=1), "A must not be empty"),
        (lambda: tt_svd(A3 + 1j, rank=1), "A must hold real numbers"),
        (lambda: tt_svd(A3), "give exactly one of rank and tol"),
        (lambda: tt_svd(A3, rank=3), r"rank\[0\] must be between 1 and 2, got 3"),
        (lambda: tt_svd(A3, rank=(1, 0)), r"rank\[1\] must be at least 1, got 0"),
        (lambda: tt_svd(A3, rank=(1,)), "rank must be an int or 2 ints"),
        (lambda: tt_svd(A3, rank=1.0), "must be an integer"),
        (lambda: tt_svd(A3, tol=-0.1), "tol must be between 0 and 1"),
        (lambda: tt_svd(A3, rank=1, method="qr"), "method must be one of"),
        (lambda: tt_ranks((3,)), "shape must have at least 2 modes"),
        (lambda: tt_ranks((3, 0)), "shape must be at least 1"),
        (lambda: tt_ranks((3, 3), rank=(1, 1)), "rank must be an int or 1 ints"),
        (lambda: tt_round(A3, tol=0.1), "tt must be"),
        (lambda: tt_round(TT3), "give exactly one of rank and tol"),
        (lambda: tt_round(TT3, rank=3), r"rank\[0\] must be between 1 and 2, got 3"),
        (lambda: TT3 + A3, "other must be"),
        (lambda: TT3 + tt_sum([np.ones(3)] * 3), "other must have shape"),
        (lambda: TT3 * "2", "factor must be"),
        (lambda: TT3.at(0, 0), "index must have 3 entries"),
        (lambda: TT3.at(0, 0, 2), r"index\[2\] must be between 0 and 1"),
        (lambda: tt_sum([np.ones(2)]), "grids must hold at least 2 arrays"),
        (lambda: tt_sin([np.ones(2), np.ones((2, 2))]), r"grids\[1\] must have 1 dimension"),
        (lambda: TensorTrain((np.ones((1, 2, 2)), np.ones((3, 2, 1)))), "cores must have shapes"),
        (lambda: TensorTrain(()), "cores must have shapes"),
        (lambda: extended_tt(np.ones((2, 2)), rank=1), "A must have at least 3 modes"),
        (lambda: extended_tt(A3, rank=1, tol=0.1), "give exactly one of rank and tol"),
        (lambda: extended_tt(A3, rank=2, mode_rank=4), r"mode_rank\[0\] must be between 1 and 3"),
        (lambda: ExtendedTT(TT3.cores, ()), "bases must have shapes"),
        (lambda: ExtendedTT.from_train(A3), "tt must be"),
        (lambda: tt_matrix(np.ones((4, 4)), out_modes=(2, 3), in_modes=(2, 2), rank=1), "must have the product 4"),
        (lambda: tt_matrix(np.ones((4, 4)), out_modes=(4,), in_modes=(2, 2), rank=1), "must have at least 2 modes"),
        (lambda: tt_matrix(np.ones((4, 8)), out_modes=(2, 2), in_modes=(2, 2, 2), rank=1), "equally many modes"),
        (lambda: tt_matrix(np.ones(4), out_modes=(2, 2), in_modes=(2, 2), rank=1), "W must have 2 dimensions"),
        (lambda: TTMatrix((np.ones((1, 2, 2)),)), "cores must have shapes"),
        (lambda: TTMatrix((np.ones((1, 2, 2, 1)),) * 2).matmul(np.ones(5)), "x must have shape"),
        (lambda: pair_modes((2,), (2, 2)), "equally many modes"),
        (lambda: paired(np.ones((4, 4)), (2, 3), (2, 2)), "must have the products"),
        (lambda: split_modes(0, 2), "n must be at least 1"),
        (lambda: split_modes(4, 2.0), "d must be an integer"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

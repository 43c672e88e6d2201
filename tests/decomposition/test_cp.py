"""CP: exact recovery, errors that never rise, and the case that has no solution."""

import numpy as np
import pytest

from labkit.decomposition import (
    CP,
    border_rank_cp,
    border_rank_tensor,
    cp_als,
    cp_power,
    cp_unit,
    joint_diagonalize,
    khatri_rao,
    rank_one,
    relative_error,
    tt_sum,
    unfold,
)
from labkit.decomposition.cp import als_sweep

FAR = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]]]).transpose(1, 2, 0)  # slices 1 and a rotation


def random_cp(rng, shape=(5, 6, 7), R=3):
    return CP(np.ones(R), tuple(rng.standard_normal((n, R)) for n in shape))


def test_a_sweep_solves_each_factor_in_turn_and_never_raises_the_error(rng):
    T = random_cp(rng).to_tensor()
    unfoldings, factors = [unfold(T, k) for k in range(3)], [rng.standard_normal((n, 3)) for n in T.shape]
    errors = [als_sweep(unfoldings, factors)[1] for _ in range(6)]
    assert (np.diff(errors) <= 1e-9).all()
    weights, error = als_sweep(unfoldings, factors)
    made = CP(weights, tuple(factors)).to_tensor()
    assert np.linalg.norm(T - made) == pytest.approx(error, rel=1e-8)
    np.testing.assert_allclose([np.linalg.norm(U, axis=0) for U in factors], np.ones((3, 3)))


def test_a_sweep_refuses_factors_of_another_tensor():
    with pytest.raises(ValueError, match=r"factors must have the rows of unfoldings, got \[2, 2\]"):
        als_sweep([np.ones((2, 3)), np.ones((3, 2))], [np.ones((2, 1)), np.ones((2, 1))])


def test_to_tensor_is_the_sum_of_products(rng):
    cp = CP(rng.standard_normal(3), tuple(rng.standard_normal((n, 3)) for n in (4, 5, 6)))
    np.testing.assert_allclose(cp.to_tensor(), np.einsum("r,ir,jr,kr->ijk", cp.weights, *cp.factors), atol=1e-12)
    assert (cp.rank, cp.shape, cp.n_params) == (3, (4, 5, 6), 3 * 15)


def test_khatri_rao_fits_unfold(rng):
    cp = random_cp(rng, (2, 3, 4, 5))
    for k in range(4):
        others = khatri_rao([U for j, U in enumerate(cp.factors) if j != k])
        np.testing.assert_allclose(unfold(cp.to_tensor(), k), cp.factors[k] @ others.T, atol=1e-12)


@pytest.mark.parametrize("init", ["svd", "random"])
@pytest.mark.parametrize("seed", range(4))
def test_als_recovers_a_tensor_of_rank_3(init, seed):
    T = random_cp(np.random.default_rng(seed)).to_tensor()
    starts = range(3)  # a start may lead to a local minimum
    several = [cp_als(T, rank=3, init=init, n_iter_max=2000, tol=1e-12, random_state=s) for s in starts]
    cp = min(several, key=lambda cp: cp.error_bound)
    assert relative_error(T, cp.to_tensor()) < 1e-6
    assert cp.converged
    assert not cp.degenerate


@pytest.mark.parametrize("ridge", [0, 0.1])
def test_the_objective_never_rises(ridge, rng):
    T = rng.standard_normal((4, 5, 6))
    starts = [cp_als(T, rank=4, n_iter_max=k, tol=0, random_state=0, ridge=ridge) for k in range(1, 25)]
    objective = [cp.error_bound**2 + ridge * np.sum(cp.weights**2) for cp in starts]
    assert np.all(np.diff(objective) <= 1e-9)
    if not ridge:
        assert np.all(np.diff(starts[-1].errors) <= 1e-12)


def test_the_reported_error_is_the_error(rng):
    T = rng.standard_normal((4, 5, 6))
    cp = cp_als(T, rank=3, random_state=0)
    error = np.linalg.norm(T - cp.to_tensor())
    np.testing.assert_allclose([cp.error_bound, cp.errors[-1]], [error, error / np.linalg.norm(T)], rtol=1e-10)
    np.testing.assert_allclose([np.linalg.norm(U, axis=0) for U in cp.factors], 1)
    assert np.all(np.diff(cp.weights) <= 0)


def test_als_of_a_matrix_reaches_the_svd(rng):
    A = rng.standard_normal((8, 6))
    s = np.linalg.svd(A, compute_uv=False)
    cp = cp_als(A, rank=2, n_iter_max=3000, tol=0, random_state=0)
    np.testing.assert_allclose(cp.error_bound, np.linalg.norm(s[2:]), rtol=1e-6)


def test_a_start_may_be_given_and_a_good_one_stays(rng):
    cp = random_cp(rng)
    T = cp.to_tensor()
    assert cp_als(T, rank=3, init=cp, n_iter_max=1).errors[-1] < 1e-12
    assert cp_als(T, rank=3, init=joint_diagonalize(T, rank=3), n_iter_max=1).errors[-1] < 1e-12


def test_more_terms_than_a_mode_has_are_filled_with_random_columns(rng):
    T = rng.standard_normal((2, 3, 4))
    assert cp_als(T, rank=6, random_state=0, n_iter_max=2000).errors[-1] < 1e-3


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 2), (3, 3, 3), (1, 4, 1, 2)])
def test_the_unit_decomposition_is_exact(shape, rng):
    T = rng.standard_normal(shape)
    cp = cp_unit(T)
    np.testing.assert_allclose(cp.to_tensor(), T, atol=1e-14)
    assert cp.rank == T.size // max(shape)


def test_float32_stays_float32(rng):
    T = random_cp(rng).to_tensor().astype(np.float32)
    for cp in (cp_als(T, rank=2, random_state=0), cp_unit(T), joint_diagonalize(T, rank=3), rank_one(T)):
        assert cp.to_tensor().dtype == np.float32


# ---- degenerate: rank 3, border rank 2


def test_the_border_rank_tensor_has_two_terms_only_in_the_limit():
    T = border_rank_tensor()
    close = [border_rank_cp(step) for step in (1e-1, 1e-2, 1e-3)]
    errors = [np.linalg.norm(T - cp.to_tensor()) for cp in close]
    np.testing.assert_allclose(errors, [cp.error_bound for cp in close], atol=1e-12)
    assert errors[0] > 9 * errors[1] > 80 * errors[2] > 0
    assert close[0].weights.min() * 50 < close[2].weights.min()
    assert [cp.degenerate for cp in close] == [True] * 3
    assert cp_als(T, rank=3, n_iter_max=2000, random_state=1, init="random").errors[-1] < 1e-6


def test_als_with_two_terms_runs_away_and_says_so():
    T = border_rank_tensor()
    short, long = (cp_als(T, rank=2, n_iter_max=n, tol=0, init="random", random_state=1) for n in (200, 2000))
    assert long.degenerate
    assert long.errors[-1] < short.errors[-1]
    assert long.weights.max() > 1.5 * short.weights.max()
    assert long.cosine < short.cosine < 0
    assert long.cancellation > short.cancellation > 2
    assert not long.converged


def test_a_ridge_keeps_the_terms_from_growing():
    T = border_rank_tensor()
    tamed = cp_als(T, rank=2, n_iter_max=2000, ridge=1e-2, init="random", random_state=1)
    assert tamed.converged
    assert not tamed.degenerate
    assert tamed.cancellation < 2


def test_the_border_rank_tensor_is_the_sum_of_the_lecture():
    """x_1 + ... + x_d on the grid (0, 1) is T where at most one x is 1: the same shape, the same story."""
    S = tt_sum([np.array([0.0, 1.0])] * 3).to_tensor()
    T = border_rank_tensor()
    np.testing.assert_allclose(S[T == 1], 1)
    cp = CP(np.ones(2) * 10, tuple(np.array([[1.0, 1.0], [1.1, 1.0]]) * s for s in ([[1, -1]], [[1, 1]], [[1, 1]])))
    np.testing.assert_allclose(cp.to_tensor(), S, atol=0.35)


# ---- the power method


@pytest.mark.parametrize("seed", range(3))
def test_power_iterations_recover_orthogonal_terms(seed):
    rng = np.random.default_rng(seed)
    Q = [np.linalg.qr(rng.standard_normal((n, 3)))[0] for n in (5, 6, 7)]
    cp = cp_power(CP(np.array([5.0, 3.0, 2.0]), tuple(Q)).to_tensor(), rank=3, random_state=0)
    np.testing.assert_allclose(cp.weights, [5, 3, 2], atol=1e-6)
    for U, V in zip(cp.factors, Q, strict=True):
        np.testing.assert_allclose(np.abs(U.T @ V), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(cp.errors, np.sqrt([13, 4, 0]) / np.sqrt(38), atol=1e-6)


def test_rank_one_is_the_best_of_many_directions(rng):
    T = rng.standard_normal((3, 4, 5))
    best = rank_one(T, n_starts=10, random_state=0)
    others = [CP(np.ones(1), tuple(rng.standard_normal((n, 1)) for n in T.shape)) for _ in range(200)]
    values = [np.vdot(T, cp.to_tensor()) / np.linalg.norm(cp.to_tensor()) for cp in others]
    assert best.weights[0] >= max(np.abs(values))
    np.testing.assert_allclose(best.error_bound**2, np.linalg.norm(T) ** 2 - best.weights[0] ** 2, rtol=1e-8)


def test_the_power_method_of_zero_is_zero():
    assert cp_power(np.zeros((2, 3, 4)), rank=2, random_state=0).weights.tolist() == [0, 0]


# ---- joint diagonalisation


@pytest.mark.parametrize("shape", [(5, 6, 7), (4, 4, 2), (3, 8, 3)])
def test_joint_diagonalisation_recovers_the_factors(shape, rng):
    cp = random_cp(rng, shape)
    found = joint_diagonalize(cp.to_tensor(), rank=3)
    assert relative_error(cp.to_tensor(), found.to_tensor()) < 1e-9
    for U, V in zip(found.factors, cp.factors, strict=True):
        cosines = np.abs(U.T @ (V / np.linalg.norm(V, axis=0)))
        np.testing.assert_allclose(cosines.max(axis=0), 1, atol=1e-8)


def test_joint_diagonalisation_agrees_with_als(rng):
    T = random_cp(rng).to_tensor()
    a, b = joint_diagonalize(T, rank=3), cp_als(T, rank=3, n_iter_max=2000, tol=1e-13)
    np.testing.assert_allclose(a.weights, b.weights, rtol=1e-5)
    for U, V in zip(a.factors, b.factors, strict=True):
        np.testing.assert_allclose(np.abs(np.sum(U * V, axis=0)), 1, atol=1e-6)


def test_the_slices_become_diagonal(rng):
    """The lecture's T_k = C S_k K: in the bases found, every slice is diagonal."""
    T = random_cp(rng, (4, 4, 6), R=4).to_tensor()
    cp = joint_diagonalize(T, rank=4)
    A, B = (np.linalg.inv(U) for U in cp.factors[:2])
    S = np.einsum("ai,ijk,bj->kab", A, T, B)
    np.testing.assert_allclose(S, np.einsum("kr,r->kr", cp.factors[2], cp.weights)[:, :, None] * np.eye(4), atol=1e-8)


@pytest.mark.parametrize("T", [border_rank_tensor(), FAR])
def test_slices_without_a_common_diagonal_form_are_refused(T):
    with pytest.raises(np.linalg.LinAlgError, match="no joint diagonal form over the real numbers"):
        joint_diagonalize(T, rank=2)


# ---- bad input

T3 = np.ones((2, 3, 4))
NAN = np.full((2, 2, 2), np.nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cp_als(NAN, rank=1), "T must be finite"),
        (lambda: cp_als(np.ones(3), rank=1), "T must have at least 2 modes"),
        (lambda: cp_als(np.ones((0, 2)), rank=1), "T must not be empty"),
        (lambda: cp_als(T3 + 1j, rank=1), "T must hold real numbers"),
        (lambda: cp_als(T3, rank=0), "rank must be at least 1, got 0"),
        (lambda: cp_als(T3, rank=1.5), "rank must be an integer"),
        (lambda: cp_als(T3, rank=1, init="hosvd"), "init must be one of"),
        (lambda: cp_als(T3, rank=1, init=cp_unit(T3)), "init must have shape"),
        (lambda: cp_als(T3, rank=1, ridge=-1), "ridge must be at least 0"),
        (lambda: cp_als(T3, rank=1, n_iter_max=0), "n_iter_max must be at least 1"),
        (lambda: cp_als(T3, rank=1, tol=-1), "tol must be at least 0"),
        (lambda: cp_als(T3, rank=1, random_state=-1), "random_state must be at least 0"),
        (lambda: cp_unit(np.ones(3)), "T must have at least 2 modes"),
        (lambda: cp_power(NAN, rank=1), "T must be finite"),
        (lambda: cp_power(T3, rank=0), "rank must be at least 1"),
        (lambda: rank_one(T3, n_starts=-1), "n_starts must be at least 0"),
        (lambda: rank_one(np.ones(3)), "T must have at least 2 modes"),
        (lambda: joint_diagonalize(np.ones((2, 2)), rank=1), "T must have 3 dimensions"),
        (lambda: joint_diagonalize(T3, rank=3), "rank must be between 1 and 2, got 3"),
        (lambda: joint_diagonalize(np.ones((2, 2, 1)), rank=2), "T must have at least 2 slices"),
        (lambda: border_rank_tensor(1), "d must be at least 2"),
        (lambda: border_rank_cp(0.0), "step must be between"),
        (lambda: border_rank_cp(0.1, 1), "d must be at least 2"),
        (lambda: CP(np.ones(2), (np.ones((3, 2)), np.ones((3, 1)))), "weights and factors must have shapes"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

"""Laws of the singular value decomposition, and every way of asking for it wrongly."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.utils.extmath import randomized_svd as sklearn_randomized_svd

from labkit.decomposition import (
    LowRank,
    break_even_rank,
    jacobi_svd,
    param_count,
    randomized_svd,
    rank_for_energy,
    rank_for_tol,
    svd_rate,
    svd_terms,
    thin_svd,
    truncated_svd,
)

MATRICES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 6)),
)
BAD_MATRICES = {
    "one dimension": (np.ones(3), ValueError),
    "three dimensions": (np.ones((2, 2, 2)), ValueError),
    "empty": (np.ones((0, 3)), ValueError),
    "NaN": (np.array([[1.0, np.nan]]), ValueError),
    "infinite": (np.array([[1.0, np.inf]]), ValueError),
    "complex": (np.ones((2, 2), complex), TypeError),
    "text": (np.array([["a"]]), TypeError),
}
DECOMPOSITIONS = {
    "thin_svd": thin_svd,
    "jacobi_svd": jacobi_svd,
    "truncated_svd": lambda A: truncated_svd(A, rank=1),
    "randomized_svd": lambda A: randomized_svd(A, rank=1, random_state=0),
    "svd_terms": svd_terms,
}


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def deficient(m, n, rank, seed=0):
    return gaussian(m, rank, seed=seed) @ gaussian(rank, n, seed=seed + 1)


SPECIAL = {
    "tall": gaussian(20, 10),
    "wide": gaussian(10, 20),
    "square": gaussian(12, 12),
    "row": gaussian(1, 7),
    "column": gaussian(7, 1),
    "one entry": np.array([[-3.0]]),
    "zero": np.zeros((5, 3)),
    "zero, wide": np.zeros((3, 5)),
    "identity": np.eye(6),
    "ones": np.ones((8, 8)),
    "ones, tall": np.ones((100, 30)),  # columns shrink until their squares vanish
    "rank 2, tall": deficient(12, 6, 2),
    "rank 2, wide": deficient(6, 30, 2),
    "zero column": gaussian(6, 4) * [1, 0, 1, 1],
    "equal columns": np.repeat(gaussian(9, 3), 3, axis=1),
    "graded": gaussian(9, 6) * np.logspace(0, -30, 6),
    "tiny": gaussian(6, 4) * 1e-200,
    "huge": gaussian(6, 4) * 1e200,
    "Hilbert": scipy.linalg.hilbert(10),
}


# 5.01 SVD


@pytest.mark.parametrize("name", SPECIAL)
def test_jacobi_svd_equals_numpy(name):
    A = SPECIAL[name]
    scale = max(np.abs(A).max(), 1e-300)
    s = np.linalg.svd(A, compute_uv=False)
    result = jacobi_svd(A)
    np.testing.assert_allclose(result.s / scale, s / scale, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.to_tensor() / scale, A / scale, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("method", [thin_svd, jacobi_svd])
def test_factors_have_orthonormal_columns(name, method):
    U, s, Vt = method(SPECIAL[name])
    np.testing.assert_allclose(U.T @ U, np.eye(len(s)), rtol=0, atol=1e-10)
    np.testing.assert_allclose(Vt @ Vt.T, np.eye(len(s)), rtol=0, atol=1e-10)
    assert (np.diff(s) <= 0).all()
    assert (s >= 0).all()


@given(MATRICES)
@settings(deadline=None)
def test_jacobi_svd_equals_scipy_on_any_matrix(A):
    np.testing.assert_allclose(jacobi_svd(A).s, scipy.linalg.svdvals(A), rtol=0, atol=1e-10)


def test_jacobi_svd_gives_zero_for_what_is_rounding_error():
    assert np.count_nonzero(jacobi_svd(deficient(12, 6, 2)).s) == 2


def test_u_ut_has_rank_k_below_m():
    U, s, _ = jacobi_svd(gaussian(9, 4))
    assert np.linalg.matrix_rank(U @ U.T) == len(s) == 4


def test_jacobi_svd_equals_torch():
    A = gaussian(15, 11)
    np.testing.assert_allclose(jacobi_svd(A).s, torch.linalg.svdvals(torch.tensor(A)).numpy(), atol=1e-10)


def test_jacobi_svd_says_when_it_did_not_converge():
    with pytest.raises(np.linalg.LinAlgError, match="n_iter_max=1 "):
        jacobi_svd(gaussian(10, 10), n_iter_max=1)


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_single_precision_stays_single_precision(method):
    result = DECOMPOSITIONS[method](gaussian(6, 5).astype(np.float32))
    assert {part.dtype for part in result} == {np.dtype(np.float32)}


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_input_is_not_changed_and_may_be_a_list_or_a_tensor(method):
    A = gaussian(4, 3)
    before = A.copy()
    expected = list(DECOMPOSITIONS[method](A))
    assert np.array_equal(A, before)
    for other in (A.tolist(), torch.tensor(A, requires_grad=True), np.asfortranarray(A), A[::-1][::-1]):
        for one, two in zip(DECOMPOSITIONS[method](other), expected, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-12)


@given(MATRICES, st.floats(0.01, 100))
def test_scaling_scales_singular_values(A, factor):
    np.testing.assert_allclose(thin_svd(factor * A).s, factor * thin_svd(A).s, atol=1e-10 * factor)


@given(MATRICES)
def test_transposing_swaps_the_factors(A):
    np.testing.assert_allclose(thin_svd(A.T).s, thin_svd(A).s, atol=1e-12)
    np.testing.assert_allclose(thin_svd(A).T.to_tensor(), A.T, atol=1e-12)


# 5.02 truncated SVD


@given(MATRICES, st.data())
def test_truncation_error_is_the_tail_of_the_spectrum(A, data):
    """Eckart and Young: norm(A - A_k)^2 = s_{k+1}^2 + ... + s_r^2."""
    k = data.draw(st.integers(1, min(A.shape)))
    result = truncated_svd(A, rank=k)
    error = np.linalg.norm(A - result.to_tensor())
    assert abs(error**2 - (np.linalg.svd(A, compute_uv=False)[k:] ** 2).sum()) <= 1e-10
    assert abs(error - result.error_bound) <= 1e-10


@pytest.mark.parametrize("rank", [1, 3])
def test_no_random_factorisation_beats_truncation(rank):
    """The second factor of each trial is the best for its first, and still truncation wins 1000 times."""
    A, rng = gaussian(10, 8), np.random.default_rng(1)
    best = truncated_svd(A, rank=rank).error_bound
    for _ in range(1000):
        left = rng.standard_normal((10, rank))
        right = np.linalg.lstsq(left, A, rcond=None)[0]
        assert np.linalg.norm(A - left @ right) >= best - 1e-12


def test_no_small_change_of_the_factors_beats_truncation():
    A, rng = gaussian(10, 8), np.random.default_rng(1)
    U, s, Vt = truncated_svd(A, rank=3)
    best = truncated_svd(A, rank=3).error_bound
    for size in np.repeat([1e-1, 1e-2, 1e-3], 300):
        left, right = U * s + size * rng.standard_normal(U.shape), Vt + size * rng.standard_normal(Vt.shape)
        assert np.linalg.norm(A - left @ right) >= best - 1e-12


@given(MATRICES, st.floats(0, 1))
def test_tol_is_guaranteed_by_the_smallest_rank(A, tol):
    result, norm = truncated_svd(A, tol=tol), np.linalg.norm(A)
    assert np.linalg.norm(A - result.to_tensor()) <= tol * norm + 1e-12
    if result.rank > 1:
        assert truncated_svd(A, rank=result.rank - 1).error_bound > tol * norm


def test_full_rank_is_exact_and_zero_matrix_has_rank_one():
    A = gaussian(5, 7)
    np.testing.assert_allclose(truncated_svd(A, rank=5).to_tensor(), A, atol=1e-12)
    zero = truncated_svd(np.zeros((3, 2)), tol=0)
    assert zero.rank == 1
    assert zero.error_bound == 0
    assert not zero.to_tensor().any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "exactly one of rank and tol"),
        ({"rank": 2, "tol": 0.1}, TypeError, "exactly one of rank and tol"),
        ({"rank": 0}, ValueError, "rank must be between 1 and 3, got 0"),
        ({"rank": -1}, ValueError, "rank must be between 1 and 3, got -1"),
        ({"rank": 4}, ValueError, "rank must be between 1 and 3, got 4"),
        ({"rank": 2.0}, TypeError, "rank must be an integer, got 2.0"),
        ({"rank": True}, TypeError, "rank must be an integer, got True"),
        ({"rank": "2"}, TypeError, "rank must be an integer"),
        ({"tol": -0.1}, ValueError, "tol must be between 0 and 1, got -0.1"),
        ({"tol": 1.5}, ValueError, "tol must be between 0 and 1, got 1.5"),
        ({"tol": math.nan}, ValueError, "tol must be between 0 and 1, got nan"),
        ({"tol": "small"}, TypeError, "tol must be a number"),
    ],
)
def test_truncated_svd_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        truncated_svd(gaussian(4, 3), **arguments)


@pytest.mark.parametrize("case", BAD_MATRICES)
@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_bad_matrix_is_refused_by_name(method, case):
    value, error = BAD_MATRICES[case]
    with pytest.raises(error, match=r"^A must"):
        DECOMPOSITIONS[method](value)


@pytest.mark.parametrize("arguments", [{"tol": -1}, {"tol": 2}, {"n_iter_max": 0}, {"n_iter_max": 2.5}])
def test_jacobi_svd_refuses(arguments):
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(arguments))} must"):
        jacobi_svd(np.eye(2), **arguments)


# 5.03 sum of outer products


@given(MATRICES)
def test_partial_sums_of_terms_equal_truncation(A):
    total = np.zeros_like(A)
    for k, term in enumerate(svd_terms(A), start=1):
        total += term
        np.testing.assert_allclose(total, truncated_svd(A, rank=k).to_tensor(), atol=1e-12)
    np.testing.assert_allclose(total, A, atol=1e-10)


def test_terms_have_rank_one_and_norm_s():
    A = gaussian(6, 4)
    terms = list(svd_terms(A))
    assert [np.linalg.matrix_rank(term) for term in terms] == [1, 1, 1, 1]
    np.testing.assert_allclose([np.linalg.norm(term) for term in terms], thin_svd(A).s)


# the type


def test_low_rank_product_equals_dense_product_and_has_fixed_text():
    A = truncated_svd(gaussian(9, 7), rank=3)
    for x in (gaussian(7), gaussian(7, 5), torch.tensor(gaussian(7))):
        np.testing.assert_allclose(A.matmul(x), A.to_tensor() @ np.asarray(x), atol=1e-12)
    assert (A.rank, A.shape, A.n_params) == (3, (9, 7), 3 * (9 + 7 + 1))
    assert sum(factor.size for factor in A.factors) == A.n_params
    assert repr(A) == "LowRank(shape=(9, 7), rank=3, n_params=51)"


def test_truncating_twice_adds_the_errors_as_a_right_triangle():
    A = gaussian(9, 7)
    twice, once = truncated_svd(A, rank=5).truncate(2), truncated_svd(A, rank=2)
    assert math.isclose(twice.error_bound, once.error_bound)
    np.testing.assert_array_equal(twice.to_tensor(), once.to_tensor())


@pytest.mark.parametrize("x", [np.ones(3), np.ones((3, 7)), np.ones((7, 2, 2)), np.ones(0), np.full(7, np.nan), 5.0])
def test_matmul_refuses(x):
    with pytest.raises(ValueError, match=r"^x must"):
        truncated_svd(gaussian(9, 7), rank=3).matmul(x)


@pytest.mark.parametrize(
    "shapes", [((4, 2), (3,), (2, 5)), ((4, 2), (2,), (3, 5)), ((4,), (2,), (2, 5)), ((4, 0), (0,), (0, 5))]
)
def test_low_rank_refuses_factors_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="U, s, Vt must have shapes"):
        LowRank(*map(np.ones, shapes))


@pytest.mark.parametrize("rank", [0, 4, 1.0])
def test_truncate_refuses(rank):
    with pytest.raises((TypeError, ValueError), match=r"^rank must"):
        truncated_svd(gaussian(9, 7), rank=3).truncate(rank)


# randomized SVD


@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_randomized_svd_is_exact_when_the_rank_is_low_enough(shape):
    A = deficient(*shape, 5)
    result = randomized_svd(A, rank=5, random_state=0)
    np.testing.assert_allclose(result.to_tensor(), A, atol=1e-10)
    np.testing.assert_allclose(result.s, np.linalg.svd(A, compute_uv=False)[:5])
    np.testing.assert_allclose(result.U.T @ result.U, np.eye(5), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_randomized_svd_comes_close_to_the_optimum_and_improves_with_power_iterations(seed):
    A = gaussian(200, 150, seed=seed) * (1 / np.arange(1, 151))
    best = truncated_svd(A, rank=10).error_bound
    ratios = [
        np.linalg.norm(A - randomized_svd(A, rank=10, n_power_iter=q, random_state=seed).to_tensor()) / best
        for q in (0, 1, 4)
    ]
    assert 1 <= ratios[2] <= ratios[1] <= ratios[0] < np.sqrt(1 + 10 / 7)  # Halko et al., theorem 10.5
    assert ratios[1] < 1.06


def test_randomized_svd_agrees_with_sklearn():
    A = gaussian(120, 90) * 0.7 ** np.arange(90)
    ours = randomized_svd(A, rank=6, n_power_iter=4, random_state=0)
    _, s, _ = sklearn_randomized_svd(A, 6, n_iter=4, random_state=0)
    np.testing.assert_allclose(ours.s, s, rtol=1e-8)


def test_randomized_svd_depends_on_its_seed_only():
    A = gaussian(30, 20)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two, three = (randomized_svd(A, rank=3, random_state=seed).to_tensor() for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_randomized_svd_at_full_rank_needs_no_oversampling():
    A = gaussian(6, 4)
    np.testing.assert_allclose(randomized_svd(A, rank=4, random_state=0).to_tensor(), A, atol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"rank": 0},
        {"rank": 5},
        {"rank": 2.0},
        {"rank": None},
        {"rank": 1, "n_oversamples": -1},
        {"rank": 1, "n_power_iter": 0.5},
        {"rank": 1, "random_state": -1},
        {"rank": 1, "random_state": "seed"},
    ],
)
def test_randomized_svd_refuses(arguments):
    with pytest.raises((TypeError, ValueError), match=f"^{list(arguments)[-1]} must"):
        randomized_svd(gaussian(6, 4), **arguments)


# 5.04 rate, 5.06 ranks from a spectrum, 5.08 parameters


def test_svd_rate_of_the_lecture():
    assert abs(svd_rate(4096, 4096, 100) - 20.478) < 0.001


@given(st.integers(1, 300), st.integers(1, 300))
def test_rate_is_above_one_up_to_the_break_even_rank_and_not_beyond(m, n):
    k = break_even_rank(m, n)
    assert k == max((k for k in range(min(m, n) + 1) if k * (m + n + 1) < m * n), default=0)
    assert k == 0 or svd_rate(m, n, k) > 1
    if k + 1 <= min(m, n):
        assert svd_rate(m, n, k + 1) <= 1


def test_rate_is_exactly_one_at_a_whole_break_even_point():
    assert svd_rate(2, 3, 1) == 1
    assert break_even_rank(2, 3) == 0


@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_rate_counts_the_numbers_that_a_truncation_stores(m, n, data):
    k = data.draw(st.integers(1, min(m, n)))
    stored = truncated_svd(gaussian(m, n), rank=k)
    assert svd_rate(m, n, k) == m * n / sum(factor.size for factor in stored.factors)


def test_param_count_outer_and_kronecker_are_both_800():
    assert param_count((480, 320)) == 800
    assert param_count((480, 320), right=(20, 16)) == 800
    assert param_count((480, 320), rank=10, right=(20, 16)) == 8000
    assert param_count((480, 320), singular_values=True) == 801


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_param_count_counts_the_entries_of_both_factors(a, b, p, q):
    left, right = np.ones((a, b)), np.ones((p, q))
    assert param_count(np.kron(left, right).shape, right=(p, q)) == left.size + right.size


@pytest.mark.parametrize(
    "call",
    [
        lambda: param_count((480, 320), right=(7, 16)),
        lambda: param_count((480, 320), right=(20, 0)),
        lambda: param_count((480, 320), right=(20.0, 16)),
        lambda: param_count((480, 320), rank=321),
        lambda: param_count((480, 320), rank=0),
        lambda: param_count((480,)),
        lambda: param_count(480),
        lambda: svd_rate(0, 4, 1),
        lambda: svd_rate(4, 4, 5),
        lambda: svd_rate(4, 4, 1.5),
        lambda: svd_rate(4.0, 4, 1),
        lambda: break_even_rank(0, 4),
        lambda: break_even_rank(4, 2.5),
        lambda: break_even_rank(-4, 2),
    ],
)
def test_counts_refuse(call):
    with pytest.raises((TypeError, ValueError), match="must"):
        call()


def test_rank_for_energy_and_tol_on_a_spectrum_by_hand():
    s = [4.0, 2.0, 2.0, 1.0]  # energies 16, 4, 4, 1 of 25
    assert [rank_for_energy(s, energy=e) for e in (0, 0.64, 0.65, 0.8, 0.96, 1)] == [1, 1, 2, 2, 3, 4]
    assert [rank_for_tol(s, tol=t) for t in (1, 0.6, 0.5, 0.2, 0.19, 0)] == [1, 1, 2, 3, 4, 4]
    assert rank_for_energy(np.zeros(3), energy=1) == rank_for_tol(np.zeros(3), tol=0) == 1


@given(arrays(np.float64, st.integers(1, 9), elements=st.floats(0.01, 10)), st.floats(0, 1))
def test_rank_for_energy_is_the_smallest_that_keeps_enough(s, energy):
    s = np.sort(s)[::-1]
    k = rank_for_energy(s, energy=energy)
    assert (s[:k] ** 2).sum() >= energy * (s**2).sum() - 1e-9
    assert k == 1 or (s[: k - 1] ** 2).sum() < energy * (s**2).sum() + 1e-9


@given(arrays(np.float64, st.integers(1, 9), elements=st.floats(0.01, 10)), st.floats(0, 1))
def test_rank_for_tol_is_the_smallest_that_comes_close_enough(s, tol):
    s = np.sort(s)[::-1]
    k = rank_for_tol(s, tol=tol)
    assert np.linalg.norm(s[k:]) <= tol * np.linalg.norm(s) + 1e-12
    assert k == 1 or np.linalg.norm(s[k - 1 :]) > tol * np.linalg.norm(s) - 1e-12


@pytest.mark.parametrize("s", [[], [[1.0]], [1.0, 2.0], [1.0, -1.0], [1.0, np.nan], ["a"]])
@pytest.mark.parametrize("choose", [lambda s: rank_for_tol(s, tol=0.1), lambda s: rank_for_energy(s, energy=0.9)])
def test_a_bad_spectrum_is_refused(s, choose):
    with pytest.raises((TypeError, ValueError), match=r"^s must"):
        choose(s)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, "much", None, True])
def test_a_bad_threshold_is_refused(value):
    with pytest.raises((TypeError, ValueError), match=r"^energy must"):
        rank_for_energy([1.0], energy=value)
    with pytest.raises((TypeError, ValueError), match=r"^tol must"):
        rank_for_tol([1.0], tol=value)

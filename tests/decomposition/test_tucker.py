"""Tucker: HOSVD within its bound, HOOI never worse, exact where the tensor is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.decomposition import Tucker, cp_als, hooi, hosvd, mode_product, relative_error, unfold

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


def random_tucker(rng, shape=(6, 7, 8), rank=(2, 3, 4)):
    return Tucker(rng.standard_normal(rank), tuple(rng.standard_normal(s) for s in zip(shape, rank, strict=True)))


def tails(T, rank):
    """The singular values that each mode leaves out, squared and added up."""
    spectra = [np.linalg.svd(unfold(T, k), compute_uv=False) for k in range(T.ndim)]
    return [float(np.sum(s[r:] ** 2)) for s, r in zip(spectra, rank, strict=True)]


def test_to_tensor_is_the_sum_of_the_formula(rng):
    parts = random_tucker(rng)
    dense = np.einsum("abc,ia,jb,kc->ijk", parts.core, *parts.bases)
    np.testing.assert_allclose(parts.to_tensor(), dense, atol=1e-12)
    assert (parts.shape, parts.rank) == ((6, 7, 8), (2, 3, 4))
    assert parts.n_params == 24 + 12 + 21 + 32


def test_mode_product_multiplies_the_unfolding(rng):
    T = rng.standard_normal((3, 4, 5))
    for k, n in enumerate(T.shape):
        M = rng.standard_normal((2, n))
        np.testing.assert_allclose(unfold(mode_product(T, M, k), k), M @ unfold(T, k), atol=1e-12)


@settings(deadline=None)
@given(SHAPES, st.data())
def test_the_error_stays_below_the_sum_of_the_tails_and_hooi_below_that(shape, data):
    T = np.random.default_rng(0).standard_normal(shape)
    rank = tuple(data.draw(st.integers(1, min(n, T.size // n))) for n in shape)
    first, better = hosvd(T, rank=rank), hooi(T, rank=rank)
    error = np.linalg.norm(T - first.to_tensor())
    bound = np.sqrt(sum(tails(T, rank)))
    np.testing.assert_allclose(first.error_bound, bound, atol=1e-7)
    assert error <= bound + 1e-7
    assert error >= np.sqrt(max(tails(T, rank))) - 1e-7  # no tensor of this rank is closer than its worst mode
    assert np.linalg.norm(T - better.to_tensor()) <= error + 1e-9
    assert np.all(np.diff(better.errors) <= 1e-9)


def test_a_tensor_of_the_rank_is_found_exactly(rng):
    T = random_tucker(rng).to_tensor()
    for found in (hosvd(T, rank=(2, 3, 4)), hosvd(T, tol=1e-9), hooi(T, rank=(2, 3, 4))):
        assert found.rank == (2, 3, 4)
        assert relative_error(T, found.to_tensor()) < 1e-10


@pytest.mark.parametrize("tol", [0.5, 0.1, 1e-2, 1e-4, 1e-8])
def test_the_tolerance_is_kept(tol, rng):
    i = np.arange(1.0, 13)
    T = 1 / (i[:, None, None] + i[:, None] + i)  # a Hilbert tensor: its ranks fall quickly with the tolerance
    assert relative_error(T, hosvd(T, tol=tol).to_tensor()) <= tol
    assert max(hosvd(T, tol=0.1).rank) < 4


def test_bases_are_orthonormal_and_the_core_has_the_norm_of_the_result(rng):
    T = rng.standard_normal((5, 6, 7))
    for found in (hosvd(T, rank=3), hooi(T, rank=3)):
        for Q in found.bases:
            np.testing.assert_allclose(Q.T @ Q, np.eye(3), atol=1e-10)
        np.testing.assert_allclose(np.linalg.norm(found.core), np.linalg.norm(found.to_tensor()))
    np.testing.assert_allclose(hooi(T, rank=3).error_bound, np.linalg.norm(T - hooi(T, rank=3).to_tensor()))


def test_of_a_matrix_it_is_the_truncated_svd(rng):
    A = rng.standard_normal((8, 6))
    s = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(A - hosvd(A, rank=2).to_tensor()), np.linalg.norm(s[2:]))


def test_partial_tucker_leaves_the_other_modes_alone(rng):
    T = rng.standard_normal((5, 6, 3, 2))
    part = hooi(T, rank=(2, 4), modes=(0, 1))
    assert (part.rank, part.shape, len(part.bases)) == ((2, 4, 3, 2), T.shape, 2)
    full = hosvd(T, rank=(5, 6), modes=(0, 1))
    np.testing.assert_allclose(full.to_tensor(), T, atol=1e-12)
    np.testing.assert_allclose(hosvd(T, rank=3, modes=(2,)).to_tensor(), T, atol=1e-12)


def test_rank_one_is_a_product_of_vectors_as_in_cp(rng):
    T = rng.standard_normal((4, 5, 6))
    best = cp_als(T, rank=1, n_iter_max=2000, tol=1e-14)
    np.testing.assert_allclose(hooi(T, rank=1, n_iter_max=2000, tol=1e-14).error_bound, best.error_bound, rtol=1e-6)


def test_zero_stays_zero():
    assert not hooi(np.zeros((2, 3, 4)), rank=1).to_tensor().any()
    assert not hosvd(np.zeros((2, 3, 4)), tol=0.1).to_tensor().any()


def test_a_rank_above_the_product_of_the_others_is_kept(rng):
    T = rng.standard_normal((4, 5, 6))
    found, enough = hooi(T, rank=(4, 1, 2)), hooi(T, rank=(2, 1, 2))
    assert found.rank == (4, 1, 2)
    np.testing.assert_allclose(found.bases[0].T @ found.bases[0], np.eye(4), atol=1e-10)
    assert found.error_bound <= enough.error_bound + 1e-9


T3 = np.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hosvd(np.full((2, 2), np.nan), rank=1), "T must be finite"),
        (lambda: hosvd(np.ones(3), rank=1), "T must have at least 2 modes"),
        (lambda: hosvd(np.ones((0, 2)), rank=1), "T must not be empty"),
        (lambda: hosvd(T3), "give exactly one of rank and tol"),
        (lambda: hosvd(T3, rank=1, tol=0.1), "give exactly one of rank and tol"),
        (lambda: hosvd(T3, rank=0), r"rank\[0\] must be between 1 and 2, got 0"),
        (lambda: hosvd(T3, rank=3), r"rank\[0\] must be between 1 and 2, got 3"),
        (lambda: hosvd(T3, rank=(1, 2)), "rank must be an int or 3 ints"),
        (lambda: hosvd(T3, rank=1.0), "must be an integer"),
        (lambda: hosvd(T3, tol=2), "tol must be between 0 and 1"),
        (lambda: hosvd(T3, rank=1, modes=(0, 3)), "modes must be between 0 and 2, got 3"),
        (lambda: hosvd(T3, rank=1, modes=(0, 0)), "modes must name at least one mode, and each once"),
        (lambda: hosvd(T3, rank=1, modes=()), "modes must name at least one mode"),
        (lambda: hosvd(T3, rank=1, modes=1), "modes must be"),
        (lambda: hooi(T3, rank=1, n_iter_max=0), "n_iter_max must be at least 1"),
        (lambda: hooi(T3, rank=1, tol=-1), "tol must be at least 0"),
        (lambda: Tucker(np.ones((2, 2)), (np.ones((3, 2)),)), "bases must have shapes"),
        (lambda: Tucker(np.ones((2, 2)), (np.ones((3, 2)), np.ones((3, 3)))), "bases must have shapes"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

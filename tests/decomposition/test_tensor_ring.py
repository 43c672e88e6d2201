"""Tensor ring: within the tolerance, free to turn, and the tensor train as its special case."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.decomposition import TensorRing, relative_error, tensor_param_count, tr_als, tr_svd, tt_svd

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


def random_ring(rng, shape=(5, 6, 7), rank=(2, 3, 2)):
    return TensorRing(tuple(rng.standard_normal((rank[k - 1], n, rank[k])) for k, n in enumerate(shape)))


def test_to_tensor_is_the_trace(rng):
    ring = random_ring(rng)
    entry = np.trace(ring.cores[0][:, 1] @ ring.cores[1][:, 2] @ ring.cores[2][:, 3])
    np.testing.assert_allclose(ring.to_tensor()[1, 2, 3], entry)
    np.testing.assert_allclose(ring.to_tensor(), np.einsum("aib,bjc,cka->ijk", *ring.cores), atol=1e-12)
    assert (ring.shape, ring.rank) == ((5, 6, 7), (2, 3, 2))


@settings(deadline=None)
@given(SHAPES, st.floats(1e-6, 0.9))
def test_the_tolerance_is_kept(shape, tol):
    A = np.random.default_rng(0).standard_normal(shape)
    ring = tr_svd(A, tol=tol)
    error = np.linalg.norm(A - ring.to_tensor())
    assert error <= tol * np.linalg.norm(A) * (1 + 1e-9)
    assert error <= ring.error_bound + 1e-9


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 3])
def test_a_turned_ring_is_the_tensor_with_its_modes_turned(shift, rng):
    ring = random_ring(rng)
    order = [(k + shift) % 3 for k in range(3)]
    np.testing.assert_allclose(ring.roll(shift).to_tensor(), ring.to_tensor().transpose(order), atol=1e-12)
    assert ring.roll(shift).n_params == ring.n_params


def test_a_train_is_the_ring_with_one_closed_rank(rng):
    tt = tt_svd(rng.standard_normal((4, 5, 6)), rank=3)
    ring = TensorRing.from_train(tt)
    assert ring.rank == (3, 3, 1)
    np.testing.assert_allclose(ring.to_tensor(), tt.to_tensor(), atol=1e-12)
    A = rng.standard_normal((4, 5, 6))
    alike = tr_svd(A, rank=(3, 4, 1))
    np.testing.assert_allclose(alike.to_tensor(), tt_svd(A, rank=(3, 4)).to_tensor(), atol=1e-10)


def test_given_ranks_are_kept_and_counted(rng):
    A = rng.standard_normal((8, 8, 8, 8))
    ring = tr_svd(A, rank=2)
    assert ring.rank == (2,) * 4
    assert ring.n_params == tensor_param_count("tr", d=4, n=8, rank=2)
    assert ring.error_bound < np.linalg.norm(A)


def test_als_finds_a_ring_that_the_svds_cannot(rng):
    """tr_svd splits one rank into two; a ring in general position needs more than it may give to the others."""
    T = random_ring(rng, (6, 6, 6), (2, 2, 2)).to_tensor()
    several = [tr_als(T, rank=2, n_iter_max=300, tol=0, random_state=seed) for seed in range(3)]
    assert min(relative_error(T, ring.to_tensor()) for ring in several) < 1e-6


def test_the_error_of_als_never_rises_and_is_reported(rng):
    A = rng.standard_normal((4, 5, 6))
    ring = tr_als(A, rank=2, n_iter_max=30, tol=0, random_state=0)
    assert np.all(np.diff(ring.errors) <= 1e-10)
    np.testing.assert_allclose(ring.error_bound, np.linalg.norm(A - ring.to_tensor()), rtol=1e-8)
    start = tr_svd(A, rank=2)
    assert tr_als(A, rank=2, init=start, n_iter_max=5).error_bound <= start.error_bound + 1e-9


A3 = np.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tr_svd(np.full((2, 2), np.inf), rank=1), "A must be finite"),
        (lambda: tr_svd(np.ones(3), rank=1), "A must have at least 2 modes"),
        (lambda: tr_svd(A3), "give exactly one of rank and tol"),
        (lambda: tr_svd(A3, rank=2), r"rank\[0\] must be between 1 and 1, got 2"),
        (lambda: tr_svd(A3, rank=(1, 1)), "rank must be an int or 3 ints"),
        (lambda: tr_svd(A3, rank=0), r"rank\[0\] must be at least 1"),
        (lambda: tr_svd(A3, rank=1.5), "must be an integer"),
        (lambda: tr_svd(A3, tol=1.5), "tol must be between 0 and 1"),
        (lambda: tr_als(A3, rank=0), "must be between 1 and"),
        (lambda: tr_als(A3, rank=1, n_iter_max=0), "n_iter_max must be at least 1"),
        (lambda: tr_als(A3, rank=1, tol=-1), "tol must be at least 0"),
        (lambda: tr_als(A3, rank=1, init=tr_svd(np.ones((2, 2)), rank=1)), "init must have shape"),
        (lambda: tr_als(A3, rank=1, init="svd"), "init must be"),
        (lambda: tr_als(A3, rank=1, random_state="a"), "random_state must be"),
        (lambda: TensorRing((np.ones((2, 3, 2)), np.ones((2, 3, 1)))), "cores must have shapes"),
        (lambda: TensorRing(()), "cores must have shapes"),
        (lambda: TensorRing.from_train(A3), "tt must be"),
        (lambda: random_ring(np.random.default_rng(0)).roll(4), "shift must be between -3 and 3"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

"""Block terms: one term is Tucker, cores of size one are CP, and a sum of blocks is found again."""

import numpy as np
import pytest

from labkit.decomposition import BlockTerm, Tucker, btd, cp_als, hooi, relative_error


def random_blocks(rng, shape=(8, 9, 10), rank=(2, 2, 2), n_terms=2):
    blocks = [
        Tucker(rng.standard_normal(rank), tuple(rng.standard_normal(s) for s in zip(shape, rank, strict=True)))
        for _ in range(n_terms)
    ]
    return BlockTerm(tuple(blocks))


def test_to_tensor_is_the_sum_of_its_terms(rng):
    blocks = random_blocks(rng, n_terms=3)
    np.testing.assert_allclose(blocks.to_tensor(), sum(term.to_tensor() for term in blocks.terms), atol=1e-12)
    assert (blocks.shape, blocks.rank, blocks.n_terms) == ((8, 9, 10), (2, 2, 2), 3)
    assert blocks.n_params == 3 * (8 + 2 * 27)


@pytest.mark.parametrize("seed", range(3))
def test_a_sum_of_blocks_is_recovered(seed):
    T = random_blocks(np.random.default_rng(seed)).to_tensor()
    tries = [btd(T, rank=2, n_terms=2, init="random", n_iter_max=1500, tol=1e-12, random_state=s) for s in range(3)]
    assert min(relative_error(T, found.to_tensor()) for found in tries) < 1e-4


def test_one_term_is_tucker(rng):
    T = rng.standard_normal((4, 5, 6))
    one, tucker = btd(T, rank=(2, 3, 2), n_terms=1, tol=1e-13), hooi(T, rank=(2, 3, 2), n_iter_max=300, tol=1e-13)
    np.testing.assert_allclose(one.error_bound, tucker.error_bound, rtol=1e-5)


def test_cores_of_size_one_are_cp(rng):
    T = random_blocks(rng, (4, 5, 6), (1, 1, 1)).to_tensor()
    assert btd(T, rank=1, n_terms=2, n_iter_max=2000, tol=1e-13).error_bound < 1e-4
    assert cp_als(T, rank=2, n_iter_max=2000, tol=1e-13).error_bound < 1e-4
    noisy = T + 0.1 * rng.standard_normal(T.shape)
    a, b = btd(noisy, rank=1, n_terms=2, tol=1e-12), cp_als(noisy, rank=2, tol=1e-12)
    np.testing.assert_allclose(a.error_bound, b.error_bound, rtol=1e-4)


@pytest.mark.parametrize("init", ["hooi", "random"])
def test_the_error_never_rises_and_is_reported(init, rng):
    T = rng.standard_normal((4, 5, 6))
    found = btd(T, rank=2, n_terms=2, init=init, n_iter_max=25, tol=0, random_state=0)
    assert np.all(np.diff(found.errors) <= 1e-10)
    assert not found.converged
    np.testing.assert_allclose(found.error_bound, np.linalg.norm(T - found.to_tensor()), rtol=1e-8)


def test_terms_come_back_with_orthonormal_bases(rng):
    for term in btd(rng.standard_normal((4, 5, 6)), rank=2, n_terms=2, n_iter_max=5).terms:
        for Q in term.bases:
            np.testing.assert_allclose(Q.T @ Q, np.eye(2), atol=1e-10)


T3 = np.ones((2, 3, 4))
ONE = Tucker(np.ones((1, 1)), (np.ones((3, 1)), np.ones((3, 1))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: btd(np.full((2, 2), np.nan), rank=1, n_terms=1), "T must be finite"),
        (lambda: btd(np.ones(3), rank=1, n_terms=1), "T must have at least 2 modes"),
        (lambda: btd(T3, rank=3, n_terms=1), r"rank\[0\] must be between 1 and 2, got 3"),
        (lambda: btd(T3, rank=(1, 1), n_terms=1), "rank must be an int or 3 ints"),
        (lambda: btd(T3, rank=1.0, n_terms=1), "must be an integer"),
        (lambda: btd(T3, rank=1, n_terms=0), "n_terms must be at least 1"),
        (lambda: btd(T3, rank=1, n_terms=1, init="svd"), "init must be one of"),
        (lambda: btd(T3, rank=1, n_terms=1, n_iter_max=0), "n_iter_max must be at least 1"),
        (lambda: btd(T3, rank=1, n_terms=1, tol=-1), "tol must be at least 0"),
        (lambda: btd(T3, rank=1, n_terms=1, random_state=-1), "random_state must be at least 0"),
        (lambda: BlockTerm(()), "terms must be Tucker decompositions of one shape"),
        (lambda: BlockTerm((ONE, Tucker(np.ones((1, 1)), (np.ones((2, 1)),) * 2))), "terms must be Tucker"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

"""Unfoldings: what goes where, that nothing is lost, and every wrong argument."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.decomposition import fold, unfold

SHAPE = (2, 3, 4, 5)
MODES = [*range(4), *itertools.chain.from_iterable(itertools.permutations(range(4), r) for r in (1, 2, 3, 4))]


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("mode", MODES)
def test_fold_is_the_inverse_of_unfold(mode):
    X = gaussian(*SHAPE)
    np.testing.assert_array_equal(fold(unfold(X, mode), mode, shape=SHAPE), X)


@pytest.mark.parametrize("mode", MODES)
def test_frobenius_norm_of_a_difference_is_invariant(mode):
    W, Wa = gaussian(*SHAPE), gaussian(*SHAPE, seed=1)
    difference = np.linalg.norm(unfold(W, mode) - unfold(Wa, mode))
    assert difference == pytest.approx(np.linalg.norm((W - Wa).ravel()), rel=1e-12)
    assert np.linalg.norm(unfold(W, mode)) == pytest.approx(np.sqrt((W**2).sum()), rel=1e-12)


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data())
def test_entries_go_where_the_formula_says(shape, data):
    X, mode = gaussian(*shape), data.draw(st.integers(0, len(shape) - 1))
    M = unfold(X, mode)
    rest = [n for k, n in enumerate(shape) if k != mode]
    for index in itertools.product(*map(range, shape)):
        others = tuple(i for k, i in enumerate(index) if k != mode)
        column = np.ravel_multi_index(others, rest) if rest else 0
        assert M[index[mode], column] == X[index]


def test_two_modes_number_the_rows_in_their_order():
    X = gaussian(*SHAPE)
    assert unfold(X, (3, 1)).shape == (15, 8)
    assert unfold(X, (3, 1))[2 * 3 + 1, 1 * 4 + 3] == X[1, 1, 3, 2]
    np.testing.assert_array_equal(unfold(X, (0, 1)), X.reshape(6, 20))
    np.testing.assert_array_equal(unfold(X, (0, 1, 2, 3)), X.reshape(-1, 1))


def test_mode_products_commute_with_unfolding():
    """(X x_k U)_(k) = U X_(k), the law that the tensor decompositions are built on."""
    X, U = gaussian(*SHAPE), gaussian(7, 4)
    product = np.einsum("abcd,ec->abed", X, U)
    np.testing.assert_allclose(unfold(product, 2), U @ unfold(X, 2), rtol=0, atol=1e-12)


def test_float32_stays():
    assert unfold(np.ones(SHAPE, np.float32), 1).dtype == np.float32
    assert fold(np.ones((3, 4), np.float32), 0, shape=(3, 2, 2)).dtype == np.float32


X3 = np.ones((2, 3, 4))
BAD = [
    (lambda: unfold(X3, 3), ValueError, "mode must be between 0 and 2, got 3"),
    (lambda: unfold(X3, -1), ValueError, "mode must be between 0 and 2"),
    (lambda: unfold(X3, 1.0), TypeError, "mode must be an integer"),
    (lambda: unfold(X3, (0, 0)), ValueError, "mode must name at least one mode, and each once"),
    (lambda: unfold(X3, ()), ValueError, "mode must name at least one mode"),
    (lambda: unfold(X3[:0], 0), ValueError, "X must not be empty"),
    (lambda: unfold(X3 * np.nan, 0), ValueError, "X must be finite"),
    (lambda: unfold(X3 * 1j, 0), TypeError, "X must hold real numbers"),
    (lambda: unfold(np.float64(3), 0), ValueError, "mode must be between"),
    (lambda: fold(np.ones((2, 11)), 0, shape=(2, 3, 4)), ValueError, r"M must have shape \(2, 12\)"),
    (lambda: fold(np.ones((3, 8)), 0, shape=(2, 3, 4)), ValueError, r"M must have shape \(2, 12\)"),
    (lambda: fold(np.ones(24), 0, shape=(2, 3, 4)), ValueError, "M must have 2 dimensions"),
    (lambda: fold(np.ones((2, 12)), 3, shape=(2, 3, 4)), ValueError, "mode must be between 0 and 2"),
    (lambda: fold(np.ones((2, 12)), 0, shape=(2, 12.0)), TypeError, "shape must be an integer"),
    (lambda: fold(np.ones((2, 12)), 0, shape=24), TypeError, "shape must be tuple or list"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()

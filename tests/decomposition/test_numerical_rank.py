"""The rank of a matrix up to rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.decomposition import numerical_rank


@given(m=st.integers(1, 12), n=st.integers(1, 12), r=st.integers(1, 12), seed=st.integers(0, 100))
def test_a_product_has_the_rank_of_its_narrow_place(m, n, r, seed):
    rng = np.random.default_rng(seed)
    W1, W2 = rng.standard_normal((r, n)), rng.standard_normal((m, r))
    assert numerical_rank(W2 @ W1) == np.linalg.matrix_rank(W2 @ W1) <= min(m, n, r)


def test_two_linear_layers_without_nonlinearity():
    rng = np.random.default_rng(0)
    for r in range(1, 10):
        assert numerical_rank(rng.standard_normal((20, r)) @ rng.standard_normal((r, 10))) == r
        product = rng.standard_normal((20, r)) @ rng.standard_normal((r, 10))
        assert numerical_rank(product.astype(np.float32)) == r


def test_tolerance_and_the_zero_matrix():
    assert [numerical_rank(np.diag([1, 0.1, 0.01]), tol=tol) for tol in (0, 0.05, 0.5, 1)] == [3, 2, 1, 0]
    assert numerical_rank(np.zeros((3, 4))) == 0


@pytest.mark.parametrize(
    ("A", "settings", "error", "message"),
    [
        (np.ones(3), {}, ValueError, "A must have 2 dimensions"),
        (np.full((2, 2), np.nan), {}, ValueError, "A must be finite"),
        (np.ones((2, 0)), {}, ValueError, "A must not be empty"),
        (np.ones((2, 2), dtype=complex), {}, TypeError, "A must hold real numbers"),
        (np.eye(2), {"tol": -1}, ValueError, "tol must be between 0 and 1"),
        (np.eye(2), {"tol": "small"}, TypeError, "tol must be a number"),
    ],
)
def test_bad_input_is_named(A, settings, error, message):
    with pytest.raises(error, match=message):
        numerical_rank(A, **settings)

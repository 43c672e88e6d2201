"""Winograd's algorithm as a CP decomposition of the correlation's tensor: exact, and of the smallest rank."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.convolution import cook_toom, correlate1d, correlation_tensor, is_exact, transforms_of, winograd_cp
from labkit.decomposition import CP, cp_als


@given(m=st.integers(1, 6), r=st.integers(1, 5), seed=st.integers(0, 99))
def test_the_tensor_is_the_correlation(m: int, r: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    d, g = random.normal(size=m + r - 1), random.normal(size=r)
    np.testing.assert_allclose(np.einsum("ijk,j,k", correlation_tensor(m, r), d, g), correlate1d(d, g), atol=1e-12)


@pytest.mark.parametrize("m", range(1, 7))
@pytest.mark.parametrize("r", range(1, 5))
def test_cook_toom_is_an_exact_decomposition_of_rank_m_plus_r_minus_1(m: int, r: int) -> None:
    assert is_exact(cook_toom(m, r))
    form = winograd_cp(m, r)
    assert (form.rank, form.shape) == (m + r - 1, (m, m + r - 1, r))
    np.testing.assert_allclose(form.to_tensor(), correlation_tensor(m, r), atol=1e-9)
    assert (np.diff(form.weights) <= 0).all()
    np.testing.assert_allclose([np.linalg.norm(F, axis=0) for F in form.factors], 1)


def test_fewer_products_do_not_suffice() -> None:
    """The unfolding along the inputs has rank m + r - 1, and no decomposition has fewer terms than that."""
    for m, r in [(2, 3), (4, 3), (3, 5)]:
        T = correlation_tensor(m, r)
        assert np.linalg.matrix_rank(T.transpose(1, 0, 2).reshape(m + r - 1, -1)) == m + r - 1


def test_points_give_other_decompositions_of_the_same_tensor() -> None:
    one, other = winograd_cp(2, 3), winograd_cp(2, 3, points=[0, 1, "1/2"])
    np.testing.assert_allclose(one.to_tensor(), other.to_tensor(), atol=1e-12)
    assert not np.allclose(one.weights, other.weights)


def test_any_cp_of_the_tensor_is_an_algorithm() -> None:
    """Also one that was found by alternating least squares and never heard of polynomials."""
    found = cp_als(correlation_tensor(2, 2), rank=3, init="random", n_iter_max=5000, tol=1e-15, random_state=1)
    AT, G, BT = transforms_of(found)
    d, g = np.array([3.0, -1, 2]), np.array([5.0, 7])
    np.testing.assert_allclose(AT @ ((G @ g) * (BT @ d)), correlate1d(d, g), rtol=1e-3)


def test_a_wrong_entry_is_noticed() -> None:
    one = cook_toom(2, 3)
    wrong = ((Fraction(2), *one.AT[0][1:]), *one.AT[1:])
    assert not is_exact(dataclasses.replace(one, AT=wrong))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: correlation_tensor(0, 3), ValueError, "m must be"),
        (lambda: correlation_tensor(2, 3.0), TypeError, "r must be an integer"),
        (lambda: winograd_cp(2, 3, points=[0]), ValueError, "points must be 3 different"),
        (lambda: transforms_of("cp"), TypeError, "form must be"),
        (lambda: transforms_of(CP(np.ones(1), (np.ones((2, 1)),) * 3)), ValueError, r"shape \(m, m \+ r - 1, r\)"),
        (lambda: is_exact(3), TypeError, "one must be"),
    ],
)
def test_bad_input(call, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()

"""Loss plus penalty is minus the logarithm of a joint probability, and ridge regression is its minimiser."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm

from labkit.training import map_objective, ridge

POSITIVE = st.floats(0.1, 5)


def problem(seed, n=12, d=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal(n), rng.standard_normal(d)


@given(seed=st.integers(0, 1000), noise=POSITIVE, prior=POSITIVE)
def test_objective_is_minus_the_log_of_the_joint(seed, noise, prior):
    X, y, w = problem(seed)
    joint = norm.logpdf(y, X @ w, noise).sum() + norm.logpdf(w, 0, prior).sum()
    assert map_objective(w, X, y, noise_std=noise, prior_std=prior) == pytest.approx(-joint)


@pytest.mark.parametrize("seed", range(5))
def test_ridge_minimises_the_objective(seed):
    X, y, w = problem(seed)
    found = minimize(
        lambda v: map_objective(v, X, y, noise_std=0.5, prior_std=2.0), w, method="BFGS", options={"gtol": 1e-9}
    ).x
    assert ridge(X, y, penalty=(0.5 / 2.0) ** 2) == pytest.approx(found, abs=1e-6)


def test_ridge_shrinks_towards_zero_and_tends_to_least_squares():
    X, y, _ = problem(0)
    norms = [np.linalg.norm(ridge(X, y, penalty=p)) for p in (0.01, 1, 100, 1e6)]
    assert norms == sorted(norms, reverse=True)
    assert ridge(X, y, penalty=1e-9) == pytest.approx(np.linalg.lstsq(X, y, rcond=None)[0], abs=1e-6)


def test_ridge_works_with_fewer_rows_than_columns():
    X, y, _ = problem(1, n=2, d=5)
    w = ridge(X, y, penalty=0.1)
    assert X.T @ (X @ w - y) + 0.1 * w == pytest.approx(np.zeros(5), abs=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda X, y, w: ridge(X, y, penalty=0), ValueError, "penalty must be above 0"),
        (lambda X, y, w: ridge(X, y[1:], penalty=1), ValueError, "y must have one target for each of the 12 rows"),
        (lambda X, y, w: ridge(y, y, penalty=1), ValueError, "X must have 2 dimensions"),
        (lambda X, y, w: ridge(X * np.nan, y, penalty=1), ValueError, "X must be finite"),
        (lambda X, y, w: map_objective(w[1:], X, y, noise_std=1, prior_std=1), ValueError, "w must have one weight"),
        (lambda X, y, w: map_objective(w, X, y, noise_std=0, prior_std=1), ValueError, "noise_std must be above 0"),
        (lambda X, y, w: map_objective(w, X, y, noise_std=1, prior_std="1"), TypeError, "prior_std must be a number"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(*problem(0))

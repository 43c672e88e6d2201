"""Scaled signs: brute force over all signs, the variance identity, the counter-example, filters that repeat."""

from itertools import product

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.nets import load
from labkit.quantization import n_patterns, row_scaled, unique_filters, xnor_counterexample

NUMBERS = st.floats(-10, 10).filter(lambda x: x == 0 or abs(x) > 1e-6)
MATRICES = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=NUMBERS)


def best_by_brute_force(w):
    """Return the least residual over all 2^n sign vectors, each with the scale that suits it best."""
    signs = np.array(list(product([-1, 1], repeat=len(w))))
    scales = signs @ w / len(w)  # least squares for each
    return np.square(w - scales[:, None] * signs).sum(axis=1).min()


@pytest.mark.parametrize("n", range(1, 13))
def test_no_scale_and_signs_come_nearer(n):
    w = np.random.default_rng(n).standard_normal(n)
    assert row_scaled(w).residual == pytest.approx(best_by_brute_force(w), abs=1e-12)


@settings(max_examples=50)
@given(w=hnp.arrays(np.float64, st.integers(1, 8), elements=NUMBERS))
def test_no_scale_and_signs_come_nearer_to_any_vector(w):
    assert row_scaled(w).residual <= best_by_brute_force(w) + 1e-9


@given(w=MATRICES)
def test_the_residual_is_the_sum_of_the_variances_of_the_rows(w):
    nearest = row_scaled(w)
    variance = w.shape[1] * np.var(np.abs(w), axis=1).sum()
    assert nearest.residual == pytest.approx(variance, rel=1e-10, abs=1e-10)
    assert np.square(w - nearest.to_tensor()).sum() == pytest.approx(nearest.residual, abs=1e-12)
    assert np.var(w * nearest.signs, axis=1).sum() * w.shape[1] == pytest.approx(nearest.residual, abs=1e-9)


def test_the_identity_holds_for_every_layer_of_a_trained_network():
    for layer in ("conv1", "conv2", "fc1", "fc2"):
        w = load("lenet-5").get_submodule(layer).weight.detach().flatten(1).double().numpy()
        assert row_scaled(w).residual == pytest.approx(w.shape[1] * np.var(abs(w), axis=1).sum(), rel=1e-10)


@given(w=MATRICES)
def test_the_product_is_the_one_of_the_matrix(w):
    nearest, x = row_scaled(w), np.arange(2.0 * w.shape[1]).reshape(w.shape[1], 2)
    assert np.allclose(nearest.matmul(x), nearest.to_tensor() @ x)
    assert np.allclose(nearest.matmul(x[:, 0]), nearest.to_tensor() @ x[:, 0])
    assert nearest.n_bits == w.size + 32 * len(w)
    assert nearest.factors == (nearest.scale, nearest.signs)


def test_zero_has_the_sign_plus():
    assert row_scaled([[0.0, -0.0, -1.0]]).signs.tolist() == [[1, 1, -1]]
    assert row_scaled(np.zeros((2, 3))).residual == 0


def test_the_lectures_counterexample():
    found = xnor_counterexample()
    assert (found.exact, found.estimate, found.scale) == (-3, 0, 2.5)
    assert found.best_estimate == 0  # the signs of [-4, 1] balance, so no scale helps
    other = xnor_counterexample([-4.0, 1.0, 1.0])
    assert (other.exact, other.estimate) == (-2, 2)  # even the direction is wrong
    assert other.best_estimate == pytest.approx(-2)  # only by a negative scale
    assert xnor_counterexample([2.0, -2.0, 2.0]).estimate == 2  # exact where all absolute values agree


@given(size=st.integers(1, 20), scale=st.floats(0.01, 100))
def test_with_equal_absolute_values_the_sum_is_exact(size, scale):
    y = scale * np.where(np.random.default_rng(size).random(size) < 0.5, -1, 1)
    assert xnor_counterexample(y).estimate == pytest.approx(y.sum(), abs=1e-9)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 1), (1, 3), (2, 2), (3, 3)])
def test_the_patterns_are_enumerated(height, width):
    filters = np.array(list(product([-1.0, 1.0], repeat=height * width))).reshape(-1, 1, height, width)
    assert unique_filters(filters).n_unique == n_patterns(height, width) == 2 ** (height * width)
    halved = unique_filters(filters, modulo_sign=True)
    assert halved.n_unique == halved.n_possible == n_patterns(height, width, modulo_sign=True)


def test_the_lectures_counts():
    assert n_patterns(3, 3, modulo_sign=True) == 256
    assert n_patterns(3, 1, modulo_sign=True) == 4


def test_filters_are_counted_by_sign():
    weight = np.ones((2, 2, 3, 3))
    weight[0, 0, 1, 1] = -0.5
    weight[1, 1] = -7
    assert unique_filters(weight).n_unique == 3
    assert unique_filters(weight, modulo_sign=True).n_unique == 2
    assert unique_filters(weight).share == 0.75
    assert unique_filters(load("lenet-5").conv2).n_filters == 1000


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: row_scaled([]), ValueError, "w must not be empty"),
        (lambda: row_scaled(np.ones((2, 2, 2))), ValueError, "w must have 2 dimensions"),
        (lambda: row_scaled([np.nan]), ValueError, "w must be finite"),
        (lambda: row_scaled(["a"]), TypeError, "w must hold real numbers"),
        (lambda: row_scaled([1.0]).matmul([np.nan]), ValueError, "x must be finite"),
        (lambda: xnor_counterexample(np.ones((2, 2))), ValueError, "y must have 1 dimensions"),
        (lambda: xnor_counterexample([]), ValueError, "y must not be empty"),
        (lambda: n_patterns(0, 3), ValueError, "height must be between 1 and 8"),
        (lambda: n_patterns(3, 1.5), TypeError, "width must be an integer"),
        (lambda: unique_filters(np.ones((2, 3))), ValueError, "conv must have 4 dimensions"),
        (lambda: unique_filters(np.ones((1, 1, 9, 9))), ValueError, "height must be between 1 and 8, got 9"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()

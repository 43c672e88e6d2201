"""Residual binarisation and ABC-Net: errors, normal equations, brute force, the quantizers, bad input."""

from itertools import pairwise

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labkit.quantization import (
    ABCWeight,
    ResidualSign,
    abc_bases,
    abc_fit,
    abc_shifts,
    residual_binarize,
    row_scaled,
)

ARRAYS = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-4, 4))


@given(ARRAYS, st.integers(1, 8))
def test_each_bit_lowers_the_squared_error_by_n_alpha_squared(A, bits):
    previous, scales = np.linalg.norm(A) ** 2, residual_binarize(A, bits=bits).scales
    for k in range(1, bits + 1):
        made = residual_binarize(A, bits=k)
        assert made.error**2 == pytest.approx(previous - A.size * scales[k - 1] ** 2, abs=1e-8)
        assert made.error == pytest.approx(np.linalg.norm(A - made.to_tensor()), abs=1e-9)
        previous = made.error**2


@given(ARRAYS)
def test_one_bit_is_the_optimal_scaled_sign(A):
    assert residual_binarize(A, bits=1).error ** 2 == pytest.approx(row_scaled(A).residual, abs=1e-9)


def test_the_values_are_signs_and_the_products_add_up():
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((5, 7)), rng.standard_normal((7, 3))
    for made in (residual_binarize(W, bits=3), abc_fit(W, n_bases=3)):
        assert set(np.unique(made.signs)) == {-1, 1}
        assert made.signs.dtype == np.int8
        np.testing.assert_allclose(made.matmul(x), made.to_tensor() @ x, atol=1e-12)
        assert made.n_bits == 3 * 35 + 3 * 32
        assert made.factors[0] is made.scales
        assert repr(made).startswith("BinarySum(m=3, shape=(5, 7), error=")
        with pytest.raises(ValueError, match="x must have 7 rows"):
            made.matmul(np.ones(5))


@given(ARRAYS, st.integers(1, 6))
def test_the_scales_solve_the_normal_equations(W, n_bases):
    made = abc_fit(W, n_bases=n_bases)
    B = made.signs.reshape(n_bases, -1).T.astype(float)
    np.testing.assert_allclose(B.T @ B @ made.scales, B.T @ W, atol=1e-9)
    residual = W - made.to_tensor()
    np.testing.assert_allclose(B.T @ residual, 0, atol=1e-9)  # so no other scales do better


@given(ARRAYS)
def test_more_bases_help_where_they_contain_the_old_ones(W):
    errors = [abc_fit(W, n_bases=m).error for m in (1, 3, 5, 9)]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(errors))


def test_on_gaussian_weights_the_error_falls_with_every_base():
    W = np.random.default_rng(0).standard_normal(5_000)
    errors = [abc_fit(W, n_bases=m).error for m in range(1, 7)]
    assert all(np.diff(errors) < 0)


def test_the_bases_of_the_paper():
    W = np.array([[-2.0, -0.5], [0.5, 4.0]])
    u, centred = abc_shifts(4), W - W.mean()
    expected = [np.where(centred + s * W.std() >= 0, 1, -1) for s in u]
    assert np.array_equal(abc_bases(W, n_bases=4), expected)
    assert abc_shifts(1).tolist() == [0]
    assert abc_shifts(5).tolist() == [-1, -0.5, 0, 0.5, 1]


@pytest.mark.parametrize("n_bases", [1, 2, 3, 5])
def test_the_quantizer_is_the_fit_with_an_identity_gradient(n_bases):
    weight = torch.randn(6, 9, generator=torch.Generator().manual_seed(2), requires_grad=True)
    made = ABCWeight(n_bases=n_bases)(weight)
    np.testing.assert_allclose(made.detach(), abc_fit(weight, n_bases=n_bases).to_tensor(), atol=1e-5)
    made.sum().backward()
    assert torch.equal(weight.grad, torch.ones(6, 9))


def test_equal_bases_make_no_trouble():
    constant = abc_fit(np.full(4, 2.0), n_bases=3)  # all bases equal, the Gram matrix singular
    np.testing.assert_allclose(constant.to_tensor(), 2.0)
    np.testing.assert_allclose(ABCWeight(n_bases=3)(torch.full((4,), 2.0)), 2.0, rtol=1e-5)


def test_the_activation_uses_batch_scales_in_training_and_running_ones_after():
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    layer = ResidualSign(bits=2)
    first = residual_binarize(x, bits=2)
    np.testing.assert_allclose(layer(x), first.to_tensor(), rtol=1e-5)
    np.testing.assert_allclose(layer.scales, first.scales, rtol=1e-5)
    layer(2 * x)
    np.testing.assert_allclose(layer.scales, 1.1 * first.scales, rtol=1e-5)
    layer.eval()
    assert torch.equal(layer(x)[:1], layer(x[:1]))  # independent of the rest of the batch
    assert len(layer(x).abs().unique()) == 2


def test_the_activation_learns_in_the_window_only():
    x = torch.tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
    ResidualSign(bits=2)(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: residual_binarize([], bits=1), "A must not be empty"),
        (lambda: residual_binarize([np.inf], bits=1), "A must be finite"),
        (lambda: residual_binarize([1.0], bits=0), "bits must be between 1 and 16"),
        (lambda: residual_binarize([1.0], bits=1.5), "bits must be an integer"),
        (lambda: ResidualSign(bits=0), "bits must be between"),
        (lambda: abc_fit(["a"], n_bases=1), "W must hold real numbers"),
        (lambda: abc_fit([1.0], n_bases=0), "n_bases must be between 1 and 16"),
        (lambda: abc_bases([np.nan], n_bases=1), "W must be finite"),
        (lambda: abc_shifts(True), "n_bases must be an integer"),
        (lambda: ABCWeight(torch.ones(2, dtype=torch.int32)), "floating-point"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

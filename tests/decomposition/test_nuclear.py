"""The nuclear norm: inequality of the sub-gradient, the proximal step, the penalty in training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.decomposition import (
    nuclear_norm,
    nuclear_penalty,
    nuclear_subgradient,
    singular_value_threshold,
    truncated_svd,
)
from labkit.training import fit

SEEDS = st.integers(0, 2**32 - 1)


def matrix(seed, shape=(7, 5), rank=None):
    A = np.random.default_rng(seed).standard_normal(shape)
    return A if rank is None else truncated_svd(A, rank=rank).to_tensor()


@given(SEEDS, st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_the_subgradient_lies_below_the_nuclear_norm(seed, rank):
    """Also where A has lower rank and the norm has a kink."""
    A, B = matrix(seed, rank=rank), 3 * matrix(seed + 1)
    assert nuclear_norm(B) >= nuclear_norm(A) + np.vdot(nuclear_subgradient(A), B - A) - 1e-9


def test_at_full_rank_it_is_the_gradient():
    A, direction, h = matrix(0), matrix(1), 1e-6
    slope = (nuclear_norm(A + h * direction) - nuclear_norm(A - h * direction)) / (2 * h)
    assert np.vdot(nuclear_subgradient(A), direction) == pytest.approx(slope, abs=1e-6)


def test_it_is_torchs_gradient():
    A = torch.from_numpy(matrix(2)).requires_grad_()
    torch.linalg.matrix_norm(A, "nuc").backward()
    np.testing.assert_allclose(nuclear_subgradient(A.detach().numpy()), A.grad.numpy(), atol=1e-12)


def test_its_singular_values_are_one_up_to_the_rank():
    s = np.linalg.svd(nuclear_subgradient(matrix(3, rank=3)), compute_uv=False)
    np.testing.assert_allclose(s, [1, 1, 1, 0, 0], atol=1e-12)
    assert not nuclear_subgradient(np.zeros((3, 2))).any()


def test_the_norm_is_torchs():
    A = matrix(4)
    assert nuclear_norm(A) == pytest.approx(torch.linalg.matrix_norm(torch.from_numpy(A), "nuc").item())


@given(SEEDS, st.floats(0, 4))
@settings(max_examples=50, deadline=None)
def test_the_threshold_minimises_the_proximal_objective(seed, threshold):
    A, rng = matrix(seed), np.random.default_rng(seed)

    def objective(X):
        return threshold * nuclear_norm(X) + 0.5 * np.sum((X - A) ** 2)

    X = singular_value_threshold(A, threshold=threshold).to_tensor()
    for size in (1e-3, 0.1, 1.0):
        assert objective(X) <= objective(X + size * rng.standard_normal(A.shape)) + 1e-9
    assert objective(X) <= min(objective(A), objective(0 * A)) + 1e-9


def test_the_threshold_shrinks_the_spectrum_and_knows_its_error():
    A = matrix(5)
    s = np.linalg.svd(A, compute_uv=False)
    made = singular_value_threshold(A, threshold=float(s[2]) * (1 + 1e-12))
    assert made.rank == 2
    np.testing.assert_allclose(made.s, s[:2] - s[2])
    assert made.error_bound == pytest.approx(np.linalg.norm(A - made.to_tensor()))
    assert not singular_value_threshold(A, threshold=100.0).to_tensor().any()
    np.testing.assert_allclose(singular_value_threshold(A, threshold=0).to_tensor(), A)


def test_the_penalty_has_the_subgradient_as_gradient():
    model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
    nuclear_penalty(["0"], weight=0.5)(model).backward()
    expected = 0.5 * nuclear_subgradient(model[0].weight.detach().numpy())
    np.testing.assert_allclose(model[0].weight.grad.numpy(), expected, atol=1e-5)
    assert model[1].weight.grad is None


def test_the_penalty_counts_a_kernel_as_one_row_per_filter():
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    W = model[0].weight.detach().flatten(1).numpy()
    assert nuclear_penalty(["0"], weight=2.0)(model).item() == pytest.approx(2 * nuclear_norm(W), rel=1e-5)


def test_training_with_the_penalty_lowers_the_nuclear_norm():
    x, y = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)), None
    y = x @ torch.ones(6, 4)  # a map of rank 1
    norms = []
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 4))
        fit(
            model,
            (x, y),
            epochs=20,
            learning_rate=0.05,
            loss=nn.functional.mse_loss,
            regularizer=nuclear_penalty(["0"], weight=weight),
            random_state=0,
            progress=False,
        )
        norms.append(nuclear_norm(model[0].weight.detach().numpy()))
    assert norms[1] < norms[0]


@pytest.mark.parametrize("function", [nuclear_norm, nuclear_subgradient])
@pytest.mark.parametrize("A", [np.ones(3), np.full((2, 2), np.nan), np.empty((0, 2)), np.ones((2, 2)) * 1j])
def test_what_is_no_matrix_is_refused(function, A):
    with pytest.raises((TypeError, ValueError), match="A must"):
        function(A)


@pytest.mark.parametrize("threshold", [-1, np.nan, "1", True, np.inf])
def test_a_bad_threshold_is_refused(threshold):
    with pytest.raises((TypeError, ValueError), match="threshold must"):
        singular_value_threshold(np.eye(2), threshold=threshold)


def test_a_bad_penalty_is_refused():
    with pytest.raises(ValueError, match="weight must be at least 0"):
        nuclear_penalty(["0"], weight=-1)
    with pytest.raises(TypeError, match="layers must be a list of at least one layer name, got 'fc1'"):
        nuclear_penalty("fc1", weight=1)
    with pytest.raises(TypeError, match=r"got \[\]"):
        nuclear_penalty([], weight=1)
    with pytest.raises(ValueError, match="names must be one of 1 names, got 'fc1'"):
        nuclear_penalty(["fc1"], weight=1)(nn.Sequential(nn.Linear(2, 2)))

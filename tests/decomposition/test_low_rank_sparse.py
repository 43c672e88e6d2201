"""Low rank plus sparse: the objective never grows, known answers, better than either part alone."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch import nn

from labkit import nets
from labkit.compress import compress, load_compressed, save_compressed
from labkit.cost import count
from labkit.datasets import mnist
from labkit.decomposition import (
    LowRankSparse,
    LowRankSparseLinear,
    LowRankSparseScheme,
    grebdec,
    layer_inputs,
    truncated_svd,
)
from labkit.decomposition.low_rank_sparse import bilateral_step, gram, greedy_rounds, largest_entries


def problem(seed, m=12, n=9, p=40):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((m, 3)) @ rng.standard_normal((3, n)) + 5 * rng.standard_normal((m, n)) * (
        rng.random((m, n)) < 0.1
    )
    return W, rng.standard_normal((n, n)) @ rng.standard_normal((n, p))


@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.floats(0.05, 1.0), st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_objective_never_grows(seed, rank, density, data):
    W, X = problem(seed)
    parts = grebdec(W, X if data else None, rank=rank, density=density, tol=0.0, n_iter_max=15)
    history = np.array(parts.objective)
    scale = np.vdot(W @ gram(9, X if data else None), W)
    assert (np.diff(history) <= 1e-9 * scale).all()
    assert history[0] <= scale * (1 + 1e-9)


@pytest.mark.parametrize("data", [False, True])
def test_the_objective_is_the_error_of_the_outputs(data):
    W, X = problem(0)
    parts = grebdec(W, X if data else None, rank=2, density=0.1)
    rest = W - parts.to_tensor()
    error = np.linalg.norm(rest @ X) / np.sqrt(X.shape[1]) if data else np.linalg.norm(rest)
    assert parts.error_bound == pytest.approx(error, rel=1e-4)


def test_a_step_is_the_least_squares_solution_on_both_sides():
    W, X = problem(3)
    V = np.random.default_rng(3).standard_normal((2, 9))
    U, better = bilateral_step(W, X @ X.T, V)
    np.testing.assert_allclose(U.T @ U, np.eye(2), atol=1e-12)
    best = np.linalg.lstsq((V @ X).T, (W @ X).T, rcond=None)[0].T  # the span of U
    np.testing.assert_allclose(U @ (U.T @ best), best, atol=1e-8 * np.abs(best).max())
    np.testing.assert_allclose(better, np.linalg.lstsq(U, W, rcond=None)[0], atol=1e-10)


@pytest.mark.parametrize("n_kept", [1, 7, 20])
def test_the_largest_entries_are_those_of_a_sort(n_kept):
    rng = np.random.default_rng(n_kept)
    Z, weight = rng.standard_normal((4, 5)), rng.random(5)
    kept = largest_entries(Z, weight, n_kept=n_kept)
    worth = np.sort((Z**2 * weight).ravel())[::-1]
    assert np.count_nonzero(kept) == n_kept
    assert ((kept**2 * weight)[kept != 0] >= worth[n_kept - 1]).all()
    assert (kept[kept != 0] == Z[kept != 0]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bilateral_step(np.ones((3, 2)), np.eye(3), np.ones((1, 2))), "shapes must be"),
        (lambda: bilateral_step(np.ones((3, 2)), np.eye(2), np.ones((1, 3))), "shapes must be"),
        (lambda: bilateral_step(np.ones(2), np.eye(2), np.ones((1, 2))), "shapes must be"),
        (lambda: next(greedy_rounds(np.ones((3, 2)), np.eye(3), rank=1, n_kept=1)), "shapes must be"),
        (lambda: next(greedy_rounds(np.ones((3, 2)), np.eye(2), rank=3, n_kept=1)), "rank must be"),
        (lambda: next(greedy_rounds(np.ones((3, 2)), np.eye(2), rank=1, n_kept=7)), "n_kept must be"),
        (lambda: largest_entries(np.ones((2, 2)), np.ones(2), n_kept=0), "n_kept must be"),
        (lambda: largest_entries(np.ones((2, 2)), np.ones(2), n_kept=5), "n_kept must be"),
    ],
)
def test_parts_of_the_algorithm_refuse_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_low_rank_alone_is_the_truncated_svd():
    W, _ = problem(1)
    parts = grebdec(W, rank=3, density=0.0, tol=1e-12, n_iter_max=500)
    assert parts.nnz == 0
    assert parts.error_bound == pytest.approx(truncated_svd(W, rank=3).error_bound, rel=1e-6)


def test_low_rank_alone_with_data_is_the_truncated_svd_in_the_metric_of_the_data():
    W, X = problem(2)
    C = np.linalg.cholesky(gram(9, X))
    parts = grebdec(W, X, rank=2, density=0.0, tol=1e-13, n_iter_max=2000)
    assert parts.error_bound == pytest.approx(truncated_svd(W @ C, rank=2).error_bound, rel=1e-5)


def test_sparse_alone_keeps_the_largest_entries():
    W, _ = problem(3)
    parts = grebdec(W, rank=0, density=0.25)
    kept = np.sort(np.abs(W).ravel())[-parts.nnz :]
    assert parts.nnz == int(0.25 * W.size)
    np.testing.assert_allclose(np.sort(np.abs(parts.S.data)), kept)


def test_full_density_leaves_no_error():
    W, X = problem(4)
    assert grebdec(W, rank=0, density=1.0).error_bound == 0
    assert grebdec(W, X, rank=9, density=0.1, n_iter_max=100).error_bound < 1e-6 * np.linalg.norm(W)


def test_planted_parts_are_found():
    rng = np.random.default_rng(7)
    L = np.outer(rng.standard_normal(40), rng.standard_normal(30))
    S = np.zeros((40, 30))
    S.ravel()[rng.choice(1200, 24, replace=False)] = 8.0
    parts = grebdec(L + S, rank=1, density=0.02, n_iter_max=300, tol=1e-12)
    assert (set(zip(*parts.S.nonzero(), strict=True))) == set(zip(*S.nonzero(), strict=True))
    np.testing.assert_allclose(parts.to_tensor(), L + S, atol=1e-3)


def test_inputs_that_never_vary_take_no_sparse_weights():
    W, X = problem(5)
    X[4] = 0
    parts = grebdec(W, X, rank=1, density=0.2)
    assert not parts.S.toarray()[:, 4].any()


# --- the trained layer ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fc1():
    """The weight of LeNet-300-100's first layer, and inputs around their mean."""
    W = nets.load("lenet-300-100").fc1.weight.detach().double().numpy()
    X = mnist("train", source="offline")[:1000].tensors()[0].flatten(1).double().numpy()
    return W, (X - X.mean(axis=0)).T


@pytest.mark.parametrize("data", [False, True])
def test_on_the_trained_layer_both_beat_either_at_equal_numbers(fc1, data):
    """An eighth of the numbers: rank 27 alone, 12.5 % alone, or rank 20 and the rest sparse."""
    W, X = fc1
    budget, given = W.size // 8, {"n_iter_max": 8}
    X = X if data else None
    both = grebdec(W, X, rank=20, density=(budget - 20 * 1084) / W.size, **given)
    low = grebdec(W, X, rank=27, density=0.0, **given)
    spiky = grebdec(W, X, rank=0, density=budget / W.size, **given)
    assert both.n_params <= budget
    assert low.n_params <= budget
    assert both.error_bound < min(low.error_bound, spiky.error_bound)


# --- the layer -----------------------------------------------------------------------------------------------------


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(20, 12)


def test_the_layer_equals_its_dense_form(layer):
    made = LowRankSparseLinear.from_linear(layer, rank=3, density=0.1)
    x = torch.randn(2, 5, 20)
    assert made(x).shape == (2, 5, 12)
    torch.testing.assert_close(made(x), made.to_dense()(x))
    assert (made.rank, made.nnz) == (3, 24)


def test_at_full_density_the_layer_is_the_layer(layer):
    made = LowRankSparseLinear.from_linear(layer, rank=1, density=1.0)
    x = torch.randn(5, 20)
    torch.testing.assert_close(made(x), layer(x), atol=1e-5, rtol=1e-5)


def test_the_bias_takes_up_the_mean(layer):
    data = 3 + torch.randn(400, 20)
    made = LowRankSparseLinear.from_linear(layer, data, rank=2, density=0.05)
    torch.testing.assert_close(made(data).mean(0), layer(data).mean(0), atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_weight_and_places_stay(layer):
    made = LowRankSparseLinear.from_linear(layer, rank=2, density=0.1)
    places = made.columns.clone()
    x, goal = torch.randn(30, 20), torch.randn(30, 12)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (made(x) - goal).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())
    assert torch.equal(made.columns, places)


def test_the_sparse_gradient_is_that_of_a_masked_dense_weight(layer):
    made = LowRankSparseLinear.from_linear(layer, rank=2, density=0.1)
    x = torch.randn(6, 20)
    made(x).square().sum().backward()
    dense = made.to_dense()
    dense(x).square().sum().backward()
    rows, columns = made.sparse_weight().detach().to_dense().nonzero().T
    torch.testing.assert_close(made.values.grad, dense.weight.grad[rows, columns], atol=1e-4, rtol=1e-4)


def test_what_a_call_costs_is_counted(layer):
    made = LowRankSparseLinear.from_linear(layer, rank=3, density=0.1)
    assert count(nn.Sequential(made), torch.zeros(1, 20)).macs == 3 * (20 + 12) + 24


def test_compress_save_and_load(tmp_path):
    model = nets.load("lenet-300-100")
    x = mnist("test", source="offline")[:200].tensors()[0]
    inputs = layer_inputs(model, x, names=["fc2"])["fc2"]
    plan = {"fc2": LowRankSparseScheme(rank=4, density=0.05, data=inputs)}
    made, report = compress(model, plan, example_inputs=x[:1])
    save_compressed(made, tmp_path / "small.safetensors")
    again = load_compressed(tmp_path / "small.safetensors")
    torch.testing.assert_close(again(x), made(x))
    assert report.parameters_ratio > 1.1
    assert report.bytes_ratio > 1.1


def test_a_state_dict_round_trip_is_exact(layer):
    made = LowRankSparseLinear.from_linear(layer, rank=3, density=0.1)
    other = LowRankSparseLinear(**made.config())
    other.load_state_dict(copy.deepcopy(made.state_dict()), strict=True)
    x = torch.randn(4, 20)
    assert torch.equal(other(x), made(x))


def test_without_a_bias(layer):
    plain = nn.Linear(20, 12, bias=False)
    made = LowRankSparseLinear.from_linear(plain, torch.randn(50, 20), rank=2, density=0.1)
    assert made.second.bias is None


def test_bytes_count_weights_and_places():
    parts = LowRankSparse(np.ones((4, 1)), np.ones((1, 3)), sparse.csr_array(np.eye(4, 3)))
    assert parts.n_params == 10
    assert parts.n_bytes() == 10 * 4 + 3 * 2
    assert parts.n_bytes(bits=8, index_bits=4) == 12  # 92 bits
    np.testing.assert_allclose(parts.matmul(np.arange(3.0)), parts.to_tensor() @ np.arange(3.0))
    assert LowRankSparse(np.ones((4, 0)), np.ones((0, 3)), parts.S).error_bound is None


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rank": 0, "density": 0.0}, "rank and density must not both leave nothing"),
        ({"rank": 1.0, "density": 0.1}, "rank must be an integer"),
        ({"rank": 4, "density": 0.1}, "rank must be between 0 and 3"),
        ({"rank": 1, "density": 1.1}, "density must be between 0 and 1"),
        ({"rank": 1, "density": float("nan")}, "density must be between 0 and 1"),
        ({"rank": 1, "density": 0.5, "rank_step": 0}, "rank_step must be at least 1"),
        ({"rank": 1, "density": 0.5, "n_power_iter": 0}, "n_power_iter must be at least 1"),
        ({"rank": 1, "density": 0.5, "n_iter_max": 0}, "n_iter_max must be at least 1"),
        ({"rank": 1, "density": 0.5, "tol": -1}, "tol must be at least 0"),
        ({"rank": 1, "density": 0.5, "X": np.ones((4, 2))}, "X must have 3 rows"),
        ({"rank": 1, "density": 0.5, "X": np.zeros((3, 2))}, "must not be zero"),
        ({"rank": 1, "density": 0.5, "X": np.full((3, 2), np.nan)}, "X must"),
    ],
)
def test_bad_arguments_of_grebdec(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        grebdec(np.ones((5, 3)), **given)


@pytest.mark.parametrize("W", [np.ones(3), np.full((2, 2), np.inf), np.empty((0, 3))])
def test_a_bad_matrix(W):
    with pytest.raises(ValueError, match="W must"):
        grebdec(W, rank=1, density=0.5)


def test_parts_that_do_not_fit():
    S = sparse.csr_array(np.eye(4, 3))
    for U, V in (np.ones((4, 1)), np.ones((2, 3))), (np.ones((3, 1)), np.ones((1, 3))), (np.ones(4), np.ones((1, 3))):
        with pytest.raises(ValueError, match="U, V, S must have shapes"):
            LowRankSparse(U, V, S)
    parts = LowRankSparse(np.ones((4, 1)), np.ones((1, 3)), S)
    with pytest.raises(ValueError, match="x must have shape"):
        parts.matmul(np.ones(4))
    with pytest.raises(ValueError, match="bits must be at least 1"):
        parts.n_bytes(bits=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rank": 0, "nnz": 1}, "rank must be between 1 and 4"),
        ({"rank": 2, "nnz": 0}, "nnz must be between 1 and 24"),
        ({"rank": 2, "nnz": 25}, "nnz must be between 1 and 24"),
        ({"rank": 2, "nnz": 2.0}, "nnz must be an integer"),
    ],
)
def test_bad_arguments_of_the_layer(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LowRankSparseLinear(6, 4, **given)


def test_bad_layers_and_data(layer):
    with pytest.raises(TypeError, match="layer must be Linear"):
        LowRankSparseScheme(rank=1, density=0.1).apply(nn.Conv2d(2, 2, 3))
    with pytest.raises(ValueError, match="rank must be between 1 and 12"):
        LowRankSparseLinear.from_linear(layer, rank=0, density=0.1)
    with pytest.raises(ValueError, match=r"data must have shape \(..., 20\)"):
        LowRankSparseLinear.from_linear(layer, torch.ones(5, 3), rank=1, density=0.1)
    with pytest.raises(TypeError, match="data must be Tensor"):
        LowRankSparseLinear.from_linear(layer, np.ones((5, 20)), rank=1, density=0.1)
    with pytest.raises(ValueError, match="nnz must be between 1"):
        LowRankSparseLinear.from_linear(layer, rank=1, density=0.0)

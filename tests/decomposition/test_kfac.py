"""K-FAC is exact where its assumption holds, and only there."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.decomposition import KroneckerFisher, fisher_block, fisher_samples, kfac_factors, unvec, vec


def independent(n=3, m=2, seed=0):
    """Every input with every gradient once: a and g are independent in this set of examples."""
    rng = np.random.default_rng(seed)
    a, g = rng.standard_normal((5, n)), rng.standard_normal((4, m))
    return np.repeat(a, 4, axis=0), np.tile(g, (5, 1))


def test_exact_for_independent_inputs_and_gradients():
    a, g = independent()
    np.testing.assert_allclose(kfac_factors(a, g).to_tensor(), fisher_block(a, g), atol=1e-12)


def test_exact_for_one_example():
    a, g = np.array([[1.0, 2.0, 3.0]]), np.array([[4.0, 5.0]])
    np.testing.assert_allclose(kfac_factors(a, g).to_tensor(), fisher_block(a, g), atol=1e-12)


def test_not_exact_for_dependent_ones():
    a = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert not np.allclose(kfac_factors(a, a).to_tensor(), fisher_block(a, a))


def test_the_inverse_is_the_product_of_the_inverses():
    fisher = kfac_factors(*independent())
    inverse = np.kron(np.linalg.inv(fisher.A), np.linalg.inv(fisher.G))
    np.testing.assert_allclose(np.linalg.inv(fisher.to_tensor()), inverse, rtol=1e-8)


def test_step_solves_with_the_exact_block():
    a, g = independent()
    D = np.random.default_rng(1).standard_normal((2, 3))
    expected = unvec(np.linalg.solve(fisher_block(a, g), vec(D)), (2, 3))
    np.testing.assert_allclose(kfac_factors(a, g).step(D), expected, atol=1e-8)


def test_damping_is_split_between_the_factors():
    fisher, D = kfac_factors(*independent()), np.ones((2, 3))
    A, G = fisher.factors
    pi = np.sqrt((np.trace(A) / 3) / (np.trace(G) / 2))
    damped = np.kron(A + pi * 0.2 * np.eye(3), G + 0.2 / pi * np.eye(2))
    np.testing.assert_allclose(vec(fisher.step(D, damping=0.04)), np.linalg.solve(damped, vec(D)), atol=1e-10)
    huge = fisher.step(D, damping=1e12)
    np.testing.assert_allclose(huge * 1e12, D, rtol=1e-4)  # a plain gradient step, scaled


def test_protocol():
    fisher, x = kfac_factors(*independent()), np.arange(6.0)
    np.testing.assert_allclose(fisher.matmul(x), fisher.to_tensor() @ x, atol=1e-12)
    assert (fisher.rank, fisher.n_params, repr(fisher)) == (1, 13, "KroneckerFisher(A=(3, 3), G=(2, 2), n_params=13)")


def test_samples_are_the_gradients_that_autograd_finds():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 5)), torch.randn(6, 4)
    a, g = fisher_samples(model, x, layer="0", random_state=3)
    np.testing.assert_allclose(a[:, :-1], x.numpy(), atol=1e-6)
    assert (a[:, -1] == 1).all()
    p = model(x).detach().softmax(1).double().numpy()
    u = np.random.default_rng(3).uniform(size=(6, 1))
    labels = torch.as_tensor((p.cumsum(1) < u * p.sum(1, keepdims=True)).sum(1))
    nn.functional.cross_entropy(model(x), labels, reduction="sum").backward()
    np.testing.assert_allclose(g.T @ a[:, :-1], model[0].weight.grad.numpy(), atol=1e-5)
    np.testing.assert_allclose(g.sum(0), model[0].bias.grad.numpy(), atol=1e-5)


def test_samples_for_a_layer_without_bias_and_a_fixed_seed():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 3, bias=False)), torch.randn(6, 4)
    first, second = (fisher_samples(model, x, layer="0", random_state=1) for _ in range(2))
    assert first[0].shape == (6, 4)
    np.testing.assert_array_equal(first[1], second[1])
    assert all(p.grad is None for p in model.parameters())


def test_labels_are_drawn_from_the_model():
    """With the two scores equal, the gradients of the bias are +-1/2, each about half of the time."""
    model = nn.Sequential(nn.Linear(1, 2))
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    _, g = fisher_samples(model, torch.ones(400, 1), layer="0", random_state=0)
    np.testing.assert_allclose(np.abs(g), 0.5)
    assert 0.4 < (g[:, 0] > 0).mean() < 0.6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kfac_factors(np.ones((3, 2)), np.ones((2, 2))), "equally many rows"),
        (lambda: kfac_factors(np.ones(3), np.ones((3, 2))), "inputs must have 2 dimensions"),
        (lambda: kfac_factors(np.ones((3, 2)), np.full((3, 2), np.inf)), "gradients must be finite"),
        (lambda: fisher_block(np.ones((0, 2)), np.ones((0, 2))), "inputs must not be empty"),
        (lambda: KroneckerFisher(np.ones((2, 3)), np.eye(2)), "A must be square"),
        (lambda: KroneckerFisher(np.eye(3), np.ones((1, 2))), "G must be square"),
        (lambda: kfac_factors(*independent()).step(np.ones((3, 2))), r"gradient must have shape \(2, 3\)"),
        (lambda: kfac_factors(*independent()).step(np.ones((2, 3)), damping=-1), "damping must be at least 0"),
        (lambda: fisher_samples(nn.Sequential(nn.Linear(2, 2)), torch.ones(1, 2), layer="1"), "must be one of"),
        (lambda: fisher_samples(nn.Sequential(nn.Conv2d(1, 1, 1)), torch.ones(1, 1, 1, 1), layer="0"), "Linear"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

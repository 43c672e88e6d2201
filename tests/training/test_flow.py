"""Gradient descent, the flow that it follows, and the decay of the cost along it."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

from labkit.training import Quadratic, energy_decay, euler, euler_step, gradient_flow


def quadratic(seed, d=4):
    rng = np.random.default_rng(seed)
    M = rng.standard_normal((d, d))
    return Quadratic(M @ M.T + 0.1 * np.eye(d), rng.standard_normal(d)), rng.standard_normal(d)


SEEDS = st.integers(0, 1000)


@given(SEEDS)
def test_the_gradient_is_the_slope_of_the_cost(seed):
    C, theta = quadratic(seed)
    h = 1e-6
    slopes = [(C.cost(theta + h * e) - C.cost(theta - h * e)) / (2 * h) for e in np.eye(4)]
    assert C.gradient(theta) == pytest.approx(slopes, abs=1e-5)
    assert C.gradient(C.minimizer) == pytest.approx(np.zeros(4), abs=1e-6)
    assert C.cost(theta) >= C.cost(C.minimizer)
    assert C.condition_number == pytest.approx(np.linalg.cond(C.A))


@given(SEEDS)
def test_the_exact_flow_is_the_matrix_exponential(seed):
    C, theta = quadratic(seed)
    expected = C.minimizer + expm(-0.7 * C.A) @ (theta - C.minimizer)
    assert C.flow(theta, [0.0, 0.7]) == pytest.approx(np.array([theta, expected]), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_solver_follows_the_exact_flow(seed):
    C, theta = quadratic(seed)
    times = np.linspace(0, 3, 7)
    assert gradient_flow(theta, C.gradient, times=times) == pytest.approx(C.flow(theta, times), abs=1e-6)


def test_the_solver_copes_with_a_stiff_flow():
    C = Quadratic(np.diag([1.0, 1e4]))
    assert gradient_flow([1.0, 1.0], C.gradient, times=[0.0, 1.0])[1] == pytest.approx([np.exp(-1), 0], abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_halving_the_step_halves_the_error(seed):
    C, theta = quadratic(seed)
    end, errors = C.flow(theta, [1.0])[0], []
    for n in (2000, 4000):
        walk = euler(theta, C.gradient, learning_rate=1 / n, n_steps=n)
        errors.append(np.linalg.norm(walk[-1] - end))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)


@given(SEEDS)
def test_the_cost_decays_with_the_square_of_the_gradient(seed):
    C, theta = quadratic(seed)
    theta = theta / np.linalg.norm(theta)
    assert abs(energy_decay(C.cost, C.gradient, theta)) < 1e-4
    costs = [C.cost(point) for point in C.flow(theta, np.linspace(0, 2, 20))]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(costs))


def test_energy_decay_sees_a_wrong_gradient():
    C = Quadratic(np.eye(2))
    assert abs(energy_decay(C.cost, lambda theta: 2 * C.gradient(theta), [1.0, 0.0])) > 1


def test_euler_step_keeps_the_shape():
    theta = np.arange(6.0).reshape(2, 3)
    assert euler_step(theta, lambda t: 2 * t, learning_rate=0.25).tolist() == (theta / 2).tolist()
    assert euler(theta, lambda t: t, learning_rate=0.1, n_steps=0).shape == (1, 2, 3)
    assert theta.tolist() == np.arange(6.0).reshape(2, 3).tolist()


def test_times_at_zero_and_twice():
    C = Quadratic(np.eye(2))
    assert gradient_flow([1.0, 2.0], C.gradient, times=[0.0, 0.0]).tolist() == [[1, 2], [1, 2]]
    assert repr(C) == "Quadratic(d=2, condition_number=1)"


BOWL = Quadratic(np.eye(2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Quadratic(np.ones((2, 3))), ValueError, "A must be symmetric"),
        (lambda: Quadratic(np.array([[1.0, 2.0], [0.0, 1.0]])), ValueError, "A must be symmetric"),
        (lambda: Quadratic(-np.eye(2)), ValueError, "A must be positive definite"),
        (lambda: Quadratic(np.eye(2), np.ones(3)), ValueError, "b must fit it"),
        (lambda: Quadratic(np.full((2, 2), np.nan)), ValueError, "A must be finite"),
        (lambda: BOWL.cost([1.0]), ValueError, r"theta must have shape \(2,\)"),
        (lambda: BOWL.flow([1.0, 1.0], [-1.0]), ValueError, "times must be at least 0"),
        (lambda: euler_step([1.0], "slope", learning_rate=1), TypeError, "gradient must be callable"),
        (lambda: euler_step([1.0], lambda t: t, learning_rate=-1), ValueError, "learning_rate must be at least 0"),
        (lambda: euler_step([], lambda t: t, learning_rate=1), ValueError, "theta must not be empty"),
        (lambda: euler_step([1.0], lambda t: [1.0, 2.0], learning_rate=1), ValueError, "must have the shape"),
        (lambda: euler_step([1.0], lambda t: [np.nan], learning_rate=1), ValueError, "must be finite"),
        (lambda: euler([1.0], lambda t: t, learning_rate=1, n_steps=1.0), TypeError, "n_steps must be an integer"),
        (
            lambda: euler([1.0], lambda t: -t, learning_rate=1e200, n_steps=9),
            FloatingPointError,
            "try a learning_rate below",
        ),
        (lambda: gradient_flow([[1.0]], lambda t: t, times=[1.0]), ValueError, "theta must have 1 dim"),
        (lambda: gradient_flow([1.0], lambda t: t, times=[1.0, 0.5]), ValueError, "times must rise"),
        (lambda: gradient_flow([1.0], lambda t: t, times=[]), ValueError, "times must not be empty"),
        (lambda: energy_decay(BOWL.cost, BOWL.gradient, [1.0, 1.0], dt=0), ValueError, "dt must be above 0"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()

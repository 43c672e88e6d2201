"""Straight-through estimators: values, gradients, windows, probabilities, bad input."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labkit.quantization.estimators import (
    binarize,
    binarize_stochastic,
    round_through,
    sign,
    straight_through,
    ternarize,
)

VALUES = hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-3, 3, width=32))
ESTIMATORS = {
    "binarize": binarize,
    "stochastic": lambda x, **kw: binarize_stochastic(x, random_state=0, **kw),
    "ternarize": lambda x, **kw: ternarize(x, delta=0.5, **kw),
}


def gradient(function, values):
    x = torch.tensor(values, requires_grad=True)
    weights = torch.arange(1.0, x.numel() + 1)
    (function(x) * weights).sum().backward()
    return x.grad / weights


@pytest.mark.parametrize("function", ESTIMATORS.values(), ids=ESTIMATORS)
@given(values=VALUES)
def test_the_gradient_passes_exactly_where_abs_x_is_at_most_one(function, values):
    assert torch.equal(gradient(function, values), torch.from_numpy((abs(values) <= 1).astype(np.float32)))


@pytest.mark.parametrize("function", ESTIMATORS.values(), ids=ESTIMATORS)
def test_the_edges_of_the_window_belong_to_it(function):
    edges = torch.tensor([-1.0, 1.0, math.nextafter(1, 2), -1.0000002])
    assert gradient(function, edges.tolist()).tolist() == [1, 1, 1, 0]  # the third rounds to 1.0 in single precision
    assert gradient(lambda x: function(x, window=2.0), [-2.0, 1.5, 2.1]).tolist() == [1, 1, 0]
    assert gradient(lambda x: function(x, window=math.inf), [-1e9]).tolist() == [1]


@given(values=VALUES)
def test_binarisation_knows_no_third_value_and_zero_is_positive(values):
    expected = np.where(values < 0, -1, 1)
    assert np.array_equal(binarize(torch.from_numpy(values)), expected)
    assert np.array_equal(sign(torch.from_numpy(values)), expected)
    assert sign(torch.tensor([0.0, -0.0])).tolist() == [1, 1]


def test_the_sign_lets_no_gradient_through():
    assert not sign(torch.ones(3, requires_grad=True)).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test_the_dtype_stays(dtype):
    x = torch.tensor([-0.5, 0.5], dtype=dtype)
    for function in [sign, round_through, *ESTIMATORS.values()]:
        assert function(x).dtype == dtype


def test_stochastic_binarisation_has_the_clipped_input_as_its_mean():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.3, 1.0]).repeat(40_000, 1)
    mean = binarize_stochastic(x, random_state=0).mean(0)
    assert torch.allclose(mean, torch.tensor([-1.0, -0.5, 0.0, 0.3, 1.0]), atol=0.02)  # 4 standard errors
    assert (mean[0], mean[-1]) == (-1, 1)  # outside the window nothing is random


def test_stochastic_binarisation_draws_from_its_own_seed_or_from_torchs_stream():
    x = torch.zeros(100)
    assert torch.equal(binarize_stochastic(x, random_state=1), binarize_stochastic(x, random_state=1))
    assert not torch.equal(binarize_stochastic(x, random_state=1), binarize_stochastic(x, random_state=2))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = binarize_stochastic(x)
        torch.manual_seed(5)
        assert torch.equal(first, binarize_stochastic(x))


def test_ternary_takes_one_threshold_or_one_per_filter():
    x = torch.tensor([[-0.9, 0.5, 0.2], [-0.9, 0.5, 0.2]])
    assert ternarize(x, delta=torch.tensor([[0.1], [0.6]])).tolist() == [[-1, 1, 1], [-1, 0, 0]]
    assert torch.equal(ternarize(x, delta=0.0), sign(x))
    assert ternarize(torch.zeros(2), delta=0.0).tolist() == [0, 0]


def test_rounding_clips_and_stops_the_gradient_outside():
    assert round_through(torch.tensor([-4.0, 0.5, 1.5, 9.0]), low=0, high=3).tolist() == [0, 0, 2, 3]
    assert gradient(lambda x: round_through(x, low=0, high=3), [-0.1, 0.0, 3.0, 3.1]).tolist() == [0, 1, 1, 0]
    assert gradient(round_through, [-100.0, 0.2]).tolist() == [1, 1]


def test_the_general_estimator_returns_what_it_is_given_and_leaves_it_alone():
    x, q = torch.tensor([0.2, 5.0], requires_grad=True), torch.tensor([7.0, 8.0], requires_grad=True)
    out = straight_through(x, q, high=1)
    assert out.tolist() == [7, 8]
    out.sum().backward()
    assert (x.grad.tolist(), q.grad) == ([1, 0], None)


@pytest.mark.parametrize("function", [sign, binarize, binarize_stochastic, round_through])
def test_bad_tensors_are_refused(function):
    with pytest.raises(TypeError, match="x must be Tensor"):
        function(np.ones(3))
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got dtype torch\.int64"):
        function(torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="x must not hold NaN, got 1"):
        function(torch.tensor([0.0, math.nan]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: binarize(x, window=0), "window must be above 0, got 0"),
        (lambda x: binarize(x, window=math.nan), "window must be a number, infinity allowed, got nan"),
        (lambda x: ternarize(x, delta=-0.1), "delta must be at least 0, got -0.1"),
        (lambda x: ternarize(x, delta=math.nan), "delta must be a number, infinity allowed, got nan"),
        (lambda x: round_through(x, low=1, high=0), "low must be at most high, got low=1.0, high=0.0"),
        (lambda x: straight_through(x, x, low=1, high=0), "low must be at most high"),
        (lambda x: straight_through(x, torch.zeros(3)), r"q must have the shape of x, \(2,\), got \(3,\)"),
        (lambda x: binarize_stochastic(x, random_state=-1), "random_state must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2))

"""Uniform quantization: half a step of error, exact zeros, unbiased random rounding, and every bad argument."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from labkit.quantization import Quantized, affine, integer_range, saturate, stochastic, symmetric, uniform

VALUES = arrays(np.float64, array_shapes(max_dims=3, max_side=6), elements=st.floats(-100, 100, width=32))
BITS = st.integers(2, 10)
METHODS = {"uniform": uniform, "affine": affine, "symmetric": symmetric, "stochastic": stochastic}


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@settings(max_examples=60, deadline=None)
@given(VALUES, BITS)
@pytest.mark.parametrize("method", ["uniform", "affine", "symmetric"])
def test_the_error_is_at_most_half_a_step(method, x, bits):
    made = METHODS[method](x, bits=bits)
    slack = 1e-9 * (1 + np.abs(x).max())
    assert np.abs(made.to_tensor() - x).max() <= made.error_bound + slack


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_deterministic_quantization_is_the_formula_of_the_lecture(bits):
    """alpha Q_k((X - beta) / alpha) + beta with Q_k(t) = round((2^k - 1) t) / (2^k - 1)."""
    x = gaussian(50, 3)
    alpha, beta, n = x.max() - x.min(), x.min(), 2**bits - 1
    expected = alpha * np.round(n * (x - beta) / alpha) / n + beta
    made = uniform(x, bits=bits)
    np.testing.assert_allclose(made.to_tensor(), expected, atol=1e-12)
    assert made.error_bound == pytest.approx(alpha / (2 * n))


@pytest.mark.parametrize("method", ["uniform", "affine", "symmetric"])
def test_quantizing_twice_changes_nothing(method):
    first = METHODS[method](gaussian(400), bits=6)
    second = METHODS[method](first.to_tensor(), bits=6)
    assert np.array_equal(first.integers, second.integers)
    np.testing.assert_allclose(first.to_tensor(), second.to_tensor(), atol=1e-12)


def test_eight_bits_take_a_quarter_of_float32():
    x = gaussian(100, 100).astype(np.float32)
    made = uniform(x)
    assert made.integers.dtype == np.uint8
    assert made.n_bytes == x.nbytes / 4 + 8
    assert uniform(x, bits=4).n_bytes == x.nbytes / 8 + 8


def test_256_levels_are_255_steps():
    made = uniform(np.linspace(0, 1, 10_001))
    assert len(np.unique(made.integers)) == 256
    assert made.scale == pytest.approx(1 / 255)


@pytest.mark.parametrize("signed", [False, True])
def test_affine_stores_zero_exactly_and_agrees_with_torch(signed):
    x = gaussian(300) + 0.7
    x[0] = 0
    made = affine(x, signed=signed)
    assert made.to_tensor()[0] == 0
    assert made.zero_point == np.rint(made.zero_point)
    low, high = integer_range(8, signed=signed, narrow=False)
    theirs = torch.fake_quantize_per_tensor_affine(
        torch.tensor(x).float(), float(made.scale), int(made.zero_point), low, high
    )
    np.testing.assert_allclose(made.to_tensor(), theirs, atol=1e-5)


def test_affine_holds_zero_even_if_the_data_do_not():
    made = affine([2.0, 3.0])
    assert (made.integers.min() - made.zero_point) * made.scale > 0
    assert made.zero_point == 0
    assert affine([1.0, 2.0], low=-1.0, high=1.0).to_tensor() == pytest.approx([1.0, 1.0], abs=0.01)


def test_per_channel_agrees_with_torch_and_is_better():
    w = gaussian(6, 20) * 10.0 ** np.arange(-3, 3)[:, None]
    whole, channels = symmetric(w, bits=8), symmetric(w, bits=8, axis=0)
    theirs = torch.fake_quantize_per_channel_affine(
        torch.tensor(w).float(), torch.tensor(channels.scale.ravel()).float(), torch.zeros(6), 0, -127, 127
    )
    np.testing.assert_allclose(channels.to_tensor(), theirs, rtol=1e-5, atol=1e-9)
    errors = [np.linalg.norm((made.to_tensor() - w)[0]) / np.linalg.norm(w[0]) for made in (whole, channels)]
    assert errors[0] == 1
    assert errors[1] < 0.01


def test_the_axis_may_be_counted_from_the_end():
    x = gaussian(3, 4)
    assert np.array_equal(affine(x, axis=-1).integers, affine(x, axis=1).integers)


def test_stochastic_rounding_is_unbiased():
    """The mean of 100,000 draws is within four standard errors; rounding to the nearest is not."""
    x, n = np.array([0.0, 0.3, 0.55, 0.9, 1.0]), 100_000
    draws = stochastic(np.tile(x, (n, 1)), bits=2, random_state=0).to_tensor()  # (n, 5)
    standard_error = draws.std(axis=0) / math.sqrt(n)
    assert (np.abs(draws.mean(axis=0) - x) <= 4 * standard_error + 1e-12).all()
    assert np.abs(uniform(x, bits=2).to_tensor() - x).max() > 0.03


def test_stochastic_rounding_takes_one_of_the_two_neighbours():
    x = gaussian(1000)
    made = stochastic(x, bits=3, random_state=1)
    assert (np.abs(made.to_tensor() - x) < made.scale * (1 + 1e-9)).all()
    assert np.array_equal(made.integers, stochastic(x, bits=3, random_state=1).integers)
    assert not np.array_equal(made.integers, stochastic(x, bits=3, random_state=2).integers)


@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.5])
def test_what_saturates_is_the_tail(threshold):
    x = gaussian(20_000)
    clipped, fraction = saturate(x, threshold=threshold)
    assert fraction == np.mean(np.abs(x) > threshold)
    assert fraction == pytest.approx(math.erfc(threshold / math.sqrt(2)), abs=0.01)
    assert np.abs(clipped).max() == threshold
    integers = symmetric(x, threshold=threshold).integers
    assert np.mean(np.abs(integers) == 127) >= fraction


def test_symmetric_integers_have_no_minus_128():
    assert symmetric([-1.0, 0.0, 1.0]).integers.tolist() == [-127, 0, 127]
    assert symmetric([0.0, 0.5, 1.0], signed=False).integers.tolist() == [0, 128, 255]


def test_constants_are_kept():
    for method in METHODS.values():
        assert method([[0.0, 0.0]]).to_tensor().tolist() == [[0, 0]]
    assert uniform([3.0, 3.0]).to_tensor().tolist() == [3, 3]


def test_float32_tensors_and_the_printed_form():
    made = symmetric(torch.ones(2, 3), bits=4, axis=0)
    assert repr(made) == "Quantized(shape=(2, 3), bits=4, signed=True, channels=2)"
    assert made.n_params == 6
    assert made.integers.dtype == np.int8
    assert symmetric(np.ones(2), bits=12).integers.dtype == np.int16


BAD_X = {"empty": np.ones(0), "NaN": [np.nan], "infinite": [np.inf], "text": ["a"], "complex": [1j]}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("x", BAD_X.values(), ids=BAD_X)
def test_bad_arrays(method, x):
    with pytest.raises((TypeError, ValueError), match="x must"):
        method(x)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bits": 0}, "bits must be between"),
        ({"bits": 17}, "bits must be between"),
        ({"bits": 8.0}, "bits must be an integer"),
        ({"bits": True}, "bits must be an integer"),
        ({"axis": 2}, "axis must be between"),
        ({"axis": 0.5}, "axis must be an integer"),
        ({"random_state": -1, "rounding": "stochastic"}, "random_state must be at least"),
    ],
)
def test_bad_arguments(method, given, message):
    if method is stochastic:
        given = {k: v for k, v in given.items() if k != "rounding"}
    with pytest.raises((TypeError, ValueError), match=message):
        method(gaussian(3, 4), **given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniform([1.0], rounding="up"), "rounding must be one of"),
        (lambda: symmetric([1.0], threshold=0), "threshold must be above 0"),
        (lambda: symmetric([1.0], threshold=float("nan")), "threshold must be"),
        (lambda: symmetric([-1.0], signed=False), "x must not be negative"),
        (lambda: symmetric([1.0], signed=1), "signed must be True or False"),
        (lambda: symmetric([1.0], bits=1), "bits must be between 2"),
        (lambda: affine([1.0], signed="yes"), "signed must be True or False"),
        (lambda: affine([1.0], low=float("inf")), "low must be"),
        (lambda: saturate([1.0], threshold=-1.0), "threshold must be"),
        (lambda: saturate([], threshold=1.0), "x must not be empty"),
        (lambda: integer_range(1, signed=True), "bits must be between 2"),
        (lambda: Quantized(np.ones(3), np.ones(()), np.zeros(()), 8), "integers must have an integer type"),
        (lambda: Quantized(np.ones(3, int), np.ones(2), np.zeros(2), 8), "broadcast"),
        (lambda: Quantized(np.ones(3, int), np.ones(()), np.zeros(3), 8), "broadcast"),
    ],
)
def test_other_bad_calls(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

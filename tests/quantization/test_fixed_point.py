"""Fixed point: powers of two as scales, the best radix point, and a network whose requantization is a shift."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from labkit import nets
from labkit.datasets import mnist
from labkit.quantization import (
    collect,
    dynamic_fixed_point,
    fixed_point,
    fold_requantize,
    radix_point,
    sqnr,
)
from labkit.training import evaluate


def gaussian(n, scale=1.0, seed=0):
    return scale * np.random.default_rng(seed).standard_normal(n)


@pytest.mark.parametrize("fraction", [-3, 0, 4, 12])
def test_the_numbers_are_multiples_of_the_unit(fraction):
    x = gaussian(500, 2.0**3)
    made = fixed_point(x, bits=8, fraction=fraction)
    y = made.to_tensor() * 2.0**fraction
    assert np.array_equal(y, np.round(y))
    assert np.abs(y).max() <= 127
    inside = np.abs(x) * 2.0**fraction <= 127
    assert np.abs(made.to_tensor() - x)[inside].max(initial=0) <= 2.0**-fraction / 2


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_the_search_finds_the_highest_sqnr(bits, scale):
    x = gaussian(4000, scale)
    found = radix_point(x, bits=bits)
    exact = {f: sqnr(x, fixed_point(x, bits=bits, fraction=f).to_tensor()) for f in range(-16, 24)}
    assert exact[found.fraction] >= max(exact.values()) - 0.05  # the search sees a histogram
    assert found.best == max(found.sqnr)
    assert found.best == pytest.approx(exact[found.fraction], abs=0.1)


def test_a_factor_of_two_moves_the_radix_point_by_one():
    x = gaussian(4000)
    found = radix_point(x, bits=6).fraction
    assert radix_point(2 * x, bits=6).fraction == found - 1
    assert radix_point(x / 8, bits=6).fraction == found + 3


def test_a_bit_is_worth_six_decibels():
    x = np.linspace(-1, 1, 20_001)
    gains = np.diff([radix_point(x, bits=b).best for b in range(4, 9)])
    assert gains == pytest.approx(20 * math.log10(2), abs=0.7)


def test_positive_numbers_need_no_sign():
    x = np.abs(gaussian(4000))
    assert radix_point(x, bits=8).best > radix_point(x, bits=8, signed=True).best + 3


def test_sqnr_of_nothing_and_of_everything():
    assert sqnr([1.0, 2.0], [1.0, 2.0]) == math.inf
    assert sqnr([0.0], [1.0]) == -math.inf
    assert sqnr([1.0, 1.0], [0.0, 0.0]) == 0


@pytest.fixture(scope="module")
def lenet():
    return nets.load("lenet-5")


@pytest.fixture(scope="module")
def batches():
    return mnist("train", source="offline")[:250].tensors()[0].split(25)


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_dynamic_is_at_least_as_good_as_static(lenet, batches, bits):
    test = mnist("test", source="offline")
    dynamic, static = (dynamic_fixed_point(lenet, batches, bits=bits, static=s) for s in (False, True))
    assert len(set(dynamic.data.values())) > 1
    assert len(set(static.data.values())) == len(set(static.weights.values())) == 1
    assert evaluate(dynamic.model, test).accuracy >= evaluate(static.model, test).accuracy


def test_every_requantization_is_a_shift_and_folding_is_exact(lenet, batches):
    made = dynamic_fixed_point(lenet, batches, bits=8)
    folded = fold_requantize(made.model)
    for name in ("conv1", "conv2", "fc1"):
        multiplier, shift = folded.get_submodule(name).multipliers()
        assert (multiplier == 2**21).all()
        assert (shift > 21).all()
    x = batches[0]
    assert torch.equal(folded(x), made.model(x.double()))


def test_the_radix_points_are_those_of_the_search(lenet, batches):
    made = dynamic_fixed_point(lenet, batches, bits=5)
    weight = lenet.fc1.weight
    assert made.weights["fc1"] == radix_point(collect(weight), bits=5, signed=True).fraction
    assert float(made.model.fc1.weight_scale[0]) == 2.0 ** -made.weights["fc1"]
    assert float(made.model.fc1.input_scale) == 2.0 ** -made.data["fc1"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_point([1.0], bits=1, fraction=0), "bits must be between 2"),
        (lambda: fixed_point([1.0], bits=8, fraction=0.5), "fraction must be an integer"),
        (lambda: fixed_point([1.0], bits=8, fraction=65), "fraction must be between"),
        (lambda: fixed_point([np.nan], bits=8, fraction=0), "x must be finite"),
        (lambda: fixed_point([1.0], bits=8, fraction=0, signed=0), "signed must be True or False"),
        (lambda: sqnr([1.0, 2.0], [1.0]), "approximation must have the shape"),
        (lambda: sqnr([], []), "x must not be empty"),
        (lambda: radix_point([1.0], bits=0), "bits must be between"),
        (lambda: radix_point(["a"], bits=8), "x must hold real numbers"),
        (lambda: radix_point([1.0], bits=8, signed="no"), "signed must be True or False"),
        (lambda: dynamic_fixed_point(nn.Linear(2, 2), torch.ones(1, 2), bits=9), "bits must be between"),
        (lambda: dynamic_fixed_point(nn.ReLU(), torch.ones(1, 2)), "must hold a linear or convolutional layer"),
        (lambda: dynamic_fixed_point(None, torch.ones(1, 2)), "model must be Module"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

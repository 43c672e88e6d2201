"""Incremental network quantization: levels, rounding rule, partitions, frozen weights, bad input."""

import math
from itertools import pairwise

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labkit.quantization import (
    INQ,
    PowerOfTwoWeight,
    finalize,
    inq_partition,
    power_codes,
    power_levels,
    power_values,
    to_powers,
)
from labkit.training import fit

WEIGHTS = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-4, 4)).filter(np.any)


@given(st.floats(1e-6, 1e6), st.integers(2, 8))
def test_levels_are_zero_and_signed_powers_of_two(largest, bits):
    levels = power_levels(largest, bits=bits)
    assert len(levels) == 2 ** (bits - 1) + 1
    assert np.array_equal(levels, np.sort(levels))
    assert np.array_equal(levels, -levels[::-1])
    exponents = np.log2(levels[levels > 0])
    assert np.array_equal(exponents, exponents.round())
    assert np.all(np.diff(exponents) == 1)
    assert 2 / 3 * levels[-1] * (1 - 1e-12) <= 0.75 * levels[-1] <= largest < 1.5 * levels[-1] * (1 + 1e-12)


def test_the_numbers_of_the_paper():
    """b = 3 with n1 = -1 gives n2 = -2, the paper's example; 5 bits are 16 powers and zero."""
    assert power_levels(0.5, bits=3).tolist() == [-0.5, -0.25, 0, 0.25, 0.5]
    assert len(power_levels(1.0, bits=5)) == 17
    assert power_levels(1.0, bits=2).tolist() == [-1, 0, 1]


@given(WEIGHTS.filter(lambda w: np.abs(w).max() > 1e-20), st.integers(2, 8))
def test_codes_say_zero_sign_and_exponent(w, bits):
    w = to_powers(w, bits=bits)
    n1 = math.frexp(np.abs(w).max())[1] - 1
    codes = power_codes(w, bits=bits, exponent=n1)
    assert codes.max() < 2**bits
    np.testing.assert_array_equal(power_values(codes, bits=bits, exponent=n1), w.astype(np.float32))
    np.testing.assert_array_equal(codes >> bits - 1, w != 0)
    np.testing.assert_array_equal(codes >> bits - 2 & 1, w < 0)


def by_the_paper(w, levels):
    """Equation 4: beta sgn(w) if (alpha + beta) / 2 <= abs(w) < 3 beta / 2 for neighbours alpha < beta, else 0."""
    positive = levels[levels >= 0]
    for alpha, beta in pairwise(positive):
        upper = 1.5 * beta
        if (alpha + beta) / 2 <= abs(w) < upper:
            return math.copysign(beta, w)
    return 0.0


@given(WEIGHTS, st.integers(2, 6))
def test_rounding_is_the_rule_of_the_paper_and_the_nearest_level(w, bits):
    levels = power_levels(np.abs(w).max(), bits=bits)
    got = to_powers(w, bits=bits)
    np.testing.assert_array_equal(got, [by_the_paper(x, levels) for x in w])
    np.testing.assert_allclose(np.abs(got - w), np.abs(levels[:, None] - w).min(0), atol=1e-12)


@given(WEIGHTS, st.floats(0, 1), st.sampled_from(["magnitude", "random"]))
def test_a_partition_holds_the_wanted_share_and_the_old_weights(w, portion, strategy):
    half = inq_partition(w, np.zeros(len(w), bool), portion=portion / 2, strategy=strategy, random_state=0)
    mask = inq_partition(w, half, portion=portion, strategy=strategy, random_state=1)
    assert mask.sum() == math.ceil(portion * len(w))
    assert (mask | ~half).all()
    if strategy == "magnitude" and 0 < mask.sum() < len(w):
        assert np.abs(w)[mask].min() >= np.abs(w)[~mask].max() - 1e-12


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_frozen_weights_never_change_and_end_as_powers_of_two(optimizer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    data = torch.randn(60, 12), torch.randint(3, (60,))
    inq, previous = INQ(model, ["0", "2"], bits=4), {}
    for portion in inq.steps():
        quantizers = inq.quantizers
        masks = {name: q.frozen.clone() for name, q in quantizers.items()}
        start = {name: model.get_submodule(name).weight.detach().clone() for name in quantizers}
        fit(
            model,
            data,
            epochs=2,
            learning_rate=0.05,
            weight_decay=0.1,
            optimizer=optimizer,
            random_state=0,
            progress=False,
        )
        for name, mask in masks.items():
            now = model.get_submodule(name).weight.detach()
            assert mask.float().mean() >= portion
            assert torch.equal(now[mask], start[name][mask])
            if portion < 1:
                assert not torch.equal(now[~mask], start[name][~mask])
            if name in previous:
                assert torch.equal(now[previous[name][0]], previous[name][1])
            previous[name] = mask, now[mask].clone()
    for name in inq.quantizers:
        assert set(model.get_submodule(name).weight.flatten().tolist()) <= set(inq.levels(name).tolist())
    before = model(data[0])
    finalize(model)
    assert torch.equal(model(data[0]), before)
    assert sorted(model.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"]


def test_the_state_of_a_half_quantized_network_makes_the_round_trip():
    models = [nn.Sequential(nn.Linear(6, 4)) for _ in range(2)]
    first, second = (INQ(model, ["0"], bits=3) for model in models)
    next(first.steps())
    models[1].load_state_dict(models[0].state_dict())
    assert torch.equal(models[1][0].weight, models[0][0].weight)
    assert torch.equal(second.quantizers["0"].frozen, first.quantizers["0"].frozen)
    assert second.levels("0").tolist() == first.levels("0").tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power_levels(0, bits=5), "largest must be above 0"),
        (lambda: power_levels(1, bits=1), "bits must be between 2 and 8"),
        (lambda: power_levels(1, bits=2.0), "bits must be an integer"),
        (lambda: to_powers([], bits=5), "W must not be empty"),
        (lambda: to_powers([np.nan], bits=5), "W must be finite"),
        (lambda: to_powers([0.0], bits=5), "largest must be above 0"),
        (lambda: power_codes([1.0, 0.75], bits=5, exponent=0), "W must hold 0 and powers of two with 5 bits, got 0.75"),
        (lambda: power_codes([1.0, 0.25], bits=3, exponent=0), "W must hold 0 and powers of two with 3 bits, got 0.25"),
        (lambda: power_codes([2.0], bits=3, exponent=0), "got 2"),
        (lambda: power_codes([1.0], bits=9, exponent=0), "bits must be between 2 and 8"),
        (lambda: power_codes([1.0], bits=5, exponent=0.5), "exponent must be an integer"),
        (lambda: power_codes([np.nan], bits=5, exponent=0), "W must be finite"),
        (lambda: power_values([7], bits=5, exponent=0), "codes must be 0 or between 16 and 31, got 7"),
        (lambda: power_values([32], bits=5, exponent=0), "codes must be 0 or between 16 and 31, got 32"),
        (lambda: power_values([16.5], bits=5, exponent=0), "got 16.5"),
        (lambda: power_values([], bits=5, exponent=0), "codes must not be empty"),
        (lambda: inq_partition([1.0], [0], portion=0.5), "frozen must be a boolean mask"),
        (lambda: inq_partition([1.0], [False], portion=2), "portion must be between 0 and 1"),
        (lambda: inq_partition([1.0, 2.0], [True, True], portion=0.5), "portion must be at least the 1 frozen"),
        (lambda: inq_partition([1.0], [False], portion=1, strategy="best"), "strategy must be one of"),
        (lambda: INQ(nn.Sequential(nn.Linear(2, 2)), ["0"], portions=(0.5, 0.9)), "portions must rise and end at 1"),
        (lambda: INQ(nn.Sequential(nn.Linear(2, 2)), ["0"], portions=(0.5, 0.5, 1)), "portions must rise"),
        (lambda: INQ(nn.Sequential(nn.Linear(2, 2)), ["0"]).levels("1"), "layer must be one of"),
        (lambda: PowerOfTwoWeight(torch.zeros(2)), "largest weight must be above 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

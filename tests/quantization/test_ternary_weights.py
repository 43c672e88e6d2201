"""Ternary weights: thresholds and scales against brute force, gradients of TTQ, packing, bad input."""

import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import nn

from labkit.quantization import (
    TernaryWeight,
    TrainedTernaryWeight,
    finalize,
    optimal_threshold,
    pack_codes,
    quantize_weights,
    row_scaled,
    ternary_errors,
    ttq_gradients,
    twn,
    twn_threshold,
    unpack_codes,
)

WEIGHTS = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-5, 5))
SMALL = hnp.arrays(np.float64, st.integers(1, 7), elements=st.integers(-4, 4).map(float))


@given(SMALL)
def test_the_optimal_threshold_beats_every_ternary_vector(w):
    """All 3^n supports and signs, each with its own least-squares scale."""
    best = np.inf
    for codes in itertools.product((-1, 0, 1), repeat=len(w)):
        t = np.array(codes)
        alpha = t @ w / max(1, t @ t)
        best = min(best, np.linalg.norm(w - alpha * t))
    assert twn(w, threshold=optimal_threshold(w)).error == pytest.approx(best, abs=1e-9)


@given(WEIGHTS, st.floats(0, 5))
def test_the_scale_is_the_least_squares_scale_of_its_support(w, threshold):
    made = twn(w, threshold=threshold)
    t = made.codes.astype(float)
    expected = np.linalg.lstsq(t[:, None], w, rcond=None)[0][0]
    assert made.scale == pytest.approx(expected, abs=1e-12)
    assert made.error == pytest.approx(np.linalg.norm(w - made.to_tensor()))


def test_tiny_weights_do_not_underflow():
    assert ternary_errors([3e-200, -1e-200], [0.0, 2e-200]).round(4).tolist() == [0.4472, 0.3162]
    assert optimal_threshold([3e-200, -1e-200]) == 1e-200


@given(WEIGHTS)
def test_optimal_is_at_most_twn_and_binary(w):
    optimal = twn(w, threshold=optimal_threshold(w)).error
    assert optimal <= twn(w).error + 1e-9
    assert optimal**2 <= row_scaled(w).residual + 1e-9


def test_the_rule_of_thumb_can_lose_to_binary():
    """The mean of these weights is 1: the rule drops the small ones, which their signs fit better."""
    w = np.repeat([0.69, 1.31], 9)
    assert twn(w).sparsity == 0.5
    assert twn(w).error ** 2 > 2 * row_scaled(w).residual
    assert twn(w, threshold=optimal_threshold(w)).error ** 2 == pytest.approx(row_scaled(w).residual)


@pytest.mark.parametrize(
    ("distribution", "factor"), [(stats.uniform(0, 1), 2 / 3), (stats.halfnorm(), 0.7671), (stats.expon(), 1.0)]
)
def test_the_best_factors_of_known_distributions(distribution, factor):
    """The best threshold over mean abs(w): maximise (E abs(w) over the support)^2 / P(support); 0.7 lies between."""

    def minus_gain(d):
        return -(distribution.expect(lambda x: x, lb=d, ub=distribution.ppf(1 - 1e-12)) ** 2) / distribution.sf(d)

    best = optimize.minimize_scalar(minus_gain, bounds=(0.01, distribution.ppf(0.99)), method="bounded").x
    assert best / distribution.mean() == pytest.approx(factor, abs=2e-3)
    sample = distribution.ppf((np.arange(100_000) + 0.5) / 100_000)
    assert optimal_threshold(sample) / sample.mean() == pytest.approx(factor, abs=1e-2)


@given(WEIGHTS.filter(lambda w: np.abs(w).max() > 1e-100), st.lists(st.floats(0, 6), min_size=1, max_size=9))
def test_the_curve_is_the_error_of_each_threshold(w, thresholds):
    errors = [twn(w, threshold=t).error / np.linalg.norm(w) for t in thresholds]
    np.testing.assert_allclose(ternary_errors(w, thresholds), errors, atol=1e-7)


def test_known_answers():
    made = twn([0.9, -1.1, 0.1, 0.0])
    assert made.codes.tolist() == [1, -1, 0, 0]
    assert made.codes.dtype == np.int8
    assert made.scale == pytest.approx(1.0)
    assert made.sparsity == 0.5
    assert made.factors == (made.scale, made.codes)
    assert made.n_bits == 2 * 4 + 32
    assert made.threshold == twn_threshold([0.9, -1.1, 0.1, 0.0]) == pytest.approx(0.7 * 0.525)
    assert repr(made) == "Ternary(shape=(4,), scale=1, sparsity=0.500)"
    zeros = twn(np.zeros(3))
    assert zeros.to_tensor().tolist() == [0, 0, 0]


def test_matmul_is_the_product_of_the_approximation():
    rng = np.random.default_rng(0)
    made, x = twn(rng.standard_normal((6, 9))), rng.standard_normal((9, 4))
    np.testing.assert_allclose(made.matmul(x), made.to_tensor() @ x)
    with pytest.raises(ValueError, match="x must have 9 rows"):
        made.matmul(np.ones(6))


@given(hnp.arrays(np.int8, hnp.array_shapes(max_dims=3, max_side=5), elements=st.integers(-1, 1)))
def test_packing_is_exact_and_takes_two_bits(codes):
    packed = pack_codes(codes)
    assert packed.nbytes == -(-codes.size // 4)
    assert np.array_equal(unpack_codes(packed, shape=codes.shape), codes)


def test_the_quantizer_is_twn_with_an_identity_gradient():
    weight = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    made = TernaryWeight()(weight)
    np.testing.assert_allclose(made.detach(), twn(weight).to_tensor(), rtol=1e-6)
    g = torch.arange(40.0).view(8, 5)
    made.backward(g)
    assert torch.equal(weight.grad, g)


@given(WEIGHTS.filter(np.any), st.floats(0, 0.9), st.integers(0, 99))
def test_ttq_has_the_gradients_of_the_paper(w, t, seed):
    """Autograd through the module against the sums over the supports."""
    weight = torch.tensor(w, requires_grad=True)
    quantizer = TrainedTernaryWeight(weight.detach(), t=t)
    g = torch.from_numpy(np.random.default_rng(seed).standard_normal(len(w)))
    quantizer(weight).backward(g)
    Wp, Wn = quantizer.Wp.item(), quantizer.Wn.item()
    expected = ttq_gradients(g, weight, Wp=Wp, Wn=Wn, t=t)
    np.testing.assert_allclose(weight.grad, expected[0], atol=1e-6)
    got = [0.0 if p.grad is None else p.grad.item() for p in (quantizer.Wp, quantizer.Wn)]
    np.testing.assert_allclose(got, expected[1:], atol=1e-5)


def test_the_gradients_of_the_scales_are_true_derivatives():
    w, g = np.array([1.0, -2.0, 0.01, 3.0]), np.array([0.3, -0.7, 1.0, 2.0])

    def loss(Wp, Wn):
        d = 0.05 * 3.0
        return g @ (Wp * (w > d) - Wn * (w < -d))

    _, gp, gn = ttq_gradients(g, w, Wp=1.0, Wn=2.0)
    assert gp == pytest.approx((loss(1.1, 2) - loss(0.9, 2)) / 0.2)
    assert gn == pytest.approx((loss(1, 2.1) - loss(1, 1.9)) / 0.2)


def test_ttq_takes_three_values_and_learns_two_scales():
    model = nn.Sequential(nn.Linear(30, 20))
    quantize_weights(model, ["0"], TrainedTernaryWeight)
    names = [name for name, _ in model.named_parameters()]
    assert sum("Wp" in name or "Wn" in name for name in names) == 2
    values = model[0].weight.unique()
    assert len(values) == 3
    assert values[1] == 0


def test_a_layer_with_a_quantizer_trains_and_is_finalized():
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))
    made = quantize_weights(model, ["0"], TernaryWeight)
    assert list(made) == ["0"]
    model(torch.ones(1, 6)).sum().backward()
    assert model[0].parametrizations.weight.original.grad.abs().sum() > 0
    before = model[0].weight.detach().clone()
    finalize(model)
    assert sorted(model.state_dict()) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("bad", [[], [np.nan], ["a"], [1j]])
@pytest.mark.parametrize("function", [twn, twn_threshold, optimal_threshold, pack_codes])
def test_weights_that_are_no_numbers_are_refused(function, bad):
    with pytest.raises((TypeError, ValueError), match=r"W|codes"):
        function(bad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: twn([1.0], threshold=-1), "threshold must be at least 0"),
        (lambda: twn([1.0], threshold="a"), "threshold must be a number"),
        (lambda: ternary_errors([1.0], [-1.0]), "thresholds must be at least 0"),
        (lambda: ternary_errors([0.0], [1.0]), "W not 0"),
        (lambda: pack_codes([2]), "codes must be -1, 0 or 1, got 2"),
        (lambda: unpack_codes(np.zeros(1, np.uint8), shape=(5,)), "packed must be 2 bytes"),
        (lambda: unpack_codes(np.array([3], np.uint8), shape=(1,)), "got a fourth"),
        (lambda: TrainedTernaryWeight(torch.ones(2), t=1), "t must be below 1"),
        (lambda: TrainedTernaryWeight(torch.ones(2, dtype=torch.int64)), "floating-point"),
        (lambda: TernaryWeight(torch.tensor([torch.nan])), "weight must be finite"),
        (lambda: ttq_gradients([1.0], [1.0, 2.0], Wp=1, Wn=1), "gradient must have the shape"),
        (lambda: ttq_gradients([1.0], [1.0], Wp="x", Wn=1), "Wp must be a number"),
        (lambda: quantize_weights(nn.Linear(1, 1), "a", TernaryWeight), "layers must be a list"),
        (lambda: quantize_weights(nn.Linear(1, 1), [], TernaryWeight), "layers must hold at least one name"),
        (lambda: quantize_weights(nn.Sequential(nn.Linear(1, 1)), ["1"], TernaryWeight), "must be one of 1 names"),
        (lambda: finalize(3), "model must be Module"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_second_quantizer_is_refused():
    model = nn.Sequential(nn.Linear(2, 2))
    quantize_weights(model, ["0"], TernaryWeight)
    with pytest.raises(ValueError, match="must not have a quantizer yet, got '0'"):
        quantize_weights(model, ["0"], TernaryWeight)

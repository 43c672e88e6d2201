"""Tang's recipe, the distribution loss, loss-aware binarisation and QNN: gradients, known answers, bad input."""

import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labkit.quantization import (
    DistributionPenalty,
    LossAwareBinarizer,
    QuantizedActivation,
    ScaleLayer,
    SignActivation,
    activation_levels,
    bipolar_penalty,
    distribution_loss,
    float_weight,
    loss_aware_scale,
    proximal_newton_step,
    quantize_activation,
    quantize_weights,
    row_scaled,
)
from labkit.training import fit

FLOATS = st.floats(-3, 3)


def small(n):
    return hnp.arrays(np.float64, n, elements=FLOATS)


CURVATURES = st.integers(1, 8).flatmap(
    lambda n: st.tuples(small(n), small(n), hnp.arrays(np.float64, n, elements=st.floats(0.1, 5)))
)


# the recipe


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-1, 1, width=32)), st.floats(0, 2))
def test_the_penalty_has_the_gradient_minus_two_lambda_w(values, weight):
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].weight.data = torch.from_numpy(values)
    loss = bipolar_penalty(["0"], weight=weight)(model)
    assert loss.item() == pytest.approx(weight * (12 - (values.astype(float) ** 2).sum()), abs=1e-4)
    loss.backward()
    np.testing.assert_allclose(model[0].weight.grad, -2 * weight * values, atol=1e-6)


def test_the_penalty_draws_weights_to_the_ends():
    model = nn.Sequential(nn.Linear(4, 3, bias=False))
    x = torch.zeros(8, 4), torch.zeros(8, dtype=torch.int64)  # zero inputs: only the penalty acts
    before = model[0].weight.detach().abs().mean()
    penalty = bipolar_penalty(["0"], weight=0.1)
    fit(model, x, epochs=5, learning_rate=0.05, regularizer=penalty, random_state=0, progress=False)
    assert model[0].weight.abs().mean() > before


def test_the_penalty_reaches_the_float_weights_behind_a_quantizer():
    model = nn.Sequential(nn.Linear(4, 3))
    quantize_weights(model, ["0"], LossAwareBinarizer)
    bipolar_penalty(["0"], weight=1.0)(model).backward()
    original = float_weight(model[0])
    torch.testing.assert_close(original.grad, -2 * original.detach())


def test_the_scale_layer_starts_at_a_thousandth_and_learns():
    layer = ScaleLayer()
    assert layer.scale.item() == pytest.approx(0.001)
    x = torch.tensor([[2.0, -3.0]])
    layer(x).sum().backward()
    assert layer.scale.grad.item() == pytest.approx(-1)


def test_without_the_scale_the_softmax_of_binary_sums_is_blind():
    """Sums of 500 signs, some right and some wrong: with the scale every wrong example teaches, without it few do."""
    sums = torch.tensor([[400.0, -400.0]], requires_grad=True)
    nn.functional.cross_entropy(sums, torch.tensor([0])).backward()
    assert sums.grad.abs().max() == 0
    sums.grad = None
    nn.functional.cross_entropy(ScaleLayer()(sums), torch.tensor([0])).backward()
    assert sums.grad.abs().max() > 1e-4


# the distribution loss


def spread(mean, std, n=1000):
    x = torch.linspace(-1, 1, n)
    x = (x - x.mean()) / x.std(correction=0)
    return (mean + std * x)[:, None]


@pytest.mark.parametrize(
    ("mean", "std", "terms"),
    [
        (0.0, 3.0, (0, 0, 0)),  # well spread
        (2.0, 2.0, (0, 0, 0)),
        (3.0, 1.0, (8, 0, 0)),  # degenerate: nearly all signs equal
        (0.0, 5.0, (0, 1, 0)),  # saturated
        (0.0, 0.5, (0, 0, 2.25)),  # all inside of the window
        (-0.5, 0.5, (0, 0, 1)),
        (-3.0, 0.0, (9, 0, 0)),
    ],
)
def test_the_three_terms(mean, std, terms):
    made = distribution_loss(spread(mean, std))
    got = [made.degeneration.item(), made.saturation.item(), made.mismatch.item()]
    np.testing.assert_allclose(got, terms, atol=2e-4)
    assert made.total.item() == pytest.approx(sum(terms), abs=3e-4)


@given(st.floats(-6, 6), st.floats(0, 6))
def test_the_loss_is_never_negative_and_does_not_mind_the_sign(mean, std):
    one, other = distribution_loss(spread(mean, std)), distribution_loss(spread(-mean, std))
    assert one.total.item() >= 0
    assert one.total.item() == pytest.approx(other.total.item(), abs=1e-3)


def test_channels_are_averaged_and_images_count_all_pixels():
    images = torch.stack([spread(3.0, 1.0).view(10, 10, 10), spread(0.0, 3.0).view(10, 10, 10)], dim=1)
    assert distribution_loss(images).total.item() == pytest.approx(4, abs=1e-3)  # 8 in one channel of two


def test_a_constant_channel_has_a_gradient():
    x = torch.full((5, 2), 3.0, requires_grad=True)
    distribution_loss(x).total.backward()
    assert x.grad.isfinite().all()
    assert (x.grad > 0).all()  # away from one side


def test_the_penalty_spreads_a_degenerate_layer():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(200, 5, generator=generator), torch.randint(2, (200,), generator=generator)
    model = nn.Sequential(nn.Linear(5, 4), SignActivation(), nn.Linear(4, 2))
    model[0].bias.data += 6
    before = distribution_loss(model[0](data[0])).total.item()
    penalty = DistributionPenalty(model, ["0"])
    fit(model, data, epochs=20, learning_rate=0.1, regularizer=penalty, random_state=0, progress=False)
    penalty.remove()
    assert distribution_loss(model[0](data[0])).total.item() < before / 10
    with pytest.raises(RuntimeError, match="must run before"):
        penalty(model)


# loss-aware binarisation


@given(small(6))
def test_with_equal_curvature_it_is_the_scale_of_xnor_net(w):
    assert loss_aware_scale(w, np.full(6, 2.0)) == pytest.approx(row_scaled(w).scale[0])


@given(CURVATURES)
def test_the_step_minimises_the_quadratic_model_over_all_signs_and_scales(case):
    """Brute force over the 2^n sign vectors, each with its own best scale of at least 0."""
    c, g, d = case
    w = c - g / d
    made = proximal_newton_step(c, g, d)

    def model(v):
        return g @ (v - c) + 0.5 * (d * (v - c) ** 2).sum()

    best = np.inf
    for signs in itertools.product((-1.0, 1.0), repeat=len(c)):
        b = np.array(signs)
        best = min(best, model(max(0.0, (d * w * b).sum() / d.sum()) * b))
    assert model(made) == pytest.approx(best, abs=1e-8)


@given(CURVATURES, st.floats(0.1, 2))
def test_from_binary_weights_the_step_lowers_the_model_or_stays(case, alpha):
    c, g, d = case
    current = alpha * np.where(c < 0, -1.0, 1.0)
    step = proximal_newton_step(current, g, d) - current
    assert g @ step + 0.5 * (d * step**2).sum() <= 1e-9


def test_the_curvature_is_that_of_adam():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4, bias=False))
    [quantizer] = quantize_weights(model, ["0"], LossAwareBinarizer).values()
    original = float_weight(model[0])
    optimizer = torch.optim.Adam([original], lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(8, 5)).square().sum().backward()
        optimizer.step()
    state = optimizer.state[original]
    torch.testing.assert_close(quantizer.v, state["exp_avg_sq"])
    torch.testing.assert_close(quantizer.curvature, (state["exp_avg_sq"] / (1 - 0.999**5)).sqrt() + 1e-8)
    scale = loss_aware_scale(original, quantizer.curvature)
    assert model[0].weight.abs().unique().tolist() == pytest.approx([scale], rel=1e-5)


def test_evaluation_leaves_the_curvature_alone():
    quantizer = LossAwareBinarizer(torch.ones(3)).eval()
    quantizer(torch.ones(3, requires_grad=True)).sum().backward()
    assert quantizer.n_steps == 0
    assert quantizer.curvature.tolist() == [1, 1, 1]


# QNN


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=FLOATS), st.integers(1, 6))
def test_activations_go_to_the_nearest_level(x, bits):
    levels, q = activation_levels(bits), quantize_activation(x, bits=bits)
    np.testing.assert_allclose(
        np.abs(q - np.clip(x, -1, 1)), np.abs(levels[:, None] - np.clip(x, -1, 1)).min(0), atol=1e-9
    )
    assert np.abs(levels[:, None] - q).min(0).max() < 1e-12


def test_two_bits_are_exactly_four_levels_and_one_bit_is_the_sign():
    x = torch.linspace(-2, 2, 4001)
    assert len(QuantizedActivation(bits=2)(x).unique()) == 4
    np.testing.assert_allclose(QuantizedActivation(bits=2)(x).unique(), [-1, -1 / 3, 1 / 3, 1], rtol=1e-6)
    assert torch.equal(QuantizedActivation(bits=1)(x), SignActivation()(x))
    assert quantize_activation([0.0, -0.0], bits=1).tolist() == [1, 1]


def test_two_bits_are_two_planes_of_signs():
    """q = (2 s1 + s0) / 3: a product with q is two XNOR-popcount products."""
    made = {(2 * a + b) / 3 for a in (-1, 1) for b in (-1, 1)}
    np.testing.assert_allclose(sorted(made), activation_levels(2))


def test_the_activation_is_the_function_with_the_window_of_a_sign():
    x = torch.tensor([-1.5, -1.0, 0.2, 1.0, 1.01], requires_grad=True)
    y = QuantizedActivation(bits=3)(x)
    y.sum().backward()
    np.testing.assert_allclose(y.detach(), quantize_activation(x, bits=3), rtol=1e-6)
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


MODEL = nn.Sequential(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bipolar_penalty("0"), "layers must be a list"),
        (lambda: bipolar_penalty([]), "layers must hold at least one name"),
        (lambda: bipolar_penalty(["0"], weight=-1), "weight must be at least 0"),
        (lambda: bipolar_penalty(["7"])(MODEL), "must be one of"),
        (lambda: float_weight(nn.ReLU()), "layer must have a weight"),
        (lambda: ScaleLayer(np.nan), "start must be"),
        (lambda: distribution_loss(torch.ones(3)), "x must be"),
        (lambda: distribution_loss(torch.ones(3, 1, dtype=torch.int64)), "floating-point"),
        (lambda: distribution_loss(torch.full((3, 1), torch.nan)), "finite"),
        (lambda: distribution_loss(torch.ones(0, 2)), "not empty"),
        (lambda: distribution_loss([1.0]), "x must be Tensor"),
        (lambda: DistributionPenalty(MODEL, []), "modules must hold at least one name"),
        (lambda: DistributionPenalty(MODEL, ["norm"]), "modules must be one of"),
        (lambda: DistributionPenalty(MODEL, ["0"], weight=-1), "weight must be at least 0"),
        (lambda: loss_aware_scale([1.0], [0.0]), "curvature must have shape"),
        (lambda: loss_aware_scale([1.0], [1.0, 2.0]), "curvature must have shape"),
        (lambda: loss_aware_scale([], []), "W must not be empty"),
        (lambda: proximal_newton_step([1.0], [1.0, 2.0], [1.0]), "gradient must have the shape"),
        (lambda: LossAwareBinarizer(torch.ones(2), beta2=1.0), "beta2 must be below 1"),
        (lambda: LossAwareBinarizer(torch.ones(2), eps=0), "eps must be above 0"),
        (lambda: quantize_activation([np.nan], bits=2), "x must be finite"),
        (lambda: activation_levels(9), "bits must be between 1 and 8"),
        (lambda: QuantizedActivation(bits=0), "bits must be between"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

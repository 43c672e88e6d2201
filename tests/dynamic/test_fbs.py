"""Feature boosting and suppression: the laws of the layer, and gathered execution against the masked one."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from labkit.cost import count
from labkit.dynamic import (
    DensityAnnealing,
    FBSConv2d,
    macs_ran,
    multiply_adds_per_image,
    n_winners,
    penalty,
    set_boosting,
    set_density,
    set_execution,
    skip_probabilities,
    subsample,
    winners,
)

GATHERED = ("image", "group", "batch")


def random_norm(channels, seed=0):
    """A batch norm with statistics, scales of both signs, and shifts."""
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(channels)
    norm.weight.data = torch.randn(channels, generator=generator)
    norm.bias.data = torch.randn(channels, generator=generator)
    norm.running_mean = torch.randn(channels, generator=generator)
    norm.running_var = torch.rand(channels, generator=generator) + 0.2
    return norm


def layer(density=0.5, boosting=True, seed=0, **options):
    made = FBSConv2d(6, 8, 3, padding=1, density=density, boosting=boosting, random_state=seed, **options)
    made._take(nn.Conv2d(6, 8, 3, bias=False), random_norm(8), 1.0)
    return made.eval()


def pictures(n=5, channels=6, side=7, seed=0):
    """Pictures of which some channels are zero, other ones in each."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, channels, side, side, generator=generator)
    return x * (torch.rand(n, channels, 1, 1, generator=generator) < 0.6)


# --- the winners --------------------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.integers(1, 200))
def test_the_number_of_winners_is_the_exact_ceiling(k, channels):
    if k <= channels:
        assert n_winners(k / channels, channels) == k


def test_known_numbers_of_winners():
    assert [n_winners(d, 30) for d in (0.1, 0.101, 1, 1e-6)] == [3, 4, 30, 1]
    assert [n_winners(d, 100) for d in (0.07, 0.14, 0.55)] == [7, 14, 55]  # each product is a little larger


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.data())
def test_exactly_k_win_and_no_loser_is_larger(n, channels, data):
    k = data.draw(st.integers(1, channels))
    values = data.draw(st.lists(st.integers(0, 4), min_size=n * channels, max_size=n * channels))  # many are equal
    g = torch.tensor(values, dtype=torch.float32).reshape(n, channels)
    won = winners(g, k)
    assert won.sum(1).tolist() == [k] * n
    assert all(row[mask].min() >= max([*row[~mask].tolist(), -1]) for row, mask in zip(g, won, strict=True))


def test_among_equals_the_first_win():
    assert winners(torch.zeros(1, 4), 2).tolist() == [[True, True, False, False]]


def test_saliencies_come_from_mean_sizes():
    x = pictures()
    assert torch.allclose(subsample(x), functional.l1_loss(x, torch.zeros_like(x), reduction="none").mean((2, 3)))
    made = layer()
    made(x)
    assert torch.allclose(made.saliency, made.predictor(subsample(x)).relu())


# --- the layer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.1, 0.25, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("execution", ["masked", *GATHERED])
def test_exactly_the_winners_can_be_active(density, execution):
    made = layer(density)
    made.execution = execution
    y = made(pictures())
    assert made.chosen.sum(1).tolist() == [math.ceil(density * 8)] * 5
    assert not y.flatten(2).any(2)[~made.chosen].any()


def test_the_formula():
    made, x = layer(0.5), pictures()
    y = made(x)
    z = functional.batch_norm(made.conv(x), made.norm.running_mean, made.norm.running_var)
    for i in range(len(x)):
        g = made.predictor(x[i].abs().mean((1, 2))).relu()
        cut = g.sort(descending=True).values[3]
        pi = torch.where(g >= cut, g, 0)
        expected = torch.relu(pi[:, None, None] * (z[i] + made.beta[:, None, None]))
        assert torch.allclose(y[i], expected, atol=1e-5)


def test_without_suppression_it_is_the_boosted_dense_layer():
    made, x = layer(1.0), pictures()
    y = made(x)
    dense = made.norm(made.conv(x)) + made.beta[:, None, None]
    assert torch.allclose(y, (made.saliency[:, :, None, None] * dense).relu())


def test_without_boosting_the_winners_are_those_of_the_dense_layer():
    made, x = layer(0.5, boosting=False), pictures()
    y = made(x)
    dense = (made.norm(made.conv(x)) + made.beta[:, None, None]).relu()
    assert torch.equal(y, torch.where(made.chosen[:, :, None, None], dense, 0))


@pytest.mark.parametrize("boosting", [True, False])
def test_the_predictor_learns_in_both_modes(boosting):
    made = layer(0.5, boosting=boosting).train()
    made(pictures()).sum().backward()
    assert made.predictor.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_norm", [True, False])
def test_from_conv_changes_nothing_and_to_dense_undoes_it(bias, with_norm):
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, dilation=2, bias=bias)
    norm = random_norm(8).eval() if with_norm else None
    if norm:
        norm.weight.data[:2] = 0  # two channels that are only their shift
    x = pictures(side=11)
    expected = (norm(conv(x)) if norm else conv(x)).relu()
    made = FBSConv2d.from_conv(conv, norm).eval()
    assert torch.allclose(made(x), expected, atol=1e-5)
    assert torch.allclose(made.to_dense()(x), expected, atol=1e-5)


def test_from_conv_copies():
    conv, norm = nn.Conv2d(6, 8, 3), random_norm(8)
    before = copy.deepcopy([*conv.state_dict().values(), *norm.state_dict().values()])
    with torch.no_grad():
        for p in FBSConv2d.from_conv(conv, norm).parameters():
            p.add_(1)
    after = [*conv.state_dict().values(), *norm.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_state_goes_round():
    made, other = layer(), layer(seed=3)
    other.load_state_dict(made.state_dict(), strict=True)
    assert torch.equal(made(pictures()), other(pictures()))


def test_it_can_be_copied_after_a_step_of_training():
    made = layer().train()
    made(pictures()).sum().backward()
    again = copy.deepcopy(made)
    assert not again.saliency.requires_grad
    assert torch.equal(again.eval()(pictures()), made.eval()(pictures()))


def test_seeds_fix_the_weights():
    first, second, third = (FBSConv2d(6, 8, 3, random_state=seed).predictor.weight for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


# --- computing only what is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize("execution", GATHERED)
@pytest.mark.parametrize("boosting", [True, False])
@settings(deadline=None, max_examples=15)
@given(
    density=st.floats(0.05, 1.0),
    n=st.integers(1, 6),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_gathered_equals_masked(execution, boosting, density, n, stride, padding, dilation, seed):
    conv = nn.Conv2d(6, 8, 3, stride, padding, dilation)
    made = FBSConv2d.from_conv(conv, random_norm(8), density=density, boosting=boosting, spread=1, random_state=seed)
    made.eval()
    x = pictures(n, seed=seed)
    expected = made(x)
    made.execution = execution
    assert torch.allclose(made(x), expected, atol=1e-5)


@pytest.mark.parametrize("execution", GATHERED)
def test_a_picture_of_zeros(execution):
    made, x = layer(), torch.zeros(2, 6, 7, 7)
    expected = made(x)
    made.execution = execution
    assert torch.allclose(made(x), expected, atol=1e-6)
    assert expected.any(), "the shifts still show"


def chain(density):
    first = FBSConv2d(6, 10, 3, padding=1, density=density, random_state=0)
    second = FBSConv2d(10, 8, 3, padding=1, stride=2, density=density, random_state=1)
    return nn.Sequential(first, nn.MaxPool2d(2), second).eval()


@pytest.mark.parametrize("execution", ["masked", *GATHERED])
def test_the_count_is_that_of_the_operations_that_ran(execution):
    model, x = chain(0.4), pictures(9, side=12)
    set_execution(model, execution)
    _, ran = macs_ran(model, x)  # torch's own counter looks at every convolution and product that is called
    assert int(multiply_adds_per_image(model).sum()) == ran
    assert count(model, x).macs == ran // 9


def test_two_layers_save_quadratically():
    model, x = chain(0.5), torch.rand(1, 6, 12, 12)
    set_execution(model, "image")
    model(x)
    first, second = (layer.ran.item() - layer.predictor.weight.numel() for layer in (model[0], model[2]))
    assert first == 6 * 5 * 9 * 12 * 12
    assert second <= 5 * 4 * 9 * 3 * 3


def test_training_is_always_masked():
    made = layer().train()
    made.execution = "batch"
    made(pictures())
    assert made.ran.tolist() == [6 * 8 * 9 * 49 + 48] * 5


# --- networks and training ----------------------------------------------------------------------------------------


def test_density_and_boosting_of_a_network():
    model = chain(1.0)
    set_density(model, 0.2), set_boosting(model, False)
    assert [(m.n_active, m.boosting) for m in (model[0], model[2])] == [(2, False), (2, False)]


def test_the_penalty_is_the_mean_sum_of_saliencies():
    model, x = chain(0.5), pictures(side=12)
    assert float(penalty(model)) == 0
    model(x)
    expected = sum(m.saliency.sum() / 5 for m in (model[0], model[2]))
    assert torch.allclose(penalty(model), expected)


def test_the_density_falls_in_training_only():
    model, objective = nn.Sequential(chain(1.0), nn.Flatten()), DensityAnnealing(0.4, n_steps=3, weight=1e-3)
    x, y = pictures(4, side=12), torch.tensor([0, 1, 2, 3])
    seen = []
    for training in (True, False, True, True, True, True):
        model.train(training)
        loss = objective(model, x, y)
        seen.append(round(model[0][0].density, 4))
    assert seen == [1.0, 0.8, 0.8, 0.6, 0.4, 0.4]
    model.train()
    loss = objective(model, x, y)
    assert torch.allclose(loss, functional.cross_entropy(model(x), y) + 1e-3 * penalty(model))


def test_skip_probabilities():
    made, x, labels = layer(0.25), pictures(30), torch.arange(30) % 3
    skips = skip_probabilities(made, x, labels, n_classes=3, batch_size=7)[""]
    assert torch.allclose(skips.sum(1), torch.full((3,), 6.0))  # 6 of 8 channels are skipped for each picture
    made(x)
    assert torch.allclose(skips[1], (~made.chosen[1::3]).float().mean(0))


def test_skip_probabilities_keep_the_mode():
    made = layer(0.25).train()
    skip_probabilities(made, pictures(4), torch.tensor([0, 1, 0, 1]), n_classes=2)
    assert made.training


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0, -0.5, 1.5, math.nan])
def test_a_bad_density(density):
    for call in (lambda: FBSConv2d(2, 2, 3, density=density), lambda: set_density(layer(), density)):
        with pytest.raises(ValueError, match="density must be"):
            call()
    with pytest.raises(ValueError, match="density must be"):
        n_winners(density, 4)
    with pytest.raises(ValueError, match="density must be"):
        DensityAnnealing(density, n_steps=1)


BAD = [
    (lambda: FBSConv2d(0, 2, 3), ValueError, "in_channels must be between 1 and 2147483647, got 0"),
    (lambda: FBSConv2d(2, 2, 3, density="1"), TypeError, "density must be a number"),
    (lambda: FBSConv2d(2, 2, 3, boosting=1), TypeError, "boosting must be bool, got int"),
    (lambda: FBSConv2d.from_conv(nn.Linear(2, 2)), TypeError, "conv must be Conv2d, got Linear"),
    (lambda: FBSConv2d.from_conv(nn.Conv2d(2, 2, 3, groups=2)), ValueError, "conv must have one group"),
    (lambda: FBSConv2d.from_conv(nn.Conv2d(2, 2, 3, padding="same")), ValueError, "numeric padding"),
    (lambda: FBSConv2d.from_conv(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(3)), ValueError, "norm must be affine"),
    (lambda: FBSConv2d.from_conv(nn.Conv2d(2, 2, 3), nn.ReLU()), TypeError, "norm must be BatchNorm2d"),
    (lambda: FBSConv2d.from_conv(nn.Conv2d(2, 2, 3), spread=-1), ValueError, "spread must be at least 0"),
    (lambda: layer()(torch.zeros(1, 5, 7, 7)), ValueError, r"x must be \(n, 6, H, W\)"),
    (lambda: layer()(torch.zeros(6, 7, 7)), ValueError, r"x must be \(n, 6, H, W\)"),
    (lambda: layer()(torch.zeros(0, 6, 7, 7)), ValueError, "not empty"),
    (lambda: layer()(torch.zeros(1, 6, 7, 7, dtype=torch.int64)), TypeError, "floating-point"),
    (lambda: layer()(torch.full((1, 6, 7, 7), math.nan)), ValueError, "saliency must not hold NaN"),
    (lambda: setattr(layer(), "execution", "gathered"), ValueError, "execution must be one of 4 names"),
    (lambda: FBSConv2d(2, 2, 3, padding="same"), TypeError, "padding must be an integer"),
    (lambda: FBSConv2d(2, 2, (3, 0)), ValueError, "kernel_size must be at least 1"),
    (lambda: FBSConv2d(2, 2, 3, norm={"scale": 1}), ValueError, "norm must be one of 2 names, got 'scale'"),
    (lambda: layer()(torch.zeros(1, 6, 0, 7)), ValueError, "not empty"),
    (lambda: FBSConv2d(6, 8, 3)(torch.zeros(1, 6, 2, 7)), ValueError, "x must be at least as large as the kernel"),
    (lambda: winners(torch.ones(2, 3, dtype=torch.int64), 1), TypeError, "saliency must be a floating-point tensor"),
    (lambda: DensityAnnealing(0.5, n_steps=1, loss="mse"), TypeError, "loss must be a function"),
    (lambda: winners(torch.zeros(2, 3), 4), ValueError, "k must be between 1 and 3, got 4"),
    (lambda: winners(torch.zeros(2, 3), 1.0), TypeError, "k must be an integer"),
    (lambda: winners(torch.zeros(3), 1), ValueError, r"saliency must be \(n, C\)"),
    (lambda: n_winners(0.5, 0), ValueError, "channels must be at least 1"),
    (lambda: subsample(torch.zeros(3)), ValueError, r"x must be \(n, C, H, W\)"),
    (lambda: set_density(nn.ReLU(), 0.5), ValueError, "at least one FBSConv2d"),
    (lambda: set_boosting(layer(), None), TypeError, "boosting must be bool"),
    (lambda: DensityAnnealing(0.5, n_steps=0), ValueError, "n_steps must be at least 1"),
    (lambda: DensityAnnealing(0.5, n_steps=1, weight=-1), ValueError, "weight must be at least 0"),
    (lambda: DensityAnnealing(0.5, n_steps=1, start=2), ValueError, "start must be between"),
    (lambda: DensityAnnealing(0.5, n_steps=1).at(-1), ValueError, "step must be at least 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.zeros(4), TypeError, "labels must be int64"),
        (torch.zeros(3, dtype=torch.int64), ValueError, "one entry for each of 4 pictures"),
        (torch.tensor([0, 0, 2, 2]), ValueError, "each class from 0 to 2"),
        (torch.tensor([0, 1, 2, 3]), ValueError, "each class from 0 to 2"),
        ([0, 1, 2, 0], TypeError, "labels must be Tensor"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        skip_probabilities(layer(), pictures(4), labels, n_classes=3)

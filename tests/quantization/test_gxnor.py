"""GXNOR: states, transition probabilities, no float copy, the window of the activation, bad input."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labkit.quantization import (
    DiscreteAdam,
    TernaryActivation,
    discrete_states,
    gated_share,
    start_discrete,
    state_transition,
    transition_probability,
)
from labkit.training import fit


def states(n, size, seed):
    return torch.from_numpy(np.random.default_rng(seed).choice(discrete_states(n), size))


@given(st.integers(0, 4), st.integers(0, 10_000), st.floats(0.01, 5))
def test_every_transition_ends_in_the_space(n, seed, size):
    weight = states(n, 200, seed)
    change = size * torch.from_numpy(np.random.default_rng(seed + 1).standard_normal(200))
    after = state_transition(weight, change, n=n, random_state=seed)
    assert np.isin(after.numpy(), discrete_states(n)).all()
    moved = (after - weight) * change.sign()
    assert (moved >= 0).all()  # never against the wish
    assert (moved < change.abs() + 2.0 ** (1 - n)).all()  # and by less than one state too far


def test_the_spaces_of_the_paper():
    assert discrete_states(0).tolist() == [-1, 1]
    assert discrete_states(1).tolist() == [-1, 0, 1]
    assert len(discrete_states(6)) == 65


@pytest.mark.parametrize(("change", "kappa"), [(0.2, 0), (-0.6, 0), (1.3, 1), (-1.9, 1)])
def test_the_probability_is_that_of_the_paper(change, kappa):
    """40,000 draws against tanh(m nu), with whole states taken for sure; 0.01 is four standard deviations."""
    weight = torch.full((40_000,), -np.sign(change))
    after = state_transition(weight, torch.full_like(weight, change), random_state=0)
    extra = (after - weight).abs() - kappa
    expected = np.tanh(3 * abs(abs(change) - kappa))
    assert set(extra.unique().tolist()) <= {0.0, 1.0}
    assert extra.mean().item() == pytest.approx(expected, abs=0.01)
    assert transition_probability([abs(change) - kappa])[0] == pytest.approx(expected)


def test_a_wish_beyond_the_ends_stops_there():
    weight = torch.tensor([1.0, -1.0, 0.0])
    assert state_transition(weight, torch.tensor([9.0, -9.0, 9.0])).tolist() == [1, -1, 1]
    assert state_transition(weight, torch.zeros(3)).tolist() == weight.tolist()


def test_all_states_start_equally_likely():
    model = nn.Sequential(nn.Conv2d(3, 40, 5), nn.Linear(100, 90))
    made = start_discrete(model, random_state=0)
    assert [w is layer.weight for w, layer in zip(made, model, strict=True)] == [True, True]
    for weight in made:
        shares = [(weight == value).float().mean().item() for value in (-1, 0, 1)]
        np.testing.assert_allclose(shares, 1 / 3, atol=0.02)
    assert torch.equal(made[0], start_discrete(nn.Sequential(nn.Conv2d(3, 40, 5)), random_state=0)[0])


def test_training_keeps_the_weights_discrete_and_holds_no_float_copy():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 10, generator=generator)
    data = x, (x[:, :3].sum(1) > 0).long()
    model = nn.Sequential(
        nn.Linear(10, 16), nn.BatchNorm1d(16), TernaryActivation(), nn.Linear(16, 2), nn.BatchNorm1d(2)
    )
    discrete = start_discrete(model, random_state=0)
    seen = []
    optimizers = []

    def make(parameters, **settings):
        made = DiscreteAdam(parameters, discrete=discrete, **settings)
        made.register_step_post_hook(lambda *_: seen.append([set(w.unique().tolist()) for w in discrete]))
        optimizers.append(made)
        return made

    before = [w.detach().clone() for w in discrete]
    history = fit(
        model, data, epochs=15, batch_size=50, learning_rate=0.1, optimizer=make, random_state=0, progress=False
    )
    assert all(values <= {-1.0, 0.0, 1.0} for step in seen for values in step)
    assert not all(torch.equal(a, b) for a, b in zip(before, discrete, strict=True))
    assert history.loss[-1] < 0.6 * history.loss[0]
    assert {name for name, _ in model.named_buffers()} == {  # nothing else of the weights' shape lives in the model
        f"{i}.{n}" for i, n in itertools.product((1, 4), ("running_mean", "running_var", "num_batches_tracked"))
    }
    assert set(optimizers[0].state[discrete[0]]) == {"step", "exp_avg", "exp_avg_sq"}  # Adam's own two moments


def test_the_same_seed_draws_the_same_transitions():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    data, results = (x, (x[:, 0] > 0).long()), []
    for _ in range(2):
        model = nn.Sequential(nn.Linear(4, 2))
        torch.nn.init.zeros_(model[0].bias)
        steps = partial(DiscreteAdam, discrete=start_discrete(model, random_state=3))
        fit(model, data, epochs=3, learning_rate=0.3, optimizer=steps, random_state=5, progress=False)
        results.append(model[0].weight.detach().clone())
    assert torch.equal(*results)


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20), st.floats(0, 1), st.floats(0.1, 1))
def test_the_activation_is_ternary_with_a_window_of_area_one(values, r, a):
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    y = TernaryActivation(r=r, a=a)(x)
    y.sum().backward()
    v = np.array(values)
    np.testing.assert_array_equal(y.detach(), np.sign(v) * (abs(v) > r))
    np.testing.assert_allclose(x.grad, np.where(abs(abs(v) - r) <= a, 1 / (2 * a), 0))


def test_the_window_integrates_to_the_height_of_the_step():
    x = torch.linspace(-4, 4, 80_001, dtype=torch.float64, requires_grad=True)
    TernaryActivation(r=1.0, a=0.5)(x).sum().backward()
    assert (x.grad.sum() * 1e-4).item() == pytest.approx(2, abs=1e-3)  # from -1 to 1


def test_gates():
    assert gated_share([-1, 1], [1]) == 0
    assert gated_share([0, 0], [1]) == 1
    rng = np.random.default_rng(0)
    w, x = rng.choice([-1, 0, 1], 3000), rng.choice([-1, 0, 1], 3000)
    assert gated_share(w, x) == pytest.approx(5 / 9, abs=0.03)  # a third each


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: discrete_states(-1), "n must be between 0 and 12"),
        (lambda: discrete_states(1.0), "n must be an integer"),
        (lambda: transition_probability([1.0], m=0), "m must be above 0"),
        (lambda: transition_probability([np.nan]), "remainder must be finite"),
        (lambda: state_transition(torch.tensor([0.5]), torch.zeros(1)), "only the 3 states of Z_1"),
        (lambda: state_transition(torch.tensor([2.0]), torch.zeros(1)), "only the 3 states of Z_1"),
        (lambda: state_transition(torch.zeros(2), torch.zeros(1)), "change must have the shape"),
        (lambda: state_transition(torch.zeros(1), torch.tensor([torch.nan])), "change must be finite"),
        (lambda: state_transition([0.0], torch.zeros(1)), "weight must be Tensor"),
        (lambda: TernaryActivation(r=-1), "r must be at least 0"),
        (lambda: TernaryActivation(a=0), "a must be above 0"),
        (lambda: start_discrete(nn.ReLU()), "at least one layer"),
        (lambda: start_discrete(nn.Sequential(nn.Linear(1, 1)), ["1"]), "must be one of"),
        (lambda: DiscreteAdam([p := nn.Parameter(torch.tensor([0.3]))], discrete=[p]), "only the 3 states"),
        (lambda: gated_share([], [1]), "weight must not be empty"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

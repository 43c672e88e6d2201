"""Ranks for whole models: within the budget, as good as theory says, better than uniform ranks."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from labkit.cost import count
from labkit.datasets import mnist
from labkit.decomposition import (
    factorize_conv,
    factorize_linear,
    rank_for_energy,
    ranks_for_energy,
    ranks_for_tol,
    response_plan,
    response_spectrum,
    select_ranks,
    uniform_ranks,
)
from labkit.decomposition.rank_selection import Option, descend
from labkit.nets import LeNet300, load
from labkit.training import evaluate, fit

ENERGIES = ["weights", "responses"]


@pytest.fixture(scope="module")
def digits():
    return mnist("train", source="offline")


@pytest.fixture(scope="module")
def x(digits):
    return digits.tensors()[0][:600]


@pytest.fixture(scope="module")
def small():
    """Two layers of different shapes, and inputs that use some directions more than others."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 9)), torch.randn(300, 12) / torch.arange(1, 13)


def factorized(model, ranks, x=None):
    model = copy.deepcopy(model)
    plan = response_plan(model, ranks, x) if x is not None else None
    for name, rank in ranks.items():
        layer = model.get_submodule(name)
        plain = factorize_conv if isinstance(layer, nn.Conv2d) else factorize_linear
        model.set_submodule(name, plan[name].apply(layer) if plan else plain(layer, rank=rank))
    return model


def error(model, ranks, x, test):
    return evaluate(factorized(model, ranks, x), test).error


# budgets


@pytest.mark.parametrize("net", ["lenet-300-100", "lenet-5"])
@pytest.mark.parametrize("speedup", [1.1, 2, 4, 7])
@pytest.mark.parametrize("energy", ENERGIES)
def test_the_budget_is_kept_and_nearly_spent_as_cost_counts_it(net, speedup, energy, x):
    model = load(net)
    budget = int(count(model, x[:1]).macs / speedup)
    spent = count(factorized(model, select_ranks(model, budget=budget, example_inputs=x, energy=energy)), x[:1]).macs
    uniform = count(factorized(model, uniform_ranks(model, budget=budget, example_inputs=x)), x[:1]).macs
    assert 0.97 * budget <= spent <= budget
    assert 0.85 * budget <= uniform <= budget


@pytest.mark.parametrize("choose", [select_ranks, uniform_ranks])
def test_a_budget_for_the_dense_model_leaves_it_dense(choose, x):
    model = load("lenet-5")
    dense = count(model, x[:1]).macs
    assert choose(model, budget=dense, example_inputs=x) == {}
    assert choose(model, budget=dense - 1, example_inputs=x)


@pytest.mark.parametrize("choose", [select_ranks, uniform_ranks])
def test_the_least_budget_gives_rank_one_and_one_less_is_refused(choose, small):
    model, data = small
    least = (12 + 10) + (10 + 9)
    assert choose(model, budget=least, example_inputs=data) == {"0": 1, "2": 1}
    with pytest.raises(ValueError, match=f"budget must be at least {least} multiply-adds"):
        choose(model, budget=least - 1, example_inputs=data)


def test_every_factorised_layer_is_smaller_than_the_dense_one(x):
    model = load("lenet-5")
    for budget in (400_000, 1_000_000, 2_000_000):
        for name, rank in select_ranks(model, budget=budget, example_inputs=x).items():
            weight = model.get_submodule(name).weight
            assert rank * (len(weight) + weight[0].numel()) < weight.numel()


@pytest.mark.parametrize("choose", [select_ranks, uniform_ranks])
def test_layers_that_are_not_named_stay_dense(choose, x):
    ranks = choose(load("lenet-300-100"), budget=60_000, example_inputs=x, layers=["fc1"])
    assert list(ranks) == ["fc1"]


def test_grouped_convolutions_cost_but_stay_dense():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1), nn.Flatten(), nn.Linear(16 * 36, 30))
    data = torch.randn(40, 8, 8, 8)
    dense = count(model, data).macs
    ranks = select_ranks(model, budget=dense // 2, example_inputs=data)
    assert "0" not in ranks
    assert count(factorized(model, ranks), data).macs <= dense // 2


def test_a_layer_without_a_break_even_rank_stays_dense():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 50), nn.Linear(50, 50))
    data = torch.randn(99, 2)
    assert "0" not in select_ranks(model, budget=900, example_inputs=data, energy="weights")
    assert "0" not in uniform_ranks(model, budget=900, example_inputs=data)


# the choice itself


def log_energy(s, rank):
    return math.log((s[:rank] ** 2).sum() / (s**2).sum())


@pytest.mark.parametrize("share", [0.35, 0.5, 0.65, 0.8, 0.95])
@pytest.mark.parametrize("energy", ENERGIES)
def test_greedy_comes_close_to_the_best_of_all_choices(share, energy, small):
    """Try every pair of ranks (None for dense): the greedy product of energies is at most a rank below the best."""
    model, data = small
    layers = {"0": model[0], "2": model[2]}
    hidden = {"0": data, "2": model[1](model[0](data)).detach()}
    s = {
        name: np.linalg.svd(layer.weight.detach().double().numpy())[1]
        if energy == "weights"
        else response_spectrum(layer, hidden[name])
        for name, layer in layers.items()
    }

    def value(ranks):
        return sum(log_energy(s[name], k) for name, k in ranks.items() if k)

    def cost(ranks):
        return sum(k * (12 + 10, 10 + 9)[i] if k else (120, 90)[i] for i, k in enumerate(ranks.values()))

    budget = int(share * 210)
    pairs = [
        dict(zip(layers, pair, strict=True)) for pair in itertools.product([None, 1, 2, 3, 4, 5], [None, 1, 2, 3, 4])
    ]
    best = max((ranks for ranks in pairs if cost(ranks) <= budget), key=value)
    chosen = select_ranks(model, budget=budget, example_inputs=data, energy=energy)
    chosen = {name: chosen.get(name) for name in layers}
    assert cost(chosen) <= budget
    less = max((ranks for ranks in pairs if cost(ranks) <= budget - 22), key=value)
    assert value(less) - 1e-9 <= value(chosen) <= value(best) + 1e-9


def test_a_layer_with_a_short_spectrum_is_cut_first():
    model = nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30))
    generator = torch.Generator().manual_seed(0)
    model[0].weight.data = torch.randn(30, 2, generator=generator) @ torch.randn(2, 30, generator=generator)
    model[1].weight.data = torch.linalg.qr(torch.randn(30, 30, generator=generator))[0]
    assert select_ranks(model, budget=1100, example_inputs=torch.zeros(1, 30), energy="weights") == {"0": 3}


def test_uniform_ranks_cut_every_layer_by_the_same_factor(x):
    model = load("lenet-300-100")
    ranks = uniform_ranks(model, budget=266_200 // 2, example_inputs=x, layers=["fc1", "fc2"])
    shares = [ranks[name] * sum(model.get_submodule(name).weight.shape) for name in ranks]
    np.testing.assert_allclose(shares, np.array([784 * 300, 300 * 100]) / 2, rtol=0.02)


@pytest.mark.parametrize("net", ["lenet-300-100", "lenet-5"])
@pytest.mark.parametrize("speedup", [3, 4, 6])
def test_selected_ranks_beat_uniform_ranks_at_equal_multiply_adds(net, speedup, x):
    """Every layer may be cut; the selection gets what the uniform ranks really cost."""
    model, heldout = load(net), mnist("test", source="offline")
    uniform = uniform_ranks(model, budget=int(count(model, x[:1]).macs / speedup), example_inputs=x)
    equal = count(factorized(model, uniform), x[:1]).macs
    selected = select_ranks(model, budget=equal, example_inputs=x)
    assert error(model, selected, x, heldout) < error(model, uniform, x, heldout)


def test_selected_ranks_beat_uniform_ranks_in_the_mean_of_five_seeds(digits, x):
    """Also with the classifier left dense on both sides, and with the ranks applied by `response_pca`."""
    heldout, layers = mnist("test", source="offline"), ["fc1", "fc2"]
    errors = []
    for seed in range(5):
        model = LeNet300(random_state=seed)
        fit(model, digits, epochs=4, random_state=seed, progress=False)
        uniform = uniform_ranks(model, budget=266_200 // 20, example_inputs=x, layers=layers)
        equal = count(factorized(model, uniform), x[:1]).macs
        selected = select_ranks(model, budget=equal, example_inputs=x, layers=layers)
        errors.append([error(model, ranks, x, heldout) for ranks in (selected, uniform)])
    selected_mean, uniform_mean = np.mean(errors, axis=0)
    assert selected_mean <= uniform_mean


# energy and tolerance


def test_ranks_for_energy_and_tol_follow_each_layer():
    model = load("lenet-300-100")
    s = np.linalg.svd(model.fc1.weight.detach().double().numpy())[1]
    assert ranks_for_energy(model, energy=0.5)["fc1"] == rank_for_energy(s, energy=0.5)
    assert ranks_for_tol(model, tol=math.sqrt(0.5)) == ranks_for_energy(model, energy=0.5)
    for name, rank in ranks_for_tol(model, tol=0.6).items():
        layer = model.get_submodule(name)
        weight = factorize_linear(layer, rank=rank).to_dense().weight
        assert (weight - layer.weight).norm() <= 0.6 * layer.weight.norm()


@pytest.mark.parametrize("choose", [lambda m: ranks_for_energy(m, energy=1), lambda m: ranks_for_tol(m, tol=0)])
def test_layers_that_would_not_get_smaller_are_left_out(choose):
    assert choose(load("lenet-5")) == {}


# bad input


@pytest.mark.parametrize("choose", [select_ranks, uniform_ranks])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"budget": 0}, "budget must be"),
        ({"budget": 1e5}, "budget must be an integer"),
        ({"budget": None}, "budget must be an integer"),
        ({"example_inputs": np.zeros((9, 784))}, "example_inputs must be Tensor"),
        ({"example_inputs": torch.zeros(0, 784)}, "example_inputs must not be empty"),
        ({"example_inputs": torch.full((9, 784), torch.nan)}, "example_inputs must be finite"),
        ({"layers": ["fc9"]}, "did you mean"),
        ({"layers": "fc1"}, "list of layer names"),
    ],
)
def test_selections_refuse(choose, changed, message):
    arguments = {"budget": 100_000, "example_inputs": torch.zeros(9, 784)} | changed
    with pytest.raises((TypeError, ValueError), match=message):
        choose(load("lenet-300-100"), **arguments)


def test_select_ranks_refuses_an_unknown_energy_and_too_few_inputs():
    model = load("lenet-300-100")
    with pytest.raises(ValueError, match="energy must be one of"):
        select_ranks(model, budget=100_000, example_inputs=torch.zeros(9, 784), energy="gradients")
    with pytest.raises(ValueError, match="more than 300 responses of layer 'fc1', got 9"):
        select_ranks(model, budget=100_000, example_inputs=torch.zeros(9, 784))


@pytest.mark.parametrize(
    "call",
    [
        lambda: select_ranks("lenet", budget=1, example_inputs=torch.zeros(1)),
        lambda: ranks_for_energy("lenet", energy=0.5),
        lambda: ranks_for_energy(load("lenet-5"), energy=2),
        lambda: ranks_for_tol(load("lenet-5"), tol=-1),
        lambda: ranks_for_tol(load("lenet-5"), tol="low"),
    ],
)
def test_bad_models_and_thresholds_are_refused(call):
    with pytest.raises((TypeError, ValueError), match="must be"):
        call()


KEPT = np.array([-np.inf, -0.5, -0.1, 0.0])
OPTIONS = [Option("a", 100, 20, 3, KEPT), Option("b", 1000, 200, 3, KEPT)]


def test_the_way_down_goes_by_the_price_of_a_step():
    assert descend(OPTIONS, budget=1100) == [None, None]
    assert [descend(OPTIONS, budget=b) for b in (1099, 660, 659, 220)] == [[3, None], [3, 3], [3, 2], [1, 1]]


@pytest.mark.parametrize(
    ("options", "budget", "message"),
    [
        ([], 10, "options must hold at least one Option"),
        ([1], 10, "an entry of options must be"),
        (OPTIONS, 219, "budget must be at least 220"),
        (OPTIONS, 0, "budget must be at least 1"),
        (OPTIONS, 1.5, "budget must be an integer"),
    ],
)
def test_the_way_down_refuses(options, budget, message):
    with pytest.raises((TypeError, ValueError), match=message):
        descend(options, budget=budget)

"""Trained Rank Pruning: what it does to the weights, when, and what it is worth."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.compress import compress
from labkit.datasets import mnist
from labkit.decomposition import TRPTrainer, low_rank_plan, nuclear_subgradient, truncated_svd
from labkit.nets import LeNet300
from labkit.training import evaluate, fit


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4))


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.eye(12)).square().sum().backward()
    optimizer.step()


def rank_of(layer):
    return int(torch.linalg.matrix_rank(layer.weight.detach().flatten(1), rtol=1e-4))


def test_truncate_is_the_truncated_svd():
    model = small()
    W = model[0].weight.detach().numpy().copy()
    assert TRPTrainer(model, {"0": 3}).truncate() == {"0": 3}
    np.testing.assert_allclose(model[0].weight.detach(), truncated_svd(W, rank=3).to_tensor(), atol=1e-5)


def test_truncate_with_a_tolerance_keeps_it_with_the_smallest_rank():
    model = small()
    W = model[0].weight.detach().numpy().copy()
    k = TRPTrainer(model, ["0"], tol=0.5).truncate()["0"]
    assert k == truncated_svd(W, tol=0.5).rank
    assert np.linalg.norm(model[0].weight.detach().numpy() - W) <= 0.5 * np.linalg.norm(W)


def test_a_convolution_counts_as_one_row_per_filter():
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    TRPTrainer(model, {"0": 2}).truncate()
    assert rank_of(model[0]) == 2
    assert model[0].weight.shape == (8, 3, 3, 3)


def test_weights_are_replaced_every_period_steps_and_free_between():
    model = small()
    trainer = TRPTrainer(model, {"0": 2}, period=3)
    optimizer = trainer.optimizer(torch.optim.SGD)(model.parameters(), lr=0.01)
    ranks = []
    for _ in range(6):
        step(model, optimizer)
        ranks.append(rank_of(model[0]))
    assert [rank == 2 for rank in ranks] == [False, False, True, False, False, True]
    assert trainer.n_steps == 6
    assert rank_of(model[2]) == 4


def test_the_subgradient_joins_the_gradient():
    """One SGD step with a nuclear weight differs from one without by lr * weight * U V^T."""
    ends = []
    for weight in (0.0, 0.5):
        model = small()
        trainer = TRPTrainer(model, {"0": 2}, period=100, nuclear_weight=weight)
        trainer.truncate()
        direction = nuclear_subgradient(truncated_svd(model[0].weight.detach().double().numpy(), rank=2).to_tensor())
        step(model, trainer.optimizer(torch.optim.SGD)(model.parameters(), lr=0.1))
        ends.append(model[0].weight.detach().numpy())
    np.testing.assert_allclose(ends[0] - ends[1], 0.1 * 0.5 * direction, atol=1e-4)


def test_it_takes_part_in_fit_with_any_optimizer():
    model, digits = LeNet300(random_state=0), mnist("train", source="offline")[:256]
    trainer = TRPTrainer(model, {"fc1": 5, "fc2": 4}, period=2)
    fit(model, digits, epochs=1, optimizer=trainer.optimizer(torch.optim.SGD), random_state=0, progress=False)
    assert trainer.n_steps == 2
    assert (rank_of(model.fc1), rank_of(model.fc2), rank_of(model.fc3)) == (5, 4, 10)


@pytest.fixture(scope="module")
def trained():
    """LeNet-300-100 on 4,000 digits, plainly and by TRP at rank 6."""
    digits, heldout = mnist("train", source="offline"), mnist("test", source="offline")
    ranks, found = {"fc1": 6, "fc2": 6}, {}
    for method in ("plain", "trp"):
        model = LeNet300(random_state=0)
        trainer = TRPTrainer(model, ranks, period=10)
        optimizer = trainer.optimizer() if method == "trp" else torch.optim.Adam
        fit(model, digits, epochs=5, learning_rate=4e-3, optimizer=optimizer, random_state=0, progress=False)
        before = evaluate(model, heldout).error
        low = compress(model, low_rank_plan(ranks), example_inputs=heldout[:1].tensors()[0])[0]
        found[method] = before, evaluate(low, heldout).error
    return found


def test_truncation_costs_next_to_nothing_after_trp_and_much_after_plain_training(trained):
    lost = {method: after - before for method, (before, after) in trained.items()}
    assert lost["trp"] < 0.5
    assert lost["plain"] > 5


def test_trp_beats_svd_afterwards(trained):
    assert trained["trp"][1] < trained["plain"][1] - 3


def test_training_goes_on_from_a_network_that_was_truncated():
    """Adam's moments outlive a replacement; nothing becomes NaN."""
    model = small()
    optimizer = TRPTrainer(model, ["0", "2"], tol=0.3, period=1, nuclear_weight=1.0).optimizer()(
        model.parameters(), lr=0.1
    )
    for _ in range(30):
        step(model, optimizer)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("layers", "given", "message"),
    [
        ({"0": 2}, {"tol": 0.1}, "give either layers as"),
        (["0"], {}, "give either layers as"),
        ({"0": 0}, {}, r"layers\['0'\] must be between 1 and 9"),
        ({"0": 2.0}, {}, r"layers\['0'\] must be an integer"),
        ({"0": 10}, {}, r"layers\['0'\] must be between 1 and 9"),
        ({}, {}, "layers must name at least one layer"),
        ("0", {"tol": 0.1}, "names must be a list of layer names"),
        ({"fc1": 2}, {}, "names must be one of 2 names, got 'fc1'"),
        ({"0": 2}, {"period": 0}, "period must be at least 1"),
        ({"0": 2}, {"period": 2.5}, "period must be an integer"),
        ({"0": 2}, {"nuclear_weight": -1}, "nuclear_weight must be at least 0"),
        ({"0": 2}, {"nuclear_weight": float("nan")}, "nuclear_weight must be at least 0"),
        (["0"], {"tol": 1.5}, "tol must be between 0 and 1"),
    ],
)
def test_bad_arguments_are_refused(layers, given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        TRPTrainer(small(), layers, **given)


def test_a_grouped_convolution_and_what_is_no_module_are_refused():
    with pytest.raises(ValueError, match="groups=1, got groups=2"):
        TRPTrainer(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), {"0": 1})
    with pytest.raises(TypeError, match="model must be Module"):
        TRPTrainer(torch.eye(3), {"0": 1})

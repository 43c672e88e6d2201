"""Ensembles of binary networks: boosting weights exactly, bootstrap, votes, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from labkit.quantization import Ensemble, benn, boosting_step, bootstrap
from labkit.quantization.binary import BinaryLinear, clipped
from labkit.training import evaluate, fit


@given(st.integers(2, 30), st.integers(2, 6), st.integers(0, 999))
def test_under_the_new_weights_the_member_only_guesses(n, n_classes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n)
    predictions = np.where(rng.random(n) < 0.7, labels, (labels + 1) % n_classes)
    weights = rng.dirichlet(np.ones(n))
    wrong = labels != predictions
    error = weights[wrong].sum()
    if error >= 1 - 1 / n_classes:
        with pytest.raises(ValueError, match="better than guessing"):
            boosting_step(weights, labels, predictions, n_classes=n_classes)
        return
    made = boosting_step(weights, labels, predictions, n_classes=n_classes)
    assert made.error == pytest.approx(error)
    assert made.weights.sum() == pytest.approx(1)
    if wrong.any():
        assert made.weights[wrong].sum() == pytest.approx(1 - 1 / n_classes)
        assert made.vote == pytest.approx(np.log((1 - error) / error) + np.log(n_classes - 1))


def test_two_classes_are_adaboost():
    """The textbook's weights exp(-+a / 2) with a = ln((1 - e) / e), normalised, are the same."""
    weights, wrong = np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, False])
    made = boosting_step(weights, [0, 0, 0, 0], wrong.astype(int), n_classes=2)
    a = np.log(0.8 / 0.2)
    expected = weights * np.exp(np.where(wrong, a / 2, -a / 2))
    np.testing.assert_allclose(made.weights, expected / expected.sum())
    assert made.vote == pytest.approx(a)


def test_votes_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 4)), rng.integers(3, size=300)
    y[X[:, 0] > 0.5] = 2
    peer = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=4).fit(X, y)
    weights = np.full(300, 1 / 300)
    for tree, vote in zip(peer.estimators_, peer.estimator_weights_, strict=True):
        made = boosting_step(weights, y, tree.predict(X), n_classes=3)
        assert made.vote == pytest.approx(vote)
        weights = made.weights


def test_a_perfect_member_gets_a_finite_vote():
    made = boosting_step([0.5, 0.5], [0, 1], [0, 1], n_classes=2)
    assert np.isfinite(made.vote)
    assert made.weights.tolist() == [0.5, 0.5]


def test_bootstrap_leaves_out_about_a_third():
    drawn = bootstrap(10_000, random_state=0)
    assert len(np.unique(drawn)) / 10_000 == pytest.approx(1 - np.exp(-1), abs=0.01)
    only = bootstrap(50, weights=np.eye(50)[7], random_state=0)
    assert set(only) == {7}


class Fixed(nn.Module):
    def __init__(self, scores):
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, x):
        return self.scores.expand(len(x), -1)


def test_soft_and_hard_votes_can_differ():
    sure, unsure = Fixed([9.0, 0.0]), Fixed([0.0, 0.1])
    x = torch.zeros(1, 1)
    assert Ensemble([sure, unsure, unsure], soft=True)(x).argmax().item() == 0
    assert Ensemble([sure, unsure, unsure], soft=False)(x).argmax().item() == 1
    assert Ensemble([sure, unsure, unsure], votes=[5, 1, 1], soft=False)(x).argmax().item() == 0
    assert Ensemble([sure, unsure], votes=[1, 3])(x).sum().item() == pytest.approx(1)


def test_the_votes_survive_a_round_trip():
    first, second = (Ensemble([nn.Linear(2, 2), nn.Linear(2, 2)], votes=v) for v in ([1, 3], [1, 1]))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(torch.ones(1, 2)), first(torch.ones(1, 2)))


@pytest.mark.parametrize("mode", ["bagging", "boosting"])
def test_three_binary_networks_beat_their_mean(mode):
    """A ring, which one layer of eight binary units sees badly."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1200, 6, generator=generator)
    y = ((x[:, :2] ** 2).sum(1) > 1.4).long()

    def train(x, y, k):
        with torch.random.fork_rng():
            torch.manual_seed(k)
            model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), BinaryLinear(12, 12), nn.BatchNorm1d(12))
            model.append(nn.Linear(12, 2))
        fit(model, (x, y), epochs=8, learning_rate=0.02, optimizer=clipped(model), random_state=k, progress=False)
        return model

    voters = benn(train, x[:800], y[:800], n_members=3, mode=mode, random_state=0)
    test = x[800:], y[800:]
    members = [evaluate(member, test).accuracy for member in voters.members]
    assert evaluate(voters, test).accuracy >= np.mean(members)
    if mode == "bagging":
        np.testing.assert_allclose(voters.votes, 1 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap(0), "n must be at least 1"),
        (lambda: bootstrap(2, weights=[1, 1]), "weights must be 2 numbers"),
        (lambda: boosting_step([1.0], [0.5], [0], n_classes=2), "labels must hold integers"),
        (lambda: boosting_step([0.5, 0.5], [0, 1], [0], n_classes=2), "predictions must be as many"),
        (lambda: boosting_step([0.4, 0.5], [0, 1], [0, 1], n_classes=2), "sum 0.9"),
        (lambda: boosting_step([-1, 2], [0, 1], [0, 1], n_classes=2), "weights must be 2 numbers"),
        (lambda: boosting_step([1.0], [0], [0], n_classes=1), "n_classes must be at least 2"),
        (lambda: Ensemble([]), "members must hold at least one"),
        (lambda: Ensemble([nn.Identity()], votes=[0.0]), "not all 0"),
        (lambda: Ensemble([nn.Identity()], votes=[1.0, 1.0]), "votes must be 1 numbers"),
        (lambda: benn(print, torch.ones(1, 1), torch.zeros(1), n_members=1), "y must be 1 classes of type int64"),
        (lambda: benn(print, torch.ones(1, 1), torch.zeros(1).long(), n_members=0), "n_members must be at least 1"),
        (lambda: benn(print, torch.ones(1), torch.zeros(1).long(), n_members=1, mode="x"), "mode must be one of"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

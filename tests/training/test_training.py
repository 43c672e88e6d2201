"""The training loop and the evaluation."""

import itertools
import math

import pytest
import torch
from torch import nn

from labkit.datasets import mnist
from labkit.nets import LeNet300
from labkit.training import cross_entropy, evaluate, fit, ridge

DIGITS = mnist("train", source="offline")
FEW = DIGITS[:400]
TEST = mnist("test", source="offline")


def trained(seed=0, **settings):
    model = LeNet300(random_state=0)
    history = fit(model, FEW, **({"epochs": 2, "random_state": seed, "progress": False} | settings))
    return model, history


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


def test_400_digits_are_enough_for_a_sane_network():
    model, history = trained(epochs=15, batch_size=20)
    assert evaluate(model, FEW).accuracy > 99
    assert evaluate(model, TEST).accuracy > 85
    assert history.loss[-1] < 0.1 * history.loss[0]
    assert not model.training


def test_equal_seeds_give_equal_bits():
    assert torch.equal(weights(trained(seed=3)[0]), weights(trained(seed=3)[0]))
    assert not torch.equal(weights(trained(seed=3)[0]), weights(trained(seed=4)[0]))


def test_dropout_follows_the_seed_and_the_global_seed_is_untouched():
    def run(model):
        nn.init.zeros_(model[2].weight)
        nn.init.zeros_(model[2].bias)
        fit(model, FEW, epochs=1, random_state=7, progress=False)
        return model[2].weight

    first, second = (nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10)) for _ in range(2))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(first)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first[2].weight, run(second))


def test_one_full_batch_step_of_sgd_is_the_gradient_step():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    before = model[1].weight.detach().clone()
    cross_entropy(model, *FEW.tensors()).backward()
    expected = before - 0.5 * model[1].weight.grad
    settings = {"batch_size": 400, "learning_rate": 0.5, "optimizer": torch.optim.SGD}
    fit(model, FEW, epochs=1, random_state=0, progress=False, **settings)
    assert torch.allclose(model[1].weight, expected, atol=1e-6)


def test_learning_rate_falls_along_half_a_cosine():
    rates = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])

    trained(epochs=2, batch_size=100, learning_rate=0.1, optimizer=Spy)
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * t / 8)) for t in range(8)])


def test_best_epoch_is_restored():
    """Training a good network to be wrong makes the first epoch the best one."""
    model, _ = trained(epochs=5)
    settings = {"objective": lambda *batch: -cross_entropy(*batch), "validation": TEST[:200], "progress": False}
    history = fit(model, FEW, epochs=6, batch_size=400, random_state=0, **settings)
    assert history.best_epoch == history.validation.index(min(history.validation)) + 1
    assert history.validation[-1] > min(history.validation)
    assert evaluate(model, TEST[:200]).error == min(history.validation)


def test_patience_stops_when_nothing_improves():
    _, history = trained(epochs=12, learning_rate=0, validation=TEST[:200], patience=3)
    assert (history.best_epoch, len(history.loss)) == (1, 4)


def test_without_validation_the_last_epoch_stays():
    assert trained(epochs=3)[1].best_epoch == 3
    assert trained(epochs=3)[1].validation == []


def test_objective_is_what_is_minimised():
    def pull(model, x, y):
        return sum(p.square().sum() for p in model.parameters())

    _, history = trained(epochs=20, objective=pull, learning_rate=0.01)
    assert history.loss[-1] < history.loss[0] / 10


def test_progress_goes_to_standard_error(capsys):
    trained(epochs=1, progress=True)
    assert capsys.readouterr().out == ""
    trained(epochs=1, progress=False)
    assert capsys.readouterr().err == ""


def test_evaluate_by_hand():
    class Always(nn.Module):
        def forward(self, x):
            return torch.eye(10)[torch.full((len(x),), 3)]

    result = evaluate(Always(), TEST, batch_size=77)
    assert (result.accuracy, result.error, result.n) == (10, 90, 1000)
    assert result.loss == pytest.approx(math.log(9 + math.e) - 0.1)
    assert repr(result) == "Evaluation(accuracy=10.00 %, error=90.00 %, loss=2.3612, n=1000)"


def test_evaluate_leaves_every_mode_and_weight():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))
    model[1].eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(model, FEW)
    assert (model.training, model[1].training, model[2].training) == (True, False, True)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def line(n=64):
    """Return inputs (n, 3) and targets (n, 1) of a linear function, with noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1 * torch.randn(n, 1, generator=generator)


FULL_BATCH = {"epochs": 50, "batch_size": 64, "optimizer": torch.optim.SGD, "random_state": 0, "progress": False}


def test_loss_falls_at_every_full_batch_step_of_a_convex_problem():
    history = fit(nn.Linear(3, 1), line(), loss=nn.functional.mse_loss, learning_rate=0.05, **FULL_BATCH)
    assert len(history.loss) == 50
    assert all(later < earlier for earlier, later in itertools.pairwise(history.loss))


def test_loss_and_regularizer_reach_the_ridge_solution():
    x, y = line()
    model = nn.Linear(3, 1, bias=False)
    settings = FULL_BATCH | {"epochs": 600}
    fit(
        model,
        (x, y),
        loss=lambda prediction, target: (prediction - target).square().sum() / 64,
        regularizer=lambda net: 20 / 64 * net.weight.square().sum(),
        learning_rate=0.2,
        **settings,
    )
    expected = ridge(x.numpy(), y[:, 0].numpy(), penalty=20.0)
    assert model.weight.detach().numpy()[0] == pytest.approx(expected, abs=1e-5)


def test_a_regularizer_is_added_to_the_objective():
    def shrink(net):
        return sum(p.square().sum() for p in net.parameters())

    plain, shrunk = (trained(epochs=9, learning_rate=0.01, regularizer=r)[0] for r in (None, shrink))
    assert weights(shrunk).norm() < 0.5 * weights(plain).norm()


def test_validation_of_a_regression_is_its_loss():
    train, held = line(), line(16)
    history = fit(
        nn.Linear(3, 1),
        train,
        loss=nn.functional.mse_loss,
        learning_rate=0.05,
        validation=held,
        patience=3,
        **FULL_BATCH,
    )
    assert history.best_epoch == history.validation.index(min(history.validation)) + 1
    assert history.validation[-1] < history.validation[0]


def test_pairs_of_tensors_are_the_same_as_digits():
    first, second = LeNet300(random_state=0), LeNet300(random_state=0)
    for model, data in ((first, FEW), (second, FEW.tensors())):
        fit(model, data, epochs=1, random_state=0, progress=False)
    assert torch.equal(weights(first), weights(second))
    assert evaluate(first, FEW) == evaluate(second, FEW.tensors())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: fit(nn.Linear(3, 1), [x, y], epochs=1, random_state=0), TypeError, "pair of tensors"),
        (lambda x, y: fit(nn.Linear(3, 1), (x, y[1:]), epochs=1, random_state=0), ValueError, "one target for each"),
        (lambda x, y: fit(nn.Linear(3, 1), (x, y, y), epochs=1, random_state=0), TypeError, "pair of tensors"),
        (
            lambda x, y: fit(
                nn.Linear(3, 1), (x, y), epochs=1, random_state=0, loss=len, objective=lambda net, a, b: net(a).sum()
            ),
            TypeError,
            "give one of objective and loss",
        ),
        (lambda x, y: evaluate(nn.Linear(3, 1), (x, y)), TypeError, "data must have int64 classes"),
    ],
)
def test_pairs_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call(*line())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"learning_rate": -1}, ValueError, "learning_rate must be"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be"),
        ({"weight_decay": "much"}, TypeError, "weight_decay must be a number"),
        ({"random_state": 0.5}, TypeError, "random_state must be an integer"),
        ({"patience": 0, "validation": TEST}, ValueError, "patience must be"),
        ({"patience": 2}, TypeError, "validation must be labelled images"),
        ({"validation": TEST[:0]}, ValueError, "validation must not be empty"),
        ({"learning_rate": 1e30, "optimizer": torch.optim.SGD}, FloatingPointError, "try a lower learning_rate"),
    ],
)
def test_fit_refuses_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        trained(**arguments)


@pytest.mark.parametrize("function", [lambda m, d: fit(m, d, epochs=1, random_state=0), evaluate])
def test_model_and_digits_are_checked(function):
    with pytest.raises(TypeError, match="model must be Module"):
        function("lenet", FEW)
    with pytest.raises(TypeError, match="data must be labelled images or a pair"):
        function(LeNet300(), FEW.images)
    with pytest.raises(ValueError, match="data must not be empty"):
        function(LeNet300(), FEW[:0])


def test_evaluate_refuses_a_bad_batch_size():
    with pytest.raises(ValueError, match="batch_size must be"):
        evaluate(LeNet300(), FEW, batch_size=0)

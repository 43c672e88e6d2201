"""One training loop and one evaluation for the whole book."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from labkit import checks
from labkit.datasets import Digits

Objective = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What a network does on `n` digits: accuracy and error in percent, mean cross-entropy in nats."""

    accuracy: float
    error: float
    loss: float
    n: int

    def __repr__(self) -> str:
        return f"Evaluation(accuracy={self.accuracy:.2f} %, error={self.error:.2f} %, loss={self.loss:.4f}, n={self.n})"


@dataclass
class History:
    """The course of a training: one entry per epoch, and the epoch (from 1) whose weights the model now has.

    `loss` is the mean objective over the epoch's batches, `validation` the error in percent after the epoch
    (empty without validation digits).
    """

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0


def cross_entropy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy in nats of the model's scores for images x (n, 1, 28, 28) and labels y (n,)."""
    return functional.cross_entropy(model(x), y)


def fit(
    model: nn.Module,
    digits: Digits,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    objective: Objective = cross_entropy,
    random_state: Any,
    validation: Digits | None = None,
    patience: int | None = None,
    progress: bool = True,
) -> History:
    """Train a network in place and leave it in evaluation mode.

    The learning rate falls from `learning_rate` to 0 along half a cosine. With `validation` the weights of the
    epoch with the lowest validation error are kept, the earliest among equals; with `patience` the training stops
    after so many epochs without a new best. Equal seeds give equal weights, bit for bit, on one machine and one
    number of threads.

    Parameters
    ----------
    model : maps images (n, 1, 28, 28) to scores (n, 10); it is trained from the weights that it has
    digits : the digits to train on
    epochs : passes over the digits, at least 1
    batch_size : digits per step, at least 1
    learning_rate, weight_decay : first step size and L2 penalty of the optimizer
    optimizer : called as optimizer(parameters, lr=learning_rate, weight_decay=weight_decay)
    objective : called as objective(model, x, y) for each batch; the scalar that it returns is minimised
    random_state : an int, a NumPy Generator or None; sets the order of the digits and any dropout
    validation, patience : see above
    progress : draw a progress bar on standard error

    Raises
    ------
    TypeError, ValueError : an argument of a wrong type or out of its range.
    FloatingPointError : the objective became NaN or infinite.

    Source: cosine schedule of Loshchilov and Hutter (2017), arXiv:1608.03983. Used from chapter 5 on.

    >>> from labkit.datasets import mnist
    >>> from labkit.nets import LeNet300
    >>> model = LeNet300(random_state=0)
    >>> history = fit(model, mnist("train", source="offline"), epochs=3, random_state=0, progress=False)
    >>> evaluate(model, mnist("test", source="offline")).accuracy > 80
    True
    """
    _check(model, digits)
    _check_numbers(epochs, batch_size, learning_rate, weight_decay)
    best = _Best(model, validation, patience)
    step = optimizer(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step, epochs * math.ceil(len(digits) / batch_size))
    with checks.seeded(random_state) as generator, tqdm(total=epochs, unit="epoch", disable=not progress) as bar:
        while not best.complete(epochs):
            best.add(_epoch(model, _batches(digits, batch_size, generator), objective, step, schedule))
            bar.update()
    return best.restore()


def evaluate(model: nn.Module, digits: Digits, *, batch_size: int = 1000) -> Evaluation:
    """Return a network's accuracy, error and loss on digits; its mode and weights stay as they are.

    Parameters
    ----------
    model : maps images (n, 1, 28, 28) to scores (n, 10)
    digits : the digits to classify
    batch_size : digits at a time, at least 1

    Raises
    ------
    TypeError, ValueError : an argument of a wrong type or out of its range.

    >>> from labkit.datasets import mnist
    >>> from labkit.nets import load
    >>> evaluate(load("lenet-300-100"), mnist("heldout", source="offline")).error < 2
    True
    """
    checks.integer(batch_size, "batch_size", low=1)
    _check(model, digits)
    images, labels = digits.tensors()
    with checks.evaluating(model):
        scores = torch.cat([model(x) for x in images.split(batch_size)])  # (n, 10)
    wrong = int((scores.argmax(1) != labels).sum())
    error = 100 * wrong / len(digits)
    return Evaluation(100 - error, error, float(functional.cross_entropy(scores, labels)), len(digits))


def _check(model: nn.Module, digits: Digits | None, name: str = "digits") -> None:
    checks.instance(model, "model", nn.Module)
    if len(checks.instance(digits, name, Digits)) == 0:
        raise ValueError(f"{name} must not be empty, got 0 images")


def _check_numbers(epochs: int, batch_size: int, learning_rate: float, weight_decay: float) -> None:
    checks.integer(epochs, "epochs", low=1)
    checks.integer(batch_size, "batch_size", low=1)
    checks.number(learning_rate, "learning_rate", low=0)
    checks.number(weight_decay, "weight_decay", low=0)


def _batches(digits: Digits, size: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    x, y = digits.tensors()
    for batch in torch.randperm(len(digits), generator=generator).split(size):
        yield x[batch], y[batch]


def _epoch(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    objective: Objective,
    step: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """Take one step for each batch and return the mean objective."""
    losses = []
    model.train()
    for x, y in batches:
        loss = objective(model, x, y)
        step.zero_grad()
        loss.backward()
        step.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    mean = sum(losses) / len(losses)
    if not math.isfinite(mean):
        raise FloatingPointError(f"the objective became {mean}; try a lower learning_rate")
    return mean


class _Best:
    """Keeps the history and the best weights, and knows when to stop."""

    def __init__(self, model: nn.Module, validation: Digits | None, patience: int | None) -> None:
        if patience is not None:
            checks.integer(patience, "patience", low=1)
        if patience is not None or validation is not None:
            _check(model, validation, "validation")
        self.model, self.validation, self.patience = model, validation, patience
        self.history = History()
        self.weights: dict[str, torch.Tensor] | None = None

    def add(self, loss: float) -> None:
        """Note an epoch; without validation digits the last epoch counts as the best."""
        history = self.history
        history.loss.append(loss)
        if self.validation is None:
            history.best_epoch = len(history.loss)
            return
        history.validation.append(evaluate(self.model, self.validation).error)
        if history.validation[-1] < min(history.validation[:-1], default=math.inf):
            history.best_epoch = len(history.loss)
            self.weights = copy.deepcopy(self.model.state_dict())

    def complete(self, epochs: int) -> bool:
        """Say whether all epochs are done or `patience` is at its end."""
        done = len(self.history.loss)
        return done == epochs or (self.patience is not None and done - self.history.best_epoch >= self.patience)

    def restore(self) -> History:
        """Give the model the best weights and return the history."""
        if self.weights is not None:
            self.model.load_state_dict(self.weights)
        return self.history

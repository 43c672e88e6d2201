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
from labkit.datasets import LabelledImages

Objective = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What a network does on `n` examples: accuracy and error in percent, mean cross-entropy in nats."""

    accuracy: float
    error: float
    loss: float
    n: int

    def __repr__(self) -> str:
        return f"Evaluation(accuracy={self.accuracy:.2f} %, error={self.error:.2f} %, loss={self.loss:.4f}, n={self.n})"


@dataclass
class History:
    """The course of a training: one entry per epoch, and the epoch (from 1) whose weights the model now has.

    `loss` is the mean objective over the epoch's batches. `validation` (empty without validation data) is what the
    best epoch has least of: the error in percent after the epoch, or the objective where targets are not classes.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0


def cross_entropy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy in nats of the model's scores for inputs x (n, ...) and labels y (n,)."""
    return functional.cross_entropy(model(x), y)


def fit(
    model: nn.Module,
    data: LabelledImages | Pair,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    objective: Objective = cross_entropy,
    loss: Loss | None = None,
    regularizer: Callable[[nn.Module], torch.Tensor] | None = None,
    random_state: Any,
    validation: LabelledImages | Pair | None = None,
    patience: int | None = None,
    progress: bool = True,
) -> History:
    """Train a network in place and leave it in evaluation mode: min over theta of d(y, f(x, theta)) + r(theta).

    The learning rate falls from `learning_rate` to 0 along half a cosine. With `validation` the weights of the
    epoch with the lowest validation error are kept, the earliest among equals; with `patience` the training stops
    after so many epochs without a new best. Equal seeds give equal weights, bit for bit, on one machine and one
    number of threads.

    Parameters
    ----------
    model : maps inputs, for digits images (n, 1, 28, 28), to outputs; it is trained from the weights that it has
    data : digits or other labelled images, or a pair of tensors (x, y) with one target for each input
    epochs : passes over the data, at least 1
    batch_size : examples per step, at least 1
    learning_rate, weight_decay : first step size and L2 penalty of the optimizer
    optimizer : called as optimizer(parameters, lr=learning_rate, weight_decay=weight_decay)
    objective : called as objective(model, x, y) for each batch; the scalar that it returns is minimised
    loss : the simple form of an objective: d, called as loss(model(x), y)
    regularizer : r, called as regularizer(model); it is added to the objective or the loss
    random_state : an int, a NumPy Generator or None; sets the order of the examples and any dropout
    validation, patience : see above
    progress : draw a progress bar on standard error

    Raises
    ------
    TypeError, ValueError : an argument of a wrong type or out of its range.
    FloatingPointError : the objective became NaN or infinite.

    Source: cosine schedule of Loshchilov and Hutter (2017), arXiv:1608.03983. Chapter 2; lecture 000:44-69.

    >>> from labkit.datasets import mnist
    >>> from labkit.nets import LeNet300
    >>> model = LeNet300(random_state=0)
    >>> history = fit(model, mnist("train", source="offline"), epochs=3, random_state=0, progress=False)
    >>> evaluate(model, mnist("test", source="offline")).accuracy > 80
    True
    """
    _check(model, epochs, batch_size, learning_rate, weight_decay)
    (x, y), total = _pair(data), _total(objective, loss, regularizer)
    best, n_steps = _Best(model, validation, patience, total), epochs * math.ceil(len(x) / batch_size)
    descent = _Descent(optimizer(model.parameters(), lr=learning_rate, weight_decay=weight_decay), n_steps)
    with checks.seeded(random_state) as generator:
        for _ in best.epochs(epochs, progress=progress):
            best.add(_epoch(model, _batches(x, y, batch_size, generator), total, descent))
    return best.restore()


def evaluate(model: nn.Module, data: LabelledImages | Pair, *, batch_size: int = 1000) -> Evaluation:
    """Return a network's accuracy, error and loss as a classifier; its mode and weights stay as they are.

    Parameters
    ----------
    model : maps inputs, for digits images (n, 1, 28, 28), to scores (n, classes)
    data : digits or other labelled images, or a pair of tensors (x, y) with the integer class of each input
    batch_size : examples at a time, at least 1

    Raises
    ------
    TypeError, ValueError : an argument of a wrong type or out of its range.

    >>> from labkit.datasets import mnist
    >>> from labkit.nets import load
    >>> evaluate(load("lenet-300-100"), mnist("heldout", source="offline")).error < 2
    True
    """
    checks.integer(batch_size, "batch_size", low=1)
    checks.instance(model, "model", nn.Module)
    x, labels = _pair(data)
    if labels.dtype != torch.int64:
        raise TypeError(f"data must have int64 classes as targets, got {labels.dtype}")
    with checks.evaluating(model):
        scores = torch.cat([model(part) for part in x.split(batch_size)])  # (n, classes)
    wrong = int((scores.argmax(1) != labels).sum())
    error = 100 * wrong / len(labels)
    return Evaluation(100 - error, error, float(functional.cross_entropy(scores, labels)), len(labels))


def _pair(data: Any, name: str = "data") -> Pair:
    """Return inputs and targets, of equal and positive number."""
    if isinstance(data, LabelledImages):
        data = data.tensors()
    if not (isinstance(data, tuple) and len(data) == 2 and all(isinstance(t, torch.Tensor) for t in data)):
        raise TypeError(f"{name} must be labelled images or a pair of tensors (x, y), got {type(data).__name__}")
    if not all(t.numel() for t in data):
        raise ValueError(f"{name} must not be empty, got {_shapes(data)}")
    if not all(t.dim() for t in data) or len(data[0]) != len(data[1]):
        raise ValueError(f"{name} must have one target for each input, got {_shapes(data)}")
    return data


def _shapes(data: Pair) -> str:
    return "shapes " + " and ".join(str(tuple(t.shape)) for t in data)


def _total(objective: Objective, loss: Loss | None, regularizer: Callable | None) -> Objective:
    """Return the objective that is minimised, d + r."""
    if loss is not None:
        if objective is not cross_entropy:
            raise TypeError("give one of objective and loss, got both")
        return _total(lambda model, x, y: loss(model(x), y), None, regularizer)
    if regularizer is None:
        return objective
    return lambda model, x, y: objective(model, x, y) + regularizer(model)


def _check(model: nn.Module, epochs: int, batch_size: int, learning_rate: float, weight_decay: float) -> None:
    checks.instance(model, "model", nn.Module)
    checks.integer(epochs, "epochs", low=1)
    checks.integer(batch_size, "batch_size", low=1)
    checks.number(learning_rate, "learning_rate", low=0)
    checks.number(weight_decay, "weight_decay", low=0)


def _batches(x: torch.Tensor, y: torch.Tensor, size: int, generator: torch.Generator) -> Iterator[Pair]:
    for batch in torch.randperm(len(x), generator=generator).split(size):
        yield x[batch], y[batch]


def _epoch(model: nn.Module, batches: Iterable[Pair], objective: Objective, descent: "_Descent") -> float:
    """Take one step for each batch and return the mean objective."""
    model.train()
    losses = [descent.step(objective(model, x, y)) for x, y in batches]
    model.eval()
    mean = sum(losses) / len(losses)
    if not math.isfinite(mean):
        raise FloatingPointError(f"the objective became {mean}; try a lower learning_rate")
    return mean


class _Descent:
    """An optimizer whose learning rate falls to 0 along half a cosine."""

    def __init__(self, optimizer: torch.optim.Optimizer, n_steps: int) -> None:
        self.optimizer = optimizer
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)

    def step(self, loss: torch.Tensor) -> float:
        """Take one step down the gradient of a loss and return the loss."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())


class _Best:
    """Keeps the history and the best weights, and knows when to stop."""

    def __init__(self, model: nn.Module, validation: Any, patience: int | None, objective: Objective) -> None:
        if patience is not None:
            checks.integer(patience, "patience", low=1)
        needed = patience is not None or validation is not None
        self.validation = _pair(validation, "validation") if needed else None
        self.model, self.patience, self.objective = model, patience, objective
        self.history = History()
        self.weights: dict[str, torch.Tensor] | None = None

    def add(self, loss: float) -> None:
        """Note an epoch; without validation data the last epoch counts as the best."""
        history = self.history
        history.loss.append(loss)
        if self.validation is None:
            history.best_epoch = len(history.loss)
            return
        history.validation.append(self._score(*self.validation))
        if history.validation[-1] < min(history.validation[:-1], default=math.inf):
            history.best_epoch = len(history.loss)
            self.weights = copy.deepcopy(self.model.state_dict())

    def _score(self, x: torch.Tensor, y: torch.Tensor) -> float:
        if y.dtype == torch.int64:
            return evaluate(self.model, (x, y)).error
        with checks.evaluating(self.model):
            return float(self.objective(self.model, x, y))

    def epochs(self, most: int, *, progress: bool) -> Iterator[int]:
        """Count the epochs up to `most`, or until `patience` is at its end."""
        for epoch in tqdm(range(1, most + 1), unit="epoch", disable=not progress):
            yield epoch
            if self.patience is not None and epoch - self.history.best_epoch >= self.patience:
                return

    def restore(self) -> History:
        """Give the model the best weights and return the history."""
        if self.weights is not None:
            self.model.load_state_dict(self.weights)
        return self.history

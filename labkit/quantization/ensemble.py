r"""BENN: several binary networks that vote, trained by bagging or by boosting.

A binary network is a weak and restless learner: small changes of the data change it much. That is the case in which
ensembles help. Zhu, Dong, Su (2019), arXiv:1806.07550; lecture 003:1626-1638. Chapter 19.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks

MODES = ("bagging", "boosting")
FLOOR = 1e-10  # a member without errors would get an infinite vote
Train = Callable[[torch.Tensor, torch.Tensor, int], nn.Module]


@dataclass(frozen=True, eq=False)
class BoostingStep:
    """One round of boosting: the member's weighted `error`, its `vote`, and the next round's weights (n,)."""

    error: float
    vote: float
    weights: np.ndarray


def bootstrap(n: int, *, weights: Any = None, random_state: Any = None) -> np.ndarray:
    """Return n indices drawn from 0 ... n - 1 with replacement, by default all equally likely.

    Parameters
    ----------
    n : number of examples, at least 1
    weights : probabilities (n,), or None
    random_state : an int, a NumPy Generator or None

    Raises TypeError or ValueError for other arguments. Breiman (1996), doi:10.1007/BF00058655. Chapter 19.

    >>> bootstrap(5, random_state=0).tolist()
    [4, 3, 2, 1, 1]
    """
    size = checks.integer(n, "n", low=1)
    p = None if weights is None else _probabilities(weights, size)
    return checks.generator(random_state).choice(size, size, p=p)


def boosting_step(weights: Any, labels: Any, predictions: Any, *, n_classes: int) -> BoostingStep:
    r"""Return one round of boosting for several classes (SAMME): a member's vote and the next weights.

    .. math:: e = \sum_i u_i 1_{\hat y_i \ne y_i}, \quad v = \ln \frac{1 - e}{e} + \ln (C - 1), \quad
       u_i \leftarrow u_i \exp(v 1_{\hat y_i \ne y_i}) / Z.

    For two classes the vote is twice that of AdaBoost. Under the new weights the member errs with probability
    1 - 1 / C: as if it guessed. So the next member has to learn something else.

    Parameters
    ----------
    weights : u (n,), positive and with sum 1
    labels, predictions : integer classes (n,)
    n_classes : C, at least 2

    Raises
    ------
    TypeError, ValueError : lengths that differ, classes that are no integers, weights that are no probabilities, or a
        member that does not do better than guessing.

    Zhu, Zou, Rosset, Hastie (2009), doi:10.4310/SII.2009.v2.n3.a8; Zhu, Dong, Su (2019), arXiv:1806.07550;
    lecture 003:1626-1638. Chapter 19.

    >>> made = boosting_step([0.25] * 4, [0, 1, 0, 1], [0, 1, 0, 0], n_classes=2)
    >>> round(made.vote, 4), made.weights.round(4).tolist()
    (1.0986, [0.1667, 0.1667, 0.1667, 0.5])
    """
    C = checks.integer(n_classes, "n_classes", low=2)
    labels, predictions = _classes(labels, "labels", C), _classes(predictions, "predictions", math.inf)
    u = _probabilities(weights, len(labels))
    if len(predictions) != len(labels):
        raise ValueError(f"predictions must be as many as the {len(labels)} labels, got {len(predictions)}")
    wrong = labels != predictions
    error = float(u[wrong].sum())
    chance = 1 - 1 / C
    if error >= chance:
        raise ValueError(f"predictions must do better than guessing, error {chance:.4g}, got {error:.4g}")
    vote = math.log((1 - error) / max(error, FLOOR)) + math.log(C - 1)
    grown = u * np.exp(vote * wrong)
    return BoostingStep(error, vote, grown / grown.sum())


class Ensemble(nn.Module):
    """Networks that vote: the weighted sum of their probabilities (soft) or of their single votes (hard).

    Parameters
    ----------
    members : classifiers of the same classes
    votes : weights, one for each member, at least 0 and not all 0; by default equal
    soft : add softmax probabilities; otherwise each member names one class

    Raises
    ------
    TypeError, ValueError : no members, members that are no modules, or other votes.

    Zhu, Dong, Su (2019), arXiv:1806.07550. Chapter 19.

    >>> always = nn.Linear(1, 2)
    >>> Ensemble([always, always], votes=[1.0, 2.0], soft=False)(torch.ones(1, 1)).sum().item()
    1.0
    """

    votes: torch.Tensor

    def __init__(self, members: Sequence[nn.Module], *, votes: Any = None, soft: bool = True) -> None:
        super().__init__()
        self.members = nn.ModuleList(_networks(members))
        given = checks.array(np.ones(len(members)) if votes is None else votes, "votes", ndim=1)
        if len(given) != len(members) or (given < 0).any() or not given.any():
            raise ValueError(f"votes must be {len(members)} numbers of at least 0, not all 0, got {given.tolist()}")
        self.register_buffer("votes", torch.from_numpy(given / given.sum()).float())
        self.soft = checks.flag(soft, "soft")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the votes (n, classes); each row has the sum 1."""
        scores = torch.stack([member(x) for member in self.members])  # (members, n, classes)
        shares = scores.softmax(2) if self.soft else nn.functional.one_hot(scores.argmax(2), scores.shape[2]).float()
        return torch.tensordot(self.votes, shares, 1)


def benn(
    train: Train, x: torch.Tensor, y: torch.Tensor, *, n_members: int, mode: str = "bagging", random_state: Any = None
) -> Ensemble:
    """Return an ensemble of networks, each trained on its own draw of the examples.

    Parameters
    ----------
    train : called as train(x, y, k) with the k-th draw, k from 0; returns a trained classifier
    x, y : inputs (n, ...) and int64 classes (n,)
    n_members : at least 1
    mode : "bagging" draws all examples with equal probability and gives all members one vote; "boosting" draws those
        that the members before got wrong more often and sets the votes by `boosting_step`
    random_state : an int, a NumPy Generator or None

    Raises
    ------
    TypeError, ValueError : a bad argument, or a member of a boosted ensemble that does no better than guessing.

    Zhu, Dong, Su (2019), arXiv:1806.07550; lecture 003:1626-1638. Chapter 19.

    >>> x, y = torch.eye(2).repeat(4, 1), torch.tensor([0, 1]).repeat(4)
    >>> benn(lambda x, y, k: nn.Identity(), x, y, n_members=3)(x).argmax(1).equal(y)
    True
    """
    checks.choice(mode, "mode", MODES)
    checks.function(train, "train")
    if not checks.instance(x, "x", torch.Tensor).dim() or not x.isfinite().all():
        raise ValueError(f"x must be examples (n, ...) without NaN, got shape {tuple(x.shape)}")
    if checks.instance(y, "y", torch.Tensor).dtype != torch.int64 or len(x) != len(y) or not len(y):
        raise ValueError(f"y must be {len(x)} classes of type int64, at least one, got {len(y)} of {y.dtype}")
    generator, n_classes = checks.generator(random_state), max(2, int(y.max()) + 1)
    weights, members, votes = np.full(len(y), 1 / len(y)), [], []
    for k in range(checks.integer(n_members, "n_members", low=1)):
        drawn = torch.from_numpy(bootstrap(len(y), weights=weights, random_state=generator))
        members.append(train(x[drawn], y[drawn], k))
        votes.append(1.0)
        if mode == "boosting":
            step = boosting_step(weights, y.numpy(), _predict(members[-1], x), n_classes=n_classes)
            weights, votes[-1] = step.weights, step.vote
    return Ensemble(members, votes=votes)


def _networks(members: Any) -> list[nn.Module]:
    if not isinstance(members, list | tuple | nn.ModuleList) or not all(isinstance(m, nn.Module) for m in members):
        raise TypeError(f"members must be a list of networks, got {type(members).__name__}")
    if not members:
        raise ValueError("members must hold at least one network, got none")
    return list(members)


def _predict(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    with checks.evaluating(model):
        return torch.cat([model(part).argmax(1) for part in x.split(1000)]).numpy()


def _probabilities(weights: Any, n: int) -> np.ndarray:
    u = checks.array(weights, "weights", ndim=1).astype(float)
    if len(u) != n or (u < 0).any() or not np.isclose(u.sum(), 1):
        raise ValueError(f"weights must be {n} numbers of at least 0 with sum 1, got {len(u)} with sum {u.sum():.6g}")
    return u / u.sum()


def _classes(values: Any, name: str, n_classes: float) -> np.ndarray:
    made = checks.plain(values, name)
    if made.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {made.dtype}")
    if made.ndim != 1 or not made.size:
        raise ValueError(f"{name} must be one row of at least one class, got shape {made.shape}")
    if made.min() < 0 or made.max() >= n_classes:
        raise ValueError(f"{name} must lie between 0 and {n_classes - 1}, got {made.min()} to {made.max()}")
    return made

"""Ranks for a whole network: by energy, by tolerance, or the best use of a budget of multiply-adds.

Chapter 5; lecture 003:1754-1764. A budget counts the multiply-adds of all linear and convolutional layers for one
example, without biases, as `labkit.cost.count` does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.layers import weight_matrix
from labkit.decomposition.response import Moments, channel_dimension, find_layers, spread, watch
from labkit.decomposition.svd import rank_for_energy, rank_for_tol, thin_svd

Ranks = dict[str, int]


def select_ranks(
    model: nn.Module,
    *,
    budget: int,
    example_inputs: torch.Tensor,
    energy: str = "responses",
    layers: Iterable[str] | None = None,
) -> Ranks:
    """Return the ranks that keep the most energy within a budget of multiply-adds: {layer name: rank}.

    With E_l(k) the fraction of squared singular values (or response variances) that layer l keeps at rank k, the
    product of all E_l is to be as large as possible while the whole model takes at most `budget` multiply-adds.
    Greedy: again and again take the step down that loses the least log E for each multiply-add saved, then spend
    what is left. A layer that pays least when it stays dense is absent from the result.

    Parameters
    ----------
    model : its linear and ungrouped convolutional layers are considered
    budget : int, multiply-adds of the factorised model for one example
    example_inputs : a batch; for energy="responses" several hundred typical inputs
    energy : "responses" (PCA of each layer's outputs, for `response_pca`) or "weights" (for `factorize_linear`)
    layers : names of the layers that may be factorised, None for all

    Raises
    ------
    TypeError, ValueError : a bad argument, a budget that rank 1 everywhere exceeds, too few example inputs.

    Zhang et al. (2016), arXiv:1505.06798, section 2.4; lecture 003:1754-1764. Chapter 5.

    >>> model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 20))
    >>> sorted(select_ranks(model, budget=400, example_inputs=torch.eye(20), energy="weights"))
    ['0', '2']
    """
    checks.integer(budget, "budget", low=1)
    table = _options(model, example_inputs, layers, checks.choice(energy, "energy", ("responses", "weights")))
    room = _room(table, budget)
    ranks = descend(table, budget=room)
    return _named(table, _spend(table, ranks, room - _cost(table, ranks)))


def uniform_ranks(
    model: nn.Module, *, budget: int, example_inputs: torch.Tensor, layers: Iterable[str] | None = None
) -> Ranks:
    """Return ranks that cut the multiply-adds of every layer by the same factor, as near to the budget as they get.

    The plain choice that `select_ranks` is compared with; arguments and errors as there.
    Lecture 003:1754-1764, the lines without rank selection. Chapter 5.

    >>> model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 20))
    >>> uniform_ranks(model, budget=400, example_inputs=torch.zeros(1, 20))
    {'0': 5, '2': 5}
    """
    checks.integer(budget, "budget", low=1)
    table = _options(model, example_inputs, layers, "none")
    room = _room(table, budget)
    if room >= sum(option.dense for option in table):
        return {}
    low, high = 0.0, 1.0
    for _ in range(50):  # bisection for the largest common factor that fits
        middle = (low + high) / 2
        low, high = (middle, high) if _cost(table, _shares(table, middle)) <= room else (low, middle)
    return _named(table, _shares(table, low))


def ranks_for_energy(model: nn.Module, *, energy: float) -> Ranks:
    """Return for each layer the smallest rank that keeps the fraction `energy` of its squared singular values.

    A layer that would not get smaller is absent. Raises as `rank_for_energy` does. Lecture 003:1754-1764. Chapter 5.

    >>> ranks_for_energy(nn.Sequential(nn.Linear(20, 20)), energy=0.1)
    {'0': 1}
    """
    return _worthwhile(model, lambda s: rank_for_energy(s, energy=energy))


def ranks_for_tol(model: nn.Module, *, tol: float) -> Ranks:
    """Return for each layer the smallest rank whose relative Frobenius error is at most `tol`.

    A layer that would not get smaller is absent. Raises as `rank_for_tol` does. Lecture 000:463-468. Chapter 5.

    >>> ranks_for_tol(nn.Sequential(nn.Linear(20, 20)), tol=0.95)
    {'0': 1}
    """
    return _worthwhile(model, lambda s: rank_for_tol(s, tol=tol))


@dataclass(frozen=True)
class Option:
    """What a layer (m, n) costs and keeps: `dense` multiply-adds, or `per_rank` for each of at most `top` ranks.

    log_kept[k] is log E(k), for k = 0, ..., top.
    """

    name: str
    dense: int
    per_rank: int
    top: int
    log_kept: np.ndarray

    def cost(self, rank: int | None) -> int:
        return self.dense if rank is None else rank * self.per_rank

    def loss(self, rank: int | None) -> float:
        return 0.0 if rank is None else -float(self.log_kept[rank])

    def price(self, before: int | None, after: int) -> float:
        """Energy lost, as a logarithm, for each multiply-add saved."""
        return (self.loss(after) - self.loss(before)) / (self.cost(before) - self.cost(after))

    def steps(self) -> list[tuple[float, int]]:
        """The way down from dense to rank 1, as (price, rank): a leap to the cheapest rank, then one at a time."""
        if not self.top:
            return []
        rank = min(range(1, self.top + 1), key=lambda k: self.price(None, k))
        return [(self.price(None, rank), rank)] + [(self.price(k + 1, k), k) for k in range(rank - 1, 0, -1)]


def descend(options: Sequence[Option], *, budget: int) -> list[int | None]:
    """Return the rank of each layer, None where it stays dense, after the cheapest steps down that meet a budget.

    The step with the least energy lost for each multiply-add saved comes first, whichever layer it belongs to.
    `select_ranks` then spends what the last step saved too much.

    Parameters
    ----------
    options : what each layer costs and keeps
    budget : int, multiply-adds of all layers together for one example

    Raises
    ------
    TypeError, ValueError : no options, or a budget that rank 1 everywhere exceeds.

    Zhang et al. (2016), arXiv:1505.06798, section 2.4; lecture 003:1754-1764. Chapter 5.

    >>> kept = np.array([-np.inf, -0.5, -0.1, 0.0])
    >>> small, large = Option("a", 100, 20, 3, kept), Option("b", 1000, 200, 3, kept)
    >>> descend([small, large], budget=800), descend([small, large], budget=460)
    ([3, 3], [3, 2])
    """
    room = _room(_several(options), checks.integer(budget, "budget", low=1))
    ranks: list[int | None] = [None] * len(options)
    steps = [(price, -rank, i) for i, option in enumerate(options) for price, rank in option.steps()]
    for _, rank, i in sorted(steps):
        if _cost(options, ranks) <= room:
            break
        ranks[i] = -rank
    return ranks


def _several(options: Sequence[Option]) -> Sequence[Option]:
    if not checks.instance(options, "options", (list, tuple)):
        raise ValueError("options must hold at least one Option, got none")
    return [checks.instance(option, "an entry of options", Option) for option in options]


def _spend(table: Sequence[Option], ranks: list[int | None], left: int) -> list[int | None]:
    """Raise ranks by one, the most energy for a multiply-add first, while the budget lasts."""
    while True:
        offers = [
            (option.price(rank + 1, rank), i)
            for i, (option, rank) in enumerate(zip(table, ranks, strict=True))
            if rank is not None and rank < option.top and option.per_rank <= left
        ]
        if not offers:
            return ranks
        best = max(offers)[1]
        ranks[best], left = (ranks[best] or 0) + 1, left - table[best].per_rank


def _shares(table: Sequence[Option], share: float) -> list[int | None]:
    """Return the ranks that leave each layer the same share of its dense cost, at least rank 1."""
    return [max(1, min(o.top, int(share * o.dense / o.per_rank))) if o.top else None for o in table]


def _cost(table: Sequence[Option], ranks: list[int | None]) -> int:
    return sum(option.cost(rank) for option, rank in zip(table, ranks, strict=True))


def _named(table: Sequence[Option], ranks: list[int | None]) -> Ranks:
    return {option.name: rank for option, rank in zip(table, ranks, strict=True) if rank is not None}


def _room(table: Sequence[Option], budget: int) -> int:
    """Return the budget if the model can meet it at all."""
    least = sum(min(o.dense, o.per_rank) if o.top else o.dense for o in table)
    if budget < least:
        raise ValueError(f"budget must be at least {least} multiply-adds, the cost at rank 1, got {budget}")
    return budget


def _options(model: nn.Module, x: torch.Tensor, layers: Iterable[str] | None, energy: str) -> list[Option]:
    """Run the model once and list what its layers cost and keep; layers that must stay dense have top = 0."""
    checks.array(checks.instance(x, "example_inputs", torch.Tensor), "example_inputs")
    found = find_layers(model)
    free = _free(found) if layers is None else find_layers(model, layers)
    outputs, moments = dict.fromkeys(found, 0), {name: Moments() for name in free if energy == "responses"}

    def note(name: str, y: torch.Tensor) -> None:
        outputs[name] += y.numel() // len(x)
        if name in moments:
            moments[name].add(y, channels=channel_dimension(found[name]))

    watch(model, x, {name: lambda _, y, name=name: note(name, y) for name in found})
    called = {name: layer for name, layer in found.items() if outputs[name]}
    spectra = {name: _spectrum(name, free[name], moments.get(name), energy) for name in called if name in free}
    return [_option(name, layer, outputs[name], spectra.get(name)) for name, layer in called.items()]


def _free(found: dict[str, Any]) -> dict[str, Any]:
    """Return the layers that can be factorised: a grouped convolution cannot."""
    return {name: layer for name, layer in found.items() if getattr(layer, "groups", 1) == 1}


def _spectrum(name: str, layer: Any, moments: Moments | None, energy: str) -> np.ndarray:
    W = weight_matrix(layer)
    if energy == "none":
        return np.ones(min(W.shape))
    if moments is None:
        return thin_svd(W).s
    _, covariance, n = moments.result()
    if n <= len(W):
        raise ValueError(f"example_inputs must give more than {len(W)} responses of layer {name!r}, got {n}")
    return spread(covariance)


def _option(name: str, layer: Any, outputs: int, s: np.ndarray | None) -> Option:
    m, n = len(layer.weight), layer.weight[0].numel()
    dense, per_rank = outputs * n, outputs // m * (m + n)
    if s is None:
        return Option(name, dense, per_rank, 0, np.zeros(1))
    kept = np.cumsum(s**2) / (s**2).sum() if s.any() else np.ones(len(s))
    top = min(m, n, (m * n - 1) // (m + n))
    return Option(name, dense, per_rank, top, np.log(np.append(1e-300, kept[:top].clip(1e-300))))


def _worthwhile(model: nn.Module, choose: Callable[[np.ndarray], int]) -> Ranks:
    found = {name: weight_matrix(layer) for name, layer in _free(find_layers(model)).items()}
    ranks = {name: choose(thin_svd(W).s) for name, W in found.items()}
    return {name: k for name, k in ranks.items() if k * sum(found[name].shape) < found[name].size}

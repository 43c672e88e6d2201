"""Trained Rank Pruning: low-rank approximation inside the training, not after it. Chapter 9; lecture 004:1-6, 25-30."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.decomposition.response import find_layers
from labkit.decomposition.svd import rank_for_tol


class TRPTrainer:
    """Makes an optimizer that every `period` steps replaces weights by their best low-rank approximation.

    Between two replacements the weights move freely, so the network keeps its full capacity while it learns to do
    with less. With `nuclear_weight` a sub-gradient of the nuclear norm joins every step:

        W <- U_k S_k V_k^T                                   every `period` steps, (U, S, V) the SVD of W
        W <- W - step(grad L + nuclear_weight U_k V_k^T)     in every step, U_k V_k^T from the last replacement

    Parameters
    ----------
    model : the network; its layers are changed in place while it trains
    layers : {layer name: rank}; or a list of names, and then `tol` sets the ranks
    tol : relative Frobenius error in [0, 1) that a replacement may make; the smallest rank that keeps to it is taken
    period : steps between two replacements, at least 1
    nuclear_weight : weight of the nuclear norm, at least 0

    A convolution's kernel counts as the matrix (m, c h w), as in `LowRankConv2d`. After the training compress with
    `ranks`, or call `truncate` once more: the last steps have left the low-rank weights. With `tol` every replacement
    may make that error again, so the errors add up and the ranks can fall far.

    Raises
    ------
    TypeError, ValueError : a bad argument, a layer that the model does not have or that is grouped.

    Xu et al. (2018), arXiv:1812.02402, (2019), arXiv:1910.04576; lecture 004:1-6, 25-30. Chapter 9.

    >>> trainer = TRPTrainer(nn.Sequential(nn.Linear(6, 4)), {"0": 2}, period=10)
    >>> trainer.truncate()
    {'0': 2}
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, int] | Iterable[str],
        *,
        tol: float | None = None,
        period: int = 20,
        nuclear_weight: float = 0.0,
    ) -> None:
        fixed = isinstance(layers, Mapping)
        if fixed == (tol is not None):
            raise TypeError(f"give either layers as {{name: rank}} or tol, got layers={layers!r} and tol={tol!r}")
        self.period = checks.integer(period, "period", low=1)
        self.nuclear_weight = checks.number(nuclear_weight, "nuclear_weight", low=0)
        self.tol = None if tol is None else checks.number(tol, "tol", low=0, high=1)
        self._layers = _matrices(model, layers)
        self.ranks: dict[str, int] = dict(layers) if isinstance(layers, Mapping) else {}
        for name, rank in self.ranks.items():
            checks.rank(rank, f"layers[{name!r}]", high=min(self._layers[name].weight.flatten(1).shape))
        self.n_steps = 0
        self._directions: dict[str, torch.Tensor] = {}  # U_k V_k^T of each layer

    def optimizer(self, kind: Callable[..., torch.optim.Optimizer] = torch.optim.Adam) -> Callable[..., Any]:
        """Return what makes optimizers like `kind`, with the replacements built in; `fit` takes it as `optimizer`.

        >>> model = nn.Sequential(nn.Linear(6, 4))
        >>> trainer = TRPTrainer(model, {"0": 2}, period=1)
        >>> steps = trainer.optimizer(torch.optim.SGD)(model.parameters(), lr=0.1)
        >>> model(torch.eye(6)).sum().backward()
        >>> steps.step()
        >>> int(torch.linalg.matrix_rank(model[0].weight))
        2
        """

        def make(parameters: Any, **settings: Any) -> torch.optim.Optimizer:
            made = kind(parameters, **settings)
            made.register_step_pre_hook(lambda *_: self._add_subgradients())
            made.register_step_post_hook(lambda *_: self._count_step())
            return made

        return make

    @torch.no_grad()
    def truncate(self) -> dict[str, int]:
        """Replace the weights by their best approximations now; return the ranks."""
        for name, layer in self._layers.items():
            U, s, Vt = torch.linalg.svd(layer.weight.flatten(1), full_matrices=False)
            k = rank_for_tol(s.double().cpu().numpy(), tol=self.tol) if self.tol is not None else self.ranks[name]
            self.ranks[name] = k
            layer.weight.copy_(((U[:, :k] * s[:k]) @ Vt[:k]).reshape(layer.weight.shape))
            self._directions[name] = (U[:, :k] @ Vt[:k]).reshape(layer.weight.shape)
        return dict(self.ranks)

    @torch.no_grad()
    def _add_subgradients(self) -> None:
        if self.nuclear_weight:
            for name, direction in self._directions.items():
                gradient = self._layers[name].weight.grad
                if gradient is not None:
                    gradient.add_(direction, alpha=self.nuclear_weight)

    def _count_step(self) -> None:
        self.n_steps += 1
        if self.n_steps % self.period == 0:
            self.truncate()


def _matrices(model: nn.Module, layers: Mapping[str, int] | Iterable[str]) -> dict[str, Any]:
    """Return the named layers; a grouped convolution is no matrix."""
    found = find_layers(model, layers)
    if not found:
        raise ValueError(f"layers must name at least one layer, got {layers!r}")
    for name, layer in found.items():
        if getattr(layer, "groups", 1) != 1:
            raise ValueError(f"layers[{name!r}] must be a convolution with groups=1, got groups={layer.groups}")
    return found

"""What a compression plan says about one layer: small recipes with an `.apply(layer)`. Chapter 5."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.decomposition.layers import LowRankConv2d, LowRankLinear
from labkit.decomposition.response import layer_inputs, response_pca


@dataclass(frozen=True)
class LowRankScheme:
    """Factorise a linear or convolutional layer by the truncated SVD of its weight; give `rank` or `tol`.

    >>> LowRankScheme(rank=2).apply(nn.Linear(6, 4)).rank
    2
    """

    rank: int | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.tol is None):
            raise TypeError(f"give exactly one of rank and tol, got rank={self.rank!r} and tol={self.tol!r}")

    def apply(self, layer: nn.Module) -> LowRankLinear | LowRankConv2d:
        """Return the factorised layer; raises TypeError or ValueError if the layer or the rank does not fit."""
        if isinstance(layer, nn.Conv2d):
            return LowRankConv2d.from_conv(layer, rank=self.rank, tol=self.tol)
        return LowRankLinear.from_linear(checks.instance(layer, "layer", nn.Linear), rank=self.rank, tol=self.tol)


@dataclass(frozen=True, eq=False)
class ResponseScheme:
    """Factorise a linear or convolutional layer by `response_pca`; `data` holds inputs of that layer.

    >>> ResponseScheme(rank=2, data=torch.eye(6)).apply(nn.Linear(6, 4)).rank
    2
    """

    rank: int
    data: torch.Tensor = field(repr=False)

    def apply(self, layer: nn.Module) -> LowRankLinear | LowRankConv2d:
        """Return the factorised layer; raises TypeError or ValueError if the layer, rank or data do not fit."""
        return response_pca(checks.instance(layer, "layer", (nn.Linear, nn.Conv2d)), self.data, rank=self.rank)


def low_rank_plan(ranks: dict[str, int]) -> dict[str, Any]:
    """Return a plan that factorises each named layer at its rank by SVD of the weight.

    >>> low_rank_plan({"fc1": 16})
    {'fc1': LowRankScheme(rank=16, tol=None)}
    """
    return {name: LowRankScheme(rank=rank) for name, rank in checks.instance(ranks, "ranks", dict).items()}


def response_plan(model: nn.Module, ranks: dict[str, int], x: torch.Tensor) -> dict[str, Any]:
    """Return a plan that factorises each named layer at its rank by PCA of its responses when the model sees x.

    Raises TypeError or ValueError for a bad argument or a layer that the model does not have.

    >>> model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 4))
    >>> response_plan(model, {"1": 2}, torch.eye(6))
    {'1': ResponseScheme(rank=2)}
    """
    inputs = layer_inputs(model, x, names=checks.instance(ranks, "ranks", dict))
    return {name: ResponseScheme(rank=rank, data=inputs[name]) for name, rank in ranks.items()}

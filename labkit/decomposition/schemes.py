"""What a compression plan says about one layer: small recipes with an `.apply(layer)`. Chapters 5 to 7."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.decomposition.conv_layers import LowRankConv2d
from labkit.decomposition.conv_schemes import SCHEMES
from labkit.decomposition.kronecker_layers import KConv2d, KroneckerLinear, SharedGroupConv2d
from labkit.decomposition.layers import LowRankLinear
from labkit.decomposition.response import layer_inputs, response_pca
from labkit.decomposition.separable import SeparableConv


@dataclass(frozen=True)
class LowRankScheme:
    """Factorise a linear or convolutional layer by the truncated SVD of its weight; give `rank` or `tol`.

    >>> LowRankScheme(rank=2).apply(nn.Linear(6, 4)).rank
    2
    """

    rank: int | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        _exactly_one(self.rank, self.tol)

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


@dataclass(frozen=True)
class ConvScheme:
    """Factorise a convolution by a scheme of `factorize_conv`: "hw_1x1", "1x1_hw", "hx1_1xw" or "dac".

    Give `rank` or `tol`. Raises TypeError or ValueError for another scheme. Chapter 7.

    >>> ConvScheme("dac", rank=2).apply(nn.Conv2d(4, 8, 3)).rank
    2
    """

    scheme: str
    rank: int | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        checks.choice(self.scheme, "scheme", SCHEMES)
        _exactly_one(self.rank, self.tol)

    def apply(self, layer: nn.Module) -> LowRankConv2d:
        """Return the factorised layer; raises TypeError or ValueError if the layer or the rank does not fit."""
        chosen = checks.instance(layer, "layer", nn.Conv2d)
        return LowRankConv2d.from_conv(chosen, scheme=self.scheme, rank=self.rank, tol=self.tol)


@dataclass(frozen=True)
class SeparableScheme:
    """Factorise a 2-D or 3-D convolution into one-dimensional ones by `separable_kernel`; give `rank` or `tol`.

    >>> SeparableScheme(rank=(5, 6)).apply(nn.Conv3d(4, 8, 3)).rank
    (5, 6)
    """

    rank: int | tuple[int, ...] | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        _exactly_one(self.rank, self.tol)

    def apply(self, layer: nn.Module) -> SeparableConv:
        """Return the factorised layer; raises TypeError or ValueError if the layer or the rank does not fit."""
        chosen = checks.instance(layer, "layer", (nn.Conv2d, nn.Conv3d))
        return SeparableConv.from_conv(chosen, rank=self.rank, tol=self.tol)


@dataclass(frozen=True)
class KroneckerScheme:
    """Replace a linear layer by a sum of Kronecker products with right factors of shape `right`; `rank` or `tol`.

    >>> KroneckerScheme(right=(2, 3), rank=2).apply(nn.Linear(6, 4)).rank
    2
    """

    right: tuple[int, int]
    rank: int | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        _exactly_one(self.rank, self.tol)

    def apply(self, layer: nn.Module) -> KroneckerLinear:
        """Return the new layer; raises TypeError or ValueError if the layer, the shape or the rank does not fit."""
        chosen = checks.instance(layer, "layer", nn.Linear)
        return KroneckerLinear.from_linear(chosen, right=self.right, rank=self.rank, tol=self.tol)


@dataclass(frozen=True)
class KConvScheme:
    """Replace a convolution by a sum of Kronecker products with left factors (o1, c1, h1, w1); `rank` or `tol`.

    >>> KConvScheme(left=(4, 2, 3, 1), rank=2).apply(nn.Conv2d(4, 8, 3)).rank
    2
    """

    left: tuple[int, int, int, int]
    rank: int | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        _exactly_one(self.rank, self.tol)

    def apply(self, layer: nn.Module) -> KConv2d:
        """Return the new layer; raises TypeError or ValueError if the layer, the shape or the rank does not fit."""
        chosen = checks.instance(layer, "layer", nn.Conv2d)
        return KConv2d.from_conv(chosen, left=self.left, rank=self.rank, tol=self.tol)


@dataclass(frozen=True)
class SharedGroupScheme:
    """Replace a convolution by the nearest one whose `groups` share their filters.

    >>> SharedGroupScheme(groups=2).apply(nn.Conv2d(4, 8, 3)).groups
    2
    """

    groups: int

    def __post_init__(self) -> None:
        checks.integer(self.groups, "groups", low=2)

    def apply(self, layer: nn.Module) -> SharedGroupConv2d:
        """Return the new layer; raises TypeError or ValueError if the layer or the number of groups does not fit."""
        return SharedGroupConv2d.from_conv(checks.instance(layer, "layer", nn.Conv2d), groups=self.groups)


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


def _exactly_one(rank: Any, tol: Any) -> None:
    if (rank is None) == (tol is None):
        raise TypeError(f"give exactly one of rank and tol, got rank={rank!r} and tol={tol!r}")

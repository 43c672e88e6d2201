"""Linear layers as two smaller layers in a row, U S (V^T x) + b; what such layers share. Chapter 5."""

from typing import Any, Self

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.svd import LowRank, truncated_svd


class TwoLayers(nn.Module):
    """A layer of rank k: `first` maps the input to k numbers, `second` maps these to the output and adds the bias."""

    first: Any
    second: Any

    @property
    def rank(self) -> int:
        """The number k of features between the two layers."""
        return len(self.first.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for a batch x."""
        return self.second(self.first(x))

    def _fill(self, first: np.ndarray, second: np.ndarray, bias: Any, like: Any) -> Self:
        """Set first (k, n), second (m, k) and bias (m,), with the number type, device and mode of the layer `like`."""
        self.to_empty(device=like.weight.device).to(like.weight.dtype)
        with torch.no_grad():
            for target, value in (self.first.weight, first), (self.second.weight, second), (self.second.bias, bias):
                if target is not None:
                    target.copy_(torch.as_tensor(value).reshape(target.shape))
        return self.train(like.training)


class LowRankLinear(TwoLayers):
    """A linear layer of rank k, stored as a k x n and an m x k layer: k (m + n) weights in place of m n.

    `in_features` is n, `out_features` m, `rank` k (int, 1 to min(m, n)); `bias`, `device`, `dtype` as in nn.Linear.
    A new layer has random weights to train; `from_linear` factorises a trained one.
    Denton et al. (2014), arXiv:1404.0736; lecture 002:386-398, 003:2051. Chapter 5.

    >>> LowRankLinear(784, 300, rank=16)(torch.zeros(5, 784)).shape
    torch.Size([5, 300])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rank: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}  # U S V^T is split as (U S) and V^T
        self.first, self.second = linear_pair(in_features, out_features, rank=rank, bias=bias, **made)

    @classmethod
    def from_linear(cls, layer: nn.Linear, *, rank: int | None = None, tol: float | None = None) -> Self:
        """Factorise the weight of `layer` by truncated SVD; give `rank` or `tol`, as `truncated_svd` takes them."""
        U, s, Vt = weight_svd(checks.instance(layer, "layer", nn.Linear), rank=rank, tol=tol)
        return cls._empty(layer, rank=len(s), bias=layer.bias is not None)._fill(Vt, U * s, layer.bias, layer)

    @classmethod
    def _empty(cls, layer: nn.Linear, *, rank: int, bias: bool) -> Self:
        return cls(layer.in_features, layer.out_features, rank=rank, bias=bias, device="meta")

    def to_dense(self) -> nn.Linear:
        """Return the same map as one nn.Linear."""
        dense = nn.Linear(self.first.in_features, self.second.out_features, self.second.bias is not None, device="meta")
        weight = self.second.weight.detach().double() @ self.first.weight.detach().double()  # (m, n)
        return filled(dense, weight, self.second.bias, like=self)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain numbers for a file header."""
        n, m = self.first.in_features, self.second.out_features
        return {"in_features": n, "out_features": m, "rank": self.rank, "bias": self.second.bias is not None}


def factorize_linear(layer: nn.Linear, *, rank: int | None = None, tol: float | None = None) -> LowRankLinear:
    """Return a linear layer as two: W (m, n) ~ (U S) V^T, so y = (U S) (V^T x) + b.

    Give `rank` (int, 1 to min(m, n)) or `tol` (relative Frobenius error of the weight). Raises TypeError or
    ValueError otherwise. The layer is smaller only for rank < m n / (m + n). Denton et al. (2014), arXiv:1404.0736.
    Chapter 5; lecture 002:386-398, 003:2051.

    >>> factorize_linear(nn.Linear(784, 300), rank=16).first
    Linear(in_features=784, out_features=16, bias=False)
    """
    return LowRankLinear.from_linear(layer, rank=rank, tol=tol)


def linear_pair(
    in_features: int, out_features: int, *, rank: int, bias: bool, device: Any = None, dtype: Any = None
) -> tuple[nn.Linear, nn.Linear]:
    """Return new layers n to k and k to m, the second with the bias, after a check of the sizes.

    Raises TypeError or ValueError unless n and m are positive ints and `rank` k is an int, 1 to min(m, n).

    >>> linear_pair(784, 300, rank=16, bias=True)[0]
    Linear(in_features=784, out_features=16, bias=False)
    """
    n = checks.integer(in_features, "in_features", low=1)
    m = checks.integer(out_features, "out_features", low=1)
    k = checks.rank(rank, high=min(m, n))
    first = nn.Linear(n, k, bias=False, device=device, dtype=dtype)
    return first, nn.Linear(k, m, bias=bias, device=device, dtype=dtype)


def weight_matrix(layer: nn.Linear | nn.Conv2d) -> np.ndarray:
    """Return a layer's weight as a float64 matrix (m, n), one row per output; n is c h w for a convolution.

    Raises TypeError for another kind of layer and ValueError for a grouped convolution or a weight that is not finite.

    >>> weight_matrix(nn.Conv2d(20, 50, 5)).shape
    (50, 500)
    """
    checks.instance(layer, "layer", (nn.Linear, nn.Conv2d))
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        raise ValueError(f"layer must be a convolution with groups=1, got groups={layer.groups}")
    return checks.matrix(layer.weight.detach().double().flatten(1), "layer.weight")


def weight_svd(layer: nn.Linear | nn.Conv2d, *, rank: int | None = None, tol: float | None = None) -> LowRank:
    """Return the truncated SVD of a layer's weight matrix; arguments and errors as in `truncated_svd`.

    >>> weight_svd(nn.Conv2d(20, 50, 5), rank=10)
    LowRank(shape=(50, 500), rank=10, n_params=5510)
    """
    return truncated_svd(weight_matrix(layer), rank=rank, tol=tol)


def filled(layer: Any, weight: Any, bias: Any, *, like: nn.Module) -> Any:
    """Give an empty layer its weight and bias, with the number type, device and mode of the module `like`."""
    first = next(like.parameters())
    layer.to_empty(device=first.device).to(first.dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight).reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.copy_(bias)
    return layer.train(like.training)

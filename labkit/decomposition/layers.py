"""Linear and convolutional layers as two smaller layers in a row, U S (V^T x) + b. Chapter 5."""

from typing import Any, Self

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.svd import LowRank, truncated_svd

WINDOW = ("stride", "padding", "dilation", "padding_mode")


class _TwoLayers(nn.Module):
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

    def _product(self) -> torch.Tensor:
        """Return the dense weight as a matrix (m, n), multiplied in double precision."""
        return self.second.weight.detach().double().flatten(1) @ self.first.weight.detach().double().flatten(1)


class LowRankLinear(_TwoLayers):
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
        n = checks.integer(in_features, "in_features", low=1)
        m = checks.integer(out_features, "out_features", low=1)
        k = checks.rank(rank, high=min(m, n))
        self.first = nn.Linear(n, k, bias=False, device=device, dtype=dtype)  # S V^T is split as (U S) and V^T
        self.second = nn.Linear(k, m, bias=bias, device=device, dtype=dtype)

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
        return _filled(dense, self._product(), self.second, self.training)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain numbers for a file header."""
        n, m = self.first.in_features, self.second.out_features
        return {"in_features": n, "out_features": m, "rank": self.rank, "bias": self.second.bias is not None}


class LowRankConv2d(_TwoLayers):
    """A convolution of rank k: k filters of the full size c x h x w, then m filters of size k x 1 x 1.

    For each output pixel it takes k c h w + k m multiply-adds in place of m c h w. `in_channels` is c, `out_channels`
    m, `rank` k (int, 1 to min(m, c h w)); `window` is any of stride, padding, dilation
    and padding_mode, as in nn.Conv2d.
    Zhang et al. (2016), arXiv:1505.06798; lecture 003:1742-1748. Chapter 5.

    >>> LowRankConv2d(20, 50, 5, rank=10)(torch.zeros(1, 20, 12, 12)).shape
    torch.Size([1, 50, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        rank: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **window: Any,
    ) -> None:
        super().__init__()
        c = checks.integer(in_channels, "in_channels", low=1)
        m = checks.integer(out_channels, "out_channels", low=1)
        self._window = {checks.choice(key, "argument", WINDOW): value for key, value in window.items()}
        k = checks.rank(rank, high=min(m, nn.Conv2d(c, m, kernel_size, device="meta").weight[0].numel()))
        self.first = nn.Conv2d(c, k, kernel_size, bias=False, device=device, dtype=dtype, **self._window)
        self.second = nn.Conv2d(k, m, 1, bias=bias, device=device, dtype=dtype)

    @classmethod
    def from_conv(cls, layer: nn.Conv2d, *, rank: int | None = None, tol: float | None = None) -> Self:
        """Factorise the filters of `layer`, as a matrix m x c h w, by truncated SVD; give `rank` or `tol`."""
        U, s, Vt = weight_svd(checks.instance(layer, "layer", nn.Conv2d), rank=rank, tol=tol)
        return cls._empty(layer, rank=len(s), bias=layer.bias is not None)._fill(Vt, U * s, layer.bias, layer)

    @classmethod
    def _empty(cls, layer: nn.Conv2d, *, rank: int, bias: bool) -> Self:
        window: dict[str, Any] = {key: getattr(layer, key) for key in WINDOW}
        c, m, kernel = layer.in_channels, layer.out_channels, checks.instance(layer.kernel_size, "kernel_size", tuple)
        return cls(c, m, kernel, rank=rank, bias=bias, device="meta", **window)

    def to_dense(self) -> nn.Conv2d:
        """Return the same map as one nn.Conv2d."""
        sizes = self.first.in_channels, self.second.out_channels, self.first.kernel_size
        dense = nn.Conv2d(*sizes, bias=self.second.bias is not None, device="meta", **self._window)
        return _filled(dense, self._product(), self.second, self.training)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        sizes = {"in_channels": self.first.in_channels, "out_channels": self.second.out_channels}
        sizes |= {"kernel_size": self.first.kernel_size, "rank": self.rank, "bias": self.second.bias is not None}
        return sizes | self._window


def factorize_linear(layer: nn.Linear, *, rank: int | None = None, tol: float | None = None) -> LowRankLinear:
    """Return a linear layer as two: W (m, n) ~ (U S) V^T, so y = (U S) (V^T x) + b.

    Give `rank` (int, 1 to min(m, n)) or `tol` (relative Frobenius error of the weight). Raises TypeError or
    ValueError otherwise. The layer is smaller only for rank < m n / (m + n). Denton et al. (2014), arXiv:1404.0736.
    Chapter 5; lecture 002:386-398, 003:2051.

    >>> factorize_linear(nn.Linear(784, 300), rank=16).first
    Linear(in_features=784, out_features=16, bias=False)
    """
    return LowRankLinear.from_linear(layer, rank=rank, tol=tol)


def factorize_conv(layer: nn.Conv2d, *, rank: int | None = None, tol: float | None = None) -> LowRankConv2d:
    """Return a convolution as two: `rank` filters of the full size, then 1 x 1 filters.

    Give `rank` (int, 1 to min(m, c h w)) or `tol` (relative Frobenius error of the weight). Raises TypeError or
    ValueError otherwise, also for a grouped convolution. Zhang et al. (2016), arXiv:1505.06798.
    Chapter 5; lecture 003:1742-1748.

    >>> factorize_conv(nn.Conv2d(20, 50, 5), rank=10).second
    Conv2d(10, 50, kernel_size=(1, 1), stride=(1, 1))
    """
    return LowRankConv2d.from_conv(layer, rank=rank, tol=tol)


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


def _filled(dense: Any, weight: torch.Tensor, second: Any, training: bool) -> Any:
    """Give an empty dense layer its weight and the bias of `second`, with that layer's number type and device."""
    dense.to_empty(device=second.weight.device).to(second.weight.dtype)
    with torch.no_grad():
        dense.weight.copy_(weight.reshape(dense.weight.shape))
        if dense.bias is not None:
            dense.bias.copy_(second.bias)
    return dense.train(training)

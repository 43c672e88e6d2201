"""Convolutional layers as two smaller ones in a row. Chapters 5 and 7; lecture 000:282-346."""

from typing import Any, Self

import numpy as np
from torch import nn

from labkit import checks
from labkit.decomposition.conv_schemes import Cut, KernelFactors, factorize_kernel, kernel_shape
from labkit.decomposition.layers import TwoLayers, filled

WINDOW = ("stride", "padding", "dilation", "padding_mode")
IDLE = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}  # of an axis that a convolution does not see


class LowRankConv2d(TwoLayers):
    """A convolution of rank k, stored as two smaller ones; "hw_1x1" is k filters c x h x w, then m filters 1 x 1.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, groups, bias, device, dtype : as in nn.Conv2d
    rank : int, 1 to the full rank of the scheme
    scheme : "hw_1x1", "1x1_hw", "hx1_1xw" or "dac", see `conv_schemes`
    window : any of stride, padding, dilation and padding_mode, as in nn.Conv2d

    Each convolution gets the stride, padding and dilation of the axes that it covers, so the pair equals a
    convolution whose kernel is `to_dense().weight` for every window. A new layer has random weights to train;
    `from_conv` factorises a trained one. Chapters 5 and 7; lecture 000:282-346, 003:1742-1748.

    >>> import torch
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
        scheme: str = "hw_1x1",
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **window: Any,
    ) -> None:
        super().__init__()
        dense = meta_conv(nn.Conv2d, in_channels, out_channels, kernel_size, window, groups=groups, bias=bias)
        self._dense, self._cut = conv_config(dense), Cut(kernel_shape(tuple(dense.weight.shape)), scheme, groups)
        c, m, made = dense.in_channels, dense.out_channels, {"device": device, "dtype": dtype}
        width = self._cut.n_matrices * checks.rank(rank, high=self._cut.full_rank)
        split = groups if "c" in self._cut.first else c  # a channel that is not mixed is a group of its own
        inner, outer = (window_of(dense, _sides(axes)) for axes in (self._cut.first, self._cut.second))
        self.first = nn.Conv2d(c, width, **inner, groups=split, bias=False, **made)
        self.second = nn.Conv2d(width, m, **outer, groups=groups, bias=bias, **made)

    @property
    def rank(self) -> int:
        """The number k of columns kept of each matrix of the scheme."""
        return self.first.out_channels // self._cut.n_matrices

    @classmethod
    def from_conv(
        cls, layer: nn.Conv2d, *, scheme: str = "hw_1x1", rank: int | None = None, tol: float | None = None
    ) -> Self:
        """Factorise the kernel of `layer` as `factorize_kernel` does; give `rank` or `tol`."""
        W, groups = conv_kernel(layer), layer.groups
        parts = factorize_kernel(W, scheme=scheme, rank=rank, tol=tol, groups=groups)
        made = cls._empty(layer, rank=parts.rank, bias=layer.bias is not None, scheme=scheme)
        return made._fill(*parts.factors, layer.bias, layer)

    @classmethod
    def _empty(cls, layer: nn.Conv2d, *, rank: int, bias: bool, scheme: str = "hw_1x1") -> Self:
        return cls(rank=rank, scheme=scheme, device="meta", **conv_config(layer) | {"bias": bias})

    def to_dense(self) -> nn.Conv2d:
        """Return the same map as one nn.Conv2d."""
        first, second = (part.weight.detach().double().cpu().numpy() for part in (self.first, self.second))
        dense = nn.Conv2d(**self._dense, device="meta")
        return filled(dense, KernelFactors(first, second, self._cut).to_tensor(), self.second.bias, like=self)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return self._dense | {"rank": self.rank, "scheme": self._cut.scheme}


def factorize_conv(
    layer: nn.Conv2d, *, scheme: str = "hw_1x1", rank: int | None = None, tol: float | None = None
) -> LowRankConv2d:
    """Return a convolution as two in a row; "hw_1x1" is `rank` filters of the full size, then 1 x 1 filters.

    Parameters
    ----------
    layer : nn.Conv2d with any stride, padding, dilation and groups
    scheme : "hw_1x1", "1x1_hw", "hx1_1xw" or "dac", see `factorize_kernel`
    rank, tol : give one: the rank (int), or the relative Frobenius error allowed for the kernel (0 to 1)

    Raises
    ------
    TypeError, ValueError : a bad argument.

    Chapters 5 and 7; lecture 000:282-346, 003:1742-1748.

    >>> factorize_conv(nn.Conv2d(20, 50, 5), rank=10).second
    Conv2d(10, 50, kernel_size=(1, 1), stride=(1, 1))
    """
    return LowRankConv2d.from_conv(layer, scheme=scheme, rank=rank, tol=tol)


def dac(layer: nn.Conv2d, *, rank: int | None = None, tol: float | None = None) -> LowRankConv2d:
    """Return a convolution as `rank` depthwise filters for each channel and a 1 x 1 convolution, from its weights.

    No data is needed: the h w x m matrix of each channel is cut by SVD. Give `rank` (int, 1 to min(h w, m)) or `tol`
    (relative Frobenius error of the kernel). Raises TypeError or ValueError otherwise.
    Li et al. (2019), "DAC: Data-free Automatic Acceleration of Convolutional Networks", arXiv:1812.08374.
    Chapter 7; lecture 004:18-23.

    >>> dac(nn.Conv2d(20, 50, 5), rank=3).first
    Conv2d(20, 60, kernel_size=(5, 5), stride=(1, 1), groups=20, bias=False)
    """
    return factorize_conv(layer, scheme="dac", rank=rank, tol=tol)


def conv_kernel(layer: nn.Conv2d) -> np.ndarray:
    """Return the kernel of a convolution as a float64 array (m, c / groups, h, w).

    Raises TypeError for another kind of layer and ValueError for weights that are not finite.

    >>> conv_kernel(nn.Conv2d(20, 50, 5)).shape
    (50, 20, 5, 5)
    """
    checks.instance(layer, "layer", nn.Conv2d)
    return checks.array(layer.weight.detach().double(), "layer.weight", ndim=4)


def plain_kernel(layer: nn.Conv2d) -> np.ndarray:
    """Return the kernel of a convolution without groups as a float64 array (m, c, h, w).

    Raises as `conv_kernel`, and ValueError for a convolution with groups.

    >>> plain_kernel(nn.Conv2d(20, 50, 5, groups=2))
    Traceback (most recent call last):
    ValueError: layer must be a convolution with groups=1, got groups=2
    """
    W = conv_kernel(layer)
    if layer.groups != 1:
        raise ValueError(f"layer must be a convolution with groups=1, got groups={layer.groups}")
    return W


def conv_config(layer: Any) -> dict[str, Any]:
    """Return the arguments that build a convolution like `layer`, as plain values.

    >>> conv_config(nn.Conv2d(3, 8, 5, padding=2))["padding"]
    (2, 2)
    """
    names = ("in_channels", "out_channels", "kernel_size", "groups", *WINDOW)
    return {name: getattr(layer, name) for name in names} | {"bias": layer.bias is not None}


def without_groups(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a convolution for a layer that takes no groups.

    >>> "groups" in without_groups(conv_config(nn.Conv2d(3, 8, 5)))
    False
    """
    return {key: value for key, value in config.items() if key != "groups"}


def meta_conv(
    kind: type, in_channels: int, out_channels: int, kernel_size: Any, window: dict[str, Any], **options: Any
) -> Any:
    """Return a convolution of `kind` without memory for its weights, after a check of its sizes and its window.

    Raises TypeError or ValueError for a bad argument.

    >>> meta_conv(nn.Conv2d, 3, 8, 5, {"stride": 2}, bias=False).weight.device.type
    'meta'
    """
    c = checks.integer(in_channels, "in_channels", low=1)
    m = checks.integer(out_channels, "out_channels", low=1)
    given = {checks.choice(key, "argument", WINDOW): value for key, value in window.items()}
    return kind(c, m, kernel_size, device="meta", **options, **given)


def window_of(layer: Any, axes: tuple[int, ...]) -> dict[str, Any]:
    """Return kernel size, stride, padding and dilation of a part of the convolution `layer` that covers only `axes`.

    Along an axis that it does not cover it has width 1 and passes everything on.

    >>> window_of(nn.Conv2d(3, 8, 5, stride=2, padding=1), axes=(0,))["kernel_size"]
    (5, 1)
    """
    parts: dict[str, Any] = {"padding_mode": layer.padding_mode}
    for key, idle in IDLE.items():
        value = getattr(layer, key)  # a tuple, or a word such as "same", which holds for every part
        whole = isinstance(value, str)
        parts[key] = value if whole else tuple(x if i in axes else idle for i, x in enumerate(value))
    return parts


def _sides(axes: str) -> tuple[int, ...]:
    """Return which sides of the window a part sees, 0 for h and 1 for w, given the letters of its axes."""
    return tuple("hw".index(axis) for axis in axes if axis in "hw")

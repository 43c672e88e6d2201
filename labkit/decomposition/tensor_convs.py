"""Convolutions as three or four smaller ones in a row, from the CP or the Tucker decomposition of the kernel.

The kernel is a tensor W (m, c, h, w): m outputs, c inputs, h x w pixels. Chapter 8; lecture 000:398-434, 001:76-79.
"""

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.conv_layers import conv_config, meta_conv, plain_kernel, window_of, without_groups
from labkit.decomposition.cp import CP, cp_als, cp_unit
from labkit.decomposition.formats import one_of, ranks
from labkit.decomposition.layers import filled
from labkit.decomposition.tucker import hooi, hosvd


class _ConvStack(nn.Module):
    """A convolution as `first` (1 x 1), `middle` (over the pixels) and `last` (1 x 1, with the bias)."""

    first: nn.Conv2d
    middle: Any
    last: nn.Conv2d
    _dense: dict[str, Any]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for a batch x (batch, c, height, width)."""
        return self.last(self.middle(self.first(x)))

    def kernel(self) -> torch.Tensor:
        """Return the dense kernel (m, c, h, w) in double precision."""
        raise NotImplementedError

    def to_dense(self) -> nn.Conv2d:
        """Return the same map as one nn.Conv2d."""
        return filled(nn.Conv2d(**self._dense, device="meta"), self.kernel(), self.last.bias, like=self)

    def _start(self, c: Any, m: Any, kernel_size: Any, bias: bool, window: dict[str, Any]) -> nn.Conv2d:
        """Check the sizes, note the dense layer's arguments and return that layer without memory."""
        dense = meta_conv(nn.Conv2d, c, m, kernel_size, window, bias=bias)
        self._dense = without_groups(conv_config(dense))
        return dense

    def _fill(self, weights: Sequence[np.ndarray], layer: nn.Conv2d) -> Self:
        """Set the weights of the convolutions, and the bias of the last, with the number type and mode of `layer`."""
        self.to_empty(device=layer.weight.device).to(layer.weight.dtype)
        parts = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        with torch.no_grad():
            for part, value in zip(parts, weights, strict=True):
                part.weight.copy_(torch.as_tensor(value).reshape(part.weight.shape))
            if self.last.bias is not None and layer.bias is not None:
                self.last.bias.copy_(layer.bias)
        return self.train(layer.training)


class CPConv2d(_ConvStack):
    """A convolution from a CP decomposition of its kernel: 1 x 1, one filter for each of R channels, 1 x 1.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, bias, device, dtype : as in nn.Conv2d; groups must be 1
    rank : number R of terms, 1 to the number at which every kernel has an exact decomposition, `cp_unit`
    separable : True splits the filters into h x 1 and 1 x w, four layers, R (c + h + w + m) weights; False keeps
        them whole, three layers, R (c + h w + m) weights: a 1 x 1 convolution and a depthwise separable one
    window : any of stride, padding, dilation and padding_mode, as in nn.Conv2d

    Lebedev et al. (2015), arXiv:1412.6553 (four layers); Astrid and Lee (2017), arXiv:1701.07148 (three).
    Chapter 8; lecture 000:398-434, 001:76-77.

    >>> CPConv2d(20, 50, 5, rank=10)(torch.zeros(1, 20, 12, 12)).shape
    torch.Size([1, 50, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        rank: int,
        separable: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **window: Any,
    ) -> None:
        super().__init__()
        dense = self._start(in_channels, out_channels, kernel_size, bias, window)
        made = {"device": device, "dtype": dtype}
        self.separable = checks.instance(separable, "separable", bool)
        shape = _cp_shape(tuple(dense.weight.shape), separable)
        R = self.rank = checks.rank(rank, high=math.prod(shape) // max(shape))
        self.first = nn.Conv2d(in_channels, R, 1, bias=False, **made)
        self.middle = _depthwise(dense, R, [(0,), (1,)] if separable else [(0, 1)], **made)
        self.last = nn.Conv2d(R, out_channels, 1, bias=bias, **made)

    @classmethod
    def from_conv(
        cls,
        layer: nn.Conv2d,
        *,
        rank: int,
        separable: bool = True,
        ridge: float = 0.0,
        n_iter_max: int = 200,
        random_state: Any = 0,
    ) -> Self:
        """Decompose the kernel of `layer` by `cp_als`; at the largest rank by `cp_unit`, which is exact.

        `ridge`, `n_iter_max`, `random_state` as in `cp_als`: a little ridge keeps degenerate terms from growing.
        """
        W = plain_kernel(layer)
        small = cls(**without_groups(conv_config(layer)), rank=rank, separable=separable, device="meta")
        T = W.reshape(_cp_shape(W.shape, separable))
        exact = rank == T.size // max(T.shape)
        cp = (
            cp_unit(T) if exact else cp_als(T, rank=rank, ridge=ridge, n_iter_max=n_iter_max, random_state=random_state)
        )
        return small._fill(_cp_weights(cp), layer)

    def kernel(self) -> torch.Tensor:
        """Return the dense kernel (m, c, h, w) in double precision."""
        middle = torch.ones(self.rank, 1, 1, dtype=torch.double, device=self.last.weight.device)
        for part in self.middle:
            middle = middle * part.weight.detach().double()[:, 0]  # (R, h, 1) times (R, 1, w)
        last, first = (part.weight.detach().double()[:, :, 0, 0] for part in (self.last, self.first))
        return torch.einsum("mr,rc,rhw->mchw", last, first, middle)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return self._dense | {"rank": self.rank, "separable": self.separable}


class TuckerConv2d(_ConvStack):
    """A convolution from a Tucker decomposition of its two channel modes: 1 x 1, h x w on few channels, 1 x 1.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, bias, device, dtype : as in nn.Conv2d; groups must be 1
    rank : (r_out, r_in), at most (m, c) and what the other modes leave, or an int for both; there are
        c r_in + r_in r_out h w + r_out m weights
    window : any of stride, padding, dilation and padding_mode, as in nn.Conv2d

    Kim et al. (2016), arXiv:1511.06530. Chapter 8; lecture 000:533-535, 001:78-79.

    >>> TuckerConv2d(20, 50, 5, rank=(16, 8))(torch.zeros(1, 20, 12, 12)).shape
    torch.Size([1, 50, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        rank: int | Sequence[int],
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **window: Any,
    ) -> None:
        super().__init__()
        dense = self._start(in_channels, out_channels, kernel_size, bias, window)
        made = {"device": device, "dtype": dtype}
        size = dense.weight.numel()
        self.rank = ranks(rank, [min(n, size // n) for n in (out_channels, in_channels)])
        self.first = nn.Conv2d(in_channels, self.rank[1], 1, bias=False, **made)
        self.middle = nn.Conv2d(self.rank[1], self.rank[0], bias=False, **window_of(dense, (0, 1)), **made)
        self.last = nn.Conv2d(self.rank[0], out_channels, 1, bias=bias, **made)

    @classmethod
    def from_conv(cls, layer: nn.Conv2d, *, rank: int | Sequence[int] | None = None, tol: float | None = None) -> Self:
        """Decompose the kernel of `layer` by `hooi`; `tol` (relative Frobenius error) sets the ranks by `hosvd`."""
        W = plain_kernel(layer)
        if one_of(rank, tol) is not None:
            rank = hosvd(W, tol=tol, modes=(0, 1)).rank[:2]
        parts = hooi(W, rank=rank, modes=(0, 1))  # type: ignore[arg-type]
        (Q, P), G = parts.bases, parts.core  # (m, r_out), (c, r_in), (r_out, r_in, h, w)
        return cls(**without_groups(conv_config(layer)), rank=parts.rank[:2], device="meta")._fill([P.T, G, Q], layer)

    def kernel(self) -> torch.Tensor:
        """Return the dense kernel (m, c, h, w) in double precision."""
        P, G, Q = (part.weight.detach().double() for part in (self.first, self.middle, self.last))
        return torch.einsum("mq,qphw,pc->mchw", Q[:, :, 0, 0], G, P[:, :, 0, 0])

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return self._dense | {"rank": self.rank}


def _depthwise(dense: nn.Conv2d, R: int, axes: list[tuple[int, ...]], **made: Any) -> nn.Sequential:
    """Return a depthwise convolution of R channels for each part of the window of `dense`."""
    return nn.Sequential(*[nn.Conv2d(R, R, **window_of(dense, a), groups=R, bias=False, **made) for a in axes])


def _cp_shape(shape: Sequence[int], separable: bool) -> tuple[int, ...]:
    """Return the shape of the tensor that CP decomposes: (m, c, h, w) or (m, c, h w)."""
    m, c, h, w = shape
    return (m, c, h, w) if separable else (m, c, h * w)


def _cp_weights(cp: CP) -> list[np.ndarray]:
    """Return the weights of the layers in their order; each takes an equal share of the weights of the terms."""
    last, first, *middle = (U * cp.weights ** (1 / len(cp.factors)) for U in cp.factors)  # (n, R)
    return [first.T, *[U.T for U in middle], last]

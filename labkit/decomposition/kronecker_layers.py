"""Layers whose weight is a sum of Kronecker products. Chapter 6; lecture 000:366-394."""

from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  the name that torch users know

from labkit import checks
from labkit.decomposition.conv_layers import conv_config, conv_kernel, meta_conv, plain_kernel, without_groups
from labkit.decomposition.conv_schemes import kernel_shape
from labkit.decomposition.kronecker import KroneckerSum, kpsvd
from labkit.decomposition.layers import filled, weight_matrix

MODES = {"zeros": "constant"}  # what F.pad calls nn.Conv2d's padding modes, where the names differ


class _KroneckerLayer(nn.Module):
    """What both layers share: `left` (r, ...), `right` (r, ...) and a bias (m,) or None."""

    left: nn.Parameter
    right: nn.Parameter
    bias: nn.Parameter | None

    def _parameters_for(self, left: tuple[int, ...], right: tuple[int, ...], bias: int | None, made: Any) -> None:
        """Make parameters whose product has entries of variance 1 / (3 fan-in), as torch gives its layers."""
        fan_in = int(np.prod(left[2:])) * int(np.prod(right[2:]))
        bound = (3 / (left[0] * fan_in)) ** 0.25  # each factor carries half of the scale
        self.left = nn.Parameter(torch.empty(left, **made).uniform_(-bound, bound))
        self.right = nn.Parameter(torch.empty(right, **made).uniform_(-bound, bound))
        spread = fan_in**-0.5
        self.bias = None if bias is None else nn.Parameter(torch.empty(bias, **made).uniform_(-spread, spread))

    @property
    def rank(self) -> int:
        """The number r of Kronecker products."""
        return len(self.left)

    def to_sum(self) -> KroneckerSum:
        """Return the weight as a `KroneckerSum` in double precision."""
        left, right = (part.detach().double().cpu().numpy() for part in (self.left, self.right))
        return KroneckerSum(left, np.ones(self.rank), right)

    def _fill(self, parts: KroneckerSum, like: Any) -> Self:
        """Take over the factors, each with the root of its s_i, and the bias, type, device and mode of `like`."""
        self.to_empty(device=like.weight.device).to(like.weight.dtype)
        root = np.sqrt(parts.s).reshape(-1, *[1] * len(parts.left))
        with torch.no_grad():
            self.left.copy_(torch.as_tensor(parts.U * root))
            self.right.copy_(torch.as_tensor(parts.V * root))
            if self.bias is not None:
                self.bias.copy_(like.bias)
        return self.train(like.training)


class KroneckerLinear(_KroneckerLayer):
    """A linear layer with the weight W = sum_r A_r (x) B_r, A_r (m1, n1) and B_r (p, q): r (m1 n1 + p q) weights.

    Parameters
    ----------
    in_features, out_features, bias, device, dtype : as in nn.Linear
    right : the shape (p, q) of B_r; p divides out_features, q divides in_features
    rank : int, 1 to min(m1 n1, p q)

    An input x, written as a matrix X (n1, q), becomes Y = sum_r A_r X B_r^T (m1, p), which is the vec trick with rows
    in place of columns. A new layer has random weights to train; `from_linear` factorises a trained one.
    Zhou and Wu (2015), arXiv:1507.05775; Zhou, Wu, Wu and Zhou (2015), arXiv:1512.09194.
    Chapter 6; lecture 000:382.

    >>> KroneckerLinear(784, 300, right=(10, 28), rank=4)(torch.zeros(5, 784)).shape
    torch.Size([5, 300])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        right: tuple[int, int],
        rank: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        n = checks.integer(in_features, "in_features", low=1)
        m = checks.integer(out_features, "out_features", low=1)
        left = _left_of((m, n), right, "right")
        r = checks.rank(rank, high=min(int(np.prod(left)), int(np.prod(right))))
        made = {"device": device, "dtype": dtype}
        self._parameters_for((r, *left), (r, *right), m if bias else None, made)

    @classmethod
    def from_linear(
        cls, layer: nn.Linear, *, right: tuple[int, int], rank: int | None = None, tol: float | None = None
    ) -> Self:
        """Factorise the weight of `layer` by `kpsvd`; give `rank` or `tol`, as it takes them."""
        parts = kpsvd(weight_matrix(checks.instance(layer, "layer", nn.Linear)), right=right, rank=rank, tol=tol)
        sizes = layer.in_features, layer.out_features
        made = cls(*sizes, right=right, rank=parts.rank, bias=layer.bias is not None, device="meta")
        return made._fill(parts, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output (..., m) for a batch x (..., n)."""
        X = x.unflatten(-1, (self.left.shape[2], self.right.shape[2]))  # (..., n1, q)
        if self._right_first:
            Z = torch.einsum("...jq,rpq->...rjp", X, self.right)
            Y = torch.einsum("rij,...rjp->...ip", self.left, Z)
        else:
            Z = torch.einsum("rij,...jq->...riq", self.left, X)
            Y = torch.einsum("...riq,rpq->...ip", Z, self.right)
        y = Y.flatten(-2)  # (..., m)
        return y if self.bias is None else y + self.bias

    @property
    def _right_first(self) -> bool:
        """Whether X B_r^T is the cheaper product to start with."""
        (_, m1, n1), (_, p, q) = self.left.shape, self.right.shape
        return n1 * p * (q + m1) <= m1 * q * (n1 + p)

    def to_dense(self) -> nn.Linear:
        """Return the same map as one nn.Linear."""
        m, n = self.to_sum().shape
        dense = nn.Linear(n, m, bias=self.bias is not None, device="meta")
        return filled(dense, self.to_sum().to_tensor(), self.bias, like=self)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain numbers for a file header."""
        (_, m1, n1), (r, p, q) = self.left.shape, self.right.shape
        sizes = {"in_features": n1 * q, "out_features": m1 * p, "right": (p, q), "rank": r}
        return sizes | {"bias": self.bias is not None}


class KConv2d(_KroneckerLayer):
    """A convolution with the kernel W = sum_r A_r (x) B_r: Kronecker products along all four axes m, c, h, w.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, groups, bias, device, dtype : as in nn.Conv2d, without groups
    rank : int, the number r of products
    left : the shape (o1, c1, h1, w1) of A_r, which divides (m, c, h, w); B_r has the quotients (o2, c2, h2, w2)
    window : any of stride, padding, dilation and padding_mode, as in nn.Conv2d

    The lecture's configuration (r, o1, c1, h1, w1) is (rank, *left). Two convolutions apply it: channels are split as
    (c1, c2), A_r mixes c1 to (o1, r) for each c2, then B_r mixes (r, c2) to o2 for each o1. Where both kernels are
    wider than 1, A_r is dilated by the width of B_r. r (o1 c1 h1 w1 + o2 c2 h2 w2) weights.
    Zhou, Wu, Wu and Zhou (2015), arXiv:1512.09194. Chapter 6; lecture 000:366-390.

    >>> KConv2d(20, 50, 5, rank=2, left=(25, 10, 5, 1))(torch.zeros(1, 20, 12, 12)).shape
    torch.Size([1, 50, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        rank: int,
        left: tuple[int, int, int, int],
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **window: Any,
    ) -> None:
        super().__init__()
        dense = meta_conv(nn.Conv2d, in_channels, out_channels, kernel_size, window, bias=bias)
        right = _left_of(tuple(dense.weight.shape), left, "left")
        r = checks.rank(rank, high=min(int(np.prod(left)), int(np.prod(right))))
        self._dense = conv_config(dense)
        self._stages = _stages(dense, left[2:], right[2:])
        made = {"device": device, "dtype": dtype}
        self._parameters_for((r, *left), (r, *right), out_channels if bias else None, made)

    @classmethod
    def from_conv(
        cls, layer: nn.Conv2d, *, left: tuple[int, int, int, int], rank: int | None = None, tol: float | None = None
    ) -> Self:
        """Factorise the kernel of `layer` (groups=1) by `kpsvd`; give `rank` or `tol`, as it takes them."""
        W = plain_kernel(layer)
        config = without_groups(conv_config(layer))
        parts = kpsvd(W, right=_left_of(W.shape, left, "left"), rank=rank, tol=tol)
        return cls(rank=parts.rank, left=left, device="meta", **config)._fill(parts, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output (n, m, H', W') for a batch x (n, c, H, W)."""
        (r, o1, c1, *_), (_, _, c2, *_) = self.left.shape, self.right.shape
        A = self.left.transpose(0, 1).flatten(0, 1)  # (o1 r, c1, h1, w1)
        B = self.right.transpose(0, 1).flatten(1, 2)  # (o2, r c2, h2, w2)
        first, second = self._stages
        x = x.unflatten(1, (c1, c2)).transpose(1, 2).flatten(0, 1)  # (n c2, c1, H, W)
        x = F.conv2d(self._pad(x, first), A, stride=first["stride"], dilation=first["dilation"])
        x = x.unflatten(1, (o1, r)).unflatten(0, (-1, c2))  # (n, c2, o1, r, H', W')
        x = x.permute(0, 2, 3, 1, 4, 5).flatten(2, 3).flatten(0, 1)  # (n o1, r c2, H', W')
        x = F.conv2d(self._pad(x, second), B, stride=second["stride"], dilation=second["dilation"])
        y = x.unflatten(0, (-1, o1)).flatten(1, 2)  # (n, o1 o2, H', W')
        return y if self.bias is None else y + self.bias[:, None, None]

    def _pad(self, x: torch.Tensor, stage: dict[str, Any]) -> torch.Tensor:
        mode = self._dense["padding_mode"]
        return F.pad(x, stage["padding"], MODES.get(mode, mode)) if any(stage["padding"]) else x

    def to_dense(self) -> nn.Conv2d:
        """Return the same map as one nn.Conv2d."""
        return filled(nn.Conv2d(**self._dense, device="meta"), self.to_sum().to_tensor(), self.bias, like=self)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return without_groups(self._dense) | {"rank": self.rank, "left": tuple(self.left.shape[1:])}


class SharedGroupConv2d(nn.Module):
    """A grouped convolution in which all g groups use the same filters W_0 (m / g, c / g, h, w).

    It is the Kronecker layer with the kernel I_g (x) W_0: the identity along the channels, 1 x 1 along the window.
    `in_channels`, `out_channels`, `kernel_size`, `groups` (at least 2), `bias`, `device`, `dtype` and the window are
    those of nn.Conv2d; every output channel keeps a bias of its own.
    Zhou, Wu, Wu and Zhou (2015), arXiv:1512.09194. Chapter 6; lecture 000:392-394.

    >>> SharedGroupConv2d(8, 12, 3, groups=4)(torch.zeros(1, 8, 6, 6)).shape
    torch.Size([1, 12, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        groups: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **window: Any,
    ) -> None:
        super().__init__()
        dense = meta_conv(nn.Conv2d, in_channels, out_channels, kernel_size, window, bias=bias)
        c, m, g = dense.in_channels, dense.out_channels, checks.integer(groups, "groups", low=2)
        if c % g or m % g:
            raise ValueError(f"groups must divide in_channels={c} and out_channels={m}, got {g}")
        self._dense = conv_config(dense) | {"groups": g}
        made = {"device": device, "dtype": dtype}
        self.shared = nn.Conv2d(c // g, m // g, kernel_size, bias=False, **made, **window)
        spread = self.shared.weight[0].numel() ** -0.5
        self.bias = nn.Parameter(torch.empty(m, **made).uniform_(-spread, spread)) if bias else None

    @classmethod
    def from_conv(cls, layer: nn.Conv2d, *, groups: int | None = None) -> Self:
        """Return the nearest such layer: W_0 is the mean of the groups of a grouped `layer`.

        For a `layer` with groups=1, `groups` says how many are wanted: W_0 is the mean of the blocks on the diagonal,
        and what lies off the diagonal is lost.
        """
        W = conv_kernel(layer)
        g = layer.groups if groups is None else checks.integer(groups, "groups", low=2)
        if layer.groups not in (1, g):
            raise ValueError(f"groups must be {layer.groups}, as in the layer, got {g}")
        made = cls(device="meta", **conv_config(layer) | {"groups": g})
        filled(made.shared, _diagonal_blocks(W, g, layer.groups).mean(0), None, like=layer)
        if made.bias is not None:
            made.bias = nn.Parameter(checks.instance(layer.bias, "bias", torch.Tensor).detach().clone())
        return made.train(layer.training)

    @property
    def groups(self) -> int:
        """The number g of groups."""
        return self._dense["groups"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for a batch x: the groups are a part of the batch."""
        g = self.groups
        y = self.shared(x.unflatten(1, (g, -1)).flatten(0, 1)).unflatten(0, (-1, g)).flatten(1, 2)
        return y if self.bias is None else y + self.bias[:, None, None]

    def to_kronecker(self) -> KConv2d:
        """Return the same map as a Kronecker layer of rank 1: A is the identity I_g, B is W_0."""
        sides = (self.groups, self.groups, 1, 1)
        made = KConv2d(rank=1, left=sides, device="meta", **without_groups(self._dense))
        W0 = self.shared.weight.detach().double().cpu().numpy()
        parts = KroneckerSum(np.eye(self.groups)[None, :, :, None, None], np.ones(1), W0[None])
        return made._fill(parts, _Like(self.shared.weight, self.bias, self.training))

    def to_dense(self) -> nn.Conv2d:
        """Return the same map as one ungrouped nn.Conv2d."""
        return self.to_kronecker().to_dense()

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return dict(self._dense)


def suggest_left(shape: tuple[int, int, int, int], *, rank: int = 1) -> tuple[int, int, int, int]:
    """Return a configuration (o1, c1, h1, w1) of `KConv2d` for a kernel (m, c, h, w) by the lecture's rule.

    The kernel is split into h x 1 and 1 x w. Of the divisors of c, c1 is the one that brings r c2 / c1 nearest to 1
    (in logarithm), so that the features between the two convolutions are about as many as the channels that come in;
    o1 is the divisor of m that makes the two factors most alike in size. Raises TypeError or ValueError for a bad
    argument, or a rank too large for the split. Chapter 6; lecture 000:377-378.

    >>> suggest_left((50, 20, 5, 5), rank=2)
    (5, 5, 5, 1)
    """
    m, c, h, w = kernel_shape(shape)
    r = checks.integer(rank, "rank", low=1)
    c1 = min(_divisors(c), key=lambda d: abs(np.log(r * (c // d) / d)))
    o1 = min(_divisors(m), key=lambda d: abs(np.log(d * c1 * h / ((m // d) * (c // c1) * w))))
    checks.rank(r, high=min(o1 * c1 * h, (m // o1) * (c // c1) * w))
    return o1, c1, h, 1


class _Like:
    """Weight, bias and mode to copy from, for a module whose parameters have other names."""

    def __init__(self, weight: torch.Tensor, bias: Any, training: bool) -> None:
        self.weight, self.bias, self.training = weight, bias, training


def _diagonal_blocks(W: np.ndarray, g: int, groups: int) -> np.ndarray:
    """Return the filters (g, m / g, c / g, h, w) of a grouped kernel, or those on the diagonal of an ungrouped one."""
    blocks = W.reshape(g, len(W) // g, -1, W.shape[1] * groups // g, *W.shape[2:])  # (g, m / g, 1 or g, c / g, h, w)
    return np.stack([blocks[i, :, i if groups == 1 else 0] for i in range(g)])


def _stages(dense: Any, left: tuple[int, ...], right: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return stride, dilation and padding of the two convolutions, whose kernels have the widths `left` and `right`.

    Along each axis the first convolution that is wider than 1 gets the padding, the last one the stride.
    """
    stages: tuple[dict[str, Any], dict[str, Any]] = ({"padding": []}, {"padding": []})
    strided = [b > 1 for b in right]
    stages[0]["stride"] = tuple(1 if late else s for s, late in zip(dense.stride, strided, strict=True))
    stages[1]["stride"] = tuple(s if late else 1 for s, late in zip(dense.stride, strided, strict=True))
    stages[0]["dilation"] = tuple(d * b for d, b in zip(dense.dilation, right, strict=True))
    stages[1]["dilation"] = dense.dilation
    pads = dense._reversed_padding_repeated_twice  # (left, right, top, bottom), as F.pad takes them
    for (a, b), pad in zip([(left[1], right[1]), (left[0], right[0])], (pads[:2], pads[2:]), strict=True):
        first = a > 1 or b == 1
        stages[0]["padding"] += pad if first else [0, 0]
        stages[1]["padding"] += [0, 0] if first else pad
    return stages


def _left_of(shape: tuple[int, ...], part: Any, name: str) -> tuple[int, ...]:
    """Return the shape of the one factor, given that of the other."""
    if not isinstance(part, tuple | list) or len(part) != len(shape):
        raise TypeError(f"{name} must be a tuple of {len(shape)} integers, got {part!r}")
    sides = [checks.integer(side, f"{name}[{i}]", low=1) for i, side in enumerate(part)]
    if any(whole % side for whole, side in zip(shape, sides, strict=True)):
        raise ValueError(f"{name} must divide the weight's shape {shape} side by side, got {tuple(part)}")
    return tuple(whole // side for whole, side in zip(shape, sides, strict=True))


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]

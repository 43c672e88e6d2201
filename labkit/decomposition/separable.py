"""A convolution with a D_1 x ... x D_N kernel as N one-dimensional ones. Chapter 7; lecture 000:331-362.

A kernel is an array (m, c / g, D_1, ..., D_N). The i-th convolution has width D_i along axis i, R_{i-1} channels in
and R_i out, with R_0 = c and R_N = m. The lecture's N = 2 is the horizontal-vertical scheme.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.conv_layers import conv_config, meta_conv, window_of
from labkit.decomposition.layers import filled
from labkit.decomposition.svd import rank_for_tol

Ranks = int | tuple[int, ...]
CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True, repr=False, eq=False)
class SeparableKernel:
    """A convolution kernel kept as `factors` G_i (g, R_{i-1}, D_i, R_i), for each of g groups.

    W[m, c, d_1, ..., d_N] = G_1[c, d_1, :] G_2[:, d_2, :] ... G_N[:, d_N, m]. `error_bound` is at least the Frobenius
    distance to the kernel that was factorised, and equal to it for N = 2. Chapter 7; lecture 000:350-362.

    >>> separable_kernel(np.ones((8, 4, 3, 3, 3)), rank=1)
    SeparableKernel(shape=(8, 4, 3, 3, 3), rank=(1, 1), n_params=39)
    """

    factors: tuple[np.ndarray, ...]
    error_bound: float | None = None

    def __post_init__(self) -> None:
        shapes = [np.shape(G) for G in self.factors]
        chained = all(a[-1] == b[1] for a, b in pairwise(shapes) if len(a) == len(b) == 4)
        if len(shapes) < 2 or {len(s) for s in shapes} != {4} or len({s[0] for s in shapes}) > 1 or not chained:
            raise ValueError(f"factors must have shapes (g, R_0, D_1, R_1), (g, R_1, D_2, R_2), ..., got {shapes}")

    @property
    def groups(self) -> int:
        """The number g of groups."""
        return len(self.factors[0])

    @property
    def rank(self) -> tuple[int, ...]:
        """The ranks (R_1, ..., R_{N-1})."""
        return tuple(G.shape[-1] for G in self.factors[:-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the kernel that the factors stand for."""
        m, c = self.groups * self.factors[-1].shape[-1], self.factors[0].shape[1]
        return (m, c, *(G.shape[2] for G in self.factors))

    @property
    def n_params(self) -> int:
        """Numbers stored."""
        return sum(G.size for G in self.factors)

    def to_tensor(self) -> np.ndarray:
        """Return the dense kernel (m, c / g, D_1, ..., D_N)."""
        W = self.factors[0]  # (g, c, D_1, R_1)
        for G in self.factors[1:]:
            W = np.einsum("g...r,grds->g...ds", W, G)
        return np.moveaxis(W, -1, 1).reshape(self.shape)

    def matmul(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (m,) or (m, p) for patches x (g c D_1 ... D_N,) or (..., p), one factor after another."""
        x = checks.array(x, "x")
        m, *patch = self.shape
        if x.ndim not in (1, 2) or len(x) != self.groups * int(np.prod(patch)):
            raise ValueError(f"x must have shape ({self.groups * int(np.prod(patch))},) or (..., p), got {x.shape}")
        T = x.reshape(self.groups, *patch, -1)  # (g, R_0, D_1, ..., D_N, p)
        for G in self.factors:
            T = np.einsum("grds,grd...->gs...", G, T)
        return T.reshape((m, *x.shape[1:]))

    def kernels(self) -> list[np.ndarray]:
        """Return the weights (g R_i, R_{i-1}, 1, .., D_i, .., 1) of N convolutions with g groups each."""
        n, made = len(self.factors), []
        for i, G in enumerate(self.factors):
            _, before, width, after = G.shape
            sides = [width if axis == i else 1 for axis in range(n)]
            made.append(G.transpose(0, 3, 1, 2).reshape(self.groups * after, before, *sides))
        return made

    def __repr__(self) -> str:
        return f"SeparableKernel(shape={self.shape}, rank={self.rank}, n_params={self.n_params})"


def separable_kernel(
    W: np.ndarray, *, rank: Ranks | None = None, tol: float | None = None, groups: int = 1
) -> SeparableKernel:
    """Return the kernel W (m, c / groups, D_1, ..., D_N), N at least 2, as N one-dimensional kernels.

    One SVD after the other splits off an axis: (C D_1) x (D_2 ... D_N K), then (R_1 D_2) x (D_3 ... D_N K), and so
    on. Give `rank` (an int for all, or N - 1 of them; none may exceed the rank that is there) or `tol` (relative
    Frobenius error of the kernel, kept: each of the N - 1 cuts may lose tol / sqrt(N - 1)).
    Raises TypeError or ValueError for a bad argument. For N = 2 it is the horizontal-vertical scheme of Jaderberg,
    Vedaldi and Zisserman (2014), arXiv:1405.3866. Chapter 7; lecture 000:350-362, where N and Z are the same number.

    >>> separable_kernel(np.ones((8, 4, 3, 3)), tol=0.01).rank
    (1,)
    """
    W = checks.array(W, "W")
    if W.ndim < 4:
        raise ValueError(f"W must be (m, c, D_1, ..., D_N) with N at least 2, got shape {W.shape}")
    if len(W) % checks.integer(groups, "groups", low=1):
        raise ValueError(f"groups must divide the {len(W)} filters of W, got {groups}")
    n = W.ndim - 2
    ranks, tol = _wanted(rank, tol, n)
    T = np.moveaxis(W.reshape(groups, len(W) // groups, *W.shape[1:]), 1, -1)  # (g, c, D_1, ..., D_N, m)
    limit = None if tol is None else tol * float(np.linalg.norm(W)) / np.sqrt(n - 1)
    factors, lost, before = [], 0.0, W.shape[1]
    for i in range(n - 1):
        U, s, Vt = np.linalg.svd(T.reshape(groups, before * W.shape[2 + i], -1), full_matrices=False)
        k, error = _cut(np.linalg.norm(s, axis=0), ranks[i] if ranks else None, limit, f"rank[{i}]")
        factors.append(U[:, :, :k].reshape(groups, before, W.shape[2 + i], k))
        T, before, lost = s[:, :k, None] * Vt[:, :k], k, float(np.hypot(lost, error))
    return SeparableKernel((*factors, T.reshape(groups, before, W.shape[-1], -1)), lost)


class SeparableConv(nn.Module):
    """A convolution as N one-dimensional ones in a row, in place of nn.Conv2d or nn.Conv3d.

    Parameters
    ----------
    in_channels, out_channels, groups, bias, device, dtype : as in nn.Conv2d
    kernel_size : tuple of N = 2 or 3 ints
    rank : tuple of N - 1 ints, the channels of each group between the convolutions
    window : any of stride, padding, dilation and padding_mode, as in nn.Conv2d

    A new layer has random weights to train; `from_conv` factorises a trained one. Chapter 7; lecture 000:331-362.

    >>> SeparableConv(4, 8, (3, 3, 3), rank=(5, 6))(torch.zeros(1, 4, 7, 7, 7)).shape
    torch.Size([1, 8, 5, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, ...],
        *,
        rank: tuple[int, ...],
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **window: Any,
    ) -> None:
        super().__init__()
        n = len(checks.instance(kernel_size, "kernel_size", (tuple, list)))
        kind: Any = CONVOLUTIONS[checks.integer(n, "len(kernel_size)", low=2, high=3)]
        dense = meta_conv(kind, in_channels, out_channels, tuple(kernel_size), window, groups=groups, bias=bias)
        self._dense, self._kind = conv_config(dense), kind
        widths = [dense.in_channels, *(groups * r for r in _each(rank, n - 1)), dense.out_channels]
        parts = [window_of(dense, (i,)) | {"groups": groups, "bias": bias and i == n - 1} for i in range(n)]
        made = {"device": device, "dtype": dtype}
        self.parts = nn.ModuleList(kind(a, b, **p, **made) for (a, b), p in zip(pairwise(widths), parts, strict=True))

    @classmethod
    def from_conv(cls, layer: nn.Conv2d | nn.Conv3d, *, rank: Ranks | None = None, tol: float | None = None) -> Self:
        """Factorise the kernel of `layer` as `separable_kernel` does; give `rank` or `tol`."""
        checks.instance(layer, "layer", tuple(CONVOLUTIONS.values()))
        W = checks.array(layer.weight.detach().double(), "layer.weight")
        made = separable_kernel(W, rank=rank, tol=tol, groups=layer.groups)
        new = cls(rank=made.rank, device="meta", **conv_config(layer))
        for part, weight in zip(new.parts, made.kernels(), strict=True):
            filled(part, weight, layer.bias, like=layer)
        return new.train(layer.training)

    @property
    def rank(self) -> tuple[int, ...]:
        """The channels of each group between the convolutions."""
        return tuple(len(part.weight) // part.groups for part in self._parts()[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for a batch x."""
        for part in self.parts:
            x = part(x)
        return x

    def _parts(self) -> list[Any]:
        return list(self.parts)

    def to_dense(self) -> nn.Conv2d | nn.Conv3d:
        """Return the same map as one convolution."""
        factors = tuple(map(_factor, self._parts()))
        dense = self._kind(**self._dense, device="meta")
        return filled(dense, SeparableKernel(factors).to_tensor(), self._parts()[-1].bias, like=self)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return self._dense | {"rank": self.rank}


def factorize_convnd(
    layer: nn.Conv2d | nn.Conv3d, *, rank: Ranks | None = None, tol: float | None = None
) -> SeparableConv:
    """Return a convolution with an N-dimensional kernel as N one-dimensional ones; arguments as `separable_kernel`.

    `layer` may have any stride, padding, dilation and groups. Chapter 7; lecture 000:350-362.

    >>> factorize_convnd(nn.Conv3d(4, 8, 3), rank=(5, 6)).parts[1]
    Conv3d(5, 6, kernel_size=(1, 3, 1), stride=(1, 1, 1), bias=False)
    """
    return SeparableConv.from_conv(layer, rank=rank, tol=tol)


def _factor(part: Any) -> np.ndarray:
    """Return the weight of a one-dimensional convolution as G (g, R_{i-1}, D_i, R_i)."""
    weight = part.weight.detach().double().cpu().numpy()
    g, before = part.groups, weight.shape[1]
    return weight.reshape(g, len(weight) // g, before, -1).transpose(0, 2, 3, 1)


def _wanted(rank: Ranks | None, tol: float | None, n: int) -> tuple[tuple[int, ...] | None, float | None]:
    if (rank is None) == (tol is None):
        raise TypeError(f"give exactly one of rank and tol, got rank={rank!r} and tol={tol!r}")
    if rank is None:
        return None, checks.number(tol, "tol", low=0, high=1)
    return _each((rank,) * (n - 1) if not isinstance(rank, tuple | list) else rank, n - 1), None


def _each(rank: Any, n: int) -> tuple[int, ...]:
    """Return `rank` as n positive ints."""
    if len(checks.instance(rank, "rank", (tuple, list))) != n:
        raise ValueError(f"rank must hold {n} integers, got {rank!r}")
    return tuple(checks.integer(r, f"rank[{i}]", low=1) for i, r in enumerate(rank))


def _cut(s: np.ndarray, rank: int | None, limit: float | None, name: str) -> tuple[int, float]:
    """Return how many of the singular values s to keep, and the norm of the others."""
    norm = float(np.linalg.norm(s))
    if rank is None:
        k = rank_for_tol(s, tol=min(1.0, (limit or 0.0) / norm)) if norm else 1
    else:
        k = checks.rank(rank, name, high=len(s))
    return k, float(np.linalg.norm(s[k:]))

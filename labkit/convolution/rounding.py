"""How far a Winograd convolution is from the exact one, by tile, precision and points of interpolation. Chapter 23.

The exact result needs more digits than float64 has, so every number is split into a head of 20 bits and a tail: sums of
products of heads are exact, and in the rest the rounding is a millionth of a millionth of what is measured.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import conv2d

from labkit import checks
from labkit.convolution.cook_toom import cook_toom

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
HEAD = 2.0**20
TILES, FILTERS = 64, 8
LARGEST = 2**13  # r^2 channels: that many products of two heads still fit the 53 bits of a sum


def winograd_error(
    m: int,
    r: int = 3,
    *,
    dtype: str = "float32",
    points: Sequence[Any] | None = None,
    channels: int = 64,
    random_state: Any = None,
) -> float:
    """Return the error of F(m x m, r x r) in a floating-point format, on random numbers.

    Parameters
    ----------
    m, r, points : as in `cook_toom`
    dtype : "float16", "bfloat16", "float32" or "float64"
    channels : int, over which the products are summed, at most 8192 / r^2
    random_state : int, Generator or None, for inputs and kernels uniform in (-1, 1)

    Returns
    -------
    the largest error of any output, divided by the largest output; infinite where the format overflows

    Raises
    ------
    TypeError, ValueError : as `cook_toom`, an unknown dtype, channels out of range.

    Inputs, kernels and the three matrices are rounded to `dtype`, and so is every result: the transforms after each of
    their two products, the sums over channels, the outputs. Within one sum the 16-bit formats keep 32 bits, as the
    matrix units of processors do. The exact result belongs to the rounded inputs and kernels.
    Source: B. Barabasz, A. Anderson, K. M. Soodhalter, D. Gregg, Error analysis and improving the accuracy of Winograd
    convolution for deep neural networks, ACM TOMS 2020, arXiv:1803.10986. Chapter 23.

    >>> winograd_error(2, random_state=0) < 1e-5 < winograd_error(10, random_state=0)
    True
    """
    one, kind = cook_toom(m, r, points=points), DTYPES[checks.choice(dtype, "dtype", DTYPES)]
    d, g = _data(one.size, r, kind, channels, random_state)
    AT, G, BT = (_stored(torch.from_numpy(matrix), kind) for matrix in one.arrays())
    U = _stored(_stored(G @ g, kind) @ G.T, kind)  # (K, C, t, t)
    V = _stored(_stored(BT @ d, kind) @ BT.T, kind)  # (N, C, t, t)
    M = _stored(torch.einsum("ncij,kcij->nkij", V, U), kind)
    Y = _stored(_stored(AT @ M, kind) @ AT.T, kind)
    return _error(Y, d, g)


def direct_error(m: int, r: int = 3, *, dtype: str = "float32", channels: int = 64, random_state: Any = None) -> float:
    """Return the error of the direct sum on the numbers of `winograd_error(m, r, ...)`, by the same measure.

    Arguments and errors as there.

    >>> direct_error(4, random_state=0) < winograd_error(4, random_state=0)
    True
    """
    m, r = checks.integer(m, "m", low=1), checks.integer(r, "r", low=1)
    kind = DTYPES[checks.choice(dtype, "dtype", DTYPES)]
    d, g = _data(m + r - 1, r, kind, channels, random_state)
    return _error(_stored(conv2d(d, g), kind), d, g)


def _data(t: int, r: int, kind: torch.dtype, channels: int, random_state: Any) -> tuple[torch.Tensor, torch.Tensor]:
    channels = checks.integer(channels, "channels", low=1, high=LARGEST // r**2)
    random = checks.generator(random_state)
    shapes = (TILES, channels, t, t), (FILTERS, channels, r, r)
    d, g = (torch.from_numpy(random.uniform(-1, 1, shape)) for shape in shapes)
    return _stored(d, kind), _stored(g, kind)


def _stored(x: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """Return x rounded to `kind`, in the format that the next operation computes in."""
    return x.to(kind).to(torch.promote_types(kind, torch.float32))


def _error(y: torch.Tensor, d: torch.Tensor, g: torch.Tensor) -> float:
    (d_head, d_tail), (g_head, g_tail) = _split(d.double()), _split(g.double())
    head = conv2d(d_head, g_head)  # (N, K, m, m), exact
    tail = conv2d(d_head, g_tail) + conv2d(d_tail, g.double())
    error = float(((y.double() - head) - tail).abs().max() / head.abs().max())
    return math.inf if math.isnan(error) else error


def _split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    head = (x * HEAD).round() / HEAD
    return head, x - head

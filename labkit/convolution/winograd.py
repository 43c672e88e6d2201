"""Winograd convolution: fewer multiplications by transforms of small tiles. Chapter 23; lecture 003:1859-1936.

A tile of outputs m x m needs a tile of inputs t x t, t = m + r - 1. Between the transforms stand t^2 products for each
pair of channels, and summed over the input channels they are t^2 ordinary matrix products: there the time goes.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from labkit import checks
from labkit.convolution.cook_toom import Transforms, cook_toom
from labkit.convolution.window import Pair, Window, check_groups, pair

TILES = 56  # worked on together: enough for a matrix product to be fast, few enough for their products to stay in cache

Sides = tuple[Transforms, Transforms]  # along the height and along the width


@dataclass(frozen=True)
class F23:
    """F(2, 3) step by step: four products, two outputs, and what each part costs."""

    products: tuple[float, float, float, float]
    outputs: tuple[float, float]

    # (additions, multiplications) of each part, as the lecture counts them
    INPUTS = (4, 0)
    KERNEL = (3, 2)
    OUTPUTS = (4, 4)


def f23(d: Any, g: Any) -> F23:
    """Return two outputs of a correlation with three taps in four multiplications, with all four products.

    Parameters
    ----------
    d : four real numbers, the inputs
    g : three real numbers, the kernel

    Returns
    -------
    F23

    Raises TypeError or ValueError for other shapes and numbers that are not finite.
    Formula: m1 = (d0 - d2) g0, m2 = (d1 + d2)(g0 + g1 + g2)/2, m3 = (d2 - d1)(g0 - g1 + g2)/2, m4 = (d1 - d3) g2;
    y0 = m1 + m2 + m3, y1 = m2 - m3 - m4.
    Source: S. Winograd, Arithmetic complexity of computations, 1980. Chapter 23; lecture 003:1859-1872.

    >>> f23([0, 0, 1, 2], [10, 20, 30])
    F23(products=(-10.0, 30.0, 10.0, -60.0), outputs=(30.0, 80.0))
    """
    d, g = checks.array(d, "d", ndim=1), checks.array(g, "g", ndim=1)
    if len(d) != 4 or len(g) != 3:
        raise ValueError(f"d must have 4 entries and g 3, got {len(d)} and {len(g)}")
    ends, middle = g[0] + g[2], g[1]  # used twice, which saves an addition
    m1, m4 = (d[0] - d[2]) * g[0], (d[1] - d[3]) * g[2]
    m2, m3 = (d[1] + d[2]) * (ends + middle) / 2, (d[2] - d[1]) * (ends - middle) / 2
    products = float(m1), float(m2), float(m3), float(m4)
    return F23(products, (float(m1 + m2 + m3), float(m2 - m3 - m4)))


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    m: Pair,
    padding: Pair = 0,
    groups: int = 1,
    transformed: np.ndarray | None = None,
) -> np.ndarray:
    """Return a layer's convolution (stride 1) by F(m x m, r x r), in NumPy.

    Parameters
    ----------
    x : real array (N, C, H, W)
    w : real array (K, C / groups, kh, kw)
    b : real array (K,), optional
    m : int or pair, height and width of a tile of outputs; the picture need not divide by it
    padding : int or pair, zeros on every side
    groups : int
    transformed : `transform_kernel(w, m=m)` made before, for a kernel that meets many pictures

    Returns
    -------
    array (N, K, H', W'), float32 if x and w are, else float64

    Raises
    ------
    TypeError, ValueError : not real and finite, or the shapes do not fit.

    Formula: Y = A^T [ sum_c (G w G^T) * (B^T x B) ] A for every tile. Rounding errors grow with m: 4 is the usual
    limit in float32.
    Source: A. Lavin, S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016. Chapter 23; lecture
    003:1873-1915.

    >>> conv2d(np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3)), m=2).round(9)[0, 0, 0]
    array([9., 9., 9.])
    """
    x, w = checks.array(x, "x", ndim=4), checks.array(w, "w", ndim=4)
    b = checks.array(np.zeros(len(w)) if b is None else b, "b", ndim=1)
    groups, window = check_groups(x.shape[1], w.shape, groups), Window(w.shape[2:], padding=padding)
    if len(b) != len(w):
        raise ValueError(f"b must have one entry for each of the {len(w)} filters, got shape {b.shape}")
    dtype = np.result_type(x.dtype, w.dtype)
    sides = _sides(m, window.kernel_size)
    U = _kernel(w.astype(dtype), sides) if transformed is None else _checked(transformed, w.shape, sides, dtype)
    y = np.empty((len(x), len(w), *window.output(x.shape[2:])), dtype)
    for picture, out in zip(x.astype(dtype), y, strict=True):
        for channels, kernel, part in zip(*_by_group(picture, U, out, groups), strict=True):
            _convolve(_tiles(channels, sides, window), kernel, sides, part)
    y += b.astype(dtype)[:, None, None]
    return y


@cache
def transforms(m: int, r: int) -> Transforms:
    """Return `cook_toom(m, r)`, computed once."""
    return cook_toom(m, r)


def transform_kernel(w: np.ndarray, *, m: Pair) -> np.ndarray:
    """Return G w G^T for real kernels (K, C, kh, kw): an array (t_h t_w, K, C), a matrix for each place of a tile.

    Raises TypeError or ValueError if w is not real, finite and four-dimensional, or m below 1. Chapter 23.

    >>> transform_kernel(np.ones((8, 3, 3, 3)), m=2).shape
    (16, 8, 3)
    """
    w = checks.array(w, "w", ndim=4)
    return _kernel(w, _sides(m, w.shape[2:]))


def _sides(m: Pair, kernel_size: tuple[int, ...]) -> Sides:
    """Return the transforms along the height and along the width."""
    (mh, mw), (kh, kw) = pair(m, "m", low=1), kernel_size
    return transforms(mh, kh), transforms(mw, kw)


def _kernel(w: np.ndarray, sides: Sides) -> np.ndarray:
    (_, G, _), (_, H, _) = (side.arrays() for side in sides)
    both = np.kron(G, H).astype(w.dtype)  # (t_h t_w, r_h r_w): one large product, not many small ones
    return (both @ w.reshape(-1, both.shape[1]).T).reshape(-1, *w.shape[:2])


def _checked(transformed: Any, shape: tuple[int, ...], sides: Sides, dtype: np.dtype) -> np.ndarray:
    wanted = sides[0].size * sides[1].size, *shape[:2]
    if not isinstance(transformed, np.ndarray) or transformed.shape != wanted or transformed.dtype.kind != "f":
        got = getattr(transformed, "dtype", type(transformed).__name__)
        raise ValueError(f"transformed must have shape {wanted} of floats, got {np.shape(transformed)} of {got}")
    return transformed.astype(dtype, copy=False)


def _by_group(picture: np.ndarray, U: np.ndarray, out: np.ndarray, groups: int) -> tuple[Any, Any, Any]:
    return np.split(picture, groups), np.split(U, groups, axis=1), np.split(out, groups)


def _tiles(x: np.ndarray, sides: Sides, window: Window) -> np.ndarray:
    """Return the tiles of a padded picture (C, H, W), a view (C, tiles down, tiles across, t_h, t_w)."""
    m, t = [side.m for side in sides], [side.size for side in sides]
    pads = [(0, 0)]
    for n, out, p, step, size in zip(x.shape[1:], window.output(x.shape[1:]), window.padding, m, t, strict=True):
        pads.append((p, -(-out // step) * step + size - step - n - p))
    padded = np.pad(x, [(low, max(high, 0)) for low, high in pads])
    return np.lib.stride_tricks.sliding_window_view(padded, t, axis=(1, 2))[:, :: m[0], :: m[1]]


def _convolve(tiles: np.ndarray, U: np.ndarray, sides: Sides, out: np.ndarray) -> None:
    """Fill out (K, H', W') a few rows of tiles at a time."""
    m = sides[0].m
    rows = max(1, TILES // tiles.shape[2])
    for i in range(0, tiles.shape[1], rows):
        strip = out[:, i * m : (i + rows) * m]
        strip[...] = _strip(tiles[:, i : i + rows], U, sides)[:, : strip.shape[1], : strip.shape[2]]


def _strip(tiles: np.ndarray, U: np.ndarray, sides: Sides) -> np.ndarray:
    """Return the outputs (K, rows m_h, columns m_w) of tiles (C, rows, columns, t_h, t_w)."""
    (AT, _, BT), (AS, _, BS) = (side.arrays(U.dtype) for side in sides)
    c, rows, columns, th, tw = tiles.shape
    d = tiles.transpose(3, 4, 0, 1, 2).reshape(th, -1)
    V = (BS @ (BT @ d).reshape(th, tw, -1)).reshape(th * tw, c, -1)
    M = (U @ V).reshape(th, -1)  # one product of matrices for each place of a tile
    Y = AS @ (AT @ M).reshape(len(AT), tw, -1)  # (m_h, m_w, K rows columns)
    Y = Y.reshape(len(AT), len(AS), -1, rows, columns).transpose(2, 3, 0, 4, 1)
    return Y.reshape(-1, rows * len(AT), columns * len(AS))

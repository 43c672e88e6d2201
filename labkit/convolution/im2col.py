"""im2col: cut the patches out of a picture, and convolution is one matrix product.

Shapes: x (N, C, H, W), window (kh, kw), output (H', W'), weights w (K, C, kh, kw). As in every deep-learning library
the kernel is not flipped. Chellapilla, Puri, Simard (2006), "High performance convolutional neural networks for
document processing". Chapter 3; lecture 000:169-177.
"""

from typing import Any

import numpy as np

from labkit import checks
from labkit.convolution.window import Pair, Window, check_groups


def patches(
    x: np.ndarray,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> np.ndarray:
    """Return all patches of a batch of pictures, X[n, c, h, w, i, j] = x[n, c, s h + d i - p, s w + d j - p].

    Parameters
    ----------
    x : real array (N, C, H, W); float32 stays float32, other types become float64
    kernel_size, stride, padding, dilation : int or pair (vertical, horizontal), as in torch

    Returns
    -------
    read-only view (N, C, H', W', kh, kw) of the padded pictures: no patch is copied

    Raises
    ------
    TypeError, ValueError : x is not such an array or not finite, or the kernel does not fit.

    It is the X of the lecture's multilinear maps (`EINSUM`). Chapter 3; lecture 000:169-177, 543-552.

    >>> patches(np.arange(9).reshape(1, 1, 3, 3), 2)[0, 0, 1, 0]
    array([[3., 4.],
           [6., 7.]])
    """
    x, window = checks.array(x, "x", ndim=4), Window(kernel_size, stride, padding, dilation)
    window.output(x.shape[2:])
    (ph, pw), (sh, sw), (dh, dw) = window.padding, window.stride, window.dilation
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, window.extent, axis=(2, 3))
    return windows[:, :, ::sh, ::sw, ::dh, ::dw]  # (N, C, H', W', kh, kw)


def im2col(x: np.ndarray, kernel_size: Pair, *, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> np.ndarray:
    """Return the patches of x (N, C, H, W) as the rows of a matrix (N H' W', C kh kw).

    Arguments and errors as in `patches`. torch's `unfold` returns the same numbers with the patches as columns.
    A pixel is copied into every patch that covers it, up to kh kw times. Chapter 3; lecture 000:169-177.

    >>> im2col(np.arange(9).reshape(1, 1, 3, 3), 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    X = patches(x, kernel_size, stride=stride, padding=padding, dilation=dilation)
    n, c, h, w, kh, kw = X.shape
    return X.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * kh * kw)


def col2im(
    cols: np.ndarray,
    shape: tuple[int, int, int, int],
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> np.ndarray:
    """Add the patches back to where they were cut out: the adjoint of `im2col`, not its inverse.

    Parameters
    ----------
    cols : real matrix (N H' W', C kh kw); float32 stays float32
    shape : (N, C, H, W) of the pictures
    kernel_size, stride, padding, dilation : as in `im2col`

    Returns
    -------
    array (N, C, H, W); a pixel is the sum of its copies, zero where no patch covers it

    Raises
    ------
    TypeError, ValueError : cols is not what `im2col` returns for this shape, or the kernel does not fit.

    <im2col(x), y> = <x, col2im(y)>, which makes it the backward pass and the transposed convolution. Chapter 3.

    >>> col2im(np.ones((4, 4)), (1, 1, 3, 3), 2)[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    cols, window = checks.matrix(cols, "cols"), Window(kernel_size, stride, padding, dilation)
    n, c, height, width = _four(shape)
    (h, w), (kh, kw) = window.output((height, width)), window.kernel_size
    if cols.shape != (n * h * w, c * kh * kw):
        raise ValueError(f"cols must have shape {(n * h * w, c * kh * kw)} for {shape}, got {cols.shape}")
    (ph, pw), (sh, sw), (dh, dw) = window.padding, window.stride, window.dilation
    x = np.zeros((n, c, height + 2 * ph, width + 2 * pw), cols.dtype)
    X = cols.reshape(n, h, w, c, kh, kw).transpose(0, 3, 1, 2, 4, 5)  # (N, C, H', W', kh, kw)
    for i in range(kh):
        for j in range(kw):
            x[:, :, i * dh :: sh, j * dw :: sw][:, :, :h, :w] += X[..., i, j]
    return x[:, :, ph : ph + height, pw : pw + width]


def conv2d_gemm(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Convolve by im2col and one matrix product for each group: torch's `conv2d`.

    Parameters
    ----------
    x : real array (N, C, H, W)
    w : real array (K, C / groups, kh, kw)
    b : real array (K,) or None
    stride, padding, dilation : int or pair, as in torch
    groups : int that divides C and K

    Returns
    -------
    array (N, K, H', W'), float32 if x, w and b are

    Raises
    ------
    TypeError, ValueError : an array is not real, finite and of the right shape, or the kernel does not fit.

    patches <N H' W', C kh kw> times weights <C kh kw, K>. Chapter 3; lecture 000:169-177.

    >>> conv2d_gemm(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), [1])[0, 0]
    array([[5., 5.],
           [5., 5.]])
    """
    x, w = checks.array(x, "x", ndim=4), checks.array(w, "w", ndim=4)
    g = check_groups(x.shape[1], w.shape, groups)
    bias = np.zeros(len(w), w.dtype) if b is None else checks.array(b, "b", ndim=1)
    if len(bias) != len(w):
        raise ValueError(f"b must have shape ({len(w)},) like the first side of w, got {bias.shape}")
    moves: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    cols = im2col(x, w.shape[2:], **moves)  # (N H' W', C kh kw)
    weights = w.reshape(g, len(w) // g, -1).transpose(0, 2, 1)  # (G, C/G kh kw, K/G)
    products = cols.reshape(len(cols), g, -1).transpose(1, 0, 2) @ weights  # (G, N H' W', K/G)
    out = products.transpose(1, 0, 2).reshape(len(cols), -1) + bias  # (N H' W', K)
    h_w = Window(w.shape[2:], **moves).output(x.shape[2:])
    return out.reshape(len(x), *h_w, len(w)).transpose(0, 3, 1, 2)  # (N, K, H', W')


def _four(shape: Any) -> list[int]:
    sides = [checks.integer(n, "shape", low=1) for n in checks.instance(shape, "shape", (tuple, list))]
    if len(sides) != 4:
        raise ValueError(f"shape must be (N, C, H, W), got {shape}")
    return sides

"""Convolution as a matrix that never forms patches: Toeplitz in one dimension, blocks of Toeplitz in two.

Here the convolution is that of signal processing, with the kernel flipped, except in `conv_matrix`, which is the
layer of a network. Chapter 3; lecture 000:152-167.
"""

from typing import Any

import numpy as np
from scipy import sparse

from labkit import checks
from labkit.convolution.im2col import im2col
from labkit.convolution.window import Pair, check_groups, pair

MODES = ("full", "same", "valid")


def toeplitz(h: np.ndarray, n: int) -> np.ndarray:
    """Return the matrix T with T x = h * x, the full convolution, for signals x of length n.

    Parameters
    ----------
    h : real array (m,), the filter; float32 stays float32
    n : int, at least 1

    Returns
    -------
    array (n + m - 1, n), constant along its diagonals

    Raises
    ------
    TypeError, ValueError : h is empty, not real or not finite, or n is no positive integer.

    T[i, j] = h[i - j], zero where h has no such entry. Chapter 3; lecture 000:152-154.

    >>> toeplitz([1, 2], 3)
    array([[1., 0., 0.],
           [2., 1., 0.],
           [0., 2., 1.],
           [0., 0., 2.]])
    """
    h, n = checks.array(h, "h", ndim=1), checks.integer(n, "n", low=1)
    m = len(h)
    i, j = np.ogrid[: n + m - 1, :n]
    inside = (i >= j) & (i - j < m)
    return np.where(inside, h[np.where(inside, i - j, 0)], 0)


def toeplitz_2d(h: np.ndarray, shape: tuple[int, int], *, mode: str = "full") -> sparse.csr_array:
    """Return the sparse matrix A with A vec(x) = vec(h * x) for pictures x: Toeplitz blocks in Toeplitz order.

    Parameters
    ----------
    h : real matrix (p, q), the filter; float32 stays float32
    shape : (m, n), the height and width of x; vec takes x row by row
    mode : which part of h * x, as `scipy.signal.convolve2d(x, h)` names it: "full" (m + p - 1, n + q - 1),
        "same" (m, n), its middle, or "valid" (m - p + 1, n - q + 1), where h lies inside x

    Returns
    -------
    csr_array (entries of that part, m n)

    Raises
    ------
    TypeError, ValueError : bad h or shape, unknown mode, or "valid" with a filter that does not fit.

    A = sum_a S_a (x) T(h[a]), where T(h[a]) is the Toeplitz matrix of row a of h and S_a moves it a block rows down.
    Chapter 3; lecture 000:152-167.

    >>> toeplitz_2d([[1, 2]], (2, 2)).toarray()
    array([[1., 0., 0., 0.],
           [2., 1., 0., 0.],
           [0., 2., 0., 0.],
           [0., 0., 1., 0.],
           [0., 0., 2., 1.],
           [0., 0., 0., 2.]])
    """
    h, (m, n) = checks.matrix(h, "h"), pair(shape, "shape", low=1)
    p, q = h.shape
    moves = [sparse.eye_array(m + p - 1, m, k=-a, dtype=h.dtype) for a in range(p)]
    blocks = [sparse.kron(S, toeplitz(h[a], n)) for a, S in enumerate(moves)]
    full = sparse.csr_array(sum(blocks[1:], start=blocks[0]))
    down, across = _part(m, p, mode), _part(n, q, mode)
    return _sparse(full[np.arange(full.shape[0]).reshape(m + p - 1, n + q - 1)[down, across].ravel()])


def poisson_matrix(n: int) -> sparse.csr_array:
    """Return the matrix (n^2, n^2) that filters an n x n picture with the Laplacian [0 -1 0; -1 4 -1; 0 -1 0].

    Parameters
    ----------
    n : int, at least 1

    Raises
    ------
    TypeError, ValueError : n is no positive integer.

    A = I (x) T + T (x) I with T = tridiag(-1, 2, -1), symmetric and positive definite: block tridiagonal with D =
    tridiag(-1, 4, -1) on the diagonal and -I beside it. It has 5 n^2 - 4 n entries other than zero. Outside of the
    picture there are zeros. Chapter 3; lecture 000:156-167.

    >>> poisson_matrix(2).toarray()
    array([[ 4., -1., -1.,  0.],
           [-1.,  4.,  0., -1.],
           [-1.,  0.,  4., -1.],
           [ 0., -1., -1.,  4.]])
    """
    n = checks.integer(n, "n", low=1)
    identity = sparse.eye_array(n)
    T = 2 * identity - sparse.eye_array(n, k=1) - sparse.eye_array(n, k=-1)
    return _sparse(sparse.kron(identity, T) + sparse.kron(T, identity))


def conv_matrix(
    w: np.ndarray,
    shape: tuple[int, int],
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> sparse.csr_array:
    """Return the sparse matrix A with A vec(x) = vec(conv2d(x, w)) for one picture x of any number of channels.

    Parameters
    ----------
    w : real array (K, C / groups, kh, kw); float32 stays float32; the kernel is not flipped, as in torch
    shape : (H, W) of x
    stride, padding, dilation, groups : as in torch

    Returns
    -------
    csr_array (K H' W', C H W); zeros among the weights are stored

    Raises
    ------
    TypeError, ValueError : bad w or shape, groups that do not divide K, or a kernel that does not fit.

    im2col of the pixels' numbers says which pixel each weight meets. A^T is the transposed convolution. Chapter 3;
    lecture 000:152-177, 297-301.

    >>> conv_matrix([[[[1, 2]]]], (1, 3)).toarray()
    array([[1., 2., 0.],
           [0., 1., 2.]])
    """
    w, (height, width) = checks.array(w, "w", ndim=4), pair(shape, "shape", low=1)
    c = w.shape[1] * checks.integer(groups, "groups", low=1)
    g = check_groups(c, w.shape, groups)
    numbers = np.arange(1.0, c * height * width + 1).reshape(1, c, height, width)  # 0 is left for the padding
    moves: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    sources = im2col(numbers, w.shape[2:], **moves).astype(int)  # (H'W', C kh kw)
    places = len(sources)
    pixels = sources.reshape(places, g, 1, -1).transpose(1, 2, 0, 3)  # (G, 1, H'W', C/G kh kw)
    values = w.reshape(g, len(w) // g, 1, -1)  # (G, K/G, 1, C/G kh kw)
    rows = np.arange(len(w) * places).reshape(g, len(w) // g, places, 1)
    row, pixel, value = (a[np.broadcast_to(pixels, a.shape) > 0] for a in np.broadcast_arrays(rows, pixels, values))
    size = len(w) * places, c * height * width
    index = np.int32 if max(size) <= np.iinfo(np.int32).max else np.int64  # scipy would keep int64, twice the memory
    return sparse.csr_array((value, (row.astype(index), (pixel - 1).astype(index))), shape=size)


def _sparse(A: Any) -> sparse.csr_array:
    """Return A in rows, without the zeros that scipy stores inside the blocks of a Kronecker product."""
    rows = sparse.csr_array(A)
    rows.eliminate_zeros()
    return rows


def _part(n: int, m: int, mode: str) -> slice:
    """Return which of the n + m - 1 entries of a full convolution belong to `mode`."""
    if checks.choice(mode, "mode", MODES) == "full":
        return slice(0, n + m - 1)
    if mode == "same":
        return slice((m - 1) // 2, (m - 1) // 2 + n)
    if m > n:
        raise ValueError(f"h must fit into the picture for mode 'valid', got a side of {m} over {n}")
    return slice(m - 1, n)

"""A tensor as a matrix and back: unfoldings keep every entry, so they keep the Frobenius norm.

The modes are counted from 0. Columns run through the other modes in C order (the last one fastest), as in NumPy's
reshape; Kolda and Bader (2009), doi:10.1137/07070111X, let the first one run fastest, which permutes the columns.
Chapters 3 and 8; lecture 000:305-310.
"""

import math
from collections.abc import Sequence

import numpy as np

from labkit import checks

Modes = int | tuple[int, ...]


def unfold(X: np.ndarray, mode: Modes) -> np.ndarray:
    """Return the unfolding of a tensor X along `mode`: its rows are numbered by that mode, its columns by the others.

    Parameters
    ----------
    X : real array (n_0, ..., n_{d-1}); float32 stays float32, other types become float64
    mode : int from 0 to d - 1, or a tuple of different modes, which then number the rows together in that order

    Returns
    -------
    array (n_mode, product of the other n); with a tuple, (product of its n, product of the others)

    Raises
    ------
    TypeError, ValueError : X is empty, not real or not finite, or there is no such mode.

    X_(k)[i_k, (i_0 ... i_{d-1} without i_k)] = X[i_0, ..., i_{d-1}], so norm(X_(k)) = norm(X) in the Frobenius norm.
    Chapters 3 and 8; lecture 000:305-310.

    >>> X = np.arange(6).reshape(1, 2, 3)
    >>> unfold(X, 2)
    array([[0., 3.],
           [1., 4.],
           [2., 5.]])
    >>> unfold(X, (0, 1)).shape
    (2, 3)
    """
    X = checks.array(X, "X")
    rows = _modes(mode, X.ndim)
    size = math.prod(X.shape[k] for k in rows)
    return np.moveaxis(X, rows, range(len(rows))).reshape(size, -1)


def fold(M: np.ndarray, mode: Modes, *, shape: Sequence[int]) -> np.ndarray:
    """Return the tensor of `shape` whose unfolding along `mode` is M; the inverse of `unfold`.

    Parameters
    ----------
    M : real matrix (n_mode, product of the other n)
    mode : int or tuple of ints, as in `unfold`
    shape : (n_0, ..., n_{d-1}), the shape of the tensor

    Raises
    ------
    TypeError, ValueError : M is not the unfolding of a tensor of this shape, or there is no such mode.

    Chapters 3 and 8; lecture 000:305-310.

    >>> X = np.arange(24.0).reshape(2, 3, 4)
    >>> bool((fold(unfold(X, 1), 1, shape=X.shape) == X).all())
    True
    """
    M = checks.matrix(M, "M")
    sides = [checks.integer(n, "shape", low=1) for n in checks.instance(shape, "shape", (tuple, list))]
    rows = _modes(mode, len(sides))
    moved = [sides[k] for k in (*rows, *(k for k in range(len(sides)) if k not in rows))]
    wanted = (math.prod(moved[: len(rows)]), math.prod(moved[len(rows) :]))
    if M.shape != wanted:
        raise ValueError(f"M must have shape {wanted} for a tensor {tuple(sides)} and mode {mode}, got {M.shape}")
    return np.moveaxis(M.reshape(moved), range(len(rows)), rows)


def _modes(mode: Modes, ndim: int) -> tuple[int, ...]:
    """Return `mode` as a tuple of different ints between 0 and ndim - 1."""
    modes = mode if isinstance(mode, tuple) else (mode,)
    rows = tuple(checks.integer(k, "mode", low=0, high=ndim - 1) for k in modes)
    if not rows or len(set(rows)) < len(rows):
        raise ValueError(f"mode must name at least one mode, and each once, got {mode}")
    return rows

"""Winograd's algorithm as a tensor decomposition: the correlation is a tensor, an algorithm is a sum of products.

m outputs of a correlation with r taps are bilinear in inputs and kernel: y_i = sum_jk T[i, j, k] d_j g_k, where T
is 1 for j = i + k and 0 elsewhere. A term a (x) b (x) c costs one multiplication, (b . d)(c . g), a sum of R terms is
an algorithm with R of them. The fewest multiplications are the rank of T, and that is m + r - 1. Chapter 23.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from labkit import checks
from labkit.convolution.cook_toom import Transforms, cook_toom
from labkit.decomposition import CP


def correlation_tensor(m: int, r: int) -> np.ndarray:
    """Return T (m, m + r - 1, r) of F(m, r): T[i, j, k] = 1 where j = i + k, else 0.

    Raises TypeError or ValueError unless m and r are integers of at least 1.
    S. Winograd, Arithmetic complexity of computations, 1980. Chapter 23; lecture 003:1875-1883.

    >>> d, g = np.array([0.0, 0, 1, 2]), np.array([10.0, 20, 30])
    >>> correlation_tensor(2, 3) @ g @ d
    array([30., 80.])
    """
    m, r = checks.integer(m, "m", low=1), checks.integer(r, "r", low=1)
    i, j, k = np.ogrid[:m, : m + r - 1, :r]
    return (j == i + k).astype(np.float64)


def winograd_cp(m: int, r: int, *, points: Sequence[Any] | None = None) -> CP:
    r"""Return the CP decomposition of `correlation_tensor(m, r)` that `cook_toom(m, r, points=points)` is.

    Parameters and errors as in `cook_toom`.

    Returns
    -------
    CP of rank m + r - 1 and shape (m, m + r - 1, r); term s holds column s of A^T, row s of B^T and row s of G

    Formula: :math:`T_{ijk} = \sum_s A^T_{is}\, B^T_{sj}\, G_{sk}`.
    Source: S. Winograd 1980; T. G. Kolda, B. W. Bader, doi:10.1137/07070111X, on CP. Chapter 23; chapter 8 on CP.

    >>> winograd_cp(2, 3).rank, winograd_cp(4, 3).rank
    (4, 6)
    """
    AT, G, BT = cook_toom(m, r, points=points).arrays()
    factors = AT, BT.T, G.T  # (m, t), (t, t), (r, t): one column for each product
    norms = np.array([np.linalg.norm(U, axis=0) for U in factors])  # (3, t)
    weights = norms.prod(axis=0)
    order = np.argsort(-weights, kind="stable")
    U, V, W = ((F / n)[:, order] for F, n in zip(factors, norms, strict=True))
    return CP(weights[order], (U, V, W))


def transforms_of(form: CP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A^T (m, R), G (R, r) and B^T (R, t) for a CP of a correlation tensor: any such CP is an algorithm.

    The weights go into G. Raises TypeError unless `form` is a CP, ValueError unless it has three modes with
    t = m + r - 1. Chapter 23.

    >>> AT, G, BT = transforms_of(winograd_cp(2, 3))
    >>> (AT @ ((G @ [10, 20, 30]) * (BT @ [0, 0, 1, 2]))).round(9)
    array([30., 80.])
    """
    form = checks.instance(form, "form", CP)
    if len(form.shape) != 3 or form.shape[1] != form.shape[0] + form.shape[2] - 1:
        raise ValueError(f"form must have shape (m, m + r - 1, r), got {form.shape}")
    U, V, W = form.factors
    return U, (W * form.weights).T, V.T


def is_exact(one: Transforms) -> bool:
    """Return whether the three matrices give T exactly, in fractions: a proof for all inputs and kernels.

    >>> is_exact(cook_toom(4, 3))
    True
    """
    one = checks.instance(one, "one", Transforms)
    wanted = correlation_tensor(one.m, one.r)
    terms = range(one.size)
    return all(
        sum(one.AT[i][s] * one.BT[s][j] * one.G[s][k] for s in terms) == wanted[i, j, k]
        for i, j, k in np.ndindex(*wanted.shape)
    )

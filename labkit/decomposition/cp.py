"""The CP decomposition: a tensor as a sum of R products of vectors, by alternating least squares.

T(i_1, ..., i_d) = sum_r w_r u_1(i_1, r) ... u_d(i_d, r); d n R numbers. Hitchcock (1927); Carroll and Chang (1970);
Kolda and Bader (2009), doi:10.1137/07070111X. Chapter 8; lecture 000:398-423, 539-541, 001:76-77.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from labkit import checks
from labkit.decomposition.formats import TensorFormat, frobenius, left_vectors, relative_error, tensor
from labkit.decomposition.unfolding import unfold

STARTS = ("svd", "random")


@dataclass(frozen=True, repr=False, eq=False)
class CP(TensorFormat):
    """A tensor kept as weights w (R,), largest first, and factors U_k (n_k, R) with columns of norm 1.

    `errors` holds the relative error after each sweep, if an iteration made it, and `converged` says whether that
    stopped by itself. `error_bound` is the Frobenius distance to the tensor. `n_params` counts the factors alone,
    d n R as in the lecture: the weights can be multiplied into one of them.
    Raises ValueError if the shapes do not fit. Chapter 8.

    >>> CP(np.ones(2), (np.eye(2), np.eye(2), np.eye(2))).to_tensor()[1]
    array([[0., 0.],
           [0., 1.]])
    """

    weights: np.ndarray
    factors: tuple[np.ndarray, ...]
    error_bound: float | None = None
    errors: tuple[float, ...] = ()
    converged: bool = True

    def __post_init__(self) -> None:
        shapes, R = [np.shape(U) for U in self.factors], np.shape(self.weights)
        if len(R) != 1 or not shapes or any(len(shape) != 2 or shape[1:] != R for shape in shapes):
            raise ValueError(f"weights and factors must have shapes (R,) and (n, R), got {R} and {shapes}")

    @property
    def rank(self) -> int:
        """The number R of terms."""
        return len(self.weights)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (n_1, ..., n_d)."""
        return tuple(len(U) for U in self.factors)

    def to_tensor(self) -> np.ndarray:
        """Return the dense tensor."""
        first, *rest = self.factors
        return ((first * self.weights) @ khatri_rao(rest).T).reshape(self.shape)

    @property
    def cosine(self) -> float:
        """The smallest cosine between two terms, the product of those of their vectors; 1 if there is one term."""
        products = np.prod([U.T @ U for U in self.factors], axis=0)  # (R, R)
        return float(products.min())

    @property
    def cancellation(self) -> float:
        """How much larger the terms are than their sum: the root of sum w_r^2, divided by the norm of the tensor."""
        products = np.prod([U.T @ U for U in self.factors], axis=0)
        energy = float(self.weights @ products @ self.weights)
        size = float(np.linalg.norm(self.weights))
        return size / np.sqrt(energy) if energy > np.finfo(float).eps * size**2 else float(size > 0) * 1e8

    @property
    def degenerate(self) -> bool:
        """Whether two terms nearly cancel: a cosine below -0.9, and terms more than twice as large as their sum.

        Then no best approximation of this rank need exist: the error keeps falling while the terms grow without limit.
        De Silva and Lim (2008), doi:10.1137/06066518X; the diagnosis is that of Kruskal, Harshman and Lundy (1989).
        """
        return self.cosine < -0.9 and self.cancellation > 2


def cp_als(
    T: np.ndarray,
    *,
    rank: int,
    init: Any = "svd",
    ridge: float = 0.0,
    n_iter_max: int = 500,
    tol: float = 1e-8,
    random_state: Any = None,
) -> CP:
    """Return a CP decomposition of T (n_1, ..., n_d), by alternating least squares.

    Parameters
    ----------
    T : real array with d >= 2 modes
    rank : number R of terms, at least 1; at numel(T) / max(n_k) every tensor has an exact one, see `cp_unit`
    init : "svd" (left singular vectors of the unfoldings, random columns where these end), "random", or a CP
    ridge : at least 0; adds ridge * sum w_r^2 to the squared error, so that degenerate terms cannot grow
    n_iter_max, tol : stop after so many sweeps, or when the relative error falls by less than tol in one
    random_state : for the random columns

    Raises
    ------
    TypeError, ValueError : bad argument, or a CP of another shape or rank.

    With the other factors fixed, U_k solves a linear least squares problem: U_k (V + ridge I) = T_(k) K, where K is
    the Khatri-Rao product of the others and V = K^T K. So the error never rises (for ridge = 0), but it may stop at
    a local minimum, or creep along a degenerate path (see `CP.degenerate`, which says so).
    Chapter 8; lecture 000:398-423, 539-541.

    >>> T = CP(np.ones(2), (np.eye(3, 2),) * 3).to_tensor()
    >>> cp_als(T, rank=2).errors[-1] < 1e-12
    True
    """
    T = tensor(T)
    R, rho = checks.integer(rank, "rank", low=1), checks.number(ridge, "ridge", low=0)
    sweeps, tol = checks.integer(n_iter_max, "n_iter_max", low=1), checks.number(tol, "tol", low=0)
    unfoldings = [unfold(T, k) for k in range(T.ndim)]  # (n_k, numel / n_k)
    factors, size = _start(T, unfoldings, R, init, random_state), frobenius(T)
    errors: list[float] = []
    for _ in range(sweeps):
        weights, rest = als_sweep(unfoldings, factors, rho)
        errors.append(rest / size if size else 0.0)
        if len(errors) > 1 and errors[-2] - errors[-1] < tol:
            break
    return _sorted_cp(weights, factors, errors[-1] * size, tuple(errors), len(errors) < sweeps)


def cp_unit(T: np.ndarray) -> CP:
    """Return an exact CP decomposition of T (n_1, ..., n_d), with numel(T) / max(n_k) terms and no arithmetic.

    One term for each line of entries along the longest mode: the other vectors are unit vectors. No tensor of this
    shape has a higher rank. Raises TypeError or ValueError if T is not a finite real tensor. Chapter 8.

    >>> cp_unit(np.ones((2, 3, 4))).rank
    6
    """
    T = tensor(T)
    long = int(np.argmax(T.shape))
    others = tuple(n for k, n in enumerate(T.shape) if k != long)
    places = np.indices(others).reshape(len(others), -1)  # (d - 1, R)
    units = [np.eye(n, dtype=T.dtype)[:, i] for n, i in zip(others, places, strict=True)]
    lines = unfold(T, long)  # (n_long, R)
    return _from_columns([*units[:long], lines, *units[long:]], 0.0)


def khatri_rao(factors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the column-wise Kronecker product (n_1 ... n_d, R) of factors (n_k, R), in C order as `unfold` needs it.

    >>> khatri_rao([np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])]).ravel()
    array([3., 4., 6., 8.])
    """
    return reduce(lambda A, B: (A[:, None] * B).reshape(-1, A.shape[1]), factors)


def _start(T: np.ndarray, unfoldings: list, R: int, init: Any, random_state: Any) -> list[np.ndarray]:
    if isinstance(init, CP):
        if init.shape != T.shape or init.rank != R:
            raise ValueError(f"init must have shape {T.shape} and rank {R}, got {init.shape} and {init.rank}")
        return [U * (init.weights if k == 0 else 1) for k, U in enumerate(init.factors)]
    checks.choice(init, "init", STARTS)
    rng = checks.generator(random_state)
    factors = [rng.standard_normal((n, R), dtype=T.dtype) for n in T.shape]
    if init == "svd":
        for U, M in zip(factors, unfoldings, strict=True):
            k = min(R, *M.shape)
            U[:, :k] = left_vectors(M, rank=k)[0]
    return [U / np.linalg.norm(U, axis=0) for U in factors]


def als_sweep(unfoldings: list[np.ndarray], factors: list[np.ndarray], rho: float = 0.0) -> tuple[np.ndarray, float]:
    """Solve for each factor in turn, in place; return the weights (R,) and the error that is left.

    `unfoldings` are the matrices (n_k, numel / n_k) of `unfold`, `factors` those of a CP (n_k, R), which get columns
    of norm 1; `rho` is the ridge on the factors, at least 0. Raises ValueError if their rows do not agree.
    Kolda, Bader (2009), doi:10.1137/07070111X, section 3.4. Chapter 8; lecture 000:398-423.

    >>> T, factors = np.ones((2, 3, 4)), [np.ones((n, 1)) for n in (2, 3, 4)]
    >>> weights, error = als_sweep([unfold(T, k) for k in range(3)], factors)
    >>> bool(error < 1e-12), float(weights[0].round(4))
    (True, 4.899)
    """
    if [len(M) for M in unfoldings] != [len(U) for U in factors]:
        raise ValueError(f"factors must have the rows of unfoldings, got {[len(U) for U in factors]}")
    for k, M in enumerate(unfoldings):
        K = khatri_rao([U for j, U in enumerate(factors) if j != k])  # (numel / n_k, R)
        V = K.T @ K + rho * np.eye(K.shape[1], dtype=K.dtype)
        U = np.linalg.lstsq(V, (M @ K).T, rcond=None)[0].T  # (n_k, R); V is singular where terms coincide
        factors[k], weights = _normalised(U)
    return weights, frobenius(unfoldings[-1] - U @ K.T)


def _normalised(U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return U with columns of norm 1, and the norms; a column of zeros stays zero."""
    norms = np.linalg.norm(U, axis=0)
    return U / np.where(norms > 0, norms, 1), norms


def _from_columns(columns: Sequence[np.ndarray], error: float | None = None) -> CP:
    """Return the CP with these factors, of any norms."""
    pairs = [_normalised(U) for U in columns]
    return _sorted_cp(np.prod([norms for _, norms in pairs], axis=0), [U for U, _ in pairs], error)


def _sorted_cp(
    weights: np.ndarray, factors: list, error: float | None, errors: tuple = (), converged: bool = True
) -> CP:
    order = np.argsort(-weights, kind="stable")
    return CP(weights[order], tuple(U[:, order] for U in factors), error, errors, converged)


def cp_error(T: np.ndarray, cp: CP) -> float:
    """Return the relative Frobenius error of a CP decomposition of T."""
    return relative_error(T, cp.to_tensor())

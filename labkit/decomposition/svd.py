"""The singular value decomposition A = U S V^T and the best approximation of a matrix at a given rank.

Shapes: A (m, n), U (m, k), s (k,), Vt (k, n), where k is the rank. Chapter 5; lecture 000:231-261, 002:386-398.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labkit import checks


@dataclass(frozen=True, repr=False, eq=False)
class LowRank:
    """A matrix of rank k kept as its factors, U diag(s) Vt; it unpacks as `U, s, Vt = low_rank`.

    U (m, k), s (k,) and Vt (k, n) are float arrays; `error_bound` is the Frobenius distance to the matrix
    that was approximated, where the method knows it. Raises ValueError if the shapes do not fit.
    Chapter 5.

    >>> LowRank(np.ones((4, 1)), np.ones(1), np.ones((1, 3)))
    LowRank(shape=(4, 3), rank=1, n_params=8)
    """

    U: np.ndarray
    s: np.ndarray
    Vt: np.ndarray
    error_bound: float | None = None

    def __post_init__(self) -> None:
        shapes = [np.shape(factor) for factor in self.factors]
        if [len(shape) for shape in shapes] != [2, 1, 2] or not shapes[0][1] == shapes[1][0] == shapes[2][0] > 0:
            raise ValueError(f"U, s, Vt must have shapes (m, k), (k,), (k, n) with k at least 1, got {shapes}")

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The tuple (U, s, Vt)."""
        return self.U, self.s, self.Vt

    @property
    def rank(self) -> int:
        """The number k of terms kept."""
        return len(self.s)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, n) of the matrix that the factors stand for."""
        return len(self.U), self.Vt.shape[1]

    @property
    def n_params(self) -> int:
        """Numbers stored: k (m + n + 1)."""
        return param_count(self.shape, rank=self.rank, singular_values=True)

    @property
    def T(self) -> "LowRank":  # noqa: N802  the name NumPy gives the transpose
        """The transpose, V diag(s) U^T."""
        return LowRank(self.Vt.T, self.s, self.U.T, self.error_bound)

    def truncate(self, rank: int) -> "LowRank":
        """Keep the first `rank` terms (int, 1 to k); the error grows by the singular values left out."""
        k = checks.rank(rank, high=self.rank)
        error = None if self.error_bound is None else float(np.hypot(self.error_bound, _tail_norms(self.s)[k]))
        return LowRank(self.U[:, :k], self.s[:k], self.Vt[:k], error)

    def to_tensor(self) -> np.ndarray:
        """Return the dense matrix (m, n)."""
        return (self.U * self.s) @ self.Vt

    def matmul(self, x: np.ndarray) -> np.ndarray:
        """Return the product with x (n,) or (n, p) in k (m + n) multiply-adds a column; no dense matrix is built."""
        x = checks.array(x, "x")
        if x.ndim not in (1, 2) or len(x) != self.shape[1]:
            raise ValueError(f"x must have shape ({self.shape[1]},) or ({self.shape[1]}, p), got {x.shape}")
        return (self.U * self.s) @ (self.Vt @ x)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.factors)

    def __repr__(self) -> str:
        return f"LowRank(shape={self.shape}, rank={self.rank}, n_params={self.n_params})"


def thin_svd(A: np.ndarray) -> LowRank:
    """Return the thin SVD of A (m, n), by LAPACK: all min(m, n) terms, singular values in descending order.

    A = U diag(s) V^T with U^T U = V^T V = I. Raises TypeError or ValueError if A is not a finite real matrix.
    Chapter 5; lecture 000:231-240.

    >>> U, s, Vt = thin_svd([[3, 0], [0, 4]])
    >>> s
    array([4., 3.])
    """
    return LowRank(*np.linalg.svd(checks.matrix(A, "A"), full_matrices=False), error_bound=0.0)


def truncated_svd(A: np.ndarray, *, rank: int | None = None, tol: float | None = None) -> LowRank:
    """Return the best approximation A_k = U_k S_k V_k^T of A (m, n), in the Frobenius norm.

    Give one of `rank` (int, 1 to min(m, n)) and `tol` (relative error, 0 to 1: the smallest rank with
    norm(A - A_k) <= tol norm(A)). Raises TypeError or ValueError otherwise.
    Eckart and Young (1936): norm(A - A_k)^2 = s_{k+1}^2 + ... + s_r^2, and no matrix of rank k does better.
    Chapter 5; lecture 000:242-257, 002:396-398.

    >>> truncated_svd(np.diag([3.0, 2.0, 1.0]), rank=2).error_bound
    1.0
    """
    if rank is not None and tol is None:
        return thin_svd(A).truncate(rank)
    if tol is not None and rank is None:
        svd = thin_svd(A)
        return svd.truncate(rank_for_tol(svd.s, tol=tol))
    raise TypeError(f"give exactly one of rank and tol, got rank={rank!r} and tol={tol!r}")


def svd_terms(A: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the terms s_i u_i v_i^T of A (m, n), largest first; the sum of the first k is `truncated_svd` at rank k.

    M = s_1 u_1 v_1^T + ... + s_r u_r v_r^T. Raises TypeError or ValueError if A is not a finite real matrix.
    Chapter 5; lecture 000:259-261.

    >>> [float(term.max()) for term in svd_terms(np.diag([3.0, 2.0]))]
    [3.0, 2.0]
    """
    U, s, Vt = thin_svd(A)
    return (s[i] * np.outer(U[:, i], Vt[i]) for i in range(len(s)))


def jacobi_svd(A: np.ndarray, *, tol: float = 1e-12, n_iter_max: int = 60) -> LowRank:
    """Return the thin SVD of A (m, n), from scratch: turn pairs of columns until all are orthogonal.

    A V = W has orthogonal columns, so s_i = norm(w_i) and u_i = w_i / s_i. `tol` is the largest cosine left
    between two columns; after `n_iter_max` sweeps over all pairs np.linalg.LinAlgError is raised. It is here to be
    read: from about 100 columns on, `thin_svd` is the one to use. Hestenes (1958), one-sided Jacobi. Chapter 5.

    >>> jacobi_svd([[3, 0], [4, 0]]).s
    array([5., 0.])
    """
    A = checks.matrix(A, "A")
    tol, sweeps = checks.number(tol, "tol", low=0, high=1), checks.integer(n_iter_max, "n_iter_max", low=1)
    if len(A) < A.shape[1]:
        return jacobi_svd(A.T, tol=tol, n_iter_max=sweeps).T
    scale = np.abs(A).max() or 1.0  # so that no square overflows or vanishes
    W, V = A.astype(float) / scale, np.eye(A.shape[1])  # (m, n), (n, n)
    for _ in range(sweeps):
        if not _sweep(W, V, tol):
            U, s, Vt = _columns_to_svd(W, V)
            U, s, Vt = (part.astype(A.dtype) for part in (U, s * scale, Vt))
            return LowRank(U, s, Vt, error_bound=0.0)
    raise np.linalg.LinAlgError(f"jacobi_svd needs more than n_iter_max={sweeps} sweeps for tol={tol}")


def _sweep(W: np.ndarray, V: np.ndarray, tol: float) -> bool:
    """Turn each pair of columns of W, and of V with it, to be orthogonal; say whether any pair had to be turned."""
    turned = False
    for p in range(W.shape[1] - 1):
        for q in range(p + 1, W.shape[1]):
            alpha, beta, gamma = W[:, p] @ W[:, p], W[:, q] @ W[:, q], W[:, p] @ W[:, q]
            if abs(gamma) <= tol * np.sqrt(alpha * beta) or min(alpha, beta) < 1e-60:  # or a column is zero
                continue
            theta = 0.5 * np.arctan2(2 * gamma, alpha - beta)  # makes the new columns orthogonal, the longer one first
            c, s = np.cos(theta), np.sin(theta)
            turn = np.array([[c, -s], [s, c]])
            W[:, [p, q]], V[:, [p, q]] = W[:, [p, q]] @ turn, V[:, [p, q]] @ turn
            turned = True
    return turned


def _columns_to_svd(W: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split orthogonal columns W (m, n) into directions and lengths, the longest first."""
    s = np.linalg.norm(W, axis=0)
    order = np.argsort(-s)
    W, s, V = W[:, order], s[order], V[:, order]
    r = np.count_nonzero(s > s[0] * len(W) * np.finfo(float).eps)  # shorter columns are rounding errors
    s[r:] = 0
    basis, _ = np.linalg.qr(W[:, :r], mode="complete")  # (m, m): directions for the zero singular values
    return np.hstack([W[:, :r] / s[:r], basis[:, r : len(s)]]), s, V.T


def randomized_svd(
    A: np.ndarray, *, rank: int, n_oversamples: int = 8, n_power_iter: int = 1, random_state: object = None
) -> LowRank:
    """Return an approximate truncated SVD of A (m, n), from a random sample of its column space.

    Y = (A A^T)^q A Omega, where Omega (n, rank + n_oversamples) is Gaussian and q = `n_power_iter`;
    Q is an orthonormal basis of Y, and the SVD of the small matrix Q^T A gives the factors.
    Raises TypeError or ValueError for a bad argument. Halko, Martinsson and Tropp (2011). Chapter 5.

    >>> randomized_svd(np.ones((50, 40)), rank=1, random_state=0).s.round(6)
    array([44.72136])
    """
    A = checks.matrix(A, "A")
    k = checks.rank(rank, high=min(A.shape))
    width = min(k + checks.integer(n_oversamples, "n_oversamples", low=0), *A.shape)
    Omega = checks.generator(random_state).standard_normal((A.shape[1], width), dtype=A.dtype)  # (n, width)
    Q, _ = np.linalg.qr(A @ Omega)  # (m, width)
    for _ in range(checks.integer(n_power_iter, "n_power_iter", low=0)):
        Z, _ = np.linalg.qr(A.T @ Q)  # orthonormal again, or small singular values drown in rounding errors
        Q, _ = np.linalg.qr(A @ Z)
    U, s, Vt = thin_svd(Q.T @ A)
    return LowRank(Q @ U[:, :k], s[:k], Vt[:k])


def numerical_rank(A: np.ndarray, *, tol: float | None = None) -> int:
    """Return how many singular values of A (m, n) are larger than `tol` times the largest one; 0 for the zero matrix.

    `tol` is a number from 0 to 1, by default max(m, n) times the rounding unit of the number type. The rank of a
    product is at most the smallest rank of its factors. Raises TypeError or ValueError if A is not a finite real
    matrix. Chapter 2; lecture 000:99-107.

    >>> numerical_rank(np.ones((5, 2)) @ np.ones((2, 4)))
    1
    """
    A = checks.matrix(A, "A")
    s = np.linalg.svd(A, compute_uv=False)
    small = max(A.shape) * float(np.finfo(A.dtype).eps) if tol is None else checks.number(tol, "tol", low=0, high=1)
    return int((s > small * s[0]).sum())


def rank_for_tol(s: np.ndarray, *, tol: float) -> int:
    """Return the smallest rank whose relative Frobenius error is at most `tol` (0 to 1), for singular values s (r,).

    sqrt(s_{k+1}^2 + ... + s_r^2) <= tol norm(s). The answer is at least 1.
    Raises ValueError unless s is non-negative and descending. Chapter 5; lecture 000:463-468.

    >>> rank_for_tol([4, 3, 0], tol=0.6)
    1
    """
    s, tol = _spectrum(s), checks.number(tol, "tol", low=0, high=1)
    tails = _tail_norms(s)
    return max(1, int(np.argmax(tails <= tol * tails[0])))


def rank_for_energy(s: np.ndarray, *, energy: float) -> int:
    """Return the smallest rank that keeps the fraction `energy` (0 to 1) of the squared singular values s (r,).

    s_1^2 + ... + s_k^2 >= energy (s_1^2 + ... + s_r^2). The answer is at least 1.
    Raises ValueError unless s is non-negative and descending. Chapter 5; lecture 003:1754-1764.

    >>> rank_for_energy([3, 1], energy=0.9)
    1
    """
    s, energy = _spectrum(s), checks.number(energy, "energy", low=0, high=1)
    kept = np.cumsum(s**2)
    return 1 + int(np.argmax(kept >= energy * kept[-1]))


def param_count(
    shape: tuple[int, int], *, rank: int = 1, right: tuple[int, int] | None = None, singular_values: bool = False
) -> int:
    """Return how many numbers store a matrix of `shape` (m, n) as a sum of `rank` Kronecker products L (x) R.

    `right` is the shape (p, q) of R; L is (m/p, n/q). The default (1, n) is the outer product u v^T of the SVD:
    rank (m + n). The factors s_i are taken into L, as the lecture counts, unless `singular_values` is True:
    rank (m + n + 1). Raises TypeError or ValueError if `right` does not divide `shape` or `rank` is too large.
    Chapter 5; lecture 000:279-280.

    >>> param_count((480, 320)), param_count((480, 320), right=(20, 16))
    (800, 800)
    """
    m, n = _shape(shape, "shape")
    p, q = (1, n) if right is None else _shape(right, "right")
    if m % p or n % q:
        raise ValueError(f"right must divide shape {(m, n)} side by side, got {(p, q)}")
    left, block = (m // p) * (n // q), p * q
    return checks.rank(rank, high=min(left, block)) * (left + block + bool(singular_values))


def svd_rate(m: int, n: int, rank: int) -> float:
    """Return the compression rate m n / (k (m + n + 1)) of an m x n matrix kept at rank k.

    Raises TypeError or ValueError unless m, n and rank are integers with 1 <= rank <= min(m, n).
    Chapter 5; lecture 002:398.

    >>> round(svd_rate(4096, 4096, 100), 3)
    20.478
    """
    return m * n / param_count((m, n), rank=rank, singular_values=True)


def break_even_rank(m: int, n: int) -> int:
    """Return the largest rank at which the factors of an m x n matrix take less room than the matrix, 0 if none.

    The rate is above 1 for k < m n / (m + n + 1). Raises TypeError or ValueError unless m, n are positive integers.
    Chapter 5; lecture 002:398.

    >>> break_even_rank(4096, 4096), break_even_rank(2, 3)
    (2047, 0)
    """
    m, n = _shape((m, n), "shape")
    return (m * n - 1) // (m + n + 1)


def _tail_norms(s: np.ndarray) -> np.ndarray:
    """Return norm(s[k:]) for k = 0, ..., r; hypot neither overflows nor vanishes."""
    return np.append(np.hypot.accumulate(s[::-1].astype(float))[::-1], 0.0)


def _spectrum(s: np.ndarray) -> np.ndarray:
    s = checks.array(s, "s", ndim=1).astype(float)
    if s[-1] < 0 or (np.diff(s) > 0).any():
        raise ValueError(f"s must be non-negative and descending, got {s[:6]}")
    return s


def _shape(value: tuple[int, int], name: str) -> tuple[int, int]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of integers, got {value!r}")
    m, n = (checks.integer(side, f"{name}[{i}]", low=1) for i, side in enumerate(value))
    return m, n

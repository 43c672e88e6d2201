"""Kronecker products, their algebra, and the nearest sum of them to a given matrix or kernel.

A (x) B puts a copy of B, times a_ij, in the place of every entry a_ij. For matrices A (m1, n1) and B (p, q) it has
the shape (m1 p, n1 q); for arrays with more axes every axis grows in the same way. vec(X) stacks the columns of X.

| law           |                                             |
|---------------|---------------------------------------------|
| mixed product | (A (x) B)(C (x) D) = AC (x) BD              |
| transpose     | (A (x) B)^T = A^T (x) B^T                   |
| inverse       | (A (x) B)^-1 = A^-1 (x) B^-1                |
| vec trick     | (A (x) B) vec(X) = vec(B X A^T)             |
| norm, rank    | norm and rank of A (x) B are the products   |

Chapter 6; lecture 000:263-280.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from labkit import checks
from labkit.decomposition.svd import LowRank, thin_svd, truncated_svd


def kron(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return A (x) B for two arrays with equally many axes: the block matrix with blocks a_ij B, if they are matrices.

    Entry (i p + k, j q + l) is a_ij b_kl, for B of shape (p, q). Raises TypeError or ValueError for arrays that are
    not finite or have unlike numbers of axes. Chapter 6; lecture 000:265-271.

    >>> kron([[1, 2]], [[1, 0], [0, 1]])
    array([[1., 0., 2., 0.],
           [0., 1., 0., 2.]])
    """
    A, B = checks.array(A, "A"), checks.array(B, "B")
    if A.ndim != B.ndim or A.ndim == 0:
        raise ValueError(f"A and B must have equally many axes, at least 1, got shapes {A.shape} and {B.shape}")
    outer = np.multiply.outer(A, B)  # (m1, n1, p, q)
    return outer.transpose(_paired(A.ndim)).reshape([a * b for a, b in zip(A.shape, B.shape, strict=True)])


def vec(X: np.ndarray) -> np.ndarray:
    """Return the columns of X (m, n) as one vector (m n,), the first column first.

    Raises TypeError or ValueError if X is not a finite real matrix. Chapter 6.

    >>> vec([[1, 2], [3, 4]])
    array([1., 3., 2., 4.])
    """
    return checks.matrix(X, "X").T.reshape(-1)


def unvec(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the matrix of `shape` (m, n) whose columns are stacked in x (m n,); `vec` undone.

    Raises TypeError or ValueError if the lengths do not fit. Chapter 6.

    >>> unvec([1, 3, 2, 4], (2, 2))
    array([[1., 2.],
           [3., 4.]])
    """
    x, (m, n) = checks.array(x, "x", ndim=1), _ints(shape, "shape", 2)
    if len(x) != m * n:
        raise ValueError(f"x must have {m * n} entries for shape {(m, n)}, got {len(x)}")
    return x.reshape(n, m).T


def kron_matmul(A: np.ndarray, B: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return (A (x) B) x for A (m, n), B (p, q) and x (n q,), without building the product.

    With x = vec(X), X (q, n), it is vec(B X A^T): n q p + n p m multiply-adds in place of m n p q.
    Raises TypeError or ValueError for a bad argument. Chapter 6; lecture 000:265-271.

    >>> kron_matmul([[1, 2]], [[1, 0], [0, 1]], [1, 2, 3, 4])
    array([ 7., 10.])
    """
    A, B = checks.matrix(A, "A"), checks.matrix(B, "B")
    X = unvec(x, (B.shape[1], A.shape[1]))  # (q, n)
    return vec(B @ X @ A.T)


def kron_solve(A: np.ndarray, B: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the x that solves (A (x) B) x = y for square A (m, m), B (p, p) and y (m p,).

    (A (x) B)^-1 = A^-1 (x) B^-1, so x = vec(B^-1 Y A^-T): two small systems in place of one with m p unknowns.
    Raises TypeError or ValueError for a bad argument, np.linalg.LinAlgError if A or B is singular. Chapter 6.

    >>> kron_solve([[2]], [[1, 0], [0, 4]], [2, 8])
    array([1., 1.])
    """
    A, B = checks.matrix(A, "A"), checks.matrix(B, "B")
    if A.shape[0] != A.shape[1] or B.shape[0] != B.shape[1]:
        raise ValueError(f"A and B must be square, got shapes {A.shape} and {B.shape}")
    Z = np.linalg.solve(B, unvec(y, (len(B), len(A))))  # B^-1 Y, (p, m)
    return vec(np.linalg.solve(A, Z.T).T)


def rearrange(A: np.ndarray, *, right: tuple[int, ...]) -> np.ndarray:
    """Return R(A), one row for each block of A: the matrix that has rank 1 exactly if A is a Kronecker product.

    A (m1 p, n1 q) has m1 x n1 blocks of the shape `right` = (p, q). Row i n1 + j of R(A) (m1 n1, p q) is block (i, j),
    row by row, so R(L (x) R) is the outer product of the entries of L and those of R. An array with more axes is cut
    along each of them. Raises TypeError or ValueError if `right` does not divide the shape of A.
    Van Loan and Pitsianis (1993), "Approximation with Kronecker products". Chapter 6; lecture 000:273-280.

    >>> rearrange([[1, 2, 3, 4]], right=(1, 2))
    array([[1., 2.],
           [3., 4.]])
    """
    A = checks.array(A, "A")
    left, right = _sides(A.shape, right)
    sides = [side for pair in zip(left, right, strict=True) for side in pair]  # m1, p, n1, q
    order = np.argsort(_paired(A.ndim))  # (m1, n1, p, q)
    return A.reshape(sides).transpose(order).reshape(int(np.prod(left)), int(np.prod(right)))


def block_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return every shape of a right factor of an array of `shape`: all tuples of divisors.

    Raises TypeError or ValueError unless `shape` is a tuple of positive integers. Chapter 6.

    >>> block_shapes((2, 3))
    [(1, 1), (1, 3), (2, 1), (2, 3)]
    """
    sides = _ints(shape, "shape")
    divisors = [[d for d in range(1, side + 1) if side % d == 0] for side in sides]
    return list(product(*divisors))


@dataclass(frozen=True, repr=False, eq=False)
class KroneckerSum:
    """A sum of k Kronecker products, sum_i s_i U_i (x) V_i; it unpacks as `U, s, V = kronecker_sum`.

    U (k, m1, n1), s (k,), V (k, p, q) are float arrays, for arrays with more axes (k, ...); `error_bound` is the
    Frobenius distance to the array that was approximated, where it is known. Raises ValueError if the shapes do not
    fit. Chapter 6; lecture 000:273-277.

    >>> KroneckerSum(np.ones((1, 3, 2)), np.ones(1), np.ones((1, 2, 2)))
    KroneckerSum(shape=(6, 4), right=(2, 2), rank=1, n_params=11)
    """

    U: np.ndarray
    s: np.ndarray
    V: np.ndarray
    error_bound: float | None = None

    def __post_init__(self) -> None:
        shapes = [np.shape(factor) for factor in self.factors]
        U, s, V = shapes
        if len(s) != 1 or len(U) != len(V) or len(U) < 2 or not U[0] == s[0] == V[0] > 0:
            raise ValueError(f"U, s, V must have shapes (k, m, n), (k,), (k, p, q) with k at least 1, got {shapes}")

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The tuple (U, s, V)."""
        return self.U, self.s, self.V

    @property
    def rank(self) -> int:
        """The number k of terms kept."""
        return len(self.s)

    @property
    def left(self) -> tuple[int, ...]:
        """The shape of the left factors."""
        return self.U.shape[1:]

    @property
    def right(self) -> tuple[int, ...]:
        """The shape of the right factors."""
        return self.V.shape[1:]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array that the factors stand for."""
        return tuple(a * b for a, b in zip(self.left, self.right, strict=True))

    @property
    def n_params(self) -> int:
        """Numbers stored, the s_i among them."""
        return self.U.size + self.s.size + self.V.size

    @property
    def T(self) -> "KroneckerSum":  # noqa: N802  the name NumPy gives the transpose
        """The transpose of a matrix, sum_i s_i U_i^T (x) V_i^T."""
        return KroneckerSum(self.U.swapaxes(1, -1), self.s, self.V.swapaxes(1, -1), self.error_bound)

    def truncate(self, rank: int) -> "KroneckerSum":
        """Keep the first `rank` terms (int, 1 to k) of a sum that `kpsvd` made: the best one with so few terms."""
        k = checks.rank(rank, high=self.rank)
        error = None if self.error_bound is None else float(np.hypot(self.error_bound, np.linalg.norm(self.s[k:])))
        return KroneckerSum(self.U[:k], self.s[:k], self.V[:k], error)

    def to_tensor(self) -> np.ndarray:
        """Return the dense array."""
        R = (self.U.reshape(self.rank, -1).T * self.s) @ self.V.reshape(self.rank, -1)  # (m1 n1, p q)
        order = _paired(len(self.left))
        return R.reshape(self.left + self.right).transpose(order).reshape(self.shape)

    def matmul(self, x: np.ndarray) -> np.ndarray:
        """Return the product with x (n,) or (n, b) for matrices, by the vec trick; no dense matrix is built."""
        x = checks.array(x, "x")
        if len(self.shape) != 2 or x.ndim not in (1, 2) or len(x) != self.shape[1]:
            raise ValueError(f"x must have shape (n,) or (n, b) for the array {self.shape}, got {x.shape}")
        X = x.reshape(self.left[1], self.right[1], -1)  # (n1, q, b): the rows of X^T, x being one column
        Z = np.einsum("kpq,jqb->kpjb", self.V, X)
        return np.einsum("k,kij,kpjb->ipb", self.s, self.U, Z, optimize=True).reshape(-1, *x.shape[1:])

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.factors)

    def __repr__(self) -> str:
        return f"KroneckerSum(shape={self.shape}, right={self.right}, rank={self.rank}, n_params={self.n_params})"


def kpsvd(A: np.ndarray, *, right: tuple[int, ...], rank: int | None = None, tol: float | None = None) -> KroneckerSum:
    """Return the nearest sum of Kronecker products to A in the Frobenius norm, sum_i s_i U_i (x) V_i.

    R(A) = sum_i s_i u_i v_i^T is the SVD of the rearranged matrix; U_i and V_i are u_i and v_i as blocks again.
    norm(A - A_k)^2 = s_{k+1}^2 + s_{k+2}^2 + ..., and no sum of k products with these shapes does better.

    Parameters
    ----------
    A : real matrix (m1 p, n1 q), or an array with more axes
    right : the shape (p, q) of the right factors, which must divide that of A
    rank, tol : give one: the number of terms (int, 1 to min(m1 n1, p q)) or the relative Frobenius error (0 to 1)

    Raises
    ------
    TypeError, ValueError : a bad argument.

    Van Loan and Pitsianis (1993). Chapter 6; lecture 000:273-280.

    >>> kpsvd(kron([[1, 2], [3, 4]], np.eye(3)), right=(3, 3), tol=1e-9).rank
    1
    """
    A = checks.array(A, "A")
    left, right = _sides(A.shape, right)
    return _folded(truncated_svd(rearrange(A, right=right), rank=rank, tol=tol), left, right)


def kron_spectrum(A: np.ndarray, *, right: tuple[int, ...]) -> np.ndarray:
    """Return all singular values (r,) of the rearranged matrix R(A), largest first.

    The norm of s_{k+1}, s_{k+2}, ... is the error of `kpsvd` at rank k. Raises as `rearrange` does. Chapter 6.

    >>> kron_spectrum(np.eye(4), right=(2, 2)).round(6) + 0.0
    array([2., 0., 0., 0.])
    """
    return thin_svd(rearrange(A, right=right)).s


def kron_error(A: np.ndarray, *, right: tuple[int, ...], n_params: int) -> tuple[int, float]:
    """Return the largest rank at which `right` needs at most `n_params` numbers, and its relative Frobenius error.

    A rank costs m1 n1 + p q numbers, as the lecture counts; rank 0, with error 1, says that not even one term fits.
    With `right` = (1, n) the Kronecker product is the outer product u v^T of the plain SVD, so this compares the two
    at equal numbers. Raises TypeError or ValueError for a bad argument. Chapter 6; lecture 000:279-280.

    >>> kron_error(np.eye(4), right=(2, 2), n_params=8)
    (1, 0.0)
    """
    A = checks.array(A, "A")
    left, right = _sides(A.shape, right)
    s = kron_spectrum(A, right=right).astype(float)
    price = int(np.prod(left) + np.prod(right))
    k = min(len(s), checks.integer(n_params, "n_params", low=1) // price)
    norm = float(np.linalg.norm(s))
    return k, float(np.linalg.norm(s[k:])) / norm if norm else 0.0


def _folded(svd: LowRank, left: tuple[int, ...], right: tuple[int, ...]) -> KroneckerSum:
    U, s, Vt = svd
    return KroneckerSum(U.T.reshape(-1, *left), s, Vt.reshape(-1, *right), svd.error_bound)


def _paired(n: int) -> list[int]:
    """Return the order that brings axes (m1, n1, ..., p, q, ...) to (m1, p, n1, q, ...)."""
    return [axis for i in range(n) for axis in (i, n + i)]


def _sides(shape: tuple[int, ...], right: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of the left and the right factors."""
    if not shape:
        raise ValueError("A must have at least one axis, got a single number")
    parts = _ints(right, "right", len(shape))
    if any(side % part for side, part in zip(shape, parts, strict=True)):
        raise ValueError(f"right must divide shape {shape} side by side, got {parts}")
    return tuple(side // part for side, part in zip(shape, parts, strict=True)), parts


def _ints(value: Any, name: str, n: int | None = None) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not value or (n is not None and len(value) != n):
        raise TypeError(f"{name} must be a tuple of {n or 'positive'} integers, got {value!r}")
    return tuple(checks.integer(side, f"{name}[{i}]", low=1) for i, side in enumerate(value))

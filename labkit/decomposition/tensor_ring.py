"""The tensor ring: a tensor train whose ends are joined, A(i_1, ..., i_d) = trace(G_1(i_1) ... G_d(i_d)).

Shapes: A (n_1, ..., n_d), core G_k (r_{k-1}, n_k, r_k) with r_0 = r_d. Zhao et al. (2016), arXiv:1606.05535; Wang et
al. (2018), arXiv:1802.09052. Chapter 8; lecture 001:85-90.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from labkit import checks
from labkit.decomposition.formats import TensorFormat, frobenius, left_vectors, one_of, ranks, tensor
from labkit.decomposition.tensor_train import TensorTrain, tt_svd


@dataclass(frozen=True, repr=False, eq=False)
class TensorRing(TensorFormat):
    """A tensor kept as cores G_k (r_{k-1}, n_k, r_k) in a ring; `rank` is (r_1, ..., r_d), and r_d closes it.

    `error_bound` is at least the Frobenius distance to the tensor that was approximated, where it is known; `errors`
    holds the relative error after each sweep of `tr_als`. A tensor train is the ring with r_d = 1.
    Raises ValueError if the cores do not fit together. Chapter 8; lecture 001:85-90.

    >>> TensorRing((np.ones((3, 4, 2)), np.ones((2, 5, 3))))
    TensorRing(shape=(4, 5), rank=(2, 3), n_params=54)
    """

    cores: tuple[np.ndarray, ...]
    error_bound: float | None = None
    errors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        shapes = [np.shape(core) for core in self.cores]
        fits = shapes and all(len(shape) == 3 for shape in shapes)
        if not fits or [s[2] for s in shapes] != [s[0] for s in (*shapes[1:], shapes[0])]:
            raise ValueError(f"cores must have shapes (q, n, r), (r, n, s), ..., (t, n, q), got {shapes}")

    @classmethod
    def from_train(cls, tt: TensorTrain) -> "TensorRing":
        """Return a tensor train as the ring with r_d = 1."""
        return cls(checks.instance(tt, "tt", TensorTrain).cores, tt.error_bound)

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        """The cores."""
        return self.cores

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (n_1, ..., n_d)."""
        return tuple(core.shape[1] for core in self.cores)

    @property
    def rank(self) -> tuple[int, ...]:
        """The ranks (r_1, ..., r_d), the last of which joins the ends."""
        return tuple(core.shape[2] for core in self.cores)

    def roll(self, shift: int) -> "TensorRing":
        """Return the ring of the tensor whose modes are shifted: mode k becomes mode k - shift. No entry changes."""
        k = checks.integer(shift, "shift", low=-len(self.cores), high=len(self.cores)) % len(self.cores)
        return TensorRing((*self.cores[k:], *self.cores[:k]), self.error_bound)

    def to_tensor(self) -> np.ndarray:
        """Return the dense tensor."""
        return np.einsum("aia->i", _chain(self.cores)).reshape(self.shape)


def tr_svd(A: np.ndarray, *, rank: int | Sequence[int] | None = None, tol: float | None = None) -> TensorRing:
    """Return a tensor ring for A (n_1, ..., n_d), by d - 1 truncated SVDs.

    Parameters
    ----------
    A : real array with d >= 2 modes
    rank : the ranks (r_1, ..., r_d) or an int for all of them. r_1 r_d must not exceed n_1 and the product of the
        other modes, since both ranks come from one SVD; `tr_als` is free of this limit
    tol : relative Frobenius error, 0 to 1, which is guaranteed; the first rank found is split into the two factors
        that are closest to each other

    Raises
    ------
    TypeError, ValueError : bad argument, or not exactly one of rank and tol.

    The first SVD may lose tol norm(A) sqrt(2 / d), the others tol norm(A) / sqrt(d): their squares add up to
    (tol norm(A))^2. Zhao et al. (2016), arXiv:1606.05535, algorithm 1. Chapter 8; lecture 001:85-90.

    >>> tr_svd(np.ones((4, 5, 6)), tol=1e-9).rank
    (1, 1, 1)
    """
    A, tol = tensor(A, "A"), one_of(rank, tol)
    d, size = A.ndim, frobenius(A)
    given = None if rank is None else ranks(rank, _limits(A.shape, rank))
    M, delta = A.reshape(len(A), -1), None if tol is None else tol * size * math.sqrt(2 / d)
    U, error = left_vectors(M, rank=None if given is None else given[0] * given[-1], delta=delta)  # (n_1, r_d r_1)
    q, r = (given[-1], given[0]) if given else _split(U.shape[1])  # r_d, r_1
    G = U.reshape(len(A), q, r).transpose(1, 0, 2)  # (r_d, n_1, r_1)
    rest = (U.T @ M).reshape(q, r, -1).transpose(1, 2, 0).reshape(r, *A.shape[1:], q)
    if d == 2:
        return TensorRing((G, rest), error)
    others = tol and min(1.0, tol * size * math.sqrt((d - 2) / d) / (frobenius(rest) or 1.0))
    cores, more = _open(rest, given and given[1:-1], others)
    return TensorRing((G, *cores), math.hypot(error, more))


def tr_als(
    A: np.ndarray,
    *,
    rank: int | Sequence[int],
    n_iter_max: int = 100,
    tol: float = 1e-8,
    init: TensorRing | None = None,
    random_state: Any = None,
) -> TensorRing:
    """Return a tensor ring of given ranks for A (n_1, ..., n_d), by alternating least squares.

    Each core in turn solves the linear least squares problem that the other cores leave it, so the error never rises;
    it depends on the start, random unless `init` gives a ring of this shape and these ranks. Stops after `n_iter_max`
    sweeps, or when the relative error falls by less than `tol`. `rank` is (r_1, ..., r_d) or an int.
    Raises TypeError or ValueError for a bad argument.
    Zhao et al. (2016), arXiv:1606.05535, algorithm 2. Chapter 8; lecture 001:85-90.

    >>> tr_als(np.ones((4, 5, 6)), rank=2, random_state=0).error_bound < 1e-6
    True
    """
    A = tensor(A, "A")
    r = ranks(rank, [A.size] * A.ndim)
    sweeps, tol = checks.integer(n_iter_max, "n_iter_max", low=1), checks.number(tol, "tol", low=0)
    cores, errors, size = _start(A, r, init, random_state), [], frobenius(A)
    for _ in range(sweeps):
        for k in range(A.ndim):
            cores[k], rest = _best_core(A, cores, k)
        errors.append(rest / (size or 1.0))
        if len(errors) > 1 and errors[-2] - errors[-1] < tol:
            break
    return TensorRing(tuple(cores), errors[-1] * size, tuple(errors))


def _best_core(A: np.ndarray, cores: list[np.ndarray], k: int) -> tuple[np.ndarray, float]:
    """Return the core k that fits best to the others, and the error that is left."""
    d, (q, n, r) = A.ndim, cores[k].shape
    chain = _chain([*cores[k + 1 :], *cores[:k]])  # (r, all other modes, q)
    K = chain.transpose(1, 2, 0).reshape(-1, q * r)  # (others, q r)
    M = A.transpose([k, *range(k + 1, d), *range(k)]).reshape(n, -1)  # (n_k, others)
    G = np.linalg.lstsq(K, M.T, rcond=None)[0]  # (q r, n_k)
    return G.reshape(q, r, n).transpose(0, 2, 1), frobenius(M.T - K @ G)


def _chain(cores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the product (r_0, n_1 ... n_d, r_d) of the matrices of all cores."""
    return reduce(lambda Z, G: np.tensordot(Z, G, 1).reshape(len(Z), -1, G.shape[2]), cores)


def _start(A: np.ndarray, r: tuple[int, ...], init: Any, random_state: Any) -> list[np.ndarray]:
    shapes = [(r[k - 1], n, r[k]) for k, n in enumerate(A.shape)]
    if init is not None:
        if [core.shape for core in checks.instance(init, "init", TensorRing).cores] != shapes:
            raise ValueError(f"init must have shape {A.shape} and rank {r}, got {init}")
        return list(init.cores)
    rng = checks.generator(random_state)
    return [rng.standard_normal(shape, dtype=A.dtype) / math.sqrt(shape[0]) for shape in shapes]


def _open(T: np.ndarray, rank: Any, tol: float | None) -> tuple[tuple[np.ndarray, ...], float]:
    """Decompose T (r_1, n_2, ..., n_d, r_d) as a train whose end cores keep r_1 and r_d; return cores and error."""
    r, n, *middle, m, q = T.shape
    tt = tt_svd(T.reshape(r * n, *middle, m * q), rank=rank, tol=tol)
    head, *inner, tail = tt.cores
    return (head.reshape(r, n, -1), *inner, tail.reshape(-1, m, q)), tt.error_bound or 0.0


def _limits(shape: tuple[int, ...], rank: int | Sequence[int]) -> list[int]:
    """Return the largest rank at each place, when those before it are as wanted."""
    wanted = list(rank) if isinstance(rank, tuple | list) else [rank] * len(shape)
    if len(wanted) != len(shape):
        raise ValueError(f"rank must be an int or {len(shape)} ints, got {rank!r}")
    r = [checks.integer(value, f"rank[{k}]", low=1) for k, value in enumerate(wanted)]
    both = min(shape[0], math.prod(shape[1:]))
    inner = [min(r[k - 1] * shape[k], math.prod(shape[k + 1 :]) * r[-1]) for k in range(1, len(shape) - 1)]
    return [both // min(r[-1], both), *inner, both // min(r[0], both)]


def _split(r: int) -> tuple[int, int]:
    """Return the two factors of r that are closest to each other, the smaller first."""
    low = max(k for k in range(1, math.isqrt(r) + 1) if r % k == 0)
    return low, r // low

"""The tensor train: A(i_1, ..., i_d) = G_1(i_1) G_2(i_2) ... G_d(i_d), a product of matrices for every entry.

Shapes: A (n_1, ..., n_d), core G_k (r_{k-1}, n_k, r_k) with r_0 = r_d = 1. Oseledets (2011), doi:10.1137/090752286.
Chapter 8; lecture 000:435-492.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from labkit import checks
from labkit.decomposition.formats import TensorFormat, frobenius, left_vectors, one_of, project, ranks, tensor

METHODS = ("auto", "gram", "svd")


@dataclass(frozen=True, repr=False, eq=False)
class TensorTrain(TensorFormat):
    """A tensor kept as cores G_k (r_{k-1}, n_k, r_k); `rank` is (r_1, ..., r_{d-1}).

    `error_bound` is the Frobenius distance to the tensor that was approximated, where it is known. Trains of one
    shape can be added, subtracted and multiplied by a number; the ranks of a sum add up, and `round` lowers them.
    Raises ValueError if the cores do not fit together. Chapter 8; lecture 000:435-441.

    >>> TensorTrain((np.ones((1, 4, 2)), np.ones((2, 5, 1))))
    TensorTrain(shape=(4, 5), rank=(2,), n_params=18)
    """

    cores: tuple[np.ndarray, ...]
    error_bound: float | None = None

    def __post_init__(self) -> None:
        shapes = [np.shape(core) for core in self.cores]
        fits = all(len(shape) == 3 for shape in shapes) and [s[2] for s in shapes[:-1]] == [s[0] for s in shapes[1:]]
        if not shapes or not fits or shapes[0][0] != 1 or shapes[-1][2] != 1:
            raise ValueError(f"cores must have shapes (1, n, r), (r, n, s), ..., (t, n, 1), got {shapes}")

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
        """The TT-ranks (r_1, ..., r_{d-1})."""
        return tuple(core.shape[2] for core in self.cores[:-1])

    def to_tensor(self) -> np.ndarray:
        """Return the dense tensor."""
        first, *rest = self.cores
        return reduce(lambda Z, G: Z.reshape(-1, len(G)) @ G.reshape(len(G), -1), rest, first).reshape(self.shape)

    def at(self, *index: int) -> float:
        """Return one entry, by d - 1 products of a row with a matrix; the tensor may be far too large to store."""
        if len(index) != len(self.cores):
            raise ValueError(f"index must have {len(self.cores)} entries, got {len(index)}")
        places = [checks.integer(i, f"index[{k}]", low=0, high=self.shape[k] - 1) for k, i in enumerate(index)]
        return float(reduce(np.matmul, [core[:, i] for core, i in zip(self.cores, places, strict=True)])[0, 0])

    def dot(self, other: "TensorTrain") -> float:
        """Return the sum of the products of all entries with those of another train of this shape."""
        self._same_shape(other)
        state = np.ones((1, 1))  # (r, s), the product of the first k cores of both
        for G, H in zip(self.cores, other.cores, strict=True):
            state = np.einsum("rs,rni,snj->ij", state, G, H, optimize=True)
        return float(state[0, 0])

    def norm(self) -> float:
        """Return the Frobenius norm: that of the first core, once the others are orthogonal."""
        return float(np.linalg.norm(_right_orthogonal(self.cores)[0]))

    def round(self, *, rank: int | Sequence[int] | None = None, tol: float | None = None) -> "TensorTrain":
        """Return `tt_round` of this train."""
        return tt_round(self, rank=rank, tol=tol)

    def __add__(self, other: "TensorTrain") -> "TensorTrain":
        self._same_shape(other)
        d = len(self.cores)
        pairs = zip(self.cores, other.cores, strict=True)
        return TensorTrain(tuple(_stack(G, H, first=k == 0, last=k == d - 1) for k, (G, H) in enumerate(pairs)))

    def __mul__(self, factor: float) -> "TensorTrain":
        c = checks.number(factor, "factor", low=-math.inf)
        return TensorTrain((c * self.cores[0], *self.cores[1:]), _scaled(self.error_bound, c))

    __rmul__ = __mul__

    def __sub__(self, other: "TensorTrain") -> "TensorTrain":
        return self + (-1.0) * checks.instance(other, "other", TensorTrain)

    def _same_shape(self, other: "TensorTrain") -> None:
        if checks.instance(other, "other", TensorTrain).shape != self.shape:
            raise ValueError(f"other must have shape {self.shape}, got {other.shape}")


def tt_svd(
    A: np.ndarray, *, rank: int | Sequence[int] | None = None, tol: float | None = None, method: str = "auto"
) -> TensorTrain:
    """Return a tensor train for A (n_1, ..., n_d), by d - 1 truncated SVDs.

    Parameters
    ----------
    A : real array with d >= 2 modes; float32 stays float32
    rank : the ranks (r_1, ..., r_{d-1}), or an int for all of them; rank[k] is at most what the k-th SVD has,
        min(r_{k-1} n_k, n_{k+1} ... n_d); `tt_ranks` gives these limits
    tol : relative Frobenius error, 0 to 1; the result has norm(A - B) <= tol norm(A)
    method : "svd" for SVDs to the last digit, "gram" for eigenvectors of Gram matrices, which are much faster and
        blind to singular values below sqrt(eps) s_1, or "auto": the fast way wherever this changes nothing

    Raises
    ------
    TypeError, ValueError : bad argument, or not exactly one of rank and tol.

    Each SVD may leave out delta = tol norm(A) / sqrt(d - 1); what the SVDs leave out is orthogonal, so `error_bound`,
    the root of the sum of the squares, is the error itself. It is at most sqrt(d - 1) times the best possible.
    Oseledets (2011), doi:10.1137/090752286, algorithm 1. Chapter 8; lecture 000:459-492.

    >>> i = np.arange(8)
    >>> tt_svd(np.sin(i[:, None, None] + i[:, None] + i), tol=1e-10)
    TensorTrain(shape=(8, 8, 8), rank=(2, 2), n_params=64)
    """
    A, tol = tensor(A, "A"), one_of(rank, tol)
    checks.choice(method, "method", METHODS)
    d = A.ndim
    wanted: Sequence[int | None] = [None] * (d - 1) if rank is None else ranks(rank, tt_ranks(A.shape, rank=rank))
    delta = None if tol is None else tol * frobenius(A) / math.sqrt(d - 1)
    cores, errors, C, r = [], [], A, 1
    for n, r_k in zip(A.shape[:-1], wanted, strict=True):
        C = C.reshape(r * n, -1)  # (r_{k-1} n_k, n_{k+1} ... n_d)
        U, error = left_vectors(C, rank=r_k, delta=delta, method=method)  # (r_{k-1} n_k, r_k)
        cores.append(U.reshape(r, n, -1))
        errors.append(error)
        C, r = project(U, C), U.shape[1]  # (r_k, n_{k+1} ... n_d), which is S V^T
    return TensorTrain((*cores, C.reshape(r, A.shape[-1], 1)), math.hypot(*errors))


def tt_ranks(shape: Sequence[int], *, rank: int | Sequence[int | None] | None = None) -> tuple[int, ...]:
    """Return the TT-ranks for a tensor of `shape` that are closest to `rank`: limited to what each SVD can have.

    r_k <= min(r_{k-1} n_k, n_{k+1} ... n_d). `rank` is an int, d - 1 ints, or None for the largest ranks, at which
    every tensor of that shape is a tensor train. Raises TypeError or ValueError for a bad shape or rank.
    Chapter 8; lecture 000:459-492.

    >>> tt_ranks((2, 8, 8, 2), rank=4)
    (2, 4, 2)
    """
    sides = [checks.integer(n, "shape", low=1) for n in checks.instance(shape, "shape", (tuple, list))]
    if len(sides) < 2:
        raise ValueError(f"shape must have at least 2 modes, got {tuple(sides)}")
    wanted = list(rank) if isinstance(rank, tuple | list) else [rank] * (len(sides) - 1)
    if len(wanted) != len(sides) - 1:
        raise ValueError(f"rank must be an int or {len(sides) - 1} ints, got {rank!r}")
    found = [1]
    for k, r in enumerate(wanted):
        limit = min(found[-1] * sides[k], math.prod(sides[k + 1 :]))
        found.append(limit if r is None else min(limit, checks.integer(r, f"rank[{k}]", low=1)))
    return tuple(found[1:])


def tt_round(tt: TensorTrain, *, rank: int | Sequence[int] | None = None, tol: float | None = None) -> TensorTrain:
    """Return a tensor train of lower ranks close to `tt`, without ever forming the tensor.

    Give `rank` (an int or d - 1 ints, none above those of tt) or `tol` (relative Frobenius error, which is
    guaranteed). Raises TypeError or ValueError otherwise.
    A sweep of QR from the right makes the tail of every core orthogonal; then the SVDs of `tt_svd` work on the cores.
    Oseledets (2011), doi:10.1137/090752286, algorithm 2. Chapter 8; lecture 000:459-492.

    >>> a = tt_sum([np.arange(10.0)] * 5)
    >>> (a + a).rank, (a + a).round(tol=1e-12).rank
    ((4, 4, 4, 4), (2, 2, 2, 2))
    """
    checks.instance(tt, "tt", TensorTrain)
    tol = one_of(rank, tol)
    wanted: Sequence[int | None] = [None] * len(tt.rank)
    if rank is not None:
        wanted = ranks(ranks(rank, tt.rank), tt_ranks(tt.shape, rank=rank))
    head, *tail = _right_orthogonal(tt.cores)
    delta = None if tol is None else tol * float(np.linalg.norm(head)) / math.sqrt(max(1, len(tail)))
    cores, errors = [], []
    for G, r in zip(tail, wanted, strict=True):
        C = head.reshape(-1, head.shape[2])  # (r n, s)
        U, error = left_vectors(C, rank=r, delta=delta, method="svd")  # (r n, k)
        cores.append(U.reshape(*head.shape[:2], -1))
        errors.append(error)
        head = np.tensordot(U.T @ C, G, 1)  # (k, n, s)
    return TensorTrain((*cores, head), None if tt.error_bound is None else tt.error_bound + math.hypot(*errors))


def tt_sum(grids: Sequence[Any]) -> TensorTrain:
    """Return the exact tensor train of f(x_1, ..., x_d) = x_1 + ... + x_d on a grid; every TT-rank is 2.

    f = (x_1 1) (1 0; x_2 1) ... (1; x_d). As a sum of products it needs d terms. `grids` holds d >= 2 arrays (n_k,)
    of values of x_k. Raises TypeError or ValueError otherwise.
    Oseledets (2011), doi:10.1137/090752286; Khoromskij's example. Chapter 8; lecture 000:443-457.

    >>> tt_sum([np.arange(10)] * 6).at(1, 2, 3, 4, 5, 6)
    21.0
    """
    x = _grids(grids)
    one, zero = ([np.full_like(v, c) for v in x] for c in (1.0, 0.0))
    inner = [np.array([[one[k], zero[k]], [x[k], one[k]]]) for k in range(1, len(x) - 1)]  # (2, 2, n)
    return _train([np.array([[x[0], one[0]]]), *inner, np.array([[one[-1]], [x[-1]]])])


def tt_sin(grids: Sequence[Any]) -> TensorTrain:
    """Return the exact tensor train of f(x_1, ..., x_d) = sin(x_1 + ... + x_d) on a grid; every TT-rank is 2.

    f = (sin x_1 cos x_1) (cos x_2 -sin x_2; sin x_2 cos x_2) ... (cos x_d; sin x_d): rotations add their angles.
    `grids` as in `tt_sum`. Raises TypeError or ValueError otherwise. Chapter 8; lecture 000:449-455.

    >>> bool(abs(tt_sin([np.arange(10)] * 6).at(1, 2, 3, 4, 5, 6) - np.sin(21)) < 1e-12)
    True
    """
    x = _grids(grids)
    sin, cos = [np.sin(v) for v in x], [np.cos(v) for v in x]
    inner = [np.array([[cos[k], -sin[k]], [sin[k], cos[k]]]) for k in range(1, len(x) - 1)]  # (2, 2, n)
    return _train([np.array([[sin[0], cos[0]]]), *inner, np.array([[cos[-1]], [sin[-1]]])])


def _train(matrices: list[np.ndarray]) -> TensorTrain:
    """Turn arrays (r, s, n) into cores (r, n, s)."""
    return TensorTrain(tuple(np.ascontiguousarray(np.swapaxes(M, 1, 2)) for M in matrices), 0.0)


def _grids(grids: Sequence[Any]) -> list[np.ndarray]:
    found = [checks.array(x, f"grids[{k}]", ndim=1).astype(float) for k, x in enumerate(grids)]
    if len(found) < 2:
        raise ValueError(f"grids must hold at least 2 arrays, got {len(found)}")
    return found


def _stack(G: np.ndarray, H: np.ndarray, *, first: bool, last: bool) -> np.ndarray:
    """Return the core of a sum: G and H side by side, below each other, or on the diagonal."""
    if first or last:
        return np.concatenate([G, H], axis=0 if last else 2) if not (first and last) else G + H
    core = np.zeros((G.shape[0] + H.shape[0], G.shape[1], G.shape[2] + H.shape[2]), np.result_type(G, H))
    core[: G.shape[0], :, : G.shape[2]] = G
    core[G.shape[0] :, :, G.shape[2] :] = H
    return core


def _right_orthogonal(cores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return cores of the same tensor in which every core but the first has orthonormal rows (r, n s)."""
    found, R = [], np.ones((1, 1), cores[-1].dtype)
    for G in reversed(cores[1:]):
        G = np.tensordot(G, R, 1)  # (r, n, s)
        Q, L = np.linalg.qr(G.reshape(len(G), -1).T)  # (n s, k), (k, r)
        found.append(np.ascontiguousarray(Q.T).reshape(-1, *G.shape[1:]))
        R = L.T
    return [np.tensordot(cores[0], R, 1), *reversed(found)]


def _scaled(error: float | None, factor: float) -> float | None:
    return None if error is None else abs(factor) * error

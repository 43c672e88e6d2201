"""A matrix as a tensor train: rows and columns are split into d modes each, and mode k pairs one of either.

W (m_1 ... m_d, n_1 ... n_d) becomes the tensor T (m_1 n_1, ..., m_d n_d), and core G_k has shape
(r_{k-1}, m_k, n_k, r_k). Novikov et al. (2015), arXiv:1509.06569. Chapter 8; lecture 000:495-503.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from labkit import checks
from labkit.decomposition.formats import TensorFormat
from labkit.decomposition.tensor_train import TensorTrain, tt_svd


@dataclass(frozen=True, repr=False, eq=False)
class TTMatrix(TensorFormat):
    """A matrix kept as TT cores G_k (r_{k-1}, m_k, n_k, r_k); `matmul` never forms it.

    `error_bound` is the Frobenius distance to the matrix that was approximated, where it is known.
    Raises ValueError if the cores do not fit together. Chapter 8; lecture 000:495-503.

    >>> TTMatrix((np.ones((1, 4, 2, 3)), np.ones((3, 5, 7, 1))))
    TTMatrix(shape=(20, 14), rank=(3,), n_params=129)
    """

    cores: tuple[np.ndarray, ...]
    error_bound: float | None = None

    def __post_init__(self) -> None:
        if any(np.ndim(core) != 4 for core in self.cores):
            raise ValueError(f"cores must have shapes (r, m, n, s), got {[np.shape(core) for core in self.cores]}")
        self.train()

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        """The cores."""
        return self.cores

    @property
    def out_modes(self) -> tuple[int, ...]:
        """The modes (m_1, ..., m_d) of the rows."""
        return tuple(core.shape[1] for core in self.cores)

    @property
    def in_modes(self) -> tuple[int, ...]:
        """The modes (n_1, ..., n_d) of the columns."""
        return tuple(core.shape[2] for core in self.cores)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (m, n) of the matrix."""
        return math.prod(self.out_modes), math.prod(self.in_modes)

    @property
    def rank(self) -> tuple[int, ...]:
        """The TT-ranks (r_1, ..., r_{d-1})."""
        return self.train().rank

    def train(self) -> TensorTrain:
        """Return the tensor train of the tensor (m_1 n_1, ..., m_d n_d)."""
        return TensorTrain(tuple(G.reshape(len(G), -1, G.shape[3]) for G in self.cores), self.error_bound)

    def to_tensor(self) -> np.ndarray:
        """Return the dense matrix (m, n)."""
        d = len(self.cores)
        sides = [side for pair in zip(self.out_modes, self.in_modes, strict=True) for side in pair]
        T = self.train().to_tensor().reshape(sides)  # (m_1, n_1, ..., m_d, n_d)
        return T.transpose([*range(0, 2 * d, 2), *range(1, 2 * d, 2)]).reshape(self.shape)

    def matmul(self, x: np.ndarray) -> np.ndarray:
        """Return the product with x (n,) or (n, p): d small products, one for each core; no dense matrix is built."""
        x = checks.array(x, "x")
        if x.ndim not in (1, 2) or len(x) != self.shape[1]:
            raise ValueError(f"x must have shape ({self.shape[1]},) or ({self.shape[1]}, p), got {x.shape}")
        return reduce(_contract, self.cores, x.reshape(1, -1)).reshape(self.shape[0], *x.shape[1:])


def _contract(Z: np.ndarray, G: np.ndarray) -> np.ndarray:
    """Multiply the state Z (m_1 ... m_{k-1}, r_{k-1} n_k n_{k+1} ... n_d p) by core k."""
    r, m, n, s = G.shape
    Z = Z.reshape(len(Z), r * n, -1)  # (m_1 ... m_{k-1}, r n, n_{k+1} ... n_d p)
    Z = G.transpose(1, 3, 0, 2).reshape(m * s, r * n) @ Z  # (m_1 ... m_{k-1}, m s, n_{k+1} ... n_d p)
    return Z.reshape(Z.shape[0] * m, -1)


def tt_matrix(
    W: np.ndarray,
    *,
    out_modes: Sequence[int],
    in_modes: Sequence[int],
    rank: int | Sequence[int] | None = None,
    tol: float | None = None,
) -> TTMatrix:
    """Return a matrix W (m, n) as a tensor train over pairs of modes.

    Parameters
    ----------
    W : real matrix (m, n)
    out_modes, in_modes : d >= 2 integers each, with products m and n
    rank, tol : as in `tt_svd`; tol bounds norm(W - result) / norm(W), since the tensor holds the same entries

    Raises
    ------
    TypeError, ValueError : modes whose product does not fit, a bad rank or tol.

    Novikov et al. (2015), arXiv:1509.06569. Chapter 8; lecture 000:495-503.

    >>> tt_matrix(np.eye(12), out_modes=(3, 4), in_modes=(2, 6), tol=1e-12).error_bound < 1e-12
    True
    """
    W = checks.matrix(W, "W")
    m = modes(out_modes, "out_modes", size=W.shape[0])
    n = modes(in_modes, "in_modes", size=W.shape[1])
    tt = tt_svd(paired(W, m, n), rank=rank, tol=tol)
    cores = tuple(G.reshape(len(G), a, b, -1) for G, a, b in zip(tt.cores, m, n, strict=True))
    return TTMatrix(cores, tt.error_bound)


def modes(value: Sequence[int], name: str, *, size: int | None = None, low: int = 2) -> tuple[int, ...]:
    """Return `value` as a tuple of at least `low` positive ints, with product `size` where that is given."""
    checks.instance(value, name, (tuple, list))
    sides = tuple(checks.integer(side, f"{name}[{k}]", low=1) for k, side in enumerate(value))
    if len(sides) < low:
        raise ValueError(f"{name} must have at least {low} modes, got {sides}")
    if size is not None and math.prod(sides) != size:
        raise ValueError(f"{name} must have the product {size}, got {sides} with {math.prod(sides)}")
    return sides


def pair_modes(out_modes: Sequence[int], in_modes: Sequence[int]) -> tuple[int, ...]:
    """Return the modes (m_1 n_1, ..., m_d n_d) of the paired tensor; raises ValueError unless both have d modes.

    >>> pair_modes((4, 4), (2, 7))
    (8, 28)
    """
    if len(out_modes) != len(in_modes):
        raise ValueError(f"out_modes and in_modes must have equally many modes, got {out_modes} and {in_modes}")
    return tuple(m * n for m, n in zip(out_modes, in_modes, strict=True))


def paired(W: np.ndarray, out_modes: Sequence[int], in_modes: Sequence[int]) -> np.ndarray:
    """Return the tensor (m_1 n_1, ..., m_d n_d) with the entries of the matrix W (m_1 ... m_d, n_1 ... n_d).

    >>> paired(np.arange(16).reshape(4, 4), (2, 2), (2, 2))[0]
    array([0, 1, 4, 5])
    """
    shape, d = pair_modes(out_modes, in_modes), len(out_modes)
    if W.shape != (math.prod(out_modes), math.prod(in_modes)):
        raise ValueError(f"out_modes and in_modes must have the products {W.shape}, got {out_modes} and {in_modes}")
    return W.reshape(*out_modes, *in_modes).transpose([j for k in range(d) for j in (k, d + k)]).reshape(shape)


def split_modes(n: int, d: int) -> tuple[int, ...]:
    """Return d factors of n, ascending and as equal as a simple rule makes them: each prime goes to the smallest.

    Raises TypeError or ValueError unless n and d are positive integers. Chapter 8.

    >>> split_modes(800, 4), split_modes(500, 4)
    ((4, 5, 5, 8), (4, 5, 5, 5))
    """
    n, d = checks.integer(n, "n", low=1), checks.integer(d, "d", low=1)
    primes, found, p = [], [1] * d, 2
    while n > 1:
        while n % p == 0:
            primes.append(p)
            n //= p
        p += 1
    for p in reversed(primes):
        found[found.index(min(found))] *= p
    return tuple(sorted(found))

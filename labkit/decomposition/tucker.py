"""The Tucker decomposition: a small core, and one basis for each mode.

T = G x_1 Q_1 ... x_d Q_d, with core G (r_1, ..., r_d) and Q_k (n_k, r_k): d n r + r^d numbers. Tucker (1966);
De Lathauwer, De Moor and Vandewalle (2000), doi:10.1137/S0895479896305696. Chapter 8; lecture 000:533-535, 001:78-79.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labkit import checks
from labkit.decomposition.formats import TensorFormat, frobenius, left_vectors, one_of, ranks, tensor
from labkit.decomposition.unfolding import unfold


@dataclass(frozen=True, repr=False, eq=False)
class Tucker(TensorFormat):
    """A tensor kept as a core G and a basis Q_k (n_k, r_k) for each mode of `modes`; other modes stay as they are.

    `modes` None stands for all modes. `rank` is the shape of the core. `error_bound` is at least the Frobenius
    distance to the tensor that was approximated; `errors` holds the relative error after each sweep of `hooi`.
    Raises ValueError if the shapes do not fit. Chapter 8; lecture 000:533-535.

    >>> Tucker(np.ones((2, 3)), (np.ones((4, 2)), np.ones((5, 3))))
    Tucker(shape=(4, 5), rank=(2, 3), n_params=29)
    """

    core: np.ndarray
    bases: tuple[np.ndarray, ...]
    error_bound: float | None = None
    modes: tuple[int, ...] | None = None
    errors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.modes is None:
            object.__setattr__(self, "modes", tuple(range(np.ndim(self.core))))
        shapes = [np.shape(Q) for Q in self.bases]
        sides = [np.shape(self.core)[k] for k in self.modes or ()]
        if [len(shape) for shape in shapes] != [2] * len(sides) or [shape[1] for shape in shapes] != sides:
            raise ValueError(f"bases must have shapes (n, r) for r in {sides}, got {shapes}")

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        """The core and the bases."""
        return (self.core, *self.bases)

    @property
    def rank(self) -> tuple[int, ...]:
        """The multilinear rank (r_1, ..., r_d), the shape of the core."""
        return self.core.shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (n_1, ..., n_d)."""
        sides = dict(zip(self.modes or (), map(len, self.bases), strict=True))
        return tuple(sides.get(k, r) for k, r in enumerate(self.rank))

    def to_tensor(self) -> np.ndarray:
        """Return the dense tensor."""
        T = self.core
        for k, Q in zip(self.modes or (), self.bases, strict=True):
            T = mode_product(T, Q, k)
        return T


def hosvd(
    T: np.ndarray,
    *,
    rank: int | Sequence[int] | None = None,
    tol: float | None = None,
    modes: Sequence[int] | None = None,
) -> Tucker:
    """Return a Tucker decomposition of T (n_1, ..., n_d), by one SVD for each mode.

    Parameters
    ----------
    T : real array with d >= 2 modes
    rank : one int for each mode of `modes`, at most n_k and the product of the other n, or an int for all of them
    tol : relative Frobenius error, 0 to 1, which is guaranteed: each mode may lose tol norm(T) / sqrt(len(modes))
    modes : the modes to compress, counted from 0; None for all. A partial Tucker leaves the others alone

    Raises
    ------
    TypeError, ValueError : bad argument, or not exactly one of rank and tol.

    Q_k holds the leading left singular vectors of the unfolding T_(k), and G = T x_1 Q_1^T ... x_d Q_d^T. The squared
    error is at most the sum over the modes of the squared singular values left out, the `error_bound`, and at most
    sqrt(d) times the best possible error. Chapter 8; lecture 000:533-535, 001:78-79.

    >>> hosvd(np.ones((4, 5, 6)), tol=1e-9)
    Tucker(shape=(4, 5, 6), rank=(1, 1, 1), n_params=16)
    """
    T, tol = tensor(T), one_of(rank, tol)
    chosen = _modes(modes, T.ndim)
    wanted = [None] * len(chosen) if rank is None else ranks(rank, _limits(T, chosen))
    delta = None if tol is None else tol * frobenius(T) / math.sqrt(len(chosen))
    found = [left_vectors(unfold(T, k), rank=r, delta=delta) for k, r in zip(chosen, wanted, strict=True)]
    bases = tuple(Q for Q, _ in found)
    return Tucker(_core(T, bases, chosen), bases, math.hypot(*[error for _, error in found]), chosen)


def hooi(
    T: np.ndarray,
    *,
    rank: int | Sequence[int],
    modes: Sequence[int] | None = None,
    n_iter_max: int = 50,
    tol: float = 1e-10,
) -> Tucker:
    """Return a Tucker decomposition of T (n_1, ..., n_d) that is better than `hosvd`, from which it starts.

    In turn each Q_k becomes the leading left singular vectors of T projected on all other bases, the best choice for
    them; so the error never rises. `error_bound` is the error itself. Stops after `n_iter_max` sweeps, or when the
    relative error falls by less than `tol` in one. Other arguments and errors as in `hosvd`.
    De Lathauwer, De Moor and Vandewalle (2000), doi:10.1137/S0895479898346995. Chapter 8; lecture 000:533-535.

    >>> T = np.random.default_rng(0).standard_normal((4, 5, 6))
    >>> hooi(T, rank=2).error_bound < hosvd(T, rank=2).error_bound
    True
    """
    start = hosvd(T, rank=rank, modes=modes)
    T, chosen, size = tensor(T), start.modes or (), frobenius(tensor(T))
    sweeps, tol = checks.integer(n_iter_max, "n_iter_max", low=1), checks.number(tol, "tol", low=0)
    bases, errors = list(start.bases), [frobenius(T - start.to_tensor()) / (size or 1.0)]
    for _ in range(sweeps):
        for i, k in enumerate(chosen):
            others = [j for j in range(len(chosen)) if j != i]
            projected = _core(T, [bases[j] for j in others], [chosen[j] for j in others])
            bases[i] = _leading(unfold(projected, k), bases[i])
        errors.append(_error(T, bases, chosen) / (size or 1.0))
        if errors[-2] - errors[-1] < tol:
            break
    return Tucker(_core(T, bases, chosen), tuple(bases), errors[-1] * size, chosen, tuple(errors))


def mode_product(T: np.ndarray, M: np.ndarray, mode: int) -> np.ndarray:
    """Return T x_k M, the tensor whose unfolding along `mode` is M T_(k); M is (p, n_k).

    >>> mode_product(np.ones((2, 3)), np.ones((4, 3)), 1).shape
    (2, 4)
    """
    return np.moveaxis(np.tensordot(M, T, (1, mode)), 0, mode)


def _leading(M: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return as many orthonormal columns as `basis` has: the leading left singular vectors of M, then its own.

    The latter only where M has fewer singular vectors: where r_k is larger than the product of the other ranks.
    """
    r = basis.shape[1]
    U, _ = left_vectors(M, rank=min(r, *M.shape))
    return U if U.shape[1] == r else np.linalg.qr(np.hstack([U, basis]))[0][:, :r]


def _core(T: np.ndarray, bases: Sequence[np.ndarray], modes: Sequence[int]) -> np.ndarray:
    """Return T in the given bases."""
    for k, Q in zip(modes, bases, strict=True):
        T = mode_product(T, Q.T, k)
    return T


def _error(T: np.ndarray, bases: Sequence[np.ndarray], modes: Sequence[int]) -> float:
    return frobenius(T - Tucker(_core(T, bases, modes), tuple(bases), None, tuple(modes)).to_tensor())


def _modes(modes: Sequence[int] | None, d: int) -> tuple[int, ...]:
    if modes is None:
        return tuple(range(d))
    found = tuple(checks.integer(k, "modes", low=0, high=d - 1) for k in checks.instance(modes, "modes", (tuple, list)))
    if not found or len(set(found)) < len(found):
        raise ValueError(f"modes must name at least one mode, and each once, got {modes!r}")
    return found


def _limits(T: np.ndarray, modes: Sequence[int]) -> list[int]:
    return [min(T.shape[k], T.size // T.shape[k]) for k in modes]

"""The extended tensor train, or matrix product state with a basis for each mode: small cores, n only in the bases.

A(i_1, ..., i_d) = G_1(i_1) H_2(Q_2(i_2)) ... H_{d-1}(Q_{d-1}(i_{d-1})) G_d(i_d): an inner core (r, n, r) of the train
becomes a basis Q (n, s) and a core H (r, s, r). Oseledets (2011), doi:10.1137/090752286. Chapter 8;
lecture 000:513-527.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labkit import checks
from labkit.decomposition.formats import TensorFormat, left_vectors, one_of, ranks, tensor
from labkit.decomposition.tensor_train import TensorTrain, tt_svd
from labkit.decomposition.tucker import hosvd
from labkit.decomposition.unfolding import unfold


@dataclass(frozen=True, repr=False, eq=False)
class ExtendedTT(TensorFormat):
    """A tensor kept as TT cores (r, s, r) and, for the inner modes 2 to d - 1, bases Q_k (n_k, s_k).

    `rank` is (r_1, ..., r_{d-1}), `mode_rank` (s_2, ..., s_{d-1}). With all of them r, d n r + (d - 2) r^3 numbers.
    `error_bound` is at least the Frobenius distance to the tensor that was approximated, where it is known.
    Raises ValueError if the shapes do not fit together. Chapter 8; lecture 000:513-527.

    >>> ExtendedTT((np.ones((1, 9, 2)), np.ones((2, 2, 2)), np.ones((2, 9, 1))), (np.ones((9, 2)),))
    ExtendedTT(shape=(9, 9, 9), rank=(2, 2), n_params=62)
    """

    cores: tuple[np.ndarray, ...]
    bases: tuple[np.ndarray, ...]
    error_bound: float | None = None

    def __post_init__(self) -> None:
        inner = TensorTrain(self.cores).shape[1:-1]
        shapes = [np.shape(Q) for Q in self.bases]
        if tuple(shape[-1] for shape in shapes) != inner or any(len(shape) != 2 for shape in shapes):
            raise ValueError(f"bases must have shapes (n, s) for s in {inner}, got {shapes}")

    @classmethod
    def from_train(cls, tt: TensorTrain) -> "ExtendedTT":
        """Return a tensor train in this format, without any further error: s_k is the rank of core k along its mode."""
        first, *inner, last = checks.instance(tt, "tt", TensorTrain).cores
        tols = [np.linalg.norm(G) * np.finfo(G.dtype).eps * G.size**0.5 for G in inner]
        bases = [left_vectors(unfold(G, 1), delta=tol, method="svd")[0] for G, tol in zip(inner, tols, strict=True)]
        small = [np.einsum("rns,nq->rqs", G, Q) for G, Q in zip(inner, bases, strict=True)]
        return cls((first, *small, last), tuple(bases), tt.error_bound)

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        """The cores and the bases."""
        return (*self.cores, *self.bases)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (n_1, ..., n_d)."""
        return (self.cores[0].shape[1], *(len(Q) for Q in self.bases), self.cores[-1].shape[1])

    @property
    def rank(self) -> tuple[int, ...]:
        """The TT-ranks (r_1, ..., r_{d-1})."""
        return TensorTrain(self.cores).rank

    @property
    def mode_rank(self) -> tuple[int, ...]:
        """The sizes (s_2, ..., s_{d-1}) of the inner bases."""
        return tuple(Q.shape[1] for Q in self.bases)

    def train(self) -> TensorTrain:
        """Return the tensor train that has the bases multiplied into its cores."""
        first, *inner, last = self.cores
        grown = [np.einsum("rqs,nq->rns", H, Q) for H, Q in zip(inner, self.bases, strict=True)]
        return TensorTrain((first, *grown, last), self.error_bound)

    def to_tensor(self) -> np.ndarray:
        """Return the dense tensor."""
        return self.train().to_tensor()


def extended_tt(
    A: np.ndarray,
    *,
    rank: int | Sequence[int] | None = None,
    mode_rank: int | Sequence[int] | None = None,
    tol: float | None = None,
) -> ExtendedTT:
    """Return an extended tensor train for A (n_1, ..., n_d): bases for the inner modes, then `tt_svd` of what is left.

    Parameters
    ----------
    A : real array with d >= 3 modes
    rank : TT-ranks (r_1, ..., r_{d-1}) or an int for all
    mode_rank : sizes (s_2, ..., s_{d-1}) of the bases or an int for all; None: as `rank`, which must then be an int
    tol : relative Frobenius error, 0 to 1, which is guaranteed: each of the two steps may lose tol / sqrt(2)

    Raises
    ------
    TypeError, ValueError : bad argument, or not exactly one of rank and tol.

    What the bases leave out is orthogonal to what the train leaves out, so the squared errors add up.
    Chapter 8; lecture 000:513-527.

    >>> extended_tt(np.ones((4, 5, 6, 7)), tol=1e-9)
    ExtendedTT(shape=(4, 5, 6, 7), rank=(1, 1, 1), n_params=24)
    """
    A, tol = tensor(A, "A", low=3), one_of(rank, tol)
    inner = tuple(range(1, A.ndim - 1))
    if tol is not None:
        first = hosvd(A, tol=tol / math.sqrt(2), modes=inner)
        train = tt_svd(first.core, tol=min(1.0, tol / math.sqrt(2) * _growth(A, first.core)))
    else:
        wanted = ranks(rank if mode_rank is None else mode_rank, [A.shape[k] for k in inner], "mode_rank")
        first = hosvd(A, rank=wanted, modes=inner)
        train = tt_svd(first.core, rank=rank)
    return ExtendedTT(train.cores, first.bases, math.hypot(first.error_bound or 0.0, train.error_bound or 0.0))


def _growth(A: np.ndarray, core: np.ndarray) -> float:
    """Return norm(A) / norm(core): a tolerance relative to A is as much larger relative to the core."""
    return float(np.linalg.norm(A) / (np.linalg.norm(core) or 1.0)) or 1.0

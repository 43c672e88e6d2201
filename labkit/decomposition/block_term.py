"""The block term decomposition: a sum of P Tucker decompositions with small cores.

T = sum_p G_p x_1 Q_p1 ... x_d Q_pd: between CP (cores of size 1) and Tucker (one term). De Lathauwer (2008),
doi:10.1137/070690729; Wang et al. (2016), doi:10.1145/2964284.2967280. Chapter 8; lecture 001:82-83, 91-92.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from labkit import checks
from labkit.decomposition.formats import TensorFormat, frobenius, ranks, tensor
from labkit.decomposition.tucker import Tucker, hooi, mode_product
from labkit.decomposition.unfolding import unfold

STARTS = ("hooi", "random")


@dataclass(frozen=True, repr=False, eq=False)
class BlockTerm(TensorFormat):
    """A tensor kept as P Tucker terms of one shape; `rank` is the shape of their cores.

    `error_bound` is the Frobenius distance to the tensor that was approximated; `errors` holds the relative error
    after each sweep, and `converged` says whether the iteration stopped by itself.
    Raises ValueError unless all terms have one shape and one rank. Chapter 8; lecture 001:82-83.

    >>> BlockTerm((Tucker(np.ones((1, 1)), (np.ones((4, 1)), np.ones((5, 1)))),) * 2)
    BlockTerm(shape=(4, 5), rank=(1, 1), n_params=20)
    """

    terms: tuple[Tucker, ...]
    error_bound: float | None = None
    errors: tuple[float, ...] = ()
    converged: bool = True

    def __post_init__(self) -> None:
        if not self.terms or len({(term.shape, term.rank) for term in self.terms}) != 1:
            raise ValueError(f"terms must be Tucker decompositions of one shape and rank, got {list(self.terms)}")

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        """The cores and bases of all terms."""
        return tuple(factor for term in self.terms for factor in term.factors)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (n_1, ..., n_d)."""
        return self.terms[0].shape

    @property
    def rank(self) -> tuple[int, ...]:
        """The multilinear rank (r_1, ..., r_d) of every term."""
        return self.terms[0].rank

    @property
    def n_terms(self) -> int:
        """The number P of terms."""
        return len(self.terms)

    def to_tensor(self) -> np.ndarray:
        """Return the dense tensor."""
        return np.sum([term.to_tensor() for term in self.terms], axis=0)


def btd(
    T: np.ndarray,
    *,
    rank: int | Sequence[int],
    n_terms: int,
    init: str = "hooi",
    n_iter_max: int = 300,
    tol: float = 1e-9,
    random_state: Any = None,
) -> BlockTerm:
    """Return a block term decomposition of T (n_1, ..., n_d), by alternating least squares.

    Parameters
    ----------
    T : real array with d >= 2 modes
    rank : shape (r_1, ..., r_d) of every core, r_k at most n_k and the product of the other r, or an int for all
    n_terms : number P of terms
    init : "hooi" (each term is fitted by `hooi` to what the terms before it leave) or "random"
    n_iter_max, tol : stop after so many sweeps, or when the relative error falls by less than tol in one
    random_state : for "random"

    Raises
    ------
    TypeError, ValueError : bad argument.

    For fixed cores and all bases but those of mode k, the bases Q_1k, ..., Q_Pk together solve one linear least squares
    problem; so do all cores for fixed bases. So the error never rises, but it may stop at a local minimum or, as for
    CP, creep along a degenerate path. With P = 1 this is Tucker, with rank 1 it is CP.
    De Lathauwer and Nion (2008), doi:10.1137/070690730. Chapter 8; lecture 001:82-83.

    >>> btd(np.ones((4, 5, 6)), rank=1, n_terms=1).error_bound < 1e-12
    True
    """
    T = tensor(T)
    r = ranks(rank, T.shape)
    P, sweeps = checks.integer(n_terms, "n_terms", low=1), checks.integer(n_iter_max, "n_iter_max", low=1)
    tol, size = checks.number(tol, "tol", low=0), frobenius(T) or 1.0
    terms, errors = _start(T, r, P, checks.choice(init, "init", STARTS), checks.generator(random_state)), []
    unfoldings = [unfold(T, k) for k in range(T.ndim)]
    for _ in range(sweeps):
        for k, M in enumerate(unfoldings):
            terms = _with_bases(terms, M, k)
        terms = _with_cores(terms, T)
        errors.append(frobenius(T - BlockTerm(tuple(terms)).to_tensor()) / size)
        if len(errors) > 1 and errors[-2] - errors[-1] < tol:
            break
    return BlockTerm(tuple(terms), errors[-1] * size, tuple(errors), len(errors) < sweeps)


def _start(T: np.ndarray, r: tuple[int, ...], P: int, init: str, rng: np.random.Generator) -> list[Tucker]:
    if init == "random":
        return [_random(T, r, rng) for _ in range(P)]
    terms, rest = [], T
    for _ in range(P):
        terms.append(hooi(rest, rank=r, n_iter_max=10))
        rest = rest - terms[-1].to_tensor()
    return terms


def _random(T: np.ndarray, r: tuple[int, ...], rng: np.random.Generator) -> Tucker:
    """Return a random core with random orthonormal bases."""
    blocks = [rng.standard_normal(shape, dtype=T.dtype) for shape in zip(T.shape, r, strict=True)]
    return Tucker(rng.standard_normal(r, dtype=T.dtype), tuple(np.linalg.qr(block)[0] for block in blocks))


def _with_bases(terms: list[Tucker], M: np.ndarray, k: int) -> list[Tucker]:
    """Return the terms with the best bases of mode k, made orthonormal; the cores take up the change."""
    blocks = [unfold(_expand(term, k), k) for term in terms]  # P times (r_k, numel / n_k)
    Q = np.linalg.lstsq(np.vstack(blocks).T, M.T, rcond=None)[0].T  # (n_k, P r_k)
    found = []
    for term, Q_p in zip(terms, np.hsplit(Q, len(terms)), strict=True):
        basis, R = np.linalg.qr(Q_p)  # (n_k, r_k), (r_k, r_k)
        bases = (*term.bases[:k], basis, *term.bases[k + 1 :])
        found.append(Tucker(mode_product(term.core, R, k), bases))
    return found


def _expand(term: Tucker, k: int) -> np.ndarray:
    """Return the core of a term multiplied by all its bases but that of mode k."""
    return reduce(lambda G, j: G if j == k else mode_product(G, term.bases[j], j), range(len(term.bases)), term.core)


def _with_cores(terms: list[Tucker], T: np.ndarray) -> list[Tucker]:
    """Return the terms with the best cores for their bases: vec T = sum_p (Q_p1 (x) ... (x) Q_pd) vec G_p."""
    K = np.hstack([reduce(np.kron, term.bases) for term in terms])  # (numel, P r^d), orthonormal within a term
    g = np.linalg.lstsq(K.T @ K, K.T @ T.reshape(-1), rcond=None)[0]
    cores = g.reshape(len(terms), *terms[0].rank)
    return [Tucker(G, term.bases) for G, term in zip(cores, terms, strict=True)]

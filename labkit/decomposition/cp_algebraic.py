"""CP without least squares: the power method, joint diagonalisation, and the tensor on which CP is ill-posed.

Chapter 8; lecture 000:401-425.
"""

from functools import reduce
from typing import Any

import numpy as np
import scipy.linalg

from labkit import checks
from labkit.decomposition.cp import CP, _from_columns
from labkit.decomposition.formats import frobenius, left_vectors, tensor
from labkit.decomposition.unfolding import unfold


def rank_one(
    T: np.ndarray, *, n_starts: int = 3, n_iter_max: int = 200, tol: float = 1e-12, random_state: Any = None
) -> CP:
    """Return the product of vectors w u_1 ... u_d that comes closest to T (n_1, ..., n_d), by the power method.

    u_k <- T contracted with all other u_j, divided by its norm w, in turn: each step is the best u_k for the others.
    It starts from the leading singular vectors of the unfoldings and from `n_starts` random places, and keeps the
    largest w, since it may end in a local maximum; a run stops when w grows by less than `tol` times itself.
    Raises TypeError or ValueError for a bad argument.
    De Lathauwer, De Moor and Vandewalle (2000), doi:10.1137/S0895479898346995. Chapter 8; lecture 000:401, 425.

    >>> rank_one(np.ones((2, 2, 2)), random_state=0).weights.round(6)
    array([2.828427])
    """
    T, rng = tensor(T), checks.generator(random_state)
    steps, tol = checks.integer(n_iter_max, "n_iter_max", low=1), checks.number(tol, "tol", low=0)
    starts = [[left_vectors(unfold(T, k), rank=1)[0][:, 0] for k in range(T.ndim)]]
    for _ in range(checks.integer(n_starts, "n_starts", low=0)):
        starts.append([rng.standard_normal(n, dtype=T.dtype) for n in T.shape])
    w, u = max((_power(T, start, steps, tol) for start in starts), key=lambda found: found[0])
    columns = [v[:, None] * (w if k == 0 else 1) for k, v in enumerate(u)]
    return _from_columns(columns, frobenius(T - w * reduce(np.multiply.outer, u)))


def cp_power(
    T: np.ndarray, *, rank: int, n_starts: int = 3, n_iter_max: int = 200, tol: float = 1e-12, random_state: Any = None
) -> CP:
    """Return a CP decomposition of T (n_1, ..., n_d) with `rank` terms, one `rank_one` after the other.

    Each term is taken off before the next is sought. That finds the decomposition where the terms are orthogonal in
    the sense that no vector of one has a part along those of another; elsewhere the terms are a start for `cp_als`,
    and taking off the best term may even raise the rank (Stegeman and Comon, 2010, doi:10.1016/j.laa.2010.06.027).
    Arguments and errors as in `rank_one`; `errors` holds the relative error after each term.
    Astrid and Lee (2017), arXiv:1701.07148. Chapter 8; lecture 000:401, 425.

    >>> cp_power(np.eye(3), rank=3, random_state=0).errors[-1] < 1e-6
    True
    """
    T, rng = tensor(T), checks.generator(random_state)
    rest, size, terms, errors = T.copy(), frobenius(T), [], []
    for _ in range(checks.integer(rank, "rank", low=1)):
        term = rank_one(rest, n_starts=n_starts, n_iter_max=n_iter_max, tol=tol, random_state=rng)
        rest = rest - term.to_tensor()
        terms.append(term)
        errors.append(frobenius(rest) / size if size else 0.0)
    columns = [np.hstack([t.factors[k] * (t.weights if k == 0 else 1) for t in terms]) for k in range(T.ndim)]
    found = _from_columns(columns)
    return CP(found.weights, found.factors, errors[-1] * size, tuple(errors))


def joint_diagonalize(T: np.ndarray, *, rank: int) -> CP:
    """Return the CP decomposition of T (n_1, n_2, n_3) by diagonalising its slices jointly.

    The slices T_k = T[:, :, k] = A S_k B^T share A (n_1, R) and B (n_2, R), and S_k = diag(C[k]) is diagonal: that is
    CP in the language of matrices. For two mixtures of the slices, seen in bases of R vectors, S_1 S_2^{-1} =
    A D_1 D_2^{-1} A^{-1}: the eigenvectors are A, and B and C follow from T. No iteration and no start are needed.
    The mixtures are the two along which the slices vary most.

    Parameters
    ----------
    T : real array with three modes
    rank : number R of terms, 1 to min(n_1, n_2), and n_3 at least 2 where R is above 1

    Raises
    ------
    TypeError, ValueError : bad argument.
    np.linalg.LinAlgError : the slices cannot be diagonalised together over the real numbers: complex eigenvalues, or
        eigenvectors that coincide, as for `border_rank_tensor`.

    Exact for T of rank R with A, B of full column rank and no two columns of C parallel (Jennrich's theorem, in
    Harshman 1970); by Sanchez and Kowalski (1990), doi:10.1002/cem.1180040105. Chapter 8; lecture 000:419-423.

    >>> T = CP(np.array([3.0, 1.0]), (np.eye(4, 2), np.eye(5, 2), np.eye(3, 2))).to_tensor()
    >>> joint_diagonalize(T, rank=2).weights.round(12)
    array([3., 1.])
    """
    T = checks.array(T, "T", ndim=3)
    R = checks.rank(rank, high=min(T.shape[:2]))
    if R > 1 and T.shape[2] < 2:
        raise ValueError(f"T must have at least 2 slices for rank {R}, got shape {T.shape}")
    U, V, W = (left_vectors(unfold(T, k), rank=r)[0] for k, r in enumerate((R, R, min(2, T.shape[2]))))
    slices = np.einsum("abc,ai,bj,ck->kij", T, U, V, W, optimize=True)  # (2, R, R), the first the larger
    A = U @ _eigenvectors(slices[-1], slices[0])  # (n_1, R)
    terms = (np.linalg.pinv(A) @ unfold(T, 0)).reshape(R, *T.shape[1:])  # row r is b_r c_r^T
    pairs = [np.linalg.svd(M) for M in terms]
    B, C = (np.stack(v, axis=1) for v in zip(*[(u[:, 0] * s[0], vt[0]) for u, s, vt in pairs], strict=True))
    cp = _from_columns([A, B, C])
    return CP(cp.weights, cp.factors, frobenius(T - cp.to_tensor()))


def border_rank_tensor(d: int = 3) -> np.ndarray:
    """Return the tensor (2, ..., 2) of d modes that is 1 where exactly one index is 1, and 0 elsewhere.

    It has rank d, but `border_rank_cp` comes as close to it as one likes with two terms, so no best approximation of
    rank 2 exists: its border rank is 2. Raises TypeError or ValueError unless d is an integer of at least 2.
    De Silva and Lim (2008), doi:10.1137/06066518X. Chapter 8; lecture 000:443-457.

    >>> border_rank_tensor()[:, :, 0]
    array([[0., 1.],
           [1., 0.]])
    """
    return (np.indices((2,) * checks.integer(d, "d", low=2)).sum(0) == 1).astype(float)


def border_rank_cp(step: float, d: int = 3) -> CP:
    """Return two terms that come close to `border_rank_tensor(d)` as `step` goes to 0, while both grow as 1 / step.

    (a + t b) ... (a + t b) / t - a ... a / t, with a = (1, 0), b = (0, 1) and t = `step`: a difference quotient.
    Raises TypeError or ValueError unless 0 < step <= 1 and d is an integer of at least 2. Chapter 8.

    >>> T = border_rank_tensor()
    >>> [round(float(np.linalg.norm(border_rank_cp(t).to_tensor() - T)), 4) for t in (0.1, 0.01)]
    [0.1735, 0.0173]
    """
    t, d = checks.number(step, "step", low=1e-12, high=1), checks.integer(d, "d", low=2)
    both = np.array([[1.0, 1.0], [t, 0.0]])  # (2, R): the columns a + t b and a
    found = _from_columns([both * [1 / t, -1 / t], *[both] * (d - 1)])
    return CP(found.weights, found.factors, frobenius(found.to_tensor() - border_rank_tensor(d)))


def _power(T: np.ndarray, u: list[np.ndarray], steps: int, tol: float) -> tuple[float, list[np.ndarray]]:
    """Improve the vectors u in turn; return the weight and the vectors of norm 1."""
    w = 0.0
    u = [v / np.linalg.norm(v) for v in u]
    for _ in range(steps):
        before = w
        for k in range(T.ndim):
            rest = reduce(np.multiply.outer, [v for j, v in enumerate(u) if j != k]).reshape(-1)
            v = np.moveaxis(T, k, 0).reshape(T.shape[k], -1) @ rest
            w = float(np.linalg.norm(v))
            if w == 0:
                return 0.0, u
            u[k] = v / w
        if w - before <= tol * w:
            break
    return w, u


def _eigenvectors(S1: np.ndarray, S2: np.ndarray) -> np.ndarray:
    """Return real X (R, R) with S1 = X D1 Y and S2 = X D2 Y, D1 and D2 diagonal."""
    values, X = scipy.linalg.eig(S1 @ np.linalg.pinv(S2))
    turning = np.abs(values.imag).max() > 1e-8 * np.abs(values).max()  # a rotation has no real eigenvectors
    if turning or np.linalg.cond(X) > 1e7:  # and a Jordan block has too few
        raise np.linalg.LinAlgError("the slices of T have no joint diagonal form over the real numbers at this rank")
    return X.real.astype(S1.dtype)

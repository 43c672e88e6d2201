"""What the tensor formats of chapter 8 have in common: their ranks, their sizes and the SVD of a wide matrix."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit import checks

FORMATS = ("cp", "tucker", "tt", "extended_tt", "tr", "bt")
CHUNK = 1 << 14  # columns that are multiplied in one go: they stay in the cache, and float32 sums keep their digits


class TensorFormat:
    """A tensor kept as factors: `shape`, `rank` and `factors` say what it is, `to_tensor` multiplies it out."""

    if TYPE_CHECKING:  # each format has these, as a property or as a field

        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def rank(self) -> Any: ...
        @property
        def factors(self) -> tuple[np.ndarray, ...]: ...

    @property
    def n_params(self) -> int:
        """Numbers stored: the sizes of all factors."""
        return sum(factor.size for factor in self.factors)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, rank={self.rank}, n_params={self.n_params})"


def tensor_param_count(format: str, *, d: int, n: int, rank: int, n_terms: int = 1) -> int:
    """Return how many numbers each format stores for a tensor n x ... x n of d modes with all ranks equal.

    | format | numbers |
    |---|---|
    | "cp" | d n r |
    | "tucker" | d n r + r^d |
    | "tt" (tensor train) | (d - 2) n r^2 + 2 n r |
    | "extended_tt" | d n r + (d - 2) r^3 |
    | "tr" (tensor ring) | d n r^2 |
    | "bt" (`n_terms` Tucker terms) | P (d n r + r^d) |

    Raises TypeError or ValueError unless d >= 2, n, rank and n_terms are positive integers.
    Chapter 8; lecture 000:519-541.

    >>> [tensor_param_count(name, d=6, n=8, rank=4) for name in ("cp", "tucker", "tt", "extended_tt")]
    [192, 4288, 576, 448]
    """
    checks.choice(format, "format", FORMATS)
    d = checks.integer(d, "d", low=2)
    n, r, P = (checks.integer(v, k, low=1) for k, v in (("n", n), ("rank", rank), ("n_terms", n_terms)))
    return {
        "cp": d * n * r,
        "tucker": d * n * r + r**d,
        "tt": (d - 2) * n * r**2 + 2 * n * r,
        "extended_tt": d * n * r + (d - 2) * r**3,
        "tr": d * n * r**2,
        "bt": P * (d * n * r + r**d),
    }[format]


def tensor(value: Any, name: str = "T", *, low: int = 2) -> np.ndarray:
    """Return `value` as a finite float array with at least `low` modes."""
    result = checks.array(value, name)
    if result.ndim < low:
        raise ValueError(f"{name} must have at least {low} modes, got shape {result.shape}")
    return result


def ranks(value: Any, highs: Sequence[int], name: str = "rank") -> tuple[int, ...]:
    """Return one rank for each entry of `highs`, the largest allowed there; an int stands for all of them alike."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * len(highs)
    if len(values) != len(highs):
        raise ValueError(f"{name} must be an int or {len(highs)} ints, got {len(values)}: {value!r}")
    return tuple(
        checks.rank(r, f"{name}[{k}]", high=high) for k, (r, high) in enumerate(zip(values, highs, strict=True))
    )


def one_of(rank: Any, tol: Any) -> float | None:
    """Return `tol` as a checked number, or None if it is `rank` that was given; exactly one of them must be."""
    if (rank is None) == (tol is None):
        raise TypeError(f"give exactly one of rank and tol, got rank={rank!r} and tol={tol!r}")
    return None if tol is None else checks.number(tol, "tol", low=0, high=1)


def frobenius(A: np.ndarray) -> float:
    """Return the Frobenius norm of a tensor, added up in double precision over blocks."""
    flat = A.reshape(-1)
    return math.sqrt(sum(float(np.vdot(b, b)) for b in np.array_split(flat, max(1, flat.size // CHUNK))))


def relative_error(T: np.ndarray, approximation: np.ndarray) -> float:
    """Return norm(T - approximation) / norm(T) in the Frobenius norm, in double precision; 0 for a zero T kept zero."""
    rest, size = frobenius(T - approximation), frobenius(T)
    return rest / size if size else float(rest > 0)


def left_vectors(
    C: np.ndarray, *, rank: int | None = None, delta: float | None = None, method: str = "auto"
) -> tuple[np.ndarray, float]:
    """Return U (p, k), the leading left singular vectors of C (p, q), and the error norm(C - U U^T C).

    Give `rank` (k) or `delta` (the largest error allowed; k is then the smallest possible). A wide C is first made
    small: by its Gram matrix C C^T, one pass over C, or by the triangle L of C = L Q, slower and good to the last
    digit. Squaring loses the singular values below sqrt(eps) s_1, so "auto" takes the Gram matrix only where these
    decide nothing. `method` is "auto", "gram" or "svd".
    """
    if method != "svd" and 2 * C.shape[0] <= C.shape[1]:
        values, U = np.linalg.eigh(gram(C))
        noise = len(C) * float(np.finfo(C.dtype).eps) * float(values.sum())
        found = _cut(values[::-1].clip(min=0), rank, delta, noise)
        if method == "gram" or found[1] ** 2 >= 100 * noise:
            return U[:, ::-1][:, : found[0]].astype(C.dtype), found[1]
    small = np.asarray(np.linalg.qr(C.T, mode="r")).T if C.shape[0] < C.shape[1] else C  # (p, min(p, q))
    U, s, _ = np.linalg.svd(small, full_matrices=False)
    k, error = _cut(s.astype(float) ** 2, rank, delta, 0.0)
    return np.ascontiguousarray(U[:, :k]), error


def gram(C: np.ndarray) -> np.ndarray:
    """Return C C^T (p, p), added up in double precision over blocks of columns."""
    return sum((B @ B.T).astype(float) for B in np.array_split(C, max(1, C.shape[1] // CHUNK), axis=1))  # type: ignore


def project(U: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Return U^T C (k, q) by blocks of columns: a wide C goes through the cache once."""
    out = np.empty((U.shape[1], C.shape[1]), np.result_type(U, C))
    for i in range(0, C.shape[1], CHUNK):
        np.matmul(U.T, C[:, i : i + CHUNK], out=out[:, i : i + CHUNK])
    return out


def _cut(energies: np.ndarray, rank: int | None, delta: float | None, noise: float) -> tuple[int, float]:
    """Return the number of squared singular values (descending) to keep and the root of the sum of the others."""
    tails = np.append(np.cumsum(energies[::-1])[::-1], 0.0)
    if rank is None:
        rank = max(1, int(np.argmax(tails + noise * (tails > 0) <= (delta or 0.0) ** 2)))
    return rank, math.sqrt(tails[rank])

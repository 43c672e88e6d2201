"""Products of matrices of small integers from bit planes: one binary product for each pair of planes."""

from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, twin
from labkit.kernels.bits import N_MAX, clean, n_words, words_dtype
from labkit.kernels.product import Product
from labkit.kernels.threads import check_threads

BITS_MAX = 16


def pack_planes(q: Any, *, bits: int, signed: bool = False) -> np.ndarray:
    r"""Return the bits of a matrix of integers, one packed matrix for each power of two.

    Parameters
    ----------
    q : integer array (m, n), in [0, 2^bits), or in [-2^(bits - 1), 2^(bits - 1)) if signed
    bits : int, 1 to 16
    signed : bool
        Two's complement: the highest plane weighs -2^(bits - 1). The planes of a number are the same either way; what
        they weigh is told to `bitserial_matmul`.

    Returns
    -------
    uint64 array (bits, m, ceil(n / 64)); bit k of word w of row i in plane x is bit x of q[i, 64 w + k], 0 past n

    Raises TypeError for other dtypes, ValueError for other shapes or numbers out of the range.

    NumPy serves at every level, on one thread. Formula: :math:`q = \sum_x 2^x c_x(q)`. Source: lecture 000:1149-1161.
    Chapter: Bit kernels and hardware.

    >>> pack_planes([[1, 2, 3]], bits=2).tolist()
    [[[5]], [[6]]]
    """
    return twin.pack_planes(check_integers(q, "q", bits=bits, signed=signed), bits)


def unpack_planes(planes: np.ndarray, *, n: int, signed: bool = False) -> np.ndarray:
    """Return the integers in bit planes, the inverse of `pack_planes`.

    Parameters
    ----------
    planes : uint64 array (bits, m, ceil(n / 64)) from `pack_planes`
    n : int, numbers in a row
    signed : bool, whether the highest plane has negative weight

    Returns
    -------
    int32 array (m, n)

    Raises TypeError if `planes` is not packed, ValueError if its shape does not fit `n`.

    NumPy serves at every level. Chapter: Bit kernels and hardware.

    >>> unpack_planes(pack_planes([[-2, 1, -1]], bits=2, signed=True), n=3, signed=True)
    array([[-2,  1, -1]], dtype=int32)
    """
    n = checks.integer(n, "n", low=0, high=N_MAX)
    planes = _planes(planes, "planes", n)
    weights = plane_weights(len(planes), checks.flag(signed, "signed"))
    return sum(weight * (twin.unpack_bits(plane, n=n) < 0) for weight, plane in zip(weights, planes, strict=True))


def bitserial_matmul(
    a: np.ndarray, b: np.ndarray, *, n: int, signed: tuple[bool, bool] = (False, False), threads: int = 1
) -> np.ndarray:
    r"""Return the products of all rows of `a` with all rows of `b`, computed on their bit planes.

    Parameters
    ----------
    a : uint64 array (a_bits, m, ceil(n / 64)) from `pack_planes`
    b : uint64 array (b_bits, p, ceil(n / 64)) from `pack_planes`; the two numbers of bits are free
    n : int, numbers in a row; bits past n may hold anything
    signed : pair of bool, whether the highest plane of `a`, and of `b`, has negative weight
    threads : int, threads that share the result

    Returns
    -------
    int32 array (m, p), equal to A @ B.T

    Raises
    ------
    TypeError if `a` or `b` is not packed, ValueError if a shape does not fit `n` or the products could exceed int32.

    Formula: :math:`r_{ij} = \sum_x \sum_y w_x w_y \operatorname{popcount}(c_x(a_i) \wedge c_y(b_j))`, with
    :math:`w_x = 2^x`, negative for the highest plane of signed numbers. The time is that of a_bits b_bits binary
    products. Weights of +-1 need one plane only: with u = 1 where b is -1, A @ B.T = rowsum(A) - 2 A @ U.T.
    Source: lecture 000:1149-1161; S. Zhou et al., DoReFa-Net, arXiv:1606.06160. Chapter: Bit kernels and hardware.

    >>> a, b = pack_planes([[3, 1, 2]], bits=2), pack_planes([[1, -3, 2]], bits=3, signed=True)
    >>> bitserial_matmul(a, b, n=3, signed=(False, True))
    array([[4]], dtype=int32)
    """
    n = checks.integer(n, "n", low=0, high=N_MAX)
    a, b, threads = _planes(a, "a", n), _planes(b, "b", n), check_threads(threads)
    weights = _pair_weights(len(a), len(b), signed, n)
    if dispatch.current() == dispatch.TWIN:
        return twin.bitserial_matmul(a, b, weights)
    result = np.empty((a.shape[1], b.shape[1]), np.int32)
    words = a.shape[2]
    offset = np.arange(b.shape[1]) * words  # where the rows of a plane begin
    product = Product(offset, np.arange(words), weights, rows=a.shape[1], size=b[0].size, use_and=True)
    product.into(a, b, result, threads=threads)
    return result


def check_integers(q: Any, name: str, *, bits: Any, signed: Any = False) -> np.ndarray:
    """Return a matrix of integers that so many bits can hold, or raise a TypeError or ValueError.

    >>> check_integers([[1, 2, 3]], "q", bits=2).shape
    (1, 3)
    """
    bits, q = checks.integer(bits, "bits", low=1, high=BITS_MAX), checks.plain(q, name)
    if q.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {q.dtype}")
    if q.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions (rows, numbers in a row), got shape {q.shape}")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if checks.flag(signed, "signed") else (0, 2**bits - 1)
    if q.size and not low <= int(q.min()) <= int(q.max()) <= high:
        kind = "signed" if signed else "unsigned"
        raise ValueError(f"{name} must lie in [{low}, {high}], as {bits} {kind} bits allow, got {q.min()} to {q.max()}")
    return q


def plane_weights(bits: int, signed: bool) -> np.ndarray:
    """Return what each plane weighs.

    >>> plane_weights(3, True)
    array([ 1,  2, -4], dtype=int32)
    """
    weights = np.int32(1) << np.arange(bits, dtype=np.int32)
    weights[-1] *= -1 if signed else 1
    return weights


def _pair_weights(a_bits: int, b_bits: int, signed: Any, n: int) -> np.ndarray:
    if not isinstance(signed, tuple) or [type(flag) for flag in signed] != [bool, bool]:
        raise TypeError(f"signed must be a pair of bool, one for a and one for b, got {signed!r}")
    largest = [2 ** (bits - 1) if flag else 2**bits - 1 for bits, flag in zip((a_bits, b_bits), signed, strict=True)]
    if n * largest[0] * largest[1] > N_MAX:
        raise ValueError(
            f"n must be at most {N_MAX // (largest[0] * largest[1])} for {a_bits} and {b_bits} bits, got {n}"
        )
    return np.outer(plane_weights(a_bits, signed[0]), plane_weights(b_bits, signed[1]))


def _planes(planes: Any, name: str, n: int) -> np.ndarray:
    """Return `planes` as C can read them, if they can be the bit planes of rows of n numbers."""
    shape = words_dtype(planes, name).shape
    if len(shape) != 3 or not 1 <= shape[0] <= BITS_MAX or shape[2] != n_words(n):
        raise ValueError(
            f"{name} must have shape (1 to {BITS_MAX} bits, rows, {n_words(n)}), as n = {n} numbers need, got {shape}"
        )
    return clean(planes, n)

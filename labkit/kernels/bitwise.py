"""Dot products from bits, written to be read: XNOR for signs, AND between bit planes for integers.

The fast products over whole matrices are elsewhere in `labkit.kernels`; these say what those compute. Bits live in
64-bit words, `np.bitwise_count` counts them.
"""

from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import twin
from labkit.kernels.bits import N_MAX, n_words, pack_bits

BITS_MAX = 16


def xnor_dot(x: Any, y: Any) -> int:
    r"""Return the dot product of the signs of two vectors: XNOR marks where they agree, popcount counts it.

    x, y : vectors (n,) of numbers, n at least 1; only their signs matter, and zero counts as +1. Raises TypeError or
    ValueError for other shapes, unequal lengths or NaN.

    Formula: :math:`x \cdot y = 2 \operatorname{popcount}(\overline{a \oplus b}) - n`, where the bits past n do not
    count. Source: lecture 003:1196-1204; M. Rastegari et al., XNOR-Net, ECCV 2016. Chapter: Bit kernels and hardware.

    >>> xnor_dot([1, -1, 1], [1, 1, 1])
    1
    """
    n = _check_lengths(x, y)
    a, b = pack_bits([x]), pack_bits([y])  # (1, words)
    agree = ~(a ^ b) & tail_mask(n)
    return 2 * popcount(agree) - n


def bit_planes(x: Any, *, bits: int) -> np.ndarray:
    r"""Return the bits of a vector of integers, one packed row for each power of two: x = sum of 2^m c_m(x).

    Parameters
    ----------
    x : vector (n,) of integers in [0, 2^bits), n at least 1
    bits : 1 to 16

    Returns
    -------
    uint64 array (bits, ceil(n / 64)); bit k of word w in row m is bit m of x[64 w + k]. Bits past n are 0.

    Raises TypeError or ValueError for other numbers. Source: lecture 000:1161. Chapter: Bit kernels and hardware.

    >>> bit_planes([1, 2, 3], bits=2).tolist()
    [[5], [6]]
    """
    return _planes(x, "x", bits, "bits")


def bitserial_dot(x: Any, y: Any, M: int, K: int) -> int:
    r"""Return the dot product of two vectors of unsigned integers, from their bits alone.

    x : vector (n,) of integers in [0, 2^M); y : the same length, in [0, 2^K); M and K from 1 to 16. Raises TypeError
    or ValueError for other numbers or unequal lengths.

    Formula: :math:`x \cdot y = \sum_{m=0}^{M-1} \sum_{k=0}^{K-1} 2^{m+k} \operatorname{popcount}(c_m(x) \wedge c_k(y))`
    with the planes of `bit_planes`: M K products of one bit. Source: lecture 000:1149-1161; S. Zhou et al.,
    DoReFa-Net, arXiv:1606.06160. Chapter: Bit kernels and hardware.

    >>> bitserial_dot([3, 1, 2], [1, 3, 2], M=2, K=2)
    10
    """
    _check_lengths(x, y)
    c, d = _planes(x, "x", M, "M"), _planes(y, "y", K, "K")  # bits of x and y, packed
    total = 0
    for m in range(M):
        for k in range(K):
            total += popcount(c[m] & d[k]) << (m + k)
    return total


def popcount(words: np.ndarray) -> int:
    """Return how many bits of an array of unsigned integers are 1.

    >>> popcount(np.array([7, 8], np.uint64))
    4
    """
    if not isinstance(words, np.ndarray) or words.dtype.kind != "u":
        got = words.dtype if isinstance(words, np.ndarray) else type(words).__name__
        raise TypeError(f"words must be an array of unsigned integers, got {got}")
    return int(np.bitwise_count(words).sum(dtype=np.int64))


def tail_mask(n: int) -> np.ndarray:
    """Return words (ceil(n / 64),) whose first n bits are 1, and the rest 0.

    >>> [hex(word) for word in tail_mask(68)]
    ['0xffffffffffffffff', '0xf']
    """
    n = checks.integer(n, "n", low=1, high=N_MAX)
    mask = np.full(n_words(n), ~np.uint64(0))
    mask[-1] >>= np.uint64(-n % 64)
    return mask


def _check_lengths(x: Any, y: Any) -> int:
    """Return the length that two vectors of numbers share."""
    x, y = (_numbers(vector, name) for vector, name in ((x, "x"), (y, "y")))
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ValueError(f"x and y must be vectors of one length of at least 1, got shapes {x.shape} and {y.shape}")
    return len(x)


def _numbers(x: Any, name: str) -> np.ndarray:
    x = checks.plain(x, name)
    if x.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold numbers, got dtype {x.dtype}")
    if np.isnan(x).any():
        raise ValueError(f"{name} must not hold NaN, got {np.count_nonzero(np.isnan(x))} NaN entries")
    return x


def _planes(x: Any, name: str, bits: Any, name_of_bits: str) -> np.ndarray:
    """Return `bit_planes`, in whose errors the arguments have these names."""
    bits = checks.integer(bits, name_of_bits, low=1, high=BITS_MAX)
    planes = (_unsigned(x, name, bits) >> np.arange(bits)[:, None]) & 1  # (bits, n)
    return twin.to_words(planes)


def _unsigned(x: Any, name: str, bits: int) -> np.ndarray:
    x = checks.plain(x, name)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {x.dtype}")
    if x.ndim != 1 or not x.size:
        raise ValueError(f"{name} must be a vector of at least 1 integer, got shape {x.shape}")
    if x.min() < 0 or x.max() >= 2**bits:
        raise ValueError(f"{name} must lie in [0, {2**bits}), as {bits} bits allow, got {x.min()} to {x.max()}")
    return x.astype(np.int64)

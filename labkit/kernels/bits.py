"""Vectors of signs, sixty-four to a word, and their products by XOR and POPCOUNT."""

from typing import Any

import numpy as np
import torch

from labkit import checks
from labkit.kernels import dispatch, twin
from labkit.kernels.dispatch import lib, pointer

N_MAX = 2**31 - 1  # a dot product of n signs lies in [-n, n] and must fit an int32


def pack_bits(x: Any) -> np.ndarray:
    r"""Return the signs of a matrix as 64-bit words, row by row.

    Parameters
    ----------
    x : array or tensor (m, n), integers or float16, float32, float64
        Either size may be 0. Infinities have a sign and are allowed.

    Returns
    -------
    uint64 array (m, ceil(n / 64))
        Bit k of word w in row i is 1 where x[i, 64 w + k] < 0. Zero, also -0.0, counts as +1. Bits past n are 0.

    Raises
    ------
    TypeError for another dtype (a bool has no sign), ValueError for another shape or a NaN.

    Formula: :math:`\operatorname{bit} = (1 - \operatorname{sign} x) / 2` with :math:`\operatorname{sign} 0 = +1`.
    Source: M. Rastegari et al., XNOR-Net, ECCV 2016. Chapter: Bit kernels and hardware.

    >>> pack_bits([[3.0, -1.0, 0.0, -2.0]])
    array([[10]], dtype=uint64)
    """
    x = _numbers(x)
    if dispatch.current() == dispatch.TWIN:
        return twin.pack_bits(_no_nan(x))
    pack, ctype = (lib.labkit_pack_f64, "double[]") if x.dtype == np.float64 else (lib.labkit_pack_f32, "float[]")
    words = np.empty((len(x), n_words(x.shape[1])), np.uint64)
    if pack(dispatch.index(), pointer(x, ctype), *x.shape, pointer(words, "uint64_t[]")):
        _no_nan(x)
    return words


def unpack_bits(words: np.ndarray, *, n: int) -> np.ndarray:
    """Return the signs in packed words, the inverse of `pack_bits`.

    Parameters
    ----------
    words : uint64 array (m, ceil(n / 64)) from `pack_bits`
    n : int, signs in a row

    Returns
    -------
    int8 array (m, n) of +1 and -1

    Raises
    ------
    TypeError if `words` is not packed, ValueError if its shape does not fit `n`.

    Formula: sign = 1 - 2 bit. NumPy serves at every level. Chapter: Bit kernels and hardware.

    >>> unpack_bits(pack_bits([[3.0, -1.0, 0.0, -2.0]]), n=4)
    array([[ 1, -1,  1, -1]], dtype=int8)
    """
    n = checks.integer(n, "n", low=0, high=N_MAX)
    return twin.unpack_bits(_packed(words, "words", n), n=n)


def xnor_matmul(a: np.ndarray, b: np.ndarray, *, n: int) -> np.ndarray:
    r"""Return the products of all rows of `a` with all rows of `b`, computed on their packed signs.

    Parameters
    ----------
    a : uint64 array (m, ceil(n / 64)) from `pack_bits`
    b : uint64 array (p, ceil(n / 64)) from `pack_bits`
    n : int, signs in a row; bits past n may hold anything

    Returns
    -------
    int32 array (m, p), equal to sign(A) @ sign(B).T

    Raises
    ------
    TypeError if `a` or `b` is not packed, ValueError if a shape does not fit `n`.

    Formula: :math:`r_{ij} = n - 2 \operatorname{popcount}(a_i \oplus b_j)`: two signs that agree add 1 to the product,
    two that differ take 1 away, and XOR marks those that differ.
    Source: M. Rastegari et al., XNOR-Net, ECCV 2016. Chapter: Bit kernels and hardware.

    >>> a, b = pack_bits([[1.0, -1.0, 1.0]]), pack_bits([[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0]])
    >>> xnor_matmul(a, b, n=3)
    array([[ 1, -3]], dtype=int32)
    """
    n = checks.integer(n, "n", low=0, high=N_MAX)
    a, b = _packed(a, "a", n), _packed(b, "b", n)
    if dispatch.current() == dispatch.TWIN:
        return twin.xnor_matmul(a, b, n=n)
    result = np.empty((len(a), len(b)), np.int32)
    views = pointer(a, "uint64_t[]"), pointer(b, "uint64_t[]"), pointer(result, "int32_t[]")
    lib.labkit_xnor_matmul(dispatch.index(), *views, len(a), len(b), n)
    return result


def n_words(n: int) -> int:
    """Return the words that `n` bits fill, the last perhaps in part.

    >>> n_words(64), n_words(65)
    (1, 2)
    """
    return -(-n // twin.WORD)


def _numbers(x: Any) -> np.ndarray:
    """Return `x` as a matrix that C can read: float64 if it was, else float32, which keeps every sign."""
    x = np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x)
    if x.dtype.kind not in "iuf" or x.dtype.itemsize > 8:
        raise TypeError(f"x must hold integers or float16, float32 or float64, got dtype {x.dtype}")
    if x.ndim != 2:
        raise ValueError(f"x must have 2 dimensions (rows, signs in a row), got shape {x.shape}")
    return np.require(x, np.float64 if x.dtype.kind + str(x.dtype.itemsize) == "f8" else np.float32, ["C", "A"])


def _no_nan(x: np.ndarray) -> np.ndarray:
    if n_nan := np.count_nonzero(np.isnan(x)):
        raise ValueError(f"x must not hold NaN, which has no sign, got {n_nan} NaN entries")
    return x


def _packed(words: Any, name: str, n: int) -> np.ndarray:
    """Return `words` as C can read it, contiguous and aligned, if it can be the packed form of rows of n signs."""
    if not isinstance(words, np.ndarray) or words.dtype != np.uint64:
        got = f"dtype {words.dtype}" if isinstance(words, np.ndarray) else type(words).__name__
        raise TypeError(f"{name} must be an array of uint64 words from pack_bits, got {got}")
    if words.ndim != 2 or words.shape[1] != n_words(n):
        raise ValueError(f"{name} must have shape (rows, {n_words(n)}), as n = {n} signs need, got {words.shape}")
    return np.require(words, requirements=["C", "A"])

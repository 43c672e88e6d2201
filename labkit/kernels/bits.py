"""Vectors of signs, sixty-four to a word, and their products by XOR and POPCOUNT."""

from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, twin
from labkit.kernels.dispatch import lib, pointer
from labkit.kernels.product import SIGNS, Product
from labkit.kernels.threads import check_threads, split

UINT64, INT32 = np.dtype(np.uint64), np.dtype(np.int32)  # quicker to compare with than the types
N_MAX = 2**31 - 1  # a dot product of n signs lies in [-n, n] and must fit an int32
FEW = 4  # with so few rows, gathering the other matrix into panels costs more than the tiles save
KINDS = {  # what C can pack
    np.dtype(np.float32): ("f32", "float[]"),
    np.dtype(np.float64): ("f64", "double[]"),
    np.dtype(np.int32): ("i32", "int32_t[]"),
}


def pack_bits(x: Any, *, thresholds: Any = None, threads: int = 1) -> np.ndarray:
    r"""Return the signs of a matrix as 64-bit words, row by row.

    Parameters
    ----------
    x : array or tensor (m, n), integers or float16, float32, float64
        Either size may be 0. Infinities have a sign and are allowed.
    thresholds : None, or n numbers, integers if x holds integers
        The bit says x[i, k] < thresholds[k] then. So a batch normalisation before a sign costs nothing: with
        :math:`\gamma > 0`, :math:`\gamma (x - \mu) / \sigma + \beta < 0` where :math:`x < \mu - \beta \sigma / \gamma`.
        They are rounded to the dtype of x.
    threads : int, threads that share the rows

    Returns
    -------
    uint64 array (m, ceil(n / 64))
        Bit k of word w in row i is 1 where x[i, 64 w + k] < 0. Zero, also -0.0, counts as +1. Bits past n are 0.

    Raises
    ------
    TypeError for another dtype (a bool has no sign), ValueError for another shape or a NaN.

    Formula: :math:`\operatorname{bit} = (1 - \operatorname{sign} x) / 2` with :math:`\operatorname{sign} 0 = +1`.
    Source: M. Rastegari et al., XNOR-Net, ECCV 2016; for thresholds I. Hubara et al., Binarized neural networks,
    NIPS 2016. Chapter: Bit kernels and hardware.

    >>> pack_bits([[3.0, -1.0, 0.0, -2.0]])
    array([[10]], dtype=uint64)
    >>> pack_bits([[3, -1, 0, -2]], thresholds=[4, 0, 0, -2])
    array([[3]], dtype=uint64)
    """
    x = numbers(x, 2, "(rows, signs in a row)", exact=thresholds is not None)
    t = check_thresholds(thresholds, x.dtype, x.shape[1])
    threads = check_threads(threads)
    if dispatch.current() == dispatch.TWIN:
        return twin.pack_bits(no_nan(x), t)
    name, ctype = KINDS[x.dtype]
    words = at_a_line((len(x), n_words(x.shape[1])))
    pack, level, limits = getattr(lib, f"labkit_pack_{name}"), dispatch.index(), pointer(t, ctype)

    def rows(first: int, last: int) -> int:
        views = (
            pointer(x[first:last], ctype),
            limits,
            last - first,
            x.shape[1],
            pointer(words[first:last], "uint64_t[]"),
        )
        return pack(level, *views)

    if any(split(rows, len(x), threads)):
        no_nan(x)
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
    return twin.unpack_bits(packed(words, "words", n), n=n)


def xnor_matmul(a: np.ndarray, b: np.ndarray, *, n: int, out: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
    r"""Return the products of all rows of `a` with all rows of `b`, computed on their packed signs.

    Parameters
    ----------
    a : uint64 array (m, ceil(n / 64)) from `pack_bits`
    b : uint64 array (p, ceil(n / 64)) from `pack_bits`
    n : int, signs in a row; bits past n may hold anything
    out : None, or a contiguous int32 array (m, p) for the result: new memory costs time too, page by page
    threads : int, threads that share the result

    Returns
    -------
    int32 array (m, p), equal to sign(A) @ sign(B).T; `out` if it was given

    Raises
    ------
    TypeError if `a` or `b` is not packed, ValueError if a shape does not fit `n` or `out` cannot take the result.

    Formula: :math:`r_{ij} = n - 2 \operatorname{popcount}(a_i \oplus b_j)`: two signs that agree add 1 to the product,
    two that differ take 1 away, and XOR marks those that differ.
    Source: M. Rastegari et al., XNOR-Net, ECCV 2016. Chapter: Bit kernels and hardware.

    >>> a, b = pack_bits([[1.0, -1.0, 1.0]]), pack_bits([[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0]])
    >>> xnor_matmul(a, b, n=3)
    array([[ 1, -3]], dtype=int32)
    """
    n = checks.integer(n, "n", low=0, high=N_MAX)
    a, b, threads = packed(a, "a", n), packed(b, "b", n), check_threads(threads)
    result = check_out(out, (len(a), len(b)))
    if dispatch.current() == dispatch.TWIN:
        result[...] = twin.xnor_matmul(a, b, n=n)
    elif len(a) <= FEW:
        _dots(a, b, n, result, threads)
    elif len(b) <= FEW:
        result[...] = _dots(b, a, n, np.empty((len(b), len(a)), np.int32), threads).T
    else:
        words = a.shape[1]
        offset = np.arange(len(b)) * words  # where the rows of b begin
        product = Product(offset, np.arange(words), SIGNS, rows=len(a), size=b.size, start=n)
        product.into(a, b, result, threads=threads)
    return result


def n_words(n: int) -> int:
    """Return the words that `n` bits fill, the last perhaps in part.

    >>> n_words(64), n_words(65)
    (1, 2)
    """
    return -(-n // twin.WORD)


def at_a_line(shape: tuple[int, int]) -> np.ndarray:
    """Return new words that begin where a line of the cache does, so that no vector of them lies in two lines.

    >>> at_a_line((2, 3)).ctypes.data % 64
    0
    """
    memory = np.empty(shape[0] * shape[1] + 7, UINT64)
    first = -(memory.ctypes.data // 8) % 8
    return memory[first : first + shape[0] * shape[1]].reshape(shape)


def numbers(x: Any, ndim: int, axes: str, *, exact: bool, name: str = "x") -> np.ndarray:
    """Return `x` as C can pack it: int32, float32 or float64, contiguous and aligned, with every sign kept.

    Where the values count and not only their signs, `exact`, integers beyond int32 are refused.
    """
    x = checks.plain(x, name)
    if x.dtype.kind not in "iuf" or x.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold integers or float16, float32 or float64, got dtype {x.dtype}")
    if x.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions {axes}, got shape {x.shape}")
    if x.dtype.kind == "f":
        return readable(x, np.float64 if x.dtype.itemsize == 8 else np.float32)
    if exact:
        return readable(_int32(x, name), np.int32)
    return readable(x if np.can_cast(x.dtype, np.int32) else np.sign(x), np.int32)


def no_nan(x: np.ndarray, name: str = "x") -> np.ndarray:
    """Return `x` if it holds no NaN, else raise ValueError."""
    if n_nan := np.count_nonzero(np.isnan(x)):
        raise ValueError(f"{name} must not hold NaN, which has no sign, got {n_nan} NaN entries")
    return x


def packed(words: Any, name: str, n: int) -> np.ndarray:
    """Return `words` as C can read it, with zeros past n, if it can be the packed form of rows of n signs."""
    words = words_dtype(words, name)
    if words.ndim != 2 or words.shape[1] != n_words(n):
        raise ValueError(f"{name} must have shape (rows, {n_words(n)}), as n = {n} signs need, got {words.shape}")
    return words if not n % twin.WORD and words.flags.carray else clean(words, n)


def words_dtype(words: Any, name: str) -> np.ndarray:
    """Return `words` if it is an array of words, else raise TypeError."""
    if not isinstance(words, np.ndarray) or words.dtype != UINT64:
        got = f"dtype {words.dtype}" if isinstance(words, np.ndarray) else type(words).__name__
        raise TypeError(f"{name} must be an array of uint64 words from pack_bits, got {got}")
    return words


def readable(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Return `array` contiguous, aligned and of this dtype; itself if it is so already, which is quick to see."""
    if array.flags.carray and array.dtype == dtype:  # one question for all three, and whether it may be written
        return array
    return np.require(array, dtype, ["C", "A"])


def clean(words: np.ndarray, n: int, *, axis: int = -1) -> np.ndarray:
    """Return `words` contiguous, aligned and in native byte order, with zeros past the n-th bit along `axis`."""
    words = readable(words, UINT64)
    if n % twin.WORD:
        mask = ~np.uint64(0) >> np.uint64(-n % twin.WORD)
        if (np.moveaxis(words, axis, -1)[..., -1] & ~mask).any():
            words = words.copy()
            np.moveaxis(words, axis, -1)[..., -1] &= mask
    return words


def check_thresholds(thresholds: Any, dtype: np.dtype, n: int) -> np.ndarray:
    if thresholds is None:
        return np.zeros(n, dtype)
    t = checks.plain(thresholds, "thresholds")
    if t.dtype.kind not in ("iu" if dtype.kind == "i" else "iuf"):
        wanted = "integers, as x does (x < t is x < ceil(t) then)" if dtype.kind == "i" else "numbers"
        raise TypeError(f"thresholds must hold {wanted}, got dtype {t.dtype}")
    if t.shape != (n,):
        raise ValueError(f"thresholds must have shape ({n},), one for each column or channel, got {t.shape}")
    if t.dtype.kind == "f" and np.isnan(t).any():
        raise ValueError("thresholds must not hold NaN")
    return readable(_int32(t, "thresholds") if dtype.kind == "i" else t, dtype)


def _int32(x: np.ndarray, name: str) -> np.ndarray:
    if not np.can_cast(x.dtype, np.int32) and x.size and not -(2**31) <= int(x.min()) <= int(x.max()) < 2**31:
        raise ValueError(f"{name} must fit int32, got {x.min()} to {x.max()}")
    return x


def check_out(out: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return `out` if a kernel can write int32 of this shape into it, or a new array for None."""
    if out is None:
        return np.empty(shape, np.int32)
    if not isinstance(out, np.ndarray) or out.dtype != INT32:
        raise TypeError(f"out must be an int32 array, got {getattr(out, 'dtype', type(out).__name__)}")
    if out.shape != shape or not out.flags.carray:
        raise ValueError(f"out must be contiguous, writeable and of shape {shape}, got shape {out.shape}")
    return out


def _dots(a: np.ndarray, b: np.ndarray, n: int, result: np.ndarray, threads: int) -> np.ndarray:
    """Write the products of the few rows of `a` with those of `b` into `result`, and return it."""
    level, p = dispatch.index(), len(b)
    m, words = a.shape
    rows_of_a, rows_of_b, into = pointer(a, "uint64_t[]"), pointer(b, "uint64_t[]"), pointer(result, "int32_t[]")
    if threads == 1:  # a product of one row takes so little time that to split nothing would show
        lib.labkit_xnor_dots(level, rows_of_a, rows_of_b, into, m, p, words, n, p)
        return result

    def columns(first: int, last: int) -> None:
        part = rows_of_b + first * words, into + first
        lib.labkit_xnor_dots(level, rows_of_a, *part, m, last - first, words, n, p)

    split(columns, p, threads, multiple=4)
    return result

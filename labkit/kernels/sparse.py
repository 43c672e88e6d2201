"""Products of a sparse matrix in compressed rows (CSR) with a vector or with a dense matrix."""

from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, sparse_twin
from labkit.kernels.dispatch import lib, pointer
from labkit.kernels.threads import check_threads, split

CTYPES = {np.dtype(np.float32): ("f32", "float[]"), np.dtype(np.float64): ("f64", "double[]")}


def csr_matvec(A: np.ndarray, IA: np.ndarray, JA: np.ndarray, x: Any, *, threads: int = 1) -> np.ndarray:
    r"""Return the product of a sparse matrix (m, n) with a vector.

    Parameters
    ----------
    A : float32 or float64 array (nnz,), the numbers row by row
    IA : int32 array (m + 1,): row i begins at place IA[i] of `A` and ends before IA[i + 1]
    JA : int32 array (nnz,), the columns of the numbers, 0 to n - 1
    x : array or tensor (n,), real; it is taken in the dtype of `A`
    threads : int, how many threads share the rows

    Returns
    -------
    array (m,) of the dtype of `A`

    Raises
    ------
    TypeError for another dtype, ValueError for shapes that do not fit, a row that ends before it begins, or a column
    that does not exist.

    Formula: :math:`y_i = \sum_{p = IA_i}^{IA_{i+1} - 1} A_p\, x_{JA_p}`, in eight partial sums: product k of a row goes
    to sum k mod 8, and the sums are added in halves. Nothing is fused, so every level gives the same bits.
    Source: lecture 000:587-602. Chapter: Sparse formats and kernels.

    >>> A, IA, JA = np.array([5.0, 8, 3, 6]), np.array([0, 0, 2, 3, 4], np.int32), np.array([0, 1, 2, 1], np.int32)
    >>> csr_matvec(A, IA, JA, [1, 10, 100, 1000])
    array([ 0., 85., 300., 60.])
    """
    x = _dense(x, A, "x", ndim=1)
    parts = _checked(A, IA, JA, "x", len(x))
    threads = check_threads(threads)
    if dispatch.current() == dispatch.TWIN:
        return sparse_twin.csr_matvec(*parts, x)
    call, views, ctype = _kernel("csr_matvec", *parts)
    y = np.empty(len(IA) - 1, A.dtype)
    ends = pointer(x, ctype), pointer(y, ctype)
    split(lambda first, last: call(*views, *ends, first, last), len(y), threads)
    return y


def csr_matmul(A: np.ndarray, IA: np.ndarray, JA: np.ndarray, X: Any, *, threads: int = 1) -> np.ndarray:
    r"""Return the product of a sparse matrix (m, k) with a dense one.

    Parameters
    ----------
    A, IA, JA : the sparse matrix, as in `csr_matvec`
    X : array or tensor (k, n), real; it is taken in the dtype of `A`
    threads : int, how many threads share the rows

    Returns
    -------
    array (m, n) of the dtype of `A`

    Raises
    ------
    As `csr_matvec`, and MemoryError where there is no room for 128 columns of X.

    Formula: :math:`y_{ij} = \sum_{p = IA_i}^{IA_{i+1} - 1} A_p\, x_{JA_p, j}`, summed in the order of storage, nothing
    fused. How: X is cut into strips of eight vectors of columns, and the sums of a row of a strip stay in registers.
    Source: lecture 000:587-614. Chapter: Sparse formats and kernels.

    >>> A, IA, JA = np.array([5.0, 8, 3, 6]), np.array([0, 0, 2, 3, 4], np.int32), np.array([0, 1, 2, 1], np.int32)
    >>> csr_matmul(A, IA, JA, [[1], [10], [100], [1000]]).ravel()
    array([ 0., 85., 300., 60.])
    """
    X = _dense(X, A, "X", ndim=2)
    parts = _checked(A, IA, JA, "X", len(X))
    threads = check_threads(threads)
    if dispatch.current() == dispatch.TWIN:
        return sparse_twin.csr_matmul(*parts, X)
    call, views, ctype = _kernel("csr_matmul", *parts)
    Y = np.empty((len(IA) - 1, X.shape[1]), A.dtype)
    ends, sizes = (pointer(X, ctype), pointer(Y, ctype)), (X.shape[1], len(X))
    if any(split(lambda first, last: call(*views, *ends, first, last, *sizes), len(Y), threads)):
        raise MemoryError(f"no memory for a strip of X with {len(X)} rows")
    return Y


def _dense(x: Any, A: Any, name: str, *, ndim: int) -> np.ndarray:
    """Return `x` as C reads it, in the dtype of A."""
    if not isinstance(A, np.ndarray) or A.dtype not in CTYPES:
        got = f"dtype {A.dtype}" if isinstance(A, np.ndarray) else type(A).__name__
        raise TypeError(f"A must be an array of float32 or float64, got {got}")
    x = checks.plain(x, name)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {x.dtype}")
    if x.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension{'s' * (ndim > 1)}, got shape {x.shape}")
    return _laid_out(x.astype(A.dtype, copy=False))


def _checked(A: np.ndarray, IA: Any, JA: Any, factor: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A, IA and JA as C reads them if all columns are below n, as `factor` has rows: C goes where they point."""
    for name, array in {"IA": IA, "JA": JA}.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.int32:
            got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"{name} must be an array of int32, got {got}")
    if A.ndim != 1 or JA.shape != A.shape:
        raise ValueError(f"A and JA must have the same shape (nnz,), got {A.shape} and {JA.shape}")
    if IA.ndim != 1 or len(IA) == 0:
        raise ValueError(f"IA must have shape (rows + 1,), got {IA.shape}")
    A, IA, JA = _laid_out(A), _laid_out(IA), _laid_out(JA)
    _check_places(IA, JA, factor, n)
    return A, IA, JA


def _laid_out(array: np.ndarray) -> np.ndarray:
    """Return the array without gaps and aligned, itself if it is so already."""
    good = array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative
    return array if good else np.require(array, array.dtype.newbyteorder("="), ["C", "A"])


def _check_places(IA: np.ndarray, JA: np.ndarray, factor: str, n: int) -> None:
    if dispatch.current() == dispatch.TWIN:
        descends = IA[0] != 0 or IA[-1] != len(JA) or (np.diff(IA) < 0).any()
        found = 1 if descends else 2 * int(((JA < 0) | (n <= JA)).any())
    else:
        views = pointer(IA, "int32_t[]"), pointer(JA, "int32_t[]")
        found = lib.labkit_csr_check(dispatch.index(), *views, len(IA) - 1, min(n, 2**31), len(JA))
    if found == 1:
        raise ValueError(f"IA must ascend from 0 to the {len(JA)} numbers stored, got {IA}")
    if found == 2:
        wanted = f"columns from 0 to {n - 1}, as {factor} has {n} rows" if n else f"none, as {factor} has no rows"
        raise ValueError(f"JA must hold {wanted}, got {JA.min()} to {JA.max()}")


def _kernel(name: str, A: np.ndarray, IA: np.ndarray, JA: np.ndarray) -> tuple[Any, tuple[Any, ...], str]:
    """Return the C function for A's dtype, its first arguments, and the C type of the numbers."""
    kind, ctype = CTYPES[A.dtype]
    views = dispatch.index(), pointer(A, ctype), pointer(IA, "int32_t[]"), pointer(JA, "int32_t[]")
    return getattr(lib, f"labkit_{name}_{kind}"), views, ctype

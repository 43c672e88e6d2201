"""The NumPy twin of the sparse kernels: the same sums in the same order, so the same bits.

The functions trust their input; `labkit.kernels.sparse` checks it before.
"""

import numpy as np

SUMS = 8  # the partial sums of a dot product, as in csrc/sparse.c


@np.errstate(all="ignore")  # as C, which says nothing of infinities
def csr_matvec(A: np.ndarray, IA: np.ndarray, JA: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return y (m,), y_i = sum of A[p] x[JA[p]] for p = IA[i], ..., IA[i + 1] - 1; product k goes to sum k mod 8."""
    counts = np.diff(IA)
    sums = np.zeros((len(counts), SUMS), A.dtype)
    for k in range(counts.max(initial=0)):
        rows = np.flatnonzero(counts > k)  # those that have a k-th number
        p = IA[rows] + k
        sums[rows, k % SUMS] += A[p] * x[JA[p]]
    fours = sums[:, :4] + sums[:, 4:]
    twos = fours[:, :2] + fours[:, 2:]
    return twos[:, 0] + twos[:, 1]


@np.errstate(all="ignore")  # as C, which says nothing of infinities
def csr_matmul(A: np.ndarray, IA: np.ndarray, JA: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return Y (m, n) for X (k, n), summed in the order of storage."""
    counts = np.diff(IA)
    Y = np.zeros((len(counts), X.shape[1]), A.dtype)
    for k in range(counts.max(initial=0)):
        rows = np.flatnonzero(counts > k)
        p = IA[rows] + k
        Y[rows] += A[p, None] * X[JA[p]]
    return Y

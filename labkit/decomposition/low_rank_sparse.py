"""A matrix as low rank plus sparse, W ~ U V + S, by greedy bilateral decomposition. Chapter 9; lecture 003:1766-1794.

Shapes: W (m, n), U (m, k), V (k, n), S (m, n) with few entries that are not zero. The error is measured where the
layer answers: f(U, V, S) = norm((W - U V - S) X)_F^2 / p for inputs X (n, p), which needs only G = X X^T / p (n, n).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from labkit import checks
from labkit.decomposition.svd import thin_svd

RIDGE = 1e-6  # of the mean variance, added to G: inputs that never vary would leave their weights undefined


@dataclass(frozen=True, repr=False, eq=False)
class LowRankSparse:
    """A matrix kept as U V + S: U (m, k), V (k, n), and S (m, n), a sparse matrix. k may be 0, and S may be empty.

    `objective` holds f after each round of the fit, `error_bound` its root at the end: the root mean square error of
    the outputs for the inputs of the fit, or the Frobenius error of W without inputs. Raises ValueError if the shapes
    do not fit. Chapter 9.

    >>> LowRankSparse(np.ones((4, 1)), np.ones((1, 3)), sparse.csr_array(np.eye(4, 3)))
    LowRankSparse(shape=(4, 3), rank=1, nnz=3, n_params=10)
    """

    U: np.ndarray
    V: np.ndarray
    S: sparse.csr_array
    objective: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        shapes = [np.shape(factor) for factor in self.factors]
        if [len(shape) for shape in shapes] != [2, 2, 2] or shapes[2] != (shapes[0][0], shapes[1][1]):
            raise ValueError(f"U, V, S must have shapes (m, k), (k, n), (m, n), got {shapes}")
        if self.U.shape[1] != len(self.V):
            raise ValueError(f"U, V, S must have shapes (m, k), (k, n), (m, n), got {shapes}")

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray, sparse.csr_array]:
        """The tuple (U, V, S)."""
        return self.U, self.V, self.S

    @property
    def rank(self) -> int:
        """The rank k of the smooth part."""
        return len(self.V)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, n) of the matrix that the parts stand for."""
        return self.S.shape

    @property
    def nnz(self) -> int:
        """The entries of S that are not zero."""
        return int(self.S.nnz)

    @property
    def n_params(self) -> int:
        """Weights stored: k (m + n) + nnz. The places of the sparse weights come on top, see `n_bytes`."""
        return self.rank * sum(self.shape) + self.nnz

    @property
    def error_bound(self) -> float | None:
        """The root of the last objective, if the fit is known."""
        return float(np.sqrt(self.objective[-1])) if self.objective else None

    def n_bytes(self, *, bits: int = 32, index_bits: int = 16) -> int:
        """Return the bytes of all weights at `bits` each, with a column of `index_bits` for every sparse weight."""
        checks.integer(bits, "bits", low=1), checks.integer(index_bits, "index_bits", low=0)
        return -(-(self.n_params * bits + self.nnz * index_bits) // 8)

    def to_tensor(self) -> np.ndarray:
        """Return the dense matrix (m, n)."""
        return self.U @ self.V + self.S.toarray()

    def matmul(self, x: np.ndarray) -> np.ndarray:
        """Return the product with x (n,) or (n, p) in k (m + n) + nnz multiply-adds a column."""
        x = checks.array(x, "x")
        if x.ndim not in (1, 2) or len(x) != self.shape[1]:
            raise ValueError(f"x must have shape ({self.shape[1]},) or ({self.shape[1]}, p), got {x.shape}")
        return self.U @ (self.V @ x) + self.S @ x

    def __repr__(self) -> str:
        return f"LowRankSparse(shape={self.shape}, rank={self.rank}, nnz={self.nnz}, n_params={self.n_params})"


def grebdec(
    W: np.ndarray,
    X: np.ndarray | None = None,
    *,
    rank: int,
    density: float,
    rank_step: int | None = None,
    n_power_iter: int = 2,
    n_iter_max: int = 60,
    tol: float = 1e-4,
) -> LowRankSparse:
    """Return W (m, n) as U V + S, by turns: U and V by least squares, S by a hard threshold, then a larger rank.

    Parameters
    ----------
    W : matrix (m, n), such as the weight of a layer
    X : inputs (n, p) of the layer, one per column; without them the error of W itself is made small
    rank : int, 0 to min(m, n); 0 leaves the sparse part alone
    density : fraction of S, in [0, 1], that may differ from zero; 0 leaves the low-rank part alone
    rank_step : how much the rank grows in a round, a quarter of `rank` by default
    n_power_iter : updates of U and V, and of S, in a round
    n_iter_max, tol : the rounds end when the objective falls by less than `tol` of itself, or after `n_iter_max`

    Raises
    ------
    TypeError, ValueError : a bad argument, or rank and density both 0.

    No step lets the objective grow. U and V: exact least squares in turn. S: with D = diag(sum_i |G_ij|) >= G, the
    step Z = S + (W - U V - S) G D^-1 minimises a bound on f, and of Z those entries stay that are worth most, d_j
    Z_ij^2; conjugate gradients then refit them in their places. Without X the first step finds the exact best S, the
    largest entries of W - U V. The rank grows along the leading right
    singular vectors of the gradient (W - U V - S) G; the paper multiplies by U^T first, which gives 0 right after V
    is updated. Yu et al. (2017), CVPR, algorithm 1; lecture 003:1766-1794. Chapter 9.

    >>> W = np.outer([1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0])
    >>> W[0, 2] += 5
    >>> parts = grebdec(W, rank=1, density=0.1, n_iter_max=200, tol=1e-9)
    >>> parts, bool(parts.error_bound < 1e-3)
    (LowRankSparse(shape=(3, 4), rank=1, nnz=1, n_params=8), True)
    """
    W = checks.matrix(W, "W").astype(float)
    G = gram(W.shape[1], X)
    k = checks.integer(rank, "rank", low=0, high=min(W.shape))
    n_kept = int(checks.number(density, "density", low=0, high=1) * W.size)
    if not k and not n_kept:
        raise ValueError(f"rank and density must not both leave nothing, got rank={rank} and density={density}")
    step = -(-k // 4) if rank_step is None else checks.integer(rank_step, "rank_step", low=1)
    checks.integer(n_power_iter, "n_power_iter", low=1), checks.integer(n_iter_max, "n_iter_max", low=1)
    limit, history = checks.number(tol, "tol", low=0), [_objective(W, G)]
    for U, V, S in greedy_rounds(W, G, rank=k, n_kept=n_kept, rank_step=step, n_power_iter=n_power_iter):
        history.append(_objective(W - U @ V - S, G))
        if len(history) > n_iter_max or (len(V) == k and history[-2] - history[-1] <= limit * history[-2]):
            break
    return LowRankSparse(U, V, sparse.csr_array(S), tuple(history[1:]))


def gram(n: int, X: np.ndarray | None) -> np.ndarray:
    """Return G = X X^T / p (n, n) with a ridge that keeps it definite, or the identity without X.

    Raises TypeError or ValueError unless X is a finite matrix (n, p) that is not zero.

    >>> gram(2, None)
    array([[1., 0.],
           [0., 1.]])
    """
    if X is None:
        return np.eye(n)
    X = checks.matrix(X, "X").astype(float)
    if len(X) != n or not X.any():
        raise ValueError(f"X must have {n} rows and must not be zero, got shape {X.shape}")
    G = X @ X.T / X.shape[1]
    return G + RIDGE * np.trace(G) / n * np.eye(n)


def greedy_rounds(
    W: np.ndarray, G: np.ndarray, *, rank: int, n_kept: int, rank_step: int = 1, n_power_iter: int = 2
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (U, V, S) after each round of the algorithm of `grebdec`, for ever.

    W (m, n) is the matrix, G (n, n) comes from `gram`, `n_kept` is the number of entries of S; the rest is as in
    `grebdec`. Raises TypeError or ValueError, when the first round is asked for, if an argument does not fit.

    >>> U, V, S = next(greedy_rounds(np.diag([3.0, 2.0, 1.0]), np.eye(3), rank=1, n_kept=1))
    >>> U.shape, V.shape, int((S != 0).sum())
    ((3, 1), (1, 3), 1)
    """
    _check_shapes(W, G)
    checks.integer(rank, "rank", low=0, high=min(W.shape))
    U, V, S = np.zeros((len(W), 0)), np.zeros((0, W.shape[1])), np.zeros_like(W)
    bound = np.abs(G).sum(axis=0)  # D: the diagonal matrix above G
    while True:
        if len(V) < rank:
            V = _grown(V, (W - U @ V - S) @ G, min(rank_step, rank - len(V)))
        for _ in range(n_power_iter if rank else 0):
            U, V = bilateral_step(W - S, G, V)
        for _ in range(n_power_iter if n_kept else 0):
            S = largest_entries(S + (W - U @ V - S) @ G / bound, bound, n_kept=n_kept)
        S = _refitted(S, W - U @ V, G, n_steps=2 * n_power_iter)
        yield U, V, S


def bilateral_step(R: np.ndarray, G: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return U (m, k), the best for V, made orthonormal, and V (k, n), the best for U, in norm((R - U V) X).

    R (m, n) is the matrix, G (n, n) = X X^T / p. Raises ValueError if the shapes do not fit together.

    >>> U, V = bilateral_step(np.array([[3.0, 0.0], [0.0, 1.0]]), np.eye(2), np.array([[1.0, 0.0]]))
    >>> np.abs(U @ V).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    _check_shapes(R, G, V)
    VG = V @ G  # (k, n)
    U = np.linalg.lstsq(VG @ V.T, VG @ R.T, rcond=None)[0].T  # (m, k)
    U = np.linalg.qr(U)[0]
    return U, U.T @ R


def largest_entries(Z: np.ndarray, weight: np.ndarray, *, n_kept: int) -> np.ndarray:
    """Return Z (m, n) with all entries set to 0 but the `n_kept` with the largest weight_j Z_ij^2; weight (n,).

    Raises TypeError or ValueError if `n_kept` is no int from 1 to the size of Z.

    >>> largest_entries(np.array([[3.0, -1.0], [2.0, -5.0]]), np.ones(2), n_kept=2)
    array([[ 3.,  0.],
           [ 0., -5.]])
    """
    first = np.size(Z) - checks.integer(n_kept, "n_kept", low=1, high=np.size(Z))
    kept = np.argpartition((Z**2 * weight).ravel(), first)[first:]
    S = np.zeros(Z.size)
    S[kept] = Z.ravel()[kept]
    return S.reshape(Z.shape)


def _refitted(S: np.ndarray, R: np.ndarray, G: np.ndarray, *, n_steps: int) -> np.ndarray:
    """Lower norm((R - S) X) over the entries of S that are not zero: conjugate gradients, scaled by the variances."""
    free, scale = S != 0, np.diag(G)
    slope = np.where(free, (R - S) @ G, 0.0)
    P = slope / scale
    worth = np.vdot(slope, P)
    for _ in range(n_steps):
        Q = np.where(free, P @ G, 0.0)
        if worth <= 1e-12 * np.vdot(R, R) or not (curvature := np.vdot(P, Q)) > 0:
            break
        S, slope = S + worth / curvature * P, slope - worth / curvature * Q
        before, worth = worth, np.vdot(slope, slope / scale)
        P = slope / scale + worth / before * P
    return S


def _grown(V: np.ndarray, gradient: np.ndarray, step: int) -> np.ndarray:
    """Add the leading right singular vectors of the gradient to V, all rows orthonormal."""
    more = thin_svd(gradient).Vt[:step]
    return np.linalg.qr(np.vstack([V, more]).T)[0].T


def _objective(R: np.ndarray, G: np.ndarray) -> float:
    """Return f = trace(R G R^T) for the rest R = W - U V - S."""
    return max(0.0, float(np.vdot(R @ G, R)))


def _check_shapes(W: np.ndarray, G: np.ndarray, V: np.ndarray | None = None) -> None:
    shapes = [np.shape(M) for M in (W, G, G if V is None else V)]
    if any(len(shape) != 2 for shape in shapes) or shapes[1][0] != shapes[1][1] or len({s[1] for s in shapes}) != 1:
        raise ValueError(f"shapes must be (m, n), (n, n), (k, n), got {', '.join(map(str, shapes))}")

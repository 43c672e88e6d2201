"""From which share of zeros on a sparse product is faster than a dense one, measured. Chapter 11; lecture 000:604-610.

How many bytes it saves is a formula: `labkit.sparse.storage_break_even`.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from labkit import checks, kernels
from labkit.cost.measure import cpu_times
from labkit.kernels import dispatch
from labkit.sparse import CSR, sparse_mask

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True, repr=False)
class BreakEven:
    """How much faster a sparse product is than a dense one, at each sparsity; above 1 it is faster.

    `peers` names the ways to compute the dense product that took part, `dense` the fastest of them, `level` the
    kernels that served. `str` shows the figures; the repr leaves them out, since they are never twice the same.
    """

    shape: tuple[int, int]
    columns: int
    sparsities: tuple[float, ...]
    ratios: tuple[float, ...]
    peers: tuple[str, ...]
    dense: str
    level: str

    @property
    def sparsity(self) -> float | None:
        """The sparsity at which the ratio reaches 1, between two measured ones in a straight line; None if never.

        A product that is faster at the first sparsity measured gives that one: the break-even lies there or below.
        """
        return crossing(self.sparsities, self.ratios)

    def __repr__(self) -> str:
        return f"BreakEven(shape={self.shape}, columns={self.columns}, sparsities={self.sparsities})"

    def __str__(self) -> str:
        rows = [f"{s:.0%} zeros: {r:.2f}x" for s, r in zip(self.sparsities, self.ratios, strict=True)]
        end = "never" if self.sparsity is None else f"at {self.sparsity:.0%} zeros"
        return "\n".join([*rows, f"break-even {end}, against {self.dense}, kernels {self.level}"])


def breakeven(
    n: int,
    *,
    columns: int = 64,
    sparsities: Sequence[float] = SPARSITIES,
    rounds: int = 7,
    random_state: Any = None,
) -> BreakEven:
    """Measure on this machine from which sparsity on CSR is faster than the best dense product.

    Parameters
    ----------
    n : int, 1 to 8192; the matrix is n x n in float32, with numbers at random places
    columns : int, 1 to 8192; the other factor is n x columns, and 1 is a vector
    sparsities : ascending fractions of zeros, 0 to 1
    rounds : 7 to 1000; the ways to multiply take turns, and the median round counts
    random_state : int, Generator or None

    Returns
    -------
    BreakEven, with the ratio of times dense over sparse. The dense product is computed by NumPy, by torch, and by
    torch through oneDNN where it has that, and the fastest counts. Measured is the CPU time of one thread.

    Raises TypeError or ValueError for another argument. Lecture 000:604-610; chapter 11.

    >>> breakeven(64, columns=4, sparsities=(0.5, 0.9), random_state=0)
    BreakEven(shape=(64, 64), columns=4, sparsities=(0.5, 0.9))
    """
    checks.integer(n, "n", low=1, high=8192)
    checks.integer(columns, "columns", low=1, high=8192)
    checks.integer(rounds, "rounds", low=7, high=1000)
    steps = _ascending(sparsities)
    rng = checks.generator(random_state)
    W, X = (rng.standard_normal(shape, np.float32) for shape in ((n, n), (n, columns)))
    dense = dense_products(W, X)
    seconds = cpu_times(dense, rounds=rounds)
    best = min(seconds, key=lambda name: seconds[name])
    ratios = []
    for sparsity in steps:
        csr = CSR.from_dense(W * sparse_mask((n, n), density=1 - sparsity, random_state=rng))
        pair = cpu_times({"dense": dense[best], "sparse": sparse_product(csr, X)}, rounds=rounds)
        ratios.append(pair["dense"] / pair["sparse"])
    return BreakEven((n, n), columns, steps, tuple(ratios), tuple(dense), best, dispatch.current())


def dense_products(W: np.ndarray, X: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the ways to compute the dense product W X that this machine has, by name; X of one column is a vector.

    >>> list(dense_products(np.ones((2, 2), np.float32), np.ones((2, 3), np.float32)))[:2]
    ['NumPy', 'torch']
    """
    x = X[:, 0].copy() if X.shape[1] == 1 else X
    Wt, xt = torch.from_numpy(W), torch.from_numpy(x)
    ways: dict[str, Callable[[], Any]] = {"NumPy": lambda: W @ x, "torch": lambda: Wt @ xt}
    if torch.backends.mkldnn.is_available():
        ways["oneDNN"] = _onednn(Wt, X)
    return ways


def _onednn(W: torch.Tensor, X: np.ndarray) -> Callable[[], Any]:
    """Return the function that computes X^T W^T by oneDNN, all in the library's own layout."""
    with warnings.catch_warnings():  # the module still uses an older form of torch.jit, and says so
        warnings.simplefilter("ignore")
        from torch.utils.mkldnn import to_mkldnn
    linear = torch.nn.Linear(W.shape[1], W.shape[0], bias=False)
    linear.weight.data = W
    layer, rows = to_mkldnn(linear.eval()), torch.from_numpy(X.T.copy()).to_mkldnn()
    return lambda: layer(rows)


def sparse_product(csr: CSR, X: np.ndarray) -> Callable[[], np.ndarray]:
    """Return the function that multiplies by a CSR matrix; X of one column is a vector.

    >>> sparse_product(CSR.from_dense([[2.0]]), np.ones((1, 1)))()
    array([2.])
    """
    x = X[:, 0].copy() if X.shape[1] == 1 else X
    product = kernels.csr_matvec if x.ndim == 1 else kernels.csr_matmul
    return lambda: product(csr.A, csr.IA, csr.JA, x)


def crossing(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return where y first reaches 1 for good, on straight lines between points; None if it ends below 1.

    >>> crossing([0.5, 0.7, 0.9], [0.5, 0.75, 1.25])
    0.8
    """
    if y[-1] < 1:
        return None
    k = max((k for k, value in enumerate(y) if value < 1), default=-1)
    if k < 0:
        return float(x[0])
    return float(x[k] + (x[k + 1] - x[k]) * (1 - y[k]) / (y[k + 1] - y[k]))


def _ascending(sparsities: Sequence[float]) -> tuple[float, ...]:
    if checks.plain(sparsities, "sparsities").ndim != 1:
        raise TypeError(f"sparsities must be a list of numbers, got {sparsities!r}")
    steps = tuple(checks.number(s, "sparsities", low=0, high=1) for s in sparsities)
    if not steps or list(steps) != sorted(set(steps)):
        raise ValueError(f"sparsities must ascend and not be empty, got {sparsities!r}")
    return steps

"""The nuclear norm, which makes low rank a matter of optimisation: sub-gradient, proximal step, penalty. Chapter 9.

norm_*(A) is the sum of the singular values of A (m, n): the l1 norm of the spectrum, and as such the largest convex
function below the rank on matrices with spectral norm at most 1. Lecture 004:1, 25.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.response import find_layers
from labkit.decomposition.svd import LowRank, numerical_rank, thin_svd


def nuclear_norm(A: np.ndarray) -> float:
    """Return the nuclear norm s_1 + ... + s_r of A (m, n).

    Raises TypeError or ValueError if A is not a finite real matrix. Chapter 9; lecture 004:1.

    >>> nuclear_norm([[3, 0], [4, 0]])
    5.0
    """
    return float(thin_svd(A).s.sum())


def nuclear_subgradient(A: np.ndarray) -> np.ndarray:
    """Return the sub-gradient U V^T (m, n) of the nuclear norm at A, from the singular vectors with s_i > 0.

    For every B of the same shape, norm_*(B) >= norm_*(A) + <U V^T, B - A>. At full rank it is the gradient; at a
    lower one U V^T + M is a sub-gradient too if U^T M = 0, M V = 0 and M has spectral norm at most 1. At A = 0 it is 0.
    Raises TypeError or ValueError if A is not a finite real matrix.
    Watson (1992), doi:10.1016/0024-3795(92)90407-2; lecture 004:1, 25. Chapter 9.

    >>> nuclear_subgradient([[3, 0], [0, 0]])
    array([[1., 0.],
           [0., 0.]])
    """
    U, _, Vt = thin_svd(A)
    k = numerical_rank(A)
    return U[:, :k] @ Vt[:k] + 0.0  # no negative zeros


def singular_value_threshold(A: np.ndarray, *, threshold: float) -> LowRank:
    """Return the proximal step of the nuclear norm: every singular value of A (m, n) lowered by `threshold`, or to 0.

    argmin_X  threshold norm_*(X) + norm(X - A)_F^2 / 2  =  U max(S - threshold, 0) V^T. The terms that reach 0 are
    dropped; one of weight 0 stays if all do. `threshold` is a number of at least 0, in the units of A.
    Raises TypeError or ValueError for a bad argument. Cai, Candes and Shen (2010), arXiv:0810.3286. Chapter 9.

    >>> singular_value_threshold(np.diag([3.0, 1.0]), threshold=1.5).to_tensor()
    array([[1.5, 0. ],
           [0. , 0. ]])
    """
    lower = checks.number(threshold, "threshold", low=0)
    U, s, Vt = thin_svd(A)
    shrunk = np.maximum(s - lower, 0.0)
    k = max(1, int(np.count_nonzero(shrunk)))
    return LowRank(U[:, :k], shrunk[:k], Vt[:k], float(np.linalg.norm(s - shrunk)))


def nuclear_penalty(layers: Iterable[str], *, weight: float) -> Callable[[nn.Module], torch.Tensor]:
    """Return the regulariser `weight` * sum of norm_*(W) over the named layers, for `labkit.training.fit`.

    A convolution's kernel counts as the matrix (m, c h w). torch differentiates the singular values, and the gradient
    that it finds is `weight` U V^T. It takes an SVD of every layer at every step: see `TRPTrainer` for a cheaper way.
    `layers` are names of linear or convolutional layers, `weight` is a number of at least 0.
    Raises TypeError or ValueError for bad arguments, a layer that the model does not have when it is called.
    Chapter 9; lecture 004:1, 25.

    >>> model = nn.Sequential(nn.Linear(2, 2))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    >>> round(nuclear_penalty(["0"], weight=0.5)(model).item(), 4)
    3.5
    """
    strength = checks.number(weight, "weight", low=0)
    if isinstance(layers, str) or not (names := tuple(layers)):
        raise TypeError(f"layers must be a list of at least one layer name, got {layers!r}")

    def penalty(model: nn.Module) -> torch.Tensor:
        found = find_layers(model, names)
        norms = [torch.linalg.svdvals(found[name].weight.flatten(1)).sum() for name in names]
        return strength * torch.stack(norms).sum()

    return penalty

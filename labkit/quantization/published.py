"""The KL rule as it was published: two loops over all candidates, kept to be read and to be compared with.

`kl_calibrate` finds the threshold of the first one, hundreds of times faster. Chapter 15; lecture 003:1007-1017.
"""

from typing import Any

import numpy as np

from labkit import checks


def kl_loop(counts: Any, *, levels: int = 128) -> tuple[int, list[float]]:
    """Return how many bins to keep, and the divergence in nats of every candidate from `levels` bins on.

    `counts` (n,) is a histogram of |x| with n > levels bins. Of equal minima the last one counts. Raises TypeError or
    ValueError for a bad argument. The pseudo-code of Migacz (2017), with the groups of NVIDIA's pytorch-quantization:
    group j holds the bins k with j i / levels <= k < (j + 1) i / levels. Chapter 15; lecture 003:1007-1017.

    >>> kl_loop([4, 4, 2, 2, 0], levels=2)[0]
    4
    """
    bins, L = _bins(counts, levels)
    divergences = []
    for i in range(L, len(bins) + 1):
        P = bins[:i].copy()
        P[i - 1] += sum(bins[i:])
        Q = [0.0] * i
        for j in range(L):
            group = [k for k in range(-(-j * i // L), -(-(j + 1) * i // L)) if bins[k] > 0]
            total = sum(bins[k] for k in group)
            for k in group:
                Q[k] = total / len(group)
        divergences.append(_divergence(P, Q))
    return L + len(divergences) - 1 - int(np.argmin(divergences[::-1])), divergences


def kl_mirrored_loop(counts: Any, *, levels: int = 128) -> tuple[int, list[float]]:
    """Return what `kl_loop` returns, by the rule of MXNet, TVM and ONNX Runtime for data without negative entries.

    The histogram is mirrored, bin 0 in the middle, and half of the levels lie on the empty side. Groups have equally
    many bins, rounded down; the bins that are left over at the end get nothing. Then zeros of P and Q are lifted to
    0.0001, and the others lowered, so that no divergence is infinite. Raises TypeError or ValueError for a bad
    argument. Chapter 15.

    >>> kl_mirrored_loop([4, 4, 2, 2, 0], levels=2)[0]
    5
    """
    bins, L = _bins(counts, levels)
    divergences = []
    for i in range(L // 2, len(bins)):
        kept = np.array([0] * i + bins[: i + 1])
        P = kept.copy()
        P[-1] += sum(bins[i + 1 :])
        Q, size = np.zeros(len(kept)), len(kept) // L
        for j in range(L):
            total = kept[j * size : (j + 1) * size if j < L - 1 else None].sum()
            occupied = np.count_nonzero(P[j * size : (j + 1) * size])
            if occupied:
                Q[j * size : (j + 1) * size] = int(total / occupied)
        divergences.append(_divergence(_smoothed(P), _smoothed(Q)))
    return L // 2 + int(np.argmin(divergences)) + 1, divergences


def _bins(counts: Any, levels: int) -> tuple[list[int], int]:
    L = checks.integer(levels, "levels", low=2)
    bins = checks.array(counts, "counts", ndim=1)
    if bins.min() < 0 or len(bins) <= L:
        raise ValueError(f"counts must not be negative, and more than levels={L}, got {len(bins)} from {bins.min()}")
    return [int(b) for b in bins], L


def _divergence(P: Any, Q: Any) -> float:
    """Return KL(P, Q) = sum P log(P / Q) in nats, both normalised; infinite where Q is 0 and P is not."""
    p, q = np.asarray(P) / np.sum(P), np.asarray(Q) / np.sum(Q)
    with np.errstate(divide="ignore"):
        return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


def _smoothed(P: np.ndarray, eps: float = 1e-4) -> np.ndarray:
    """Lift zeros to eps, and take what that needs off the other entries."""
    zero = eps * (P == 0)
    return P + zero - zero.sum() / max(1, np.count_nonzero(P)) * (P != 0)

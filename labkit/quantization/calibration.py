"""Where to saturate: thresholds by the maximum, a percentile, the mean squared error or the KL divergence.

A threshold T is the edge of a bin. `levels` is how many integers |x| may take: 128 for signed 8 bits, 256 for
unsigned ones. Chapter 15; lecture 003:995-1051.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labkit import checks
from labkit.quantization.histogram import Histogram

ZERO_BINS = ("keep", "copy", "drop")
SPIKY = 0.05  # the KL rule is not trusted where lone bins hold more than this fraction of the non-zero entries
MAX_CLIPPED = 1e-3  # the fraction of the non-zero entries that may saturate then


class CalibrationWarning(UserWarning):
    """A rule was asked for something that its histogram does not support."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The threshold that a rule chose, and the curve it chose from.

    `thresholds` and `objective` (n,) are the candidates and what the rule minimises; `clipped` is the fraction of
    entries beyond the threshold; `guarded` says that the KL rule was overruled (see `kl_calibrate`).
    """

    rule: str
    threshold: float
    thresholds: np.ndarray = field(repr=False)
    objective: np.ndarray = field(repr=False)
    clipped: float
    guarded: bool = False


def max_calibrate(hist: Histogram) -> Calibration:
    """Return the largest |x| as the threshold: nothing saturates. Chapter 15; lecture 003:1019-1026.

    >>> from labkit.quantization import collect
    >>> max_calibrate(collect([-3.0, 1.0])).threshold
    3.0
    """
    top = max(-checks.instance(hist, "hist", Histogram).low, hist.high) or float(hist.edges[-1])
    return Calibration("max", top, np.array([top]), np.zeros(1), 0.0)


def percentile_calibrate(hist: Histogram, *, percentile: float = 99.9) -> Calibration:
    """Return the smallest edge below which `percentile` percent of the entries lie (0 to 100).

    Raises TypeError or ValueError for other numbers. Chapter 15; lecture 003:1007-1017.

    >>> percentile_calibrate(Histogram(np.array([90, 9, 1]), 1.0), percentile=99).threshold
    2.0
    """
    counts = checks.instance(hist, "hist", Histogram).counts
    wanted = checks.number(percentile, "percentile", low=0, high=100) / 100
    tails = 1 - np.cumsum(counts) / counts.sum()
    k = int(np.argmax(tails <= 1 - wanted + 1e-12))
    return _chosen("percentile", hist, k + 1, np.arange(1, len(counts) + 1), tails)


def mse_calibrate(hist: Histogram, *, levels: int = 128) -> Calibration:
    """Return the edge at which the mean squared error of quantization, saturation included, is smallest.

    Levels lie at j T / (levels - 1). Entries count as the middle of their bin. With prefix sums of h, h c and h c^2
    a candidate takes O(levels) operations, not O(bins). Raises TypeError or ValueError for a bad argument.
    Chapter 15; lecture 003:1007-1017.

    >>> mse_calibrate(Histogram(np.array([1000, 1000, 1000, 0, 0, 0, 0, 1]), 1.0), levels=3).threshold
    3.0
    """
    L = checks.integer(levels, "levels", low=2, high=2**16)
    h, c = checks.instance(hist, "hist", Histogram).counts, hist.centres / hist.width
    n = np.arange(1, len(h) + 1)  # candidates, T = n width
    step = n[:, None] / (L - 1)
    borders = np.ceil(step * (np.arange(L - 1) + 0.5) - 0.5).astype(int)  # (n, L - 1): first bin of the next level
    borders = np.clip(borders, int(c[0] == 0), len(h))  # exact zeros always go to level 0
    cells = np.pad(borders, ((0, 0), (1, 1)), constant_values=((0, 0), (0, len(h))))
    mass, first, second = (np.diff(_prefix(h * c**k)[cells], axis=1) for k in range(3))
    value = step * np.arange(L)
    error = (second - 2 * value * first + value**2 * mass).sum(axis=1) / hist.total
    return _chosen("mse", hist, int(n[np.argmin(error)]), n, error * hist.width**2)


def kl_calibrate(
    hist: Histogram, *, levels: int = 128, zero_bin: str = "copy", start: int | None = None, guard: bool = True
) -> Calibration:
    """Return the threshold at which the histogram, merged into `levels` groups, loses least information.

    Parameters
    ----------
    hist : a histogram with more bins than levels
    levels : int, at least 2
    zero_bin : what to do with bin 0, where a ReLU puts half of its outputs
        - "keep": as it is, the algorithm of the slides. The spike dominates every divergence
        - "copy": bin 0 gets the count of bin 1 (NVIDIA's toolkit)
        - "drop": bin 0 is left out (Caffe converters): zero is a level of its own and loses nothing
    start : the fewest bins of a candidate, by default `levels`
    guard : if the histogram is spiky (`spikiness` above SPIKY), warn, and let at most a fraction MAX_CLIPPED of the
        non-zero entries saturate; False takes the minimum as it comes

    Raises
    ------
    TypeError, ValueError : a bad argument, or not more bins than levels.

    For a candidate of i bins, P is h_0 ... h_{i-1} with all that is beyond added to h_{i-1}. Q spreads the count c_j
    of each of the `levels` groups evenly over its n_j bins that are not empty. With S = h_0 + ... + h_{i-1},

        KL(P, Q) = sum_k P_k log P_k - sum_j P_j log(c_j / (n_j S)),

    so prefix sums of h, [h > 0] and h log h give a candidate in O(levels). Of equal minima the last one counts.
    Migacz (2017), "8-bit inference with TensorRT". Chapter 15; lecture 003:995-1051.

    >>> from labkit.quantization import collect
    >>> hist = collect(np.random.default_rng(0).laplace(size=100_000))
    >>> found = kl_calibrate(hist)
    >>> 0 <= found.objective.min() and found.threshold < max_calibrate(hist).threshold
    True
    """
    L = checks.integer(levels, "levels", low=2)
    h = _treated(checks.instance(hist, "hist", Histogram).counts, checks.choice(zero_bin, "zero_bin", ZERO_BINS))
    if len(h) <= L:
        raise ValueError(f"hist must have more than levels={L} bins, got {len(h)}")
    first = checks.integer(L if start is None else start, "start", low=L, high=len(h))
    n = np.arange(first, len(h) + 1)
    divergence = kl_curve(h, n, L)
    skipped = int(zero_bin == "drop")
    allowed = _guarded(hist, n + skipped) if checks.flag(guard, "guard") else np.ones(len(n), dtype=bool)
    best = len(n) - 1 - int(np.argmin(np.where(allowed, divergence, np.inf)[::-1]))
    return _chosen("kl", hist, int(n[best]) + skipped, n + skipped, divergence, guarded=not allowed.all())


def kl_curve(h: np.ndarray, n: np.ndarray, levels: int) -> np.ndarray:
    """Return KL(P, Q) in nats for the counts h (integers) and candidates of n bins; the formula is in `kl_calibrate`.

    Raises TypeError or ValueError for negative counts, or candidates that are no integers from `levels` to len(h).

    >>> kl_curve(np.array([4, 4, 2, 2, 0]), np.array([2, 4, 5]), 2).round(4)
    array([0.0566, 0.    , 0.0364])
    """
    h, n = _counts_and_candidates(h, n, checks.integer(levels, "levels", low=1))
    total, H, occupied, E = h.sum(), _prefix(h), _prefix(h > 0), _prefix(_xlogx(h))
    groups = -(-n[:, None] * np.arange(levels + 1) // levels)  # (candidates, levels + 1): first bin of each group
    c, m = np.diff(H[groups], axis=1), np.diff(occupied[groups], axis=1)
    beyond, logs = total - H[n], np.log(np.maximum(c, 1) / np.maximum(m, 1))  # log c_j / n_j, 0 for an empty group
    cross = np.einsum("ij,ij->i", c, logs) + beyond * logs[:, -1] - total * np.log(np.maximum(H[n], 1))
    entropy = E[n - 1] + _xlogx(h[n - 1] + beyond) - total * np.log(total)
    divergence = np.maximum((entropy - cross) / total, 0)  # rounding may leave -1e-16
    return np.where((h[n - 1] == 0) & (beyond > 0), np.inf, divergence)  # P has mass where Q has none


def spikiness(hist: Histogram, *, window: int = 4) -> float:
    """Return the fraction of non-zero entries that stand above their surroundings in lone bins; 0 for smooth data.

    What a bin holds beyond four times the median of the `window` bins on either side counts; bin 0 does not. A ReLU
    network on images with a constant background repeats a few values exactly: its histogram is a comb, a group of
    bins holds one spike, and merging costs nothing however coarse it is. Raises TypeError or ValueError for a bad
    argument. Chapter 15.

    >>> spikiness(Histogram(np.array([9, 5, 5, 5, 300, 5, 5, 5, 5]), 1.0)) > 0.7
    True
    """
    h = checks.instance(hist, "hist", Histogram).counts[1:].astype(float)
    side = checks.integer(window, "window", low=1, high=1000)
    if h.sum() == 0:
        return 0.0
    around = np.lib.stride_tricks.sliding_window_view(np.pad(h, side, mode="reflect"), 2 * side + 1)
    usual = np.median(around, axis=1)
    return float(np.maximum(h - 4 * usual - 4 * np.sqrt(usual) - 4, 0).sum() / h.sum())


RULES: dict[str, Callable[..., Calibration]] = {
    "max": lambda hist, levels, **options: max_calibrate(hist, **options),
    "percentile": lambda hist, levels, **options: percentile_calibrate(hist, **options),
    "mse": lambda hist, levels, **options: mse_calibrate(hist, levels=levels, **options),
    "kl": lambda hist, levels, **options: kl_calibrate(hist, levels=levels, **options),
}


def calibrate(hist: Histogram, *, rule: str = "kl", bits: int = 8, signed: bool | None = None, **options: Any) -> Any:
    """Return the threshold for `bits` bits by a rule: "max", "percentile", "mse" or "kl".

    `signed` (default: whether a negative entry was seen) says whether one bit goes to the sign; `options` go to the
    rule's function. Raises TypeError or ValueError for a bad argument. Returns a Calibration. Chapter 15.

    >>> from labkit.quantization import collect
    >>> calibrate(collect(np.linspace(0, 1, 10_000)), rule="max").threshold
    1.0
    """
    chosen = RULES[checks.choice(rule, "rule", RULES)]
    return chosen(hist, positive_levels(bits, signed=_is_signed(hist, signed)), **options)


def positive_levels(bits: int, *, signed: bool) -> int:
    """Return how many integers |x| may take, 0 included: 2^(bits-1) signed, 2^bits unsigned.

    >>> positive_levels(8, signed=True)
    128
    """
    sign = int(checks.flag(signed, "signed"))
    return 2 ** (checks.integer(bits, "bits", low=1 + sign, high=16) - sign)


def _is_signed(hist: Histogram, signed: bool | None) -> bool:
    low = checks.instance(hist, "hist", Histogram).low
    return low < 0 if signed is None else checks.flag(signed, "signed")


def _counts_and_candidates(h: Any, n: Any, levels: int) -> tuple[np.ndarray, np.ndarray]:
    h, n = checks.array(h, "h", ndim=1).astype(float), checks.plain(n, "n")
    if h.min() < 0 or not h.any():
        raise ValueError(f"h must hold counts, none negative and not all 0, got the least {h.min():g}")
    if n.dtype.kind not in "iu" or n.ndim != 1 or not n.size or n.min() < levels or n.max() > len(h):
        raise ValueError(f"n must be integers from levels={levels} to the {len(h)} bins of h, got {n.dtype} {n.shape}")
    return h, n


def _treated(counts: np.ndarray, zero_bin: str) -> np.ndarray:
    if zero_bin == "drop":
        return counts[1:]
    h = counts.copy()
    if zero_bin == "copy" and len(h) > 1:
        h[0] = h[1]
    return h


def _guarded(hist: Histogram, n: np.ndarray) -> np.ndarray:
    """Say which candidates a spiky histogram allows, with a warning; a smooth one allows all."""
    spikes = spikiness(hist)
    if spikes <= SPIKY:
        return np.ones(len(n), dtype=bool)
    warnings.warn(
        f"{100 * spikes:.0f} % of the non-zero entries sit in lone bins: the KL divergence cannot see what saturation "
        f"costs, so at most {100 * MAX_CLIPPED:g} % of them may saturate",
        CalibrationWarning,
        stacklevel=3,
    )
    nonzero = hist.total - hist.zeros
    beyond = hist.total - _prefix(hist.counts)[n]
    return beyond <= MAX_CLIPPED * nonzero


def _chosen(rule: str, hist: Histogram, k: int, n: np.ndarray, objective: np.ndarray, **flags: Any) -> Calibration:
    clipped = float(hist.counts[k:].sum() / hist.total)
    return Calibration(rule, float(k * hist.width), n * hist.width, objective, clipped, **flags)


def _prefix(x: np.ndarray) -> np.ndarray:
    """Return 0, x_0, x_0 + x_1, ..."""
    return np.concatenate([[0], np.cumsum(x)])


def _xlogx(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.maximum(x, 1))

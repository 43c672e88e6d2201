"""A histogram of magnitudes that is collected batch by batch and does not depend on how the data were split.

Chapter 15; lecture 003:1007-1017.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labkit import checks


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often |x| falls into the bins [k width, (k + 1) width), k = 0, 1, ...

    `counts` (n,) holds integers; `zeros` is how many entries were exactly 0 (they are in bin 0 too); `low` and
    `high` are the extremes of x. Raises TypeError or ValueError for negative or no counts. Chapter 15.

    >>> Histogram(np.array([4, 2, 1]), 0.5).total
    7
    """

    counts: np.ndarray = field(repr=False)
    width: float
    zeros: int = 0
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        counts = checks.plain(self.counts, "counts")
        if counts.ndim != 1 or counts.size == 0 or counts.dtype.kind not in "iu":
            raise TypeError(f"counts must be a non-empty vector of integers, got {counts.dtype} {counts.shape}")
        if counts.min() < 0 or counts.sum() == 0:
            raise ValueError("counts must not be negative and not all zero")
        checks.positive(self.width, "width")
        checks.integer(self.zeros, "zeros", low=0, high=int(counts[0]))
        checks.number(self.high, "high", low=checks.number(self.low, "low", low=-math.inf))
        object.__setattr__(self, "counts", counts.astype(np.int64))

    @property
    def total(self) -> int:
        """How many entries were counted."""
        return int(self.counts.sum())

    @property
    def edges(self) -> np.ndarray:
        """The n + 1 edges of the bins."""
        return self.width * np.arange(len(self.counts) + 1)

    @property
    def centres(self) -> np.ndarray:
        """The n middles of the bins; bin 0 stands for 0 itself where most of what it counts is exactly 0."""
        middle = self.width * (np.arange(len(self.counts)) + 0.5)
        middle[0] *= 2 * self.zeros < self.counts[0]
        return middle

    def tail(self, threshold: float) -> float:
        """Return the fraction of entries in bins at or above a threshold, rounded up to the next edge."""
        k = math.ceil(checks.number(threshold, "threshold", low=0) / self.width - 1e-9)
        return float(self.counts[k:].sum() / self.total)


class HistogramCollector:
    """Counts |x| in `n_bins` bins (a power of two), over any number of batches.

    The bins start at 0 and their width is a power of two, the smallest for which all entries fit. When a larger entry
    comes, the width doubles and neighbours merge, two by two: since floor(x / 2w) = floor(floor(x / w) / 2), no count
    is lost or misplaced, and the result is the same for every split and order of the data. Chapter 15.

    >>> parts = HistogramCollector(n_bins=4)
    >>> parts.add([0.1, 0.2, 0.9]).add([-5.0]).histogram()
    Histogram(width=2.0, zeros=0, low=-5.0, high=0.9)
    >>> parts.histogram().counts
    array([3, 0, 1])
    """

    def __init__(self, *, n_bins: int = 2048) -> None:
        self.n_bins = checks.integer(n_bins, "n_bins", low=2, high=2**20)
        if self.n_bins & (self.n_bins - 1):
            raise ValueError(f"n_bins must be a power of two, got {n_bins}")
        self.counts = np.zeros(self.n_bins, dtype=np.int64)
        self.exponent: int | None = None  # the bins are 2^exponent wide; None as long as only zeros have come
        self.zeros, self.low, self.high = 0, math.inf, -math.inf

    def add(self, x: Any) -> "HistogramCollector":
        """Count the entries of an array of any shape; raises TypeError or ValueError if it is empty or not finite."""
        values = checks.array(x, "x").ravel()
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self._widen(max(-self.low, self.high))
        self.zeros += int(np.count_nonzero(values == 0))
        if self.exponent is None:
            self.counts[0] += values.size
        else:
            places = np.floor(np.ldexp(np.abs(values), -self.exponent)).astype(np.int64)  # exact: a shift
            self.counts += np.bincount(places, minlength=self.n_bins)
        return self

    def histogram(self) -> Histogram:
        """Return what was counted, up to the last bin that is not empty; raises ValueError if nothing was added."""
        if self.low > self.high:
            raise ValueError("the collector must have seen data, got none")
        width = 1.0 if self.exponent is None else math.ldexp(1.0, self.exponent)
        return Histogram(np.trim_zeros(self.counts, "b"), width, self.zeros, self.low, self.high)

    def _widen(self, top: float) -> None:
        """Double the width until `top` is below the last edge."""
        if top == 0:
            return
        needed = math.frexp(top)[1] - (self.n_bins.bit_length() - 1)  # top < 2^e = n_bins 2^needed
        if self.exponent is None:
            self.exponent = needed
        doublings = min(needed - self.exponent, self.n_bins.bit_length() - 1)
        if doublings > 0:
            merged = self.counts.reshape(-1, 2**doublings).sum(axis=1)
            self.counts = np.pad(merged, (0, self.n_bins - len(merged)))
        self.exponent = max(self.exponent, needed)


def collect(*batches: Any, n_bins: int = 2048) -> Histogram:
    """Return the histogram of |x| over one or several arrays; arguments and errors as in `HistogramCollector`.

    >>> collect([0.0, 0.0, 1.5], n_bins=2).zeros
    2
    """
    collector = HistogramCollector(n_bins=n_bins)
    for batch in batches:
        collector.add(batch)
    return collector.histogram()

"""Uniform quantization: integers, a scale and a zero point stand for real numbers, x ~ scale (q - zero point).

Chapter 15; lecture 002:313-321, 000:1003-1023.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit import checks

ROUNDINGS = ("nearest", "stochastic")
MAX_BITS = 16


@dataclass(frozen=True, repr=False, eq=False)
class Quantized:
    """Real numbers kept as integers of `bits` bits: x ~ scale (q - zero_point).

    `integers` (any shape) is the smallest integer type that holds `bits` bits. `scale` and `zero_point` are float64
    arrays that broadcast against it, with one entry for the whole tensor or one for each channel. Chapter 15.

    >>> Quantized(np.int8([[-3, 3]]), np.array(0.5), np.array(0.0), bits=3)
    Quantized(shape=(1, 2), bits=3, signed=True, channels=1)
    """

    integers: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "integers", checks.plain(self.integers, "integers"))
        for name in ("scale", "zero_point"):
            object.__setattr__(self, name, checks.array(getattr(self, name), name))
        if self.integers.dtype.kind not in "iu":
            raise TypeError(f"integers must have an integer type, got dtype {self.integers.dtype}")
        integer_range(self.bits, signed=self.signed)
        if (self.scale <= 0).any():
            raise ValueError(f"scale must be above 0, got {self.scale.min()}")
        if self.scale.shape != self.zero_point.shape or np.broadcast(self.integers, self.scale).shape != self.shape:
            raise ValueError(f"scale and zero_point must broadcast to shape {self.shape}, got {self.scale.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.integers.shape

    @property
    def n_params(self) -> int:
        """Integers stored, scales and zero points not counted."""
        return self.integers.size

    @property
    def n_bytes(self) -> int:
        """Bytes of the integers, packed to `bits` bits each, and of a float32 scale and zero point per channel."""
        return -(-self.n_params * self.bits // 8) + 8 * self.scale.size

    @property
    def error_bound(self) -> float:
        """The largest error of an entry that did not saturate: half a step."""
        return float(self.scale.max()) / 2

    def to_tensor(self) -> np.ndarray:
        """Return the real numbers that the integers stand for, float64."""
        return self.scale * (self.integers - self.zero_point)

    def __repr__(self) -> str:
        return f"Quantized(shape={self.shape}, bits={self.bits}, signed={self.signed}, channels={self.scale.size})"


def integer_range(bits: int, *, signed: bool, narrow: bool = True) -> tuple[int, int]:
    """Return the smallest and the largest integer of `bits` bits (int, 1 to 16, signed from 2 on).

    A signed range is symmetric, -127 to 127 for 8 bits, unless `narrow` is False. Raises TypeError or ValueError for
    other numbers of bits. Chapter 15.

    >>> integer_range(8, signed=True), integer_range(8, signed=False), integer_range(8, signed=True, narrow=False)
    ((-127, 127), (0, 255), (-128, 127))
    """
    b = checks.integer(bits, "bits", low=2 if checks.flag(signed, "signed") else 1, high=MAX_BITS)
    if not signed:
        return 0, 2**b - 1
    high = 2 ** (b - 1) - 1
    return (-high if checks.flag(narrow, "narrow") else -high - 1), high


def uniform(
    x: Any, *, bits: int = 8, axis: int | None = None, rounding: str = "nearest", random_state: Any = None
) -> Quantized:
    """Return x on 2^bits levels at equal distances, the first at the smallest and the last at the largest entry.

    Parameters
    ----------
    x : real array of any shape
    bits : int, 1 to 16; 8 bits give 256 levels and 255 steps
    axis : None for one range, or the axis whose every index gets a range of its own (0 for the outputs of a weight)
    rounding : "nearest" (a tie goes to the even level) or "stochastic" (see `stochastic`)
    random_state : an int, a NumPy Generator or None, for stochastic rounding

    Raises
    ------
    TypeError, ValueError : a bad argument, NaN or infinity, an empty array.

    alpha = max - min, beta = min, Q_k(t) = round((2^k - 1) t) / (2^k - 1), x ~ alpha Q_k((x - beta) / alpha) + beta.
    The zero point is not an integer here, so 0 is in general no level; `affine` moves the levels until it is.
    Chapter 15; lecture 002:313-321, 000:1005-1023.

    >>> uniform([0.0, 0.4, 1.0], bits=2).to_tensor().round(4)
    array([0.    , 0.3333, 1.    ])
    """
    values = checks.array(x, "x").astype(float)
    low, high = _extremes(values, axis)
    steps = integer_range(bits, signed=False)[1]
    scale = _scale(high - low, steps)
    return _on_grid(values, scale, -low / scale, bits, False, rounding, random_state)


def stochastic(x: Any, *, bits: int = 8, axis: int | None = None, random_state: Any = None) -> Quantized:
    """Return x on the levels of `uniform`, each entry rounded up or down at random so that its mean is x.

    alpha Q_k(t + xi / (2^k - 1)) + beta with xi ~ U(-1/2, 1/2). Arguments and errors as in `uniform`.
    Chapter 15; lecture 000:1011-1017.

    >>> float(stochastic(np.linspace(0, 1, 100_001), bits=1, random_state=0).to_tensor().mean().round(2))
    0.5
    """
    return uniform(x, bits=bits, axis=axis, rounding="stochastic", random_state=random_state)


def affine(
    x: Any,
    *,
    bits: int = 8,
    low: float | None = None,
    high: float | None = None,
    axis: int | None = None,
    signed: bool = False,
    rounding: str = "nearest",
    random_state: Any = None,
) -> Quantized:
    """Return x as integers with an integer zero point, so that 0 is stored without error.

    `low` and `high` bound the range; what lies outside saturates. By default they are the extremes of x, of each
    channel if `axis` is given. The range is widened until it holds 0. Other arguments and errors as in `uniform`;
    `signed` moves the integers from 0 ... 2^bits - 1 to -2^(bits-1) ... 2^(bits-1) - 1.

    scale = (high - low) / (2^bits - 1), zero point = round(-low / scale), q = round(x / scale) + zero point.
    Jacob et al. (2018), arXiv:1712.05877. Chapter 15; lecture 003:984-993.

    >>> affine([-0.5, 0.0, 1.0], bits=8).integers
    array([  0,  85, 255], dtype=uint8)
    """
    values = checks.array(x, "x").astype(float)
    first, last = _extremes(values, axis)
    first = first if low is None else np.full_like(first, checks.number(low, "low", low=-np.inf))
    last = last if high is None else np.full_like(last, checks.number(high, "high", low=-np.inf))
    if (first > last).any():
        raise ValueError(f"low must be at most high, got the range from {first.max():g} to {last.min():g}")
    first, last = np.minimum(first, 0), np.maximum(last, 0)
    q_low, q_high = integer_range(bits, signed=signed, narrow=False)
    scale = _scale(last - first, q_high - q_low)
    zero_point = np.rint(-first / scale) + q_low
    return _on_grid(values, scale, zero_point, bits, signed, rounding, random_state, narrow=False)


def symmetric(
    x: Any,
    *,
    bits: int = 8,
    threshold: float | None = None,
    axis: int | None = None,
    signed: bool = True,
    rounding: str = "nearest",
    random_state: Any = None,
) -> Quantized:
    """Return x as integers with zero point 0: |x| = threshold becomes the largest one, what is beyond saturates.

    `threshold` is by default the largest |x|, of each channel if `axis` is given. `signed=False` is for x without
    negative entries and spends the sign's bit on twice as many levels. Other arguments and errors as in `uniform`.

    scale = threshold / (2^(bits-1) - 1), or threshold / (2^bits - 1) unsigned; q = round(x / scale).
    Chapter 15; lecture 003:1007-1026.

    >>> symmetric([-2.0, 0.1, 1.0], bits=8, threshold=1.0).integers
    array([-127,   13,  127], dtype=int8)
    """
    values = checks.array(x, "x").astype(float)
    if not checks.flag(signed, "signed") and values.min() < 0:
        raise ValueError(f"x must not be negative for signed=False, got {values.min()}")
    low, high = _extremes(values, axis)
    top = np.maximum(-low, high) if threshold is None else np.full_like(high, checks.positive(threshold, "threshold"))
    scale = _scale(top, integer_range(bits, signed=signed)[1])
    return _on_grid(values, scale, np.zeros_like(scale), bits, signed, rounding, random_state)


def saturate(x: Any, *, threshold: float) -> tuple[np.ndarray, float]:
    """Return x clipped to [-threshold, threshold], and the fraction of its entries that were beyond.

    Raises TypeError or ValueError unless x is finite and the threshold above 0. Chapter 15; lecture 003:1019-1026.

    >>> saturate([-3.0, 0.5, 1.0, 2.0], threshold=1.0)
    (array([-1. ,  0.5,  1. ,  1. ]), 0.5)
    """
    values, top = checks.array(x, "x"), checks.positive(threshold, "threshold")
    return np.clip(values, -top, top), float(np.mean(np.abs(values) > top))


def _on_grid(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    bits: int,
    signed: bool,
    rounding: str,
    random_state: Any,
    narrow: bool = True,
) -> Quantized:
    """Round x / scale + zero_point to integers and saturate."""
    low, high = integer_range(bits, signed=signed, narrow=narrow)
    places, generator = x / scale + zero_point, checks.generator(random_state)
    if checks.choice(rounding, "rounding", ROUNDINGS) == "stochastic":
        places = np.floor(places + generator.random(x.shape))
    q = np.clip(np.rint(places), low, high).astype(smallest_type(bits, signed=signed))
    return Quantized(q, scale, zero_point, bits, signed)


def smallest_type(bits: int, *, signed: bool) -> type:
    """Return the smallest NumPy integer type that holds `bits` bits.

    >>> smallest_type(4, signed=True)
    <class 'numpy.int8'>
    """
    if signed:
        return np.int8 if bits <= 8 else np.int16
    return np.uint8 if bits <= 8 else np.uint16


def _extremes(x: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest entry, of the whole array or of each index of `axis` (kept as a side)."""
    if axis is None:
        return np.asarray(x.min()), np.asarray(x.max())
    kept = checks.integer(axis, "axis", low=-x.ndim, high=x.ndim - 1) % x.ndim
    others = tuple(k for k in range(x.ndim) if k != kept)
    return x.min(axis=others, keepdims=True), x.max(axis=others, keepdims=True)


def _scale(width: Any, steps: int) -> np.ndarray:
    """Return width / steps, and 1 where that is 0 (a channel that is constant, or only zeros)."""
    scale = np.asarray(width, dtype=float) / steps
    if not np.isfinite(scale).all():
        raise ValueError(f"x must span less than {np.finfo(float).max:.3g}, got a wider range")
    return np.where(scale > 0, scale, 1.0)

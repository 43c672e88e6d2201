"""Dynamic fixed point: every layer has a radix point of its own, chosen from its statistics.

Chapter 15; lecture 003:1135-1165.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.quantization.histogram import Histogram, collect
from labkit.quantization.integer import Levels
from labkit.quantization.ptq import batches_of, collect_inputs, with_levels
from labkit.quantization.uniform import Quantized, integer_range, smallest_type

FRACTIONS = tuple(range(-16, 33))


@dataclass(frozen=True)
class RadixPoint:
    """The number of fraction bits that a search chose, and the SQNR in dB of all that it tried."""

    fraction: int
    fractions: tuple[int, ...] = field(repr=False)
    sqnr: tuple[float, ...] = field(repr=False)

    @property
    def best(self) -> float:
        """The SQNR in dB of the chosen fraction."""
        return self.sqnr[self.fractions.index(self.fraction)]


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A network in fixed point, and the fraction bits of the inputs and of the weight of every layer."""

    model: nn.Module = field(repr=False)
    data: dict[str, int]
    weights: dict[str, int]


def fixed_point(x: Any, *, bits: int, fraction: int, signed: bool = True) -> Quantized:
    """Return x as integers times 2^-fraction: x ~ round(x 2^f) 2^-f, saturated.

    `bits` counts the sign; `fraction` (int) is how many of them lie behind the radix point, and may be negative or
    above `bits`. Raises TypeError or ValueError for a bad argument. Chapter 15; lecture 003:1135-1149.

    >>> fixed_point([0.3, -5.0], bits=4, fraction=2).to_tensor()
    array([ 0.25, -1.75])
    """
    values, f = checks.array(x, "x").astype(float), checks.integer(fraction, "fraction", low=-64, high=64)
    low, high = integer_range(bits, signed=signed)
    q: np.ndarray = np.asarray(
        np.clip(np.floor(np.ldexp(values, f) + 0.5), low, high), smallest_type(bits, signed=signed)
    )
    return Quantized(q, np.asarray(math.ldexp(1.0, -f)), np.zeros(()), bits, signed)


def sqnr(x: Any, approximation: Any) -> float:
    """Return the signal-to-quantization-noise ratio 10 log10(sum x^2 / sum (x - y)^2) in dB; infinite if y = x.

    Raises TypeError or ValueError unless both are finite arrays of one shape. Chapter 15; lecture 003:1135-1149.

    >>> sqnr([3.0, 4.0], [3.0, 3.5])
    20.0
    """
    a, b = checks.array(x, "x").astype(float), checks.array(approximation, "approximation").astype(float)
    if a.shape != b.shape:
        raise ValueError(f"approximation must have the shape of x, {a.shape}, got {b.shape}")
    return _decibels(float(np.sum(a**2)), float(np.sum((a - b) ** 2)))


def radix_point(x: Any, *, bits: int, signed: bool | None = None) -> RadixPoint:
    """Return the radix point at which x keeps the highest SQNR with `bits` bits; of equal ones the largest fraction.

    `x` is an array, or a Histogram, whose entries count as the middle of their bin; `signed` is by default whether a
    negative entry occurs. Raises TypeError or ValueError for a bad argument. Gysel et al. (2016), arXiv:1604.03168.
    Chapter 15; lecture 003:1135-1149.

    >>> radix_point(np.linspace(-1, 1, 999), bits=8).fraction
    7
    """
    hist = x if isinstance(x, Histogram) else collect(x, n_bins=4096)
    is_signed = hist.low < 0 if signed is None else checks.flag(signed, "signed")
    curve = tuple(radix_sqnr(hist, bits=bits, fraction=f, signed=is_signed) for f in FRACTIONS)
    best = len(curve) - 1 - int(np.argmax(curve[::-1]))
    return RadixPoint(FRACTIONS[best], FRACTIONS, curve)


def radix_sqnr(hist: Histogram, *, bits: int, fraction: int, signed: bool) -> float:
    """Return the SQNR in dB of the entries of a histogram in fixed point; arguments and errors as in `fixed_point`.

    >>> round(radix_sqnr(collect(np.linspace(-1, 1, 999)), bits=8, fraction=7, signed=True), 1)
    48.0
    """
    h, c = checks.instance(hist, "hist", Histogram).counts, hist.centres
    y = fixed_point(c, bits=bits, fraction=fraction, signed=signed).to_tensor()
    step = math.ldexp(1.0, -fraction)
    error = (c - y) ** 2
    inside = np.abs(c) <= step * (integer_range(bits, signed=signed)[1] + 0.5)
    fine = np.where(inside, step**2 / 12, error)  # several steps in a bin: the error of rounding, not of the middle
    coarse = error + hist.width**2 / 12  # the spread of the entries around the middle
    error = fine if step <= hist.width else coarse
    error[0] *= c[0] > 0  # zeros are exact
    return _decibels(float(h @ c**2), float(h @ error))


def dynamic_fixed_point(
    model: nn.Module,
    data: torch.Tensor | Iterable[torch.Tensor],
    *,
    bits: int = 8,
    weight_bits: int | None = None,
    static: bool = False,
) -> FixedPoint:
    """Return a trained network in fixed point, with a radix point for the inputs and the weight of every layer.

    Parameters
    ----------
    model : the network; it stays as it is
    data : inputs to gather statistics from, a batch or an iterable of batches
    bits, weight_bits : bits of the inputs and of the weights of a layer, 2 to 8; weights by default as inputs
    static : one radix point for all inputs and one for all weights: those with the highest mean SQNR over the layers

    Raises
    ------
    TypeError, ValueError : a bad argument.

    Sums are int32, and what lies between two layers is a shift, since all scales are powers of two. Qiu et al. (2016),
    doi:10.1145/2847263.2847265. Chapter 15; lecture 003:1135-1165.

    >>> made = dynamic_fixed_point(nn.Sequential(nn.Linear(6, 4)), torch.eye(6), bits=8)
    >>> made.data
    {'0': 7}
    """
    b = checks.integer(bits, "bits", low=2, high=8)
    w = b if weight_bits is None else checks.integer(weight_bits, "weight_bits", low=2, high=8)
    inputs = collect_inputs(model, batches_of(data, "data"))
    weights = {name: collect(model.get_submodule(name).weight) for name in inputs}
    found = {name: radix_point(hist, bits=b) for name, hist in inputs.items()}
    found_w = {name: radix_point(hist, bits=w, signed=True) for name, hist in weights.items()}
    f, g = ((_common if checks.flag(static, "static") else _own)(points) for points in (found, found_w))
    levels = {name: Levels(math.ldexp(1.0, -f[name]), 0, b, hist.low < 0) for name, hist in inputs.items()}
    scales = {name: math.ldexp(1.0, -g[name]) for name in g}
    return FixedPoint(with_levels(model, levels, weight_bits=w, weight_scales=scales), f, g)


def _own(points: Mapping[str, RadixPoint]) -> dict[str, int]:
    return {name: point.fraction for name, point in points.items()}


def _common(points: Mapping[str, RadixPoint]) -> dict[str, int]:
    """Give every layer the fraction with the highest mean SQNR; what is stored exactly counts as 100 dB."""
    mean = np.mean([np.minimum(point.sqnr, 100) for point in points.values()], axis=0)
    return dict.fromkeys(points, FRACTIONS[int(np.argmax(mean))])


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return -math.inf if signal == 0 else 10 * math.log10(signal / noise)

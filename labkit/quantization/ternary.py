r"""Ternary weights: one threshold and one scale (TWN), or two learned scales (TTQ).

A ternary weight is :math:`\alpha t` with t in {-1, 0, 1}. Where t = 0 nothing is multiplied and nothing is added.
Chapter 19, lecture 003:1228-1239, 1346-1364.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.quantization.estimators import straight_through
from labkit.quantization.parametrized import checked_weight

FACTOR = 0.7  # delta = 0.7 mean|w|: between 2/3, exact for uniform weights, and 0.77, exact for Gaussian ones


@dataclass(frozen=True, eq=False, repr=False)
class Ternary:
    """Weights as `scale` times codes in {-1, 0, 1}; `codes` is int8 of the weights' shape.

    `error` is the Frobenius norm of the difference to the weights that were approximated.
    """

    codes: np.ndarray
    scale: float
    threshold: float
    error: float

    def __repr__(self) -> str:
        return f"Ternary(shape={self.codes.shape}, scale={self.scale:.4g}, sparsity={self.sparsity:.3f})"

    @property
    def factors(self) -> tuple[float, np.ndarray]:
        """The scale and the codes."""
        return self.scale, self.codes

    @property
    def n_bits(self) -> int:
        """Bits to store it: 32 for the scale and 2 for each code."""
        return 32 + 2 * self.codes.size

    @property
    def sparsity(self) -> float:
        """The fraction of zeros."""
        return float(np.mean(self.codes == 0))

    def to_tensor(self) -> np.ndarray:
        """Return scale times codes."""
        return self.scale * self.codes

    def matmul(self, x: Any) -> np.ndarray:
        """Return the approximation of W (m, n) times x (n, ...): sums and differences of entries of x, then one scale.

        Raises TypeError or ValueError if x does not fit.
        """
        x = checks.array(x, "x")
        if self.codes.ndim != 2 or len(x) != self.codes.shape[1]:
            raise ValueError(f"x must have {self.codes.shape[-1]} rows for codes {self.codes.shape}, got {x.shape}")
        return self.scale * (self.codes @ x)


def twn_threshold(W: Any) -> float:
    """Return the threshold of ternary weight networks, 0.7 times the mean of abs(W).

    Raises TypeError or ValueError unless W is a finite real array. Li, Zhang, Liu (2016), arXiv:1605.04711; lecture
    003:1230. Chapter 19.

    >>> round(twn_threshold([1.0, -1.0, 0.1]), 4)
    0.49
    """
    return FACTOR * float(np.abs(checks.array(W, "W")).mean())


def optimal_threshold(W: Any) -> float:
    r"""Return the threshold with the least error, found exactly by one sort.

    With the k largest absolute values as support the best scale is their mean, and the squared error is
    :math:`\|W\|^2 - S_k^2 / k` with :math:`S_k` their sum: the k that maximises :math:`S_k^2 / k` wins. A support
    that splits equal values is never better than both that do not, since :math:`(S + ju)^2 / (k + j)` is convex in j.

    Parameters
    ----------
    W : weights of any shape

    Raises TypeError or ValueError unless W is a finite real array. Li, Zhang, Liu (2016), arXiv:1605.04711, state
    the problem and approximate its solution by 0.7 mean abs(W). Chapter 19.

    >>> optimal_threshold([3.0, -1.0, 2.9, 0.2])
    1.0
    """
    sizes = np.sort(np.abs(checks.array(W, "W")).ravel().astype(float))[::-1]  # largest first
    gains = np.cumsum(sizes / (sizes[0] or 1.0)) ** 2 / np.arange(1, len(sizes) + 1)  # scaled: no square underflows
    best = int(gains.argmax())
    return float(sizes[best + 1]) if best + 1 < len(sizes) else 0.0


def twn(W: Any, *, threshold: float | None = None) -> Ternary:
    r"""Return the best ternary form of W for one threshold.

    t = sign(W) where abs(W) > threshold and 0 elsewhere; the scale, the mean of abs(W) over that support, minimises
    :math:`\|W - \alpha t\|_F`.

    Parameters
    ----------
    W : weights of any shape
    threshold : at least 0, in the units of W; by default 0.7 mean abs(W), see also `optimal_threshold`

    Raises
    ------
    TypeError, ValueError : W is not a finite real array, or the threshold is below 0.

    The rule of thumb is no theorem: it can drop weights that a sign would fit better. Li, Zhang, Liu (2016),
    arXiv:1605.04711; lecture 003:1230, 1355. Chapter 19.

    >>> twn([[0.9, -1.1], [0.1, 0.0]]).to_tensor()
    array([[ 1., -1.],
           [ 0.,  0.]])
    """
    W = checks.array(W, "W")
    delta = twn_threshold(W) if threshold is None else checks.number(threshold, "threshold", low=0)
    codes = (np.sign(W) * (np.abs(W) > delta)).astype(np.int8)
    kept = np.abs(W[codes != 0]).astype(float)
    scale = float(kept.mean()) if kept.size else 0.0
    return Ternary(codes, scale, delta, float(np.linalg.norm(W - scale * codes)))


def ternary_errors(W: Any, thresholds: Any) -> np.ndarray:
    """Return the relative error norm(W - alpha t) / norm(W) at each threshold (n,), with the best alpha for each.

    One sort serves all thresholds. Raises TypeError or ValueError unless W is a finite array other than 0 and the
    thresholds are at least 0. Chapter 19.

    >>> ternary_errors([1.0, -1.0, 0.0], [0.5, 2.0]).tolist()
    [0.0, 1.0]
    """
    sizes = np.sort(np.abs(checks.array(W, "W")).ravel().astype(float))  # smallest first
    thresholds = checks.array(thresholds, "thresholds", ndim=1)
    if (thresholds < 0).any() or not sizes[-1]:
        raise ValueError(f"thresholds must be at least 0 and W not 0, got the least threshold {thresholds.min()}")
    first = np.searchsorted(sizes, thresholds, side="right")  # sizes[first:] lie above the threshold
    sizes = sizes / sizes[-1]  # so that no square underflows
    total, count = np.append(np.cumsum(sizes[::-1])[::-1], 0.0)[first], len(sizes) - first
    gain = np.divide(total**2, count, out=np.zeros(len(count)), where=count > 0)
    return np.sqrt(np.maximum(0.0, 1 - gain / np.sum(sizes**2)))


def pack_codes(codes: Any) -> np.ndarray:
    """Return codes in {-1, 0, 1} of any shape as bytes with four codes each, two bits a code, the last byte filled up.

    Raises TypeError or ValueError if there is another value. Chapter 19.

    >>> pack_codes([1, 0, -1, 0, 1]).tolist()
    [70, 2]
    """
    flat = checks.array(codes, "codes").ravel()
    if not np.isin(flat, (-1, 0, 1)).all():
        raise ValueError(f"codes must be -1, 0 or 1, got {float(flat[~np.isin(flat, (-1, 0, 1))][0])}")
    quarters = np.pad(flat + 1, (0, -len(flat) % 4)).astype(np.uint8).reshape(-1, 4)
    return np.bitwise_or.reduce(quarters << np.array([0, 2, 4, 6], np.uint8), axis=1)


def unpack_codes(packed: Any, *, shape: tuple[int, ...]) -> np.ndarray:
    """Return the int8 codes of a shape that `pack_codes` packed.

    Raises TypeError or ValueError if the bytes are too few or too many, or hold what is no code. Chapter 19.

    >>> unpack_codes(np.array([70, 2], np.uint8), shape=(5,)).tolist()
    [1, 0, -1, 0, 1]
    """
    packed, size = checks.plain(packed, "packed"), math.prod(checks.shape(shape))
    if packed.dtype != np.uint8 or packed.shape != (-(-size // 4),):
        raise ValueError(f"packed must be {-(-size // 4)} bytes for shape {shape}, got {packed.dtype} {packed.shape}")
    codes = ((packed[:, None] >> np.array([0, 2, 4, 6], np.uint8)) & 3).astype(np.int8).ravel()[:size] - 1
    if (codes > 1).any():
        raise ValueError("packed must hold only the codes -1, 0 and 1, got a fourth")
    return codes.reshape(shape).astype(np.int8)


class TernaryWeight(nn.Module):
    """The quantizer of ternary weight networks for `quantize_weights`: alpha t forward, the identity backward.

    Threshold and scale are computed anew from the float weights at every step, as in `twn`. Li, Zhang, Liu (2016),
    arXiv:1605.04711; lecture 003:1230. Chapter 19.

    >>> TernaryWeight()(torch.tensor([0.9, -1.1, 0.1]))
    tensor([ 1., -1.,  0.])
    """

    def __init__(self, weight: torch.Tensor | None = None) -> None:
        super().__init__()
        if weight is not None:
            checked_weight(weight)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the ternary form of a weight tensor."""
        size = weight.detach().abs()
        support = size > FACTOR * size.mean()
        scale = (size * support).sum() / support.sum().clamp(min=1)
        return straight_through(weight, scale * weight.detach().sign() * support)


class TrainedTernaryWeight(nn.Module):
    r"""The quantizer of trained ternary quantization (TTQ) for `quantize_weights`: two learned scales.

    .. math:: q = W_p 1_{w > \Delta} - W_n 1_{w < -\Delta}, \quad \Delta = t \max |w|.

    The gradients are those of `ttq_gradients`: each scale gets the sum over its support, the float weights get the
    gradient times Wp, 1 or Wn.

    Parameters
    ----------
    weight : the weights to start from; the scales start as the means over their supports
    t : threshold as a fraction of the largest absolute weight, in [0, 1)

    Raises
    ------
    TypeError, ValueError : weight is not a finite floating-point tensor, t outside of its range.

    Zhu, Han, Mao, Dally (2016), arXiv:1612.01064; lecture 003:1231. Chapter 19.

    >>> TrainedTernaryWeight(torch.tensor([0.5, 1.0, -2.0, 0.01]))(torch.tensor([0.5, 1.0, -2.0, 0.01])).tolist()
    [0.75, 0.75, -2.0, 0.0]
    """

    def __init__(self, weight: torch.Tensor, *, t: float = 0.05) -> None:
        super().__init__()
        self.t = _fraction(t)
        above, below = _supports(checked_weight(weight).detach(), self.t)
        self.Wp, self.Wn = nn.Parameter(_mean(weight, above)), nn.Parameter(_mean(-weight, below))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the ternary form of a weight tensor."""
        above, below = _supports(weight.detach(), self.t)
        scales = self.Wp * above - self.Wn * below  # passes the sums over the supports on to Wp and Wn
        slope = (self.Wp * above + self.Wn * below + ~(above | below)).detach()
        return scales + straight_through(slope * weight, torch.zeros_like(weight))  # adds only the float weights' part

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return f"t={self.t}"


def ttq_gradients(gradient: Any, W: Any, *, Wp: float, Wn: float, t: float = 0.05) -> tuple[np.ndarray, float, float]:
    r"""Return the gradients of TTQ for the float weights, Wp and Wn, from that for the ternary weights.

    .. math:: g_{W_p} = \sum_{w > \Delta} g, \quad g_{W_n} = -\sum_{w < -\Delta} g, \quad
       g_w = g \cdot (W_p, 1, W_n) \text{ above, inside and below } \pm\Delta.

    The paper writes the second sum without its minus sign and so means the gradient for -Wn.

    Parameters
    ----------
    gradient : dL/dq, of the shape of W
    W : float weights
    Wp, Wn : the scales
    t : as for `TrainedTernaryWeight`

    Raises TypeError or ValueError for other arguments. Zhu, Han, Mao, Dally (2016), arXiv:1612.01064. Chapter 19.

    >>> ttq_gradients([1.0, 2.0, 3.0], [1.0, -1.0, 0.0], Wp=2.0, Wn=0.5)
    (array([2., 1., 3.]), 1.0, -2.0)
    """
    W, gradient = checks.array(W, "W"), checks.array(gradient, "gradient")
    if W.shape != gradient.shape:
        raise ValueError(f"gradient must have the shape {W.shape} of W, got {gradient.shape}")
    Wp, Wn = (checks.number(value, name, low=-np.inf) for name, value in (("Wp", Wp), ("Wn", Wn)))
    delta = _fraction(t) * np.abs(W).max()
    above, below = delta < W, delta < -W
    slope = np.where(above, Wp, np.where(below, Wn, 1.0))
    return gradient * slope, float(gradient[above].sum()), -float(gradient[below].sum())


def _fraction(t: Any) -> float:
    if checks.number(t, "t", low=0, high=1) == 1:
        raise ValueError("t must be below 1, got 1: no weight would be left")
    return float(t)


def _supports(weight: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    delta = t * weight.abs().max()
    return weight > delta, -weight > delta


def _mean(weight: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
    return weight.detach()[support].mean() if support.any() else weight.detach().abs().mean()

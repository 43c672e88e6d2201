r"""Incremental network quantization (INQ): weights become powers of two, a part at a time.

The weights of a layer are split into those quantized for good and those that are still trained; training makes good
what the first group has lost, and the group grows until all weights are powers of two or 0.
Zhou, Yao, Guo, Xu, Chen (2017), arXiv:1702.03044; lecture 003:1567-1622. Chapter 19.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.quantization.parametrized import checked_weight, float_weight, quantize_weights

PORTIONS = (0.5, 0.75, 0.875, 1.0)  # the paper's choice for most networks
STRATEGIES = ("magnitude", "random")


def power_levels(largest: float, *, bits: int) -> np.ndarray:
    r"""Return the values that a quantized weight may take, in rising order: zero and signed powers of two.

    .. math:: P = \{\pm 2^{n_1}, \dots, \pm 2^{n_2}, 0\}, \quad n_1 = \lfloor \log_2(4s/3) \rfloor, \quad
       n_2 = n_1 + 1 - 2^{b-1}/2.

    One of the b bits says whether a weight is 0, the others hold sign and exponent: 2^(b-1) + 1 values.

    Parameters
    ----------
    largest : s, the largest absolute weight of the layer, above 0
    bits : b, between 2 (ternary) and 8

    Raises TypeError or ValueError for other arguments. Zhou et al. (2017), arXiv:1702.03044;
    lecture 003:1571-1589. Chapter 19.

    >>> power_levels(1.0, bits=3)
    array([-1. , -0.5,  0. ,  0.5,  1. ])
    """
    s, b = checks.positive(largest, "largest"), checks.integer(bits, "bits", low=2, high=8)
    n1 = math.floor(math.log2(4 * s / 3))
    n2 = n1 + 1 - 2 ** (b - 1) // 2
    powers = 2.0 ** np.arange(n2, n1 + 1)
    return np.concatenate([-powers[::-1], [0.0], powers])


def to_powers(W: Any, *, bits: int, largest: float | None = None) -> np.ndarray:
    r"""Return each weight's nearest value among `power_levels`, in its own dtype; halfway counts as the larger one.

    Parameters
    ----------
    W : weights of any shape
    bits : as for `power_levels`
    largest : s; by default the largest absolute weight, which must then be above 0

    Raises
    ------
    TypeError, ValueError : W is not a finite real array, bits or largest outside their ranges.

    The paper's rule, beta for (alpha + beta) / 2 <= abs(w) < 3 beta / 2 with neighbouring levels alpha < beta, is
    rounding to the nearest level, and its n1 is the power of two that is nearest to s. Zhou et al. (2017),
    arXiv:1702.03044, equation 4. Chapter 19.

    >>> to_powers([1.0, 0.8, 0.7, -0.3, 0.2], bits=3)
    array([ 1. ,  1. ,  0.5, -0.5,  0. ])
    """
    W = checks.array(W, "W")
    levels = power_levels(float(np.abs(W).max()) if largest is None else largest, bits=bits)
    positive = levels[levels >= 0]  # 0, 2^n2, ..., 2^n1
    place = np.searchsorted((positive[1:] + positive[:-1]) / 2, np.abs(W), side="right")
    return np.copysign(positive[place], W).astype(W.dtype) + W.dtype.type(0)  # no negative zeros


def power_codes(W: Any, *, bits: int, exponent: int) -> np.ndarray:
    r"""Return the codes of weights that are powers of two or 0, as uint8 below 2^bits.

    The code of 0 is 0. That of :math:`\pm 2^k` has the highest bit set, the next one if the weight is negative, and the
    other bits hold n1 - k: a bit for zero or not, a sign and an exponent, as the paper counts them.

    Parameters
    ----------
    W : weights of any shape
    bits : between 2 and 8
    exponent : n1, that of the largest power of two

    Raises
    ------
    TypeError, ValueError : W holds another value than those of `power_levels`, or bits lie outside their range.

    Zhou et al. (2017), arXiv:1702.03044. Chapter 19.

    >>> power_codes([1.0, 0.0, -0.25], bits=4, exponent=0).tolist()
    [8, 0, 14]
    """
    W, b = checks.array(W, "W"), checks.integer(bits, "bits", low=2, high=8)
    fraction, k = np.frexp(np.abs(W))  # a power of two is 0.5 times 2^k
    steps, is_zero = checks.integer(exponent, "exponent", low=-126) - (k - 1), W == 0
    wrong = ~is_zero & ((fraction != 0.5) | (steps < 0) | (steps >= 2 ** (b - 2)))
    if wrong.any():
        raise ValueError(f"W must hold 0 and powers of two with {b} bits, got {float(W[wrong][0]):.6g}")
    return np.where(is_zero, 0, (1 << b - 1) | ((W < 0) << b - 2) | steps).astype(np.uint8)


def power_values(codes: Any, *, bits: int, exponent: int) -> np.ndarray:
    """Return the weights, float32, that `power_codes` coded.

    Raises TypeError or ValueError for codes of 2^bits and more, and for codes that stand for no weight. Chapter 19.

    >>> power_values([8, 0, 14], bits=4, exponent=0).tolist()
    [1.0, 0.0, -0.25]
    """
    given, b = checks.array(codes, "codes"), checks.integer(bits, "bits", low=2, high=8)
    codes = given.astype(np.int64)
    if (wrong := (codes != given) | (codes != 0) & (codes >> b - 1 != 1)).any():
        raise ValueError(f"codes must be 0 or between {2 ** (b - 1)} and {2**b - 1}, got {given[wrong][0]:g}")
    k = checks.integer(exponent, "exponent", low=-126) - (codes & (1 << b - 2) - 1)
    return np.where(codes == 0, 0, np.where(codes >> b - 2 & 1, -1.0, 1.0) * 2.0**k).astype(np.float32)


def inq_partition(
    W: Any, frozen: Any, *, portion: float, strategy: str = "magnitude", random_state: Any = None
) -> np.ndarray:
    """Return the mask of the weights that are quantized once `portion` of all are: those of `frozen` and more.

    Parameters
    ----------
    W : weights
    frozen : boolean mask of the weights that are quantized already; it may be all False
    portion : fraction of all weights in the new mask, between the fraction in `frozen` and 1
    strategy : "magnitude" takes the largest free weights first, "random" any
    random_state : an int, a NumPy Generator or None, for "random"

    Raises
    ------
    TypeError, ValueError : shapes that differ, or an argument outside its range.

    Zhou et al. (2017), arXiv:1702.03044; lecture 003:1589-1597. Chapter 19.

    >>> inq_partition([0.1, -3.0, 2.0, 0.5], [False] * 4, portion=0.5)
    array([False,  True,  True, False])
    """
    W, frozen = checks.array(W, "W"), checks.plain(frozen, "frozen")
    if frozen.dtype != bool or frozen.shape != W.shape:
        raise ValueError(f"frozen must be a boolean mask of shape {W.shape}, got {frozen.dtype} {frozen.shape}")
    n = math.ceil(checks.number(portion, "portion", low=0, high=1) * W.size)
    if n < frozen.sum():
        raise ValueError(f"portion must be at least the {frozen.mean():.4g} frozen already, got {portion}")
    random = checks.choice(strategy, "strategy", STRATEGIES) == "random"
    score = checks.generator(random_state).random(W.shape) if random else np.abs(W)
    order = np.argsort(-np.where(frozen, np.inf, score).ravel(), kind="stable")
    mask = np.zeros(W.size, bool)
    mask[order[:n]] = True
    return mask.reshape(W.shape)


class PowerOfTwoWeight(nn.Module):
    """The quantizer of INQ for `quantize_weights`: frozen weights come from a buffer, the free ones pass as they are.

    Frozen weights take no gradient, whatever the optimizer: they are no part of any parameter any more.

    Parameters
    ----------
    weight : the trained weights to start from; their largest absolute value sets the levels for good
    bits : between 2 and 8

    Raises TypeError or ValueError for other arguments. Zhou et al. (2017), arXiv:1702.03044. Chapter 19.

    >>> quantizer = PowerOfTwoWeight(torch.tensor([0.9, 0.1, -0.4]), bits=5)
    >>> quantizer.freeze(torch.tensor([0.9, 0.1, -0.4]), portion=0.3)
    >>> quantizer(torch.tensor([5.0, 0.1, -0.4]))
    tensor([ 1.0000,  0.1000, -0.4000])
    """

    frozen: torch.Tensor
    values: torch.Tensor
    maximum: torch.Tensor

    def __init__(self, weight: torch.Tensor, *, bits: int = 5) -> None:
        super().__init__()
        self.bits = checks.integer(bits, "bits", low=2, high=8)
        largest = checks.positive(float(checked_weight(weight).detach().abs().max()), "largest weight")
        self.register_buffer("maximum", torch.tensor(largest, dtype=torch.float64))  # in the state: it fixes the levels
        self.register_buffer("frozen", torch.zeros_like(weight, dtype=torch.bool))
        self.register_buffer("values", torch.zeros_like(weight))

    @property
    def largest(self) -> float:
        """The largest absolute weight at the start."""
        return float(self.maximum)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weights, the frozen ones replaced by their powers of two."""
        return torch.where(self.frozen, self.values, weight)

    @torch.no_grad()
    def freeze(
        self, weight: torch.Tensor, *, portion: float, strategy: str = "magnitude", random_state: Any = None
    ) -> None:
        """Quantize more weights, until `portion` of all are frozen; arguments and errors as for `inq_partition`."""
        frozen, values = self.frozen.numpy(), self.values.numpy()
        now = self(weight).numpy()
        mask = inq_partition(now, frozen, portion=portion, strategy=strategy, random_state=random_state)
        new = mask & ~frozen
        values[new] = to_powers(now, bits=self.bits, largest=self.largest)[new]
        frozen[mask] = True

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return f"bits={self.bits}, frozen={float(self.frozen.float().mean()):.3f}"


class INQ:
    """Incremental network quantization of a trained network, in place.

    Train between the steps; after the last one all weights of the layers are powers of two or 0, and only biases and
    other layers are left to train. `finalize(model)` then leaves a plain network.

    Parameters
    ----------
    model : a trained network
    layers : names of linear or convolutional layers
    bits : between 2 and 8
    portions : accumulated fractions of quantized weights, rising, the last one 1
    strategy, random_state : as for `inq_partition`

    Raises
    ------
    TypeError, ValueError : an argument of a wrong type or out of its range.

    Zhou et al. (2017), arXiv:1702.03044, Algorithm 1; lecture 003:1567-1597. Chapter 19.

    >>> model = nn.Sequential(nn.Linear(8, 4))
    >>> inq = INQ(model, ["0"], bits=5)
    >>> for portion in inq.steps():
    ...     pass  # train the network here, with a fresh learning rate
    >>> set(model[0].weight.flatten().tolist()) <= set(inq.levels("0").tolist())
    True
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Iterable[str],
        *,
        bits: int = 5,
        portions: Sequence[float] = PORTIONS,
        strategy: str = "magnitude",
        random_state: Any = None,
    ) -> None:
        self.portions = _portions(portions)
        self.strategy = checks.choice(strategy, "strategy", STRATEGIES)
        self.generator = checks.generator(random_state)
        self.quantizers = quantize_weights(model, layers, lambda weight: PowerOfTwoWeight(weight, bits=bits))
        self.model = model

    def steps(self) -> Iterator[float]:
        """Freeze one portion after the other; yield each, so that the caller can train the rest."""
        for portion in self.portions:
            for name, quantizer in self.quantizers.items():
                weight = float_weight(self.model.get_submodule(name))
                quantizer.freeze(weight.detach(), portion=portion, strategy=self.strategy, random_state=self.generator)
            yield portion

    def levels(self, layer: str) -> np.ndarray:
        """Return the values that the weights of a layer may take; ValueError for a layer without quantizer."""
        quantizer = self.quantizers[checks.choice(layer, "layer", self.quantizers)]
        return power_levels(quantizer.largest, bits=quantizer.bits)


def _portions(portions: Any) -> tuple[float, ...]:
    given = portions if isinstance(portions, Sequence) else [portions]
    made = tuple(checks.number(p, "portions", low=0, high=1) for p in given)
    if not made or made[-1] != 1 or any(a >= b for a, b in pairwise(made)):
        raise ValueError(f"portions must rise and end at 1, got {portions}")
    return made

r"""Quantized neural networks (QNN): one bit for weights, a few bits for activations.

Hubara, Courbariaux, Soudry, El-Yaniv, Bengio (2016), arXiv:1609.07061; lecture 000:839, 003:1234. Chapter 19.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.quantization.estimators import straight_through


def activation_levels(bits: int) -> np.ndarray:
    """Return the 2^bits values, evenly spaced from -1 to 1, that an activation may take.

    `bits` is an int between 1 and 8; TypeError or ValueError otherwise. One bit gives the signs. Chapter 19.

    >>> activation_levels(2).round(4).tolist()
    [-1.0, -0.3333, 0.3333, 1.0]
    """
    return np.linspace(-1, 1, 2 ** checks.integer(bits, "bits", low=1, high=8))


def quantize_activation(x: Any, *, bits: int) -> np.ndarray:
    r"""Return each number's nearest among the 2^bits levels in [-1, 1]; halfway counts as the larger one.

    .. math:: q = \frac{2}{m} \left\lfloor m \frac{\operatorname{clip}(x, -1, 1) + 1}{2} + \frac12 \right\rfloor - 1,
       \quad m = 2^{bits} - 1

    So one bit is the sign, with sign(0) = +1. The paper rounds to multiples of a power of two, which has an odd
    number of levels about 0; here the levels lie symmetrically, and two bits are exactly four values.

    Parameters
    ----------
    x : numbers of any shape
    bits : between 1 and 8

    Raises TypeError or ValueError for other arguments. Hubara et al. (2016), arXiv:1609.07061; lecture 000:839,
    003:1234. Chapter 19.

    >>> quantize_activation([-7.0, -0.1, 0.0, 0.9], bits=2).round(4).tolist()
    [-1.0, -0.3333, 0.3333, 1.0]
    """
    x, m = checks.array(x, "x"), len(activation_levels(bits)) - 1
    return 2 * np.floor(m * (np.clip(x, -1, 1) + 1) / 2 + 0.5) / m - 1


class QuantizedActivation(nn.Module):
    """Activations on 2^bits levels in [-1, 1]; the gradient passes where abs(x) <= 1, as for the sign.

    `bits` is an int between 1 and 8; TypeError or ValueError otherwise. Hubara et al. (2016), arXiv:1609.07061;
    lecture 000:839, 003:1234. Chapter 19.

    >>> QuantizedActivation(bits=2)(torch.tensor([-7.0, 0.0])).tolist()
    [-1.0, 0.3333333730697632]
    """

    def __init__(self, *, bits: int = 2) -> None:
        super().__init__()
        self.bits = checks.integer(bits, "bits", low=1, high=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the quantized activations."""
        m = 2**self.bits - 1
        q = 2 * torch.floor(m * (x.detach().clamp(-1, 1) + 1) / 2 + 0.5) / m - 1
        return straight_through(x, q, low=-1, high=1)

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return f"bits={self.bits}"

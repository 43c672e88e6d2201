r"""Sums of binary tensors: several bits for what one sign cannot say.

Each bit binarises what the bits before have left over: :math:`A \approx \sum_i \alpha_i H_i`, so that a product
with A is a weighted sum of XNOR-popcount products. Tang, Hua, Wang (2017), AAAI; lecture 003:1517-1525. Chapter 19.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.quantization.estimators import sign, straight_through

MOMENTUM = 0.1  # of the running means, as in batch norm


@dataclass(frozen=True, eq=False, repr=False)
class BinarySum:
    """A tensor as sum of `scales[i] * signs[i]`: scales (m,), signs int8 (m, *shape) of -1 and 1.

    `error` is the Frobenius norm of the difference to the tensor that was approximated.
    """

    scales: np.ndarray
    signs: np.ndarray
    error: float

    def __repr__(self) -> str:
        return f"BinarySum(m={len(self.scales)}, shape={self.signs.shape[1:]}, error={self.error:.4g})"

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """The scales and the signs."""
        return self.scales, self.signs

    @property
    def n_bits(self) -> int:
        """Bits to store it: 32 for each scale and 1 for each sign."""
        return 32 * len(self.scales) + self.signs.size

    def to_tensor(self) -> np.ndarray:
        """Return the sum."""
        return np.tensordot(self.scales, self.signs, 1)

    def matmul(self, x: Any) -> np.ndarray:
        """Return the approximation of W (p, n) times x (n, ...): m products with signs, then m scales.

        Raises TypeError or ValueError if x does not fit.
        """
        x = checks.array(x, "x")
        if self.signs.ndim != 3 or len(x) != self.signs.shape[2]:
            raise ValueError(f"x must have {self.signs.shape[-1]} rows for signs {self.signs.shape}, got {x.shape}")
        return np.tensordot(self.scales, self.signs @ x, 1)


def residual_binarize(A: Any, *, bits: int) -> BinarySum:
    r"""Return A as a sum of `bits` scaled sign tensors, each the best for what is left of A.

    .. math:: H_i = \operatorname{sign}(R_i), \quad \alpha_i = \operatorname{mean} |R_i|, \quad
       R_{i+1} = R_i - \alpha_i H_i, \quad R_1 = A.

    Each bit lowers the squared error by :math:`n \alpha_i^2`, so the error never rises.

    Parameters
    ----------
    A : activations (or weights) of any shape
    bits : number of terms, between 1 and 16

    Raises TypeError or ValueError for other arguments. Tang, Hua, Wang (2017), AAAI; lecture 003:1517-1525. Chapter 19.

    >>> residual_binarize([3.0, 1.0, -1.0, -3.0], bits=2).to_tensor().tolist()
    [3.0, 1.0, -1.0, -3.0]
    """
    A = checks.array(A, "A")
    left, scales, signs = A.astype(float), [], []
    for _ in range(checks.integer(bits, "bits", low=1, high=16)):
        signs.append(np.where(left < 0, -1, 1).astype(np.int8))
        scales.append(np.abs(left).mean())
        left = left - scales[-1] * signs[-1]
    return BinarySum(np.array(scales), np.array(signs), float(np.linalg.norm(left)))


class ResidualSign(nn.Module):
    """Activation with `bits` bits: a sum of sign tensors whose scales are running means over the batches.

    In training each scale is the mean absolute residual of the batch and joins a running mean; in evaluation the
    running means are used, so that an example's result does not depend on its neighbours. The gradient passes where
    abs(x) <= 1. Tang, Hua, Wang (2017), AAAI; lecture 003:1517-1525. Chapter 19.

    >>> layer = ResidualSign(bits=2)
    >>> layer(torch.tensor([3.0, 1.0, -1.0, -3.0]))
    tensor([ 3.,  1., -1., -3.])
    """

    scales: torch.Tensor
    n_batches: torch.Tensor

    def __init__(self, *, bits: int = 2) -> None:
        super().__init__()
        self.bits = checks.integer(bits, "bits", low=1, high=16)
        self.register_buffer("scales", torch.zeros(self.bits))
        self.register_buffer("n_batches", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the binary sum of x."""
        value, made, scales = x.detach(), torch.zeros_like(x), []
        for i in range(self.bits):
            left = value - made
            scales.append(left.abs().mean() if self.training else self.scales[i])
            made = made + scales[-1] * sign(left)
        if self.training:
            self._remember(torch.stack(scales))
        return straight_through(x, made, low=-1, high=1)

    def _remember(self, scales: torch.Tensor) -> None:
        share = MOMENTUM if self.n_batches else 1.0
        self.scales.lerp_(scales.to(self.scales), share)
        self.n_batches += 1

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return f"bits={self.bits}"

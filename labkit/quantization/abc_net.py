r"""ABC-Net: a weight tensor as a linear combination of several binary ones, found by least squares.

.. math:: W \approx \sum_i \alpha_i B_i, \quad B_i = \operatorname{sign}(W - \bar W + u_i \operatorname{std}(W))

Lin, Zhao, Pan (2017), arXiv:1711.11294; lecture 003:1633. Chapter 19.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.quantization.estimators import sign, straight_through
from labkit.quantization.parametrized import checked_weight
from labkit.quantization.residual import BinarySum


def abc_shifts(n_bases: int) -> np.ndarray:
    """Return u_1 to u_M, evenly spaced from -1 to 1; a single basis is not shifted.

    `n_bases` is an int between 1 and 16; TypeError or ValueError otherwise. Chapter 19.

    >>> abc_shifts(3).tolist()
    [-1.0, 0.0, 1.0]
    """
    n = checks.integer(n_bases, "n_bases", low=1, high=16)
    return np.linspace(-1, 1, n) if n > 1 else np.zeros(1)


def abc_bases(W: Any, *, n_bases: int) -> np.ndarray:
    """Return the binary bases (M, *shape) of W, int8 of -1 and 1: signs of W about its mean, shifted by u_i std(W).

    Parameters
    ----------
    W : weights of any shape
    n_bases : M, between 1 and 16

    Raises TypeError or ValueError for other arguments. Lin, Zhao, Pan (2017), arXiv:1711.11294. Chapter 19.

    >>> abc_bases([-2.0, 0.0, 2.0], n_bases=3).tolist()
    [[-1, -1, 1], [-1, 1, 1], [-1, 1, 1]]
    """
    W = checks.array(W, "W").astype(float)
    shifted = W - W.mean() + np.multiply.outer(abc_shifts(n_bases), np.full(W.shape, W.std()))
    return np.where(shifted < 0, -1, 1).astype(np.int8)


def abc_fit(W: Any, *, n_bases: int) -> BinarySum:
    r"""Return the least-squares combination of ABC-Net's binary bases.

    The scales solve the normal equations :math:`B^T B \alpha = B^T w`, or have least norm where two bases are equal.
    More bases help surely only if they contain the old ones, as 1, 3, 5 and 9 do.

    Parameters
    ----------
    W : weights of any shape
    n_bases : M, between 1 and 16

    Raises TypeError or ValueError for other arguments. Lin, Zhao, Pan (2017), arXiv:1711.11294;
    lecture 003:1633. Chapter 19.

    >>> abc_fit([-3.0, -1.0, 1.0, 3.0], n_bases=3).to_tensor().round(6).tolist()
    [-3.0, -1.0, 1.0, 3.0]
    """
    W = checks.array(W, "W").astype(float)
    signs = abc_bases(W, n_bases=n_bases)
    scales = np.linalg.lstsq(signs.reshape(len(signs), -1).T.astype(float), W.ravel(), rcond=None)[0]
    return BinarySum(scales, signs, float(np.linalg.norm(W - np.tensordot(scales, signs, 1))))


class ABCWeight(nn.Module):
    """The quantizer of ABC-Net for `quantize_weights`: bases and scales anew at every step, the identity backward.

    `n_bases` is an int between 1 and 16. Raises TypeError or ValueError otherwise. Lin, Zhao, Pan (2017),
    arXiv:1711.11294. Chapter 19.

    >>> ABCWeight(n_bases=3)(torch.tensor([-3.0, -1.0, 1.0, 3.0])).round(decimals=4)
    tensor([-3., -1.,  1.,  3.])
    """

    def __init__(self, weight: torch.Tensor | None = None, *, n_bases: int = 3) -> None:
        super().__init__()
        if weight is not None:
            checked_weight(weight)
        self.shifts = torch.from_numpy(abc_shifts(n_bases)).float()

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the sum of scaled signs that is nearest to a weight tensor."""
        value = weight.detach().flatten()
        shifted = value - value.mean() + self.shifts.to(value)[:, None] * value.std(correction=0)
        bases = sign(shifted)  # (M, n)
        gram, right = (bases @ bases.T).double(), (bases @ value).double()
        scales = torch.linalg.pinv(gram, hermitian=True) @ right  # equal bases make the Gram matrix singular
        return straight_through(weight, (scales.to(value) @ bases).view_as(weight))

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return f"n_bases={len(self.shifts)}"

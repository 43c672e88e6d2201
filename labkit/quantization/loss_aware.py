r"""Loss-aware binarization (LAB): signs and scale that lower the loss, not the distance to the float weights.

Around the present weights the loss is replaced by a quadratic model with diagonal curvature d. Its best binary point
weighs each weight by its curvature, and Adam's second moments give d for free.
Hou, Yao, Kwok (2017), arXiv:1611.01600; lecture 003:1717. Chapter 19.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.quantization.estimators import sign, straight_through
from labkit.quantization.parametrized import checked_weight


def loss_aware_scale(W: Any, curvature: Any) -> float:
    r"""Return the scale alpha that is best for alpha sign(W) when errors are weighed by the curvature.

    .. math:: \arg\min_\alpha \sum_i d_i (\alpha \operatorname{sign}(w_i) - w_i)^2 = \|d \circ w\|_1 / \|d\|_1

    With equal curvatures it is mean abs(W), the scale of XNOR-Net.

    Parameters
    ----------
    W : weights of any shape
    curvature : d, of the same shape, above 0

    Raises TypeError or ValueError for other arguments. Hou, Yao, Kwok (2017), arXiv:1611.01600;
    lecture 003:1717. Chapter 19.

    >>> loss_aware_scale([1.0, -3.0], [1.0, 1.0]), loss_aware_scale([1.0, -3.0], [3.0, 1.0])
    (2.0, 1.5)
    """
    W = checks.array(W, "W")
    d = _curvature(curvature, W)
    return float((d * np.abs(W)).sum() / d.sum())


def proximal_newton_step(current: Any, gradient: Any, curvature: Any) -> np.ndarray:
    r"""Return the binary weights alpha b with the least quadratic model of the loss around `current`.

    .. math:: Q(v) = g^T (v - c) + \tfrac12 \sum_i d_i (v_i - c_i)^2

    Completing the square, the minimiser over all alpha b with signs b is `loss_aware_scale(w, d) sign(w)` at
    w = c - g / d: a Newton step, then the projection in the metric of d. If c is of that form, Q falls or stays.

    Parameters
    ----------
    current : c, weights of any shape
    gradient : g, of the same shape, the loss's gradient at c
    curvature : d, of the same shape, above 0

    Raises TypeError or ValueError for other arguments. Hou, Yao, Kwok (2017), arXiv:1611.01600.
    Chapter 19.

    >>> proximal_newton_step([1.0, -1.0], [4.0, 0.0], [2.0, 2.0])
    array([-1., -1.])
    """
    c, g = checks.array(current, "current"), checks.array(gradient, "gradient")
    if c.shape != g.shape:
        raise ValueError(f"gradient must have the shape {c.shape} of current, got {g.shape}")
    d = _curvature(curvature, c)
    w = c - g / d
    return loss_aware_scale(w, d) * np.where(w < 0, -1.0, 1.0)


class LossAwareBinarizer(nn.Module):
    r"""The quantizer of LAB for `quantize_weights`: alpha sign(w), with the curvature from the gradients seen so far.

    In training every backward pass updates Adam's second moment, v <- beta2 v + (1 - beta2) g^2, without its help;
    d is the square root of v, free of its bias, plus eps. Before the first gradient all curvatures are equal. The
    gradient passes to the float weights unchanged.

    Parameters
    ----------
    weight : the weights to start from
    beta2, eps : as for Adam

    Raises
    ------
    TypeError, ValueError : an argument of a wrong type or out of its range.

    Hou, Yao, Kwok (2017), arXiv:1611.01600; lecture 003:1717. Chapter 19.

    >>> LossAwareBinarizer(torch.ones(2))(torch.tensor([1.0, -3.0])).tolist()
    [2.0, -2.0]
    """

    v: torch.Tensor
    n_steps: torch.Tensor

    def __init__(self, weight: torch.Tensor, *, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__()
        self.beta2, self.eps = checks.number(beta2, "beta2", low=0, high=1), checks.positive(eps, "eps")
        if self.beta2 == 1:
            raise ValueError("beta2 must be below 1, got 1: no gradient would count")
        self.register_buffer("v", torch.zeros_like(checked_weight(weight)))
        self.register_buffer("n_steps", torch.tensor(0))

    @property
    def curvature(self) -> torch.Tensor:
        """d, of the weight's shape: all ones before the first gradient."""
        if not self.n_steps:
            return torch.ones_like(self.v)
        return (self.v / (1 - self.beta2 ** int(self.n_steps))).sqrt() + self.eps

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the binary form of a weight tensor."""
        d, value = self.curvature, weight.detach()
        binary = (d * value.abs()).sum() / d.sum() * sign(value)
        made = straight_through(weight, binary)
        if self.training and made.requires_grad:
            made.register_hook(self._observe)
        return made

    @torch.no_grad()
    def _observe(self, gradient: torch.Tensor) -> None:
        self.v.lerp_(gradient**2, 1 - self.beta2)
        self.n_steps += 1

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return f"beta2={self.beta2}"


def _curvature(curvature: Any, W: np.ndarray) -> np.ndarray:
    d = checks.array(curvature, "curvature")
    if d.shape != W.shape or (d <= 0).any():
        raise ValueError(f"curvature must have shape {W.shape} and be above 0, got {d.shape} with least {d.min():.4g}")
    return d

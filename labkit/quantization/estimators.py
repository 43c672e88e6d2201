r"""Straight-through estimators: functions with steps in the forward pass that let a gradient through backwards.

A step function has the derivative 0 almost everywhere, so nothing below it could learn. The **straight-through
estimator** replaces the derivative by that of a clipped identity: with q = Q(x),

.. math:: g_x = g_q \, 1_{|x| \le 1}.

Bengio, Léonard, Courville (2013), arXiv:1308.3432; Courbariaux et al. (2016), arXiv:1602.02830, Algorithm 1;
lecture 003:1366-1449. Chapters 17 and 19.
"""

import math
from typing import Any

import torch

from labkit import checks

Tensor = torch.Tensor


def sign(x: Tensor) -> Tensor:
    """Return +1 where x >= 0 and -1 where x < 0, in the dtype of x; both zeros count as +1. No gradient flows.

    `x` is a floating-point tensor of any shape. Raises TypeError for another type, ValueError for a NaN.

    >>> sign(torch.tensor([-0.3, -0.0, 0.0, 2.0]))
    tensor([-1.,  1.,  1.,  1.])
    """
    return _sign(_real(x).detach())


def straight_through(x: Tensor, q: Tensor, *, low: float = -math.inf, high: float = math.inf) -> Tensor:
    r"""Return q in the forward pass, and hand its gradient to x where low <= x <= high.

    Parameters
    ----------
    x : floating-point tensor, what the gradient goes to
    q : tensor of the shape of x, its quantized form, computed in any way; no gradient reaches it
    low, high : the window, by default the whole line

    Raises
    ------
    TypeError, ValueError : x is not a floating-point tensor or holds NaN, q has another shape, low above high.

    Formula: :math:`g_x = g_q \, 1_{low \le x \le high}`. Bengio et al. (2013), arXiv:1308.3432. Chapter 19.

    >>> x = torch.tensor([-2.0, 0.4], requires_grad=True)
    >>> straight_through(x, x.floor(), low=-1).sum().backward()
    >>> x.grad
    tensor([0., 1.])
    """
    _real(x)
    if checks.instance(q, "q", Tensor).shape != x.shape:
        raise ValueError(f"q must have the shape of x, {tuple(x.shape)}, got {tuple(q.shape)}")
    return _StraightThrough.apply(x, q.to(x.dtype), *_window(low, high))


def binarize(x: Tensor, *, window: float = 1.0) -> Tensor:
    """Return sign(x) with a gradient: deterministic binarisation, sign(0) = +1.

    `window` (above 0, infinity allowed) is the largest absolute value of x that still learns. Raises as
    `straight_through` does. Courbariaux et al. (2016), arXiv:1602.02830; lecture 003:1366-1449. Chapter 19.

    >>> x = torch.tensor([-3.0, -1.0, 0.0, 0.5], requires_grad=True)
    >>> binarize(x)
    tensor([-1., -1.,  1.,  1.], grad_fn=<_StraightThroughBackward>)
    >>> binarize(x).sum().backward()
    >>> x.grad
    tensor([0., 1., 1., 1.])
    """
    return _windowed(x, _sign(_real(x).detach()), window)


def binarize_stochastic(x: Tensor, *, window: float = 1.0, random_state: Any = None) -> Tensor:
    r"""Return +1 with probability clip((x + 1) / 2, 0, 1), else -1: stochastic binarisation, whose mean is clip(x).

    Parameters
    ----------
    x, window : as for `binarize`, the gradient too
    random_state : an int or a NumPy Generator; None draws from torch's own stream, as dropout does, so that the
        `random_state` of `labkit.training.fit` fixes it

    Raises
    ------
    TypeError, ValueError : as `straight_through`, or a random_state of another kind.

    Formula: :math:`P(q = 1) = \sigma(x) = \operatorname{clip}((x + 1) / 2, 0, 1)`, the hard sigmoid. Courbariaux,
    Bengio, David (2015), arXiv:1511.00363; lecture 003:1430-1449. Chapter 19.

    >>> binarize_stochastic(torch.tensor([-1.0, 1.0, 7.0]), random_state=0)
    tensor([-1.,  1.,  1.])
    """
    probability = ((_real(x).detach() + 1) / 2).clamp(0, 1)
    return _windowed(x, 1 - 2 * (_uniform(x, random_state) >= probability).to(x.dtype), window)


def ternarize(x: Tensor, *, delta: float | Tensor, window: float = 1.0) -> Tensor:
    r"""Return sign(x) where abs(x) > delta and 0 elsewhere, with the gradient of `binarize`.

    Parameters
    ----------
    x, window : as for `binarize`
    delta : the threshold, at least 0; a number or a tensor that broadcasts against x, for instance one per filter

    Raises
    ------
    TypeError, ValueError : as `straight_through`, or a delta below 0 or NaN.

    Formula: :math:`q = \operatorname{sign}(x) 1_{|x| > \delta}`. Li, Zhang, Liu (2016), arXiv:1605.04711; lecture
    003:1194-1202. Chapter 19.

    >>> ternarize(torch.tensor([-0.9, -0.5, 0.1, 0.6]), delta=0.5)
    tensor([-1.,  0.,  0.,  1.])
    """
    value = _real(x).detach()
    if isinstance(delta, Tensor):
        _check_thresholds(delta, value.shape)
    elif (delta := _limit(delta, "delta")) < 0:
        raise ValueError(f"delta must be at least 0, got {delta}")
    kept = value.abs() > delta  # where: a product would leave -0.0
    return _windowed(x, torch.where(kept, _sign(value), torch.zeros_like(value)), window)


def round_through(x: Tensor, *, low: float = -math.inf, high: float = math.inf) -> Tensor:
    r"""Return x clipped to [low, high] and rounded, halves to even; the gradient passes inside [low, high].

    Raises as `straight_through` does. Formula: :math:`q = \operatorname{round}(\operatorname{clip}(x, low, high))`,
    :math:`g_x = g_q \, 1_{low \le x \le high}`. Zhou et al. (2016), arXiv:1606.06160. Chapters 17 and 19.

    >>> round_through(torch.tensor([-0.7, 1.5, 2.5, 9.0]), low=0, high=3)
    tensor([0., 2., 2., 3.])
    """
    low, high = _window(low, high)
    return straight_through(x, _real(x).detach().clamp(low, high).round(), low=low, high=high)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, q: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((x >= low) & (x <= high))
        return q.view_as(q)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None


def _limit(value: Any, name: str) -> float:
    """Return a number, infinity allowed."""
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{name} must be a number, infinity allowed, got nan")
    infinite = isinstance(value, float) and math.isinf(value)
    return value if infinite else checks.number(value, name, low=-math.inf)


def _window(low: Any, high: Any) -> tuple[float, float]:
    low, high = _limit(low, "low"), _limit(high, "high")
    if low > high:
        raise ValueError(f"low must be at most high, got low={low}, high={high}")
    return low, high


def _check_thresholds(delta: Tensor, shape: torch.Size) -> None:
    if not (delta >= 0).all():
        raise ValueError(f"delta must be at least 0, got a tensor with {int((~(delta >= 0)).sum())} other entries")
    try:
        fits = torch.broadcast_shapes(delta.shape, shape) == shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"delta must broadcast against x, {tuple(shape)}, got shape {tuple(delta.shape)}")


def _windowed(x: Tensor, q: Tensor, window: float) -> Tensor:
    half = _limit(window, "window")
    if half <= 0:
        raise ValueError(f"window must be above 0, got {window}")
    return straight_through(x, q, low=-half, high=half)


def _sign(x: Tensor) -> Tensor:
    return 1 - 2 * (x < 0).to(x.dtype)


def _uniform(x: Tensor, random_state: Any) -> Tensor:
    if random_state is None:
        return torch.rand_like(x, requires_grad=False)
    return torch.from_numpy(checks.generator(random_state).random(tuple(x.shape))).to(x)


def _real(x: Any) -> Tensor:
    """Return x if it is a floating-point tensor without NaN, which has no sign."""
    if checks.floating(x, "x").isnan().any():
        raise ValueError(f"x must not hold NaN, got {int(x.isnan().sum())} NaN entries")
    return x

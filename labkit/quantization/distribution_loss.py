r"""The distribution loss of BNN-DL: a penalty on pre-activations that a sign would squander.

Three ways in which a channel with mean mu and standard deviation sigma serves its sign badly:

- **degeneration**: abs(mu) > sigma, so that almost all signs are equal and say nothing;
- **saturation**: sigma is large, so that most values lie outside of the window and nothing learns;
- **gradient mismatch**: mean and spread are both small, so that all values lie inside of the window, where the
  straight-through gradient of the identity has least to do with the step.

Ding, Chin, Liu, Marculescu (2019), arXiv:1904.02823; lecture 003:1696-1738. Chapter 19.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from labkit import checks

WIDEST = 4.0  # sigma above it saturates
NARROWEST = 2.0  # abs(mu) + sigma below it fits into the window
WEIGHT = 2.0
TINY = 1e-10  # keeps the square root differentiable at a constant channel


@dataclass(frozen=True)
class DistributionTerms:
    """The three terms, each a scalar tensor of at least 0, and their sum `total`."""

    degeneration: torch.Tensor
    saturation: torch.Tensor
    mismatch: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """degeneration + saturation + mismatch."""
        return self.degeneration + self.saturation + self.mismatch


def distribution_loss(x: torch.Tensor) -> DistributionTerms:
    r"""Return the three terms of the distribution loss of pre-activations, averaged over the channels.

    .. math:: L_D = (\mu^2 - \sigma^2)_+, \quad L_S = (\sigma - 4)_+^2, \quad L_M = (2 - |\mu| - \sigma)_+^2

    A well spread channel, say mu = 0 and sigma = 3, costs nothing. The numbers are those of the authors' program; the
    paper leaves them open as hyper-parameters.

    Parameters
    ----------
    x : floating-point tensor (n, channels, ...) with at least one number in each channel, the input of a sign

    Raises
    ------
    TypeError, ValueError : another type, fewer than two dimensions, empty, or NaN.

    Ding, Chin, Liu, Marculescu (2019), arXiv:1904.02823; lecture 003:1708-1712. Chapter 19.

    >>> terms = distribution_loss(torch.tensor([[3.0], [-3.0]]))
    >>> terms.total.item()
    0.0
    """
    if checks.floating(x, "x").dim() < 2 or not x.numel() or not x.detach().isfinite().all():
        raise ValueError(f"x must be (n, channels, ...), finite and not empty, got shape {tuple(x.shape)}")
    values = x.transpose(0, 1).flatten(1)  # (channels, numbers)
    mean = values.mean(1)
    std = (values.var(1, correction=0) + TINY).sqrt()
    degeneration = (mean**2 - std**2).clamp(min=0).mean()
    saturation = ((std - WIDEST).clamp(min=0) ** 2).mean()
    mismatch = ((NARROWEST - mean.abs() - std).clamp(min=0) ** 2).mean()
    return DistributionTerms(degeneration, saturation, mismatch)


class DistributionPenalty:
    """Collects the outputs of modules while the network runs and charges for their distribution.

    It is a `regularizer` for `labkit.training.fit`: weight times the mean total over the modules, of the latest batch.
    Call `remove()` when the training is over.

    Parameters
    ----------
    model : the network
    modules : names of the modules whose output goes into a sign, mostly batch norms
    weight : at least 0

    Raises
    ------
    TypeError, ValueError : no modules, one that the model does not have, or a weight below 0.
    RuntimeError : when it is called before the model has run.

    Ding, Chin, Liu, Marculescu (2019), arXiv:1904.02823, equation 2; lecture 003:1708-1712. Chapter 19.

    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> penalty = DistributionPenalty(model, ["0"])
    >>> y = model(torch.zeros(4, 3))  # constant channels: degenerate
    >>> penalty(model).item() > 0
    True
    >>> penalty.remove()
    """

    def __init__(self, model: nn.Module, modules: Iterable[str], *, weight: float = WEIGHT) -> None:
        self.weight = checks.number(weight, "weight", low=0)
        known = dict(checks.instance(model, "model", nn.Module).named_modules())
        self._seen: dict[str, torch.Tensor] = {}
        self._hooks = [
            known[checks.choice(name, "modules", known)].register_forward_hook(self._collect(name))
            for name in checks.names(modules, "modules")
        ]

    def __call__(self, model: nn.Module) -> torch.Tensor:
        """Return the penalty of the batch that ran last."""
        if not self._seen:
            raise RuntimeError("the model must run before its penalty can be computed")
        totals = [distribution_loss(x).total for x in self._seen.values()]
        return self.weight * torch.stack(totals).mean()

    def remove(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._seen.clear()

    def _collect(self, name: str) -> Any:
        def keep(module: nn.Module, given: Any, x: torch.Tensor) -> None:
            self._seen[name] = x

        return keep

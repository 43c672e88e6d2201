"""Batch norms after a change: a network that runs other channels has other means and variances between its layers."""

import copy
from typing import TypeVar

import torch
from torch import nn

from labkit import checks
from labkit.dynamic.skipping import Tensor, check_input

Net = TypeVar("Net", bound=nn.Module)


def renormalized(model: Net, x: Tensor, *, batch_size: int = 500) -> Net:
    """Return a copy of a model whose batch norms have estimated their means and variances again, with no training.

    Parameters
    ----------
    model : a network with batch norms that keep running means, for instance one whose density was changed
    x : inputs (n, C, H, W), n at least 2
    batch_size : at least 2; the means are those over all batches

    Raises
    ------
    TypeError, ValueError : an x of another kind, a number out of its range, or no such batch norm.

    The copy is in evaluation mode. Yu and Huang (2019), arXiv:1903.05134, do so for networks of changing width.
    Chapter 29.

    >>> model = nn.Sequential(nn.BatchNorm2d(1))
    >>> renormalized(model, torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1))[0].running_mean
    tensor([2.])
    """
    made = copy.deepcopy(checks.instance(model, "model", nn.Module))
    if len(check_input(x)) < 2:
        raise ValueError(f"x must hold at least 2 pictures, got {len(x)}")
    if not x.isfinite().all():
        raise ValueError("x must be finite, got NaN or infinity")
    norms = _norms(made)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    made.train()
    with torch.no_grad():
        for part in x.split(checks.integer(batch_size, "batch_size", low=2)):
            made(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return made.eval()


def _norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    if not norms:
        raise ValueError(f"model must have batch norms with running means, got a {type(model).__name__} without any")
    return norms

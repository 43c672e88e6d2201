"""Factorisation by what a layer does to data: its responses lie near a subspace. Chapter 5; lecture 003:1742-1748."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.conv_layers import LowRankConv2d
from labkit.decomposition.layers import LowRankLinear, weight_matrix


def response_pca(
    layer: nn.Linear | nn.Conv2d,
    data: torch.Tensor,
    *,
    rank: int,
) -> LowRankLinear | LowRankConv2d:
    """Return the layer at the rank k that keeps its responses to `data` best, in the mean square.

    With mean r and the k leading directions P (m, k) of the responses y = W x + b, the new layer is
    y' = P P^T (y - r) + r: weights P^T W (k, n) and P (m, k), bias r + P P^T (b - r). No other layer of rank k with
    a bias comes closer to y on this data, so its error is at most that of the weight's SVD.

    Parameters
    ----------
    layer : nn.Linear, or nn.Conv2d with groups=1
    data : inputs of the layer, (..., n) or (batch, c, h, w); a convolution answers once for each output pixel
    rank : int, 1 to min(m, n)

    Raises
    ------
    TypeError, ValueError : a bad argument, or data with fewer responses than `rank` + 1.

    Zhang et al. (2016), arXiv:1505.06798; lecture 000:1299-1301, 003:1742-1764, 001:75. Chapter 5.

    >>> response_pca(nn.Linear(6, 4), torch.eye(6), rank=2).rank
    2
    """
    W = weight_matrix(layer)  # (m, n)
    k = checks.rank(rank, high=min(W.shape))
    mean, covariance, n = _moments(layer, data)
    if n <= k:
        raise ValueError(f"data must give more than rank={k} responses, got {n}")
    P = np.linalg.eigh(covariance)[1][:, ::-1][:, :k].copy()  # (m, k), the largest variance first
    b = 0 if layer.bias is None else layer.bias.detach().double().cpu().numpy()
    kind: Any = LowRankLinear if isinstance(layer, nn.Linear) else LowRankConv2d
    return kind._empty(layer, rank=k, bias=True)._fill(P.T @ W, P, mean + P @ (P.T @ (b - mean)), layer)


def response_spectrum(layer: nn.Linear | nn.Conv2d, data: torch.Tensor) -> np.ndarray:
    """Return the standard deviations (m,) of a layer's responses along their principal directions, largest first.

    They play the part of singular values: `rank_for_energy` and `rank_for_tol` take them, and the mean square error
    of `response_pca` at rank k is the sum of the squares from k + 1 on. Arguments and errors as in `response_pca`.
    Zhang et al. (2016), arXiv:1505.06798; lecture 003:1742-1748. Chapter 5.

    >>> response_spectrum(nn.Linear(6, 4), torch.eye(6)).shape
    (4,)
    """
    weight_matrix(layer)
    return spread(_moments(layer, data)[1])


def spread(covariance: np.ndarray) -> np.ndarray:
    """Return the square roots of the eigenvalues of a covariance matrix (m, m), largest first."""
    return np.sqrt(np.linalg.eigvalsh(covariance)[::-1].clip(min=0))


def layer_inputs(model: nn.Module, x: torch.Tensor, *, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
    """Run the model on x once and return what each linear and convolutional layer got: {layer name: its inputs}.

    Parameters
    ----------
    model : its mode and weights stay as they are; it is run in evaluation mode, without gradients
    x : the model's input, with a batch dimension
    names : the layers to watch; None watches every nn.Linear and nn.Conv2d

    Raises
    ------
    TypeError, ValueError : a bad argument, or a name that the model does not have.

    Chapter 5.

    >>> inputs = layer_inputs(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(3, 6))
    >>> {name: tuple(value.shape) for name, value in inputs.items()}
    {'0': (3, 6), '2': (3, 4)}
    """
    layers = find_layers(model, names)
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    watch(model, x, {name: lambda given, _, name=name: seen[name].append(given) for name in layers})
    if names is not None and not all(seen.values()):
        raise ValueError(f"names must be layers that the model runs, got {[n for n in seen if not seen[n]]}")
    return {name: torch.cat(parts) for name, parts in seen.items() if parts}


def find_layers(model: nn.Module, names: Iterable[str] | None = None, *, argument: str = "names") -> dict[str, Any]:
    """Return the linear and convolutional layers of a model, or only the named ones; errors name the `argument`."""
    checks.instance(model, "model", nn.Module)
    found = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    if names is None:
        return found
    if isinstance(names, str):
        raise TypeError(f"{argument} must be a list of layer names, got the string {names!r}")
    return {checks.choice(name, argument, found): found[name] for name in names}


def watch(model: nn.Module, x: Any, callbacks: dict[str, Any]) -> None:
    """Run the model once and call callbacks[name](input, output) whenever the layer `name` has run."""
    modules = dict(model.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda _, given, y, call=call: call(given[0], y))
        for name, call in callbacks.items()
    ]
    try:
        with checks.evaluating(model):
            model(*x) if isinstance(x, tuple) else model(x)
    finally:
        for hook in hooks:
            hook.remove()


class Moments:
    """Mean and covariance of responses that come in parts."""

    def __init__(self) -> None:
        self.n = 0
        self.shift = self.sum = self.squares = np.zeros(())

    def add(self, y: torch.Tensor, *, channels: int) -> None:
        """Note a layer's output; `channels` is the dimension that holds the m numbers of one response."""
        Y = y.detach().movedim(channels, -1).flatten(0, -2).double().cpu().numpy()  # (n, m)
        if self.n == 0:
            self.shift = Y.mean(0)  # near the mean, so that the difference of squares below keeps its digits
        self.n += len(Y)
        self.sum = self.sum + (Y - self.shift).sum(0)
        self.squares = self.squares + (Y - self.shift).T @ (Y - self.shift)

    def result(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the mean (m,), the covariance (m, m) and the number of responses."""
        offset = self.sum / self.n
        return self.shift + offset, self.squares / self.n - np.outer(offset, offset), self.n


def _moments(layer: nn.Linear | nn.Conv2d, data: torch.Tensor) -> tuple[np.ndarray, np.ndarray, int]:
    """Run the layer on the data, 500 examples at a time."""
    x = _inputs(layer, data)
    moments = Moments()
    with torch.no_grad():
        for part in x.split(500):
            moments.add(layer(part), channels=channel_dimension(layer))
    return moments.result()


def channel_dimension(layer: nn.Module) -> int:
    """Return which dimension of a layer's output holds its m outputs."""
    return 1 if isinstance(layer, nn.Conv2d) else -1


def _inputs(layer: nn.Linear | nn.Conv2d, data: torch.Tensor) -> torch.Tensor:
    checks.instance(data, "data", torch.Tensor)
    is_conv = isinstance(layer, nn.Conv2d)
    width = layer.in_channels if is_conv else layer.in_features
    fits = (data.dim() == 4 and data.shape[1] == width) if is_conv else (data.dim() >= 2 and data.shape[-1] == width)
    if not fits:
        shape = f"(batch, {width}, height, width)" if is_conv else f"(..., {width})"
        raise ValueError(f"data must have shape {shape}, got {tuple(data.shape)}")
    checks.array(data, "data")
    return data.to(layer.weight)

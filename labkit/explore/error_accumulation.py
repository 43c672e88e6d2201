"""The second explorer of Chapter 2: how errors of the weights travel through a trained network."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.cost import error_propagation
from labkit.datasets import mnist
from labkit.decomposition import layer_inputs
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Grid
from labkit.explore.views import Lines, Readouts, Series
from labkit.nets import load

NET, LAYERS = "lenet-300-100", ("fc1", "fc2", "fc3")
KINDS = {
    "random": "in all directions, at random",
    "shrink": "every weight smaller by as much",
    "aligned": "along the mean input",
}
NOISES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)  # percent of the norm of the weights
N_DIGITS, N_DRAWS = 128, 3
UNITS = {"Error of the output": "%", "Accuracy, exact": "%", "Accuracy, disturbed": "%"}


def disturb(
    model: nn.Module,
    x: torch.Tensor,
    *,
    noise: float,
    layers: Sequence[str],
    kind: str = "random",
    random_state: Any = 0,
) -> nn.Module:
    """Return a copy of a network with an error E added to the weights W of some linear layers, norm(E) = noise norm(W).

    Parameters
    ----------
    model : the network, left as it is
    x : a batch of its inputs; only their mean matters, and only for "aligned"
    noise : relative Frobenius norm of the error, at least 0
    layers : names of linear layers
    kind : "random", normal noise; "shrink", E = -noise W; "aligned", of rank one, along the mean of the layer's
        inputs
    random_state : an int, a NumPy Generator or None

    Raises TypeError or ValueError for other arguments. Chapter 2; lecture 000:219-227.

    >>> model = load("lenet-300-100")
    >>> rough = disturb(model, torch.ones(1, 784), noise=0.5, layers=["fc1"])
    >>> before, after = model.fc1.weight.detach(), rough.fc1.weight.detach()
    >>> round(float((after - before).norm() / before.norm()), 4)
    0.5
    """
    checks.number(noise, "noise", low=0)
    checks.choice(kind, "kind", KINDS)
    rough, inputs = copy.deepcopy(model), layer_inputs(model, x, names=list(layers))
    with checks.seeded(random_state) as generator, torch.no_grad():
        for name in layers:
            weight = rough.get_parameter(f"{name}.weight")
            error = _direction(weight, inputs[name], kind, generator)
            weight.add_(noise * weight.norm() / error.norm() * error)
    return rough


def _direction(W: torch.Tensor, x: torch.Tensor, kind: str, generator: torch.Generator) -> torch.Tensor:
    if kind == "shrink":
        return -W
    if kind == "random":
        return torch.randn(W.shape, generator=generator)
    return torch.outer(torch.randn(len(W), generator=generator), x.mean(0))  # (m, n), of rank one


@register
def error_accumulation_explorer() -> Explorer:
    """Return the explorer of accumulating errors: their kind, their size, and how many layers have them.

    The first layers of LeNet-300-100 get an error with the given part of the norm of their weights; the errors after
    each layer are those of `labkit.cost.error_propagation` on digits, over several draws.
    Chapter 2; lecture 000:219-227, 002:100-103.

    >>> numbers = error_accumulation_explorer().compute(kind="random", noise=10, layers=3)["numbers"]
    >>> 1 < numbers["Error of the output"] < 10
    True
    """
    images, labels = (tensor[:N_DIGITS] for tensor in mnist("heldout", source="offline").tensors())
    model = load(NET)
    return Explorer(
        "error-accumulation",
        lambda kind, noise, layers: _views(model, kind, noise, layers, images, labels),
        title="How far does an error of the weights travel?",
        controls=[
            Choice("kind", KINDS, label="Error"),
            Slider("noise", values=NOISES, default=30, label="Size of the error", unit="%"),
            Slider("layers", 1, len(LAYERS), default=len(LAYERS), label="Layers with an error"),
        ],
        views=[
            Lines("depth", "Error after each layer", wide=True, x_label="layer", y_label="relative error (%)"),
            Readouts("numbers", units=UNITS),
        ],
        static=Grid(),
        alt="The relative error after each layer of LeNet-300-100 when the weights of its first {layers} layers carry "
        "an error of {noise} % of their norm",
        caption=f"{N_DIGITS} held-out digits, {N_DRAWS} draws of the error: the line is the mean, the band the range.",
    )


def _views(
    model: nn.Module, kind: str, noise: int, layers: int, images: torch.Tensor, labels: torch.Tensor
) -> dict[str, Any]:
    options: dict[str, Any] = {"noise": noise / 100, "layers": LAYERS[:layers], "kind": kind}
    draws = range(1 if kind == "shrink" else N_DRAWS)  # nothing is drawn for it
    rough = [disturb(model, images, **options, random_state=seed) for seed in draws]
    found = [error_propagation(model, other, images, bounds=False).rows for other in rough]
    whole, own = (100 * np.array([_by_layer(rows, what) for rows in found]) for what in ("relative", "local"))
    return {
        "depth": _depth(whole, own),
        "numbers": {
            "Error of the output": float(whole[:, -1].mean()),
            "Accuracy, exact": _accuracy([model], images, labels),
            "Accuracy, disturbed": _accuracy(rough, images, labels),
        },
    }


def _by_layer(rows: Any, what: str) -> list[float]:
    """Return 0 for the input and the error after each layer that has weights."""
    return [0.0, *(getattr(row, what) for row in rows if row.name in LAYERS)]


def _depth(whole: np.ndarray, own: np.ndarray) -> list[Series]:
    places = np.arange(whole.shape[1], dtype=float)
    band = {"low": whole.min(axis=0), "high": whole.max(axis=0)}
    return [
        Series(whole.mean(axis=0), places, "whole error so far", **band),
        Series(own.mean(axis=0), places, "added by this layer", "points"),
    ]


@torch.no_grad()
def _accuracy(models: list[Any], images: torch.Tensor, labels: torch.Tensor) -> float:
    right = [(model(images).argmax(1) == labels).float().mean() for model in models]
    return 100 * float(torch.stack(right).mean())

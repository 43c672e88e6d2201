"""The FBS explorer of Chapter 29: a trained network whose density can be turned while it reads digits."""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from labkit import checks
from labkit.cost import count
from labkit.datasets import mnist
from labkit.dynamic import (
    FBSConv2d,
    renormalized,
    set_boosting,
    set_density,
    set_execution,
)
from labkit.explore.controls import Choice, Slider, Toggle
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Grid
from labkit.explore.views import Bars, Cells, Groups, Heatmap, Picture, Readouts
from labkit.nets import CifarNet, load_fbs

N_DIGITS, N_NORM = 200, 400
DIGITS = tuple(range(10))
UNITS = {"Of the dense network": "%", f"Accuracy on {N_DIGITS} digits": "%"}

VIEWS = [
    Picture("image", "The digit", pixelated=True),
    Bars("work", "Work for it, by block", y_label="million multiply-adds"),
    Heatmap(
        "gains",
        "Gains of the channels that run for it",
        x_label="channel (blocks have 16, 32 or 48)",
        y_label="block",
        low=0,
        high=7,
        wide=True,
    ),
    Heatmap(
        "skips",
        "How often a channel is skipped (%)",
        x_label="channel",
        y_label="digit",
        low=0,
        high=100,
        wide=True,
    ),
    Readouts("numbers", units=UNITS),
]


@dataclass(frozen=True)
class Setting:
    """What the network does at one density: accuracy in percent, skip probabilities of each layer (10, K) in percent,

    and for the shown picture of each digit the answer, the multiply-adds that ran in each layer, and their gains.
    """

    accuracy: float
    skips: dict[str, np.ndarray]
    answers: list[int]
    macs: list[list[int]]
    gains: list[np.ndarray]


@cache
def network() -> CifarNet:
    """Return the trained network, shared by all explorers."""
    return load_fbs()


@cache
def pictures() -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Return test digits (n, 1, 28, 28), their labels, and where the first one of each class stands."""
    x, labels = mnist("test", source="offline")[:N_DIGITS].tensors()
    return x, labels, [int((labels == digit).nonzero()[0]) for digit in DIGITS]


@cache
def whole() -> int:
    """Return the multiply-adds of the dense network for one digit."""
    return count(CifarNet(), pictures()[0][:1]).macs


@cache
def measured(density: float, boosting: bool) -> Setting:
    """Run the network at one setting: masked on all digits, and gathered on the shown ones to count what ran."""
    model, (x, labels, shown) = copy.deepcopy(network()), pictures()
    set_density(model, density)
    set_boosting(model, boosting)
    model = renormalized(model, mnist("train", source="offline")[:N_NORM].tensors()[0])
    with checks.evaluating(model):
        set_execution(model, "masked")
        accuracy = 100 * float((model(x).argmax(1) == labels).double().mean())
        skips = {name: _skips(layer.chosen, labels) for name, layer in dynamic_blocks(model).items()}
        set_execution(model, "image")
        answers = model(x[shown]).argmax(1).tolist()
    macs = torch.stack([layer.ran for layer in dynamic_blocks(model).values()], 1).tolist()
    return Setting(accuracy, skips, answers, macs, _gains(model))


def dynamic_blocks(model: CifarNet) -> dict[str, FBSConv2d]:
    """Return the blocks with feature boosting and suppression, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, FBSConv2d)}


@cache
def fixed() -> int:
    """Return the multiply-adds of what runs for every digit: the first block and the last layer."""
    return whole() - sum(dense_blocks())


@cache
def dense_blocks() -> list[int]:
    """Return the multiply-adds of the dynamic blocks for one digit when nothing is skipped."""
    rows = {row.name: row.macs for row in count(CifarNet(), pictures()[0][:1]).rows}
    return [rows[f"{name}.conv"] for name in dynamic_blocks(network())]


def _skips(chosen: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Return how often each channel is skipped for digits of each class, (10, K) in percent."""
    return np.stack([100 * (~chosen[labels == digit]).double().mean(0).numpy() for digit in DIGITS])


def _gains(model: CifarNet) -> list[np.ndarray]:
    """Return for each picture of the last call the gains of all layers, (layers, channels), short layers filled up."""
    layers = list(dynamic_blocks(model).values())
    width = max(layer.conv.out_channels for layer in layers)
    table = np.zeros((len(layers[0].chosen), len(layers), width))
    for i, layer in enumerate(layers):
        gain = layer.saliency if layer.boosting else torch.ones_like(layer.saliency)
        table[:, i, : gain.shape[1]] = torch.where(layer.chosen, gain, 0).detach().numpy()
    return list(table)


@register
def fbs_explorer() -> Explorer:
    """Return the FBS dial: density, boosting and a digit against channels, work, accuracy and the heat map.

    Chapter 29; lecture 003:3131-3174.

    >>> explorer = fbs_explorer()
    >>> few, many = (explorer.compute(density=d)["numbers"]["Multiply-adds that ran"] for d in (0.2, 0.8))
    >>> few < many
    True
    """
    layers = {name: f"block {int(name[-1]) + 1}" for name in dynamic_blocks(network())}
    return Explorer(
        "fbs",
        _views,
        title="FBS: turn the density",
        controls=[
            Slider("density", 0.1, 1.0, 0.1, default=0.5, label="Density d"),
            Toggle("boosting", default=True, label="Boosting"),
            Choice("digit", {str(d): f"a {d}" for d in DIGITS}, default="3", label="Digit"),
            Choice("layer", layers, default=list(layers)[-1], label="Heat map of"),
        ],
        views=VIEWS,
        static=Grid(),
        alt="The digit {digit} at density {density}, boosting {boosting}: the gains of the channels that run, and how "
        "often each channel of {layer} is skipped for each digit",
        caption=f"The shipped network, trained at density 0.5, on {N_DIGITS} test digits that it has not seen. Means "
        f"and variances of its batch norms are estimated again for each setting, on {N_NORM} others.",
    )


def _views(density: float, boosting: bool, digit: str, layer: str) -> dict[str, Any]:
    made, (x, _, shown), k = measured(density, boosting), pictures(), int(digit)
    gains, work = made.gains[k], np.array(made.macs[k])
    blocks = [str(i + 2) for i in range(len(gains))]
    return {
        "image": x[shown[k], 0].numpy(),
        "work": Groups(blocks, {"dense": np.array(dense_blocks()) / 1e6, "ran": work / 1e6}),
        "gains": Cells(gains, rows=blocks),
        "skips": Cells(made.skips[layer], rows=[str(d) for d in DIGITS]),
        "numbers": {
            "Answer": made.answers[k],
            "Active channels": int((gains > 0).sum()),
            "Multiply-adds that ran": int(work.sum()) + fixed(),
            "Of the dense network": 100 * (int(work.sum()) + fixed()) / whole(),
            f"Accuracy on {N_DIGITS} digits": made.accuracy,
        },
    }

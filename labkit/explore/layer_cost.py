"""The first explorer of Chapter 4: what each layer of a network costs, at any size of the picture and any width."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Groups, Readouts, Treemap
from labkit.nets import skeleton

NETWORKS = {
    "svhn": "House numbers, lecture 000",
    "alexnet": "AlexNet, in two groups",
    "vgg-16": "VGG-16",
    "googlenet": "GoogLeNet",
    "resnet-18": "ResNet-18",
    "resnet-50": "ResNet-50",
}
AREAS = {"parameters": "Parameters", "macs": "Multiply-adds", "activations": "Activations"}
EIGHTHS = 8  # sizes and widths go by eighths, at which all numbers of pixels and channels stay whole
SIZES = [k / EIGHTHS for k in range(5, 17)]
WIDTHS = [k / EIGHTHS for k in range(2, 17)]
KINDS = ("convolutions", "linear layers")
TILE = re.compile(r"features\.(\w+)|(layer\d\.\d+)|inception(\w+)|(\w+)")
UNITS = {"Weights, 32 bits": "MB", "Activations, 32 bits": "MB", "Fully connected": "%"}


@dataclass(frozen=True, eq=False)
class Layers:
    """The L layers with weights of one network at one image size, each with its biases and its normalisation.

    At width a, a layer has weights a^power + others a^growth parameters, places weights a^power multiply-adds and
    outputs a^growth activations: `power` is 2, or 1 where the input or the output has a fixed number of channels,
    and `growth` is 1, or 0 for the classifier.
    """

    side: int
    names: tuple[str, ...]
    linear: np.ndarray  # (L,) bool; the others are int64
    weights: np.ndarray
    others: np.ndarray
    outputs: np.ndarray
    places: np.ndarray  # where the kernel is applied: h w for a convolution, 1 for a linear layer
    power: np.ndarray
    growth: np.ndarray

    def costs(self, width: float) -> dict[str, np.ndarray]:
        """Return parameters, multiply-adds and activations of each layer at a width of so many eighths."""
        k = round(EIGHTHS * width)
        weights = self.weights * k**self.power // EIGHTHS**self.power
        others, outputs = (n * k**self.growth // EIGHTHS**self.growth for n in (self.others, self.outputs))
        return {"parameters": weights + others, "macs": weights * self.places, "activations": outputs}


@register
def layer_cost_explorer() -> Explorer:
    """Return the explorer of a network's cost by layer: which network, picture size, width, and what is counted.

    One multiply-add is one operation, biases take none, a batch normalisation belongs to the layer before it.
    Chapter 4; lecture 000:181-224, 002:16-35.

    >>> numbers = layer_cost_explorer().compute(network="vgg-16")["numbers"]
    >>> numbers["Parameters"], numbers["Multiply-adds"]
    (138357544, 15470264320)
    """
    return Explorer(
        "layer-cost",
        _views,
        title="Layer cost: where do the weights live, and where is the work?",
        controls=[
            Choice("network", NETWORKS, default="alexnet", label="Network"),
            Slider("size", values=SIZES, default=1.0, label="Image size", unit="× its own"),
            Slider("width", values=WIDTHS, default=1.0, label="Width of all layers", unit="× its own"),
            Choice("area", AREAS, label="Areas show", style="radio"),
        ],
        views=[
            Treemap("layers", "Layers by their share; in GoogLeNet and ResNet, blocks", wide=True),
            Bars("kinds", "Shares by type of layer", y_label="share (%)", y_range=(0, 100), stacked=True, wide=True),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("layer_cost.js", page_data),
        alt="The {area} of {network} by layer, at {size} times its image size and {width} times its width",
        caption="Multiply-adds of convolutions and linear layers, for one picture; activations are their outputs.",
    )


def _views(network: str, size: float, width: float, area: str) -> dict[str, Any]:
    layers = network_layers(network, size)
    costs = layers.costs(width)
    tiles: dict[str, int] = {}
    for name, n in zip(layers.names, costs[area].tolist(), strict=True):
        tiles[name] = tiles.get(name, 0) + n
    return {"layers": tiles, "kinds": _kinds(layers, costs), "numbers": _numbers(layers, costs, area)}


def _kinds(layers: Layers, costs: dict[str, np.ndarray]) -> Groups:
    linear = [100 * int(n[layers.linear].sum()) / int(n.sum()) for n in costs.values()]
    shares = ([100 - share for share in linear], linear)
    return Groups(list(AREAS.values()), dict(zip(KINDS, shares, strict=True)))


def _numbers(layers: Layers, costs: dict[str, np.ndarray], area: str) -> dict[str, Any]:
    totals = {name: int(n.sum()) for name, n in costs.items()}
    return {
        "Picture": f"{layers.side} × {layers.side}",
        "Parameters": totals["parameters"],
        "Multiply-adds": totals["macs"],
        "Weights, 32 bits": 4e-6 * totals["parameters"],
        "Activations, 32 bits": 4e-6 * totals["activations"],
        "Fully connected": 100 * int(costs[area][layers.linear].sum()) / totals[area],
    }


@cache
def network_layers(network: str, size: float = 1.0) -> Layers:
    """Return the layers of a network of `labkit.nets.ARCHITECTURES` for pictures `size` times as large as its own.

    Raises TypeError or ValueError for an unknown network, a size that is not one of `SIZES`, or a network without
    `image_size`.

    >>> network_layers("svhn").places.tolist()
    [1296, 256, 196, 25, 1, 1]
    """
    if checks.number(size, "size", low=SIZES[0], high=SIZES[-1]) not in SIZES:
        raise ValueError(f"size must be a multiple of 1/{EIGHTHS}, got {size}")
    own, power, growth = _own(network)
    side = int(own * size)
    names, linear, *numbers = zip(*_rows(*skeleton(network, image_size=side)), strict=True)
    columns = (np.array(column, dtype=np.int64) for column in (*numbers, power, growth))
    return Layers(side, names, np.array(linear), *columns)


@cache
def _own(network: str) -> tuple[int, list[int], list[int]]:
    """Return a network's own picture size, and the powers of the width that its layers' costs grow with."""
    narrow, wide = ([n for _, n in _weights(skeleton(network, width=a)[0])] for a in (1.0, 2.0))
    power = [int(math.log2(b // a)) for a, b in zip(narrow, wide, strict=True)]
    return skeleton(network)[1].shape[-1], power, [*[1] * (len(power) - 1), 0]


def _weights(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of weights of each layer."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield name, module.weight.numel()


def _rows(model: nn.Module, x: torch.Tensor) -> Iterator[tuple[str, bool, int, int, int, int]]:
    """Yield name, kind, weights, other parameters, outputs and places of each layer of a network."""
    shapes = _output_shapes(model, x)
    rows: list[list[Any]] = []
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.Conv2d | nn.Linear):
            shape, weights = shapes[name], own.pop("weight").numel()
            rows.append(
                [_tile(name), isinstance(module, nn.Linear), weights, 0, math.prod(shape), math.prod(shape[1:])]
            )
        if own:  # biases, or a normalisation behind the layer
            rows[-1][3] += sum(p.numel() for p in own.values())
    yield from map(tuple, rows)  # type: ignore[misc]


def _output_shapes(model: nn.Module, x: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Return the output shape of every module, the batch left out."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        return lambda module, args, output: shapes.update({name: tuple(output.shape[1:])})

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return shapes


def _tile(name: str) -> str:
    return next(part for part in TILE.match(name).groups() if part)  # type: ignore[union-attr]


def page_data() -> dict[str, Any]:
    """Return what `static/layer_cost.js` needs: for each network its layers at every size."""
    return {
        "eighths": EIGHTHS,
        "sizes": SIZES,
        "areas": list(AREAS),
        "areaNames": list(AREAS.values()),
        "kinds": KINDS,
        "networks": {name: _page_network([network_layers(name, size) for size in SIZES]) for name in NETWORKS},
    }


def _page_network(by_size: list[Layers]) -> dict[str, Any]:
    first = by_size[0]
    tiles = list(dict.fromkeys(first.names))
    return {
        "tiles": tiles,
        "tile": np.array([tiles.index(name) for name in first.names]),
        "sides": [layers.side for layers in by_size],
        "linear": first.linear,
        "weights": np.stack([layers.weights for layers in by_size]),  # (sizes, L)
        "places": np.stack([layers.places for layers in by_size]),
        "outputs": np.stack([layers.outputs for layers in by_size]),
        "others": first.others,
        "power": first.power,
        "growth": first.growth,
    }

"""The first explorer of Chapter 19: what becomes of a layer, and of the network, when its numbers become signs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.cost import xnor_speedup
from labkit.experiments import record
from labkit.explore import codec
from labkit.explore.controls import Choice, Toggle
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Lines, Picture, Pixels, Readouts, Series
from labkit.nets import load

ROWS, COLUMNS = 25, 50  # the part of a weight that is drawn
INNER, LAST = ("conv2", "fc1"), "fc2"
LAYERS = {
    "conv1": "conv1, 20 × 25",
    "conv2": "conv2, 50 × 500",
    "fc1": "fc1, 500 × 800",
    "fc2": "fc2, 10 × 500",
}
LABELS = ("variance of the row, times n", "residual of the row")
UNITS = {
    "Residual / ‖W‖²": "%",
    "Variances / ‖W‖²": "%",
    "Smaller": "×",
    "S(c) of this layer": "×",
    "Test error": "%",
    "Test error, all real": "%",
}


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight (m, n): the part that is drawn, and for each row the sum of absolute values and of squares."""

    part: np.ndarray
    n: int
    absolute: np.ndarray
    squares: np.ndarray

    @property
    def alpha(self) -> np.ndarray:
        """The scale of each row, the mean absolute weight."""
        return self.absolute / self.n


@register
def xnor_lab_explorer() -> Explorer:
    """Return the explorer of binary weights and inputs: LeNet-5's layers, and the recorded error of every setting.

    The pictures show the trained weights of LeNet-5; the errors are those of networks trained with these switches,
    by the experiment `xnor-lab`. The first layer is always real. Chapter 19; lecture 000:841-919, 003:1186-1227.

    >>> numbers = xnor_lab_explorer().compute(layer="fc1", weights=True, inputs=True, scale=True, last=False)["numbers"]
    >>> numbers["This layer"], round(numbers["Residual / ‖W‖²"] / numbers["Variances / ‖W‖²"], 9)
    ('signs times a scale', 1.0)
    """
    layers, errors = {name: _layer(name) for name in LAYERS}, recorded_errors()
    return Explorer(
        "xnor-lab",
        lambda layer, **switches: _views(layer, layers[layer], errors, **switches),
        title="XNOR lab: which numbers may become signs?",
        controls=[
            Choice("layer", LAYERS, default="conv2", label="Layer"),
            Toggle("weights", default=True, label="Binary weights"),
            Toggle("inputs", label="Binary inputs"),
            Toggle("scale", default=True, label="Scale alpha for each output", when={"weights": [True]}),
            Toggle("last", label="Last layer too", when={"weights": [True]}),
        ],
        views=[
            Picture("real", "Trained weights", colormap="diverging", pixelated=True, scale=True),
            Picture("used", "What the network uses", colormap="diverging", pixelated=True, scale=True),
            Lines("rows", "What is lost, row by row", wide=True, x_label="output", y_label="share of ‖w‖²",
                  y_scale="log", y_range=(0.1, 2000)),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("xnor_lab.js", lambda: page_data(layers, errors)),
        alt="The weights of {layer}, before and after they become signs",
        caption="At most 25 rows and 50 columns of the weight, one row for each output. Errors: mean of the recorded "
        "runs on the 10,000 test digits.",
    )  # fmt: skip


def recorded_errors() -> dict[str, float]:
    """Return the recorded mean test error in percent for each setting of the switches, by its name."""
    return {row["variant"]: row["mean"] for row in record("xnor-lab").summary["mean_test_error"]}


def page_data(layers: dict[str, Layer], errors: dict[str, float]) -> dict[str, Any]:
    """Return what `static/xnor_lab.js` needs."""
    return {"errors": errors, "layers": {name: _page_layer(layer) for name, layer in layers.items()}}


def _page_layer(layer: Layer) -> dict[str, Any]:
    sums = {"absolute": codec.Exact(layer.absolute), "squares": codec.Exact(layer.squares)}
    return {"part": codec.Exact(layer.part), "n": layer.n} | sums


def _layer(name: str) -> Layer:
    layer: Any = load("lenet-5").get_submodule(name)
    w = layer.weight.detach().flatten(1).double().numpy()
    return Layer(w[:ROWS, :COLUMNS], w.shape[1], np.abs(w).sum(axis=1), np.square(w).sum(axis=1))


def _views(
    name: str, layer: Layer, errors: dict[str, float], *, weights: bool, inputs: bool, scale: bool, last: bool
) -> dict[str, Any]:
    scale, last = scale and weights, last and weights
    binary = weights and (name in INNER or (name == LAST and last))
    size = layer.alpha if scale else np.ones_like(layer.alpha)  # of the signs
    lost = layer.squares - 2 * size * layer.absolute + layer.n * size**2 if binary else np.zeros_like(size)
    variance = layer.squares - layer.absolute**2 / layer.n  # n times the variance of the absolute values
    shown = [Series(variance / layer.squares, label=LABELS[0], muted=binary)]
    shown += [Series(lost / layer.squares, label=LABELS[1], kind="points")] if binary else []
    numbers: dict[str, Any] = {"This layer": ("signs times a scale" if scale else "signs") if binary else "real"}
    numbers |= _shares(layer, lost, variance) | _price(layer, binary, inputs, scale)
    numbers |= {"Test error": errors[variant(weights, inputs, scale, last)], "Test error, all real": errors["real"]}
    return {**_pictures(layer, size, binary, scale), "rows": shown, "numbers": numbers}


def _pictures(layer: Layer, size: np.ndarray, binary: bool, scale: bool) -> dict[str, Pixels]:
    limit = round(200 * float(layer.alpha.mean())) / 100
    high = limit if scale or not binary else 1.0
    used = np.where(layer.part < 0, -1.0, 1.0) * size[:ROWS, None] if binary else layer.part
    return {"real": Pixels(layer.part, -limit, limit), "used": Pixels(used, -high, high)}


def _shares(layer: Layer, lost: np.ndarray, variance: np.ndarray) -> dict[str, float]:
    total = float(layer.squares.sum())
    return {
        "Residual / ‖W‖²": 100 * float(lost.sum()) / total,
        "Variances / ‖W‖²": 100 * float(variance.sum()) / total,
    }


def _price(layer: Layer, binary: bool, inputs: bool, scale: bool) -> dict[str, Any]:
    bits = 1 + 32 * scale / layer.n if binary else 32.0
    speedup = xnor_speedup(layer.n, 1) if binary and inputs else None
    return {"Bits for a weight": float(bits), "Smaller": 32 / bits, "S(c) of this layer": speedup}


def variant(weights: bool, inputs: bool, scale: bool, last: bool) -> str:
    """Return the name that the experiment gives to a setting.

    >>> variant(True, True, True, False), variant(False, False, False, False)
    ('weights-inputs-scale', 'real')
    """
    switches = {"weights": weights, "inputs": inputs, "scale": scale, "last": last}
    return "-".join(name for name, on in switches.items() if on) or "real"

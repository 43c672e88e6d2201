"""The second explorer of Chapter 19: where the threshold of a ternary layer should lie."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import norm

from labkit.explore import codec
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Cut, Lines, Readouts, Series
from labkit.nets import load
from labkit.quantization import float_weight, optimal_threshold, ternary_errors, twn

LAYERS = {
    "conv2": "LeNet-5, conv2",
    "fc1": "LeNet-5, fc1",
    "first": "LeNet-300-100, fc1",
    "uniform": "uniform weights",
    "normal": "Gaussian weights",
}
STEP, TOP = 0.02, 3.0
STOPS = STEP * np.arange(round(TOP / STEP) + 1)  # thresholds of the slider over mean abs(w)
RULE = 0.7
WINDOW = 4.0  # the histogram goes from -WINDOW to WINDOW
N_BINS = 80
N_DRAWN = 20_001
UNITS = {"Zeros": "%", "Error": "%", "Error at 0.7": "%", "Least error": "%", "Error of binary": "%"}
VIEWS = [
    Lines(
        "weights",
        "The weights, and the three values that replace them",
        x_label="weight / mean |w|",
        y_label="share of the weights (%)",
        x_range=(-WINDOW, WINDOW),
    ),
    Lines("curve", "Error with the best scale", x_label="threshold / mean |w|", y_label="relative error (%)"),
    Readouts("numbers", units=UNITS),
]


@dataclass(frozen=True, eq=False)
class Weights:
    """A layer's weights (n,) over the mean of their absolute values, and what does not depend on the threshold."""

    values: np.ndarray

    @cached_property
    def errors(self) -> np.ndarray:
        """The relative error at every stop of the slider."""
        return ternary_errors(self.values, STOPS)

    @cached_property
    def best(self) -> float:
        """The exact optimal threshold."""
        return optimal_threshold(self.values)

    @cached_property
    def density(self) -> np.ndarray:
        """The share of all weights in each bin, in percent."""
        counts = np.histogram(self.values, N_BINS, (-WINDOW, WINDOW))[0]
        return 100 * counts / len(self.values)


@register
def ternary_explorer() -> Explorer:
    """Return the explorer of the ternary threshold: the scale and the error for every threshold, on trained layers.

    Weights and thresholds are in units of the mean absolute weight, so that the rule of ternary weight networks is
    the threshold 0.7 in every layer. Chapter 19; lecture 003:1230.

    >>> numbers = ternary_explorer().compute(layer="uniform", threshold=0.7)["numbers"]
    >>> round(numbers["Best threshold"], 2), round(numbers["Error"], 1)
    (0.67, 33.4)
    """
    layers = {name: Weights(_weights(name)) for name in LAYERS}
    return Explorer(
        "ternary-threshold",
        lambda layer, threshold: _views(layers[layer], threshold),
        title="Where should the threshold of a ternary layer lie?",
        controls=[
            Choice("layer", LAYERS, label="Weights"),
            Slider("threshold", 0.0, TOP, STEP, default=RULE, label="Threshold Δ / mean |w|"),
        ],
        views=VIEWS,
        static=Browser("ternary.js", lambda: page_data(layers)),
        alt="{layer}: weights with the threshold {threshold}, and the relative error over all thresholds",
        caption="α is always the best scale for the threshold, the mean of the absolute weights beyond it. At the "
        "threshold 0 no weight is lost: the binary case.",
    )


def page_data(layers: dict[str, Weights]) -> dict[str, Any]:
    """Return what `static/ternary.js` needs: how many weights lie beyond each stop, and their sum."""
    fixed = {"step": STEP, "window": WINDOW, "rule": RULE}
    return fixed | {"layers": {name: _page_layer(weights) for name, weights in layers.items()}}


def _page_layer(weights: Weights) -> dict[str, Any]:
    sizes = np.sort(np.abs(weights.values))[::-1]  # largest first
    beyond = len(sizes) - np.searchsorted(sizes[::-1], STOPS, side="right")
    totals = np.append(0.0, np.cumsum(sizes))[beyond]
    return {
        "counts": beyond.astype(np.int32),
        "totals": codec.Exact(totals),
        "n": len(sizes),
        "squares": float(np.sum(sizes**2)),
        "best": weights.best,
        "least": float(ternary_errors(weights.values, [weights.best])[0]),
        "density": codec.Exact(weights.density),
    }


def _weights(name: str) -> np.ndarray:
    grid = (np.arange(N_DRAWN) + 0.5) / N_DRAWN
    if name == "uniform":
        values = 2 * grid - 1
    elif name == "normal":
        values = norm.ppf(grid)
    else:
        model = load("lenet-300-100") if name == "first" else load("lenet-5")
        layer = model.get_submodule("fc1" if name == "first" else name)
        values = float_weight(layer).detach().numpy().ravel().astype(float)
    return values / np.abs(values).mean()


def _views(weights: Weights, threshold: float) -> dict[str, Any]:
    made = twn(weights.values, threshold=threshold)
    error = float(ternary_errors(weights.values, [threshold])[0])
    centres = (np.arange(N_BINS) + 0.5) * 2 * WINDOW / N_BINS - WINDOW
    levels = [Cut(x=-made.scale, muted=True), Cut(x=made.scale, label="α", muted=True)]
    return {
        "weights": [
            Series(weights.density, centres, "weights", "steps"),
            Cut(x=-threshold),
            Cut(x=threshold, label="Δ"),
            *levels,
        ],
        "curve": [
            Series(100 * weights.errors, STOPS, "ternary"),
            Series([100 * error], [threshold], "shown", "points"),
            Cut(x=RULE, label="0.7", muted=True),
            Cut(x=weights.best, label="best"),
            Cut(y=float(100 * weights.errors[0]), label="binary", muted=True),
        ],
        "numbers": _numbers(weights, made.scale, made.sparsity, error),
    }


def _numbers(weights: Weights, scale: float, sparsity: float, error: float) -> dict[str, Any]:
    least = float(ternary_errors(weights.values, [weights.best])[0])
    return {
        "Scale α / mean |w|": scale,
        "Zeros": 100 * sparsity,
        "Error": 100 * error,
        "Error at 0.7": float(100 * weights.errors[round(RULE / STEP)]),
        "Best threshold": weights.best,
        "Least error": 100 * least,
        "Error of binary": float(100 * weights.errors[0]),
    }

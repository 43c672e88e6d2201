"""The second explorer of Chapter 15: where to put the radix point of each layer."""

from functools import cache
from typing import Any

import numpy as np

from labkit import nets
from labkit.datasets import mnist
from labkit.explore import codec
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Cut, Groups, Lines, Readouts, Series
from labkit.quantization import Histogram, collect, collect_inputs, integer_range, radix_sqnr

LAYERS = ("conv1", "conv2", "fc1", "fc2")
KINDS = {"data": "inputs", "weights": "weights"}
BITS = range(2, 17)
FRACTIONS = range(-4, 17)
LABELS = ("this layer", "shown", "best", "the same for all", "a radix point of its own")
ALT = "The SQNR of the {kind} of {layer} with {bits} bits for every number of fraction bits, {fraction} shown"
CAPTION = "LeNet-5, 250 training digits. The bars set the radix point shown beside the best one of each layer."
UNITS = {"SQNR": "dB", "Best SQNR": "dB", "Saturated": "%"}


@register
def radix_point_explorer() -> Explorer:
    """Return the explorer of fixed point: bits, fraction bits and the SQNR, for every layer of LeNet-5.

    Chapter 15; lecture 003:1135-1165.

    >>> numbers = radix_point_explorer().compute(layer="fc2", kind="data", bits=8, fraction=3)["numbers"]
    >>> numbers["Best fraction"]
    3
    """
    return Explorer(
        "radix-point",
        lambda layer, kind, bits, fraction: _views(tables()[kind], kind, layer, bits, fraction),
        title="Where is the radix point of a layer?",
        controls=[
            Choice("layer", list(LAYERS), default="fc1", label="Layer"),
            Choice("kind", KINDS, label="Its", style="radio"),
            Slider("bits", BITS[0], BITS[-1], default=8, label="Bits"),
            Slider("fraction", FRACTIONS[0], FRACTIONS[-1], default=4, label="Fraction bits"),
        ],
        views=[
            Lines("curve", "All radix points", x_label="fraction bits", y_label="SQNR (dB)", y_range=(0, 100)),
            Bars("layers", "All layers", y_label="SQNR (dB)", y_range=(0, 100)),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("radix_point.js", page_data),
        alt=ALT,
        caption=CAPTION,
    )  # fmt: skip


@cache
def tables() -> dict[str, dict[str, np.ndarray]]:
    """Return the SQNR in dB and the saturated percentage of everything: kind -> {layer: (bits, fractions, 2)}."""
    model = nets.load("lenet-5")
    inputs = collect_inputs(model, mnist("train", source="offline")[:250].tensors()[0], names=LAYERS)
    weights = {name: collect(model.get_submodule(name).weight) for name in LAYERS}
    return {
        kind: {name: _table(hist) for name, hist in several.items()}
        for kind, several in (("data", inputs), ("weights", weights))
    }


def page_data() -> dict[str, Any]:
    """Return what `static/radix_point.js` needs."""
    values = {kind: {n: codec.Exact(t) for n, t in several.items()} for kind, several in tables().items()}
    return {"bits": BITS[0], "fraction": FRACTIONS[0], "layers": LAYERS, "labels": LABELS} | values


def _table(hist: Histogram) -> np.ndarray:
    signed = hist.low < 0
    made = np.empty((len(BITS), len(FRACTIONS), 2))
    for i, bits in enumerate(BITS):
        top = integer_range(bits, signed=signed)[1]
        for j, f in enumerate(FRACTIONS):
            beyond = hist.counts[hist.centres * 2.0**f > top + 0.5].sum() / hist.total
            made[i, j] = radix_sqnr(hist, bits=bits, fraction=f, signed=signed), 100 * beyond
    return made


def _views(table: dict[str, np.ndarray], kind: str, layer: str, bits: int, fraction: int) -> dict[str, Any]:
    i, j = bits - BITS[0], fraction - FRACTIONS[0]
    curves = {name: values[i, :, 0] for name, values in table.items()}
    curve, k = curves[layer], int(np.argmax(curves[layer]))
    return {
        "curve": [
            Series(curve, np.array(FRACTIONS, dtype=float), LABELS[0]),
            Series([curve[j]], [float(fraction)], LABELS[1], kind="points"),
            Cut(x=float(FRACTIONS[k]), label=LABELS[2], muted=True),
        ],
        "layers": _bars(curves, j),
        "numbers": {
            "SQNR": float(curve[j]),
            "Saturated": float(table[layer][i, j, 1]),
            "Best fraction": FRACTIONS[k],
            "Best SQNR": float(curve[k]),
            "Step": 2.0**-fraction,
        },
    }


def _bars(curves: dict[str, np.ndarray], j: int) -> Groups:
    """Set radix point j beside the best one of each layer; a ratio below 0 dB gets no bar."""
    same, own = ([max(float(pick(curve)), 0.0) for curve in curves.values()] for pick in (lambda c: c[j], np.max))
    return Groups(list(curves), {LABELS[3]: same, LABELS[4]: own})

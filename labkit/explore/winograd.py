"""The first explorer of Chapter 23: F(2, 3) product by product, and what larger tiles save and cost."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from labkit.convolution import correlate1d, direct_error, f23, n_mults, saving, winograd_error
from labkit.convolution.rounding import DTYPES
from labkit.convolution.winograd import F23
from labkit.explore import codec
from labkit.explore.controls import Choice, Field, Slider, Steps
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Cut, Groups, Lines, Readouts, Rows, Series, Table

F, G = (0, 0, 1, 2), (10, 20, 30)  # the lecture's
STEPS = ("inputs", "kernel", "m₁", "m₂", "m₃", "m₄", "outputs")
INPUTS = ("d₀ − d₂", "d₁ + d₂", "d₂ − d₁", "d₁ − d₃")
KERNEL = ("g₀", "(g₀ + g₁ + g₂) / 2", "(g₀ − g₁ + g₂) / 2", "g₂")
TILES = (2, 4, 6)
MEASURED = (1, 2, 3, 4, 5, 6, 7, 8)  # tiles on the axis of the error
UNITS = {"Fewer multiplications": "×"}

CONTROLS = [
    Field("f", F, length=4, low=-999, high=999, label="Inputs f", examples=[(1, -2, 3, 0.5)]),
    Field("g", G, length=3, low=-999, high=999, label="Kernel g", examples=[(1, 0, -1)]),
    Steps("step", STEPS, label="Step"),
    Slider("m", values=TILES, default=2, label="Outputs m of F(m × m, 3 × 3)"),
    Choice("dtype", list(DTYPES), default="float32", label="Precision", style="radio"),
]
VIEWS = [
    Table("products", "Four products", wide=True),
    Bars("counts", "Operations of F(2, 3) so far", y_label="operations", y_range=(0, 10)),
    Lines(
        "errors",
        "Rounding error by tile",
        x_label="outputs m of a tile",
        y_label="relative error",
        y_scale="log",
        x_range=(1, 8),
    ),
    Readouts("numbers", units=UNITS),
]


@cache
def errors(dtype: str) -> tuple[tuple[float, ...], float]:
    """Return the error of F(m x m, 3 x 3) for each m of MEASURED, and that of the direct sum for 4 x 4 outputs."""
    return tuple(winograd_error(m, dtype=dtype, random_state=0) for m in MEASURED), direct_error(
        4, dtype=dtype, random_state=0
    )


@register
def winograd_explorer() -> Explorer:
    """Return the Winograd stepper: type f and g, step through m1 to m4; choose a tile and a precision.

    Chapter 23; lecture 003:1842-1915.

    >>> numbers = winograd_explorer().compute(step=6)["numbers"]
    >>> numbers["y₀"], numbers["y₁"], numbers["Multiplications, direct"], numbers["Multiplications, Winograd"]
    (30.0, 80.0, 36, 16)
    """
    return Explorer(
        "winograd",
        _views,
        title="Winograd: two outputs in four multiplications",
        controls=CONTROLS,
        views=VIEWS,
        static=Browser("winograd.js", page_data),
        alt="F(2, 3) step by step, and the multiplications and rounding error of tiles of {m} × {m} outputs in {dtype}",
        caption="The kernel's operations are needed once, not for every picture. Error: the largest of 64 tiles with "
        "64 channels of random numbers, divided by the largest output.",
    )


def _views(f: Sequence[float], g: Sequence[float], step: int, m: int, dtype: str) -> dict[str, Any]:
    found, direct = errors(dtype)
    return {
        "products": _products(f, g, step),
        "counts": _counts(step),
        "errors": [Series(found, MEASURED, "Winograd"), Cut(y=direct, label="direct", muted=True), Cut(x=m)],
        "numbers": _numbers(f, g, step, m, found[MEASURED.index(m)], direct),
    }


def _products(f: Sequence[float], g: Sequence[float], step: int) -> Rows:
    left = f[0] - f[2], f[1] + f[2], f[2] - f[1], f[1] - f[3]
    right = g[0], (g[0] + g[2] + g[1]) / 2, (g[0] + g[2] - g[1]) / 2, g[2]
    rows = [
        {
            "product": f"m{'₁₂₃₄'[i]}",
            "of the inputs": INPUTS[i],
            "=": left[i],
            "of the kernel": KERNEL[i] if step >= 1 else "",
            "= ": right[i] if step >= 1 else "",
            "m": left[i] * right[i] if step >= i + 2 else "",
        }
        for i in range(4)
    ]
    return Rows(rows, highlight=step - 2 if 2 <= step <= 5 else None)


def _counts(step: int) -> Groups:
    """Additions and multiplications up to a step, as the lecture counts them."""
    kernel, products = step >= 1, min(max(step - 1, 0), 4)
    own = [products, F23.INPUTS[0] + (F23.OUTPUTS[0] if step == len(STEPS) - 1 else 0)]
    once = [F23.KERNEL[1] * kernel, F23.KERNEL[0] * kernel]
    return Groups(
        ["multiplications", "additions"], {"for every picture": own, "once per kernel": once, "direct": [6, 4]}
    )


def _numbers(f: Sequence[float], g: Sequence[float], step: int, m: int, error: float, direct: float) -> dict[str, Any]:
    y = f23(f, g).outputs if step == len(STEPS) - 1 else (None, None)
    checked = correlate1d(np.array(f), np.array(g))
    return {
        "y₀": y[0],
        "y₁": y[1],
        "y₀, direct": float(checked[0]),
        "y₁, direct": float(checked[1]),
        "Multiplications, direct": 9 * m**2,
        "Multiplications, Winograd": n_mults((m, m), (3, 3)),
        "Fewer multiplications": saving((m, m), (3, 3)),
        "Error": error,
        "Error, direct": direct,
    }


def page_data() -> dict[str, Any]:
    """Return what `static/winograd.js` needs: the measured errors by precision, and the texts."""
    found = {dtype: errors(dtype) for dtype in DTYPES}
    return {
        "steps": len(STEPS),
        "inputs": INPUTS,
        "kernel": KERNEL,
        "tiles": list(MEASURED),
        "errors": {dtype: codec.Exact(tiles) for dtype, (tiles, _) in found.items()},
        "direct": {dtype: direct for dtype, (_, direct) in found.items()},
        "operations": {"inputs": F23.INPUTS, "kernel": F23.KERNEL, "outputs": F23.OUTPUTS},
    }

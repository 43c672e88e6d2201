"""The second explorer of Chapter 21: any truth table as a network of look-up tables."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from labkit import checks
from labkit.explore.controls import Choice, Field, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.graph import Graph, Node, Wiring
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Cells, Heatmap, Readouts
from labkit.kernels.lut import INPUTS_MAX, LutNetwork, functions, synthesize

SIZES = (2, 6)  # inputs of the function, and of a look-up table
OWN = "own"
NAMES = {
    "parity": "parity: is the number of ones odd?",
    "majority": "majority: are more than half of them 1?",
    "carry": "carry: the second bit of their count",
    OWN: "your own",
}
FUNCTIONS: dict[str, Callable[[int, int], int]] = {  # of the number of ones and of all inputs
    "parity": lambda ones, n: ones % 2,
    "majority": lambda ones, n: int(2 * ones > n),
    "carry": lambda ones, n: ones >> 1 & 1,
}

CONTROLS = [
    Choice("function", NAMES, default="majority"),
    Field("ones", [0, 3, 5, 6, 9, 12], low=0, high=63, label="Rows that give 1", when={"function": [OWN]}),
    Slider("n_inputs", *SIZES, default=5, label="Inputs of the function"),
    Slider("k", *SIZES, default=3, label="Inputs of a look-up table"),
]
VIEWS = [
    Heatmap(
        "table",
        "Truth table",
        x_label="low inputs, x₀ last",
        y_label="high inputs",
        low=0,
        high=1,
        numbers=True,
    ),
    Bars("counts", "Look-up tables used, by their inputs", y_label="look-up tables"),
    Graph("network", "Network", wide=True),
    Readouts("numbers", units={"Memory of the tables": "bits"}),
]


@register
def lut_explorer() -> Explorer:
    """Return the LUT synthesiser: choose or type a truth table, see the network of k-input look-up tables.

    Chapter 21; lecture 000:1170-1186.

    >>> numbers = lut_explorer().compute(function="parity", n_inputs=5, k=3)["numbers"]
    >>> numbers["Look-up tables"], numbers["Exact for all inputs"]
    (2, True)
    """
    return Explorer(
        "lut-synthesiser",
        lambda function, ones, n_inputs, k: _views(rows_of(function, ones, n_inputs), n_inputs, k),
        title="LUT synthesiser: how many look-up tables does a function take?",
        controls=CONTROLS,
        views=VIEWS,
        static=Browser("lut.js", {}),
        alt="A function of {n_inputs} inputs ({function}) as a network of look-up tables with {k} inputs each",
        caption="Row r of the truth table belongs to the inputs x₀, x₁, ... with r = x₀ + 2x₁ + 4x₂ + ... Rows past "
        "the end of the table are left out. Point at a table to see its content, the last row first. "
        "Shannon's expansion finds a network, not always the smallest.",
    )


def rows_of(function: str, ones: Sequence[float], n_inputs: int) -> list[int]:
    """Return the truth table of a named function, or of the rows that give 1.

    Raises TypeError or ValueError for another name, more inputs than 10, or rows that are no whole numbers.

    >>> rows_of("majority", [], 2), rows_of("own", [1, 60], 2)
    ([0, 0, 0, 1], [0, 1, 0, 0])
    """
    rows = range(2 ** checks.integer(n_inputs, "n_inputs", low=0, high=INPUTS_MAX))
    if checks.choice(function, "function", NAMES) != OWN:
        return [FUNCTIONS[function](row.bit_count(), n_inputs) for row in rows]
    wanted = checks.plain(ones, "ones").ravel()  # whatever the page or a trait hands over
    if wanted.size and (wanted.dtype.kind not in "iuf" or (wanted != np.round(wanted)).any()):
        raise ValueError(f"ones must be the rows that give 1, whole numbers, got {ones!r}")
    return [int(row in wanted) for row in rows]


def _views(rows: list[int], n_inputs: int, k: int) -> dict[str, Any]:
    networks = {size: synthesize(rows, n_inputs=n_inputs, k=size) for size in range(SIZES[0], SIZES[1] + 1)}
    network = networks[k]
    everything = np.arange(2**n_inputs)[:, None] >> np.arange(n_inputs) & 1
    numbers = {
        "Look-up tables": network.n_luts,
        "Depth": network.depth,
        "Rows that give 1": sum(rows),
        "Memory of the tables": network.n_luts * 2**k,
        "Functions in reach of one table": float(functions(k)),
        "Exact for all inputs": network(everything)[:, 0].tolist() == rows,
    }
    counts = {f"k = {size}": network.n_luts for size, network in networks.items()}
    return {"table": _cells(rows, n_inputs), "counts": counts, "network": wiring(network), "numbers": numbers}


def _cells(rows: list[int], n_inputs: int) -> Cells:
    low = n_inputs // 2
    high = n_inputs - low
    return Cells(np.reshape(rows, (2**high, 2**low)), rows=_spelt(high), columns=_spelt(low))


def _spelt(count: int) -> list[str]:
    """Return the values of `count` inputs in binary, the highest in front."""
    return [f"{value:0{count}b}" for value in range(2**count)]


def wiring(network: LutNetwork) -> Wiring:
    """Return the drawing of a network with one output: its inputs, its tables by their level, and f."""
    inputs = [Node(f"x{'₀₁₂₃₄₅₆₇₈₉'[i]}", 0, "input") for i in range(network.n_inputs)]
    cells = [
        Node(f"T{i + 1}", level, note="table " + "".join(map(str, reversed(cell.lut.truth_table))))
        for i, (cell, level) in enumerate(zip(network.cells, network.levels[network.n_inputs :], strict=True))
    ]
    nodes = [*inputs, *cells, Node("f", network.depth + 1, "output")]
    edges = [(w, network.n_inputs + i) for i, cell in enumerate(network.cells) for w in cell.inputs]
    return Wiring(nodes, [*edges, (network.outputs[0], len(nodes) - 1)])

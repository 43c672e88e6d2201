"""The explorer of Chapter 11: what sparse formats store, and whether a sparse product is faster than a dense one."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from labkit.experiments import record
from labkit.explore.controls import Choice, Control, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Grid
from labkit.explore.views import Bars, Cut, Groups, Heatmap, Lines, Readouts, Series, View
from labkit.sparse import BCSR, COO, CSR, CSX, LECTURE, VBL, RelativeIndex, SparseFormat, sparse_mask

SIZE = 128
BLOCKS = (2, 4, 8)
BITS = 4
FORMATS = ("COO", "CSR", "BCSR", "VBL", "CSX", "relative")
NAMES = {"random": "random places", "banded": "diagonals", "block": "blocks"}
WIDTHS = {1: "a vector", 64: "64 vectors at once"}
UNITS = {"Zeros": "%", "Bytes of CSR": "%", "Speed of CSR": "×"}


@register
def format_explorer(rows: Iterable[Mapping[str, Any]] | None = None) -> Explorer:
    """Return the explorer of sparse formats: bytes by format, and time against the best dense product.

    The bytes are computed, for a matrix of 128 x 128 in float32. The times are those that the experiment
    `sparse-times` recorded; `labkit.experiments.sparse_times.time_rows()` measures others, on the reader's machine.
    Chapter 11; lecture 000:604-622.

    >>> numbers = format_explorer().compute(density=10, pattern="banded", bcsr=4)["numbers"]
    >>> numbers["Smallest"]
    'CSX'
    """
    found = [dict(row) for row in (record("sparse-times").rows if rows is None else rows)]
    curves = _curves(found)
    return Explorer(
        "sparse-formats",
        lambda density, pattern, block, bcsr, columns: _shown(curves, density, pattern, block, bcsr, int(columns)),
        title="What does a sparse matrix cost?",
        controls=_controls(found),
        views=_views(),
        static=Grid(),
        alt="Bytes of six sparse formats for a matrix with {density} % of its entries not zero, pattern {pattern}, and "
        "the speed of a sparse product against the share of zeros, with the lecture's 70 % marked",
        caption="Bytes: 128 × 128 numbers of 32 bits, relative indices of 4 bits. Speed: 512 × 512, our CSR kernel "
        "against the fastest dense product of NumPy, torch and oneDNN, one thread; "
        "recorded once on one machine, not measured while you look.",
    )


def _controls(rows: list[dict[str, Any]]) -> list[Control]:
    stops = sorted({round(100 * row["density"], 3) for row in rows})
    widths = {str(n): WIDTHS.get(n, f"{n} vectors") for n in sorted({row["columns"] for row in rows})}
    return [
        Slider("density", values=stops, default=10 if 10 in stops else stops[0], label="Not zero", unit="%"),
        Choice("pattern", NAMES, label="Pattern", style="radio"),
        Slider("block", values=BLOCKS, default=4, label="Side of its blocks", when={"pattern": ["block"]}),
        Slider("bcsr", values=BLOCKS, default=4, label="Side of a BCSR block"),
        Choice("columns", widths, label="Product with", style="radio"),
    ]


def _views() -> list[View]:
    speed = "times as fast as dense"
    return [
        Heatmap("matrix", "The matrix", pattern=True, x_label="column", y_label="row"),
        Bars("bytes", "Bytes stored", y_label="% of dense"),
        Lines("time", "Speed of CSR, measured", wide=True, y_scale="log", x_label="zeros (%)", y_label=speed),
        Readouts("numbers", units=UNITS),
    ]


@cache
def matrix_of(density: float, pattern: str, block: int) -> np.ndarray:
    """Return the matrix (128, 128) that the explorer stores: ones and zeros, float32.

    >>> matrix_of(10, "block", 4).shape
    (128, 128)
    """
    mask = sparse_mask((SIZE, SIZE), density=density / 100, pattern=pattern, block=block, random_state=0)
    return mask.astype(np.float32)


@cache
def stored(density: float, pattern: str, block: int) -> dict[str, SparseFormat]:
    """Return the matrix in the formats without a choice of blocks, by name.

    >>> list(stored(10, "random", 4))
    ['COO', 'CSR', 'VBL', 'CSX', 'relative']
    """
    W = matrix_of(density, pattern, block)
    made: dict[str, SparseFormat] = {kind.__name__: kind.from_dense(W) for kind in (COO, CSR, VBL, CSX)}
    return made | {"relative": RelativeIndex.from_dense(W, bits=BITS)}


Curves = dict[tuple[str, int, int], tuple[np.ndarray, np.ndarray]]


def _curves(rows: list[dict[str, Any]]) -> Curves:
    """Return zeros in percent and ratios, ascending, by pattern, block and columns."""
    groups: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
    for row in rows:
        key = row["pattern"], row["block"], row["columns"]
        groups.setdefault(key, []).append((100 - 100 * row["density"], row["ratio"]))
    ascending = {key: np.array(sorted(points)).T for key, points in groups.items()}
    return {key: (points[0], points[1]) for key, points in ascending.items()}


def _shown(curves: Curves, density: float, pattern: str, block: int, bcsr: int, columns: int) -> dict[str, Any]:
    block = block if pattern == "block" else 1  # other patterns have none
    W = matrix_of(density, pattern, block)
    blocks = BCSR.from_dense(W, block=(bcsr, bcsr))
    formats = stored(density, pattern, block) | {"BCSR": blocks}
    share = {name: 100 * formats[name].n_bytes / W.nbytes for name in FORMATS}
    zeros, ratios = curves[pattern, block, columns]
    here = int(np.argmin(abs(zeros - (100 - density))))
    return {
        "matrix": W,
        "bytes": Groups(list(share), {"": list(share.values())}, [Cut(y=100, label="dense")]),
        "time": [
            Series(ratios, zeros, f"{NAMES[pattern]}, {WIDTHS.get(columns, columns)}"),
            Series([ratios[here]], [zeros[here]], "shown", kind="points"),
            Cut(x=100 * LECTURE, label="lecture: 70 %"),
            Cut(y=1, label="dense", muted=True),
        ],
        "numbers": {
            "Zeros": 100 - density,
            "Smallest": min(share, key=lambda name: share[name]),
            "Bytes of CSR": share["CSR"],
            "Zeros that BCSR stores": blocks.fill_in,
            "Speed of CSR": float(ratios[here]),
        },
    }

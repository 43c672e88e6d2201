"""The second explorer of Chapter 9: rank against density for a trained layer, under a budget."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.experiments import record
from labkit.explore import codec
from labkit.explore.controls import Choice, Slider, Toggle
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Cells, Cut, Heatmap, Lines, Readouts, Series

SIZE = 300 * 784
MEASURES = {"output_error": "outputs", "weight_error": "weights"}
UNITS = {"Error of the outputs": "%", "Error of the weights": "%", "Error of the network": "%", "Smaller": "×"}
LABELS = ("best within the budget", "shown", "best of either alone")


@dataclass(frozen=True, eq=False)
class Table:
    """What the experiment found for every density (rows) and rank (columns): errors in percent and sizes."""

    ranks: list[int]
    densities: list[float]
    values: dict[str, np.ndarray]

    def cost(self, places: bool) -> np.ndarray:
        """Return the numbers stored; with `places`, the bytes in units of a number."""
        return self.values["bytes"] / 4 if places else self.values["parameters"]


@register
def low_rank_sparse_explorer() -> Explorer:
    """Return the map of low rank plus sparse: the first layer of LeNet-300-100 at every rank and density.

    Every cell was decomposed and recorded by the experiment `low-rank-sparse-map`; the explorer looks it up.
    Chapter 9; lecture 003:1766-1794.

    >>> numbers = low_rank_sparse_explorer().compute(rank=8, density=4)["numbers"]
    >>> numbers["Numbers stored"]
    18080
    """
    table = _table()
    return Explorer(
        "low-rank-sparse",
        lambda rank, density, budget, places, measure: _views(table, rank, density / 100, budget, places, measure),
        title="Low rank plus sparse: where should the numbers go?",
        controls=[
            Slider("rank", values=table.ranks, default=16, label="Rank"),
            Slider("density", values=[round(100 * d, 3) for d in table.densities], default=4, label="Density",
                   unit="%"),
            Slider("budget", values=(4, 6, 8, 12, 16, 24), default=8, label="Budget: smaller by", unit="×"),
            Choice("measure", MEASURES, label="Error of the", style="radio"),
            Toggle("places", label="Pay for the places of sparse weights"),
        ],
        views=[
            Heatmap("map", "Error (%); outlined: within the budget", x_label="rank", y_label="density (%)",
                    numbers=True),
            Lines("edge", "Along the edge of the budget", x_label="rank", y_label="error (%)"),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("low_rank_sparse.js", lambda: page_data(table)),
        alt="Error of a layer for each rank and density, with the cells that a budget of {budget} times smaller "
        "allows outlined; rank {rank} and density {density} % are shown",
        caption="The first layer of LeNet-300-100, fitted to 4,000 digits and judged by 5,000 others, not fine-tuned.",
    )  # fmt: skip


def page_data(table: Table) -> dict[str, Any]:
    """Return what `static/low_rank_sparse.js` needs."""
    return {
        "size": SIZE,
        "ranks": table.ranks,
        "densities": table.densities,
        "labels": LABELS,
        **{name: codec.Exact(values) for name, values in table.values.items()},
    }


def _table() -> Table:
    made = record("low-rank-sparse-map")
    ranks, densities = made.settings["ranks"], made.settings["densities"]
    names = ("parameters", "bytes", "output_error", "weight_error", "test_error")
    values = {name: np.full((len(densities), len(ranks)), np.nan) for name in names}
    for row in made.rows:
        place = densities.index(row["density"]), ranks.index(row["rank"])
        for name in names:
            values[name][place] = row[name] * (100 if name in MEASURES else 1)
    for name, nothing in {"parameters": 0, "bytes": 0, "output_error": 100, "weight_error": 100}.items():
        values[name][0, 0] = nothing  # no rank and no density: the layer is gone
    return Table(ranks, densities, values)


def _views(table: Table, rank: int, density: float, budget: float, places: bool, measure: str) -> dict[str, Any]:
    here = min(range(len(table.densities)), key=lambda i: abs(table.densities[i] - density)), table.ranks.index(rank)
    errors, fits = table.values[measure], table.cost(places) <= SIZE / budget
    best = np.unravel_index(np.argmin(np.where(fits, errors, np.inf)), errors.shape)
    alone = np.where(fits, errors, np.inf)
    limit = float(min(alone[0].min(), alone[:, 0].min()))
    return {
        "map": Cells(errors, fits, [f"{100 * d:g}" for d in table.densities], list(map(str, table.ranks))),
        "edge": _edge(table, errors, fits, best, here, limit),
        "numbers": _numbers(table, here, best, fits),
    }


def _edge(table: Table, errors: np.ndarray, fits: np.ndarray, best: Any, here: Any, limit: float) -> list[Any]:
    """Return the error against the rank, each with the largest density that fits."""
    columns = [j for j in range(len(table.ranks)) if fits[:, j].any()]
    rows = [int(np.flatnonzero(fits[:, j]).max()) for j in columns]
    return [
        Series(errors[rows, columns], [float(table.ranks[j]) for j in columns], "largest density that fits"),
        Series([errors[best]], [float(table.ranks[best[1]])], LABELS[0], kind="points"),
        Series([errors[here]], [float(table.ranks[here[1]])], LABELS[1], kind="points", muted=True),
        Cut(y=limit, label=LABELS[2], muted=True),
    ]


def _numbers(table: Table, here: tuple[int, int], best: Any, fits: np.ndarray) -> dict[str, Any]:
    values, numbers = table.values, int(table.values["parameters"][here])
    network = float(values["test_error"][here])
    return {
        "Numbers stored": numbers,
        "Smaller": SIZE / numbers if numbers else None,
        "Bytes": int(values["bytes"][here]),
        "Error of the outputs": float(values["output_error"][here]),
        "Error of the weights": float(values["weight_error"][here]),
        "Error of the network": None if np.isnan(network) else network,
        "Within the budget": bool(fits[here]),
        "Best within the budget": f"rank {table.ranks[best[1]]}, density {100 * table.densities[best[0]]:g} %",
    }

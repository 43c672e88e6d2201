"""The first explorer of Chapter 9: what Trained Rank Pruning does to a layer, epoch by epoch."""

from typing import Any

import numpy as np

from labkit.decomposition import svd_rate
from labkit.experiments import record
from labkit.explore.controls import Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Grid
from labkit.explore.views import Cut, Lines, Readouts, Series

SHAPES = {"fc1": (300, 784), "fc2": (100, 300)}
CURVES = {
    "error": ("TRP, before truncation", False),
    "error_truncated": ("TRP, truncated", False),
    "error_svd": ("plain training, truncated to the same ranks", False),
    "error_plain": ("plain training, dense", True),
}
UNITS = {"Before truncation": "%", "Truncated": "%", "SVD afterwards": "%", "fc1 smaller": "×"}


@register
def trp_explorer() -> Explorer:
    """Return the monitor of Trained Rank Pruning: LeNet-300-100 on 4,000 digits, for every setting and epoch.

    Every run was trained and recorded by the experiment `trp-monitor`; the explorer looks it up.
    Chapter 9; lecture 004:1-6, 25-30.

    >>> numbers = trp_explorer().compute(tol=0.2, period=8)["numbers"]
    >>> numbers["Truncated"] < numbers["SVD afterwards"]
    True
    """
    made = record("trp-monitor")
    runs = _runs(made.rows)
    high = max(row[key] for row in made.rows for key in CURVES)
    return Explorer(
        "trp",
        lambda nuclear_weight, period, tol, epoch: _views(runs[nuclear_weight, period, tol], epoch),
        title="Trained Rank Pruning, watched",
        controls=[
            Slider("tol", values=made.settings["tols"], default=0.2, label="Error a replacement may make"),
            Slider("period", values=made.settings["periods"], default=8, label="Steps between replacements"),
            Slider("nuclear_weight", values=made.settings["nuclear_weights"], default=0.0, label="Nuclear weight λ"),
            Slider("epoch", 1, made.settings["epochs"], default=made.settings["epochs"], label="Epoch"),
        ],
        views=[
            Lines("spectrum", "Singular values of fc1", x_label="index i", y_label="singular value", y_scale="log"),
            Lines("errors", "Error by epoch", x_label="epoch", y_label="error (%)", y_scale="log",
                  y_range=(1, high)),
            Readouts("numbers", units=UNITS),
        ],
        static=Grid(),
        alt="Singular values of the first layer after epoch {epoch} of training with replacements every {period} "
        "steps at tolerance {tol}, and the errors before and after truncation",
        caption="2,000 digits that no run has seen. Plain training has the same seed and no replacements.",
    )  # fmt: skip


def _runs(rows: list[dict[str, Any]]) -> dict[tuple, list[dict[str, Any]]]:
    """Return the epochs of each setting (nuclear weight, period, tolerance)."""
    runs: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        runs.setdefault((row["nuclear_weight"], row["period"], row["tol"]), []).append(row)
    return runs


def _views(run: list[dict[str, Any]], epoch: int) -> dict[str, Any]:
    row, epochs = run[epoch - 1], np.arange(1.0, len(run) + 1)
    curves = [Series([r[key] for r in run], epochs, label, muted=muted) for key, (label, muted) in CURVES.items()]
    return {
        "spectrum": _spectrum(row),
        "errors": [*curves, Cut(x=epoch, label=f"epoch {epoch}", muted=True)],
        "numbers": {
            "Rank of fc1": row["rank_fc1"],
            "Rank of fc2": row["rank_fc2"],
            "fc1 smaller": svd_rate(*SHAPES["fc1"], row["rank_fc1"]),
            "Before truncation": row["error"],
            "Truncated": row["error_truncated"],
            "SVD afterwards": row["error_svd"],
        },
    }


def _spectrum(row: dict[str, Any]) -> list[Any]:
    """Return both spectra; where replacements have set singular values to 0 rounding leaves specks, cut off here."""
    floor = 1e-4 * row["spectrum_plain"][0]
    lines = []
    for key, label, muted in (("spectrum", "TRP", False), ("spectrum_plain", "plain training", True)):
        s = np.asarray(row[key])
        seen = max(1, int(np.count_nonzero(s > floor)))
        lines.append(Series(s[:seen], np.arange(1, seen + 1), label, muted=muted))
    rank = row["rank_fc1"]
    mark = [Cut(x=rank, label=f"rank {rank}")] if rank <= len(row["spectrum"]) else []
    return [*lines, *mark]

"""The SGAD explorer of Chapter 29: the largest drop ratio, and what a trained network makes of it."""

from functools import cache
from typing import Any

import numpy as np
import torch

from labkit.dynamic import expected_drop_ratio, kept_at_most_sure
from labkit.experiments import record
from labkit.explore import codec, figures
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.sgad import BOUND, CENTRES, CLASSES, READINGS, STOPS
from labkit.explore.views import Bars, Cut, Groups, Lines, Readouts, Series

DRAWN = 0.5, 0.8  # the s_max of the static figure
LEAST = 20  # pictures of a bin that is drawn as a point
UNITS = dict.fromkeys(
    [
        *("Drops at most", "Expected", "Dropped", "Dropped, easy half", "Dropped, hard half", "Error", "Error, dense"),
        *("Multiply-adds", "Multiply-adds, easy half", "Multiply-adds, hard half"),
    ],
    "%",
)
VIEWS = [
    Lines(
        "ratio",
        "Blocks dropped, by how sure the guidance is",
        x_label="variance of the guidance's probabilities",
        y_label="blocks dropped (%)",
        x_range=(0, 0.1),
        y_range=(0, 100),
    ),
    Lines(
        "difficulty",
        "Test digits, by how sure the guidance is",
        x_label="variance of the guidance's probabilities",
        y_label="digits",
        x_range=(0, 0.1),
    ),
    Lines(
        "mistakes",
        "Digits that the network reads wrongly",
        x_label="variance of the guidance's probabilities",
        y_label="wrong (%)",
        x_range=(0, 0.1),
    ),
    Bars("blocks", "Which blocks run, and how large their gradients are", y_label="%", y_range=(0, 100)),
    Readouts("numbers", units=UNITS),
]


@cache
def trained() -> dict[float, dict[str, Any]]:
    """Return for each s_max that was trained its row of the record, and what it drops by block and by variance."""
    made = record("sgad")
    seed = made.settings["seeds"][0]
    rows = {row["s_max"]: row for row in made.select(seed=seed)}
    return {s: {"row": row, **made.summary["shown"][f"{s:g}"]} for s, row in rows.items()}


@cache
def dense() -> tuple[float, tuple[float, ...]]:
    """Return the error of the dense network in percent, and each block's gradient in percent of the largest."""
    summary = record("sgad").summary
    sizes = np.array(summary["gradient"]["0"])
    return summary["dense"]["0"]["error"], tuple(100 * sizes / sizes.max())


@register
def sgad_trained_explorer() -> Explorer:
    """Return the SGAD explorer: s_max and how it is read, against difficulty, blocks and multiply-adds that ran.

    As printed, s_max asks for what 1 - s_max asks for when mended: the same network is shown. Chapter 29; lecture
    003:3078-3129.

    >>> numbers = sgad_trained_explorer().compute(s_max=0.2, reading="printed")["numbers"]
    >>> numbers["Drops at most"]
    80.0
    """
    stops = sorted(trained())
    return Explorer(
        "sgad-trained",
        _views,
        title="SGAD: which blocks a trained network runs",
        controls=[
            Slider("s_max", values=stops, default=0.5, label="Largest drop ratio s_max"),
            Choice("reading", READINGS, label="Scale", style="radio"),
        ],
        views=VIEWS,
        static=Browser("sgad_trained.js", page_data),
        alt="Blocks dropped over the variance for s_max {s_max}, the scale {reading}; the digits and the "
        "mistakes by variance, and the share of digits for which each block runs",
        caption="A residual network of nine blocks on the 10,000 test digits, trained once for each s_max. Points: "
        f"bins of at least {LEAST} digits. The easy half are the digits with the larger variance.",
    )


def shown_for(s_max: float, reading: str) -> dict[str, Any]:
    """Return the trained network that drops at most what s_max asks for in this reading."""
    ceiling = 1 - kept_at_most_sure(s_max, reading=reading)
    return trained()[min(trained(), key=lambda s: abs(s - ceiling))]


def _views(s_max: float, reading: str) -> dict[str, Any]:
    shown = shown_for(s_max, reading)
    curve = expected_drop_ratio(torch.from_numpy(STOPS), n_classes=CLASSES, s_max=s_max, reading=reading)
    filled = [k for k, n in enumerate(shown["counts"]) if n >= LEAST]
    return {
        "ratio": [
            Series(100 * curve.numpy(), STOPS, "expected"),
            Series([100 * shown["dropped"][k] for k in filled], CENTRES[filled], "dropped", "points"),
            Cut(y=100 * s_max, label="s_max", muted=True),
            Cut(x=BOUND, label="largest", muted=True),
        ],
        "difficulty": [Series(shown["counts"], CENTRES, "digits", "steps")],
        "mistakes": [Series([100 * shown["wrong"][k] / shown["counts"][k] for k in filled], CENTRES[filled], "wrong")],
        "blocks": _blocks(shown),
        "numbers": _numbers(shown["row"], s_max, reading),
    }


def _blocks(shown: dict[str, Any]) -> Groups:
    names = [str(j + 1) for j in range(len(shown["blocks"]))]
    run = [100 * share for share in shown["blocks"]]
    return Groups(names, {"digits for which it runs": run, "gradient, of the largest": dense()[1]})


def _numbers(row: dict[str, Any], s_max: float, reading: str) -> dict[str, Any]:
    return {
        "Drops at most": 100 * (1 - kept_at_most_sure(s_max, reading=reading)),
        "Expected": 100 * row["expected"],
        "Dropped": 100 * row["dropped"],
        "Dropped, easy half": 100 * row["dropped_easy"],
        "Dropped, hard half": 100 * row["dropped_hard"],
        "Multiply-adds": 100 * row["macs"],
        "Multiply-adds, easy half": 100 * row["macs_easy"],
        "Multiply-adds, hard half": 100 * row["macs_hard"],
        "Error": row["error"],
        "Error, dense": dense()[0],
    }


def drop_vs_grad() -> figures.BookFigure:
    """Return the lecture's figure from the record: for each block its gradients and how often it is dropped.

    Chapter 29; lecture 003:3124-3129; arXiv:1807.01430, figure 4.

    >>> len(drop_vs_grad().data)
    3
    """
    dropped = {f"dropped, s_max = {s:g}": [100 * (1 - share) for share in trained()[s]["blocks"]] for s in DRAWN}
    return figures.bars(
        [str(j + 1) for j in range(len(dense()[1]))],
        {"gradient, of the largest": dense()[1], **dropped},
        name="drop-vs-grad",
        x_title="block",
        y_title="share (%)",
        caption="Mean absolute gradient of the weights of each block in the dense network, and the share of test "
        "digits that skip the block. Blocks 1, 4 and 7 begin a stage.",
        alt="Three bars for each of nine blocks. The gradients fall from the first block to the last. Blocks 3 and 6, "
        "the last of the first two stages, are always skipped; blocks 4, 7 and 8 hardly ever.",
    )


def page_data() -> dict[str, Any]:
    """Return what `static/sgad_trained.js` needs: the trained networks' rows, and the axes."""
    networks = [{"s": s, **trained()[s]} for s in sorted(trained())]
    error, gradient = dense()
    fixed = {"stops": codec.Exact(STOPS), "centres": codec.Exact(CENTRES), "bound": BOUND, "least": LEAST}
    return fixed | {"classes": CLASSES, "networks": networks, "error": error, "gradient": list(gradient)}

"""The balls of a chart: their sizes, and where to write their names so that few of them lie on each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SIDES = {"top center": (0, -1), "bottom center": (0, 1), "middle right": (1, 0), "middle left": (-1, 0)}
SIDES |= {f"{v} {h}": (x, y) for v, y in (("top", -1), ("bottom", 1)) for h, x in (("right", 1), ("left", -1))}
PLOT = (530, 370)  # pixels of the plot on a page of ordinary width
LETTER, LINE, GAP = 6.2, 13.0, 3.0  # pixels
ROUNDS = 3  # in which each name may move out of the way of the others
LARGEST, SMALLEST = 52.0, 7.0  # pixels across a ball

Box = tuple[float, float, float, float]  # left, top, right, bottom


def ball_traces(balls: Mapping[str, Sequence[float]], groups: Mapping[str, str], unit: str) -> list[dict[str, Any]]:
    """Return a plotly trace for each group: balls (name -> x on a log axis, y, size above 0) with their names.

    >>> ball_traces({"a": (1, 1, 4), "b": (10, 2, 1)}, {"a": "", "b": ""}, "MB")[0]["marker_size"]
    [52.0, 26.0]
    """
    x, y, sizes = np.array(list(balls.values()), dtype=float).T
    diameters = np.maximum(SMALLEST, LARGEST * np.sqrt(sizes / sizes.max())).round(1)
    columns = {
        "x": x,
        "y": y,
        "text": np.array(list(balls), dtype=object),
        "textposition": np.array(label_sides(np.log(x), y, diameters, list(balls)), dtype=object),
        "marker_size": diameters,
        "customdata": sizes,
    }
    style = {"type": "scatter", "mode": "markers+text", "cliponaxis": False, "textfont_size": 11}
    style["hovertemplate"] = f"%{{text}}<br>%{{x:,}}, %{{y}}<br>%{{customdata:,}} {unit}<extra></extra>"
    member = np.array([groups[name] for name in balls], dtype=object)
    return [
        style | {"name": group} | {key: column[member == group].tolist() for key, column in columns.items()}
        for group in dict.fromkeys(member)
    ]


def label_sides(x: np.ndarray, y: np.ndarray, diameters: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return for each ball the side that its name goes to, one of `SIDES` (the words of plotly's textposition).

    Parameters
    ----------
    x, y : (n,) places, in the scale of the axes (the logarithm on a log axis)
    diameters : (n,) in pixels
    names : n texts

    The names move one after the other, three times, to where they cover least of balls and other names. Chapter 4.

    >>> label_sides(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.05, 1.0]), np.full(3, 8.0), ["a", "b", "c"])
    ['bottom center', 'top center', 'top center']
    """
    across, down = _pixels(x, PLOT[0]), PLOT[1] - _pixels(y, PLOT[1])
    balls = [_box(left, top, d, d) for left, top, d in zip(across, down, diameters, strict=True)]
    boxes = [
        {side: _label(left, top, d, LETTER * len(name), move) for side, move in SIDES.items()}
        for left, top, d, name in zip(across, down, diameters, names, strict=True)
    ]
    chosen = ["top center"] * len(names)
    for i in ROUNDS * list(range(len(names))):
        taken = balls + [box[side] for j, (box, side) in enumerate(zip(boxes, chosen, strict=True)) if j != i]
        chosen[i] = min(SIDES, key=lambda side: _covered(boxes[i][side], taken))
    return chosen


def _pixels(values: np.ndarray, length: float) -> np.ndarray:
    """Return places along an axis with some room at both ends."""
    return length * (0.06 + 0.83 * (values - values.min()) / (np.ptp(values) or 1.0))


def _label(x: float, y: float, diameter: float, width: float, move: tuple[int, int]) -> Box:
    right, down = move
    x += right * (diameter / 2 + GAP + width / 2)
    y += down * (diameter / 2 + GAP + LINE / 2)
    return _box(x, y, width, LINE)


def _box(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _covered(box: Box, taken: list[Box]) -> float:
    """Return the area that a box shares with others, and what of it lies outside of the plot."""
    inside = _shared(box, (0.0, 0.0, float(PLOT[0]), float(PLOT[1])))
    return sum(_shared(box, other) for other in taken) + (box[2] - box[0]) * (box[3] - box[1]) - inside


def _shared(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))

"""The still picture of an explorer, for readers without scripts and for print."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from labkit.explore import theme
from labkit.explore.views import COLORMAPS, Readouts, Table, View, format_number

WIDTH, DPI = 7.6, 110  # inches, dots per inch
INK, MUTED, AXIS = (theme.LIGHT[f"--lk-{name}"] for name in ("text", "muted", "axis"))
STYLES = ("-", "--", ":", "-.", (0, (8, 3)), (0, (8, 3, 2, 3)))
MARKERS = "osD^PX"


def snapshot(views: Sequence[View], frame: dict[str, Any], title: str = "") -> str:
    """Return all views at one state as one picture on white, a data URL of a WebP image."""
    rows = _rows(views)
    heights = [max(_height(view, frame[view.name], WIDTH / len(row)) for view in row) for row in rows]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3 * bool(title)), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10.5, fontweight="bold", color=INK, x=0.01, ha="left")
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, part in zip(rows, parts, strict=True):
        for view, ax in zip(row, part.subplots(1, len(row), squeeze=False)[0], strict=True):
            ax.set_title(view.title, fontsize=9, color=INK, loc="left")
            DRAW[view.kind](ax, frame[view.name], view)
    return _url(figure)


def _rows(views: Sequence[View]) -> list[list[View]]:
    """Return the views two to a row, wide ones and text alone."""
    rows: list[list[View]] = []
    for view in views:
        alone = view.wide or isinstance(view, Readouts | Table)
        if rows and not alone and len(rows[-1]) == 1 and not _alone(rows[-1][0]):
            rows[-1].append(view)
        else:
            rows.append([view])
    return rows


def _alone(view: View) -> bool:
    return view.wide or isinstance(view, Readouts | Table)


def _height(view: View, data: dict[str, Any], width: float) -> float:
    if view.kind == "readouts":
        return 0.35 + 0.35 * ((len(data["items"]) + 3) // 4)
    if view.kind == "table":
        return 0.5 + 0.22 * (len(data["rows"]) + 1)
    if view.kind in ("picture", "heatmap"):
        h, w = data["levels" if view.kind == "picture" else "values"].shape[:2]
        return 0.45 + min(width * h / w, 4.0)
    return 0.35 + min(0.62 * width, 3.0)


def _picture(ax: Axes, data: dict[str, Any], view: Any) -> None:
    ax.imshow(data["levels"], cmap=_colormap(data["colormap"]), vmin=0, vmax=255, interpolation="antialiased")
    ax.set_axis_off()


def _heatmap(ax: Axes, data: dict[str, Any], view: Any) -> None:
    low, high = (0, 1) if view.pattern else (data["low"], data["high"])
    colormap = "sequential" if view.pattern else view.colormap
    ax.imshow(data["values"], cmap=_colormap(colormap), vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    if "highlight" in data:
        ax.add_collection(LineCollection(_edges(data["highlight"]), colors=theme.PALETTE[1], linewidths=2))
    if view.numbers and data["values"].size <= 150:
        for (i, j), value in np.ndenumerate(data["values"]):
            dark = value - low > 0.55 * (high - low)
            ax.text(j, i, format_number(value), fontsize=7, color="white" if dark else INK, ha="center", va="center")
    for axis, names in ((ax.yaxis, data["rows"]), (ax.xaxis, data["columns"])):
        axis.set_ticks(range(len(names)), names) if names else axis.set_ticks([])
    _labels(ax, view.x_label, view.y_label)


def _edges(mask: np.ndarray) -> list[list[tuple[float, float]]]:
    """Return the border of the marked cells: an edge wherever a cell and its neighbour differ."""
    padded = np.pad(mask.astype(int), 1)
    rows, columns = (np.argwhere(np.diff(padded, axis=axis)) for axis in (0, 1))
    across = [[(j - 1.5, i - 0.5), (j - 0.5, i - 0.5)] for i, j in rows]
    return across + [[(j - 0.5, i - 1.5), (j - 0.5, i - 0.5)] for i, j in columns]


def _lines(ax: Axes, data: dict[str, Any], view: Any) -> None:
    for i, series in enumerate(data["series"]):
        color = AXIS if series["muted"] else theme.PALETTE[i % 6]
        if "low" in series and "high" in series:
            ax.fill_between(series["x"], series["low"], series["high"], color=color, alpha=0.2, linewidth=0)
        ax.plot(
            series["x"],
            series["y"],
            **_look(series["kind"], 0 if series["muted"] else i),
            color=color,
            label=series["label"] or None,
        )
    ax.set(xscale=view.x_scale, yscale=view.y_scale)
    if view.x_range:
        ax.set_xlim(view.x_range)
    if view.y_range:
        ax.set_ylim(view.y_range)
    _finish(ax, data, view.x_label, view.y_label)


def _look(kind: str, i: int) -> dict[str, Any]:
    if kind in ("points", "ticks"):
        return {"linestyle": "", "marker": "|" if kind == "ticks" else MARKERS[i % 6], "markersize": 4}
    return {"linestyle": STYLES[i % 6], "linewidth": 1.5, "drawstyle": "steps-post" if kind == "steps" else "default"}


def _bars(ax: Axes, data: dict[str, Any], view: Any) -> None:
    places, n = np.arange(len(data["categories"])), 1 if view.stacked else len(data["series"])
    base = np.zeros(len(places))
    for i, series in enumerate(data["series"]):
        shift = 0 if view.stacked else (i - (n - 1) / 2) * 0.76 / n
        bottom = base if view.stacked else None
        look: dict[str, Any] = {"color": theme.PALETTE[i % 6], "label": series["label"] or None}
        ax.bar(places + shift, series["values"], 0.72 / n, bottom=bottom, **look)
        base = base + series["values"]
    ax.set_xticks(places, data["categories"], rotation=30 if max(map(len, data["categories"])) > 8 else 0)
    ax.set_yscale(view.y_scale)
    if view.y_range:
        ax.set_ylim(view.y_range)
    _finish(ax, data, "", view.y_label)


def _histogram(ax: Axes, data: dict[str, Any], view: Any) -> None:
    for i, series in enumerate(data["series"]):
        look: dict[str, Any] = {"color": theme.PALETTE[i % 6], "alpha": 0.6, "label": series["label"] or None}
        ax.stairs(series["values"], data["edges"], fill=True, **look)
    ax.set_yscale(view.y_scale)
    _finish(ax, data, view.x_label, view.y_label)


def _treemap(ax: Axes, data: dict[str, Any], view: Any) -> None:
    for i, (left, top, width, height) in enumerate(data["boxes"]):
        ax.bar(left, height, width, bottom=top, align="edge", color=theme.PALETTE[i % 6], alpha=0.35, edgecolor="white")
        if width > 0.012 * len(data["labels"][i]) and height > 0.06:
            ax.text(left + 0.01, top + 0.015, data["labels"][i], fontsize=7, color=INK, va="top")
    ax.set(xlim=(0, 1), ylim=(1, 0))
    ax.set_axis_off()


def _graph(ax: Axes, data: dict[str, Any], view: Any) -> None:
    places = data["places"] * [1, -1]  # the first of a column on top
    ax.add_collection(LineCollection([places[[i, j]] for i, j in data["edges"]], colors=AXIS, linewidths=0.8))
    fills = {"input": "white", "cell": "#d3e3f2", "output": "white"}
    for (x, y), label, kind in zip(places, data["labels"], data["kinds"], strict=True):
        box = {"boxstyle": "round", "facecolor": fills[kind], "edgecolor": theme.PALETTE[kind == "output"]}
        ax.text(x, y, label, fontsize=7.5, color=INK, ha="center", va="center", bbox=box)
    ax.set(xlim=(-0.06, 1.06), ylim=(-1, 0))
    ax.set_axis_off()


def _table(ax: Axes, data: dict[str, Any], view: Any) -> None:
    cells = [[format_number(value, view.digits) for value in row] for row in data["rows"]]
    table = ax.table(cells, colLabels=data["columns"], loc="upper center", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    ax.set_axis_off()


def _readouts(ax: Axes, data: dict[str, Any], view: Any) -> None:
    columns = min(4, len(data["items"]))
    rows = -(-len(data["items"]) // columns)
    for i, item in enumerate(data["items"]):
        x, y = (i % columns) / columns, 1 - (i // columns) / rows
        ax.text(x, y, item["label"], fontsize=7.5, color=MUTED, va="top")
        ax.text(x, y - 0.42 / rows, view.value_text(item), fontsize=11, color=INK, va="top")
    ax.set_axis_off()


DRAW = {
    "picture": _picture,
    "heatmap": _heatmap,
    "lines": _lines,
    "bars": _bars,
    "histogram": _histogram,
    "treemap": _treemap,
    "graph": _graph,
    "table": _table,
    "readouts": _readouts,
}


def _finish(ax: Axes, data: dict[str, Any], x_label: str, y_label: str) -> None:
    for cut in data["cuts"]:
        _cut(ax, cut)
    if sum(bool(series["label"]) for series in data["series"]) > 1:
        ax.legend(fontsize=7.5, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    _labels(ax, x_label, y_label)


def _cut(ax: Axes, cut: dict[str, Any]) -> None:
    color, style = (MUTED, "--") if cut["muted"] else (INK, "-")
    text: dict[str, Any] = {"s": f" {cut['label']}", "fontsize": 7.5, "color": color}
    if cut["x"] is None:
        ax.axhline(cut["y"], color=color, linestyle=style, linewidth=1)
        ax.text(0.98, cut["y"], transform=ax.get_yaxis_transform(), ha="right", va="bottom", **text)
    else:
        ax.axvline(cut["x"], color=color, linestyle=style, linewidth=1)
        ax.text(cut["x"], 0.98 - 0.06 * cut["muted"], transform=ax.get_xaxis_transform(), va="top", **text)


def _labels(ax: Axes, x_label: str, y_label: str) -> None:
    ax.set_xlabel(x_label, fontsize=8, color=MUTED)
    ax.set_ylabel(y_label, fontsize=8, color=MUTED)
    ax.tick_params(labelsize=7.5, colors=MUTED)


def _colormap(name: str) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list(name, COLORMAPS[name])


def _url(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="webp", pil_kwargs={"quality": 60, "method": 6})
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()

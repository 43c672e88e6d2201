"""A still picture of a plotly figure, for readers without scripts and for print."""

import base64
import hashlib
import io
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogFormatter

from labkit.explore import theme
from labkit.explore.views import squarify

MIME = "application/vnd.plotly.v1+json"  # what a figure is called in a notebook
WIDTH = 7.2  # inches; the page scales the picture
DASHES = {"dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3)), "longdashdot": (0, (8, 3, 2, 3))}
MARKERS = dict(zip(theme.MARKERS, "osD^PX", strict=True))
STYLE = {
    "svg.fonttype": "none",  # text stays text, so it takes the page's font
    "svg.hashsalt": "labkit",  # the same figure gives the same bytes
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "text.parse_math": False,
}
_STEPS = {"top": 1, "bottom": -1, "right": 1, "left": -1}  # the words of plotly's textposition; middle, center: 0
_SENTINELS = {"text": "#010203", "grid": "#040506", "axis": "#070809"}  # swapped for the page's own colours below
_VARIABLES = {"text": "--lk-text", "grid": "--lk-grid", "axis": "--lk-axis"}


def still(figure: dict[str, Any]) -> str:
    """Return an SVG of the curves, bars, heat maps and tree maps of `figure` (plotly's JSON), or "" for other kinds.

    Colours of text and axes are CSS variables of the page, so the still follows dark mode.

    >>> still({"data": [{"type": "scatter", "x": [1, 2], "y": [3, 4]}], "layout": {}})[:4]
    '<svg'
    >>> still({"data": [{"type": "pie"}], "layout": {}})
    ''
    """
    traces, layout = figure["data"], figure["layout"]
    if any(trace.get("type", "scatter") not in _DRAW for trace in traces):
        return ""
    style: Any = STYLE | _inks()
    with matplotlib.rc_context(style):
        canvas = Figure(figsize=(WIDTH, layout.get("height", 450) / 100), layout="constrained")
        _draw(canvas.add_subplot(), traces, layout)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue())


def _draw(axes: Axes, traces: list[dict], layout: dict[str, Any]) -> None:
    for kind, draw in _DRAW.items():
        if mine := [trace for trace in traces if trace.get("type", "scatter") == kind]:
            draw(axes, mine, layout)
    for name in "xy":
        options = layout.get(f"{name}axis") or {}
        axes.set(**{f"{name}label": (options.get("title") or {}).get("text", "")})
        if options.get("visible") is False:
            axes.set_axis_off()
        if options.get("type") == "log":
            axes.set(**{f"{name}scale": "log"})
            getattr(axes, f"{name}axis").set_major_formatter(LogFormatter())
            getattr(axes, f"{name}axis").set_minor_formatter(LogFormatter())
    _draw_marks(axes, layout)
    if len(traces) > 1 and layout.get("showlegend") is not False:
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))


def _draw_marks(axes: Axes, layout: dict[str, Any]) -> None:
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
    for shape, note in zip(layout.get("shapes") or (), layout.get("annotations") or (), strict=False):
        axes.axvline(shape["x0"], color=_SENTINELS["axis"], linestyle="--", linewidth=1)
        axes.annotate(note["text"], (shape["x0"], 1), (4, -2), **place)


def _lines(axes: Axes, traces: list[dict], layout: dict[str, Any]) -> None:
    for i, trace in enumerate(traces):
        line, marker = trace.get("line") or {}, trace.get("marker") or {}
        symbol = MARKERS.get(marker.get("symbol", ""), "o") if "markers" in trace.get("mode", "lines") else ""
        dash = DASHES.get(line.get("dash", ""), "-") if "lines" in trace.get("mode", "lines") else ""
        style: dict[str, Any] = {"linestyle": dash, "marker": symbol, "linewidth": 2}
        y = _values(trace["y"])
        x = _values(trace["x"]) if "x" in trace else np.arange(len(y))
        if "text" in trace:
            _balls(axes, x, y, trace, line.get("color") or _colour(i))
            continue
        axes.plot(x, y, color=line.get("color") or _colour(i), label=trace.get("name"), **style)


def _balls(axes: Axes, x: np.ndarray, y: np.ndarray, trace: dict, color: str) -> None:
    """Draw balls with their names beside them; plotly gives diameters in pixels, matplotlib wants areas in points."""
    marker, points = trace["marker"], 0.72 * np.broadcast_to(_values(trace["marker"]["size"]), x.shape)
    ink = {"color": marker.get("color", color), "alpha": marker.get("opacity", 1.0), "zorder": 3}
    axes.scatter(x, y, points**2, **ink, label=trace.get("name"))
    sides = _values(trace["textposition"])
    for left, bottom, size, name, side in zip(x, y, points, _values(trace["text"]), sides, strict=True):
        up, across = (_STEPS.get(word, 0) for word in side.split())
        place: dict[str, Any] = {
            "xytext": (across * (size / 2 + 2), up * (size / 2 + 2)),
            "textcoords": "offset points",
        }
        place |= {"ha": ("right", "center", "left")[across + 1], "va": ("top", "center", "bottom")[up + 1]}
        axes.annotate(name, (left, bottom), fontsize=8, **place)


def _bars(axes: Axes, traces: list[dict], layout: dict[str, Any]) -> None:
    """Draw bars side by side, stacked or over each other, at names or at numbers."""
    labels, mode = _values(traces[0]["x"]), layout.get("barmode", "group")
    named = labels.dtype.kind not in "iuf"
    places = np.arange(len(labels)) if named else labels
    step = float(places[1] - places[0]) if len(places) > 1 else 1.0
    width = step * (1 - layout.get("bargap", 0.12)) / (len(traces) if mode == "group" else 1)
    base = np.zeros(len(places))
    for i, trace in enumerate(traces):
        shift = (i - (len(traces) - 1) / 2) * width if mode == "group" else 0.0
        marker, heights = trace.get("marker") or {}, _values(trace["y"])
        ink = {"color": marker.get("color") or _colour(i), "alpha": marker.get("opacity", 1.0)}
        axes.bar(places + shift, heights, width, bottom=base, label=trace.get("name"), **ink)
        base = base + heights if mode == "stack" else base
    if named:
        axes.set_xticks(places, labels)


def _heat(axes: Axes, traces: list[dict], layout: dict[str, Any]) -> None:
    for trace in traces:
        colours = LinearSegmentedColormap.from_list("page", [colour for _, colour in trace["colorscale"]])
        limits: dict[str, Any] = {"vmin": trace.get("zmin"), "vmax": trace.get("zmax")}
        image = axes.imshow([_values(row) for row in _values(trace["z"])], cmap=colours, aspect="auto", **limits)
        bar = axes.figure.colorbar(image)
        bar.set_label(((trace.get("colorbar") or {}).get("title") or {}).get("text", ""))
        _name_cells(axes, trace)


def _name_cells(axes: Axes, trace: dict) -> None:
    """Label at most a dozen rows and columns with the names that the figure gives them."""
    axes.grid(visible=False)
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in trace:
            labels = _values(trace[name])
            shown = np.unique(np.linspace(0, len(labels) - 1, 12).round().astype(int))
            axis.set_ticks(shown, [str(labels[i]) for i in shown])


def _tree(axes: Axes, traces: list[dict], layout: dict[str, Any]) -> None:
    """Draw the rectangles of a tree map without its branches, each with its name where there is room."""
    trace, values = traces[0], _values(traces[0]["values"])
    parents = dict(zip(trace["ids"], trace["parents"], strict=True))
    trunks = [label for label, parent in parents.items() if not parent]  # one colour for all that grows from it
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(1, 0))
    for i, (left, top, width, height) in enumerate(squarify(values)):
        colour = _colour(trunks.index(_trunk(trace["ids"][i], parents)))
        axes.add_patch(Rectangle((left, top), width, height, facecolor=colour, edgecolor="white", linewidth=0.5))
        label = f"{trace['ids'][i]}\n{values[i] / values.sum():.1%}"
        if width > 0.012 * max(map(len, label.split("\n"))) and height > 0.12:
            axes.text(left + width / 2, top + height / 2, label, color="white", ha="center", va="center", fontsize=9)


def _trunk(label: str, parents: dict[str, str]) -> str:
    return _trunk(parents[label], parents) if parents[label] else label


_DRAW = {"scatter": _lines, "bar": _bars, "heatmap": _heat, "treemap": _tree}


def _values(data: Any) -> np.ndarray:
    """Return plotly's list, or its base64 form of an array, as an array."""
    if not isinstance(data, dict):
        return np.asarray(data)
    flat = np.frombuffer(base64.b64decode(data["bdata"]), dtype=np.dtype(data["dtype"]))
    return flat.reshape([int(n) for n in str(data.get("shape", flat.size)).split(",")])


def _colour(i: int) -> str:
    return theme.PALETTE[i % len(theme.PALETTE)]


def _inks() -> dict[str, str]:
    text, grid, axis = (_SENTINELS[name] for name in ("text", "grid", "axis"))
    return {
        "text.color": text,
        "axes.labelcolor": text,
        "xtick.labelcolor": text,
        "ytick.labelcolor": text,
        "grid.color": grid,
        "axes.edgecolor": axis,
        "xtick.color": axis,
        "ytick.color": axis,
    }


_CLEANING = (  # what matplotlib writes for a file of its own, and what it becomes inside a page
    (r"^.*?(?=<svg)", ""),
    (r"<metadata>.*?</metadata>|<style.*?</style>", ""),
    (r'(?<=<svg)([^>]*?) width="[^"]*"', r"\1"),
    (r'(?<=<svg)([^>]*?) height="[^"]*"', r"\1"),
    (r"font-family: [^;\"]*;? ?", ""),
    (r"(\d\.\d\d)\d+", r"\1"),
    (r"\s*\n\s*", " "),
)


def _for_page(svg: str) -> str:
    """Return the bare element, with the page's colours, font and size, and ids that no other figure shares."""
    for pattern, replacement in _CLEANING:
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    for name, colour in _SENTINELS.items():
        svg = svg.replace(colour, f"var({_VARIABLES[name]})")
    prefix = hashlib.sha256(svg.encode()).hexdigest()[:6]
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg.strip())
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)

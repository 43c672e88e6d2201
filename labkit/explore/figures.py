"""Figures with one theme, a caption and an alt text: curves, bars, heat maps, trees, balls, networks, pictures.

Each function returns a plotly figure. JupyterLab shows the caption as its title; the book prints it
below, numbered, and gives the alt text to screen readers. Values keep six significant digits, so a
saved notebook stays small and the same on every machine.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit import checks
from labkit.explore import theme
from labkit.explore.balls import ball_traces
from labkit.explore.images import data_uri, pixels_of
from labkit.explore.networks import FORMATS, network_traces, tensor_graph
from labkit.explore.stills import MIME

HEIGHT = 360

Series = Mapping[str, Any]

_AXIS = {
    "automargin": True,
    "gridcolor": theme.LIGHT["--lk-grid"],
    "linecolor": theme.LIGHT["--lk-axis"],
    "showline": True,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": theme.LIGHT["--lk-axis"],
    "title": {"standoff": 8},
    "zeroline": False,
}
TEMPLATE = go.layout.Template(
    layout={
        "colorway": theme.PALETTE,
        "font": {"family": theme.FONT, "size": 14, "color": theme.LIGHT["--lk-text"]},
        "paper_bgcolor": theme.LIGHT["--lk-background"],
        "plot_bgcolor": theme.LIGHT["--lk-background"],
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "margin": {"l": 64, "r": 20, "t": 48, "b": 56},
        "title": {"font": {"size": 15}, "x": 0, "xref": "paper", "yref": "container", "y": 0.96},
        "hovermode": "closest",
        "bargap": 0.12,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


class BookFigure(go.Figure):
    """A plotly figure with caption and alt text whose printed form is one fixed line."""

    _ipython_display_ = _repr_html_ = None  # IPython asks for the bundle below, which holds no copy of the library

    def __repr__(self) -> str:
        return f"Figure({self.layout.meta['caption']!r})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **kwargs: Any) -> dict[str, Any]:
        return {MIME: json.loads(self.to_json()), "text/plain": repr(self)}


def lines(
    x: Any,
    series: Any,
    *,
    alt: str,
    caption: str,
    x_title: str,
    y_title: str,
    x_log: bool = False,
    y_log: bool = False,
    markers: bool = False,
    marks: Mapping[str, float] | None = None,
    name: str | None = None,
    height: int = HEIGHT,
) -> BookFigure:
    """Return curves over a common axis, or one axis per curve.

    Parameters: `x` holds n numbers, or maps each name of `series` to its own; `series` maps names to
    n numbers, or is one nameless curve. `marks` maps labels to places of dashed vertical lines. `alt`
    says what a reader who does not see the figure must know; `caption` is its one-sentence message;
    axis titles carry units. `name` makes the figure a target for `{numref}`.

    Raises TypeError or ValueError for empty text, unequal lengths, NaN, and zero on a log axis.

    >>> lines([1, 2, 4], {"error": [1, 0.5, 0.1]}, alt="The error falls from 1 to 0.1 at rank 4.",
    ...       caption="Error against rank.", x_title="rank", y_title="relative error")
    Figure('Error against rank.')
    """
    mode = "lines+markers" if markers else "lines"
    curves = _curves(x, series, x_log=x_log, y_log=y_log)
    traces = [
        {"type": "scatter", "mode": mode, "name": label, "x": xs, "y": ys, **_stroke(i)}
        for i, (label, xs, ys) in enumerate(curves)
    ]
    figure = _figure(traces, alt=alt, caption=caption, x_title=x_title, y_title=y_title, name=name, height=height)
    figure.update_xaxes(_log([v for _, xs, _ in curves for v in xs]) if x_log else {})
    figure.update_yaxes(_log([v for _, _, ys in curves for v in ys]) if y_log else {})
    return _mark(figure, marks, log=x_log)


def bars(
    labels: Sequence[str],
    series: Any,
    *,
    alt: str,
    caption: str,
    x_title: str,
    y_title: str,
    stacked: bool = False,
    y_log: bool = False,
    name: str | None = None,
    height: int = HEIGHT,
) -> BookFigure:
    """Return bars for `labels` (n names), one group or stack per entry of `series` (name -> n numbers).

    >>> bars(["fc1", "fc2"], [235.2, 30.0], alt="fc1 holds 235.2 kB and fc2 30 kB.",
    ...      caption="Bytes per layer.", x_title="layer", y_title="kB")
    Figure('Bytes per layer.')
    """
    names = [str(label) for label in labels]
    if not names:
        raise ValueError("labels must name at least one bar, got none")
    traces = [
        {"type": "bar", "name": label, "x": names, "y": ys, "marker": {"color": _colour(i)}}
        for i, (label, ys) in enumerate(_named(series, len(names), positive=y_log))
    ]
    figure = _figure(traces, alt=alt, caption=caption, x_title=x_title, y_title=y_title, name=name, height=height)
    figure.update_yaxes(_log([v for trace in traces for v in trace["y"]]) if y_log else {})
    return figure.update_layout(barmode="stack" if stacked else "group").update_xaxes(type="category")


def histogram(
    values: Any,
    *,
    alt: str,
    caption: str,
    x_title: str,
    y_title: str = "count",
    bins: int = 40,
    marks: Mapping[str, float] | None = None,
    name: str | None = None,
    height: int = HEIGHT,
) -> BookFigure:
    """Return counts of `values` (any shape, or name -> values) in `bins` equal intervals.

    The counting is done here, so a million weights cost the page `bins` numbers.

    >>> histogram([0.1, 0.2, 0.2], bins=2, alt="One value lies below 0.15, two above.",
    ...           caption="Three weights.", x_title="weight")
    Figure('Three weights.')
    """
    checks.integer(bins, "bins", low=1, high=1000)
    groups = {label: checks.array(v, "values").ravel() for label, v in _mapping(values, "values").items()}
    edges = np.histogram_bin_edges(np.concatenate(list(groups.values())), bins)
    middles = _short((edges[:-1] + edges[1:]) / 2, "values")
    traces = [
        {"type": "bar", "name": label, "x": middles, "y": np.histogram(v, edges)[0].tolist(), **_fill(i, len(groups))}
        for i, (label, v) in enumerate(groups.items())
    ]
    figure = _figure(traces, alt=alt, caption=caption, x_title=x_title, y_title=y_title, name=name, height=height)
    return _mark(figure.update_layout(barmode="overlay", bargap=0), marks)


def heatmap(
    matrix: Any,
    *,
    alt: str,
    caption: str,
    x_title: str,
    y_title: str,
    value_title: str,
    x: Sequence[Any] | None = None,
    y: Sequence[Any] | None = None,
    diverging: bool = False,
    name: str | None = None,
    height: int = HEIGHT,
) -> BookFigure:
    """Return a heat map of `matrix` (at most 100 x 100 values: a picture of pixels belongs in `pictures`).

    `x` names the columns and `y` the rows; row 0 is drawn at the top. `diverging` centres the colours on zero.

    >>> heatmap([[1, 2], [3, 4]], alt="The values grow from 1 to 4 in reading order.", caption="A small matrix.",
    ...         x_title="column", y_title="row", value_title="entry")
    Figure('A small matrix.')
    """
    values = checks.matrix(matrix)
    if values.size > 10_000:
        raise ValueError(f"matrix must have at most 10000 entries, got shape {values.shape}; use pictures for images")
    trace = {"type": "heatmap", "z": [_short(row, "matrix") for row in values], **_scale(values, diverging)}
    title = {"text": _text(value_title, "value_title"), "side": "right"}  # above, it would lie on the first tick
    trace["colorbar"] = {"title": title, "outlinewidth": 0, "thickness": 14}
    trace |= {"x": _ticks(x, values.shape[1], "x"), "y": _ticks(y, values.shape[0], "y")}
    figure = _figure([trace], alt=alt, caption=caption, x_title=x_title, y_title=y_title, name=name, height=height)
    return figure.update_yaxes(autorange="reversed", showgrid=False).update_xaxes(showgrid=False)


def treemap(
    values: Mapping[str, float],
    *,
    alt: str,
    caption: str,
    value_title: str,
    parents: Mapping[str, str] | None = None,
    name: str | None = None,
    height: int = HEIGHT,
) -> BookFigure:
    """Return rectangles with areas in proportion to `values` (name -> number of at least 0, not all 0).

    `parents` gives the branch of a name, and of a branch the one above it ("" for the whole); without it the tree is
    flat. A branch may have a value of its own, on top of those below it. `value_title` says what the areas are, with
    the unit. `labkit.cost.tree_map` returns both mappings for a network.

    Raises TypeError or ValueError for negative or missing values, and for branches that lead nowhere or in circles.

    >>> treemap({"fc1": 235_200, "fc2": 30_000}, alt="fc1 holds 89 % of the weights, fc2 11 %.",
    ...         caption="Weights by layer.", value_title="weights")
    Figure('Weights by layer.')
    """
    sizes = {label: checks.number(v, f"value {label!r}", low=0) for label, v in _mapping(values, "values").items()}
    if not any(sizes.values()):
        raise ValueError("values must not all be 0")
    above = _branches(sizes, dict.fromkeys(sizes, "") if parents is None else dict(parents))
    trace = _tree(sizes, above, _text(value_title, "value_title"))
    figure = BookFigure(data=[trace]).update_layout(treemapcolorway=theme.PALETTE, margin={"l": 8, "r": 8, "b": 8})
    return _finish(figure, _meta(alt, caption, name), checks.integer(height, "height", low=100, high=2000))


def ball_chart(
    points: Mapping[str, Sequence[float]],
    *,
    alt: str,
    caption: str,
    x_title: str,
    y_title: str,
    size_title: str,
    groups: Mapping[str, str] | None = None,
    name: str | None = None,
    height: int = 480,
) -> BookFigure:
    """Return a labelled ball for each entry of `points` (name -> x, y, size): x on a log axis, the size as its area.

    `groups` gives the group of each name, which sets its colour; `size_title` says, with the unit, what the areas are.

    Raises TypeError or ValueError for anything but three numbers with x > 0 and size > 0, or a name without a group.

    >>> ball_chart({"AlexNet": (720, 57.2, 60), "VGG-16": (15_300, 71.5, 138)}, alt="VGG-16 costs more and is better.",
    ...            caption="Two networks.", x_title="multiply-adds (M)", y_title="accuracy (%)", size_title="M weights")
    Figure('Two networks.')
    """
    balls = {label: _vector(values, f"point {label!r}", 3) for label, values in _mapping(points, "points").items()}
    for values in balls.values():
        checks.positive(values[0], "x"), checks.positive(values[2], "size")
    group_of = {b: "" if groups is None else groups[checks.choice(b, "groups", groups)] for b in balls}
    traces = [t | _fill(i, 2) for i, t in enumerate(ball_traces(balls, group_of, _text(size_title, "size_title")))]
    figure = _figure(traces, alt=alt, caption=caption, x_title=x_title, y_title=y_title, name=name, height=height)
    return figure.update_xaxes(_log([x for x, _, _ in balls.values()])).update_layout(legend_itemsizing="constant")


def tensor_network(
    formats: str | Sequence[str],
    *,
    alt: str,
    caption: str,
    d: int = 4,
    columns: int = 2,
    name: str | None = None,
) -> BookFigure:
    """Return tensor formats as graphs: balls are factors, lines between them summed indices, legs the d modes.

    `formats` is one or more of `labkit.explore.networks.FORMATS`; the graphs stand in `columns` columns. Raises
    TypeError or ValueError for an unknown format, none at all, or a d that it does not have.
    Chapter 8; lecture 000:508-541.

    >>> tensor_network(["tt", "tucker"], alt="Four balls in a row, and five in a star.", caption="Train and Tucker.")
    Figure('Train and Tucker.')
    """
    names = [formats] if isinstance(formats, str) else list(checks.instance(formats, "formats", (list, tuple)))
    if not names:
        raise ValueError("formats must name at least one format, got none")
    graphs = {FORMATS[checks.choice(f, "formats", FORMATS)]: tensor_graph(f, d) for f in names}
    columns = checks.integer(columns, "columns", low=1, high=4)
    inks = [_colour(0), _colour(1), _colour(0), _colour(0), theme.LIGHT["--lk-background"]]
    figure = BookFigure()
    for trace, ink in zip(network_traces(graphs, columns), [*inks, inks[-1]], strict=True):
        figure.add_trace(trace).data[-1].update({"marker_color": ink, "line_color": ink, "line_width": 2.5})
    figure.update_xaxes(visible=False).update_yaxes(visible=False).update_layout(showlegend=False)
    figure.update_layout(margin={"l": 8, "r": 8, "b": 8})
    return _finish(figure, _meta(alt, caption, name), 100 + 170 * -(-len(graphs) // columns))


def pictures(
    images: Mapping[str, Any],
    *,
    alt: str,
    caption: str,
    columns: int | None = None,
    name: str | None = None,
    height: int = 300,
) -> BookFigure:
    """Return `images` (label -> (h, w) or (h, w, 3) array in [0, 1], or uint8) side by side.

    Each travels as an encoded picture: PNG, exact; WebP at quality 90 where a large one would need less.

    >>> pictures({"black": np.zeros((2, 2))}, alt="A black square.", caption="Nothing to see.")
    Figure('Nothing to see.')
    """
    pixels = {label: pixels_of(image, label) for label, image in _mapping(images, "images").items()}
    columns = checks.integer(min(len(pixels), 4) if columns is None else columns, "columns", low=1)
    rows = -(-len(pixels) // columns)
    grid = make_subplots(rows, columns, subplot_titles=list(pixels), horizontal_spacing=0.02, vertical_spacing=0.1)
    for i, (label, image) in enumerate(pixels.items()):
        source = {"type": "image", "name": label, "source": data_uri(image), "hoverinfo": "skip"}
        grid.add_trace(source, row=i // columns + 1, col=i % columns + 1)
    grid.update_xaxes(visible=False).update_yaxes(visible=False)
    sizes = {label: [image.shape[1], image.shape[0]] for label, image in pixels.items()}
    meta = _meta(alt, caption, name) | {"pictures": sizes, "columns": columns}
    return _finish(BookFigure(grid), meta, height * rows)


def _tree(sizes: Mapping[str, float], above: Mapping[str, str], unit: str) -> dict[str, Any]:
    """Return the plotly trace of a tree map."""
    return {
        "type": "treemap",
        "ids": list(above),
        "labels": [label.removeprefix(f"{parent}.") for label, parent in above.items()],
        "parents": list(above.values()),
        "values": [float(f"{sizes.get(label, 0):.12g}") for label in above],
        "branchvalues": "remainder",
        "hovertemplate": f"%{{id}}<br>%{{value:,}} {unit}<br>%{{percentRoot}}<extra></extra>",
        "texttemplate": "%{label}<br>%{percentRoot:.1%}",
        "tiling": {"pad": 1},
        "marker": {"depthfade": False},  # paler branches would leave their white names unreadable
    }


def _branches(sizes: Mapping[str, float], parents: dict[str, str]) -> dict[str, str]:
    """Return the parent of every name and branch; each must reach the root "" without a circle."""
    for label in [*sizes, *parents]:
        seen, place = {label}, label
        while place := parents.get(place, place):
            if place in seen:
                raise ValueError(f"parents must lead from {label!r} to '', got {sorted(seen)}")
            seen.add(place)
    return {label: parents[label] for label in [*sizes, *(p for p in parents if p not in sizes)]}


def _figure(
    traces: list[dict],
    *,
    alt: str,
    caption: str,
    x_title: str,
    y_title: str,
    name: str | None,
    height: int,
) -> BookFigure:
    figure = BookFigure(data=traces)
    figure.update_xaxes(title_text=_text(x_title, "x_title")).update_yaxes(title_text=_text(y_title, "y_title"))
    figure.update_layout(showlegend=len(traces) > 1)
    return _finish(figure, _meta(alt, caption, name), checks.integer(height, "height", low=100, high=2000))


def _finish(figure: BookFigure, meta: dict[str, Any], height: int) -> BookFigure:
    title = meta["caption"].replace("$", "").replace("`", "")
    return figure.update_layout(template=TEMPLATE, meta=meta, height=height, title_text=title)


def _meta(alt: str, caption: str, name: str | None) -> dict[str, Any]:
    meta = {"alt": _text(alt, "alt"), "caption": _text(caption, "caption")}
    return meta if name is None else meta | {"name": _text(name, "name")}


def _text(value: Any, name: str) -> str:
    if not checks.instance(value, name, str).strip():
        raise ValueError(f"{name} must not be empty, got {value!r}")
    return value.strip()


def _mapping(value: Any, name: str) -> dict[str, Any]:
    """Return `value` as a non-empty dict; a single array becomes one nameless entry."""
    result = dict(value) if isinstance(value, Mapping) else {"": value}
    if not result:
        raise ValueError(f"{name} must hold at least one entry, got none")
    return {_label(key, name): entry for key, entry in result.items()}


def _label(key: Any, name: str) -> str:
    return checks.instance(key, f"each name in {name}", str)


def _named(series: Any, n: int, *, positive: bool = False) -> list[tuple[str, list]]:
    return [
        (label, _vector(values, f"series {label!r}", n, positive=positive))
        for label, values in _mapping(series, "series").items()
    ]


def _curves(x: Any, series: Any, *, x_log: bool, y_log: bool) -> list[tuple[str, list, list]]:
    ys = _mapping(series, "series")
    xs = dict(x) if isinstance(x, Mapping) else dict.fromkeys(ys, x)
    if set(xs) != set(ys):
        raise ValueError(f"x must have the names of series, {sorted(ys)}, got {sorted(xs)}")
    places = {label: _vector(xs[label], "x", positive=x_log) for label in ys}
    return [
        (label, places[label], _vector(ys[label], f"series {label!r}", len(places[label]), positive=y_log))
        for label in ys
    ]


def _vector(values: Any, name: str, n: int | None = None, *, positive: bool = False) -> list:
    vector = checks.array(values, name, ndim=1)
    if n is not None and len(vector) != n:
        raise ValueError(f"{name} must have {n} values, got {len(vector)}")
    if positive and (vector <= 0).any():
        raise ValueError(f"{name} must be positive on a log axis, got {vector.min()}")
    return _short(values if np.asarray(values).dtype.kind in "iu" else vector, name)


def _short(values: Any, name: str) -> list:
    """Return a plain list; floats keep six significant digits, integers all of theirs."""
    array = np.asarray(values)
    return array.tolist() if array.dtype.kind in "iu" else [float(f"{v:.6g}") for v in checks.array(array, name)]


def _colour(i: int) -> str:
    return theme.PALETTE[i % len(theme.PALETTE)]


def _stroke(i: int) -> dict[str, Any]:
    n = len(theme.DASHES)
    return {
        "line": {"color": _colour(i), "width": 2.5, "dash": theme.DASHES[i % n]},
        "marker": {"symbol": theme.MARKERS[i % n], "size": 8},
    }


def _fill(i: int, n: int) -> dict[str, Any]:
    return {"marker": {"color": _colour(i), "opacity": 1.0 if n == 1 else 0.65}}


def _scale(values: np.ndarray, diverging: bool) -> dict[str, Any]:
    if not diverging:
        return {"colorscale": _steps(theme.SEQUENTIAL)}
    reach = float(np.abs(values).max()) or 1.0
    return {"colorscale": _steps(theme.DIVERGING), "zmin": -reach, "zmax": reach}


def _log(values: Sequence[float]) -> dict[str, Any]:
    """Return a log axis, labelled at the powers of ten where there are enough of them."""
    wide = max(values) >= 30 * min(values)
    return {"type": "log", "dtick": 1, "exponentformat": "power"} if wide else {"type": "log"}


def _steps(colours: Sequence[str]) -> list[list]:
    return [[round(i / (len(colours) - 1), 4), colour] for i, colour in enumerate(colours)]


def _ticks(values: Sequence[Any] | None, n: int, name: str) -> list:
    ticks = list(range(n) if values is None else np.asarray(values).tolist())
    if len(ticks) != n:
        raise ValueError(f"{name} must have {n} entries to fit the matrix, got {len(ticks)}")
    return ticks


def _mark(figure: BookFigure, marks: Mapping[str, float] | None, *, log: bool = False) -> BookFigure:
    """Draw a dashed vertical line with its label at each place of `marks`."""
    for label, place in (marks or {}).items():
        x = checks.number(place, f"mark {label!r}", low=-float("inf"))
        line = {"color": theme.LIGHT["--lk-axis"], "width": 1.5, "dash": "dash"}
        figure.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, yref="paper", line=line)
        place_of_text = float(np.log10(x)) if log else x  # plotly places text, but not shapes, by the exponent
        figure.add_annotation(text=label, x=place_of_text, y=1, yref="paper", showarrow=False, xanchor="left", xshift=4)
    return figure

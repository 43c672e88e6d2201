"""Figures carry caption and alt text, keep their numbers, print one fixed line, and refuse bad input by name."""

import base64
import io
import json

import numpy as np
import plotly.graph_objects as go
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from labkit.explore import figures
from labkit.explore.stills import MIME, still

WORDS = {"alt": "What there is to see.", "caption": "The message."}
AXES = {"x_title": "rank", "y_title": "relative error"}
MATRIX = np.arange(6.0).reshape(2, 3)
IMAGE = np.linspace(0, 1, 12).reshape(3, 4)

CALLS = {
    "lines": (figures.lines, ([1, 2, 4], [1.0, 0.5, 0.25]), AXES),
    "bars": (figures.bars, (["a", "b"], [1.0, 2.0]), AXES),
    "histogram": (figures.histogram, ([1.0, 2.0, 2.5],), AXES),
    "heatmap": (figures.heatmap, (MATRIX,), AXES | {"value_title": "entry"}),
    "treemap": (figures.treemap, ({"a": 1.0, "b": 2.0},), {"value_title": "weights"}),
    "ball_chart": (figures.ball_chart, ({"a": (1, 2, 3), "b": (10, 1, 1)},), AXES | {"size_title": "M weights"}),
    "pictures": (figures.pictures, ({"ramp": IMAGE},), {}),
}
KINDS = pytest.mark.parametrize("kind", CALLS)


def make(kind, **changes):
    function, values, axes = CALLS[kind]
    return function(*values, **(WORDS | axes | changes))


def plain(figure):
    return json.loads(figure.to_json())


@KINDS
def test_every_figure_is_a_plotly_figure_with_caption_and_alt_text(kind):
    figure = make(kind, name="fig-one")
    assert isinstance(figure, go.Figure)
    assert figure.layout.meta["alt"] == WORDS["alt"]
    assert figure.layout.meta["name"] == "fig-one"
    assert figure.layout.title.text == figure.layout.meta["caption"] == WORDS["caption"]


@KINDS
def test_display_is_one_plotly_output_and_one_fixed_line(kind):
    data, _ = DisplayFormatter().format(make(kind))
    assert set(data) == {MIME, "text/plain"}
    assert data["text/plain"] == "Figure('The message.')"
    assert len(json.dumps(data)) < 8_000


@KINDS
@pytest.mark.parametrize("field", ["alt", "caption", "x_title", "y_title"])
def test_texts_are_required(kind, field):
    if kind in ("pictures", "treemap") and field.endswith("title"):
        pytest.skip(f"a {kind} has no axes")
    with pytest.raises(ValueError, match=f"{field} must not be empty"):
        make(kind, **{field: " "})
    with pytest.raises(TypeError, match=f"{field} must be str, got int"):
        make(kind, **{field: 3})


def test_alt_and_caption_cannot_be_left_out():
    with pytest.raises(TypeError, match="alt"):
        figures.lines([1], [1], caption="c", **AXES)


def test_lines_keep_names_values_and_integers():
    figure = figures.lines([1, 2], {"a": [123456789, 2], "b": [1 / 3, 2.0]}, **WORDS, **AXES)
    assert [(trace.name, list(trace.y)) for trace in figure.data] == [("a", [123456789, 2]), ("b", [0.333333, 2.0])]
    assert figure.layout.showlegend
    assert figure.data[0].line.dash != figure.data[1].line.dash


def test_lines_take_an_axis_per_curve():
    figure = figures.lines({"a": [1], "b": [2, 3]}, {"a": [1], "b": [4, 5]}, **WORDS, **AXES)
    assert [list(trace.x) for trace in figure.data] == [[1], [2, 3]]


def test_histogram_counts_every_value_once():
    values = np.random.default_rng(0).normal(size=1000)
    figure = figures.histogram({"a": values, "b": values[:10]}, bins=7, **WORDS, x_title="weight")
    assert [sum(trace.y) for trace in figure.data] == [1000, 10]
    assert len(figure.data[0].x) == 7


def test_heatmap_draws_row_zero_at_the_top_and_centres_diverging_colours():
    figure = figures.heatmap(MATRIX - 1, diverging=True, value_title="entry", **WORDS, **AXES)
    trace = figure.data[0]
    assert (trace.zmin, trace.zmax) == (-4, 4)
    assert figure.layout.yaxis.autorange == "reversed"


def test_pictures_keep_every_pixel_of_a_small_image():
    source = figures.pictures({"ramp": IMAGE}, **WORDS).data[0].source
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
    assert source.startswith("data:image/png")
    assert np.array_equal(pixels, np.round(IMAGE * 255))


def test_pictures_take_bytes_and_colour_and_shrink_large_noise():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    source = figures.pictures({"noise": noise}, **WORDS).data[0].source
    assert source.startswith("data:image/webp")
    assert len(source) < noise.size


@pytest.mark.parametrize(
    ("kind", "values", "changes", "message"),
    [
        ("lines", ([1, 2], [1, 2, 3]), {}, "must have 2 values"),
        ("lines", ([], []), {}, "x must not be empty"),
        ("lines", ([1, 2], [1, np.nan]), {}, "must be finite"),
        ("lines", ([1, 2], {}), {}, "series must hold at least one entry"),
        ("lines", ({"a": [1]}, {"b": [1]}), {}, "x must have the names of series"),
        ("lines", ([1, 2], [0, 1]), {"y_log": True}, "must be positive on a log axis"),
        ("lines", ([0, 2], [1, 1]), {"x_log": True}, "x must be positive on a log axis"),
        ("lines", ([1, 2], [1, 1]), {"height": 10}, "height must be between"),
        ("bars", ([], [1]), {}, "labels must name at least one bar"),
        ("bars", (["a"], [1, 2]), {}, "must have 1 values"),
        ("histogram", ([],), {}, "values must not be empty"),
        ("histogram", ([1.0],), {"bins": 0}, "bins must be between"),
        ("heatmap", (np.zeros(3),), {}, "must have 2 dimensions"),
        ("heatmap", (np.zeros((200, 200)),), {}, "use pictures for images"),
        ("heatmap", (MATRIX,), {"x": ["a"]}, "x must have 3 entries"),
        ("pictures", ({},), {}, "images must hold at least one entry"),
        ("pictures", ({"a": IMAGE + 1},), {}, "image 'a' must hold values between 0 and 1"),
        ("pictures", ({"a": np.zeros((2, 2, 4))},), {}, "must have shape"),
        ("pictures", ({"a": IMAGE},), {"columns": 0}, "columns must be at least 1"),
    ],
)
def test_bad_values_are_refused_by_name(kind, values, changes, message):
    function, _, axes = CALLS[kind]
    with pytest.raises(ValueError, match=message):
        function(*values, **(WORDS | axes | changes))


def test_names_of_series_are_text():
    with pytest.raises(TypeError, match="each name in series must be str"):
        figures.lines([1], {1: [1]}, **WORDS, **AXES)


def test_treemap_keeps_the_tree_and_the_values():
    values, parents = (
        {"block.0": 3, "block.1": 1, "fc": 4},
        {"block.0": "block", "block.1": "block", "block": "", "fc": ""},
    )
    trace = plain(figures.treemap(values, parents=parents, value_title="weights", **WORDS))["data"][0]
    assert trace["ids"] == ["block.0", "block.1", "fc", "block"]
    assert trace["labels"] == ["0", "1", "fc", "block"]
    assert trace["parents"] == ["block", "block", "", ""]
    assert trace["values"] == [3, 1, 4, 0]


def test_a_still_of_a_treemap_names_what_has_room():
    svg = still(plain(figures.treemap({"large": 99.0, "small": 1.0}, value_title="weights", **WORDS)))
    assert ">large</text>" in svg
    assert "small" not in svg


@pytest.mark.parametrize(
    ("values", "changes", "error", "message"),
    [
        ({}, {}, ValueError, "values must hold at least one entry"),
        ({"a": 0}, {}, ValueError, "values must not all be 0"),
        ({"a": -1}, {}, ValueError, "value 'a' must be at least 0"),
        ({"a": "much"}, {}, TypeError, "value 'a' must be a number"),
        ({"a": 1}, {"parents": {}}, ValueError, "parents must lead from 'a' to ''"),
        ({"a": 1}, {"parents": {"a": "b", "b": "a"}}, ValueError, "parents must lead from 'a' to ''"),
        ({"a": 1}, {"value_title": " "}, ValueError, "value_title must not be empty"),
        ({"a": 1}, {"height": 10}, ValueError, "height must be between"),
    ],
)
def test_treemap_refuses_bad_input(values, changes, error, message):
    with pytest.raises(error, match=message):
        figures.treemap(values, **({"value_title": "weights"} | WORDS | changes))


@pytest.mark.parametrize("kind", ["lines", "bars", "histogram", "heatmap"])
def test_a_still_shows_titles_in_the_colours_of_the_page(kind):
    svg = still(plain(make(kind)))
    assert svg.startswith("<svg")
    assert ">rank</text>" in svg
    assert "var(--lk-text)" in svg
    assert "<style" not in svg  # a style inside an SVG would reach the whole page


def test_a_still_is_the_same_every_time_and_shares_no_id_with_another():
    first, again = still(plain(make("lines"))), still(plain(make("lines")))
    other = still(plain(make("bars")))
    assert first == again
    assert not set(_ids(first)) & set(_ids(other))


def test_a_still_shows_series_marks_and_log_axes():
    series = {"measured": [1, 0.1, 0.01], "bound": [2, 1, 0.5]}
    figure = figures.lines([1, 10, 100], series, x_log=True, y_log=True, marks={"cut": 10}, **WORDS, **AXES)
    svg = still(plain(figure))
    assert all(f">{text}</text>" in svg for text in ("measured", "bound", "cut"))


@pytest.mark.parametrize("stacked", [True, False])
def test_a_still_shows_several_bars(stacked):
    series = {"dense": [3, 2], "sparse": [2, 1]}
    assert still(plain(figures.bars(["a", "b"], series, stacked=stacked, **WORDS, **AXES))).count(">dense</text>") == 1


def test_a_still_reads_the_arrays_of_any_plotly_figure():
    figure = go.Figure(go.Scatter(x=np.arange(3), y=np.arange(3.0)))
    assert still(plain(figure)).startswith("<svg")


def _ids(svg):
    return [part.split('"')[0] for part in svg.split('id="')[1:]]

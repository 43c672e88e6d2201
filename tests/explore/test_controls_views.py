"""Controls check their values; views check and encode their data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labkit.explore import (
    Bars,
    Cells,
    Choice,
    Cut,
    Field,
    Grid,
    Groups,
    Heatmap,
    Histogram,
    Lines,
    Picture,
    Pixels,
    Readouts,
    Rows,
    Sample,
    Series,
    Slider,
    Steps,
    Table,
    Toggle,
    Treemap,
    codec,
)
from labkit.explore.pages import Browser
from labkit.explore.views import format_number, squarify


@pytest.mark.parametrize(
    ("control", "probes"),
    [
        (Slider("n", 1, 9), [1, 5, 9]),
        (Slider("x", 0.0, 1.0), [0.0, 0.5, 1.0]),
        (Slider("n", values=[2, 3, 5, 15, 30]), [2, 5, 30]),
        (Slider("n", 1, 10_000, scale="log", positions=5), [1, 100, 10_000]),
        (Choice("bits", [32, 16, 8]), [32, 16, 8]),
        (Choice("kind", {"a": "A", "b": "B"}, default="b"), ["a", "b"]),
        (Toggle("on"), [False, True]),
        (Field("f", [1, 2]), [[1, 2], [3, 5]]),
        (Steps("step", ["one", "two"]), [0, 1]),
    ],
)
def test_probes_are_allowed_values(control, probes):
    assert control.probes({}) == probes
    assert [control.clean(value) for value in probes] == probes
    assert control.clean(control.start) == control.start
    assert control.spec()["start"] == control.start


@pytest.mark.parametrize(
    ("control", "value", "error", "words"),
    [
        (Slider("n", 1, 9), 0, ValueError, "n must be between 1 and 9, got 0"),
        (Slider("n", 1, 9), True, TypeError, "n must be an integer, got True"),
        (Slider("x", 0.0, 1.0), float("nan"), ValueError, "x must be between"),
        (Slider("n", values=[2, 4]), 3, ValueError, r"n must be one of \[2, 4\], got 3"),
        (Choice("bits", [32, 1]), True, ValueError, "bits must be one of"),
        (Toggle("on"), 1, TypeError, "on must be bool, got int"),
        (Field("f", [1, 2], length=2), [1], ValueError, r"f must hold 2 number\(s\), got 1"),
        (Field("f", [1]), "1", TypeError, "f must be list or tuple, got str"),
        (Field("f", [1], high=5), [6], ValueError, "f must be between"),
        (Steps("step", ["one", "two"]), 2, ValueError, "step must be between 0 and 1, got 2"),
    ],
)
def test_bad_control_values(control, value, error, words):
    with pytest.raises(error, match=words):
        control.clean(value)


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Slider("n", 5, 5),
        lambda: Slider("n"),
        lambda: Slider("n", 1, 9, default=10),
        lambda: Slider("n", 0, 9, scale="log"),
        lambda: Slider("n", 1, 9, scale="cubic"),
        lambda: Slider("two words", 1, 9),
        lambda: Choice("c", []),
        lambda: Choice("c", [1], default=2),
        lambda: Choice("c", [1], style="wheel"),
        lambda: Field("f", []),
        lambda: Field("f", [1], length=2),
        lambda: Steps("s", ["one"]),
        lambda: Steps("s", ["one", "two"], default=2),
        lambda: Browser("missing.js", {}),
        lambda: Lines("l", x_scale="cubic"),
    ],
)
def test_bad_declarations(declare):
    with pytest.raises(ValueError, match="must"):
        declare()


NAN = np.array([1.0, np.nan])


@pytest.mark.parametrize(
    ("view", "data"),
    [
        (Picture("p"), np.zeros(3)),
        (Picture("p"), np.full((2, 2), np.nan)),
        (Picture("p"), Pixels(np.zeros((2, 2)), colormap="jet")),
        (Lines("l"), NAN),
        (Lines("l"), []),
        (Lines("l"), [Cut(x=1)]),
        (Lines("l"), [Series([1.0]), Cut()]),
        (Lines("l"), Series([1.0, 2.0], x=[1.0])),
        (Lines("l"), Series([1.0], kind="spline")),
        (Lines("l", y_scale="log"), Series([0.0, 1.0])),
        (Bars("b"), {"a": -1.0}),
        (Bars("b"), Groups(["a", "b"], {"s": [1.0]})),
        (Histogram("h"), NAN),
        (Histogram("h"), [Cut(x=1)]),
        (Heatmap("m"), np.zeros(3)),
        (Heatmap("m"), Cells(np.zeros((2, 2)), highlight=np.zeros((2, 3)))),
        (Heatmap("m"), Cells(np.zeros((2, 2)), rows=["a"])),
        (Treemap("t"), {"a": -1.0}),
        (Treemap("t"), {"a": 0.0}),
        (Table("t"), []),
        (Table("t"), [{"a": 1}, {"b": 1}]),
        (Readouts("r"), {"a": float("nan")}),
        (Readouts("r"), {"a": [1]}),
        (Readouts("r"), []),
    ],
)
def test_bad_view_data(view, data):
    with pytest.raises((ValueError, TypeError), match=r"\b(p|l|b|h|m|t|r)\b.*must"):
        view.encode(data)


@pytest.mark.parametrize(
    ("view", "data"),
    [
        (Picture("p"), np.zeros((2, 3, 3), np.uint8)),
        (Lines("l"), [Series([1.0], names=["a"], low=[0.5], high=[2.0], muted=True), Cut(y=1, label="limit")]),
        (Bars("b", stacked=True), Groups(["a", "b"], {"s": [1, 2], "t": [0, 1]}, [Cut(y=12.8)])),
        (Histogram("h"), [Sample(np.arange(10.0), "before"), Sample(np.arange(5.0)), Cut(x=2)]),
        (Heatmap("m", pattern=True), Cells(np.eye(3), highlight=np.eye(3), rows=list("abc"), columns=list("def"))),
        (Treemap("t"), {"conv1": 3, "fc": 1}),
        (Table("t"), Rows([{"a": 1, "b": "x"}], highlight=0)),
        (Readouts("r"), {"a": np.float64(1), "b": None, "c": np.bool_(True), "d": np.inf}),
    ],
)
def test_every_view_survives_the_way_to_the_page(view, data):
    encoded = view.encode(data)
    back = codec.read_payload(codec.payload(encoded))
    assert set(back) == set(encoded)


def test_histogram_counts_everything_once():
    x = np.random.default_rng(0).standard_normal(1000)
    encoded = Histogram("h", bins=10).encode([Sample(x), Sample(x[:300])])
    assert [int(s["values"].sum()) for s in encoded["series"]] == [1000, 300]


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12))
def test_treemap_boxes_have_the_right_areas_and_fill_the_square(values):
    values = np.array(values)
    boxes = squarify(values)
    np.testing.assert_allclose(boxes[:, 2] * boxes[:, 3], values / values.sum(), rtol=1e-6)
    assert boxes[:, :2].min() >= -1e-9
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 1 + 1e-9
    middles = boxes[:, :2] + boxes[:, 2:] / 2  # no box holds the middle of another
    inside = (middles[:, None] > boxes[None, :, :2]) & (middles[:, None] < boxes[None, :, :2] + boxes[None, :, 2:])
    assert inside.all(axis=2).sum() == len(values)


@given(hnp.arrays(st.sampled_from([np.uint8, np.int16, np.int32, np.uint16]), hnp.array_shapes(max_dims=3, max_side=6)))
def test_integers_reach_the_page_unchanged(x):
    np.testing.assert_array_equal(codec.read_payload(codec.payload({"x": x}))["x"], x)


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e30, 1e30)))
def test_floats_reach_the_page_to_four_digits_and_exact_ones_to_all(x):
    back = codec.read_payload(codec.payload({"x": x, "exact": codec.Exact(x)}))
    np.testing.assert_allclose(back["x"], x, rtol=1e-4, atol=1e-37)
    np.testing.assert_array_equal(back["exact"], x)


def test_equal_arrays_are_sent_once():
    same = np.arange(1000)
    assert len(codec.pack([same, same.copy(), same.astype(float)])[1]) == 2


def test_a_grid_keeps_the_start_and_all_choices():
    grid = Grid(positions=4)
    assert grid.kept(Slider("n", 1, 100, default=17)) == [1, 17, 34, 67, 100]
    assert grid.kept(Choice("c", list("ab"))) == ["a", "b"]
    assert grid.kept(Field("f", [1, 2])) == [[1, 2]]
    assert Grid({"n": [1, 5]}).kept(Slider("n", 1, 9)) == [1, 5]
    with pytest.raises(ValueError, match="n must be between"):
        Grid({"n": [0]}).kept(Slider("n", 1, 9))


def test_format_number_keeps_its_digits():
    texts = [format_number(x) for x in (20.04, 19.96, 1 / 3, 1234.56, -2.5, 1e12 / 3)]
    assert texts == ["20.0", "20.0", "0.333", "1,235", "−2.50", "3.33e11"]

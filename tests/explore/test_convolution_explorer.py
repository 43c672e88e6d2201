"""The explorer of Chapter 3: the two matrices it shows, and its twin in the browser."""

import itertools
import json

import numpy as np
import pytest

from labkit.convolution import conv2d_gemm
from labkit.explore.convolution import convolution_explorer
from labkit.explore.snapshot import _edges

VALUES = [
    dict(zip(("kernel", "stride", "padding", "size", "progress"), values, strict=True))
    for values in itertools.product((1, 3, 5), (1, 2, 3), (0, 2), (5, 8, 10), (0, 37, 100))
]


@pytest.fixture(scope="module")
def explorer():
    return convolution_explorer()


def test_every_control_moves_the_plots(explorer):
    explorer.check()


@pytest.mark.parametrize("values", VALUES[::7])
def test_both_matrices_give_the_convolution(explorer, values):
    views = explorer.compute(**values)
    A, P = views["matrix"].values, views["patches"].values
    n, k = values["size"], values["kernel"]
    x = np.random.default_rng(0).standard_normal((n, n))
    moves = {"stride": values["stride"], "padding": values["padding"]}
    expected = conv2d_gemm(x[None, None], np.ones((1, 1, k, k)), **moves).ravel()  # all weights 1: A is its pattern
    np.testing.assert_allclose(A @ x.ravel(), expected, rtol=0, atol=1e-12)
    pixels = np.append(0, x)  # P holds the pixels' numbers, 0 for the padding
    np.testing.assert_allclose(pixels[P.astype(int)].sum(axis=1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("values", VALUES[::5])
def test_outlined_patch_row_and_pixel_are_the_same(explorer, values):
    views = explorer.compute(**values)
    (row,) = np.flatnonzero(views["matrix"].highlight.any(axis=1))
    picture, output = views["picture"], views["output"]
    np.testing.assert_array_equal(picture.values[picture.highlight], views["patches"].values[row])
    assert views["patches"].highlight[row].all()
    assert output.values[output.highlight] == row + 1
    met = np.flatnonzero(views["matrix"].values[row]) + 1
    np.testing.assert_array_equal(met, [p for p in picture.values[picture.highlight] if p])


def test_ends_of_the_way_are_the_first_and_the_last_pixel(explorer):
    for progress, corner in ((0, (0, 0)), (100, (-1, -1))):
        assert explorer.compute(progress=progress)["output"].highlight[corner]


def test_numbers_of_a_case_done_by_hand(explorer):
    numbers = explorer.compute(kernel=3, stride=1, padding=0, size=6, progress=0)["numbers"]
    assert numbers == {
        "Output": "4 × 4",
        "A": "16 × 36",
        "P": "16 × 9",
        "Not zero in A": pytest.approx(100 * 16 * 9 / (16 * 36)),
        "Numbers in P per pixel": 4.0,
        "Multiply-adds": 144,
    }


def test_the_browser_computes_the_same(run_js, explorer):
    code = """import setup from "STATIC/convolution.js";
        const plain = (key, value) => (ArrayBuffer.isView(value) ? [...value] : value);
        console.log(JSON.stringify(VALUES.map(setup({})), plain));"""
    for values, got in zip(VALUES, run_js(code.replace("VALUES", json.dumps(VALUES))), strict=True):
        expected = explorer.frame(values)
        assert list(got) == list(expected)
        for view in ("picture", "matrix", "patches", "output"):
            compare(got[view], expected[view])
        for mine, theirs in zip(got["numbers"]["items"], expected["numbers"]["items"], strict=True):
            value = theirs["value"]
            assert mine == theirs | {"value": value if isinstance(value, str) else pytest.approx(value, rel=1e-12)}


def compare(got, expected):
    assert set(got) == set(expected)
    for key in ("values", "highlight"):
        assert got[key]["shape"] == list(expected[key].shape)
        np.testing.assert_array_equal(got[key]["data"], np.ravel(expected[key]))
    assert {key: got[key] for key in ("low", "high", "rows", "columns")} == {
        key: expected[key] for key in ("low", "high", "rows", "columns")
    }


def test_sliders_of_the_page_move_all_four_plots(explorer, open_page):
    with open_page(explorer) as page:
        labels = "[...document.querySelectorAll('figure[data-view] svg')].map((e) => e.getAttribute('aria-label'))"
        page.wait_for_function(f"{labels}.every(Boolean)")
        before = page.evaluate(labels)
        page.get_by_label("Side of the picture").press("ArrowRight")
        page.wait_for_function("document.querySelector('.lk-readouts').textContent.includes('25 × 49')")
        after = page.evaluate(labels)
        assert len(after) == 4
        assert all(old != new for old, new in zip(before, after, strict=True))


def test_the_still_outlines_whole_cells():
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    edges = {tuple(edge) for edge in _edges(mask)}
    assert edges == {
        ((0.5, 0.5), (1.5, 0.5)), ((1.5, 0.5), (2.5, 0.5)),  # above
        ((0.5, 1.5), (1.5, 1.5)), ((1.5, 1.5), (2.5, 1.5)),  # below
        ((0.5, 0.5), (0.5, 1.5)), ((2.5, 0.5), (2.5, 1.5)),
    }  # fmt: skip

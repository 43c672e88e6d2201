"""What the page of Chapter 15 draws, read from its committed outputs; nbval runs the cells themselves."""

import json

import numpy as np
import pytest

from labkit import paths

CHAPTER = paths.ROOT / "book/4-quantization/15-uniform-quantization.ipynb"
PLOTLY = "application/vnd.plotly.v1+json"


@pytest.fixture(scope="module")
def figures():
    """Return the figures of the page by the name that makes each a target for references."""
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    drawn = [o["data"][PLOTLY] for cell in cells for o in cell.get("outputs", []) if PLOTLY in o.get("data", {})]
    return {figure["layout"]["meta"].get("name"): figure for figure in drawn}


def test_the_histogram_is_drawn_before_and_after_saturation(figures):
    before, after = figures["fig-saturated"]["data"]
    x, heights = np.array(before["x"], dtype=float), [np.array(trace["y"]) for trace in (before, after)]
    assert [trace["name"] for trace in (before, after)] == ["before", "after"]
    assert all(np.isclose(y.sum(), 100, atol=0.1) for y in heights)
    assert heights[0][x >= 2.2].sum() > 0
    assert heights[1][x >= 2.2].sum() == 0  # the tail is in the last level, at the threshold 2
    assert np.count_nonzero(heights[1]) == 8


def test_the_spike_at_zero_lifts_the_whole_divergence_curve(figures):
    kept, copied = (np.array(trace["y"]) for trace in figures["fig-kl-curves"]["data"])
    assert kept.min() > 10 * copied.min()
    places = [figures["fig-kl-curves"]["data"][i]["x"][int(np.argmin(y))] for i, y in enumerate((kept, copied))]
    assert places == pytest.approx([1.82, 4.02], abs=0.01)


def test_the_comb_is_drawn(figures):
    share = np.array(figures["fig-comb"]["data"][0]["y"])
    assert share.max() > 20 * np.median(share)

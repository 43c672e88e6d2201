"""What the lectures only tell, Chapter 1 tells too: its watts, its growth, its reasons and its trends."""

import re

import nbformat
import pytest

from labkit.lectures import table
from labkit.paths import ROOT

CELLS = nbformat.read(ROOT / "book" / "1-foundations" / "01-why-compress.ipynb", as_version=4).cells


def section(anchor):
    """Return the cells from an anchor to the next heading with or without an anchor of its own."""
    start = next(i for i, cell in enumerate(CELLS) if f"({anchor})=" in cell.source)
    rest = (i for i, cell in enumerate(CELLS) if i > start and re.search(r"^#{1,3} ", cell.source, re.MULTILINE))
    return CELLS[start : next((i for i in rest if CELLS[i].cell_type == "markdown"), None)]


def prose(anchor):
    return " ".join(" ".join(cell.source.split()) for cell in section(anchor) if cell.cell_type == "markdown")


def test_the_watts_of_the_match_are_called_the_slides():
    assert all(words in prose("sec-alphago") for words in ("83 W", "1.5 kW", "48 TPUs", "The watts are the slide's"))


def test_growth_is_drawn_with_six_networks():
    plotly = "application/vnd.plotly.v1+json"
    outputs = [output.get("data", {}) for cell in section("sec-growth") for output in cell.get("outputs", [])]
    (figure,) = [data[plotly] for data in outputs if plotly in data]
    parameters, multiply_adds = figure["data"]
    assert list(parameters["text"]) == list(table("imagenet_history").column("model"))
    assert len(parameters["x"]) == len(parameters["y"]) == 6
    assert parameters["y"][-1] > 3 * table("imagenet_history").column("params")[-1]  # erratum E25: counted, not printed
    assert len(multiply_adds["y"]) == 4  # the slide leaves two empty
    assert figure["layout"]["meta"]["alt"]


@pytest.mark.parametrize(
    ("anchor", "issues"),
    [
        ("sec-cloud", ("delay", "power", "privacy")),
        ("sec-on-device", ("memory", "time", "power", "download")),
    ],
)
def test_exercises_ask_for_the_issues(anchor, issues):
    assert all(f"*{issue}*" in prose(anchor) for issue in issues)
    texts = re.split(r"(?=\*\*Exercise \d)", "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown"))
    asking = [text for text in texts if all(issue in text.split(":::")[0] for issue in issues)]
    assert asking
    assert all("{dropdown} Solution" in text for text in asking)


def test_the_trends_of_2017_are_told_in_a_box():
    box = prose("sec-trends")
    assert "{admonition}" in box
    assert all(word in box for word in ("2017", "quantization", "pruning", "low-rank"))

"""The SGAD explorer: its numbers against the record, and the page against Python."""

import pytest
import torch

from labkit.dynamic import expected_drop_ratio
from labkit.experiments import record
from labkit.explore.sgad_trained import BOUND, CENTRES, LEAST, STOPS, drop_vs_grad, sgad_trained_explorer, trained


@pytest.fixture(scope="module")
def explorer():
    return sgad_trained_explorer()


@pytest.mark.parametrize("s_max", sorted(trained()))
def test_the_numbers_are_those_of_the_record(explorer, s_max):
    row = record("sgad").select(s_max=s_max)[0]
    numbers = explorer.compute(s_max=s_max, reading="mended")["numbers"]
    assert numbers["Dropped"] == pytest.approx(100 * row["dropped"])
    assert numbers["Multiply-adds, easy half"] == pytest.approx(100 * row["macs_easy"])
    assert numbers["Error"] == row["error"]
    assert numbers["Drops at most"] == pytest.approx(100 * s_max)


@pytest.mark.parametrize("s_max", sorted(trained()))
def test_as_printed_s_max_is_what_1_minus_s_max_is_when_mended(explorer, s_max):
    printed = explorer.compute(s_max=s_max, reading="printed")
    mended = explorer.compute(s_max=min(trained(), key=lambda s: abs(s - (1 - s_max))), reading="mended")
    assert printed["numbers"] == pytest.approx(mended["numbers"])
    assert printed["ratio"][0].y == pytest.approx(mended["ratio"][0].y)


def test_the_curve_is_the_formula_and_ends_below_s_max(explorer):
    shown = explorer.compute(s_max=0.8, reading="mended")
    expected, points = shown["ratio"][:2]
    wanted = expected_drop_ratio(torch.from_numpy(STOPS), n_classes=10, s_max=0.8)
    assert expected.y == pytest.approx(100 * wanted.numpy())
    assert expected.y[0] == 0
    assert expected.y[-1] < 80
    assert len(points.y) == len(points.x) == sum(n >= LEAST for n in trained()[0.8]["counts"])
    assert STOPS[-1] == BOUND > CENTRES[-1]


def test_all_test_digits_are_in_the_histogram(explorer):
    shown = explorer.compute(s_max=0.5, reading="mended")
    assert sum(shown["difficulty"][0].y) == 10_000
    mistakes, counts = shown["mistakes"][0], shown["difficulty"][0].y[1:]  # the first bin is empty
    wrong = sum(n * share / 100 for n, share in zip(counts, mistakes.y, strict=True))
    assert wrong / 100 == pytest.approx(record("sgad").select(s_max=0.5)[0]["error"])


def test_the_blocks_that_run_add_up_to_what_is_not_dropped(explorer):
    shown = explorer.compute(s_max=0.65, reading="mended")
    run = shown["blocks"].values["digits for which it runs"]
    assert sum(run) / len(run) == pytest.approx(100 - shown["numbers"]["Dropped"], abs=0.02)
    assert max(shown["blocks"].values["gradient, of the largest"]) == 100


def test_the_figure_shows_gradients_and_dropped_blocks():
    figure = drop_vs_grad()
    assert [len(bars.y) for bars in figure.data] == [9, 9, 9]
    assert max(figure.data[0].y) == 100
    for bars, s in zip(figure.data[1:], (0.5, 0.8), strict=True):
        assert bars.name.endswith(f"{s:g}")
        assert sum(bars.y) / 900 == pytest.approx(record("sgad").select(s_max=s)[0]["dropped"], abs=1e-3)


def test_inside_a_stage_the_blocks_with_small_gradients_are_dropped_more_often():
    gradient, dropped = (figure.y for figure in drop_vs_grad().data[:2])
    for first in (0, 3, 6):
        assert list(gradient[first : first + 3]) == sorted(gradient[first : first + 3], reverse=True)
        assert list(dropped[first : first + 3]) == sorted(dropped[first : first + 3])


def test_the_page_computes_what_python_computes(explorer, assert_twin):
    assert_twin(explorer, "sgad_trained.js", n=10, random_state=0, rtol=1e-9)

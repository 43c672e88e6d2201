"""The explorers of chapter 9: what they show is what was recorded, and the page shows what Python shows."""

import numpy as np
import pytest

from labkit.decomposition import LowRankSparse, svd_rate
from labkit.experiments import record
from labkit.explore.low_rank_sparse import SIZE, low_rank_sparse_explorer
from labkit.explore.trained_rank import trp_explorer


@pytest.fixture(scope="module")
def chart():
    return low_rank_sparse_explorer()


@pytest.fixture(scope="module")
def monitor():
    return trp_explorer()


# --- the monitor of TRP --------------------------------------------------------------------------------------------


def test_the_monitor_shows_the_recorded_run(monitor):
    made = record("trp-monitor")
    for row in (made.rows[0], made.rows[-1], made.rows[len(made.rows) // 2]):
        setting = {key: row[key] for key in ("nuclear_weight", "period", "tol", "epoch")}
        shown = monitor.compute(**setting)
        assert shown["numbers"]["Rank of fc1"] == row["rank_fc1"]
        assert shown["numbers"]["Truncated"] == row["error_truncated"]
        assert shown["numbers"]["fc1 smaller"] == pytest.approx(svd_rate(300, 784, row["rank_fc1"]))
        curves = {series.label: series.y for series in shown["errors"][:-1]}
        assert curves["TRP, before truncation"][row["epoch"] - 1] == row["error"]


def test_the_spectrum_ends_where_the_singular_values_do(monitor):
    """After replacements at every eighth step little is left beyond the rank; plain training has no such end."""
    shown = monitor.compute(tol=0.6, period=8)
    trp, plain, *_ = shown["spectrum"]
    rank = shown["numbers"]["Rank of fc1"]
    assert len(plain.y) == 60
    assert trp.y[rank - 1] > 0.05 * trp.y[0]
    assert len(trp.y) == rank or trp.y[rank] < 0.5 * trp.y[rank - 1]


def test_rare_replacements_leave_more_to_lose(monitor):
    gaps = {}
    for period in (8, 128):
        numbers = monitor.compute(period=period, tol=0.4)["numbers"]
        gaps[period] = numbers["Truncated"] - numbers["Before truncation"]
    assert gaps[8] < gaps[128]


# --- the map of low rank plus sparse -------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [8, 12, 16])
def test_the_best_cell_is_inside_the_map(chart, budget):
    """Within a budget neither low rank alone nor sparse weights alone keep the outputs best."""
    shown = chart.compute(budget=budget)
    errors, fits = np.array(shown["map"].values), np.array(shown["map"].highlight)
    row, column = np.unravel_index(np.argmin(np.where(fits, errors, np.inf)), errors.shape)
    assert row > 0
    assert column > 0


def test_the_numbers_are_those_of_the_decomposition(chart):
    numbers = chart.compute(rank=8, density=4)["numbers"]
    nnz = int(0.04 * SIZE)
    assert numbers["Numbers stored"] == 8 * 1084 + nnz
    assert numbers["Bytes"] == 4 * numbers["Numbers stored"] + 2 * nnz
    row = next(r for r in record("low-rank-sparse-map").rows if (r["rank"], r["density"]) == (8, 0.04))
    assert numbers["Error of the network"] == row["test_error"]
    assert numbers["Error of the outputs"] == 100 * row["output_error"]
    assert hasattr(LowRankSparse, "n_bytes")


def test_paying_for_places_shrinks_what_fits(chart):
    free, paid = (np.array(chart.compute(places=p)["map"].highlight) for p in (False, True))
    assert (paid <= free).all()
    assert paid.sum() < free.sum()


def test_without_rank_and_density_the_layer_is_gone(chart):
    numbers = chart.compute(rank=0, density=0)["numbers"]
    assert numbers["Error of the outputs"] == 100
    assert numbers["Smaller"] is None
    assert numbers["Error of the network"] is None


def test_errors_fall_with_rank_and_density(chart):
    errors = np.array(chart.compute()["map"].values)
    assert (np.diff(errors, axis=1) < 0).all()
    assert (np.diff(errors, axis=0) < 0).all()


def test_the_browser_shows_what_python_shows(run_twin, chart):
    moves = [
        {"rank": 16, "density": 4, "budget": 8, "places": False, "measure": "output_error"},
        {"rank": 0, "density": 0, "budget": 24, "places": True, "measure": "weight_error"},
        {"rank": 48, "density": 12, "budget": 4, "places": True, "measure": "output_error"},
        {"rank": 2, "density": 1, "budget": 16, "places": False, "measure": "weight_error"},
    ]
    for move, mine in zip(moves, run_twin(chart, "low_rank_sparse.js", moves), strict=True):
        theirs = chart.frame(move)
        assert mine["numbers"] == {
            "items": [
                item | {"value": pytest.approx(item["value"], rel=1e-9)} if isinstance(item["value"], float) else item
                for item in theirs["numbers"]["items"]
            ]
        }
        for key in ("rows", "columns", "low", "high"):
            assert mine["map"][key] == theirs["map"][key]
        np.testing.assert_allclose(mine["map"]["values"]["data"], np.ravel(theirs["map"]["values"]), rtol=1e-9)
        np.testing.assert_array_equal(mine["map"]["highlight"]["data"], np.ravel(theirs["map"]["highlight"]))
        for a, b in zip(mine["edge"]["series"], theirs["edge"]["series"], strict=True):
            assert (a["label"], a["kind"], a["muted"]) == (b["label"], b["kind"], b["muted"])
            np.testing.assert_allclose(a["y"]["data"], b["y"], rtol=1e-9)
            np.testing.assert_allclose(a["x"]["data"], b["x"], rtol=1e-9)
        assert [c["label"] for c in mine["edge"]["cuts"]] == [c["label"] for c in theirs["edge"]["cuts"]]

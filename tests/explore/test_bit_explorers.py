"""The explorers of chapter 21: the LUT synthesiser and the popcount bench, in Python and on the page."""

import numpy as np
import pytest

from labkit.experiments import record
from labkit.explore.graph import Graph, Node, Wiring, places
from labkit.explore.lut import NAMES, lut_explorer, rows_of, wiring
from labkit.explore.popcount import LIVE, popcount_explorer
from labkit.kernels.lut import synth_xnor_popcount, synthesize


@pytest.fixture(scope="module")
def lut():
    return lut_explorer()


# ---- LUT synthesiser


@pytest.mark.parametrize("k", range(2, 7))
@pytest.mark.parametrize("function", NAMES)
def test_the_network_shown_is_the_one_of_synthesize(lut, function, k):
    shown = lut.compute(function=function, n_inputs=5, k=k)
    rows = rows_of(function, lut.ones, 5)
    network = synthesize(rows, n_inputs=5, k=k)
    assert shown["numbers"]["Look-up tables"] == network.n_luts == shown["counts"][f"k = {k}"]
    assert shown["numbers"]["Depth"] == network.depth
    assert shown["numbers"]["Exact for all inputs"]
    assert shown["table"].values.ravel().tolist() == rows
    assert sum(node.kind == "cell" for node in shown["network"].nodes) == network.n_luts


def test_a_table_that_is_typed(lut):
    shown = lut.compute(function="own", ones=[1, 2, 60], n_inputs=2, k=2)
    assert shown["table"].values.tolist() == [[0, 1], [1, 0]]
    assert shown["numbers"]["Look-up tables"] == 1
    assert shown["numbers"]["Rows that give 1"] == 2
    with pytest.raises(ValueError, match="whole numbers"):
        lut.compute(function="own", ones=[1.5])


def test_every_control_moves_the_synthesiser(lut):
    lut.check()


def test_the_page_makes_the_same_networks(run_twin, lut):
    rng = np.random.default_rng(21)
    moves = [{"function": f, "ones": [0.0], "n_inputs": n, "k": k} for f in NAMES for n in (2, 5, 6) for k in (2, 3, 6)]
    for n in (3, 4, 5, 6):
        ones = rng.permutation(2**n)[: 2 ** (n - 1)].astype(float).tolist()
        moves += [{"function": "own", "ones": ones, "n_inputs": n, "k": k} for k in range(2, 7)]
    for move, got in zip(moves, run_twin(lut, "lut.js", moves), strict=True):
        expected = lut.frame(move)
        for view in ("table", "counts", "numbers"):
            assert_like(got[view], expected[view], move)
        for key in ("labels", "kinds", "notes"):
            assert got["network"][key] == expected["network"][key], move
        np.testing.assert_allclose(got["network"]["places"]["data"], expected["network"]["places"].ravel())
        assert got["network"]["edges"]["data"] == expected["network"]["edges"].ravel().tolist()


def assert_like(got, expected, where):
    """Compare a view of the page with the encoded one."""
    if isinstance(expected, dict):
        assert set(got) == set(expected), where
        for key, value in expected.items():
            assert_like(got[key], value, where)
    elif isinstance(expected, list):
        assert len(got) == len(expected), where
        for mine, theirs in zip(got, expected, strict=True):
            assert_like(mine, theirs, where)
    elif isinstance(expected, np.ndarray):
        assert got["shape"] == list(expected.shape), where
        np.testing.assert_allclose(got["data"], expected.ravel(), rtol=1e-9)
    else:
        assert got == (pytest.approx(expected, rel=1e-9) if isinstance(expected, float) else expected), where


# ---- popcount bench


def test_the_page_shows_the_recorded_bench(assert_twin):
    assert_twin(popcount_explorer(live=False), "popcount.js", n=40, random_state=0, rtol=1e-9)


def test_every_control_moves_the_recorded_bench():
    popcount_explorer(live=False).check()


def test_the_recorded_bench_is_exact_and_says_where_it_ran():
    shown = popcount_explorer(live=False).compute(n=4096, word=64, M=8, K=8)
    assert shown["numbers"]["Exact"]
    assert shown["numbers"]["Products of one bit"] == 4096 * 64
    assert record("popcount-bench").summary["processor"] in shown["numbers"]["Measured"]
    assert record("popcount-bench").date in shown["numbers"]["Measured"]


def test_a_live_bench_measures_here(monkeypatch):
    shown = popcount_explorer(live=True).compute(n=64, word=32, M=2, K=1)
    assert shown["numbers"] | {"Fastest": ""} == {
        "Exact": True,
        "Products of one bit": 128,
        "Words counted": 4,
        "Fastest": "",
        "Measured": LIVE,
    }
    monkeypatch.setenv("LABKIT_STATIC", "1")
    assert popcount_explorer().compute()["numbers"]["Measured"] != LIVE


# ---- the view of a graph


def test_wiring_draws_every_cell_and_wire():
    network = synthesize([0, 1, 1, 0, 1, 0, 0, 1], n_inputs=3, k=2)
    drawn = wiring(network)
    assert [node.label for node in drawn.nodes] == ["x₀", "x₁", "x₂", "T1", "T2", "f"]
    assert len(drawn.edges) == sum(len(cell.inputs) for cell in network.cells) + 1
    assert drawn.nodes[3].note == "table 0110"
    assert [node.column for node in drawn.nodes] == [*network.levels, network.depth + 1]
    assert Graph("net").encode(wiring(synth_xnor_popcount(1, k=3)))["kinds"][-1] == "output"


def test_nodes_of_a_column_are_spread_evenly():
    assert places([0, 0, 0, 0, 2]).tolist() == [[0, 0.125], [0, 0.375], [0, 0.625], [0, 0.875], [1, 0.5]]
    assert places([0]).tolist() == [[0, 0.5]]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([], TypeError, "net must be Wiring"),
        (Wiring([], []), ValueError, "net must have at least one node"),
        (Wiring([Node("a", 0.5)], []), TypeError, "column must be an integer"),
        (Wiring([Node("a", 0, "box")], []), ValueError, "kind must be one of"),
        (Wiring([Node("a", 0)], [(0, 1)]), ValueError, "edge must be between 0 and 0"),
        (Wiring([Node("a", 1), Node("b", 1)], [(0, 1)]), ValueError, "must lead to the right"),
    ],
)
def test_wirings_that_cannot_be_drawn(data, error, message):
    with pytest.raises(error, match=message):
        Graph("net").encode(data)

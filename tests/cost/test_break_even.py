"""The measured break-even: its shape, the point where the curve crosses 1, and that all products are the same."""

import numpy as np
import pytest

from labkit.cost import break_even, breakeven
from labkit.cost.break_even import crossing, dense_products, sparse_product
from labkit.sparse import CSR


def test_a_measurement():
    found = breakeven(48, columns=4, sparsities=(0.5, 0.9), random_state=0)
    assert len(found.ratios) == 2
    assert min(found.ratios) > 0
    assert found.dense in found.peers
    assert found.sparsity is None or 0.5 <= found.sparsity <= 0.9
    assert str(found).count("zeros") >= 2
    assert "0.5, 0.9" in repr(found)


def test_the_fastest_dense_product_is_divided_by_the_sparse_one(monkeypatch):
    seconds = {"NumPy": 3.0, "torch": 2.0, "oneDNN": 4.0, "dense": 2.0, "sparse": 0.5}
    timed = []

    def told(calls, rounds):
        timed.append(dict(calls))
        return {name: seconds[name] for name in calls}

    monkeypatch.setattr(break_even, "cpu_times", told)
    found = breakeven(8, columns=2, sparsities=(0.5, 0.9), random_state=0)
    assert found.dense == "torch"
    assert found.ratios == (4.0, 4.0)
    assert [pair["dense"] for pair in timed[1:]] == [timed[0]["torch"]] * 2


@pytest.mark.parametrize("columns", [1, 5])
def test_all_ways_compute_the_same_product(columns):
    rng = np.random.default_rng(0)
    W, X = rng.standard_normal((6, 6)).astype(np.float32), rng.standard_normal((6, columns)).astype(np.float32)
    ways = dense_products(W, X) | {"sparse": sparse_product(CSR.from_dense(W), X)}
    for name, product in ways.items():
        made = product()
        if getattr(made, "is_mkldnn", False):
            made = made.to_dense().detach().T
        np.testing.assert_allclose(np.asarray(made).reshape(6, columns), W @ X, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("y", "expected"),
    [([0.5, 0.75, 1.25], 0.8), ([2, 2, 2], 0.5), ([0.1, 0.2, 0.3], None), ([1.2, 0.9, 1.1], 0.8), ([0.5, 1, 2], 0.7)],
)
def test_where_the_curve_reaches_one_for_good(y, expected):
    assert crossing([0.5, 0.7, 0.9], y) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be between 1 and 8192"),
        ({"n": 4.0}, TypeError, "n must be an integer"),
        ({"n": 4, "columns": 0}, ValueError, "columns must be between 1 and 8192"),
        ({"n": 4, "rounds": 3}, ValueError, "rounds must be between 7 and 1000"),
        ({"n": 4, "sparsities": None}, TypeError, "sparsities must be a list of numbers, got None"),
        ({"n": 4, "sparsities": ()}, ValueError, "sparsities must ascend and not be empty"),
        ({"n": 4, "sparsities": (0.9, 0.5)}, ValueError, "sparsities must ascend"),
        ({"n": 4, "sparsities": (1.5,)}, ValueError, "sparsities must be between 0 and 1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        breakeven(**arguments)

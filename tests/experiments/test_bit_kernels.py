"""The records of chapter 21: what was measured is what the chapter says, and every way of counting is exact."""

import numpy as np
import pytest

from labkit.experiments import record
from labkit.experiments.bit_kernels import GRID, WAYS, bench, bench_calls, fp32_calls, ladder_calls
from labkit.kernels import pack_bits
from labkit.kernels.compiled import find_compiler
from labkit.kernels.ladder import STEPS


def speeds(n):
    return {row["step"]: row["gops"] for row in record("bit-ladder").select(n=n)}


def test_the_ladder_was_measured_step_by_step():
    small, large = speeds(1024), speeds(4096)
    steps = {step.name for step in STEPS} | {"package"}
    assert steps <= set(small)
    assert set(large) == set(small) - {"signs"}  # it would take minutes
    assert sum(name.endswith("fp32") for name in set(small) - steps) >= 2
    for fast, slow in [("words", "signs"), ("popcount", "words"), ("tile", "blocks"), ("vectors", "tile")]:
        assert small[fast] > small[slow]


def test_packed_signs_were_faster_than_floats():
    for n in (512, 1024, 4096):
        assert speeds(n)["package"] > max(speed for name, speed in speeds(n).items() if name.endswith("fp32"))


@pytest.mark.parametrize("n", [64, 1024, 4096])
def test_packed_signs_take_a_32nd(n):
    assert np.ones((3, n), np.float32).nbytes == 32 * pack_bits(np.ones((3, n))).nbytes


def test_c_was_at_least_five_times_as_fast_as_python():
    """The bound of the inventory holds at every point of the grid, for compiled loops and for the package's way."""
    rows = record("popcount-bench").rows
    assert len(rows) == np.prod([len(values) for values in GRID.values()])
    assert all(row["exact"] and row["naive"] > 5 * row["cffi"] for row in rows)


@pytest.mark.parametrize(("n", "word", "M", "K"), [(1, 32, 1, 1), (100, 64, 3, 2), (130, 32, 8, 4)])
def test_all_ways_are_exact(n, word, M, K):
    ways, expected = bench_calls(n=n, word=word, M=M, K=K, random_state=0)
    assert list(ways) == list(WAYS if find_compiler() else WAYS[:2])
    assert ways.pop("naive")() == expected[0, 0]
    assert all(np.array_equal(call(), expected) for call in ways.values())
    times, exact = bench(n=n, word=word, M=M, K=K, round_seconds=0)
    assert exact
    assert all(seconds > 0 for seconds in times.values())


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
def test_a_step_that_is_wrong_is_not_measured(monkeypatch):
    A, B = np.random.default_rng(0).choice([-1.0, 1.0], (2, 3, 70))
    assert "package" in ladder_calls(A, B)
    monkeypatch.setattr("labkit.experiments.bit_kernels.xnor_matmul", lambda a, b, n: np.zeros((3, 3), np.int32))
    with pytest.raises(AssertionError, match="package differs from NumPy"):
        ladder_calls(A, B)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be between 1 and"),
        ({"n": 1.0}, TypeError, "n must be an integer"),
        ({"word": 16}, ValueError, "word must be 32 or 64"),
        ({"M": 17}, ValueError, "M must be between 1 and 16"),
        ({"K": 0}, ValueError, "K must be between 1 and 16"),
        ({"rounds": 1}, ValueError, "rounds must be at least 7"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        bench(**({"n": 8, "word": 64, "M": 1, "K": 1} | change))


def test_matrices_must_fit():
    with pytest.raises(ValueError, match="rows of 3 signs"):
        ladder_calls(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="B must have rows of 3 numbers"):
        fp32_calls(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(TypeError, match="A must hold real numbers"):
        fp32_calls("signs", np.ones((2, 4)))


def test_the_float_products_are_those_of_the_signs():
    A, B = np.random.default_rng(0).choice([-1.0, 1.0], (2, 3, 70))
    products = {name: call() for name, call in fp32_calls(A, B).items()}
    assert list(products)[:2] == ["NumPy fp32", "torch fp32"]
    for product in list(products.values())[:2]:
        assert np.array_equal(product, A @ B.T)

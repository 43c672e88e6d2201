"""The explorers of chapters 23 and 24: their numbers against the library, and the page against Python."""

import numpy as np
import pytest

from labkit.convolution import correlate1d, savings, winograd_error
from labkit.explore.fft_crossover import fft_crossover_explorer
from labkit.explore.sparse_winograd import sparse_winograd_explorer
from labkit.explore.winograd import STEPS, winograd_explorer
from tests.explore.conftest import assert_same


@pytest.fixture(scope="module")
def stepper():
    return winograd_explorer()


@pytest.fixture(scope="module")
def crossover():
    return fft_crossover_explorer()


@pytest.fixture(scope="module")
def sparse():
    return sparse_winograd_explorer()


# ---- Winograd stepper


def test_every_control_moves_the_stepper(stepper):
    stepper.check()


def test_the_lectures_example_step_by_step(stepper):
    shown = [stepper.compute(step=step) for step in range(len(STEPS))]
    assert [row["m"] for row in shown[-1]["products"].rows] == [-10, 30, 10, -60]
    assert [row["m"] for row in shown[3]["products"].rows] == [-10, 30, "", ""]
    assert (shown[-1]["numbers"]["y₀"], shown[-1]["numbers"]["y₁"]) == (30, 80)
    assert shown[0]["numbers"]["y₀"] is None
    counts = shown[-1]["counts"].values
    assert counts == {"for every picture": [4, 8], "once per kernel": [2, 3], "direct": [6, 4]}


@pytest.mark.parametrize(
    ("m", "direct", "winograd", "times"), [(2, 36, 16, 2.25), (4, 144, 36, 4), (6, 324, 64, 5.0625)]
)
def test_counts_by_tile(stepper, m, direct, winograd, times):
    numbers = stepper.compute(m=m, dtype="float16")["numbers"]
    counts = numbers["Multiplications, direct"], numbers["Multiplications, Winograd"], numbers["Fewer multiplications"]
    assert counts == (direct, winograd, times)
    assert numbers["Error"] == winograd_error(m, dtype="float16", random_state=0) > numbers["Error, direct"]


def test_the_outputs_are_those_of_the_correlation(stepper):
    f, g = [1.0, -2.0, 3.0, 0.5], [1.0, 0.25, -1.0]
    numbers = stepper.compute(f=f, g=g, step=len(STEPS) - 1)["numbers"]
    np.testing.assert_allclose([numbers["y₀"], numbers["y₁"]], correlate1d(f, g))
    np.testing.assert_allclose([numbers["y₀, direct"], numbers["y₁, direct"]], correlate1d(f, g))


def test_the_browser_takes_the_same_steps(run_twin, stepper):
    rest = {"f": [1.5, -2, 3, 0], "g": [1, 0.25, -1]}
    moves = [
        rest | {"step": s, "m": m, "dtype": d} for s in range(len(STEPS)) for m, d in [(2, "float64"), (6, "float16")]
    ]
    for move, mine in zip(moves, run_twin(stepper, "winograd.js", moves), strict=True):
        assert_same(mine, stepper.frame(move), str(move), rtol=1e-9)


# ---- FFT crossover


def test_every_control_moves_the_crossover(crossover):
    crossover.check()


def test_few_channels_and_a_kernel_to_transform_move_the_crossover(crossover):
    many, few = (crossover.compute(channels=c, side=32)["numbers"]["Fewer from kernel"] for c in (64, 1))
    late = crossover.compute(channels=64, side=32, ready=False)["numbers"]["Fewer from kernel"]
    assert many == 2 < few
    assert many < late


def test_there_may_be_no_crossover(crossover):
    assert crossover.compute(channels=1, side=8, kernel=3, ready=False)["numbers"]["Fewer from kernel"] is None


def test_the_browser_counts_the_same(run_twin, crossover):
    moves = [
        {"channels": c, "side": n, "kernel": k, "ready": r}
        for c, n, k, r in [(1, 8, 8, False), (64, 32, 3, True), (512, 224, 15, False), (2, 16, 5, True)]
    ]
    for move, mine in zip(moves, run_twin(crossover, "fft_crossover.js", moves), strict=True):
        assert_same(mine, crossover.frame(move), str(move), rtol=1e-9)


# ---- sparse Winograd


def test_every_control_moves_the_sparse_explorer(sparse):
    sparse.check()


def test_the_lectures_densities(sparse):
    shown = sparse.compute(weights=0.4, activations=0.44, m=2)
    numbers = shown["numbers"]
    assert numbers["Saving, zeros kept"] == pytest.approx(2.25 * 2.5 / 0.44)
    assert numbers["Saving, zeros kept"] == pytest.approx(savings("sparse winograd").total, rel=0.02)
    assert numbers["Saving, zeros lost"] < numbers["Saving, sparse"]
    assert shown["products"]["direct"] == 36
    assert shown["products"]["Winograd"] == 16


def test_dense_weights_and_activations_leave_the_transform_alone(sparse):
    products = sparse.compute(weights=1.0, activations=1.0, m=4)["products"]
    assert products == {
        "direct": 144,
        "sparse": 144,
        "Winograd": 36,
        "zeros lost": 36,
        "zeros kept": 36,
    }


def test_the_browser_transforms_the_same_zeros(assert_twin, sparse):
    assert_twin(sparse, "sparse_winograd.js", n=12, random_state=0, rtol=1e-9)

"""The ternary threshold explorer: its numbers against the library, and the page against Python."""

import numpy as np
import pytest

from labkit.explore.ternary import LAYERS, STOPS, ternary_explorer
from labkit.nets import load
from labkit.quantization import row_scaled, twn


@pytest.fixture(scope="module")
def explorer():
    return ternary_explorer()


@pytest.mark.parametrize("threshold", [0.0, 0.7, 1.5, 3.0])
def test_the_numbers_are_those_of_twn_on_the_trained_layer(explorer, threshold):
    W = load("lenet-5").fc1.weight.detach().numpy().astype(float)
    mean = np.abs(W).mean()
    made, numbers = twn(W, threshold=threshold * mean), explorer.compute(layer="fc1", threshold=threshold)["numbers"]
    assert numbers["Scale α / mean |w|"] == pytest.approx(made.scale / mean)
    assert numbers["Error"] == pytest.approx(100 * made.error / np.linalg.norm(W))
    assert numbers["Zeros"] == pytest.approx(100 * made.sparsity)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_best_threshold_is_on_no_side_beaten_and_binary_is_the_left_end(explorer, layer):
    shown = explorer.compute(layer=layer, threshold=0.7)
    numbers, errors = shown["numbers"], shown["curve"][0].y
    assert numbers["Least error"] <= errors.min() + 1e-9
    assert numbers["Error at 0.7"] == pytest.approx(numbers["Error"]) == pytest.approx(errors[35])
    assert STOPS[35] == pytest.approx(0.7)
    assert numbers["Error of binary"] == pytest.approx(errors[0])
    assert numbers["Least error"] < numbers["Error of binary"]


def test_binary_is_the_scaled_sign_of_the_whole_layer(explorer):
    W = load("lenet-5").conv2.weight.detach().numpy().astype(float).ravel()
    expected = 100 * np.sqrt(row_scaled(W).residual) / np.linalg.norm(W)
    assert explorer.compute(layer="conv2", threshold=0.0)["numbers"]["Error of binary"] == pytest.approx(expected)


def test_the_known_distributions(explorer):
    best = {
        name: explorer.compute(layer=name, threshold=0.0)["numbers"]["Best threshold"] for name in ("uniform", "normal")
    }
    assert best["uniform"] == pytest.approx(2 / 3, abs=1e-3)
    assert best["normal"] == pytest.approx(0.767, abs=3e-3)


def test_the_page_computes_what_python_computes(explorer, assert_twin):
    assert_twin(explorer, "ternary.js", n=40, random_state=0, rtol=1e-9)

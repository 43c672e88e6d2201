"""The XNOR lab: its numbers against the library and the record, and the page against Python."""

from itertools import product

import numpy as np
import pytest

from labkit.cost import xnor_speedup
from labkit.experiments import record
from labkit.explore.xnor_lab import LAYERS, xnor_lab_explorer
from labkit.nets import load
from labkit.quantization import row_scaled

ALL_ON = {"weights": True, "inputs": True, "scale": True, "last": True}


@pytest.fixture(scope="module")
def explorer():
    return xnor_lab_explorer()


@pytest.mark.parametrize("layer", ["conv2", "fc1", "fc2"])
def test_the_residual_is_the_librarys_and_the_variance(explorer, layer):
    numbers = explorer.compute(layer=layer, **ALL_ON)["numbers"]
    w = load("lenet-5").get_submodule(layer).weight.detach().flatten(1).double().numpy()
    nearest = row_scaled(w)
    assert numbers["Residual / ‖W‖²"] == pytest.approx(100 * nearest.residual / np.square(w).sum(), rel=1e-9)
    assert numbers["Residual / ‖W‖²"] == pytest.approx(numbers["Variances / ‖W‖²"], rel=1e-9)
    assert numbers["S(c) of this layer"] == pytest.approx(xnor_speedup(w.shape[1], 1))
    assert numbers["Bits for a weight"] == pytest.approx(nearest.n_bits / w.size)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_first_layer_stays_real_and_the_last_unless_asked(explorer, layer):
    kinds = [explorer.compute(layer=layer, **ALL_ON | {"last": on})["numbers"]["This layer"] for on in (False, True)]
    wanted = {"conv1": ["real"] * 2, "fc2": ["real", "signs times a scale"]}
    assert kinds == wanted.get(layer, ["signs times a scale"] * 2)


def test_every_setting_has_a_recorded_error(explorer):
    made = record("xnor-lab")
    for weights, inputs, scale, last in product((False, True), repeat=4):
        switches = {"weights": weights, "inputs": inputs, "scale": scale and weights, "last": last and weights}
        rows = made.select(**switches, act_scale=False, stochastic=False)
        numbers = explorer.compute(layer="fc1", weights=weights, inputs=inputs, scale=scale, last=last)["numbers"]
        assert numbers["Test error"] == pytest.approx(np.mean([row["test_error"] for row in rows]), abs=1e-4)


def test_the_pictures_show_signs(explorer):
    part = load("lenet-5").conv2.weight.detach().flatten(1).numpy()[:25, :50]
    shown = explorer.compute(layer="conv2", **ALL_ON | {"scale": False})
    assert np.array_equal(shown["used"].values, np.where(part < 0, -1, 1))
    real = explorer.compute(layer="conv2", weights=False, inputs=True, scale=True, last=True)
    assert np.allclose(real["used"].values, part)


def test_the_browser_shows_what_python_shows(assert_twin, explorer):
    assert_twin(explorer, "xnor_lab.js", n=12, random_state=19, rtol=1e-6)

"""The FBS dial: what it shows is what the shipped network does, and the page holds the same values."""

import numpy as np
import pytest
import torch

from labkit.cost import count
from labkit.datasets import mnist
from labkit.dynamic import macs_ran, n_winners, renormalized, set_boosting, set_density, skip_probabilities
from labkit.explore import codec
from labkit.explore.fbs import DIGITS, N_DIGITS, N_NORM, fbs_explorer, measured, network, pictures
from labkit.nets import CifarNet, load_fbs

WIDTHS = CifarNet().widths[1:]


@pytest.fixture(scope="module")
def explorer():
    return fbs_explorer()


def model_at(density, boosting=True):
    model = load_fbs()
    set_density(model, density)
    set_boosting(model, boosting)
    return renormalized(model, mnist("train", source="offline")[:N_NORM].tensors()[0])


def test_the_shown_pictures_are_test_digits_of_each_class():
    x, labels, shown = pictures()
    assert x.shape == (N_DIGITS, 1, 28, 28)
    assert labels[shown].tolist() == list(DIGITS)


@pytest.mark.parametrize(("density", "boosting"), [(0.5, True), (0.8, False)])
def test_accuracy_and_heat_map_are_the_networks(density, boosting, explorer):
    model, (x, labels, _) = model_at(density, boosting), pictures()
    shown = explorer.compute(density=density, boosting=boosting, layer="blocks.5")
    with torch.no_grad():
        right = (model(x).argmax(1) == labels).double().mean()
    assert shown["numbers"][f"Accuracy on {N_DIGITS} digits"] == pytest.approx(100 * float(right))
    heat = skip_probabilities(model, x, labels)["blocks.5"]
    np.testing.assert_allclose(shown["skips"].values, 100 * heat.numpy(), atol=1e-4)


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_the_multiply_adds_are_those_that_ran(density, explorer):
    x, _, shown = pictures()
    model = model_at(density)
    for layer in model.blocks[1:]:
        layer.execution = "image"
    numbers = explorer.compute(density=density, digit="7")["numbers"]
    with torch.no_grad():
        assert numbers["Multiply-adds that ran"] == macs_ran(model, x[shown[7]][None])[1]
    dense = count(CifarNet(), x[:1]).macs
    assert numbers["Of the dense network"] == pytest.approx(100 * numbers["Multiply-adds that ran"] / dense)


def test_as_many_channels_run_as_the_density_says_and_which_depends_on_the_digit(explorer):
    active = []
    for digit in ("1", "8"):
        shown = explorer.compute(density=0.3, boosting=False, digit=digit)
        gains = shown["gains"].values
        assert (gains > 0).sum(1).tolist() == [n_winners(0.3, width) for width in WIDTHS]
        assert shown["numbers"]["Active channels"] == (gains > 0).sum()
        active.append(gains > 0)
    assert (active[0] != active[1]).any()


def test_without_boosting_every_gain_is_1(explorer):
    assert set(np.unique(explorer.compute(boosting=False)["gains"].values)) == {0.0, 1.0}
    assert len(np.unique(explorer.compute(boosting=True)["gains"].values)) > 50


def test_boosting_is_worth_something_at_the_density_of_the_training(explorer):
    on, off = (explorer.compute(boosting=b)["numbers"][f"Accuracy on {N_DIGITS} digits"] for b in (True, False))
    assert on > 97
    assert on > off


def test_turning_the_dial_leaves_the_shared_network_as_it_was():
    before = {name: value.clone() for name, value in network().state_dict().items()}
    measured(0.9, False)
    assert all(torch.equal(value, before[name]) for name, value in network().state_dict().items())
    assert all(layer.density == 0.5 and layer.boosting for layer in network().blocks[1:])


def test_the_page_holds_what_python_computes(explorer):
    data = explorer.static.data(explorer.controls, explorer.frame)
    names = [axis["name"] for axis in data["axes"]]
    sizes = [len(axis["values"]) for axis in data["axes"]]
    assert dict(zip(names, sizes, strict=True)) == {"density": 10, "boosting": 2, "digit": 10, "layer": 7}
    assert len(data["frames"]) == np.prod(sizes)
    values = {"density": 0.7, "boosting": False, "digit": "4", "layer": "blocks.3"}
    values["density"] = next(v for v in data["axes"][0]["values"] if v == pytest.approx(0.7))
    place = [axis["values"].index(values[axis["name"]]) for axis in data["axes"]]
    got = codec.read_payload(codec.payload(data["frames"][np.ravel_multi_index(place, sizes)]))
    wanted = explorer.frame(values)
    np.testing.assert_allclose(got["gains"]["values"], wanted["gains"]["values"], rtol=1e-3)
    np.testing.assert_allclose(got["skips"]["values"], wanted["skips"]["values"], rtol=1e-3)
    assert got["numbers"] == wanted["numbers"]


@pytest.mark.parametrize(("name", "value"), [("density", 0.0), ("density", "half"), ("digit", "10"), ("layer", "fc")])
def test_a_control_refuses_what_it_does_not_have(name, value, explorer):
    with pytest.raises((TypeError, ValueError), match=name):
        explorer.compute(**{name: value})

"""The explorers of Chapters 1 and 2: what they show is what the library says, and their twins on the page agree."""

import numpy as np
import pytest
import torch

from labkit.cost import dram_power, energy_budget
from labkit.datasets import mnist
from labkit.explore.controls import Slider
from labkit.explore.energy import energy_explorer
from labkit.explore.error_accumulation import KINDS, LAYERS, disturb, error_accumulation_explorer
from labkit.explore.gradient_flow import gradient_flow_explorer
from labkit.nets import load

TWINS = {"energy.js": energy_explorer, "gradient_flow.js": gradient_flow_explorer}


@pytest.mark.parametrize("module", list(TWINS))
def test_the_twin_on_the_page_shows_the_same(assert_twin, module):
    explorer = TWINS[module]()
    assert all(isinstance(control, Slider) for control in explorer.controls)
    assert_twin(explorer, module, n=20, random_state=0, rtol=1e-6)


@pytest.mark.parametrize("factory", [energy_explorer, gradient_flow_explorer, error_accumulation_explorer])
def test_sliders_of_the_page_move_every_plot(open_page, factory):
    labels = "[...document.querySelectorAll('figure[data-view] svg.lk-plot')].map((e) => e.getAttribute('aria-label'))"
    frames = "Number(document.querySelector('.lk-live').dataset.frames)"
    with open_page(factory()) as page:
        page.wait_for_function(f"{labels}.length && {labels}.every(Boolean)")
        for slider in page.locator("input[type=range]").all():
            before, drawn = page.evaluate(labels), page.evaluate(frames)
            slider.press("Home" if slider.input_value() != slider.get_attribute("min") else "End")
            page.wait_for_function(f"{frames} > {drawn}")
            assert all(old != new for old, new in zip(before, page.evaluate(labels), strict=True))


def test_energy_shows_the_lectures_example():
    views = energy_explorer().compute(fps=20, connections=1000)
    assert views["power"].values["weights from DRAM"][0] == dram_power(20, 1e9) == 12.8
    assert [cut.y for cut in views["power"].cuts] == [3.0, 12.8]
    assert not views["numbers"]["Within the phone's power"]


def test_energy_of_fewer_bits_on_the_chip():
    numbers = energy_explorer().compute(fps=30, connections=100, sram_share=50, bits=8)["numbers"]
    budget = energy_budget(fps=30, connections=1e8, sram_share=0.5, bits=8)
    assert numbers["Power"] == pytest.approx(budget.total)
    assert numbers["Weights"] == 100
    assert numbers["Spent on fetching"] == pytest.approx(100 * (budget.sram + budget.dram) / budget.total)


def test_gradient_descent_follows_the_flow_for_small_steps():
    explorer = gradient_flow_explorer()
    fine = explorer.compute(learning_rate=0.02, condition=10, steps=60)["numbers"]
    coarse = explorer.compute(learning_rate=0.6, condition=10, steps=2)["numbers"]
    assert fine["Cost, flow"] == pytest.approx(coarse["Cost, flow"])  # the same time
    assert fine["Distance between them"] < 0.1 * coarse["Distance between them"]


@pytest.mark.parametrize(("learning_rate", "shrinks"), [(1.98, True), (2.0, False), (2.2, False)])
def test_gradient_descent_needs_a_small_enough_step(learning_rate, shrinks):
    explorer = gradient_flow_explorer()
    views = explorer.compute(learning_rate=learning_rate, condition=10, steps=60)
    assert views["numbers"]["Steps shrink"] is shrinks
    costs = views["cost"][1].y
    assert (costs[-1] < costs[0]) or not shrinks
    assert all(np.abs(series.y).max() <= 1.6 and np.abs(series.x).max() <= 1.6 for series in views["path"])


@pytest.mark.parametrize("kind", list(KINDS))
def test_errors_appear_where_the_weights_have_them(kind):
    explorer = error_accumulation_explorer()
    first, all_of_them = (explorer.compute(kind=kind, noise=30, layers=n)["depth"] for n in (1, len(LAYERS)))
    assert np.count_nonzero(np.asarray(first[1].y) > 1e-4) == 1  # one layer adds something, the others pass it on
    assert np.count_nonzero(np.asarray(all_of_them[1].y) > 1e-4) == len(LAYERS)
    assert all(np.asarray(first[0].y)[1:] > 0)


def test_more_noise_more_error_fewer_digits():
    explorer = error_accumulation_explorer()
    rows = [explorer.compute(kind="random", noise=noise)["numbers"] for noise in (1, 10, 50, 100)]
    errors = [row["Error of the output"] for row in rows]
    assert errors == sorted(errors)
    assert rows[0]["Accuracy, disturbed"] > rows[-1]["Accuracy, disturbed"]
    assert len({row["Accuracy, exact"] for row in rows}) == 1


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_error_has_the_given_norm(kind):
    model, x = load("lenet-300-100"), mnist("heldout", source="offline").tensors()[0][:20]
    rough = disturb(model, x, noise=0.25, layers=["fc1", "fc3"], kind=kind, random_state=3)
    for name in LAYERS:
        W, W_a = (net.get_parameter(f"{name}.weight").detach() for net in (model, rough))
        expected = 0.0 if name == "fc2" else 0.25
        assert float((W_a - W).norm() / W.norm()) == pytest.approx(expected, abs=1e-5)


def test_the_direction_of_an_error_decides():
    compute = error_accumulation_explorer().compute
    accuracy = {kind: compute(kind=kind, noise=30)["numbers"]["Accuracy, disturbed"] for kind in KINDS}
    assert accuracy["aligned"] < 50 < 90 < min(accuracy["random"], accuracy["shrink"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"noise": -0.1}, "noise must be at least 0, got -0.1"),
        ({"noise": float("nan")}, "noise must be"),
        ({"kind": "small"}, "kind must be one of 3 names, got 'small'"),
        ({"layers": ["fc9"]}, "fc9"),
        ({"random_state": -1}, "random_state must be at least 0"),
    ],
)
def test_disturb_refuses_bad_input(changed, message):
    options = {"noise": 0.1, "layers": ["fc1"]} | changed
    with pytest.raises(ValueError, match=message):
        disturb(load("lenet-300-100"), torch.ones(1, 784), **options)

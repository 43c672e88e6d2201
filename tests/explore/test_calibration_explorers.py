"""The explorers of chapter 15: what they show is what the library computes, in Python and in the browser."""

import numpy as np
import pytest

from labkit import nets
from labkit.datasets import mnist
from labkit.explore.calibration import calibration_explorer, histograms, threshold_sqnr
from labkit.explore.radix_point import FRACTIONS, LAYERS, radix_point_explorer
from labkit.quantization import collect, collect_inputs, fixed_point, kl_calibrate, radix_point, sqnr, symmetric


@pytest.fixture(scope="module")
def calibration():
    return calibration_explorer()


@pytest.fixture(scope="module")
def radix():
    return radix_point_explorer()


# --- calibration ---------------------------------------------------------------------------------------------------


def test_more_batches_only_add_counts():
    for several in histograms().values():
        totals = [hist.total for hist in several.values()]
        assert totals[1] == 2 * totals[0]
        assert totals[2] == 10 * totals[0]


@pytest.mark.parametrize(("layer", "bits", "levels"), [("fc1", 8, 128), ("fc2", 8, 256), ("fc2", 4, 16)])
def test_the_curve_and_its_minimum_are_those_of_the_rule(calibration, layer, bits, levels):
    shown = calibration.compute(layer=layer, bits=bits, batches=10, zero_bin="copy")
    found = kl_calibrate(histograms()[layer][10], levels=levels, guard=False)
    assert shown["numbers"]["Minimum at"] == found.threshold
    curve = shown["curve"][0]
    assert curve.x[np.argmin(curve.y)] == pytest.approx(found.threshold)


def test_saturation_moves_the_tail_into_the_last_bin(calibration):
    shown = calibration.compute(layer="fc2", threshold=30)
    before, after, cut = shown["histogram"]
    assert np.sum(after.y) == pytest.approx(np.sum(before.y), abs=0.02)
    last = np.flatnonzero(after.y > 2e-4).max()
    moved = 100 * histograms()["fc2"][10].tail(cut.x)
    assert shown["numbers"]["Saturated"] == pytest.approx(moved)
    assert after.y[last] >= moved


def test_the_spike_at_zero_moves_the_minimum(calibration):
    kept, copied = (
        calibration.compute(layer="fc2", bits=8, zero_bin=z)["numbers"]["Minimum at"] for z in ("keep", "copy")
    )
    assert kept < 0.5 * copied


def test_a_threshold_below_the_first_candidate_has_no_divergence(calibration):
    assert calibration.compute(bits=8, threshold=2)["numbers"]["Divergence (nats)"] is None
    assert calibration.compute(bits=8, threshold=100)["numbers"]["Divergence (nats)"] is not None


def test_the_sqnr_is_that_of_the_data():
    x = np.random.default_rng(0).laplace(size=50_000)
    exact = sqnr(x, symmetric(x, bits=5, threshold=4.0).to_tensor())
    assert threshold_sqnr(collect(x), 4.0, 16) == pytest.approx(exact, abs=0.02)


def test_the_browser_computes_the_same_calibration(calibration, assert_twin):
    assert_twin(calibration, "calibration.js", n=25, random_state=15, rtol=1e-7)


# --- radix point ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_the_best_fraction_is_that_of_the_search(radix, layer, bits):
    weight = nets.load("lenet-5").get_submodule(layer).weight
    shown = radix.compute(layer=layer, kind="weights", bits=bits)["numbers"]
    found = radix_point(collect(weight), bits=bits)
    assert shown["Best fraction"] == found.fraction
    assert shown["Best SQNR"] == pytest.approx(found.best)


def test_the_ratio_is_that_of_the_weights_themselves(radix):
    weight = nets.load("lenet-5").fc1.weight.detach().numpy()
    made = fixed_point(weight, bits=6, fraction=7)
    shown = radix.compute(layer="fc1", kind="weights", bits=6, fraction=7)["numbers"]
    assert shown["SQNR"] == pytest.approx(sqnr(weight, made.to_tensor()), abs=0.05)
    assert shown["Step"] == 2**-7


def test_layers_want_different_radix_points(radix):
    best = [radix.compute(layer=n, kind="data", bits=8)["numbers"]["Best fraction"] for n in LAYERS]
    hists = collect_inputs(nets.load("lenet-5"), mnist("train", source="offline")[:250].tensors()[0])
    assert best == [radix_point(hists[n], bits=8).fraction for n in LAYERS]
    assert len(set(best)) >= 3


def test_one_radix_point_for_all_is_never_better(radix):
    for fraction in FRACTIONS:
        same, own = radix.compute(fraction=fraction)["layers"].values.values()
        assert (np.array(same) <= np.array(own)).all()


def test_the_browser_shows_the_same_radix_points(radix, assert_twin):
    assert_twin(radix, "radix_point.js", n=20, random_state=16, rtol=1e-9)

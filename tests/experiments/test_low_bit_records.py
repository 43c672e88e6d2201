"""What the records of chapter 19's low-bit methods show, and that the shipped networks are those of the records."""

import numpy as np
import pytest
import torch

from labkit import paths
from labkit.datasets import mnist
from labkit.experiments import record
from labkit.experiments.low_bit import METHODS, Kept, cost
from labkit.experiments.ternary import signed, squared_hinge
from labkit.nets import load_binary, load_powers, load_ternary
from labkit.training import evaluate


def row(name, **values):
    found = record(name).select(**values)
    assert len(found) == 1, (name, values)
    return found[0]


def test_twn_and_ttq_reach_the_accuracy_of_the_lectures_order():
    for method in ("TWN", "TTQ"):
        assert all(100 - made["test_error"] >= 98.9 for made in record("ternary-lenet").select(method=method))


def test_inq_with_five_bits_stays_within_two_tenths_of_the_float_network():
    assert row("inq-lenet", method="INQ", bits=5, strategy="magnitude")["test_error"] <= (
        row("inq-lenet", method="float")["test_error"] + 0.2
    )


def test_inq_uses_no_more_values_than_its_bits_allow_and_beats_rounding_at_once():
    for bits in (5, 3, 2):
        made = row("inq-lenet", method="INQ", bits=bits, strategy="magnitude")
        assert made["most_values"] <= 2 ** (bits - 1) + 1
        assert made["test_error"] <= row("inq-lenet", method="rounded at once", bits=bits)["test_error"]


def test_an_ensemble_is_at_least_as_good_as_its_mean_member():
    for method in ("BENN, bagging", "BENN, boosting"):
        for made in record("low-bit").select(method=method):
            assert made["test_error"] <= made["mean_member_error"]


def test_every_method_has_a_row_and_costs_what_its_bits_say():
    rows = record("low-bit").rows
    assert {r["method"] for r in rows} == {*METHODS, "BENN, bagging", "BENN, boosting"}
    for r in rows:
        members = 3 if r["method"].startswith("BENN") else 1
        method = METHODS["BNN"] if members == 3 else METHODS[r["method"]]
        expected = cost(method, members)
        assert {key: r[key] for key in expected} == expected


def test_the_cost_by_hand():
    """conv2: 50 x 20 x 5 x 5 weights on 8 x 8 places; fc1: 500 x 800."""
    inner, weights = 25_000 * 64 + 400_000, 25_000 + 400_000
    bnn, dense = cost(METHODS["BNN"]), cost(METHODS["float"])
    assert bnn["bit_operations"] == inner
    assert bnn["multiply_adds"] == dense["multiply_adds"] - inner == 20 * 25 * 24 * 24 + 5_000
    assert dense["n_bytes"] - bnn["n_bytes"] == 4 * weights - weights // 8
    assert cost(METHODS["TWN"])["n_bytes"] == bnn["n_bytes"] + weights // 8 + 2 * 4


SHIPPED = {
    "twn-lenet": (load_ternary, "ternary-lenet", {"method": "TWN", "seed": 0}),
    "ttq-lenet": (load_ternary, "ternary-lenet", {"method": "TTQ", "seed": 0}),
    "gxnor-lenet": (load_ternary, "gxnor-lenet", {"method": "GXNOR", "seed": 0}),
    "inq-lenet-5bit": (load_powers, "inq-lenet", {"method": "INQ", "bits": 5, "strategy": "magnitude"}),
    "inq-lenet-3bit": (load_powers, "inq-lenet", {"method": "INQ", "bits": 3, "strategy": "magnitude"}),
    "benn-bagging": (load_binary, "low-bit", {"method": "BENN, bagging", "seed": 0}),
    "benn-boosting": (load_binary, "low-bit", {"method": "BENN, boosting", "seed": 0}),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_network_has_the_error_of_its_record(name):
    """On the 5,000 offline digits, which are those of the record's held-out error."""
    load, experiment, values = SHIPPED[name]
    digits = mnist("heldout", source="offline")
    error = evaluate(load(name), signed(digits) if name == "gxnor-lenet" else digits).error
    assert error == pytest.approx(row(experiment, **values)["heldout_error"], abs=0.04)  # two images: sums in order


def test_every_network_of_the_rows_that_trained_longer_than_20_s_is_shipped():
    slow = {
        (name, r["method"])
        for name in ("ternary-lenet", "gxnor-lenet", "inq-lenet", "low-bit")
        for r in record(name).rows
        if r["train_s"] > 20 and r["method"] != "float"
    }
    assert slow <= {(experiment, values["method"]) for _, experiment, values in SHIPPED.values()}


def test_gxnor_saves_products():
    made = record("gxnor-lenet").rows[0]
    model = load_ternary("gxnor-lenet")
    zeros = np.mean([(model.get_submodule(n).weight == 0).float().mean() for n in ("conv2", "fc1")])
    assert zeros == pytest.approx(made["zeros"], abs=0.05)
    assert made["gated_products"] > made["zero_activations"]
    assert torch.equal(model.fc1.weight, model.fc1.weight.round())


def test_kept_results_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    calls = []

    def work(name, n):
        calls.append(n)
        return {name: n}

    kept = Kept("folder")
    assert kept(work, "a / b", 3) == kept(work, "a / b", 3) == {"a / b": 3}
    assert kept(work, "a / b", 4) == {"a / b": 4}
    assert calls == [3, 4]
    Kept(None)(work, "a / b", 3)
    assert calls == [3, 4, 3]


def test_the_squared_hinge_is_zero_beyond_the_margin_only():
    labels = torch.tensor([1])
    assert squared_hinge(torch.tensor([[-1.0, 1.0, -2.0]]), labels).item() == 0
    assert squared_hinge(torch.tensor([[0.0, 0.0, -1.0]]), labels).item() == pytest.approx(2 / 3)

"""The records of chapter 19: the marks of the lectures, the shipped files, the settings of the XNOR lab."""

import numpy as np
import pytest
import torch

from labkit import paths
from labkit.datasets import mnist
from labkit.experiments import EXPERIMENTS, record
from labkit.experiments.binary import lab_network, lab_variants, trained
from labkit.nets import binary_provenance
from labkit.quantization import binary_layers

MARKS = {"bnn": 98.7, "xnor": 98.6, "bwn": 98.9}


@pytest.mark.parametrize("method", MARKS)
def test_the_accuracies_of_the_lectures_are_reached(method):
    rows = record("binary-lenet").select(method=method)
    assert min(100 - row["test_error"] for row in rows) >= MARKS[method]
    assert binary_provenance(f"lenet-{method}")["test_error"] == rows[0]["test_error"]


@pytest.mark.parametrize("method", MARKS)
def test_packed_predictions_were_equal_on_every_digit(method):
    shipped = record("binary-lenet").summary["shipped"][method]
    assert shipped["heldout_predictions_that_differ"] == shipped["test_predictions_that_differ"] == 0
    assert shipped["packed_bytes"] <= (90_000 if method == "bwn" else 85_000)


def test_times_of_the_shipped_networks_are_measured_again(monkeypatch):
    monkeypatch.setattr("labkit.experiments.binary.time_ratio", lambda *_: 2.0)
    made = record("binary-lenet")
    again = dict(EXPERIMENTS["binary-lenet"].times(made))
    assert set(again) == set(made.summary["shipped"])
    for method, measured in again.items():
        kept = {key for key in made.summary["shipped"][method] if key.startswith("time_ratio")}
        assert measured == dict.fromkeys(kept, 2.0)


def test_the_rate_was_chosen_on_validation_digits():
    summary = record("binary-lenet").summary["chosen"]
    for chosen in summary.values():
        assert chosen["validation_error"][f"{chosen['rate']:g}"] == min(chosen["validation_error"].values())


def test_a_binary_last_layer_costs_accuracy():
    """The mean over all settings and seeds, as the lecture says of ImageNet."""
    made = record("xnor-lab")
    errors = {on: [row["test_error"] for row in made.rows if row["weights"] and row["last"] is on
                   and not (row["act_scale"] or row["stochastic"])] for on in (False, True)}  # fmt: skip
    assert len(errors[True]) == len(errors[False])
    assert np.mean(errors[True]) >= np.mean(errors[False])


def test_the_lab_has_every_setting_of_its_switches():
    made, variants = record("xnor-lab"), lab_variants()
    assert {row["variant"] for row in made.rows} == set(variants)
    assert len(made.rows) == len(variants) * len(made.settings["seeds"])
    for name, switches in variants.items():
        model = lab_network(seed=0, **switches)
        layers = list(binary_layers(model))
        assert layers == (["conv2", "fc1"] + ["fc2"] * switches["last"] if switches["weights"] else []), name
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_network_once_trained_is_taken_from_the_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    digits = mnist("heldout", source="offline")
    monkeypatch.setattr("labkit.experiments.binary.fit", lambda *args, **kw: calls.append(1))
    calls: list[int] = []
    first, _ = trained("bnn", digits, 0.01, 1, 0)
    second, _ = trained("bnn", digits, 0.01, 1, 0)
    assert calls == [1]
    assert torch.equal(first.fc1.weight, second.fc1.weight)
    trained("bnn", digits[:100], 0.01, 1, 0)
    trained("bnn", digits[:100], 0.01, 1, 0)
    assert calls == [1] * 3  # runs of a few digits are not kept

"""The record and the checkpoint of chapter 24."""

import pytest
import torch

from labkit import nets
from labkit.convolution import SparseWinograd, SparseWinogradConv2d
from labkit.datasets import mnist
from labkit.experiments import EXPERIMENTS, record
from labkit.experiments.sparse_winograd import shifted
from labkit.training import evaluate


@pytest.fixture(scope="module")
def made():
    return record("sparse-winograd")


def test_the_pruned_network_stays_within_half_a_point(made):
    errors = {(r["form"], r["sparsity"]): r["test_error"] for r in made.rows}
    assert errors["winograd relu", 0.6] - errors["direct", 0] < 0.5
    assert errors["winograd", 0.6] - errors["direct", 0] < 0.5


def test_the_counts_of_a_row_agree(made):
    for row in made.rows[1:]:
        for layer in (row["conv2"], row["conv3"]):
            assert layer["saving"] == pytest.approx(layer["direct"] / layer["nonzero"])
            assert layer["nonzero"] <= layer["dense"] * min(layer["weights"], layer["activations"])
            assert layer["weights"] == pytest.approx(1 - row["sparsity"], abs=0.01)


def test_times_are_measured_again_without_training(made, monkeypatch):
    monkeypatch.setattr("labkit.experiments.sparse_winograd.time_ratio", lambda *_: 0.5)
    again = dict[tuple, dict]()
    for labels, measured in EXPERIMENTS["sparse-winograd"].times(made):
        again[tuple(labels.values())] = measured
    for row in made.rows[1:]:
        for name, found in again[row["seed"], row["form"], row["sparsity"]].items():
            assert found == row[name] | dict.fromkeys(("skip_weights", "skip_both", "skip_none"), 0.5)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_inputs_are_shifted_until_as_many_are_zero_as_wanted(share):
    layer = SparseWinogradConv2d(3, 4, padding=1, relu=False, random_state=0)
    z = torch.randn(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    assert layer.count(shifted(layer, z, share)).activations == pytest.approx(share, abs=0.01)


def test_the_shipped_network_is_the_recorded_one(made):
    net = nets.load_winograd()
    assert net.conv2.density == pytest.approx(0.4, abs=0.01)
    assert evaluate(net, mnist("test", source="offline")).error < made.summary["shipped"]["test_error"] + 3


@pytest.mark.parametrize("skip", SparseWinograd.SKIPS)
def test_skipping_products_reads_the_same_digits(skip):
    net, (images, _) = nets.load_winograd(), mnist("test", source="offline")[:50].tensors()
    wanted = net(images).argmax(1)
    for name in net.sparse_layers:
        fast = SparseWinograd(getattr(net, name))
        getattr(net, name).forward = lambda x, fast=fast: fast(x, skip=skip)
    assert (net(images).argmax(1) == wanted).all()


def test_the_direct_form_has_nothing_to_prune():
    with pytest.raises(ValueError, match="form must be one with transformed weights"):
        nets.WinogradNet("direct").prune(0.5)
    with pytest.raises(ValueError, match="form must be one of"):
        nets.WinogradNet("fft")

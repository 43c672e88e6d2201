"""What the records of Chapter 8 hold, and that their runs can be repeated."""

import pytest
import torch

from labkit.decomposition import BTLSTMCell
from labkit.experiments import record, run
from labkit.experiments.tensors import StripReader
from labkit.nets import load

CLOCKS = {"time_ratio_1", "time_ratio_64"}


@pytest.fixture(scope="module")
def mean():
    rows = record("tensor-layers").summary["mean_test_error"]
    return {(r["layer"], r["form"], r["rank"], r["fine_tuned"]): r["mean"] for r in rows}


def untimed(rows):
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in rows]


@pytest.mark.parametrize("name", ["tensor-layers", "bt-lstm"])
def test_a_run_without_its_clocks_is_the_same_twice(name, tmp_path):
    first, second = (run(name, tiny=True, output=tmp_path) for _ in range(2))
    assert untimed(first.rows) == untimed(second.rows)


def test_the_dense_row_is_the_shipped_network():
    (dense,) = record("tensor-layers").select(form="dense")
    assert dense["parameters"] == sum(p.numel() for p in load("lenet-5").parameters())


def test_at_about_two_thousand_weights_cp_and_tucker_beat_the_svd_of_the_kernel(mean):
    weights = {(r["form"], r["rank"]): r["layer_parameters"] for r in record("tensor-layers").select(layer="conv2")}
    assert weights["cp", 24] < weights["svd", 4]
    assert weights["tucker", 8] < weights["svd", 4]
    for form, rank in (("cp", 24), ("tucker", 8)):
        assert mean["conv2", form, rank, False] < mean["conv2", "svd", 4, False]


def test_small_trains_beat_the_svd_after_training_and_large_ones_lose(mean):
    assert mean["fc1", "tt", 4, True] < mean["fc1", "svd", 1, True]
    assert mean["fc1", "tt", 8, True] < mean["fc1", "svd", 4, True]
    assert mean["fc1", "svd", 16, True] < mean["fc1", "tt", 16, True]
    assert mean["fc1", "svd", 16, False] < mean["fc1", "tt", 16, False]


def test_a_ring_may_take_more_multiply_adds_than_the_dense_layer():
    (ring,) = record("tensor-layers").select(form="tr", rank=16, fine_tuned=False)
    assert ring["layer_multiply_adds"] > 500 * 800
    assert ring["layer_parameters"] < 500 * 800 / 10


def test_the_lstm_counts_its_input_weights():
    for row in record("bt-lstm").rows:
        P, r = row["n_terms"], row["rank"]
        assert row["input_weights"] == (P * (32 * 14 * r + 8 * 14 * r + r * r) if P else 4 * 64 * 196)


def test_a_strip_reader_reads_strips():
    model = StripReader(n_terms=2, rank=2, random_state=0)
    assert isinstance(model.cell, BTLSTMCell)
    x = torch.rand(3, 1, 28, 28)
    states = None
    for k in range(4):
        states = model.cell(x[:, 0, 7 * k : 7 * k + 7].flatten(1), states)
    torch.testing.assert_close(model(x), model.head(states[0]))
    torch.testing.assert_close(model(x), StripReader(n_terms=2, rank=2, random_state=0)(x))

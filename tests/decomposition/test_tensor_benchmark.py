"""The benchmark of the tensor train: its tensor is what it says, and its rows come out, with and without the peer."""

import sys

import numpy as np
import pytest

from benchmarks import tensor_train
from benchmarks.common import table
from labkit.decomposition import relative_error, tt_svd

SMALL = {"in_modes": (2, 3, 4), "out_modes": (3, 4, 2)}


def test_the_tensor_is_a_train_of_rank_4_with_noise():
    T = tensor_train.layer_tensor(**SMALL)
    assert (T.shape, T.dtype) == ((6, 12, 8), np.float32)
    error = relative_error(T, tt_svd(T, rank=4).to_tensor())
    assert 0.5 * tensor_train.NOISE < error < tensor_train.NOISE


def test_without_the_peer_the_row_is_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorly.decomposition", None)
    assert list(tensor_train.tt_svd_rows(np.ones((2, 3, 2)))) == []


def test_with_the_peer_both_errors_agree():
    pytest.importorskip("tensorly")
    ((_, peer, ratio, note),) = tensor_train.tt_svd_rows(tensor_train.layer_tensor(**SMALL))
    first, second = note.removeprefix("errors ").split(" and ")
    assert first == second
    assert ratio.endswith("x")
    assert peer.startswith("tensorly")


def test_a_table_lines_up():
    assert table(("", "ratio"), [("a", "2x")]).splitlines() == ["   ratio", "a     2x"]

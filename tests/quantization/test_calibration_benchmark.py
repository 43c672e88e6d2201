"""The benchmark of the KL calibration: its rows come out, with and without the peer, and thresholds agree."""

import sys

import numpy as np
import pytest

from benchmarks import calibration

SMALL = {"n_bins": 160, "rounds": 7}


@pytest.fixture
def samples():
    return calibration.data(4000)


def test_the_data_have_heavy_tails_and_a_spike(samples):
    assert {x.dtype for x in samples.values()} == {np.dtype(np.float32)}
    assert np.mean(samples["ReLU"] == 0) == pytest.approx(0.5, abs=0.05)
    hist = calibration.histogram(samples["Laplace"], 160)
    assert (hist.total, len(hist.counts)) == (4000, 160)


def test_the_loop_finds_the_same_thresholds(samples):
    rows = list(calibration.loop_rows(samples, **SMALL))
    assert [row[0] for row in rows] == list(samples)
    assert {row[3] for row in rows} == {"same threshold"}
    assert all(row[2].endswith("x") for row in rows)


def test_without_the_peer_its_rows_are_left_out(samples, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization.calibrate", None)
    assert list(calibration.onnxruntime_rows(samples, **SMALL)) == []


def test_with_the_peer_both_thresholds_are_shown(samples):
    pytest.importorskip("onnxruntime.quantization.calibrate")
    rows = list(calibration.onnxruntime_rows({"ReLU": samples["ReLU"]}, n_bins=300, rounds=7))
    assert rows[0][3].startswith("thresholds ")

"""The benchmark of Winograd's convolution: all contenders compute the same, and a row is made for each layer."""

import re

import numpy as np
import pytest

from benchmarks.winograd import contenders, rows


def test_all_ways_compute_the_same_layer() -> None:
    ways = contenders(16, 9)
    ways.pop("kernel")
    wanted = ways["torch"]().numpy()
    assert list(ways) == ["torch", "last", "NumPy 2", "C 2", "NumPy 4", "C 4"]
    for name, way in ways.items():
        np.testing.assert_allclose(np.asarray(way()), wanted, atol=1e-4 * abs(wanted).max(), err_msg=name)


def test_a_row_names_the_faster_layout_and_holds_a_ratio_for_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(functions, **_):
        return {name: 1.0 + i for i, name in enumerate(functions)}

    monkeypatch.setattr("labkit.cost.cpu_times", times)
    ((layer, torch, *ratios, kernel),) = rows(((4, 8),))
    assert (layer, torch) == ("4 channels, 8 x 8", "1000.00 ms, channels first")
    assert ratios == ["0.33x", "0.25x", "0.20x", "0.17x"]
    assert re.fullmatch(r"[\d.]+ ms", kernel)

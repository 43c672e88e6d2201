"""The roofline by hand, and latencies with a clock that does as it is told."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labkit.cost import (
    Latency,
    Machine,
    count,
    fastest,
    fps,
    latency,
    layer_points,
    measure_machine,
    pointwise_point,
    report_card,
    roofline_point,
)
from labkit.nets import LeNet5

MACHINE = Machine(peak=1e12, bandwidth=1e11, name="toy")
POSITIVE = st.floats(1e-3, 1e15)


@given(operations=POSITIVE, n_bytes=POSITIVE)
def test_a_point_lies_under_both_roofs(operations, n_bytes):
    point = roofline_point(operations, n_bytes, MACHINE)
    assert point.attainable == min(MACHINE.peak, point.intensity * MACHINE.bandwidth)
    assert point.seconds == pytest.approx(max(operations / MACHINE.peak, n_bytes / MACHINE.bandwidth))
    assert point.bound == ("memory" if point.intensity < MACHINE.ridge else "compute")


def test_the_roof_bends_at_the_ridge():
    assert MACHINE.ridge == 10
    assert MACHINE.attainable(np.array([1.0, 10.0, 100.0])).tolist() == [1e11, 1e12, 1e12]
    assert roofline_point(10, 1, MACHINE).bound == "compute"


def test_pointwise_layers():
    point = pointwise_point(64, 128, MACHINE, h=7, w=9, batch=3)
    assert point.operations == 2 * 3 * 7 * 9 * 64 * 128
    assert point.n_bytes == 4 * (3 * 7 * 9 * (64 + 128) + 64 * 128)
    assert pointwise_point(64, 128, MACHINE, bits=8).intensity == 4 * pointwise_point(64, 128, MACHINE).intensity


def test_equal_work_moves_least_with_equal_channels():
    same, skewed = pointwise_point(64, 64, MACHINE), pointwise_point(16, 256, MACHINE)
    assert same.operations == skewed.operations
    assert same.intensity > skewed.intensity


def test_layer_points_agree_with_the_formula_and_the_batch_helps():
    cost = count(nn.Conv2d(64, 64, 1, bias=False), torch.zeros(1, 64, 28, 28))
    (point,) = layer_points(cost, MACHINE, batch=5)
    by_formula = pointwise_point(64, 64, MACHINE, batch=5)
    assert (point.operations, point.n_bytes) == (by_formula.operations, by_formula.n_bytes)
    cost = count(LeNet5(), torch.zeros(1, 1, 28, 28))
    assert [p.name for p in layer_points(cost, MACHINE)] == ["conv1", "conv2", "fc1", "fc2"]
    for alone, many in zip(layer_points(cost, MACHINE), layer_points(cost, MACHINE, batch=64), strict=True):
        assert many.intensity > alone.intensity


def test_this_machine_has_two_limits():
    machine = measure_machine(rounds=3)
    assert machine.peak > 0
    assert machine.bandwidth > 0
    assert machine.name == "this machine, one thread"


class WallClock:
    """Stands in for the clock on the wall: each call of a function takes as long as the function says."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr("labkit.cost.measure.time.perf_counter", lambda: self.now)

    def lasting(self, name, *seconds):
        durations = list(seconds)

        def function():
            self.calls.append(name)
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]

        return function


def test_latency_is_a_median_with_quartiles_and_without_the_warm_up(monkeypatch):
    clock = WallClock(monkeypatch)
    result = latency(clock.lasting("f", 100, 100, 5, 1, 3, 2, 4, 90, 3.5), rounds=7, warm_up=2)
    assert (result.q1, result.median, result.q3) == pytest.approx((2.5, 3.5, 4.5))
    assert result.iqr == pytest.approx(2)
    assert result.fps == pytest.approx(1 / 3.5)
    assert (result.rounds, result.threads) == (7, 1)
    assert repr(result) == "Latency(rounds=7, threads=1)"
    assert str(result) == "3500.000 ms (quartiles 2500.000 to 4500.000 ms, 7 rounds, 1 thread)"


def test_latencies_of_several_are_interleaved(monkeypatch):
    clock = WallClock(monkeypatch)
    results = latency({"a": clock.lasting("a", 2.0), "b": clock.lasting("b", 1.0)}, rounds=7, warm_up=1)
    assert "".join(clock.calls) == 8 * "ab"
    assert {name: result.median for name, result in results.items()} == pytest.approx({"a": 2.0, "b": 1.0})


def test_fastest(monkeypatch):
    clock = WallClock(monkeypatch)
    assert fastest(clock.lasting("f", 0.1, 5, 3, 4), rounds=3) == pytest.approx(3)


def test_threads_are_set_and_restored():
    before, seen = torch.get_num_threads(), set()
    latency(lambda: seen.add((torch.get_num_threads(), torch.is_grad_enabled())), rounds=7, threads=2)
    assert seen == {(2, False)}
    with pytest.raises(ZeroDivisionError):
        latency(lambda: 1 / 0)
    assert torch.get_num_threads() == before


def test_fps_of_a_thirtieth():
    assert fps(1 / 30) == 30


class Anything(nn.Module):
    def forward(self, x, scale=1):
        return torch.fft.rfft(x).abs() * scale


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (LeNet5(), torch.zeros(2, 1, 28, 28)),
        (nn.LSTM(4, 3, batch_first=True), (torch.zeros(2, 5, 4),)),
        (nn.BatchNorm1d(4), torch.zeros(2, 4)),
        (Anything(), {"x": torch.zeros(2, 4), "scale": 2}),
        (nn.Identity(), torch.zeros(2, 4)),
    ],
)
def test_report_card_of_any_module_has_five_finite_axes(model, inputs):
    card = report_card(model, inputs, evaluate=lambda m: 97.0)
    axes = (card.n_bytes, card.macs, card.latency, card.energy, card.accuracy)
    assert all(np.isfinite(axis) and axis >= 0 for axis in axes)
    assert card.latency > 0
    assert len(str(card).splitlines()) == 5
    assert card._repr_html_().count("<th scope='row'>") == 5
    assert f"{card.latency}" not in repr(card)


def test_report_card_names_what_it_could_not_count():
    card = report_card(Anything(), torch.zeros(2, 4), evaluate=lambda m: 0.0)
    assert card.uncounted == ("Anything",)
    assert "Not counted: Anything." in card._repr_html_()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Machine(peak=0, bandwidth=1), ValueError, "peak must be above 0"),
        (lambda: Machine(peak=1, bandwidth=float("nan")), ValueError, "bandwidth must be"),
        (lambda: MACHINE.attainable(-1.0), ValueError, "intensity must be at least 0"),
        (lambda: MACHINE.attainable([]), ValueError, "intensity must not be empty"),
        (lambda: roofline_point(0, 1, MACHINE), ValueError, "operations must be above 0"),
        (lambda: roofline_point(1, -1, MACHINE), ValueError, "n_bytes must be at least 0"),
        (lambda: roofline_point(1, 1, 1e12), TypeError, "machine must be Machine"),
        (lambda: pointwise_point(0, 1, MACHINE), ValueError, "c1 must be at least 1"),
        (lambda: pointwise_point(1, 1, MACHINE, batch=0), ValueError, "batch must be at least 1"),
        (lambda: pointwise_point(1, 1, MACHINE, bits=0), ValueError, "bits must be between 1 and 64"),
        (lambda: layer_points(LeNet5(), MACHINE), TypeError, "cost must be Cost"),
        (lambda: layer_points(None, MACHINE, batch=0), ValueError, "batch must be at least 1"),
        (lambda: measure_machine(rounds=2), ValueError, "rounds must be at least 3"),
        (lambda: latency("model"), TypeError, "functions must be callable"),
        (lambda: latency({}), ValueError, "functions must hold at least one"),
        (lambda: latency({"a": len, "b": 3}), TypeError, "b must be callable"),
        (lambda: latency(len, rounds=6), ValueError, "rounds must be at least 7"),
        (lambda: latency(len, warm_up=0), ValueError, "warm_up must be at least 1"),
        (lambda: latency(len, threads=0), ValueError, "threads must be at least 1"),
        (lambda: fastest(3), TypeError, "function must be callable"),
        (lambda: fps(0), ValueError, "seconds must be above 0"),
        (
            lambda: report_card(LeNet5(), torch.zeros(1, 1, 28, 28), evaluate=97.0),
            TypeError,
            "evaluate must be callable",
        ),
        (
            lambda: report_card(LeNet5(), torch.zeros(1, 1, 28, 28), evaluate=lambda m: 101.0),
            ValueError,
            r"evaluate\(model\) must be between 0 and 100",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_latency_is_a_plain_record():
    assert Latency(2.0, 1.0, 4.0, 7, 1).iqr == 3.0

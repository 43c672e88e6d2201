"""The collector: one result for every split and order of the data, exact counts, and every bad argument."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.quantization import Histogram, HistogramCollector, collect

NUMBERS = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=40)


def same(a, b):
    return np.array_equal(a.counts, b.counts) and (a.width, a.zeros, a.low, a.high) == (
        b.width,
        b.zeros,
        b.low,
        b.high,
    )


@settings(max_examples=150, deadline=None)
@given(NUMBERS, st.lists(st.integers(0, 40), max_size=5), st.randoms())
def test_the_result_does_not_depend_on_split_or_order(values, cuts, random):
    whole = collect(values, n_bins=16)
    shuffled = random.sample(values, len(values))
    places = sorted(min(c, len(values)) for c in cuts)
    parts = [shuffled[a:b] for a, b in zip([0, *places], [*places, len(values)], strict=True) if a < b]
    assert same(whole, collect(*parts, n_bins=16))


@settings(max_examples=150, deadline=None)
@given(NUMBERS)
def test_counts_are_exact(values):
    hist = collect(values, n_bins=16)
    x = np.abs(values)
    inside = [int(np.sum((x >= a) & (x < b))) for a, b in zip(hist.edges[:-1], hist.edges[1:], strict=True)]
    assert hist.counts.tolist() == inside
    assert hist.total == len(values)
    assert hist.zeros == np.sum(x == 0)
    assert (hist.low, hist.high) == (min(values), max(values))


@settings(max_examples=100, deadline=None)
@given(NUMBERS)
def test_the_width_is_the_smallest_power_of_two_that_fits(values):
    hist = collect(values, n_bins=16)
    top = max(map(abs, values))
    assert math.frexp(hist.width)[0] == 0.5
    assert top < 16 * hist.width
    assert top == 0 or top >= 8 * hist.width
    assert hist.counts[-1] > 0


def test_widening_by_a_large_factor_keeps_every_count():
    collector = HistogramCollector(n_bins=8).add(np.full(5, 1e-30)).add(np.zeros(3)).add([1e30])
    hist = collector.histogram()
    assert hist.counts[0] == 8
    assert hist.total == 9


def test_only_zeros():
    hist = collect(np.zeros(4), n_bins=8)
    assert (hist.total, hist.zeros, len(hist.counts)) == (4, 4, 1)
    assert same(collect([0.0], [0.5], n_bins=8), collect([0.5, 0.0], n_bins=8))


def test_float32_and_float64_agree():
    x = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    assert same(collect(x), collect(x.astype(float)))


def test_the_tail_is_what_lies_beyond():
    x = np.random.default_rng(0).standard_normal(5000)
    hist = collect(x)
    for threshold in hist.edges[[1, 100, 700]]:
        assert hist.tail(float(threshold)) == np.mean(np.abs(x) >= threshold)
    assert hist.tail(1e9) == 0
    assert hist.tail(0) == 1


def test_bin_0_stands_for_0_if_most_of_it_is():
    assert Histogram(np.array([10, 1]), 1.0, zeros=8).centres.tolist() == [0, 1.5]
    assert Histogram(np.array([10, 1]), 1.0, zeros=2).centres.tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HistogramCollector(n_bins=1), "n_bins must be between"),
        (lambda: HistogramCollector(n_bins=2048.0), "n_bins must be an integer"),
        (lambda: HistogramCollector(n_bins=1000), "power of two"),
        (lambda: HistogramCollector().histogram(), "must have seen data"),
        (lambda: HistogramCollector().add([]), "x must not be empty"),
        (lambda: HistogramCollector().add([math.nan]), "x must be finite"),
        (lambda: collect(["a"]), "x must hold real numbers"),
        (lambda: collect(), "must have seen data"),
        (lambda: Histogram(np.array([1.0]), 1.0), "vector of integers"),
        (lambda: Histogram(np.ones((2, 2), int), 1.0), "vector of integers"),
        (lambda: Histogram(np.array([0, 0]), 1.0), "not all zero"),
        (lambda: Histogram(np.array([-1, 5]), 1.0), "not be negative"),
        (lambda: Histogram(np.array([1]), 0.0), "width must be above 0"),
        (lambda: Histogram(np.array([1]), 1.0).tail(-1.0), "threshold must be at least 0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

"""Thresholds: the fast KL rule is the published loop, the MSE rule is brute force, and combs are guarded against."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.stats

from labkit.quantization import (
    Calibration,
    CalibrationWarning,
    Histogram,
    calibrate,
    collect,
    kl_calibrate,
    kl_curve,
    kl_loop,
    kl_mirrored_loop,
    max_calibrate,
    mse_calibrate,
    percentile_calibrate,
    positive_levels,
    spikiness,
    symmetric,
)


def samples(n=40_000, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "laplace": rng.laplace(size=n),
        "normal": rng.standard_normal(n),
        "relu": np.maximum(rng.standard_normal(n), 0),
        "gamma": rng.gamma(2, size=n),
        "few": rng.laplace(size=60),
    }


SAMPLES = samples()
KINDS = pytest.mark.parametrize("kind", SAMPLES)


def equal_bins(x, n_bins):
    counts, edges = np.histogram(np.abs(x), n_bins, (0, np.abs(x).max()))
    return Histogram(counts, float(edges[1]), int(np.sum(x == 0)), float(x.min()), float(x.max()))


# --- the KL rule ---------------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize(("n_bins", "levels"), [(256, 128), (300, 32), (200, 7)])
def test_the_fast_rule_is_the_published_loop(kind, n_bins, levels):
    """The same curve to the last digits, the same infinities and the same threshold."""
    hist = equal_bins(SAMPLES[kind], n_bins)
    found = kl_calibrate(hist, levels=levels, zero_bin="keep", guard=False)
    bins, divergences = kl_loop(hist.counts, levels=levels)
    np.testing.assert_allclose(found.objective, divergences, atol=1e-12)
    assert found.threshold == bins * hist.width


@KINDS
def test_the_divergence_is_that_of_scipy(kind):
    h, levels, n = equal_bins(SAMPLES[kind], 300).counts, 16, 200
    P = h[:n].astype(float)
    P[-1] += h[n:].sum()
    Q = np.zeros(n)
    for group in np.array_split(np.arange(n), levels) if n % levels == 0 else groups(n, levels):
        occupied = group[h[group] > 0]
        if len(occupied):
            Q[occupied] = h[group].sum() / len(occupied)
    expected = scipy.stats.entropy(P, Q)
    assert kl_curve(h, np.array([n]), levels)[0] == pytest.approx(expected, abs=1e-12)


def groups(n, levels):
    borders = [-(-j * n // levels) for j in range(levels + 1)]
    return [np.arange(a, b) for a, b in itertools.pairwise(borders)]


@KINDS
@pytest.mark.parametrize("zero_bin", ["keep", "copy", "drop"])
def test_the_divergence_is_never_negative(kind, zero_bin):
    found = kl_calibrate(equal_bins(SAMPLES[kind], 512), levels=64, zero_bin=zero_bin, guard=False)
    assert found.objective.min() >= 0


def test_the_divergence_is_zero_only_if_nothing_changes():
    flat = np.repeat([5, 3, 1, 2], 4)  # every group of four bins is even
    assert kl_curve(flat, np.array([16]), 4)[0] == pytest.approx(0, abs=1e-15)
    bumpy = flat.copy()
    bumpy[0] += 1
    assert kl_curve(bumpy, np.array([16]), 4)[0] > 1e-5
    assert kl_curve(np.append(flat, 1), np.array([16]), 4)[0] > 1e-5


def test_heavy_tails_saturate_and_even_data_do_not():
    heavy = collect(SAMPLES["laplace"])
    found = kl_calibrate(heavy)
    assert found.threshold < max_calibrate(heavy).threshold
    assert found.clipped == heavy.tail(found.threshold) > 0
    even = collect(np.linspace(-1, 1, 200_001))
    assert kl_calibrate(even).threshold >= 0.99


def test_bins_without_mass_make_a_candidate_impossible():
    h = np.array([5, 5, 5, 5, 0, 0, 0, 3])
    assert np.isinf(kl_curve(h, np.arange(4, 9), 2)).tolist() == [False, True, True, True, False]


def test_the_three_published_treatments_of_zero():
    """With the spike of a ReLU in bin 0, with bin 1 in its place, and mirrored: three thresholds for the same data."""
    x = np.maximum(np.random.default_rng(2).standard_normal(100_000), 0)
    hist = equal_bins(x, 2048)
    kept = kl_calibrate(hist, zero_bin="keep").threshold
    copied = kl_calibrate(hist, zero_bin="copy").threshold
    dropped = kl_calibrate(hist, zero_bin="drop").threshold
    half = equal_bins(x, 1024)
    mirrored = kl_mirrored_loop(half.counts)[0] * half.width
    assert kept == pytest.approx(1.82, abs=0.005)
    assert mirrored == pytest.approx(2.77, abs=0.005)
    assert copied == pytest.approx(4.02, abs=0.005)
    assert dropped == pytest.approx(copied, abs=0.05)


def test_without_a_spike_the_treatments_agree():
    hist = equal_bins(SAMPLES["normal"], 512)
    thresholds = [kl_calibrate(hist, levels=64, zero_bin=z).threshold for z in ("keep", "copy", "drop")]
    assert np.ptp(thresholds) < 0.15 * max(thresholds)


def test_the_mirrored_loop_is_that_of_onnxruntime():
    calibrate_module = pytest.importorskip("onnxruntime.quantization.calibrate")
    search = object.__new__(calibrate_module.HistogramCollector).get_entropy_threshold
    x = np.maximum(np.random.default_rng(1).standard_normal(20_000), 0)
    counts, edges = np.histogram(x, 512, (-x.max(), x.max()))
    theirs = search((counts, edges, x.min(), x.max(), x.max()), 64)[1]
    bins, _ = kl_mirrored_loop(counts[256:], levels=64)
    assert min(bins * edges[-1] / 256, x.max()) == pytest.approx(theirs)


def test_the_search_may_start_later():
    hist = equal_bins(SAMPLES["laplace"], 512)
    found = kl_calibrate(hist, levels=16, start=128)
    assert found.thresholds[0] == pytest.approx(128 * hist.width)
    assert len(found.thresholds) == len(found.objective) == 512 - 128 + 1


# --- the guard -----------------------------------------------------------------------------------------------------


def comb(n=50_000):
    """Activations of a network with a constant background: a few values, repeated, and smooth large ones."""
    rng = np.random.default_rng(0)
    return np.concatenate([np.zeros(n), np.repeat(rng.uniform(0, 0.5, 12), n // 4), 6 * rng.random(n // 2)])


def test_a_comb_makes_the_literal_rule_clip_real_data():
    """No group of the small candidates holds two spikes, so merging looks free; the guard lets few values saturate."""
    hist = collect(comb())
    literal = kl_calibrate(hist, levels=8, guard=False)
    nonzero = hist.total - hist.zeros
    assert literal.clipped * hist.total / nonzero > 0.05
    with pytest.warns(CalibrationWarning, match="lone bins"):
        guarded = kl_calibrate(hist, levels=8)
    assert guarded.guarded
    assert guarded.clipped * hist.total / nonzero <= 1e-3
    assert guarded.threshold > 2 * literal.threshold


@pytest.mark.parametrize("kind", ["laplace", "normal", "relu", "gamma"])
def test_smooth_data_need_no_guard(kind):
    hist = collect(SAMPLES[kind])
    assert spikiness(hist) < 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not kl_calibrate(hist).guarded


def test_spikiness_counts_what_stands_out():
    smooth = np.full(200, 1000)
    assert spikiness(Histogram(smooth, 1.0)) == 0
    spiked = smooth.copy()
    spiked[50] = 200_000
    assert spikiness(Histogram(spiked, 1.0)) == pytest.approx(200_000 / (200_000 + 198_000), abs=0.02)
    assert spikiness(Histogram(np.array([7]), 1.0, zeros=7)) == 0


# --- the other rules -----------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("levels", [2, 4, 128])
def test_the_mse_rule_is_brute_force(kind, levels):
    hist = equal_bins(SAMPLES[kind], 150)
    found = mse_calibrate(hist, levels=levels)
    h, c = hist.counts, hist.centres
    brute = []
    for T in hist.edges[1:]:
        step = T / (levels - 1)
        nearest = step * np.clip(np.rint(c / step), 0, levels - 1)
        brute.append(h @ (c - nearest) ** 2 / h.sum())
    np.testing.assert_allclose(found.objective, brute, rtol=1e-7, atol=1e-11)
    assert found.threshold == pytest.approx(hist.edges[1:][np.argmin(brute)])


def test_the_mse_rule_finds_the_best_threshold_for_the_data():
    x = SAMPLES["laplace"]
    found = mse_calibrate(collect(x), levels=4)

    def error(T):
        return np.mean((symmetric(x, bits=3, threshold=T).to_tensor() - x) ** 2)

    grid = np.linspace(0.5, 12, 200)
    assert error(found.threshold) <= min(error(T) for T in grid) * 1.005


@pytest.mark.parametrize("percentile", [50, 90, 99, 99.9, 100])
def test_the_percentile_leaves_so_much_below(percentile):
    x = np.abs(SAMPLES["gamma"])
    found = percentile_calibrate(collect(x), percentile=percentile)
    assert found.threshold == pytest.approx(np.percentile(x, percentile), rel=0.01)
    assert found.clipped <= 1 - percentile / 100 + 1e-12


def test_max_is_exact():
    assert max_calibrate(collect([-3.25, 1.0])).threshold == 3.25
    assert max_calibrate(collect([0.0])).threshold > 0


@pytest.mark.parametrize("rule", ["max", "percentile", "mse", "kl"])
def test_calibrate_calls_the_rule(rule):
    hist = collect(SAMPLES["laplace"])
    made = calibrate(hist, rule=rule, bits=6)
    assert isinstance(made, Calibration)
    assert made.rule == rule
    assert made.threshold <= max_calibrate(hist).threshold + hist.width
    direct = {"mse": mse_calibrate, "kl": kl_calibrate}.get(rule)
    assert direct is None or direct(hist, levels=32).threshold == made.threshold


def test_the_sign_takes_a_bit():
    assert positive_levels(8, signed=True) == 128
    assert positive_levels(8, signed=False) == 256
    positive = collect(SAMPLES["gamma"])
    assert calibrate(positive, bits=4).threshold == kl_calibrate(positive, levels=16).threshold
    assert calibrate(positive, bits=4, signed=True).threshold == kl_calibrate(positive, levels=8).threshold


HIST = equal_bins(SAMPLES["normal"], 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kl_calibrate(HIST), "hist must have more than levels=128 bins, got 64"),
        (lambda: kl_calibrate(HIST, levels=1), "levels must be at least 2"),
        (lambda: kl_calibrate(HIST, levels=8.0), "levels must be an integer"),
        (lambda: kl_calibrate(HIST, levels=8, zero_bin="lift"), "zero_bin must be one of"),
        (lambda: kl_calibrate(HIST, levels=8, start=4), "start must be between 8"),
        (lambda: kl_calibrate(HIST.counts, levels=8), "hist must be Histogram"),
        (lambda: mse_calibrate(HIST, levels=1), "levels must be between 2"),
        (lambda: mse_calibrate([1, 2]), "hist must be Histogram"),
        (lambda: percentile_calibrate(HIST, percentile=101), "percentile must be between"),
        (lambda: percentile_calibrate(HIST, percentile="99"), "percentile must be a number"),
        (lambda: max_calibrate(None), "hist must be Histogram"),
        (lambda: spikiness(HIST, window=0), "window must be between 1"),
        (lambda: calibrate(HIST, rule="entropy"), "rule must be one of"),
        (lambda: calibrate(HIST, bits=0), "bits must be between"),
        (lambda: calibrate(HIST, signed="no"), "signed must be True or False"),
        (lambda: positive_levels(1, signed=True), "bits must be between 2"),
        (lambda: kl_loop([1, 2, 3], levels=3), "counts must not be negative, and more"),
        (lambda: kl_loop([-1, 2, 3], levels=2), "counts must not be negative"),
        (lambda: kl_mirrored_loop([], levels=2), "counts must not be empty"),
        (lambda: kl_mirrored_loop([1, 2, 3], levels=True), "levels must be an integer"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

"""The first explorer of Chapter 15: where to saturate the activations of a layer."""

from functools import cache
from typing import Any

import numpy as np

from labkit import nets
from labkit.datasets import mnist
from labkit.explore import codec
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Cut, Lines, Readouts, Series
from labkit.quantization import Histogram, HistogramCollector, kl_calibrate, positive_levels, spikiness

LAYERS = {"conv2": "conv2", "fc1": "fc1", "fc2": "fc2, after ReLU"}
BATCHES = (5, 10, 50)
BATCH, N_BINS, SHOWN = 25, 1024, 64
FLOOR = 1e-4  # percent; a log scale has no 0
LEAST = 1e-6  # nats
LABELS = ("before saturation", "after", "threshold", "minimum", "KL divergence")
ALT = (
    "The histogram of the inputs of {layer} after {batches} batches, saturated at {threshold} % of the largest value, "
    "and the divergence of every threshold for {bits} bits"
)
CAPTION = "Inputs of three layers of LeNet-5. A batch holds 25 digits. Both vertical axes are logarithmic."
UNITS = {"Saturated": "%", "SQNR": "dB", "In lone bins": "%"}


@register
def calibration_explorer() -> Explorer:
    """Return the explorer of calibration: a histogram, a threshold, and the divergence of every other threshold.

    The inputs of three layers of LeNet-5, for 5, 10 or 50 batches of 25 training digits. Chapter 15;
    lecture 003:1007-1026.

    >>> numbers = calibration_explorer().compute(layer="fc1", batches=10, bits=8, threshold=100)["numbers"]
    >>> numbers["Saturated"]
    0.0
    """

    def compute(layer: str, batches: int, bits: int, zero_bin: str, threshold: int) -> dict[str, Any]:
        return _views(histograms()[layer][batches], bits, zero_bin, threshold / 100)

    return Explorer(
        "calibration",
        compute,
        title="Where should the activations saturate?",
        controls=[
            Choice("layer", LAYERS, default="fc1", label="Input of"),
            Choice("batches", {n: f"{n} batches" for n in BATCHES}, default=10, label="Calibrated on", style="radio"),
            Slider("bits", 2, 8, default=4, label="Bits"),
            Choice("zero_bin", {"keep": "keep", "copy": "take its neighbour's count"}, default="copy", label="Bin 0"),
            Slider("threshold", 2, 100, default=60, label="Threshold, of the largest", unit="%"),
        ],
        views=[
            Lines("histogram", "Magnitudes", x_label="|x|", y_label="share of the entries (%)", y_scale="log"),
            Lines("curve", "All thresholds", x_label="threshold", y_label="KL divergence (nats)", y_scale="log"),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("calibration.js", page_data),
        alt=ALT,
        caption=CAPTION,
    )  # fmt: skip


@cache
def histograms() -> dict[str, dict[int, Histogram]]:
    """Return the histogram of every layer's inputs after every number of batches."""
    model, x = nets.load("lenet-5"), mnist("train", source="offline")[: BATCHES[-1] * BATCH].tensors()[0]
    collectors = {name: HistogramCollector(n_bins=N_BINS) for name in LAYERS}
    for name, collector in collectors.items():
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, c=collector: c.add(args[0]) and None)
    made: dict[str, dict[int, Histogram]] = {name: {} for name in LAYERS}
    for k, batch in enumerate(x.split(BATCH), start=1):
        model(batch)
        if k in BATCHES:
            for name, collector in collectors.items():
                made[name][k] = collector.histogram()
    return made


def page_data() -> dict[str, Any]:
    """Return what `static/calibration.js` needs: the counts of every histogram."""
    return {"labels": LABELS} | {
        layer: {
            str(n): {
                "counts": codec.Exact(hist.counts),
                "width": hist.width,
                "zeros": hist.zeros,
                "signed": hist.low < 0,
                "spikes": 100 * spikiness(hist),
            }
            for n, hist in several.items()
        }
        for layer, several in histograms().items()
    }


def _views(hist: Histogram, bits: int, zero_bin: str, share: float) -> dict[str, Any]:
    signed = hist.low < 0
    levels = positive_levels(bits, signed=signed)
    kept = max(1, int(share * len(hist.counts) + 0.5))  # bins below the threshold
    found = kl_calibrate(hist, levels=levels, zero_bin=zero_bin, guard=False)
    finite = np.isfinite(found.objective)
    T, here = kept * hist.width, kept - levels
    return {
        "histogram": _histogram(hist, kept),
        "curve": [
            Series(np.maximum(found.objective[finite], LEAST), found.thresholds[finite], LABELS[4]),
            Cut(x=T, label=LABELS[2]),
            Cut(x=found.threshold, label=LABELS[3], muted=True),
        ],
        "numbers": {
            "Threshold": T,
            "Divergence (nats)": float(found.objective[here]) if here >= 0 and finite[here] else None,
            "Minimum at": found.threshold,
            "Saturated": 100 * float(hist.counts[kept:].sum() / hist.total),
            "SQNR": threshold_sqnr(hist, T, levels),
            "In lone bins": 100 * spikiness(hist),
        },
    }


def threshold_sqnr(hist: Histogram, threshold: float, levels: int) -> float:
    """Return the SQNR in dB of entries rounded to j T / (levels - 1), and to T if they are beyond.

    >>> from labkit.quantization import collect
    >>> round(threshold_sqnr(collect(np.linspace(-1, 1, 9999)), 1.0, 128), 1)
    48.1
    """
    h, c, step = hist.counts, hist.centres, threshold / (levels - 1)
    y = step * np.clip(np.floor(c / step + 0.5), 0, levels - 1)
    return float(10 * np.log10((h @ c**2) / (h @ (c - y) ** 2)))


def _histogram(hist: Histogram, kept: int) -> list[Any]:
    """Return the counts in few bins, before and after what is beyond moved to the last bin that is kept."""
    size = -(-len(hist.counts) // SHOWN)
    n = -(-len(hist.counts) // size)
    before = np.pad(hist.counts, (0, n * size - len(hist.counts)))
    after = before.copy()
    after[kept:] = 0
    after[kept - 1] += before[kept:].sum()
    x = hist.width * size * (np.arange(n) + 0.5)
    shares = [np.maximum(100 * h.reshape(n, size).sum(axis=1) / hist.total, FLOOR) for h in (before, after)]
    return [
        Series(shares[0], x, LABELS[0], kind="steps", muted=True),
        Series(shares[1], x, LABELS[1], kind="steps"),
        Cut(x=kept * hist.width, label=LABELS[2]),
    ]

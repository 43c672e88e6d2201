"""The KL calibration of Chapter 15 against the published loop and against ONNX Runtime.

    python -m benchmarks.calibration

takes about a minute on one thread. ONNX Runtime is an optional peer, of which only the calibration module is used:
`python -m pip install -e ".[bench]"`. Its rows are left out without it. ONNX Runtime runs another algorithm (the
histogram is mirrored, see `labkit.quantization.kl_mirrored_loop`), so its threshold differs; the published loop's does
not.
"""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.common import processor, restart_clean, table

N_BINS, LEVELS, N_VALUES = 2048, 128, 1_000_000
NO_PEER = 'ONNX Runtime is not installed, so its rows are left out: python -m pip install -e ".[bench]"'
Row = tuple[str, str, str, str]


def data(n: int = N_VALUES) -> dict[str, Any]:
    """Return float32 activations of three kinds: heavy tails, a ReLU of a normal variable, a gamma variable."""
    import numpy as np

    rng = np.random.default_rng(0)
    made = {
        "Laplace": rng.laplace(size=n),
        "ReLU": np.maximum(rng.standard_normal(n), 0),
        "gamma": rng.gamma(2, size=n),
    }
    return {name: x.astype(np.float32) for name, x in made.items()}


def histogram(x: Any, n_bins: int = N_BINS) -> Any:
    """Return the histogram of |x| in equal bins from 0 to its largest value."""
    import numpy as np

    from labkit.quantization import Histogram

    counts, edges = np.histogram(np.abs(x), n_bins, (0, float(np.abs(x).max())))
    return Histogram(counts, float(edges[1]))


def loop_rows(samples: dict[str, Any], *, n_bins: int = N_BINS, rounds: int = 7) -> Iterator[Row]:
    """Yield a row for each kind of data: the published loop against ours, with both thresholds."""
    from labkit.cost import time_ratio
    from labkit.quantization import kl_calibrate, kl_loop

    for name, x in samples.items():
        hist = histogram(x, n_bins)
        ours = partial(kl_calibrate, hist, levels=LEVELS, zero_bin="keep", guard=False)
        theirs = partial(kl_loop, hist.counts, levels=LEVELS)
        ratio = time_ratio(theirs, ours, rounds=rounds)
        thresholds = theirs()[0] * hist.width, ours().threshold
        note = "same threshold" if thresholds[0] == thresholds[1] else f"thresholds {thresholds} differ"
        yield name, "published loop", f"{ratio:.0f}x", note


def onnxruntime_rows(samples: dict[str, Any], *, n_bins: int = N_BINS, rounds: int = 7) -> Iterator[Row]:
    """Yield a row for each kind of data: ONNX Runtime's search, given a histogram of as many bins, against ours."""
    import numpy as np

    from labkit.cost import time_ratio
    from labkit.quantization import kl_calibrate

    try:
        from onnxruntime.quantization.calibrate import HistogramCollector
    except ImportError:
        return
    search = object.__new__(HistogramCollector).get_entropy_threshold  # the search itself uses nothing of the object
    for name, x in samples.items():
        hist, top = histogram(x, n_bins), np.abs(x).max()
        counts, edges = np.histogram(x, n_bins, (-top, top))
        theirs = partial(search, (counts, edges, x.min(), x.max(), top), LEVELS)
        ours = partial(kl_calibrate, hist, levels=LEVELS, zero_bin="keep", guard=False)
        ratio = time_ratio(theirs, ours, rounds=rounds)
        note = f"thresholds {float(theirs()[1]):.3f} and {ours().threshold:.3f}"
        yield name, "ONNX Runtime, entropy", f"{ratio:.0f}x", note


def main() -> int:
    """Measure, print the table and return the exit status."""
    import numpy as np

    samples = data()
    rows = [*loop_rows(samples), *onnxruntime_rows(samples)]
    print(table((f"{N_BINS} bins, {LEVELS} levels", "peer", "ratio", ""), rows))
    if len(rows) == len(samples):
        print(NO_PEER)
    print(
        f"Time of the peer / our time, median of at least 7 interleaved rounds, CPU time of one thread.\n{processor()}"
    )
    print(f"NumPy {np.__version__}, OPENBLAS_CORETYPE not set")
    return 0


if __name__ == "__main__":
    restart_clean("benchmarks.calibration")
    sys.exit(main())

"""Winograd convolution against the best convolution of PyTorch: NumPy and C, F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3).

    python -m benchmarks.winograd

takes under a minute on one thread. The peer is `torch.nn.functional.conv2d` in the faster of its two memory layouts,
without gradients; kernels are transformed beforehand, and the time of that is shown too. Medians of nine interleaved
rounds, CPU time of one thread.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.common import processor, restart_clean, table

LAYERS = ((3, 28), (16, 28), (64, 28), (64, 56), (128, 28), (256, 7), (256, 14), (256, 28), (256, 56))
TILES = 2, 4


def contenders(c: int, side: int) -> dict[str, Callable[[], Any]]:
    """Return the ways to compute a layer with c channels in and out on one picture."""
    import numpy as np
    import torch
    from torch.nn import functional

    from labkit import kernels
    from labkit.convolution import winograd

    random = np.random.default_rng(0)
    x, w = (random.standard_normal(shape, "f") for shape in ((1, c, side, side), (c, c, 3, 3)))
    first = [torch.from_numpy(a) for a in (x, w)]
    last = [a.to(memory_format=torch.channels_last) for a in first]
    ways: dict[str, Callable[[], Any]] = {
        "torch": partial(functional.conv2d, *first, padding=1),
        "last": partial(functional.conv2d, *last, padding=1),
    }
    for m in TILES:
        U, V = winograd.transform_kernel(w, m=m), kernels.winograd_kernel(w, m=m)
        ways[f"NumPy {m}"] = partial(winograd.conv2d, x, w, m=m, padding=1, transformed=U)
        ways[f"C {m}"] = partial(kernels.winograd_conv2d, last[0], w, m=m, padding=1, transformed=V)
    return ways | {"kernel": partial(kernels.winograd_kernel, w, m=4)}


def rows(layers: tuple[tuple[int, int], ...] = LAYERS, rounds: int = 9) -> Iterator[tuple[str, ...]]:
    """Yield a row for each layer: torch's time, and how many times faster each way is."""
    from labkit.cost import cpu_times

    for c, side in layers:
        times = cpu_times(contenders(c, side), rounds=rounds, round_seconds=0.02)
        layouts = {"channels first": times.pop("torch"), "channels last": times.pop("last")}
        best = min(layouts, key=layouts.get)  # type: ignore[arg-type]
        kernel = times.pop("kernel")
        ratios = [f"{layouts[best] / seconds:.2f}x" for seconds in times.values()]
        yield (
            f"{c} channels, {side} x {side}",
            f"{1e3 * layouts[best]:.2f} ms, {best}",
            *ratios,
            f"{1e3 * kernel:.2f} ms",
        )


def main() -> int:
    """Measure, print the table and return the exit status."""
    import numpy as np
    import torch

    from labkit import kernels

    header = ("layer", "torch", *(f"{name}, m = {m}" for m in TILES for name in ("NumPy", "C")), "kernel, m = 4")
    print(table(header, rows()))
    print(f"{processor()}; torch {torch.__version__}, NumPy {np.__version__}, kernels {kernels.backend()}; one thread")
    return 0


if __name__ == "__main__":
    restart_clean("benchmarks.winograd")
    sys.exit(main())

"""The second explorer of Chapter 23: from which kernel on the frequencies need fewer multiplications."""

from typing import Any

from labkit.convolution import crossover_kernel, direct_conv2d_mults, fft_conv2d_mults
from labkit.explore.controls import Slider, Toggle
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Cut, Lines, Readouts, Series

CHANNELS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SIDES = (8, 16, 32, 64, 128, 224)
LARGEST = 15  # kernel on the axis
UNITS = {"Direct over frequencies": "×"}

CONTROLS = [
    Slider("channels", values=CHANNELS, default=64, label="Channels in and out"),
    Slider("side", values=SIDES, default=32, label="Side of the padded picture"),
    Slider("kernel", 1, LARGEST, default=3, label="Kernel", high_by=("side", {8: 8})),
    Toggle("ready", default=True, label="Kernel transformed beforehand"),
]
VIEWS = [
    Lines(
        "mults",
        "Multiplications for one picture",
        x_label="height and width of the kernel",
        y_label="multiplications",
        y_scale="log",
        wide=True,
    ),
    Readouts("numbers", units=UNITS),
]


@register
def fft_crossover_explorer() -> Explorer:
    """Return the explorer of the FFT's crossover: channels, picture and kernel, and who keeps the kernel's transform.

    Chapter 23; lecture 003:1829-1840.

    >>> numbers = fft_crossover_explorer().compute(kernel=3, channels=64, side=32)["numbers"]
    >>> numbers["Fewer from kernel"], round(numbers["Direct over frequencies"], 1)
    (2, 3.4)
    """
    return Explorer(
        "fft-crossover",
        _views,
        title="Direct or by frequencies?",
        controls=CONTROLS,
        views=VIEWS,
        static=Browser("fft_crossover.js", {"largest": LARGEST}),
        alt="Multiplications of the direct convolution and of that by frequencies over the size of the kernel, for "
        "{channels} channels and a picture of {side} × {side}",
        caption="Multiplications, not time: a processor does both sums at different speeds, and the frequencies move "
        "more data.",
    )


def _views(channels: int, side: int, kernel: int, ready: bool) -> dict[str, Any]:
    sides = range(1, min(LARGEST, side) + 1)
    direct = [direct_conv2d_mults(channels, channels, size=side, kernel=k) for k in sides]
    by_fft = fft_conv2d_mults(channels, channels, size=side, kernel=kernel, kernel_ready=ready)
    crossover = crossover_kernel(channels, channels, size=side, kernel_ready=ready)
    return {
        "mults": [
            Series(direct, list(sides), "direct"),
            Series([by_fft] * len(sides), list(sides), "frequencies"),
            Cut(x=kernel),
        ],
        "numbers": {
            "Direct": direct[kernel - 1],
            "Frequencies": by_fft,
            "Direct over frequencies": direct[kernel - 1] / by_fft,
            "Fewer from kernel": crossover,
        },
    }

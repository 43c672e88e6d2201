"""The second explorer of Chapter 4: a 1 x 1 convolution under the roof of a machine."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from labkit import checks
from labkit.cost import Machine, Point, memory_access_bound, pointwise_point
from labkit.explore import codec
from labkit.explore.controls import Choice, Control, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Cut, Lines, Readouts, Series

MACHINES = {
    # Data sheet of the SXM2 form: 15.7 TFLOP/s in single precision, 900 GB/s.
    "v100": Machine(15.7e12, 900e9, "Server GPU, NVIDIA V100 (data sheet)"),
    # Data sheet: 128 cores, each a multiply-add per cycle of 921.6 MHz; 25.6 GB/s.
    "jetson": Machine(2 * 128 * 921.6e6, 25.6e9, "Board, NVIDIA Jetson Nano (data sheet)"),
    # labkit.cost.measure_machine() on the machine on which this book was written, in round figures.
    "core": Machine(115e9, 45e9, "One core of an AMD EPYC (measured)"),
}
MEASURED = "measured"
CHANNELS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SIDES = (1, 7, 14, 28, 56)
INTENSITIES = (0.2, 2000.0)  # operations per byte at both ends of the axis
WAYS = ("arithmetic", "memory")
UNITS = {
    "Of the machine's peak": "%",
    "Least time": "µs",
    "Memory access, against its bound": "×",
}
ROOF = Lines(
    "roof",
    "Speed within reach",
    x_label="intensity (FLOP per byte)",
    y_label="speed (FLOP/s)",
    x_scale="log",
    y_scale="log",
    x_range=INTENSITIES,
)
NUMBERS = Readouts("numbers", units=UNITS)


@register
def roofline_explorer(measured: Machine | None = None) -> Explorer:
    """Return the explorer of the roofline: a 1 x 1 convolution's channels, picture and batch, and the machine.

    `measured`, what `labkit.cost.measure_machine()` returns, adds that machine to the choice. Numbers have 32 bits;
    input, weights and output travel once. Raises TypeError for anything but a Machine.
    Chapter 4; lecture 003:2642-2720.

    >>> numbers = roofline_explorer().compute(c1=4096, c2=4096, side=1, batch=1)["numbers"]
    >>> numbers["Limit"], round(numbers["FLOP per byte"], 2)
    ('memory', 0.5)
    """
    own = {} if measured is None else {MEASURED: checks.instance(measured, "measured", Machine)}
    machines = MACHINES | own
    return Explorer(
        "roofline",
        lambda machine, c1, c2, side, batch: _views(machines[machine], c1, c2, side, batch),
        title="Roofline: arithmetic or memory, which one is the limit?",
        controls=_controls(machines),
        views=[ROOF, Bars("times", "Time if only one thing took time", y_label="time (µs)"), NUMBERS],
        static=Browser("roofline.js", lambda: page_data(machines)),
        alt="A 1 x 1 convolution from {c1} to {c2} channels under the roofline of the machine {machine}",
        caption="Side 1 makes the convolution a linear layer. The least time is the larger of the two bars.",
    )


def _controls(machines: Mapping[str, Machine]) -> list[Control]:
    return [
        Choice("machine", {key: m.name or "This machine" for key, m in machines.items()}, label="Machine"),
        Slider("c1", values=CHANNELS, default=64, label="Input channels c₁"),
        Slider("c2", values=CHANNELS, default=64, label="Output channels c₂"),
        Slider("side", values=SIDES, default=28, label="Side of the picture"),
        Slider("batch", values=BATCHES, default=1, label="Pictures at a time"),
    ]


def _views(machine: Machine, c1: int, c2: int, side: int, batch: int) -> dict[str, Any]:
    point = pointwise_point(c1, c2, machine, h=side, w=side, batch=batch)
    roof = np.array([INTENSITIES[0], machine.ridge, INTENSITIES[1]])
    arithmetic, memory = 1e6 * point.operations / machine.peak, 1e6 * point.n_bytes / machine.bandwidth
    return {
        "roof": [
            Series(machine.attainable(roof), roof, "roof"),
            Series([point.attainable], [point.intensity], "this layer", "points"),
            Cut(x=machine.ridge, label=f"ridge, {machine.ridge:.3g}", muted=True),
            Cut(x=point.intensity, label=f"{point.intensity:.3g}"),
        ],
        "times": dict(zip(WAYS, (arithmetic, memory), strict=True)),
        "numbers": _numbers(point, machine, c1, c2, batch * side**2),
    }


def _numbers(point: Point, machine: Machine, c1: int, c2: int, places: int) -> dict[str, Any]:
    moved = places * (c1 + c2) + c1 * c2  # a batch is a larger picture
    return {
        "Multiply-adds": places * c1 * c2,
        "Numbers moved": moved,
        "FLOP per byte": point.intensity,
        "Limit": "arithmetic" if point.bound == "compute" else "memory",
        "GFLOP/s in reach": point.attainable / 1e9,
        "Of the machine's peak": 100 * point.attainable / machine.peak,
        "Least time": 1e6 * point.seconds,
        "Memory access, against its bound": moved / memory_access_bound(places * c1 * c2, h=places, w=1),
    }


def page_data(machines: Mapping[str, Machine] = MACHINES) -> dict[str, Any]:
    """Return what `static/roofline.js` needs: both limits of each machine and the ends of the axis."""
    limits = {key: codec.Exact([m.peak, m.bandwidth]) for key, m in machines.items()}
    return {"machines": limits, "ends": codec.Exact(INTENSITIES), "ways": WAYS}

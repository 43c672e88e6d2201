"""The explorer of Chapter 1: where the power of a network goes, and when a phone can afford it."""

from typing import Any

import numpy as np

from labkit.cost import DEVICES, EnergyBudget, energy_budget
from labkit.explore import codec
from labkit.explore.controls import Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Cut, Groups, Lines, Readouts, Series

PHONE = DEVICES["phone"].watts
LECTURE = energy_budget(fps=20, connections=1e9).dram  # the 12.8 W of lecture 002:72
BITS = (1, 2, 4, 8, 16, 32)
MILLION = 1_000_000
SIZES = (MILLION, 10_000 * MILLION)  # connections
PARTS = ("multiply-adds", "weights from SRAM", "weights from DRAM")
HERE, BEFORE = "now", "32-bit DRAM"
CROWDED = 90.0  # watts from which the labels of both limits would meet
UNITS = {"Power": "W", "Energy per frame": "mJ", "Spent on fetching": "%", "Weights": "MB", "Of the phone's power": "×"}

CONTROLS = [
    Slider("fps", 1, 60, default=20, label="Frames per second"),
    Slider("connections", 1, 10_000, default=1000, scale="log", label="Connections", unit="million"),
    Slider("sram_share", 0, 100, default=0, label="Weights in SRAM", unit="%"),
    Slider("bits", values=BITS, default=32, label="Bits of a weight"),
]
VIEWS = [
    Bars("power", "Power by what it is spent on", y_label="power (W)", stacked=True),
    Lines(
        "size",
        "Power against size",
        x_label="connections",
        y_label="power (W)",
        x_scale="log",
        y_scale="log",
        y_range=(1e-6, 1e3),
    ),
    Readouts("numbers", units=UNITS),
]


@register
def energy_explorer() -> Explorer:
    """Return the explorer of the energy budget: frames per second, millions of connections, share in SRAM, bits.

    Each connection costs one multiply-add and one weight read a frame, see `labkit.cost.energy_budget`.
    Chapter 1; lecture 002:55-72.

    >>> numbers = energy_explorer().compute(fps=20, connections=1000, sram_share=100, bits=8)["numbers"]
    >>> round(numbers["Power"], 4), numbers["Within the phone's power"]
    (0.0296, True)
    """
    return Explorer(
        "energy",
        _views,
        title="Energy budget: what does a network draw?",
        controls=CONTROLS,
        views=VIEWS,
        static=Browser("energy.js", page_data),
        alt="The power of a network of {connections} million connections at {fps} frames per second, with "
        "{sram_share} % of its weights in SRAM at {bits} bits",
        caption="Floating-point arithmetic at 32 and 16 bits, integers below; under 8 bits the price of a "
        "multiply-add is extrapolated.",
    )


def _views(fps: int, connections: int, sram_share: int, bits: int) -> dict[str, Any]:
    n = connections * MILLION
    here = energy_budget(fps=fps, connections=n, sram_share=sram_share / 100, bits=bits)
    before = energy_budget(fps=fps, connections=n)
    parts = zip(PARTS, *([b.operations, b.sram, b.dram] for b in (here, before)), strict=True)
    return {
        "power": Groups([HERE, BEFORE], {name: pair for name, *pair in parts}, _limits(max(here.total, before.total))),
        "size": _against_size(here, before, n),
        "numbers": _numbers(here, fps, n, bits),
    }


def _limits(highest: float) -> list[Cut]:
    lecture, phone = f"the lecture's example, {LECTURE:g} W", f"phone, {PHONE:g} W"
    if highest > CROWDED:
        lecture, phone = f"{lecture}; {phone}", ""
    return [Cut(y=PHONE, label=phone), Cut(y=LECTURE, label=lecture, muted=True)]


def _against_size(here: EnergyBudget, before: EnergyBudget, n: int) -> list[Series]:
    sizes = np.array(SIZES, dtype=float)
    return [
        Series(before.total * sizes / n, sizes, BEFORE, muted=True),
        Series(here.total * sizes / n, sizes, HERE),
        Series([here.total], [float(n)], "this network", "points"),
        Series([PHONE, PHONE], sizes, f"phone, {PHONE:g} W"),  # in the legend: a label would hide the point
    ]


def _numbers(here: EnergyBudget, fps: int, n: int, bits: int) -> dict[str, Any]:
    return {
        "Power": here.total,
        "Energy per frame": 1000 * here.total / fps,
        "Spent on fetching": 100 * (here.sram + here.dram) / here.total,
        "Weights": n * bits / 8e6,
        "Of the phone's power": here.total / PHONE,
        "Within the phone's power": here.total <= PHONE,
    }


def page_data() -> dict[str, Any]:
    """Return what `static/energy.js` needs: the watts of one connection at one frame a second, for each bit-width."""
    dram = [energy_budget(fps=1, connections=1, bits=bits) for bits in BITS]
    sram = [energy_budget(fps=1, connections=1, sram_share=1.0, bits=bits) for bits in BITS]
    return {
        "bits": list(BITS),
        "watts": codec.Exact([[d.operations, s.sram, d.dram] for d, s in zip(dram, sram, strict=True)]),
        "phone": PHONE,
        "lecture": LECTURE,
        "crowded": CROWDED,
        "sizes": SIZES,
        "parts": PARTS,
        "names": [HERE, BEFORE],
        "labels": [f"the lecture's example, {LECTURE:g} W", f"phone, {PHONE:g} W"],
    }

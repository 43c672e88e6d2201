"""The roofline: a layer runs at the speed of the arithmetic or of the memory, whichever is slower.

Williams, Waterman, Patterson (2009), doi:10.1145/1498765.1498785. Chapter 4.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from labkit import checks
from labkit.cost.count import Cost
from labkit.cost.measure import fastest


@dataclass(frozen=True)
class Machine:
    """A machine's two limits: `peak` in operations per second, `bandwidth` to its memory in bytes per second.

    >>> Machine(peak=1e12, bandwidth=1e11).ridge
    10.0
    """

    peak: float
    bandwidth: float
    name: str = ""

    def __post_init__(self) -> None:
        for field in ("peak", "bandwidth"):
            checks.positive(getattr(self, field), field)

    @property
    def ridge(self) -> float:
        """The arithmetic intensity, in operations per byte, from which on the arithmetic is the limit."""
        return self.peak / self.bandwidth

    def attainable(self, intensity: float | np.ndarray) -> np.ndarray:
        """Return min(peak, intensity * bandwidth) in operations per second, for one intensity or an array of them.

        Raises TypeError or ValueError for a negative intensity.

        >>> float(Machine(peak=1e12, bandwidth=1e11).attainable(2.0))
        200000000000.0
        """
        values = checks.array(intensity, "intensity")
        if (values < 0).any():
            raise ValueError(f"intensity must be at least 0, got {values.min()}")
        return np.minimum(self.peak, values * self.bandwidth)


@dataclass(frozen=True)
class Point:
    """One layer under a roofline: what it computes, what it moves, and the speed that the machine allows."""

    name: str
    operations: float
    n_bytes: float
    intensity: float
    attainable: float
    bound: str

    @property
    def seconds(self) -> float:
        """The least time that the layer can take."""
        return self.operations / self.attainable if self.operations else 0.0


def roofline_point(operations: float, n_bytes: float, machine: Machine, *, name: str = "") -> Point:
    """Return where a layer stands: intensity = operations / bytes, speed at most min(peak, intensity * bandwidth).

    Parameters
    ----------
    operations : floating-point operations (two per multiply-add), above 0
    n_bytes : bytes that travel between the memory and the processor, above 0
    machine : its limits

    `bound` says which limit holds, "memory" or "compute". Raises TypeError or ValueError for other arguments.
    Chapter 4.

    >>> roofline_point(2e6, 1e6, Machine(peak=1e12, bandwidth=1e11)).bound
    'memory'
    """
    checks.instance(machine, "machine", Machine)
    intensity = checks.positive(operations, "operations") / checks.positive(n_bytes, "n_bytes")
    bound = "memory" if intensity < machine.ridge else "compute"
    return Point(name, operations, n_bytes, intensity, float(machine.attainable(intensity)), bound)


def layer_points(cost: Cost, machine: Machine, *, batch: int = 1, bits: int = 32) -> tuple[Point, ...]:
    """Return a point for each layer that multiplies; inputs, outputs and parameters travel once each.

    Parameters
    ----------
    cost : what `count` returned
    batch : examples at a time; the parameters travel once for all of them
    bits : bits of every number, 1 to 64

    Raises TypeError or ValueError for other arguments. Chapter 4.

    >>> from labkit.cost import count
    >>> from labkit.nets import LeNet300
    >>> cost = count(LeNet300(), torch.zeros(1, 784))
    >>> [point.bound for point in layer_points(cost, Machine(peak=1e12, bandwidth=1e11))]
    ['memory', 'memory', 'memory']
    """
    checks.integer(batch, "batch", low=1)
    size = checks.integer(bits, "bits", low=1, high=64) / 8
    return tuple(
        roofline_point(
            2 * batch * row.macs,
            size * (batch * (row.n_inputs + row.n_outputs) + row.n_params),
            machine,
            name=row.name,
        )
        for row in checks.instance(cost, "cost", Cost).rows
        if row.macs
    )


def pointwise_point(
    c1: int, c2: int, machine: Machine, *, h: int = 28, w: int = 28, batch: int = 1, bits: int = 32
) -> Point:
    """Return the point of a 1 x 1 convolution with c1 input and c2 output channels on a map of h x w.

    operations = 2 n h w c1 c2, bytes = (n h w (c1 + c2) + c1 c2) bits / 8 for a batch of n

    Raises TypeError or ValueError for sizes below 1. Chapter 4; lecture 003:2704-2720.

    >>> round(pointwise_point(64, 64, Machine(peak=1e12, bandwidth=1e11)).intensity, 2)
    15.37
    """
    sizes = {"c1": c1, "c2": c2, "h": h, "w": w, "batch": batch}
    for name, value in sizes.items():
        checks.integer(value, name, low=1)
    moved = batch * h * w * (c1 + c2) + c1 * c2
    n_bytes = moved * checks.integer(bits, "bits", low=1, high=64) / 8
    return roofline_point(2 * batch * h * w * c1 * c2, n_bytes, machine, name=f"{c1} -> {c2}")


def measure_machine(*, rounds: int = 7) -> Machine:
    """Measure this machine's two limits with torch on one thread, in float32: about a second.

    `peak` is that of the faster of a matrix product of order 512 and a 3 x 3 convolution with 128 channels, since
    torch sends the two to different libraries; `bandwidth` that of a copy of 64 MB, which reads and writes. Each is
    the best of `rounds` (at least 3), because other work on a machine can only make it look slower.

    Raises TypeError or ValueError for other rounds. Chapter 4.

    >>> measure_machine(rounds=3).ridge > 0
    True
    """
    checks.integer(rounds, "rounds", low=3)
    a, x, kernel = torch.ones(512, 512), torch.ones(1, 128, 56, 56), torch.ones(128, 128, 3, 3)
    source = torch.ones(2**24)
    target = torch.empty_like(source)
    product = 2 * 512**3 / fastest(lambda: a @ a, rounds=rounds)
    filtering = 2 * 128 * 128 * 9 * 54 * 54 / fastest(lambda: functional.conv2d(x, kernel), rounds=rounds)
    bandwidth = 2 * 4 * 2**24 / fastest(lambda: target.copy_(source), rounds=rounds)
    return Machine(max(product, filtering), bandwidth, "this machine, one thread")

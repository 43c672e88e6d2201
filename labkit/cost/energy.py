"""Energy: what an operation and a memory access cost, and what that means for a phone.

Figures of Horowitz (2014), doi:10.1109/ISSCC.2014.6757323, for a 45 nm process, as lecture 002:55-72 and 003:1247-1257
quote them; they are read from the lectures' tables. Chapter 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from labkit import checks
from labkit.cost.count import Cost
from labkit.lectures import table

OPERATIONS = {
    "int_add": "32 bit int ADD",
    "float_add": "32 bit float ADD",
    "register": "32 bit Register File",
    "int_mult": "32 bit int MULT",
    "float_mult": "32 bit float MULT",
    "sram": "32 bit SRAM Cache",
    "dram": "32 bit DRAM Memory",
}
_PRINTED = {row["operation"]: float(row["energy_pj"]) for row in table("horowitz_energy").rows}
ENERGY_PJ: Mapping[str, float] = MappingProxyType({name: _PRINTED[label] for name, label in OPERATIONS.items()})

PICO = 1e12  # picojoules in a joule
_MUL_ADD = {row["operation"]: (row["mul"], row["add"]) for row in table("horowitz_mul_add").rows}
_BY_BITS = {32: _MUL_ADD["32 bit Floating Point"], 16: _MUL_ADD["16bit Floating Point"], 8: _MUL_ADD["8bit Integer"]}


@dataclass(frozen=True)
class EnergyBudget:
    """Power in watts of a network in use: its multiply-adds, its weights read from SRAM and from DRAM."""

    operations: float
    sram: float
    dram: float

    @property
    def total(self) -> float:
        """The sum in watts."""
        return self.operations + self.sram + self.dram


@dataclass(frozen=True)
class Device:
    """What a device can spend on a network: memory in bytes, operations per second, power in watts."""

    name: str
    ram_bytes: float
    flops: float
    watts: float

    def __post_init__(self) -> None:
        for field in ("ram_bytes", "flops", "watts"):
            checks.positive(getattr(self, field), field)

    def seconds(self, flops: float) -> float:
        """Return the time for a number of floating-point operations, in seconds, at the full rate.

        >>> DEVICES["phone"].seconds(2 * 15_470_264_320)  # VGG-16, one image
        61.88105728
        """
        return checks.number(flops, "flops", low=0) / self.flops

    def fits(self, *, n_bytes: float, flops: float, latency: float = 1.0) -> bool:
        """Say whether a network of so many bytes fits the memory, and its operations the time.

        Parameters: `n_bytes` of weights and activations; `flops` for one example; `latency` allowed, in seconds.
        Raises TypeError or ValueError for negative numbers. n_bytes < RAM and flops < rate * latency.

        >>> DEVICES["phone"].fits(n_bytes=240e6, flops=0.4e9), DEVICES["phone"].fits(n_bytes=552e6, flops=30.9e9)
        (True, False)
        """
        fast = self.seconds(flops) < checks.positive(latency, "latency")
        return fast and checks.number(n_bytes, "n_bytes", low=0) < self.ram_bytes


DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        # Memory and rate of lecture 002:44-51; 3 W is a round figure for a phone that is held in a hand.
        "phone": Device("phone", ram_bytes=1e9, flops=0.5e9, watts=3.0),
        # A microcontroller of 216 MHz with 320 kB, the target of Lin et al. (2020), arXiv:2007.10319; one
        # multiply-add per cycle and 0.3 W are round figures.
        "wearable": Device("wearable", ram_bytes=320e3, flops=0.43e9, watts=0.3),
        # The data sheet of one NVIDIA V100: 16 GB, 15.7 TFLOP/s in single precision, 300 W.
        "cloud": Device("cloud", ram_bytes=16e9, flops=15.7e12, watts=300.0),
    }
)


def energy(op_counts: Mapping[str, float]) -> float:
    """Return the energy of a number of operations, in joules: E = sum of n_op e_op.

    op_counts : {operation: how often}, operations as in `ENERGY_PJ`. Raises TypeError or ValueError for an unknown
    operation or a negative number. Chapter 1; lecture 002:55-72.

    >>> energy({"float_mult": 1e9, "float_add": 1e9, "dram": 1e6})
    0.00524
    """
    checks.instance(op_counts, "op_counts", Mapping)
    counts = {
        checks.choice(name, "op_counts", ENERGY_PJ): checks.number(n, f"op_counts[{name!r}]", low=0)
        for name, n in op_counts.items()
    }
    return sum(n * ENERGY_PJ[name] for name, n in counts.items()) / PICO


def relative_cost(*, to: str = "int_add") -> dict[str, float]:
    """Return how many times the energy of the operation `to` each operation takes (an integer addition by default).

    Raises ValueError for an unknown operation. Chapter 1; lecture 002:55-66.

    >>> relative_cost()["dram"]
    6400.0
    """
    unit = ENERGY_PJ[checks.choice(to, "to", ENERGY_PJ)]
    return {name: round(pj / unit, 9) for name, pj in ENERGY_PJ.items()}


def dram_power(fps: float, connections: float, *, pj: float = ENERGY_PJ["dram"]) -> float:
    """Return the power in watts of reading every connection from DRAM for each frame: P = fps N e.

    Parameters
    ----------
    fps : frames per second
    connections : 32-bit weights of the network
    pj : picojoules of one access

    Raises TypeError or ValueError for negative numbers. Chapter 1; lecture 002:72.

    >>> dram_power(20, 1e9)
    12.8
    """
    fps, connections = checks.number(fps, "fps", low=0), checks.number(connections, "connections", low=0)
    return fps * connections * checks.number(pj, "pj", low=0) / PICO


def power_ratio(a: float, b: float) -> float:
    """Return a / b, two powers in the same unit; b must be above 0.

    Raises TypeError or ValueError for other numbers. Chapter 1; lecture 000:27-32 (1.5 kW against 83 W).

    >>> round(power_ratio(1500, 83), 2)
    18.07
    """
    return checks.number(a, "a", low=0) / checks.positive(b, "b")


def multiply_add_pj(bits: int) -> float:
    """Return the energy of one multiply-add in picojoules: a float of 32 or 16 bits, an integer of 1 to 8.

    Below 8 bits this is an estimate of ours, not Horowitz's: a product of b-bit integers falls with b^2, a sum
    with b. Raises TypeError or ValueError for other widths. Chapter 1; lecture 003:1247-1257.

    >>> multiply_add_pj(32), multiply_add_pj(8)
    (4.6, 0.23)
    """
    checks.integer(bits, "bits", low=1, high=32)
    if bits > 8 and bits not in _BY_BITS:
        raise ValueError(f"bits must be 32, 16, or between 1 and 8, got {bits}")
    product, addition = _BY_BITS[max(bits, 8)]
    width = min(bits / 8, 1)
    return round(product * width**2 + addition * width, 9)


def energy_budget(*, fps: float, connections: float, sram_share: float = 0.0, bits: int = 32) -> EnergyBudget:
    """Return the power of a network that uses each connection once a frame: one multiply-add and one weight read.

    Parameters
    ----------
    fps : frames per second
    connections : weights of the network
    sram_share : fraction of the weights that is kept on the chip, 0 to 1; the others come from DRAM
    bits : bits of a weight, 32, 16 or 1 to 8; one 32-bit access brings 32 / bits weights

    Raises TypeError or ValueError for other numbers. Chapter 1; lecture 002:55-72.

    >>> energy_budget(fps=20, connections=1e9).dram
    12.8
    >>> energy_budget(fps=20, connections=1e9, sram_share=1.0, bits=8).total
    0.0296
    """
    share = checks.number(sram_share, "sram_share", low=0, high=1)
    words = checks.number(connections, "connections", low=0) * bits / 32
    return EnergyBudget(
        operations=dram_power(fps, connections, pj=multiply_add_pj(bits)),
        sram=dram_power(fps, words * share, pj=ENERGY_PJ["sram"]),
        dram=dram_power(fps, words * (1 - share)),
    )


def network_energy(cost: Cost, *, bits: int = 32, sram_share: float = 0.0) -> float:
    """Return an estimate of the energy of one inference, in joules.

    E = macs e_mac + (parameters, from DRAM or SRAM, and activations, in and out of SRAM) e_access bits / 32

    Parameters
    ----------
    cost : what `count` returned; operations that it could not count are missing here too
    bits : bits of every number, 32, 16 or 1 to 8
    sram_share : fraction of the parameters that is kept on the chip, 0 to 1

    Raises TypeError or ValueError for other arguments. Chapter 1.

    >>> import torch
    >>> from labkit.cost import count
    >>> from labkit.nets import LeNet300
    >>> round(1e6 * network_energy(count(LeNet300(), torch.zeros(1, 784))))  # microjoules
    172
    """
    checks.instance(cost, "cost", Cost)
    share = checks.number(sram_share, "sram_share", low=0, high=1)
    per_weight = share * ENERGY_PJ["sram"] + (1 - share) * ENERGY_PJ["dram"]
    moved = sum(row.n_inputs + row.n_outputs for row in cost.rows)
    access = (cost.n_params * per_weight + moved * ENERGY_PJ["sram"]) * bits / 32
    return (cost.macs * multiply_add_pj(bits) + access) / PICO

"""What a network costs: parameters, operations, bytes, memory traffic, energy, and measured time."""

from labkit.cost.binary import xnor_speedup
from labkit.cost.bitops import bit_speedup, bitops
from labkit.cost.break_even import BreakEven, breakeven
from labkit.cost.card import ReportCard, report_card
from labkit.cost.count import CONVENTIONS, Cost, Row, count
from labkit.cost.energy import (
    DEVICES,
    ENERGY_PJ,
    Device,
    EnergyBudget,
    dram_power,
    energy,
    energy_budget,
    multiply_add_pj,
    network_energy,
    power_ratio,
    relative_cost,
)
from labkit.cost.measure import Latency, cpu_times, fastest, fps, latency, processor, time_ratio
from labkit.cost.memory import file_bytes, memory_access_bound, memory_access_cost, memory_bytes
from labkit.cost.propagation import ErrorPropagation, LayerError, error_propagation, lipschitz
from labkit.cost.roofline import Machine, Point, layer_points, measure_machine, pointwise_point, roofline_point
from labkit.cost.tables import (
    CostTable,
    OpRow,
    ParamRow,
    TreeMap,
    conv_macs,
    linear_cost,
    op_table,
    param_table,
    share_by_type,
    tree_map,
)
from labkit.cost.text import readable
from labkit.cost.tiles import TileTime, tile_break_even, tile_times

__all__ = [
    "CONVENTIONS",
    "DEVICES",
    "ENERGY_PJ",
    "BreakEven",
    "Cost",
    "CostTable",
    "Device",
    "EnergyBudget",
    "ErrorPropagation",
    "Latency",
    "LayerError",
    "Machine",
    "OpRow",
    "ParamRow",
    "Point",
    "ReportCard",
    "Row",
    "TileTime",
    "TreeMap",
    "bit_speedup",
    "bitops",
    "breakeven",
    "conv_macs",
    "count",
    "cpu_times",
    "dram_power",
    "energy",
    "energy_budget",
    "error_propagation",
    "fastest",
    "file_bytes",
    "fps",
    "latency",
    "layer_points",
    "linear_cost",
    "lipschitz",
    "measure_machine",
    "memory_access_bound",
    "memory_access_cost",
    "memory_bytes",
    "multiply_add_pj",
    "network_energy",
    "op_table",
    "param_table",
    "pointwise_point",
    "power_ratio",
    "processor",
    "readable",
    "relative_cost",
    "report_card",
    "roofline_point",
    "share_by_type",
    "tile_break_even",
    "tile_times",
    "time_ratio",
    "tree_map",
    "xnor_speedup",
]

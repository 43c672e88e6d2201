"""Recorded experiments: full-size runs whose every number is kept in `data/results`.

Run one with `python -m labkit.experiments NAME`, see all with `python -m labkit.experiments list`. A page reads the
result with `record(name)`. `--tiny` runs the same code in seconds, on few offline digits, and keeps its result apart;
`--times` trains nothing and only measures the time ratios of a record again, which takes seconds too.
"""

from labkit.experiments import (
    binary,
    bit_kernels,
    calibration,
    dynamic,
    factorised,
    lenet,
    low_bit,
    low_rank,
    low_rank_sparse,
    sgad,
    sparse_times,
    sparse_winograd,
    tensors,
    ternary,
    trained_rank,
    trp_monitor,
)
from labkit.experiments.registry import EXPERIMENTS, Experiment, Record, record, retime, run

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Record",
    "binary",
    "bit_kernels",
    "calibration",
    "dynamic",
    "factorised",
    "lenet",
    "low_bit",
    "low_rank",
    "low_rank_sparse",
    "record",
    "retime",
    "run",
    "sgad",
    "sparse_times",
    "sparse_winograd",
    "tensors",
    "ternary",
    "trained_rank",
    "trp_monitor",
]

"""Recorded experiments: full-size runs whose every number is kept in `data/results`.

Run one with `python -m labkit.experiments NAME`, see all with `python -m labkit.experiments list`. A page reads the
result with `record(name)`. `--tiny` runs the same code in seconds, on few offline digits, and keeps its result apart.
"""

from labkit.experiments import factorised, lenet, low_rank, low_rank_sparse, tensors, trained_rank
from labkit.experiments.registry import EXPERIMENTS, Experiment, Record, record, run

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Record",
    "factorised",
    "lenet",
    "low_rank",
    "low_rank_sparse",
    "record",
    "run",
    "tensors",
    "trained_rank",
]

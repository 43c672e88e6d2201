"""Sparse against dense products by pattern, density and width: what the format explorer of Chapter 11 shows."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labkit.cost import cpu_times, processor
from labkit.cost.break_even import dense_products, sparse_product
from labkit.experiments.registry import experiment
from labkit.kernels import backend
from labkit.sparse import CSR, sparse_mask

DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
PATTERNS = (("random", 1), ("banded", 1), ("block", 2), ("block", 4), ("block", 8))


@experiment(
    "sparse-times",
    split="no data: random numbers at the places of a pattern",
    minutes=1,
    tiny={"size": 64, "densities": (0.1, 0.5), "columns": (1, 4), "rounds": 7},
)
def sparse_times(
    output: Path,
    *,
    size: int = 512,
    densities: Sequence[float] = DENSITIES,
    columns: Sequence[int] = (1, 64),
    rounds: int = 9,
    seeds: Sequence[int] = (0,),
) -> dict[str, Any]:
    """How much faster a product with our CSR is than the best dense one, by pattern, density and width."""
    rows = list(time_rows(size=size, densities=densities, columns=columns, rounds=rounds, seed=seeds[0]))
    return {"rows": rows, "summary": {"processor": processor(), "backend": backend(), "dense": _peers(rows)}}


def time_rows(
    *,
    size: int = 512,
    densities: Sequence[float] = DENSITIES,
    columns: Sequence[int] = (1, 64),
    rounds: int = 9,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each pattern, density and number of columns, measured now, on one thread of this machine.

    `ratio` is the time of the fastest dense product over that of CSR. Chapter 11.

    >>> row = next(time_rows(size=16, densities=(0.5,), columns=(1,), rounds=7))
    >>> row["pattern"], row["columns"], row["ratio"] > 0
    ('random', 1, True)
    """
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((size, size), np.float32)
    for n in columns:
        X = rng.standard_normal((size, n), np.float32)
        ways = dense_products(W, X)
        seconds = cpu_times(ways, rounds=rounds)
        best = min(seconds, key=lambda name: seconds[name])
        for (pattern, block), density in itertools.product(PATTERNS, densities):
            mask = sparse_mask((size, size), density=density, pattern=pattern, block=block, random_state=seed)
            pair = {"dense": ways[best], "sparse": sparse_product(CSR.from_dense(W * mask), X)}
            times = cpu_times(pair, rounds=rounds)
            ratio = round(times["dense"] / times["sparse"], 4)
            yield dict(pattern=pattern, block=block, density=density, columns=n, dense=best, ratio=ratio)


def _peers(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return which dense product was the fastest, by the number of columns."""
    return {str(row["columns"]): row["dense"] for row in rows}

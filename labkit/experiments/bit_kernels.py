"""The ladder of bit kernels and the popcount bench: what each step and each way of counting is worth. Chapter 21."""

import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from labkit import checks
from labkit.cost import cpu_times, fastest, processor
from labkit.cost.break_even import dense_products
from labkit.experiments.registry import experiment
from labkit.kernels import backend, ladder, levels, limits, pack_bits, xnor_matmul
from labkit.kernels.dispatch import forced
from labkit.kernels.ladder import STEPS

SPLIT = "no data: random signs and integers; every product is compared with NumPy's"
SLOW = 10**10  # additions from which the first step would take minutes
N_MAX = 2**20
ROWS = 8  # vectors on either side of the bench
WAYS = ("naive", "numpy", "cffi", "blocked")
GRID: dict[str, tuple[int, ...]] = {"n": (64, 256, 1024, 4096), "word": (32, 64), "M": (1, 2, 4, 8), "K": (1, 2, 4, 8)}
Times = dict[str, float]


@experiment("bit-ladder", split=SPLIT, minutes=2, tiny={"sizes": (64,), "round_seconds": 0.0})
def bit_ladder(
    output: Path,
    *,
    seeds: tuple[int, ...] = (0,),
    sizes: tuple[int, ...] = (512, 1024, 4096),
    round_seconds: float = 0.1,
) -> dict[str, Any]:
    """The product of two n x n sign matrices, step by step from the definition to vectors and threads.

    Billions of operations per second count a multiplication and an addition for every pair of signs.
    """
    rows = [row for seed, n in itertools.product(seeds, sizes) for row in _ladder_rows(seed, n, round_seconds)]
    summary = {"processor": processor(), "backend": backend(), "threads": ladder.THREADS, "limits": level_limits()}
    return {"rows": rows, "summary": summary | {"OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set")}}


def level_limits() -> list[dict[str, Any]]:
    """Return what this machine can do at most at each compiled level: see `labkit.kernels.limits`."""
    found = []
    for level in levels()[1:]:
        with forced(level):
            limit = limits()
        rates = {"binary_gops": limit.binary_ops / 1e9, "fp32_gflops": limit.flops / 1e9, "ratio": limit.ratio}
        found.append({"level": level} | {name: round(value, 2) for name, value in rates.items()})
    return found


def _ladder_rows(seed: int, n: int, round_seconds: float) -> Iterator[dict[str, Any]]:
    A, B = np.random.default_rng(seed).choice([-1.0, 1.0], (2, n, n)).astype(np.float32)
    calls = ladder_calls(A, B)
    if n**3 > SLOW:
        del calls["signs"]
    threads = calls.pop("threads", None)
    times = cpu_times(calls | fp32_calls(A, B), round_seconds=round_seconds)
    if threads is not None:
        times["threads"] = times["vectors"] / thread_gain(calls["vectors"], threads)
    for name, seconds in times.items():
        yield {"seed": seed, "n": n, "step": name, "gops": round(2e-9 * n**3 / seconds, 2)}


def ladder_calls(A: np.ndarray, B: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Return the steps that this machine can compile, and the package's kernel, as calls on the signs of A and B.

    A (m, n), B (p, n). Every call is checked first: AssertionError if one differs from NumPy. Raises TypeError or
    ValueError for matrices that do not fit.
    """
    n = checks.matrix(A, "A").shape[1]
    if checks.matrix(B, "B").shape[1] != n:
        raise ValueError(f"B must have rows of {n} signs, as A has, got shape {np.shape(B)}")
    calls: dict[str, Callable[[], np.ndarray]] = {
        step.name: partial(step.compile(), step.operand(A), step.operand(B), n=n) for step in STEPS if step.available
    }
    calls["package"] = partial(xnor_matmul, pack_bits(A), pack_bits(B), n=n)
    expected = np.where(A < 0, -1.0, 1.0).astype(np.float32) @ np.where(B < 0, -1.0, 1.0).astype(np.float32).T
    for name, call in calls.items():
        assert np.array_equal(call(), expected), f"{name} differs from NumPy"
    return calls


def fp32_calls(A: np.ndarray, B: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the same product A B^T of float32 numbers by NumPy, torch and oneDNN, for comparison: the fastest counts.

    Raises TypeError or ValueError for matrices that do not fit.
    """
    A, B = (checks.matrix(x, name).astype(np.float32) for x, name in ((A, "A"), (B, "B")))
    if A.shape[1] != B.shape[1]:
        raise ValueError(f"B must have rows of {A.shape[1]} numbers, as A has, got shape {B.shape}")
    return {f"{name} fp32": call for name, call in dense_products(A, B.T).items()}


def thread_gain(alone: Callable[[], Any], together: Callable[[], Any]) -> float:
    """Return how much faster `together` is, by the clock on the wall: the fastest of 15 calls of either.

    CPU time of one thread says nothing of the others, and a median would count what else the machine does.
    """
    return fastest(alone, rounds=15) / fastest(together, rounds=15)


# ---- the popcount bench


@experiment("popcount-bench", split=SPLIT, minutes=1, tiny={"grid": {name: v[:1] for name, v in GRID.items()}})
def popcount_bench(
    output: Path,
    *,
    seeds: tuple[int, ...] = (0,),
    grid: dict[str, tuple[int, ...]] = GRID,
    round_seconds: float = 0.005,
) -> dict[str, Any]:
    """One dot product of n integers of M and K bits from their bit planes, counted in four ways; times in seconds."""
    rows = []
    for seed, *point in itertools.product(seeds, *grid.values()):
        setting = dict(zip(grid, point, strict=True))
        times, exact = bench(**setting, random_state=seed, round_seconds=round_seconds)
        rows.append({"seed": seed} | setting | {way: float(f"{s:.4g}") for way, s in times.items()} | {"exact": exact})
    return {"rows": rows, "summary": {"processor": processor(), "exact": all(row["exact"] for row in rows)}}


def bench(
    *, n: int, word: int, M: int, K: int, random_state: Any = None, rounds: int = 7, round_seconds: float = 0.001
) -> tuple[Times, bool]:
    """Measure one dot product of n integers of M and K bits in four ways; say whether all were exact.

    Parameters
    ----------
    n : integers in a vector, 1 to 1,048,576
    word : bits of a machine word, 32 or 64
    M, K : bits of the integers on either side, 1 to 16
    random_state, rounds, round_seconds : as everywhere, and as `cpu_times` has them

    Returns
    -------
    {way: seconds}: "naive", Python integers word by word; "numpy", all products at once; "cffi", compiled loops;
    "blocked", compiled loops with eight sums in registers. The last two are missing without a compiler. And a bool.

    Raises TypeError or ValueError for other numbers.
    """
    ways, expected = bench_calls(n=n, word=word, M=M, K=K, random_state=random_state)
    exact = all(np.array_equal(call(), expected[:1, :1] if way == "naive" else expected) for way, call in ways.items())
    times = cpu_times(ways, rounds=rounds, round_seconds=round_seconds)
    return {way: seconds / (1 if way == "naive" else ROWS**2) for way, seconds in times.items()}, exact


def bench_calls(
    *, n: int, word: int, M: int, K: int, random_state: Any = None
) -> tuple[dict[str, Callable[[], np.ndarray]], np.ndarray]:
    """Return the four ways as calls on random integers, and the products (8, 8) that they must give, naive the first.

    The arguments are those of `bench`, with its errors.
    """
    rng, n = checks.generator(random_state), checks.integer(n, "n", low=1, high=N_MAX)
    M, K = (checks.integer(bits, name, low=1, high=16) for name, bits in (("M", M), ("K", K)))
    X, Y = rng.integers(0, 2**M, (ROWS, n)), rng.integers(0, 2**K, (ROWS, n))
    a, b = ladder.planes(X, bits=M, word=word), ladder.planes(Y, bits=K, word=word)  # (bits, ROWS, words)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "naive": partial(_naive, a[:, 0].tolist(), b[:, 0].tolist()),
        "numpy": partial(_vectorised, a, b),
    }
    if STEPS[2].available:
        for way, file in (("cffi", "planes.c"), ("blocked", "planes_tile.c")):
            ways[way] = partial(ladder.bitserial(file, word), a, b)
    return ways, X @ Y.T


def _naive(a: list[list[int]], b: list[list[int]]) -> np.ndarray:
    total = 0
    for m, x in enumerate(a):
        for k, y in enumerate(b):
            total += sum((v & w).bit_count() for v, w in zip(x, y, strict=True)) << (m + k)
    return np.array([[total]])


def _vectorised(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = np.zeros((a.shape[1], b.shape[1]), np.int64)
    for m, x in enumerate(a):
        for k, y in enumerate(b):
            total += np.bitwise_count(x[:, None] & y).sum(axis=2, dtype=np.int64) << (m + k)
    return total

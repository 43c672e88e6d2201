"""What this processor can do at most: the limits that a kernel is compared with, measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from labkit.kernels import dispatch
from labkit.kernels.dispatch import ffi, lib

SECONDS = 0.004  # of one measurement
REPEATS = 5


@dataclass(frozen=True)
class Limits:
    """What one core does at most in a second; the times differ from run to run, so the text shows the level only."""

    level: str
    words: float  # 64-bit words through XOR, count and add
    flops: float  # float32 operations, two for each fused multiplication and addition

    @property
    def binary_ops(self) -> float:
        """Multiplications and additions of signs in a second: 128 for each word."""
        return 128 * self.words

    @property
    def ratio(self) -> float:
        """How many times faster the best binary product can be than the best product in float32."""
        return self.binary_ops / self.flops

    def __repr__(self) -> str:
        return f"Limits(level={self.level!r})"


def limits() -> Limits:
    r"""Measure how many words the level in use counts, and how many float32 operations the fastest level does.

    Nothing is read from memory: several values stay in registers and are worked on in turn, so that only the number of
    arithmetic units counts. The best of some short runs on one thread is taken, about 0.04 s in all.

    Returns
    -------
    Limits, with `words`, `flops`, `binary_ops` and `ratio`

    Raises
    ------
    RuntimeError where the twin in NumPy serves, which has no inner loop to measure.

    Formula: a word holds 64 signs, so a word a cycle is 128 operations a cycle, and the fraction of the limit that a
    product of m x n by n x p reaches in t seconds is :math:`2 m n p / (128\, t \cdot \text{words})`.
    Chapter: Bit kernels and hardware.

    >>> limits().ratio > 0 if backend_is_compiled() else True
    True
    """
    if not backend_is_compiled():
        raise RuntimeError(f"the limits are those of compiled kernels, and now {dispatch.TWIN!r} serves")
    words = _best(lib.labkit_limit_counts, dispatch.index(), "uint64_t *")
    with dispatch.forced(dispatch.levels()[-1]):
        flops = _best(lib.labkit_limit_fma, dispatch.index(), "float *")
    return Limits(dispatch.current(), words, flops)


def backend_is_compiled() -> bool:
    """Say whether compiled kernels serve now, and not the twin.

    >>> with dispatch.forced("numpy"):
    ...     backend_is_compiled()
    False
    """
    return dispatch.current() != dispatch.TWIN


def _best(run: Callable, level: int, ctype: str) -> float:
    """Return the highest number of operations in a second that `run(level, rounds, sum)` reaches."""
    rounds, seconds = 1000, 0.0
    while seconds < SECONDS:
        rounds *= 2
        _, seconds = _timed(run, level, rounds, ctype)
    return max(count / seconds for count, seconds in (_timed(run, level, rounds, ctype) for _ in range(REPEATS)))


def _timed(run: Callable, level: int, rounds: int, ctype: str) -> tuple[int, float]:
    start = time.thread_time()
    count = run(level, rounds, ffi.new(ctype))
    return count, max(time.thread_time() - start, 1e-9)

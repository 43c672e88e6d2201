"""Threads: Python threads around C calls, each of which releases the GIL while it runs.

So the C code knows nothing of threads, needs no OpenMP, and builds everywhere.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from labkit import checks

THREADS_MAX = 1024


def check_threads(threads: Any) -> int:
    """Return `threads` as an int of at least 1; TypeError or ValueError for others."""
    return checks.integer(threads, "threads", low=1, high=THREADS_MAX)


def split(call: Callable[[int, int], Any], count: int, threads: int, *, multiple: int = 1) -> list[Any]:
    """Call `call(first, last)` over parts of range(count), one part a thread, and return what the calls return.

    The parts are as equal as `multiple` allows: all but the last hold a multiple of so many items, as the tiles of a
    kernel want it. One part is called directly, without a thread; `count` 0 is one empty part. The first error
    of a part is raised.

    >>> split(lambda first, last: (first, last), 10, threads=2, multiple=4)
    [(0, 4), (4, 10)]
    """
    blocks = -(-count // multiple)
    parts = min(threads, blocks)
    if parts <= 1:
        return [call(0, count)]
    bounds = [min(count, multiple * (blocks * part // parts)) for part in range(parts)] + [count]
    pairs = list(itertools.pairwise(bounds))
    with ThreadPoolExecutor(parts - 1) as pool:  # this thread takes the first part itself
        others = [pool.submit(call, first, last) for first, last in pairs[1:]]
        return [call(*pairs[0]), *(future.result() for future in others)]

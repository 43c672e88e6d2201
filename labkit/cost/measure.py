"""Measured times: latency with its spread, frames per second, and a ratio of two times."""

import contextlib
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from labkit import checks


@dataclass(frozen=True, repr=False)
class Latency:
    """Seconds of one call, by the clock on the wall: the quartiles over `rounds` calls on `threads` threads.

    `str` shows the figures; the repr leaves them out, since they are never twice the same.
    """

    median: float
    q1: float
    q3: float
    rounds: int
    threads: int

    @property
    def iqr(self) -> float:
        """The interquartile range in seconds."""
        return self.q3 - self.q1

    @property
    def fps(self) -> float:
        """Calls per second at the median."""
        return fps(self.median)

    def __repr__(self) -> str:
        return f"Latency(rounds={self.rounds}, threads={self.threads})"

    def __str__(self) -> str:
        spread = f"quartiles {1e3 * self.q1:.3f} to {1e3 * self.q3:.3f} ms"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{1e3 * self.median:.3f} ms ({spread}, {self.rounds} rounds, {threads})"


def latency(
    functions: Callable[[], Any] | Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 15,
    warm_up: int = 3,
    threads: int = 1,
) -> Any:
    """Measure how long a call takes: the median and the quartiles of many calls, after a warm-up.

    Parameters
    ----------
    functions : a function of no argument, or a dict of several, which are then called in turn, so that a disturbance
        meets all of them
    rounds : calls of each that count, at least 7
    warm_up : calls of each before, at least 1: the first ones load code and fill caches
    threads : threads that torch may use meanwhile

    Returns
    -------
    Latency, or {name: Latency}. Nothing is said about other machines, and little about other days.

    Raises
    ------
    TypeError, ValueError : not callable, no function, or a number out of its range.

    Chapter 4; lecture 003:2642-2680.

    >>> x = torch.ones(4, 4)
    >>> latency({"product": lambda: x @ x, "sum": lambda: x + x})
    {'product': Latency(rounds=15, threads=1), 'sum': Latency(rounds=15, threads=1)}
    """
    named = dict(functions) if isinstance(functions, Mapping) else {"functions": functions}
    if not named:
        raise ValueError("functions must hold at least one function, got none")
    for name, function in named.items():
        _check_callable(function, name)
    checks.integer(rounds, "rounds", low=7)
    checks.integer(warm_up, "warm_up", low=1)
    with _threads(threads):
        seconds = [{name: _wall(function) for name, function in named.items()} for _ in range(warm_up + rounds)]
    results = {name: _summary([turn[name] for turn in seconds[warm_up:]], threads) for name in named}
    return results if isinstance(functions, Mapping) else results["functions"]


def fps(seconds: float) -> float:
    """Return frames per second, 1 / latency; the time must be above 0.

    Raises TypeError or ValueError for other numbers. Chapter 1; lecture 002:74-84.

    >>> fps(1 / 30)
    30.0
    """
    return 1 / checks.positive(seconds, "seconds")


def fastest(function: Callable[[], Any], *, rounds: int = 7) -> float:
    """Return the seconds of the fastest of `rounds` calls on one thread, after one to warm up.

    Raises TypeError or ValueError for other arguments.

    >>> fastest(lambda: sum(range(100))) > 0
    True
    """
    _check_callable(function, "function")
    checks.integer(rounds, "rounds", low=1)
    with _threads(1):
        function()
        return min(_wall(function) for _ in range(rounds))


def time_ratio(
    before: Callable[[], Any], after: Callable[[], Any], *, rounds: int = 7, round_seconds: float = 0.01
) -> float:
    """Return how many times faster `after` is than `before`: above 1 it is faster, below 1 it is slower.

    Both are called in turn, without gradients, and each round gives one ratio; the result is the median. Measured
    is the CPU time of one thread (torch is set to one thread meanwhile), so other work on the machine disturbs
    little. Nothing is said about two threads, and a ratio from another machine may differ.

    Parameters
    ----------
    before, after : functions of no argument, such as `lambda: model(x)`
    rounds : at least 7; before them each is called twice or more to warm up
    round_seconds : CPU seconds that each function is repeated for in a round, about

    Raises
    ------
    TypeError, ValueError : not callable, or a number out of its range.

    Chapter 5.

    >>> x = torch.ones(400, 400)
    >>> time_ratio(lambda: x @ x @ x @ x @ x, lambda: x @ x) > 1
    True
    """
    for name, function in (("before", before), ("after", after)):
        _check_callable(function, name)
    checks.integer(rounds, "rounds", low=7)
    checks.number(round_seconds, "round_seconds", low=0)
    with _threads(1):
        return _median_ratio(before, after, rounds, round_seconds)


def cpu_times(
    functions: Mapping[str, Callable[[], Any]], *, rounds: int = 7, round_seconds: float = 0.01
) -> dict[str, float]:
    """Return the seconds of one call of each function: CPU time of one thread, median of interleaved rounds.

    Parameters
    ----------
    functions : {name: function of no argument}; in every round each is called in turn, so that a disturbance meets all
    rounds : at least 7; before them each is called twice or more to warm up
    round_seconds : CPU seconds that each function is repeated for in a round, about

    Raises
    ------
    TypeError, ValueError : not callable, no function, or a number out of its range.

    Only ratios of the results carry over to another day. Chapter 21.

    >>> times = cpu_times({"short": lambda: sum(range(100)), "long": lambda: sum(range(10_000))})
    >>> times["long"] > times["short"]
    True
    """
    if not checks.instance(functions, "functions", Mapping):
        raise ValueError("functions must hold at least one function, got none")
    for name, function in functions.items():
        _check_callable(function, name)
    checks.integer(rounds, "rounds", low=7)
    checks.number(round_seconds, "round_seconds", low=0)
    with _threads(1):
        warm = {name: _warm_seconds(f, round_seconds) for name, f in functions.items()}
        repeats = {name: max(1, round(round_seconds / seconds)) for name, seconds in warm.items()}
        turns = [{name: _seconds(f, repeats[name]) for name, f in functions.items()} for _ in range(rounds)]
    return {name: statistics.median(turn[name] for turn in turns) for name in functions}


def processor() -> str:
    """Return the processor's name, as far as the system tells it.

    >>> isinstance(processor(), str)
    True
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _median_ratio(before: Callable, after: Callable, rounds: int, seconds: float) -> float:
    repeats = [max(1, round(seconds / max(_seconds(f, 2), 1e-9))) for f in (before, after)]  # the warm-up round
    ratios = [_seconds(before, repeats[0]) / _seconds(after, repeats[1]) for _ in range(rounds)]
    return statistics.median(ratios)


def _seconds(function: Callable, repeats: int) -> float:
    """Return the thread's CPU time in seconds for one call, the mean of `repeats`."""
    start = time.thread_time()
    for _ in range(repeats):
        function()
    return max(time.thread_time() - start, 1e-9) / repeats


def _warm_seconds(function: Callable, enough: float) -> float:
    """Return the seconds of a call when the function is warm: after a first one, and others for so many seconds."""
    _seconds(function, 1)  # it may compile, or fill a cache
    spent = seconds = _seconds(function, 1)
    while spent < enough:
        seconds = _seconds(function, 1)
        spent += seconds
    return seconds


def _wall(function: Callable) -> float:
    start = time.perf_counter()
    function()
    return max(time.perf_counter() - start, 1e-9)


def _summary(seconds: list[float], threads: int) -> Latency:
    q1, median, q3 = statistics.quantiles(seconds, n=4, method="inclusive")
    return Latency(median, q1, q3, len(seconds), threads)


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    """Run without gradients on n threads, of torch and of the BLAS that NumPy has, and put the numbers back."""
    checks.integer(n, "threads", low=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with torch.no_grad(), threadpool_limits(n, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


def _check_callable(function: Any, name: str) -> None:
    if not callable(function):
        raise TypeError(f"{name} must be callable with no argument, got {type(function).__name__}")

"""Measured costs: bytes on disk and a ratio of times."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from labkit import checks


def file_bytes(model: nn.Module) -> int:
    """Return the size in bytes of the safetensors file that holds the model's whole state, its header included.

    Parameters
    ----------
    model : its parameters and buffers are counted in the types that they have; a shared tensor counts each time

    Raises TypeError if `model` is not a module. Chapter 5.

    >>> file_bytes(nn.Linear(784, 300)) - 4 * (300 * 784 + 300)  # the header
    144
    """
    checks.instance(model, "model", nn.Module)
    return len(
        save(
            {
                key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for key, value in model.state_dict().items()
            }
        )
    )


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
    rounds : at least 7; one more is run first to warm up
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
        if not callable(function):
            raise TypeError(f"{name} must be callable with no argument, got {type(function).__name__}")
    checks.integer(rounds, "rounds", low=7)
    checks.number(round_seconds, "round_seconds", low=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return _median_ratio(before, after, rounds, round_seconds)
    finally:
        torch.set_num_threads(threads)


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

"""Which compiled level serves: the fastest that the processor offers, unless LABKIT_KERNELS names another."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np

try:
    from labkit.kernels._native import ffi, lib

    MISSING = ""
except ImportError as error:
    ffi = lib = None
    MISSING = str(error)  # why there are no compiled kernels

_from_buffer = ffi and ffi.from_buffer
TWIN = "numpy"
ENV = "LABKIT_KERNELS"
_forced: ContextVar[str | None] = ContextVar("labkit_kernels_level", default=None)


def levels() -> list[str]:
    """Return the levels that serve on this machine, slowest first.

    The first is "numpy", the twin that needs no compiler; the others are compiled. Chapter: Bit kernels and hardware.

    >>> levels()[0]
    'numpy'
    """
    return [TWIN, *(name for index, name in enumerate(_compiled()) if lib.labkit_level_supported(index))]


def backend() -> str:
    """Return what serves now: "numpy", or "cffi:" and the level, for instance "cffi:avx512-vpopcntdq".

    Raises ValueError where the environment variable LABKIT_KERNELS names a level that this machine does not offer.
    It is read once, at the first call of a kernel. Chapter: Bit kernels and hardware.

    >>> backend().removeprefix("cffi:") in levels()
    True
    """
    return TWIN if current() == TWIN else f"cffi:{current()}"


def current() -> str:
    """Return the level in use: the one of `forced`, else of LABKIT_KERNELS, else the fastest."""
    return _forced.get() or _default()


@contextmanager
def forced(level: str) -> Iterator[None]:
    """Use `level` inside a with block, in this thread alone; for tests and benchmarks.

    >>> with forced("numpy"):
    ...     print(backend())
    numpy
    """
    token = _forced.set(_offered(level, "level"))
    try:
        yield
    finally:
        _forced.reset(token)


def index() -> int:
    """Return the place of the level in use in the table of the C code."""
    return _index(lib, current())


def pointer(array: np.ndarray, ctype: str) -> Any:
    """Return C's view of an array's memory; it stays valid while the result is held.

    cffi checks that `array` is contiguous, not its dtype: the caller vouches that it is the one `ctype` names.
    """
    return _from_buffer(ctype, array)


@cache
def _default() -> str:
    if level := os.environ.get(ENV):
        return _offered(level, f"the environment variable {ENV}")
    if lib is None:
        _tell_fallback()
    return levels()[-1]


def _compiled() -> tuple[str, ...]:
    return _names(lib) if lib is not None else ()


@cache
def _index(library: Any, level: str) -> int:
    return _names(library).index(level)


@cache
def _names(library: Any) -> tuple[str, ...]:
    """Return the levels in a compiled library; asked at every call of a kernel, so kept."""
    return tuple(ffi.string(library.labkit_level_name(index)).decode() for index in range(library.labkit_level_count()))


def _offered(level: str, name: str) -> str:
    if isinstance(level, str) and level in levels():
        return level
    known = isinstance(level, str) and level in _compiled()
    reason = "which this processor does not support" if known else "which is not a level of this build"
    missing = f" (no compiled kernels: {MISSING})" if MISSING else ""
    raise ValueError(f"{name} is {level!r}, {reason}; allowed: {', '.join(map(repr, levels()))}{missing}")


def _tell_fallback() -> None:
    """Say once that the twin serves: a warning, since warnings reach notebooks, logs and tests alike."""
    warnings.warn(
        f"labkit: the compiled kernels are missing ({MISSING}); NumPy serves, with the same results but much slower. "
        f"Install a C compiler and run `pip install -e .` again, or set {ENV}={TWIN} to silence this note.",
        RuntimeWarning,
        stacklevel=2,
    )

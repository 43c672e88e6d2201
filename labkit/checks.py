"""Argument checks shared by every public function.

Each check returns the cleaned value, or raises a TypeError or ValueError that names the argument,
the value it got and what is allowed.
"""

from __future__ import annotations

import contextlib
import difflib
import numbers
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch  # loaded only where tensors are at hand: it takes longer to start than the grading of a small lab


def array(value: Any, name: str, *, ndim: int | None = None, dtype: type = np.float64) -> np.ndarray:
    """Return `value` as a non-empty, finite, real array of `ndim` dimensions; float32 stays float32."""
    torch = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(value, torch.Tensor)
    result = np.asarray(value.detach().cpu() if is_tensor else value)
    if result.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {result.dtype}")
    if ndim is not None and result.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {result.shape}")
    if result.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {result.shape}")
    result = result if result.dtype == np.float32 else result.astype(dtype)
    if not np.isfinite(result).all():
        raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(result))} NaN or infinite entries")
    return result


def matrix(value: Any, name: str = "matrix") -> np.ndarray:
    """Return `value` as a non-empty, finite, two-dimensional float array."""
    return array(value, name, ndim=2)


def integer(value: Any, name: str, *, low: int, high: int | None = None) -> int:
    """Return `value` as an int in [low, high]; a float or bool is refused, nothing is rounded or clipped."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    result = int(value)
    if result < low or (high is not None and result > high):
        raise ValueError(f"{name} must be {_interval(low, high)}, got {value}")
    return result


def rank(value: Any, name: str = "rank", *, high: int) -> int:
    """Return `value` as a rank: an int between 1 and `high`."""
    return integer(value, name, low=1, high=high)


def number(value: Any, name: str, *, low: float, high: float = float("inf")) -> float:
    """Return `value` as a finite float in [low, high]."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    result = float(value)
    if not (low <= result <= high and np.isfinite(result)):
        raise ValueError(f"{name} must be {_interval(low, high)}, got {value}")
    return result


def positive(value: Any, name: str) -> float:
    """Return `value` as a finite float above 0."""
    result = number(value, name, low=0)
    if result == 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return result


def choice(value: Any, name: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`; the error lists near matches first."""
    options = list(allowed)
    if value in options:
        return str(value)
    near = difflib.get_close_matches(str(value), options, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"allowed: {', '.join(map(repr, options[:20]))}"
    raise ValueError(f"{name} must be one of {len(options)} names, got {value!r}; {hint}")


def instance(value: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """Return `value` if it is an instance of `kind`."""
    if isinstance(value, kind):
        return value
    kinds = kind if isinstance(kind, tuple) else (kind,)
    raise TypeError(f"{name} must be {' or '.join(k.__name__ for k in kinds)}, got {type(value).__name__}")


def generator(random_state: Any = None) -> np.random.Generator:
    """Return a NumPy generator for an int seed, a Generator or None; global seeds are never touched."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if random_state is not None:
        integer(random_state, "random_state", low=0)
    return np.random.default_rng(random_state)


@contextlib.contextmanager
def seeded(random_state: Any = None) -> Iterator[torch.Generator]:
    """Seed torch inside a `with` block, also for code that only knows the global seed, and restore it afterwards."""
    import torch

    seed = int(generator(random_state).integers(2**63))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put every module of a model into evaluation mode, without gradients, and give each its own mode back."""
    import torch

    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _interval(low: float, high: float | None) -> str:
    return f"at least {low}" if high is None or high == float("inf") else f"between {low} and {high}"

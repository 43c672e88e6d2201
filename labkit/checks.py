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


def plain(value: Any, name: str) -> np.ndarray:
    """Return `value` as an array of whatever NumPy finds in it; a tensor leaves its gradient and its device behind."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.layout != torch.strided:
            raise TypeError(f"{name} must be dense, got a tensor of layout {value.layout}")
        if value.is_meta:
            raise TypeError(f"{name} must hold numbers, got a tensor on the device meta, which has none")
        value = value.detach().cpu()
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:  # rows of different lengths, a dtype that NumPy does not have
        raise type(error)(f"{name} must be an array, got {_short(value)}: {error}") from error


def array(value: Any, name: str, *, ndim: int | None = None, dtype: type = np.float64) -> np.ndarray:
    """Return `value` as a non-empty, finite, real array of `ndim` dimensions; float32 stays float32."""
    result = plain(value, name)
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
    if type(value) is int and low <= value and (high is None or value <= high):
        return value  # nearly always, and ten times as fast: a kernel of some microseconds checks several
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {_short(value)} of type {type(value).__name__}")
    result = int(value)
    if result < low or (high is not None and result > high):
        raise ValueError(f"{name} must be {_interval(low, high)}, got {value}")
    return result


def size(value: Any, name: str) -> int:
    """Return `value` as the size of a layer or an array: an int between 1 and 2^31 - 1."""
    return integer(value, name, low=1, high=2**31 - 1)


def shape(value: Any, name: str = "shape") -> tuple[int, ...]:
    """Return `value` as the shape of an array that is not empty: a tuple of ints of at least 1."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} must be a tuple of integers, got {_short(value)} of type {type(value).__name__}")
    return tuple(size(side, name) for side in value)


def rank(value: Any, name: str = "rank", *, high: int) -> int:
    """Return `value` as a rank: an int between 1 and `high`."""
    return integer(value, name, low=1, high=high)


def number(value: Any, name: str, *, low: float, high: float = float("inf")) -> float:
    """Return `value` as a finite float in [low, high]."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {_short(value)} of type {type(value).__name__}")
    real: Any = value  # for the type checker, numbers.Real has no order
    if not (low <= real <= high and abs(real) <= sys.float_info.max):  # so NaN and what float() cannot hold fail
        raise ValueError(f"{name} must be {_interval(low, high)}, got {value}")
    return float(real)


def positive(value: Any, name: str) -> float:
    """Return `value` as a finite float above 0."""
    result = number(value, name, low=0)
    if result == 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return result


def flag(value: Any, name: str) -> bool:
    """Return `value` if it is True or False; nothing else is taken for one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {_short(value)} of type {type(value).__name__}")
    return bool(value)


def choice(value: Any, name: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`; the error lists near matches first."""
    options = list(allowed)
    if isinstance(value, str) and value in options:
        return str(value)
    near = difflib.get_close_matches(str(value), options, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"allowed: {', '.join(map(repr, options[:20]))}"
    raise ValueError(f"{name} must be one of {len(options)} names, got {_short(value)}; {hint}")


def names(value: Any, name: str) -> list[str]:
    """Return `value` as a list of names; a lone string is refused, and so is an empty list."""
    made = None
    with contextlib.suppress(TypeError):  # also an array of no dimensions, which only looks iterable
        made = None if isinstance(value, str) else list(value)
    if made is None or not all(isinstance(one, str) for one in made):
        raise TypeError(f"{name} must be a list of names, got {_short(value)} of type {type(value).__name__}")
    if not made:
        raise ValueError(f"{name} must hold at least one name, got none")
    return made


def instance(value: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """Return `value` if it is an instance of `kind`."""
    if isinstance(value, kind):
        return value
    kinds = kind if isinstance(kind, tuple) else (kind,)
    raise TypeError(f"{name} must be {' or '.join(k.__name__ for k in kinds)}, got {type(value).__name__}")


def floating(value: Any, name: str) -> torch.Tensor:
    """Return `value` if it is a tensor of floating-point numbers."""
    import torch

    if not instance(value, name, torch.Tensor).is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got dtype {value.dtype}")
    return value


def function(value: Any, name: str) -> Any:
    """Return `value` if it can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {_short(value)} of type {type(value).__name__}")
    return value


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


def _short(value: Any) -> str:
    """Return what an error shows of a value: one line of it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _interval(low: float, high: float | None) -> str:
    return f"at least {low}" if high is None or high == float("inf") else f"between {low} and {high}"

"""Patterns of numbers and zeros, and what their places cost at different granularity. Chapter 11; lecture 003:487."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from labkit import checks
from labkit.sparse.formats import matrix_shape
from labkit.sparse.relative import MOST_BITS

SIDE_MAX = 1024
PATTERNS = ("random", "banded", "block")
GRANULARITY: Mapping[str, tuple[int, ...]] = {"fine": (), "vector": (3,), "kernel": (2, 3), "filter": (1, 2, 3)}


def sparse_mask(
    shape: tuple[int, int],
    *,
    density: float,
    pattern: str = "random",
    block: int = 4,
    random_state: Any = None,
) -> np.ndarray:
    """Return a mask (m, n) of bools in which a fraction `density` is True, as nearly as the pattern allows.

    Parameters
    ----------
    density : float, 0 to 1
    pattern : "random" places; "banded", whole diagonals around the main one; "block", random blocks
    block : int, 1 to 1024, the side of a block; blocks may reach over the edge

    Raises TypeError or ValueError for another argument. Chapter 11.

    >>> sparse_mask((4, 4), density=0.4, pattern="banded").astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1],
           [0, 0, 0, 1]])
    """
    m, n = matrix_shape(shape)
    checks.number(density, "density", low=0, high=1)
    checks.choice(pattern, "pattern", PATTERNS)
    side = checks.integer(block, "block", low=1, high=SIDE_MAX)
    side = side if pattern == "block" else 1
    if pattern == "banded":
        return _band(m, n, density)
    small = -(-m // side), -(-n // side)
    chosen = _some(small, density, checks.generator(random_state))
    return np.kron(chosen, np.ones((side, side), bool))[:m, :n]


def _some(shape: tuple[int, int], density: float, rng: np.random.Generator) -> np.ndarray:
    """Return a mask with exactly the nearest number of True."""
    mask = np.zeros(shape[0] * shape[1], bool)
    mask[rng.permutation(mask.size)[: round(density * mask.size)]] = True
    return mask.reshape(shape)


def _band(m: int, n: int, density: float) -> np.ndarray:
    """Return the diagonals 0, 1, -1, 2, ... until they hold the wanted number, or are nearest to it."""
    offset = np.arange(n) - np.arange(m)[:, None]
    rank = np.where(offset > 0, 2 * offset - 1, -2 * offset)  # 0, 1, -1, 2, ... -> 0, 1, 2, 3, ...
    counts = np.bincount(rank.ravel()).cumsum()
    kept = int(np.argmin(abs(np.append(0, counts) - density * m * n)))
    return rank < kept


def index_bits(mask: Any, *, granularity: str = "fine", bits: int | None = None) -> int:
    """Return the bits that say which weights of a convolution are kept, if whole units of it are kept or removed.

    Parameters
    ----------
    mask : bool array (out, in, h, w), True where a weight is kept
    granularity : the unit that one index stands for: "fine" (a weight), "vector" (w weights, a row of a window),
        "kernel" (h w weights) or "filter" (in h w weights)
    bits : bits of a relative index, 1 to 16; a gap that does not fit takes padding, as in `RelativeIndex`.
        None: an absolute index, as many bits as the number of units needs

    Raises
    ------
    TypeError unless the mask holds bools; ValueError for another shape, or a mask that keeps a unit in part.

    Formula: kept units times bits of an index. H. Mao et al., Exploring the regularity of sparse structure in
    convolutional neural networks, 2017; lecture 003:487. Chapter 11.

    >>> mask = np.zeros((2, 4, 3, 3), bool)
    >>> mask[0] = True
    >>> [index_bits(mask, granularity=unit) for unit in ("fine", "vector", "kernel", "filter")]
    [252, 60, 12, 1]
    """
    kept = _units(mask, checks.choice(granularity, "granularity", GRANULARITY)).ravel()
    if bits is None:
        return int(kept.sum()) * max(1, int(kept.size - 1).bit_length())
    checks.integer(bits, "bits", low=1, high=MOST_BITS)
    gaps = np.diff(np.flatnonzero(kept), prepend=-1) - 1
    return int(kept.sum() + (gaps >> bits).sum()) * bits


def _units(mask: Any, granularity: str) -> np.ndarray:
    """Return which units are kept, or raise if one is kept in part."""
    array = checks.plain(mask, "mask")
    if array.dtype != bool:
        raise TypeError(f"mask must hold bools, got dtype {array.dtype}")
    if array.ndim != 4 or array.size == 0:
        raise ValueError(f"mask must have shape (out, in, h, w), not empty, got {array.shape}")
    axes = GRANULARITY[granularity]
    kept, whole = np.asarray(array.any(axis=axes)), array.all(axis=axes)
    if (kept != whole).any():
        raise ValueError(f"mask must keep or remove whole units at granularity {granularity!r}, got some in part")
    return kept

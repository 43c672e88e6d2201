"""Convolutions with 3 x 3 kernels by Winograd's algorithm, F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3), in float32."""

from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, winograd_twin
from labkit.kernels.dispatch import ffi, lib, pointer
from labkit.kernels.threads import check_threads, split

PANEL = 16  # filters side by side, and the multiple that channels are padded to
TILES = 54  # of a block, as in csrc/winograd.c
SIZES = 2, 4
PADDING_MAX = 4096  # more would be a slip, and could ask for more memory than there is


def winograd_kernel(w: Any, *, m: int) -> np.ndarray:
    """Return 3 x 3 kernels transformed, in the order in which `winograd_conv2d` reads them.

    Parameters
    ----------
    w : real array or tensor (K, C, 3, 3)
    m : 2 or 4

    Returns
    -------
    float32 array ((m + 2)^2, K' / 16, C', 16) with K' and C' the next multiples of 16: [place][panel][channel][filter]

    Raises
    ------
    TypeError, ValueError : not real and finite, other kernels than 3 x 3, another m.

    Formula: U = G w G^T. Source: A. Lavin, S. Gray, CVPR 2016. Chapter 23; lecture 003:1873-1915.

    >>> winograd_kernel(np.ones((8, 3, 3, 3)), m=4).shape
    (36, 1, 16, 16)
    """
    m, w = _tile(m), _array(w, "w")
    if w.shape[2:] != (3, 3):
        raise ValueError(f"w must hold kernels of 3 x 3, got shape {w.shape}")
    k, c = _padded(w.shape[0]), _padded(w.shape[1])
    both = np.kron(winograd_twin.G[m], winograd_twin.G[m]).astype(np.float32)  # (t^2, 9)
    U = np.zeros((len(both), k, c), np.float32)
    U[:, : w.shape[0], : w.shape[1]] = (both @ w.reshape(-1, 9).T).reshape(-1, *w.shape[:2])
    return np.ascontiguousarray(U.reshape(len(both), k // PANEL, PANEL, c).swapaxes(2, 3))


def winograd_conv2d(
    x: Any, w: Any, *, m: int = 4, padding: int = 0, transformed: np.ndarray | None = None, threads: int = 1
) -> np.ndarray:
    """Return a layer's convolution (3 x 3, stride 1) by F(m x m, 3 x 3).

    Parameters
    ----------
    x : real array or tensor (N, C, H, W); one whose channels lie last in memory is read fastest
    w : real array or tensor (K, C, 3, 3)
    m : 2 or 4, height and width of a tile of outputs
    padding : zeros on every side
    transformed : `winograd_kernel(w, m=m)` made before, for a kernel that meets many pictures
    threads : how many threads share the tiles

    Returns
    -------
    float32 array (N, K, H + 2 padding - 2, W + 2 padding - 2), its channels last in memory

    Raises
    ------
    TypeError, ValueError : not real and finite, shapes that do not fit, another m.

    Levels and the twin differ in the last bits, since some fuse a product and a sum. All stay within 10 (m = 2) or 200
    (m = 4) times 2^-24 of the largest output that there could be, max |x| max_k sum |w_k|.
    Source: A. Lavin, S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016. Chapter 23; lecture
    003:1873-1915.

    >>> winograd_conv2d(np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3)), m=2)[0, 0, 0].round(5).tolist()
    [9.0, 9.0, 9.0]
    """
    m, x, w = _tile(m), _array(x, "x"), _array(w, "w")
    padding, threads = checks.integer(padding, "padding", low=0, high=PADDING_MAX), check_threads(threads)
    if w.shape[1:] != (x.shape[1], 3, 3):
        raise ValueError(f"w must have shape (K, {x.shape[1]}, 3, 3), got {w.shape}")
    height, width = (n + 2 * padding - 2 for n in x.shape[2:])
    if min(height, width) < 1:
        raise ValueError(f"x must be at least 3 x 3 with its padding, got shape {x.shape} and padding {padding}")
    U = winograd_kernel(w, m=m) if transformed is None else _checked(transformed, w.shape, m)
    tiles = -(-height // m), -(-width // m)
    framed = _framed(x, m, padding, tiles)
    y = np.empty((len(x), tiles[0] * m, tiles[1] * m, U.shape[1] * PANEL), np.float32)
    _run(framed, U, y, m, threads)
    return y[:, :height, :width, : len(w)].transpose(0, 3, 1, 2)


def _run(x: np.ndarray, U: np.ndarray, y: np.ndarray, m: int, threads: int) -> None:
    if dispatch.current() == dispatch.TWIN:
        winograd_twin.winograd(x, U, y, m)
        return
    down, across = y.shape[1] // m, y.shape[2] // m
    views = [pointer(array, "float[]") for array in (x, U, y)]
    job = ffi.new("struct labkit_winograd *", [*views, down, across, x.shape[3], y.shape[3], m])
    level, count = dispatch.index(), len(x) * down * across
    failed = split(lambda first, last: lib.labkit_winograd(level, job, first, last), count, threads, multiple=TILES)
    if any(failed):
        raise MemoryError(f"no memory for a block of {TILES} tiles with {x.shape[3]} channels")


def _framed(x: np.ndarray, m: int, padding: int, tiles: tuple[int, int]) -> np.ndarray:
    """Return x with channels last, among zeros: whole tiles, whole panels of channels."""
    n, c, height, width = x.shape
    framed = np.zeros((n, tiles[0] * m + 2, tiles[1] * m + 2, _padded(c)), np.float32)
    framed[:, padding : padding + height, padding : padding + width, :c] = x.transpose(0, 2, 3, 1)
    return framed


def _padded(n: int) -> int:
    return -(-n // PANEL) * PANEL


def _tile(m: Any) -> int:
    if checks.integer(m, "m", low=1) not in SIZES:
        raise ValueError(f"m must be 2 or 4, got {m}")
    return int(m)


def _array(x: Any, name: str) -> np.ndarray:
    return checks.array(x, name, ndim=4, dtype=np.float32).astype(np.float32, copy=False)


def _checked(transformed: Any, shape: tuple[int, ...], m: int) -> np.ndarray:
    wanted = ((m + 2) ** 2, _padded(shape[0]) // PANEL, _padded(shape[1]), PANEL)
    if not isinstance(transformed, np.ndarray) or transformed.shape != wanted or transformed.dtype != np.float32:
        got = type(transformed).__name__
        got = f"{transformed.shape} of {transformed.dtype}" if isinstance(transformed, np.ndarray) else got
        raise ValueError(f"transformed must have shape {wanted} of float32, got {got}")
    return np.ascontiguousarray(transformed)

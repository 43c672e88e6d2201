"""The call of the C driver that all products of bits share: signs, bit planes and convolutions."""

from typing import Any, NamedTuple

import numpy as np

from labkit.kernels import dispatch
from labkit.kernels.dispatch import ffi, lib, pointer
from labkit.kernels.threads import split

TILE = 64  # no level has more columns or rows in a tile


class Product(NamedTuple):
    """start + the sum over planes x, y of weights[x, y] popcount(a[x, i] ^ b[y] at column j); & for ^ with use_and.

    Word k of column j of plane y is b[y].flat[offset[j] + step[k]]. All is trusted: the caller has checked that every
    word lies inside, and that all arrays are contiguous.
    """

    a: np.ndarray  # uint64 (planes of a, m, words)
    b: np.ndarray  # uint64 (planes of b, any size)
    offset: np.ndarray  # int64 (p,)
    step: np.ndarray  # int64 (words,)
    weights: np.ndarray  # int32 (planes of a, planes of b)
    start: int = 0
    use_and: bool = False

    def into(self, result: np.ndarray, *, threads: int = 1, level: int | None = None) -> None:
        """Write the product into `result`, int32 (m, p). Threads share the columns, or the rows if there are more.

        `level` is `dispatch.index()` of the thread that asked, which other threads do not know.
        """
        level = dispatch.index() if level is None else level
        m, p = result.shape
        views = self._views(result)

        def part(i: int, rows: int, j: int, columns: int) -> None:
            at = [views[0] + i * self.a.shape[2], views[1], views[2] + j, *views[3:5], views[5] + i * p + j]
            lib.labkit_product(level, ffi.new("struct labkit_product *", [*at, rows, columns, *self._sizes(p)]))

        if p >= m:
            split(lambda first, last: part(0, m, first, last - first), p, threads, multiple=TILE)
        else:
            split(lambda first, last: part(first, last - first, 0, p), m, threads, multiple=TILE)

    def _views(self, result: np.ndarray) -> list[Any]:
        words = [pointer(array, "uint64_t[]") for array in (self.a, self.b)]
        places = [pointer(array, "int64_t[]") for array in (self.offset, self.step)]
        return words + places + [pointer(array, "int32_t[]") for array in (self.weights, result)]

    def _sizes(self, stride: int) -> list[int]:
        """Return what follows m and p in struct labkit_product."""
        planes, m, words = self.a.shape
        return [words, stride, planes, m * words, len(self.b), self.b[0].size, self.start, self.use_and]

"""The call of the C driver that all products of bits share: signs, bit planes and convolutions."""

from typing import Any

import numpy as np

from labkit.kernels import dispatch
from labkit.kernels.dispatch import ffi, lib, pointer
from labkit.kernels.threads import split

TILE = 64  # no level has more columns or rows in a tile
JOB = "struct labkit_product *"
SIGNS = np.full((1, 1), -2, np.int32)  # the weight of signs: each pair that differs takes 2 from a product


class Product:
    """start + the sum over planes x, y of weights[x, y] popcount(a[x, i] ^ b[y] at column j); & for ^ with use_and.

    Word k of column j of plane y is b[y].flat[offset[j] + step[k]]. All that does not change from matrix to matrix is
    told once, here. All is trusted: the caller has checked that every word lies inside, and that all arrays are
    contiguous.

    offset : int64 (p,); step : int64 (words,); weights : int32 (planes of a, planes of b)
    rows : of a plane of a; size : words of a plane of b
    """

    def __init__(
        self,
        offset: np.ndarray,
        step: np.ndarray,
        weights: np.ndarray,
        *,
        rows: int,
        size: int,
        start: int = 0,
        use_and: bool = False,
    ) -> None:
        self._arrays = offset, step, weights  # C only points to them, so that they must live as long as this
        self.job = ffi.new(JOB, {"m": rows, "p": len(offset), "words": len(step), "stride": len(offset)})
        self.job.offset, self.job.step = (pointer(places, "int64_t[]") for places in (offset, step))
        self.job.weights = pointer(weights, "int32_t[]")
        self.job.a_planes, self.job.b_planes = weights.shape
        self.job.a_plane, self.job.b_plane = rows * len(step), size
        self.job.start, self.job.use_and = start, use_and

    def into(
        self, a: np.ndarray, b: np.ndarray, result: np.ndarray, *, threads: int = 1, level: int | None = None
    ) -> None:
        """Write the product of a, uint64 (planes, rows, words), and b, uint64 (planes, size), into int32 (rows, p).

        Threads share the columns, or the rows if there are more. `level` is `dispatch.index()` of the thread that
        asked, which other threads do not know.
        """
        level = dispatch.index() if level is None else level
        views = pointer(a, "uint64_t[]"), pointer(b, "uint64_t[]"), pointer(result, "int32_t[]")
        job = ffi.new(JOB, self.job[0])
        job.a, job.b, job.result = views
        if threads == 1:
            lib.labkit_product(level, job)
        elif job.p >= job.m:
            split(lambda first, last: _columns(level, job, first, last), job.p, threads, multiple=TILE)
        else:
            split(lambda first, last: _rows(level, job, first, last), job.m, threads, multiple=TILE)


def _columns(level: int, job: Any, first: int, last: int) -> None:
    part = ffi.new(JOB, job[0])
    part.offset += first
    part.result += first
    part.p = last - first
    lib.labkit_product(level, part)


def _rows(level: int, job: Any, first: int, last: int) -> None:
    part = ffi.new(JOB, job[0])
    part.a += first * part.words
    part.result += first * part.stride
    part.m = last - first
    lib.labkit_product(level, part)

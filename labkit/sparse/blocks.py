"""Formats that store neighbours together: BCSR with blocks of one size, VBL with pieces of rows.

Chapter 11; lecture 000:604-618.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse
import torch

from labkit import checks
from labkit.sparse.formats import (
    Coordinates,
    SparseFormat,
    check_starts,
    is_float,
    is_int32,
    matrix_shape,
    places,
    starts_of,
    within,
)

SIDE_MAX = 1024  # of a block; one larger than the matrix holds little but zeros
LONGEST = 255  # a length of a VBL block fits one byte


@dataclass(frozen=True, eq=False, repr=False)
class BCSR(SparseFormat):
    """Block CSR: the matrix is cut into blocks of r x c, and those that are not all zero are kept whole.

    A (N_B, r, c) holds the blocks row by row, IA (m / r + 1,) int32 the count of blocks up to each row of blocks, JA
    (N_B,) int32 the block's column; shape (m, n), where the last blocks may reach over the edge. One index serves r c
    numbers; the zeros inside the blocks, `fill_in` of them, are the price. With blocks of 1 x 1 it is CSR.
    E.-J. Im, K. Yelick, R. Vuduc, Sparsity, 2004; lecture 000:604-614.

    >>> BCSR.from_dense([[1, 2, 0, 0], [3, 0, 0, 0]], block=(2, 2)).fill_in
    1
    """

    A: np.ndarray
    IA: np.ndarray
    JA: np.ndarray
    shape: tuple[int, int]

    byte_formula: ClassVar[str] = r"(b\,r c + 4)\,N_B + 4(\lceil m / r \rceil + 1)"

    def __post_init__(self) -> None:
        m, n = matrix_shape(self.shape)
        r, c = is_float(self.A, "A", ndim=3).shape[1:]
        checks.integer(min(r, c), "the sides of a block in A", low=1)
        check_starts(self.IA, "IA", groups=-(-m // r), total=len(self.A))
        within(is_int32(self.JA, "JA"), "JA", -(-n // c))
        if len(self.JA) != len(self.A):
            raise ValueError(f"JA must have shape ({len(self.A)},), one entry a block, got {self.JA.shape}")
        if self._reaches_over():
            rows, columns, _ = self.coordinates()
            within(rows, "the rows of the numbers in A", m)
            within(columns, "the columns of the numbers in A", n)

    @classmethod
    def from_coordinates(  # type: ignore[override]
        cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int], *, block: tuple[int, int] = (2, 2)
    ) -> Self:
        """Store values (N,) at places rows (N,), columns (N,) in blocks of `block` = (r, c), 1 to 1024 each."""
        r, c = block_shape(block)
        i, j, a = places(rows, columns, values, shape)
        width = -(-shape[1] // c)
        kept, number = np.unique(i // r * width + j // c, return_inverse=True)
        A = np.zeros((len(kept), r, c), a.dtype)
        A[number, i % r, j % c] = a
        return cls(A, starts_of(kept // width, -(-shape[0] // r)), (kept % width).astype(np.int32), matrix_shape(shape))

    @property
    def block(self) -> tuple[int, int]:
        """The sides (r, c) of a block."""
        return self.A.shape[1], self.A.shape[2]

    @property
    def n_blocks(self) -> int:
        """The blocks kept."""
        return len(self.A)

    @property
    def fill_in(self) -> int:
        """The zeros that the blocks hold."""
        return self.A.size - self.nnz

    def coordinates(self) -> Coordinates:
        """Return rows, columns and values (N,), block by block, without the zeros."""
        which, i, j = np.nonzero(self.A)
        r, c = self.block
        return self._block_rows()[which] * r + i, self.JA[which] * c + j, self.A[which, i, j]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """A, IA and JA."""
        return {"A": self.A, "IA": self.IA, "JA": self.JA}

    def to_scipy(self) -> Any:
        """Return a scipy.sparse.bsr_array where the blocks fit the shape, else a coo_array."""
        if self._reaches_over():
            return super().to_scipy()
        return scipy.sparse.bsr_array((self.A, self.JA, self.IA), shape=self.shape)

    def to_torch(self) -> torch.Tensor:
        """Return a tensor of layout torch.sparse_bsr where the blocks fit the shape, else of torch.sparse_coo."""
        if self._reaches_over():
            return super().to_torch()
        IA, JA, A = map(torch.from_numpy, (self.IA, self.JA, self.A))
        return torch.sparse_bsr_tensor(IA, JA, A, size=self.shape, check_invariants=False)

    def _product(self, X: np.ndarray) -> np.ndarray:
        """Return the product with X (n, p), a small dense product for each block."""
        (m, n), (r, c), p = self.shape, self.block, X.shape[1]
        X = np.pad(X, ((0, -n % c), (0, 0))).reshape(-(-n // c), c, p)
        Y = np.zeros((len(self.IA) - 1, r, p), self.dtype)
        np.add.at(Y, self._block_rows(), self.A @ X[self.JA])  # (N_B, r, p)
        return Y.reshape(len(Y) * r, p)[:m]

    def _block_rows(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.IA) - 1, dtype=np.int32), np.diff(self.IA))

    def _reaches_over(self) -> bool:
        return any(size % side for size, side in zip(self.shape, self.block, strict=True))

    def _options_of_transpose(self) -> dict[str, Any]:
        return {"block": self.block[::-1]}


@dataclass(frozen=True, eq=False, repr=False)
class VBL(SparseFormat):
    """Variable block length, in one dimension: a block is a piece of a row without a zero, at most 255 numbers long.

    A (nnz,) holds the numbers row by row, IA (m + 1,) int32 the count of blocks up to each row, JA (N_B,) int32 the
    column where a block begins, lengths (N_B,) uint8; shape (m, n). Nothing is filled in, and a block costs five bytes
    of index however long it is. A. Pinar, M. Heath, Improving performance of sparse matrix-vector multiplication,
    1999; lecture 000:618.

    >>> vbl = VBL.from_dense([[0, 1, 2, 0, 3], [4, 5, 6, 7, 8]])
    >>> vbl.JA, vbl.lengths
    (array([1, 4, 0], dtype=int32), array([2, 1, 5], dtype=uint8))
    """

    A: np.ndarray
    IA: np.ndarray
    JA: np.ndarray
    lengths: np.ndarray
    shape: tuple[int, int]

    byte_formula: ClassVar[str] = r"b\,N + 5\,N_B + 4(m + 1)"

    def __post_init__(self) -> None:
        m, n = matrix_shape(self.shape)
        is_float(self.A, "A")
        is_int32(self.JA, "JA")
        check_starts(self.IA, "IA", groups=m, total=len(self.JA))
        lengths = is_int32(self.lengths, "lengths", np.uint8)
        if lengths.shape != self.JA.shape or (lengths == 0).any() or lengths.sum() != len(self.A):
            raise ValueError(f"lengths must be {len(self.JA)} numbers from 1 on with sum {len(self.A)}, got {lengths}")
        within(self.JA, "JA", n)
        within(self.JA + lengths - 1, "the ends of the blocks", n)

    @classmethod
    def from_coordinates(cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> Self:  # type: ignore[override]
        """Store values (N,) at places rows (N,), columns (N,), in blocks as long as possible."""
        i, j, a = places(rows, columns, values, shape)
        new = np.append(True, (np.diff(i) != 0) | (np.diff(j) != 1))[: len(a)]
        first = np.flatnonzero(new)  # the number with which each piece begins
        since = np.arange(len(a)) - np.repeat(first, np.diff(np.append(first, len(a))))
        first = np.flatnonzero(since % LONGEST == 0)  # a long piece is cut
        lengths = np.diff(np.append(first, len(a))).astype(np.uint8)
        return cls(a, starts_of(i[first], shape[0]), j[first].astype(np.int32), lengths, matrix_shape(shape))

    @property
    def n_blocks(self) -> int:
        """The blocks kept."""
        return len(self.JA)

    def coordinates(self) -> Coordinates:
        """Return rows, columns and values (N,), row by row."""
        ends = self.lengths.cumsum(dtype=np.int64)
        inside = np.arange(len(self.A)) - np.repeat(ends - self.lengths, self.lengths)
        return np.repeat(self._block_rows(), self.lengths), np.repeat(self.JA, self.lengths) + inside, self.A

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """A, IA, JA and the lengths."""
        return {"A": self.A, "IA": self.IA, "JA": self.JA, "lengths": self.lengths}

    def _product(self, X: np.ndarray) -> np.ndarray:
        """Return the product with X (n, p): a block meets neighbouring rows of X, without a search."""
        Y, p = np.zeros((self.shape[0], X.shape[1]), self.dtype), 0
        for i, j, length in zip(self._block_rows(), self.JA, self.lengths.tolist(), strict=True):
            Y[i] += self.A[p : p + length] @ X[j : j + length]
            p += length
        return Y

    def _block_rows(self) -> np.ndarray:
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.IA))


def block_shape(block: Any) -> tuple[int, int]:
    """Return the sides of a block as two ints from 1 to 1024.

    >>> block_shape((2, 4))
    (2, 4)
    """
    if not isinstance(block, tuple | list) or len(block) != 2:
        raise ValueError(f"block must be (rows, columns), got {block!r}")
    r, c = (checks.integer(side, "block", low=1, high=SIDE_MAX) for side in block)
    return r, c

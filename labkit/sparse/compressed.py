"""Coordinates and compressed rows or columns: COO, CSR and CSC. Chapter 11; lecture 000:587-602."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse
import torch

from labkit import kernels
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


@dataclass(frozen=True, eq=False, repr=False)
class COO(SparseFormat):
    """Every number with its row and its column.

    values (nnz,) float32 or float64, rows and columns (nnz,) int32, shape (m, n).

    >>> COO.from_dense([[0, 0], [5, 8]]).rows
    array([1, 1], dtype=int32)
    """

    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    shape: tuple[int, int]

    byte_formula: ClassVar[str] = r"(b + 8)\,N"

    def __post_init__(self) -> None:
        m, n = matrix_shape(self.shape)
        is_float(self.values, "values")
        for name, size in (("rows", m), ("columns", n)):
            index = is_int32(getattr(self, name), name)
            within(index, name, size)
            if index.shape != self.values.shape:
                raise ValueError(f"{name} must have shape {self.values.shape}, as values have, got {index.shape}")

    @classmethod
    def from_coordinates(cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> Self:  # type: ignore[override]
        """Store values (N,) at places rows (N,), columns (N,), row by row."""
        i, j, a = places(rows, columns, values, shape)
        return cls(a, i.astype(np.int32), j.astype(np.int32), matrix_shape(shape))

    def coordinates(self) -> Coordinates:
        """Return rows, columns and values (N,), as they are kept."""
        return self.rows, self.columns, self.values

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The values, rows and columns."""
        return {"values": self.values, "rows": self.rows, "columns": self.columns}

    @property
    def T(self) -> "COO":  # noqa: N802
        """The transpose: rows and columns change their names."""
        return COO(self.values, self.columns, self.rows, self.shape[::-1])


@dataclass(frozen=True, eq=False, repr=False)
class CSR(SparseFormat):
    r"""Compressed sparse rows, the format of the lecture.

    A (nnz,) holds the numbers row by row, IA (m + 1,) int32 the count of numbers up to each row, JA (nnz,) int32
    their columns; shape (m, n). Row i owns the places IA[i] to IA[i + 1] - 1, so

    .. math:: y_i = \sum_{p = IA_i}^{IA_{i+1} - 1} A_p\, x_{JA_p} .

    Products run on `labkit.kernels`. Lecture 000:587-602.

    >>> csr = CSR.from_dense([[0, 0, 0, 0], [5, 8, 0, 0], [0, 0, 3, 0], [0, 6, 0, 0]])
    >>> csr.A, csr.IA, csr.JA
    (array([5., 8., 3., 6.]), array([0, 0, 2, 3, 4], dtype=int32), array([0, 1, 2, 1], dtype=int32))
    """

    A: np.ndarray
    IA: np.ndarray
    JA: np.ndarray
    shape: tuple[int, int]

    byte_formula: ClassVar[str] = r"(b + 4)\,N + 4(m + 1)"

    def __post_init__(self) -> None:
        m, n = matrix_shape(self.shape)
        is_float(self.A, "A")
        check_starts(self.IA, "IA", groups=m, total=len(self.A))
        within(is_int32(self.JA, "JA"), "JA", n)
        if self.JA.shape != self.A.shape:
            raise ValueError(f"JA must have shape {self.A.shape}, as A has, got {self.JA.shape}")

    @classmethod
    def from_coordinates(cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> Self:  # type: ignore[override]
        """Store values (N,) at places rows (N,), columns (N,): IA[i + 1] = IA[i] + numbers in row i."""
        i, j, a = places(rows, columns, values, shape)
        return cls(a, starts_of(i, shape[0]), j.astype(np.int32), matrix_shape(shape))

    def coordinates(self) -> Coordinates:
        """Return rows, columns and values (N,), row by row."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.IA)), self.JA, self.A

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """A, IA and JA."""
        return {"A": self.A, "IA": self.IA, "JA": self.JA}

    def matvec(self, x: Any, *, threads: int = 1) -> np.ndarray:
        """Return the product (m,) with a vector x (n,), in eight partial sums a row; see `kernels.csr_matvec`."""
        return kernels.csr_matvec(self.A, self.IA, self.JA, self._factor(x, "x", 1), threads=threads)

    def matmul(self, X: Any, *, threads: int = 1) -> np.ndarray:
        """Return the product (m, p) with a dense matrix X (n, p); see `kernels.csr_matmul`."""
        return kernels.csr_matmul(self.A, self.IA, self.JA, self._factor(X, "X", 2), threads=threads)

    @property
    def nnz(self) -> int:
        """The numbers stored."""
        return len(self.A)

    @property
    def T(self) -> "CSC":  # noqa: N802
        """The transpose: the same arrays read as CSC."""
        return CSC(self.A, self.IA, self.JA, self.shape[::-1])

    def to_scipy(self) -> Any:
        """Return a scipy.sparse.csr_array."""
        return scipy.sparse.csr_array((self.A, self.JA, self.IA), shape=self.shape)

    def to_torch(self) -> torch.Tensor:
        """Return a tensor of layout torch.sparse_csr."""
        IA, JA, A = map(torch.from_numpy, (self.IA, self.JA, self.A))
        return torch.sparse_csr_tensor(IA, JA, A, size=self.shape, check_invariants=False)


@dataclass(frozen=True, eq=False, repr=False)
class CSC(SparseFormat):
    """Compressed sparse columns: A (nnz,) column by column, JA (n + 1,) int32 the counts, IA (nnz,) int32 the rows.

    As everywhere here, I stands for rows and J for columns: JA is the short array now. A product adds multiples of
    columns, y += A[p] x_j to the rows IA[p], so a zero in x saves a whole column.

    >>> CSC.from_dense([[0, 0], [5, 8]]).JA
    array([0, 1, 2], dtype=int32)
    """

    A: np.ndarray
    JA: np.ndarray
    IA: np.ndarray
    shape: tuple[int, int]

    byte_formula: ClassVar[str] = r"(b + 4)\,N + 4(n + 1)"

    def __post_init__(self) -> None:
        m, n = matrix_shape(self.shape)
        is_float(self.A, "A")
        check_starts(self.JA, "JA", groups=n, total=len(self.A))
        within(is_int32(self.IA, "IA"), "IA", m)
        if self.IA.shape != self.A.shape:
            raise ValueError(f"IA must have shape {self.A.shape}, as A has, got {self.IA.shape}")

    @classmethod
    def from_coordinates(cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> Self:  # type: ignore[override]
        """Store values (N,) at places rows (N,), columns (N,), column by column."""
        i, j, a = places(rows, columns, values, shape)
        order = np.argsort(j, kind="stable")
        return cls(a[order], starts_of(j, shape[1]), i[order].astype(np.int32), matrix_shape(shape))

    def coordinates(self) -> Coordinates:
        """Return rows, columns and values (N,), column by column."""
        return self.IA, np.repeat(np.arange(self.shape[1], dtype=np.int32), np.diff(self.JA)), self.A

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """A, JA and IA."""
        return {"A": self.A, "JA": self.JA, "IA": self.IA}

    @property
    def T(self) -> CSR:  # noqa: N802
        """The transpose: the same arrays read as CSR."""
        return CSR(self.A, self.JA, self.IA, self.shape[::-1])

    def to_scipy(self) -> Any:
        """Return a scipy.sparse.csc_array."""
        return scipy.sparse.csc_array((self.A, self.IA, self.JA), shape=self.shape)

    def to_torch(self) -> torch.Tensor:
        """Return a tensor of layout torch.sparse_csc."""
        JA, IA, A = map(torch.from_numpy, (self.JA, self.IA, self.A))
        return torch.sparse_csc_tensor(JA, IA, A, size=self.shape, check_invariants=False)

"""What all sparse formats share: the way in, the way out, products and bytes. Chapter 11; lecture 000:587-622."""

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse
import torch

from labkit import checks

Coordinates = tuple[np.ndarray, np.ndarray, np.ndarray]

with warnings.catch_warnings():  # torch says once that these formats are new; let it say so here
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 1], [0], [1.0], size=(1, 1), check_invariants=False)


class SparseFormat(ABC):
    """A sparse matrix (m, n), kept as a few arrays.

    A format says how to store numbers at given places (`from_coordinates`), how to find the places again
    (`coordinates`) and which arrays it keeps (`arrays`); the rest is the same for all. Numbers are float32 or float64.
    """

    shape: tuple[int, int]
    byte_formula: ClassVar[str]  # n_bytes in TeX: b bytes a number, N numbers that are not zero, m rows, n columns

    @classmethod
    @abstractmethod
    def from_coordinates(
        cls, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int], **options: Any
    ) -> Self:
        """Store values (N,) at places rows (N,), columns (N,) in a matrix of zeros; values at one place are added."""

    @abstractmethod
    def coordinates(self) -> Coordinates:
        """Return rows, columns and values (N,) of the numbers stored, without padding, in the format's own order."""

    @property
    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept, by name; the numbers of the matrix come first."""

    @classmethod
    def from_dense(cls, matrix: Any, **options: Any) -> Self:
        """Store what is not zero in a finite real matrix (m, n); float32 stays float32, the rest becomes float64."""
        W = checks.matrix(matrix, "matrix")
        rows, columns = np.nonzero(W)
        return cls.from_coordinates(rows, columns, W[rows, columns], W.shape, **options)

    @classmethod
    def from_scipy(cls, matrix: Any, **options: Any) -> Self:
        """Store a sparse matrix or array of SciPy, of any of its formats."""
        if not scipy.sparse.issparse(matrix):
            raise TypeError(f"matrix must be sparse, as scipy.sparse makes it, got {type(matrix).__name__}")
        coo = matrix.tocoo()
        return cls.from_coordinates(coo.row, coo.col, coo.data, coo.shape, **options)

    @classmethod
    def from_torch(cls, tensor: torch.Tensor, **options: Any) -> Self:
        """Store a two-dimensional sparse tensor of PyTorch, of any of its layouts."""
        given = checks.instance(tensor, "tensor", torch.Tensor)
        if given.layout == torch.strided or given.ndim != 2 or given.dense_dim() or given.is_meta:
            got = f"{given.layout}, shape {tuple(given.shape)}, {given.dense_dim()} of it dense, device {given.device}"
            raise ValueError(f"tensor must be sparse with 2 dimensions and hold numbers, got {got}")
        coo = (given if given.layout == torch.sparse_coo else given.to_sparse_coo()).detach().cpu().coalesce()
        rows, columns = coo.indices().numpy()
        return cls.from_coordinates(rows, columns, checks.plain(coo.values(), "tensor"), tuple(coo.shape), **options)

    def to_dense(self) -> np.ndarray:
        """Return the matrix (m, n) with its zeros."""
        rows, columns, values = self.coordinates()
        W = np.zeros(self.shape, self.dtype)
        np.add.at(W, (rows, columns), values)  # as a product does where a place was given twice
        return W

    def to_scipy(self) -> Any:
        """Return the array of SciPy in the same format where it has that, else in COO."""
        rows, columns, values = self.coordinates()
        return scipy.sparse.coo_array((values, (rows, columns)), shape=self.shape)

    def to_torch(self) -> torch.Tensor:
        """Return the tensor of PyTorch in the same layout where it has that, else in COO."""
        rows, columns, values = self.coordinates()
        places = torch.from_numpy(np.stack([rows, columns]).astype(np.int64))
        return torch.sparse_coo_tensor(places, torch.from_numpy(values), self.shape, check_invariants=False).coalesce()

    def matvec(self, x: Any) -> np.ndarray:
        """Return the product (m,) with a vector x (n,), in the dtype of the matrix."""
        return self._product(self._factor(x, "x", 1)[:, None])[:, 0]

    def matmul(self, X: Any) -> np.ndarray:
        """Return the product (m, p) with a dense matrix X (n, p), in the dtype of the matrix."""
        return self._product(self._factor(X, "X", 2))

    @property
    def T(self) -> "SparseFormat":  # noqa: N802  the name NumPy gives the transpose
        """The transpose (n, m), stored anew in the same format."""
        rows, columns, values = self.coordinates()
        return self.from_coordinates(columns, rows, values, self.shape[::-1], **self._options_of_transpose())

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the numbers."""
        return self._numbers.dtype

    @property
    def nnz(self) -> int:
        """The numbers stored that are not padding."""
        return len(self.coordinates()[2])

    @property
    def density(self) -> float:
        """The fraction of the matrix that is not zero."""
        return self.nnz / (self.shape[0] * self.shape[1])

    def bytes(self) -> dict[str, int]:
        """Return the bytes of each array that is kept."""
        return {name: array.nbytes for name, array in self.arrays.items()}

    @property
    def n_bytes(self) -> int:
        """Bytes stored, as `byte_formula` counts them; the few that hold the shape are left out."""
        return sum(self.bytes().values())

    @property
    def index_bytes(self) -> int:
        """Bytes spent on places: all but those of the numbers."""
        return self.n_bytes - self._numbers.nbytes

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(shape={self.shape}, nnz={self.nnz}, dtype={self.dtype}, n_bytes={self.n_bytes})"

    @property
    def _numbers(self) -> np.ndarray:
        return next(iter(self.arrays.values()))

    def _options_of_transpose(self) -> dict[str, Any]:
        return {}

    def _product(self, X: np.ndarray) -> np.ndarray:
        """Return the product with X (n, p): y_i += a x_j for every number a at (i, j)."""
        rows, columns, values = self.coordinates()
        Y = np.zeros((self.shape[0], X.shape[1]), self.dtype)
        np.add.at(Y, rows, values[:, None] * X[columns])
        return Y

    def _factor(self, x: Any, name: str, ndim: int) -> np.ndarray:
        """Return x in the dtype of the matrix if its rows fit."""
        array = numbers(x, name)
        if array.ndim != ndim:
            raise ValueError(f"{name} must have {ndim} dimensions, got shape {array.shape}")
        if len(array) != self.shape[1]:
            raise ValueError(f"{name} must have {self.shape[1]} rows, as the matrix has columns, got {array.shape}")
        return array.astype(self.dtype, copy=False)


def places(rows: Any, columns: Any, values: Any, shape: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coordinates as int64 and floats, row by row, without zeros; raise if they do not fit.

    Values at one place are added.

    >>> places([1, 0, 1], [0, 2, 0], [1.0, 2.0, 3.0], (2, 3))
    (array([0, 1]), array([2, 0]), array([2., 4.]))
    """
    m, n = matrix_shape(shape)
    i, j = (_integers(index, name) for index, name in ((rows, "rows"), (columns, "columns")))
    a = numbers(values, "values")
    if not i.shape == j.shape == a.shape or a.ndim != 1:
        raise ValueError(f"rows, columns and values must have one shape (nnz,), got {i.shape}, {j.shape}, {a.shape}")
    for index, name, size in ((i, "rows", m), (j, "columns", n)):
        within(index, name, size)
    place, group = np.unique(i * n + j, return_inverse=True)
    total = np.zeros(len(place), a.dtype)
    np.add.at(total, group, a)
    place, total = place[total != 0], total[total != 0]
    return place // n, place % n, total


def matrix_shape(shape: Any) -> tuple[int, int]:
    """Return a shape as two ints from 1 to 2^31 - 1.

    >>> matrix_shape((np.int64(2), 3))
    (2, 3)
    """
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"shape must be (rows, columns), got {shape!r}")
    m, n = (checks.integer(size, "shape", low=1, high=2**31 - 1) for size in shape)
    return m, n


def numbers(values: Any, name: str) -> np.ndarray:
    """Return finite real numbers as floats; float32 stays float32. There may be none.

    >>> numbers([1, 2], "values")
    array([1., 2.])
    """
    array = checks.plain(values, name)
    return checks.array(array, name) if array.size else array.astype(float if array.dtype != np.float32 else np.float32)


def within(index: np.ndarray, name: str, size: int) -> None:
    """Raise a ValueError unless all indices lie in 0, ..., size - 1.

    >>> within(np.array([0, 3]), "columns", 3)
    Traceback (most recent call last):
    ValueError: columns must lie between 0 and 2, got 0 to 3
    """
    if len(index) and not (index.min() >= 0 and index.max() < size):
        raise ValueError(f"{name} must lie between 0 and {size - 1}, got {index.min()} to {index.max()}")


def starts_of(index: np.ndarray, size: int) -> np.ndarray:
    """Return where each group of an ascending index begins, and where the last one ends: int32 (size + 1,).

    >>> starts_of(np.array([1, 1, 2, 3]), 4)
    array([0, 0, 2, 3, 4], dtype=int32)
    """
    return np.append(0, np.bincount(index, minlength=size).cumsum()).astype(np.int32)


def check_starts(starts: np.ndarray, name: str, *, groups: int, total: int) -> None:
    """Raise unless `starts` is an int32 array (groups + 1,) that ascends from 0 to `total`."""
    is_int32(starts, name)
    if starts.shape != (groups + 1,) or starts[0] != 0 or starts[-1] != total or (np.diff(starts) < 0).any():
        raise ValueError(f"{name} must be {groups + 1} numbers that ascend from 0 to {total}, got {starts}")


def is_int32(array: Any, name: str, dtype: type = np.int32) -> np.ndarray:
    """Return a one-dimensional array of exactly this dtype, or raise."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        got = f"{array.dtype}, shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be a one-dimensional array of {np.dtype(dtype).name}, got {got}")
    return array


def is_float(array: Any, name: str, ndim: int = 1) -> np.ndarray:
    """Return an array of float32 or float64 with `ndim` dimensions, or raise."""
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64) or array.ndim != ndim:
        got = f"{array.dtype}, shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be an array of float32 or float64 with {ndim} dimensions, got {got}")
    return array


def _integers(index: Any, name: str) -> np.ndarray:
    array = checks.plain(index, name)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {array.dtype}")
    return array.astype(np.int64)

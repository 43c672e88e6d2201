"""Straight-line code for one sparse matrix: a statement for each number, and no index left.

B. Liu et al., Sparse convolutional neural networks, CVPR 2015; lecture 000:648-688. Chapter 11.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cffi
import numpy as np

from labkit import checks
from labkit.kernels import dispatch
from labkit.kernels.compiled import compile_c
from labkit.sparse.compressed import CSR
from labkit.sparse.formats import SparseFormat

MOST = 50_000  # statements: the compiler's work grows faster than their number
# numbers in a vector, and the options that allow it
LANES = {"avx2": (8, ("-mavx2", "-mfma")), "avx512": (16, ("-mavx512f",))}
PLAIN: tuple[int, tuple[str, ...]] = (4, ())
CDEF = "void multiply(const float *a, float *c, long n);"
_ffi = cffi.FFI()


@dataclass(frozen=True, eq=False, repr=False)
class GeneratedCode:
    """Code that multiplies by one sparse matrix B (k, n): C = A B for dense matrices A (rows, k).

    `statements` are the multiply-adds, in the order in which B is stored by rows: c7 += a1 * b1_7 adds column 1 of A,
    times the number in row 1 and column 7 of B, to column 7 of C; indices count from 1, as on the slide. `python` and
    `c` are whole functions around them. In C a column is a vector of 4 to 16 rows, as many as the level of
    `labkit.kernels` in use has, and what waits in which register is left to the compiler.

    >>> code = codegen(np.array([[0, 2.0], [3.0, 0]]))
    >>> print(code)
    c2 += a1 * b1_2
    c1 += a2 * b2_1
    >>> code.run_python([[1, 10]])
    array([[30.,  2.]], dtype=float32)
    """

    B: CSR

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (k, n) of B."""
        return self.B.shape

    @property
    def statements(self) -> tuple[str, ...]:
        """One multiply-add for each number in B."""
        return tuple(f"c{j} += a{i} * b{i}_{j}" for i, j, _ in self._entries)

    @property
    def python(self) -> str:
        """The source of a Python function multiply(a, c) on columns: a[i] and c[j] are vectors over the rows of A."""
        read = [f"    a{i} = a[{i - 1}]" for i in self._used[0]] + [f"    c{j} = c[{j - 1}]" for j in self._used[1]]
        numbers = [f"b{i}_{j} = float32({b!r})" for i, j, b in self._entries]
        body = read + [f"    {statement}" for statement in self.statements]
        return "\n".join([*numbers, "def multiply(a, c):", *body, "    return c"])

    @property
    def c(self) -> str:
        """The source of a C function multiply(a, c, n) for n rows of A, as many at a time as a vector has lanes.

        The statements come column by column of C, so that one register holds a column until it is complete.
        """
        lanes, (k, n) = lanes_of_level()[0], self.shape
        return "\n".join([
            f"typedef float vec __attribute__((vector_size({4 * lanes})));",
            *(f"#define b{i}_{j} {c_float(b)}" for i, j, b in self._entries),
            *(f"#define a{i} a[{i - 1}]" for i in self._used[0]),
            "void multiply(const float *A, float *C, long n)\n{",
            f"    for (long r = 0; r < n; r += {lanes}, A += {lanes * k}, C += {lanes * n}) {{",
            "        const vec *a = (const vec *)A;\n        vec *c = (vec *)C;",
            *self._column_by_column(),
            "    }\n}\n",
        ])  # fmt: skip

    def compile(self) -> "GeneratedCode":
        """Compile the C code, or find it in the cache; return the same object, ready to multiply.

        Raises `labkit.kernels.compiled.NoCompilerError` where there is no C compiler. Hundreds of numbers take a
        moment, ten thousand many seconds, once: the library stays in `labkit.paths.CACHE`.
        """
        assert self.function
        return self

    def matmul(self, A: Any) -> np.ndarray:
        """Return A B in float32 for A (rows, k), by the compiled code."""
        return np.ascontiguousarray(self.matmul_columns(self._rows(A).T).T)

    def matmul_columns(self, X: Any) -> np.ndarray:
        """Return B^T X in float32 for X (k, p): the same product, with the columns of A as rows, which the code reads.

        It stands beside `CSR.matmul` of B^T.
        """
        X = real_matrix(X, "X")
        if len(X) != self.shape[0]:
            raise ValueError(f"X must have {self.shape[0]} rows, as B has, got shape {X.shape}")
        a, c = self.panels(X)
        self.function(pointer(a), pointer(c), len(a) * a.shape[2])
        return c.swapaxes(0, 1).reshape(self.shape[1], len(c) * c.shape[2])[:, : X.shape[1]]

    def panels(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return X (k, p) as the code reads it, (panels, k, lanes), zeros at the end, and memory for C of that kind."""
        lanes, (k, n), p = lanes_of_level()[0], self.shape, X.shape[1]
        count, whole = -(-p // lanes), p // lanes
        a, c = aligned((count, k, lanes)), aligned((count, n, lanes))
        a[:whole] = X[:, : whole * lanes].reshape(k, whole, lanes).swapaxes(0, 1)
        if whole < count:
            a[whole, :, : p % lanes], a[whole, :, p % lanes :] = X[:, whole * lanes :], 0
        if len(self._used[1]) < n:
            c[...] = 0  # the code writes no column of C to which nothing is added
        return a, c

    def run_python(self, A: Any) -> np.ndarray:
        """Return A B in float32 for A (rows, k), by the Python code; no compiler is needed."""
        X = self._rows(A).astype(np.float32)
        names: dict[str, Any] = {"float32": np.float32}
        exec(self.python, names)
        return names["multiply"](X.T, np.zeros((self.shape[1], len(X)), np.float32)).T

    def __str__(self) -> str:
        return "\n".join(self.statements)

    def __repr__(self) -> str:
        return f"GeneratedCode(shape={self.shape}, statements={self.B.nnz})"

    def _column_by_column(self) -> Iterator[str]:
        by_column = sorted(self._entries, key=lambda entry: entry[1])
        for j, entries in itertools.groupby(by_column, key=lambda entry: entry[1]):
            yield f"        vec c{j} = {{0}};"
            yield from (f"        c{j} += a{i} * b{i}_{j};" for i, _, _ in entries)
            yield f"        c[{j - 1}] = c{j};"

    def _rows(self, A: Any) -> np.ndarray:
        X = real_matrix(A, "A")
        if X.shape[1] != self.shape[0]:
            raise ValueError(f"A must have {self.shape[0]} columns, as B has rows, got shape {X.shape}")
        return X

    @property
    def function(self) -> Any:
        """The compiled C function multiply(A, C, n) for the level in use, on the arrays that `panels` returns.

        n is the number of panels times the lanes. `compile_c` keeps it on disk, and this object in memory.
        """
        lanes, flag = lanes_of_level()
        if lanes not in self._functions:
            flags = ["-O1", "-fexpensive-optimizations", *flag]  # -O2 takes many times as long for no faster code
            self._functions[lanes] = compile_c(self.c, CDEF, flags=flags).multiply
        return self._functions[lanes]

    @cached_property
    def _functions(self) -> dict[int, Any]:
        return {}

    @cached_property
    def _entries(self) -> list[tuple[int, int, float]]:
        """Row and column, from 1, and value of every number."""
        rows, columns, values = self.B.coordinates()
        return list(zip((rows + 1).tolist(), (columns + 1).tolist(), values.tolist(), strict=True))

    @cached_property
    def _used(self) -> tuple[list[int], list[int]]:
        """The columns of A that are read and those of C that are written, from 1."""
        return sorted({i for i, _, _ in self._entries}), sorted({j for _, j, _ in self._entries})


def codegen(B: Any) -> GeneratedCode:
    """Return code that multiplies by one sparse matrix and nothing else.

    Parameters
    ----------
    B : array (k, n), or one of the sparse formats; its numbers are taken in float32, at most 50,000 of them

    Raises
    ------
    TypeError, ValueError : not a finite real matrix, or too many numbers.

    Lecture 000:648-688; chapter 11.

    >>> codegen([[0, 0.5], [0, 0]]).statements
    ('c2 += a1 * b1_2',)
    """
    W = B.to_dense() if isinstance(B, SparseFormat) else checks.matrix(B, "B")
    if abs(W).max() > np.finfo(np.float32).max:
        raise ValueError(f"B must fit float32, got {abs(W).max()}")
    sparse = CSR.from_dense(W.astype(np.float32))
    if sparse.nnz > MOST:
        raise ValueError(f"B must have at most {MOST} numbers that are not zero, one statement each, got {sparse.nnz}")
    return GeneratedCode(sparse)


def real_matrix(x: Any, name: str) -> np.ndarray:
    """Return a matrix of real numbers; infinities and NaN pass, and go where they are used.

    >>> real_matrix([[1, 2]], "X").shape
    (1, 2)
    """
    array = checks.plain(x, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions, got shape {array.shape}")
    return array


def lanes_of_level() -> tuple[int, tuple[str, ...]]:
    """Return the numbers in a vector at the level of the kernels in use, and the compiler's options for them.

    >>> with dispatch.forced("numpy"):
    ...     lanes_of_level()
    (4, ())
    """
    return LANES.get(dispatch.current().split("-")[0], PLAIN)


def c_float(x: float) -> str:
    """Return a float32 as C writes it, exactly.

    >>> c_float(0.5), c_float(-3.0)
    ('0x1.0000000000000p-1f', '-0x1.8000000000000p+1f')
    """
    return f"{float(x).hex()}f"


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return a new float32 array that begins at a multiple of 64 bytes.

    >>> aligned((2, 3)).ctypes.data % 64
    0
    """
    size = 4 * math.prod(shape)
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(np.float32).reshape(shape)


def pointer(array: np.ndarray) -> Any:
    """Return C's view of the memory of a contiguous float32 array; it stays valid while the result is held.

    >>> pointer(np.ones(2, np.float32))[1]
    1.0
    """
    return _ffi.from_buffer("float[]", array)

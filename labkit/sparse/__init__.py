"""Sparse matrices: how to store them, how to multiply by them, and from where on it pays (chapter 11)."""

from labkit.sparse.blocks import BCSR, VBL
from labkit.sparse.codegen import GeneratedCode, codegen
from labkit.sparse.compressed import COO, CSC, CSR
from labkit.sparse.csx import CSX
from labkit.sparse.formats import SparseFormat
from labkit.sparse.layer import SparseLinear, SparseScheme
from labkit.sparse.patterns import GRANULARITY, PATTERNS, index_bits, sparse_mask
from labkit.sparse.relative import RelativeIndex, expected_padding
from labkit.sparse.storage import LECTURE, storage_break_even

FORMATS: tuple[type[SparseFormat], ...] = (COO, CSR, CSC, BCSR, VBL, CSX, RelativeIndex)

__all__ = [
    "BCSR",
    "COO",
    "CSC",
    "CSR",
    "CSX",
    "FORMATS",
    "GRANULARITY",
    "LECTURE",
    "PATTERNS",
    "VBL",
    "GeneratedCode",
    "RelativeIndex",
    "SparseFormat",
    "SparseLinear",
    "SparseScheme",
    "codegen",
    "expected_padding",
    "index_bits",
    "sparse_mask",
    "storage_break_even",
]

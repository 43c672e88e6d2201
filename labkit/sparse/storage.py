"""From which share of zeros on a sparse matrix takes fewer bytes than a dense one. Chapter 11; lecture 000:604-610.

From where on it saves time is measured: `labkit.cost.breakeven`.
"""

from labkit import checks
from labkit.sparse.formats import matrix_shape

LECTURE = 0.7  # "matrices with less than 70 % zero values, better to treat as dense"


def storage_break_even(shape: tuple[int, int], *, value_bits: int = 32, index_bits: int = 32) -> float:
    r"""Return the sparsity above which CSR takes fewer bytes than the dense matrix (m, n).

    With numbers of v bits and indices of i bits CSR stores :math:`N (v + i) + (m + 1) i` bits and the dense matrix
    :math:`m n v`, so CSR is smaller where

    .. math:: 1 - \frac{N}{m n} > 1 - \frac{v}{v + i} + \frac{i}{v + i} \cdot \frac{m + 1}{m n} .

    For 32 and 32 bits that is one half and the share of IA. The result may exceed 1: then CSR never pays.
    Raises TypeError or ValueError for other numbers. Chapter 11; lecture 000:604-610.

    >>> round(storage_break_even((1000, 1000)), 4)
    0.5005
    """
    m, n = matrix_shape(shape)
    v = checks.integer(value_bits, "value_bits", low=1)
    i = checks.integer(index_bits, "index_bits", low=1)
    return 1 - v / (v + i) + i / (v + i) * (m + 1) / (m * n)

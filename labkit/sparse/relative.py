"""Places as distances to the number before, in a few bits: the format of Deep Compression.

Chapter 11; lecture 000:629-646, 003:1107-1118.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from labkit import checks
from labkit.sparse.formats import Coordinates, SparseFormat, is_float, is_int32, matrix_shape, places

MOST_BITS = 16


@dataclass(frozen=True, eq=False, repr=False)
class RelativeIndex(SparseFormat):
    """The matrix as one long row; before each number stands how many zeros were skipped, in `bits` bits.

    values (N_P,) float32 or float64, codes (ceil(N_P bits / 8),) uint8, in which the gaps are packed, bits, shape
    (m, n). A gap of 2^bits zeros or more does not fit: a zero is stored as padding after every 2^bits - 1 skipped.
    So N_P = N + `n_padding`. S. Han, H. Mao, W. Dally, Deep Compression, 2016; lecture 000:629-646, 003:1107-1118.

    >>> sparse = RelativeIndex.from_dense([[0, 3.4, 0, 0, 0.9, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1.7]], bits=3)
    >>> sparse.gaps, sparse.values
    (array([1, 2, 7, 2]), array([3.4, 0.9, 0. , 1.7]))
    """

    values: np.ndarray
    codes: np.ndarray
    bits: int
    shape: tuple[int, int]

    byte_formula: ClassVar[str] = r"b\,N_P + \lceil k N_P / 8 \rceil"

    def __post_init__(self) -> None:
        m, n = matrix_shape(self.shape)
        is_float(self.values, "values")
        bits = checks.integer(self.bits, "bits", low=1, high=MOST_BITS)
        codes = is_int32(self.codes, "codes", np.uint8)
        if len(codes) != -(-len(self.values) * bits // 8):
            raise ValueError(f"codes must hold {len(self.values)} gaps of {bits} bits, got {len(codes)} bytes")
        end = int((self.gaps + 1).sum())
        if end > m * n:
            raise ValueError(f"codes must end inside the matrix of {m * n} entries, got {end}")

    @classmethod
    def from_coordinates(  # type: ignore[override]
        cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int], *, bits: int = 4
    ) -> Self:
        """Store values (N,) at places rows (N,), columns (N,) with gaps of `bits` bits, 1 to 16."""
        checks.integer(bits, "bits", low=1, high=MOST_BITS)
        i, j, a = places(rows, columns, values, shape)
        gap = np.diff(i * shape[1] + j, prepend=-1) - 1
        padding = gap >> bits  # every padding zero takes up 2^bits places
        real = np.arange(len(a)) + padding.cumsum()
        gaps = np.full(len(a) + padding.sum(), 2**bits - 1)
        padded = np.zeros(len(gaps), a.dtype)
        gaps[real], padded[real] = gap & (2**bits - 1), a
        return cls(padded, pack(gaps, bits), bits, matrix_shape(shape))

    @property
    def gaps(self) -> np.ndarray:
        """The zeros skipped before each number stored (N_P,), 0 to 2^bits - 1."""
        return unpack(self.codes, self.bits, len(self.values))

    @property
    def n_padding(self) -> int:
        """The zeros stored where a gap was too long."""
        return int(np.count_nonzero(self.values == 0))

    @property
    def n_bits(self) -> int:
        """Bits stored: N_P times those of a number and of a gap."""
        return self.storage_bits(8 * self.dtype.itemsize)

    def storage_bits(self, value_bits: int) -> int:
        """Return N_P (value_bits + bits), the size with numbers of `value_bits` bits, as a codebook makes them."""
        return len(self.values) * (checks.integer(value_bits, "value_bits", low=1) + self.bits)

    def coordinates(self) -> Coordinates:
        """Return rows, columns and values (N,) without the padding; every place is a sum over all gaps before it."""
        place = (self.gaps + 1).cumsum() - 1
        real = self.values != 0
        return place[real] // self.shape[1], place[real] % self.shape[1], self.values[real]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The values and the packed gaps."""
        return {"values": self.values, "codes": self.codes}

    def _options_of_transpose(self) -> dict[str, Any]:
        return {"bits": self.bits}


def expected_padding(density: float, *, bits: int) -> float:
    r"""Return the padding zeros to expect for each number, where numbers lie at random.

    Gaps are then geometric with q = 1 - density, and :math:`E = q^{2^k} / (1 - q^{2^k})` for k = bits.
    Raises TypeError or ValueError unless density lies in (0, 1] and bits in 1 to 16. Chapter 11.

    >>> round(expected_padding(0.04, bits=5), 2)
    0.37
    """
    q = 1 - checks.number(density, "density", low=0, high=1)
    if q == 1:
        raise ValueError(f"density must be above 0, got {density}")
    skipped = q ** (2 ** checks.integer(bits, "bits", low=1, high=MOST_BITS))
    return skipped / (1 - skipped)


def pack(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Return whole numbers below 2^bits as a string of bits in uint8, lowest bit first.

    >>> pack(np.array([1, 2, 3]), 2)
    array([57], dtype=uint8)
    """
    return np.packbits((numbers[:, None] >> np.arange(bits)) & 1, bitorder="little")


def unpack(codes: np.ndarray, bits: int, n: int) -> np.ndarray:
    """Return the n numbers of `bits` bits in a string of bits, as int64.

    >>> unpack(np.array([57], np.uint8), 2, 3)
    array([1, 2, 3])
    """
    single = np.unpackbits(codes, count=n * bits, bitorder="little").reshape(n, bits)
    return single.astype(np.int64) @ (1 << np.arange(bits))

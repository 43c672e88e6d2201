"""CSX, compressed sparse extended: places as a stream of bytes in which whole lines of numbers cost a few bytes.

Chapter 11; lecture 000:622.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from labkit import checks
from labkit.sparse.formats import Coordinates, SparseFormat, is_float, is_int32, matrix_shape, places, within

NEW_ROW, JUMP = 0x80, 0x40  # flags in the first byte of a unit; the other six bits are its kind
WIDTHS = (np.uint8, np.uint16, np.uint32)  # kinds 0, 1, 2: distances of one, two or four bytes
MOST_STEPS = 64 - len(WIDTHS)
SHORTEST, LONGEST = 4, 255  # numbers in a line; the count fits one byte
STEP_BYTES = 8  # what one kind of line costs, once


class Unit(NamedTuple):
    """Numbers that are stored one after the other: where the first one lies, and the rows and columns of all."""

    kind: int
    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class CSX(SparseFormat):
    """Compressed sparse extended: lines of numbers are found and stored as units.

    values (nnz,) unit by unit, ctl, the bytes that control the walk, and steps (k, 2) int32, the kinds of lines in this
    matrix: (0, 1) is a piece of a row, (1, 0) of a column, (1, 1) of a diagonal, (2, 2) every second place of it. A
    unit in `ctl` is a byte with two flags and the kind, a byte with the count, the rows to jump if there is more than
    one, and the columns from the unit before, seven bits to a byte. A line needs no more. What lies in no line forms
    units of neighbours in a row, with a distance of one, two or four bytes each.
    K. Kourtis, V. Karakasis, G. Goumas, N. Koziris, CSX, PPoPP 2011; lecture 000:622.

    >>> band = CSX.from_dense(np.eye(100) + np.eye(100, k=1))
    >>> band.steps, band.index_bytes
    (array([[1, 1]], dtype=int32), 14)
    """

    values: np.ndarray
    ctl: np.ndarray
    steps: np.ndarray
    shape: tuple[int, int]

    byte_formula: ClassVar[str] = r"b\,N + \lvert ctl \rvert + 8\,k"

    def __post_init__(self) -> None:
        m, n = matrix_shape(self.shape)
        is_float(self.values, "values")
        is_int32(self.ctl, "ctl", np.uint8)
        steps = checks.instance(self.steps, "steps", np.ndarray)
        if steps.dtype != np.int32 or steps.ndim != 2 or steps.shape[1] != 2:
            raise TypeError(f"steps must be int32 of shape (k, 2), got {steps.dtype}, shape {steps.shape}")
        rows, columns, _ = self.coordinates()
        within(rows, "the rows in ctl", m)
        within(columns, "the columns in ctl", n)
        if len(rows) != len(self.values):
            raise ValueError(f"ctl must place {len(self.values)} numbers, got {len(rows)}")

    @classmethod
    def from_coordinates(cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> Self:  # type: ignore[override]
        """Store values (N,) at places rows (N,), columns (N,), with the lines that save most."""
        i, j, a = places(rows, columns, values, shape)
        steps, units = find_units(i, j)
        order = np.concatenate(
            [np.searchsorted(i * shape[1] + j, u.rows * shape[1] + u.columns) for u in units] or [[]]
        )
        made = np.array(steps, np.int32).reshape(-1, 2)
        return cls(a[order.astype(int)], np.frombuffer(encode(units), np.uint8), made, matrix_shape(shape))

    def units(self) -> Iterator[Unit]:
        """Yield the units in the order of their first numbers."""
        return decode(self.ctl.tobytes(), self.steps)

    def coordinates(self) -> Coordinates:
        """Return rows, columns and values (N,), unit by unit."""
        units = list(self.units())
        rows = np.concatenate([unit.rows for unit in units] or [np.zeros(0, np.int64)])
        columns = np.concatenate([unit.columns for unit in units] or [np.zeros(0, np.int64)])
        return rows, columns, self.values

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The values, the bytes of control, and the steps."""
        return {"values": self.values, "ctl": self.ctl, "steps": self.steps}

    def _product(self, X: np.ndarray) -> np.ndarray:
        """Return the product with X (n, p), unit by unit."""
        Y, p = np.zeros((self.shape[0], X.shape[1]), self.dtype), 0
        for _, rows, columns in self.units():
            products = self.values[p : p + len(rows), None] * X[columns]
            np.add.at(Y, rows, products)
            p += len(rows)
        return Y


# ---- finding lines


def find_units(i: np.ndarray, j: np.ndarray) -> tuple[list[tuple[int, int]], list[Unit]]:
    """Return the steps worth storing, and units that cover all places (i, j) once, ordered by their first place.

    Again and again the step that saves most is taken and its lines are removed; what is left goes by rows.

    >>> steps, units = find_units(np.arange(20), np.arange(20))
    >>> steps, len(units)
    ([(1, 1)], 1)
    """
    steps: list[tuple[int, int]] = []
    units: list[Unit] = []
    while len(steps) < MOST_STEPS:
        gain, step = max(((_gain(_runs(i, j, step)[2]), step) for step in _steps(i, j)), default=(0, (0, 0)))
        if gain <= STEP_BYTES:
            break
        lines = list(_lines(i, j, step))
        units += [Unit(len(WIDTHS) + len(steps), i[line], j[line]) for line in lines]
        steps.append(step)
        left = np.ones(len(i), bool)
        left[np.concatenate(lines)] = False
        i, j = i[left], j[left]
    return steps, sorted(units + _by_rows(i, j), key=lambda unit: (unit.rows[0], unit.columns[0]))


def _steps(i: np.ndarray, j: np.ndarray) -> set[tuple[int, int]]:
    """Return the steps to try: in four directions, the three distances that occur most."""
    found = set()
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        order, line, along = _lined_up(i, j, (down, right))
        distance = np.diff(along[order])[np.diff(line[order]) == 0]
        sizes, counts = np.unique(distance, return_counts=True)
        found |= {(down * d, right * d) for d in sizes[np.argsort(-counts, kind="stable")][:3].tolist()}
    return found


def _lined_up(i: np.ndarray, j: np.ndarray, step: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the order in which places follow each other along lines, the line of each, and how far along it lies."""
    down, right = np.sign(step)
    line, along = (j * down - i * right, i) if down else (i, j)
    return np.lexsort([along, line]), line, along


def _runs(i: np.ndarray, j: np.ndarray, step: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places in the order of lines, where the pieces with this step begin in it, and how long they are."""
    order, line, along = _lined_up(i, j, step)
    distance = max(abs(step[0]), abs(step[1]))
    joined = (np.diff(line[order]) == 0) & (np.diff(along[order]) == distance)
    starts = np.append(0, np.flatnonzero(~joined) + 1)
    lengths = np.diff(np.append(starts, len(order)))
    return order, starts[lengths >= SHORTEST], lengths[lengths >= SHORTEST]


def _gain(lengths: np.ndarray) -> int:
    """Return the bytes that lines of these lengths save, about: a line costs what three single numbers cost."""
    return int((lengths - SHORTEST + 1).sum())


def _lines(i: np.ndarray, j: np.ndarray, step: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the lines with this step, each as the numbers of its places, cut where they are too long."""
    order, starts, lengths = _runs(i, j, step)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        for k in range(0, length, LONGEST):
            yield order[start + k : start + min(k + LONGEST, length)]


def _by_rows(i: np.ndarray, j: np.ndarray) -> list[Unit]:
    """Return units of the numbers of each row, with distances as wide as the widest of the unit."""
    units = []
    for row in np.split(np.arange(len(i)), np.flatnonzero(np.diff(i)) + 1) if len(i) else []:
        for k in range(0, len(row), LONGEST):
            part = row[k : k + LONGEST]
            widest = np.diff(j[part]).max(initial=0)
            kind = next(kind for kind, width in enumerate(WIDTHS) if widest < 256 ** np.dtype(width).itemsize)
            units.append(Unit(kind, i[part], j[part]))
    return units


# ---- the stream of bytes


def encode(units: list[Unit]) -> bytes:
    """Return the control bytes of units that are ordered by their first place.

    >>> list(encode([Unit(0, np.array([2, 2]), np.array([1, 5]))]))
    [192, 2, 2, 1, 4]
    """
    stream, row, column = bytearray(), -1, 0
    for kind, rows, columns in units:
        down = int(rows[0]) - row
        column = 0 if down else column
        stream += bytes([kind | (NEW_ROW if down else 0) | (JUMP if down > 1 else 0), len(rows)])
        stream += _varint(down - 1) if down > 1 else b""
        stream += _varint(int(columns[0]) - column)
        if kind < len(WIDTHS):
            stream += np.diff(columns).astype(np.dtype(WIDTHS[kind]).newbyteorder("<")).tobytes()
        row, column = int(rows[0]), int(columns[0])
    return bytes(stream)


def decode(stream: bytes, steps: np.ndarray) -> Iterator[Unit]:
    """Yield the units of control bytes; raise a ValueError where they make no sense.

    >>> next(decode(bytes([192, 2, 2, 1, 4]), np.zeros((0, 2), np.int32))).columns
    array([1, 5])
    """
    at, row, column = 0, -1, 0
    while at < len(stream):
        head, count = stream[at], stream[at + 1] if at + 1 < len(stream) else 0
        kind, at, down = head & (JUMP - 1), at + 2, int(bool(head & NEW_ROW))
        if count == 0 or kind >= len(WIDTHS) + len(steps):
            raise ValueError(f"ctl must hold units with a count and a kind below {len(WIDTHS) + len(steps)}")
        if head & JUMP:
            more, at = _read_varint(stream, at)
            down += more
        ahead, at = _read_varint(stream, at)
        row, column = row + down, (0 if down else column) + ahead
        size = (count - 1) * np.dtype(WIDTHS[kind]).itemsize if kind < len(WIDTHS) else 0
        yield _unit(kind, row, column, count, stream[at : at + size], steps)
        at += size


def _unit(kind: int, row: int, column: int, count: int, body: bytes, steps: np.ndarray) -> Unit:
    k = np.arange(count)
    if kind >= len(WIDTHS):
        down, right = steps[kind - len(WIDTHS)].tolist()
        return Unit(kind, row + down * k, column + right * k)
    width = np.dtype(WIDTHS[kind]).newbyteorder("<")
    if len(body) != (count - 1) * width.itemsize:
        raise ValueError("ctl must not end inside a unit")
    distances = np.frombuffer(body, width).astype(np.int64)
    return Unit(kind, np.full(count, row), column + np.append(0, distances.cumsum()))


def _varint(x: int) -> bytes:
    """Return a whole number, seven bits to a byte, lowest first; the high bit says that more follows."""
    return bytes([x]) if x < 128 else bytes([x & 127 | 128]) + _varint(x >> 7)


def _read_varint(stream: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place of the stream, and the place after it."""
    x, shift = 0, 0
    while at < len(stream):
        x |= (stream[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if x >= 2**31:
            raise ValueError(f"ctl must hold distances below 2^31, got {x}")
        if stream[at - 1] < 128:
            return x, at
    raise ValueError("ctl must not end inside a unit")

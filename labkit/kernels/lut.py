"""Look-up tables, the cells of an FPGA: any function of k bits in one, larger functions as networks of them.

A wire is a number: 0, 1, ... are the inputs of the network, and cell i drives wire n_inputs + i. Row r of a truth table
holds the output for the inputs x_0, x_1, ... with r = sum of 2^i x_i. Lecture 000:1170-1186.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from labkit import checks

K_MAX = 8  # inputs of one cell; those sold have 4 to 6
INPUTS_MAX = 10  # of a truth table to be synthesised
Table = tuple[int, ...]


@dataclass(frozen=True)
class LUT:
    """A memory of 2^k bits, read at the address that its k inputs spell: any Boolean function of k inputs.

    truth_table : 2^k bits, row 0 first, or the integer whose bit r is row r. Raises TypeError or ValueError where k or
    the table does not fit. There are 2^(2^k) of them, `functions(k)`. Chapter: Bit kernels and hardware.

    >>> xnor = LUT(2, [1, 0, 0, 1])
    >>> xnor(0, 0), xnor(1, 0), xnor == LUT(2, 0b1001)
    (1, 0, True)
    """

    k: int
    truth_table: Table

    def __post_init__(self) -> None:
        rows = 2 ** checks.integer(self.k, "k", low=0, high=K_MAX)
        table = self.truth_table
        if isinstance(table, int) and not isinstance(table, bool):
            number = checks.integer(table, "truth_table", low=0, high=2**rows - 1)
            table = tuple(number >> r & 1 for r in range(rows))
        object.__setattr__(self, "truth_table", truth_table(table, n_inputs=self.k, name="truth_table"))

    def __call__(self, *inputs: Any) -> Any:
        """Return the bit for k inputs: 0 and 1, or arrays of them."""
        if len(inputs) != self.k:
            raise TypeError(f"a LUT of {self.k} inputs takes {self.k} bits, got {len(inputs)}")
        row = sum(_bits(x, f"input {i}").astype(int) << i for i, x in enumerate(inputs))
        bits = np.asarray(self.truth_table, np.uint8)[row]
        return int(bits) if np.ndim(bits) == 0 else bits

    @property
    def number(self) -> int:
        """The table as an integer, row 0 in the lowest bit."""
        return sum(bit << r for r, bit in enumerate(self.truth_table))


@dataclass(frozen=True)
class Cell:
    """A look-up table in a network, and the wires that it reads."""

    lut: LUT
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class LutNetwork:
    """Cells in an order in which each reads only inputs and earlier cells; calling it evaluates them."""

    n_inputs: int
    cells: tuple[Cell, ...]
    outputs: tuple[int, ...] = field(repr=False)

    def __call__(self, bits: Any) -> np.ndarray:
        """Return the outputs (..., n_outputs) as uint8 for input bits (..., n_inputs)."""
        bits = _bits(bits, "bits")
        if bits.shape[-1:] != (self.n_inputs,):
            raise ValueError(f"bits must have shape (..., {self.n_inputs}), got {bits.shape}")
        wires = list(np.moveaxis(bits.astype(np.uint8), -1, 0))
        for cell in self.cells:
            values = cell.lut(*(wires[w] for w in cell.inputs)) if cell.inputs else cell.lut()
            wires.append(np.broadcast_to(np.asarray(values, np.uint8), bits.shape[:-1]))
        return np.stack([wires[w] for w in self.outputs], axis=-1)

    @property
    def n_luts(self) -> int:
        """How many look-up tables it takes."""
        return len(self.cells)

    @property
    def levels(self) -> tuple[int, ...]:
        """For each wire the look-up tables on the longest way to it; 0 for the inputs."""
        levels = [0] * self.n_inputs
        for cell in self.cells:
            levels.append(1 + max((levels[w] for w in cell.inputs), default=0))
        return tuple(levels)

    @property
    def depth(self) -> int:
        """Look-up tables that a signal passes, at most."""
        return max(self.levels[w] for w in self.outputs)


def functions(k: int) -> int:
    """Return how many functions of k bits there are, 2^(2^k): as many as tables of 2^k bits.

    >>> functions(3)
    256
    """
    return 2 ** (2 ** checks.integer(k, "k", low=0, high=K_MAX))


def truth_table(rows: Sequence[int], *, n_inputs: int, name: str = "rows") -> Table:
    """Return rows as a tuple of 2^n_inputs bits; raises TypeError or ValueError, about `name`, if they are not."""
    n_inputs = checks.integer(n_inputs, "n_inputs", low=0, high=INPUTS_MAX)
    table = _bits(rows, name)
    if table.shape != (2**n_inputs,):
        raise ValueError(f"{name} must hold {2**n_inputs} bits for {n_inputs} inputs, got shape {table.shape}")
    return tuple(table.astype(int).tolist())


def _bits(x: Any, name: str) -> np.ndarray:
    """Return an array of 0 and 1, of bools or integers."""
    bits = checks.plain(x, name)
    if bits.dtype.kind not in "biu" and bits.size:
        raise TypeError(f"{name} must hold bits, 0 and 1 as integers or bools, got dtype {bits.dtype}")
    if ((bits != 0) & (bits != 1)).any():
        raise ValueError(f"{name} must hold bits, 0 and 1, got {bits.min()} to {bits.max()}")
    return bits


class _Builder:
    """A network that grows: cells that are already there are used again."""

    def __init__(self, n_inputs: int) -> None:
        self.n_inputs, self.cells = n_inputs, dict[Cell, int]()
        self.levels = [0] * n_inputs

    def add(self, table: Table, inputs: tuple[int, ...]) -> int:
        """Return the wire of the cell with this table and these inputs."""
        cell = Cell(LUT(len(inputs), table), inputs)
        if cell not in self.cells:
            self.cells[cell] = len(self.levels)
            self.levels.append(1 + max((self.levels[w] for w in inputs), default=0))
        return self.cells[cell]

    def function(self, f: Callable[..., int], inputs: Sequence[int]) -> int:
        """Return the wire of a function of few inputs, given as Python."""
        return self.add(tuple(int(f(*row)) for row in _rows(len(inputs))), tuple(inputs))

    def network(self, outputs: Sequence[int]) -> LutNetwork:
        return LutNetwork(self.n_inputs, tuple(self.cells), tuple(outputs))


# ---- popcount of XNOR


def synth_xnor_popcount(n: int, *, k: int) -> LutNetwork:
    """Return a network of k-input look-up tables that counts where two words of n bits agree.

    n : bits of a word, 1 to 1024; k : inputs of a look-up table, 3 to 8 (an adder needs three). The network reads
    a_0 ... a_(n-1) and b_0 ... b_(n-1); its outputs are the bits of the count, lowest first. Raises TypeError or
    ValueError otherwise.

    The first tables take k // 2 pairs each and give the bits of their count. From there on tables add: several bits of
    one weight become their sum, a bit of that weight and carries of higher ones (three bits: a full adder), until one
    bit of each weight is left. Source: lecture 000:1170-1186. Chapter: Bit kernels and hardware.

    >>> network = synth_xnor_popcount(3, k=6)
    >>> network([1, 0, 1, 1, 1, 1]).tolist(), network.n_luts  # the words agree in 2 places of 3
    ([0, 1], 2)
    """
    n, k = checks.integer(n, "n", low=1, high=1024), checks.integer(k, "k", low=3, high=K_MAX)
    builder, columns = _Builder(2 * n), [list[int]() for _ in range(n.bit_length())]
    for start in range(0, n, k // 2):
        pairs = range(start, min(start + k // 2, n))
        _count(builder, columns, [wire for i in pairs for wire in (i, n + i)], _agreements)
    most = max(range(2, k + 1), key=lambda bits: bits / bits.bit_length())  # bits that leave for one that comes
    for weight, column in enumerate(columns):
        while len(column) > 1:
            column.sort(key=lambda wire: builder.levels[wire])  # those that are ready first
            added, column[:] = column[:most], column[most:]
            _count(builder, columns[weight:], added, lambda *bits: sum(bits))
    return builder.network([column[0] for column in columns])


def _count(builder: _Builder, columns: list[list[int]], wires: list[int], count: Callable[..., int]) -> None:
    """Add tables for the bits of `count` of these wires, each to its column; past the last, a bit is never 1."""
    largest = max(count(*row) for row in _rows(len(wires)))
    for place, column in zip(range(largest.bit_length()), columns, strict=False):
        column.append(builder.function(lambda *row, place=place: count(*row) >> place & 1, wires))


def _agreements(*bits: int) -> int:
    return sum(a == b for a, b in zip(bits[::2], bits[1::2], strict=True))


# ---- any truth table


def synthesize(rows: Sequence[int], *, n_inputs: int, k: int) -> LutNetwork:
    r"""Return a network of k-input look-up tables for any truth table, by Shannon's expansion.

    rows : 2^n_inputs bits, row 0 first; n_inputs from 1 to 10; k from 2 to 8. Raises TypeError or ValueError otherwise.

    .. math:: f(x) = \bar x_i\, f(x_i = 0) \vee x_i\, f(x_i = 1)

    A table reads j inputs itself, and wires with what f becomes for each of their 2^j values. Equal cofactors share a
    wire, so do complements, and constants need none. The largest j that fits is taken, and the inputs whose cofactors
    depend on fewest others. A cell that is there already is used again. Source: C. E. Shannon, The synthesis of
    two-terminal switching circuits, 1949; lecture 000:1170-1186. Chapter: Bit kernels and hardware.

    >>> parity = [bin(row).count("1") % 2 for row in range(32)]
    >>> network = synthesize(parity, n_inputs=5, k=3)
    >>> network.n_luts, int(network([1, 0, 1, 1, 0])[0])
    (2, 1)
    """
    n_inputs = checks.integer(n_inputs, "n_inputs", low=1, high=INPUTS_MAX)
    k = checks.integer(k, "k", low=2, high=K_MAX)
    builder = _Builder(n_inputs)
    return builder.network([_expand(builder, truth_table(rows, n_inputs=n_inputs), tuple(range(n_inputs)), k)])


def _expand(builder: _Builder, f: Table, inputs: tuple[int, ...], k: int) -> int:
    """Return the wire that carries f of these inputs."""
    f, inputs = _needed(f, inputs)
    if f == (0, 1):
        return inputs[0]
    if len(inputs) <= k:
        return builder.add(f, inputs)
    for j in range(k - 1, 0, -1):
        choices = [c for c in combinations(range(len(inputs)), j) if j + len(_distinct(_parts(f, c))) <= k]
        if choices:
            return _select(builder, f, inputs, min(choices, key=lambda c: _size(f, c)), k)
    return _multiplexer(builder, f, inputs)


def _select(builder: _Builder, f: Table, inputs: tuple[int, ...], chosen: tuple[int, ...], k: int) -> int:
    """Return the wire of a table that reads the chosen inputs and the cofactors that they choose from."""
    rest = tuple(wire for i, wire in enumerate(inputs) if i not in chosen)
    parts = _parts(f, chosen)
    data = _distinct(parts)
    wires = [_expand(builder, g, rest, k) for g in data]

    def value(*bits: int) -> int:
        part = parts[sum(bit << i for i, bit in enumerate(bits[: len(chosen)]))]
        wire = data.index(_plain(part)) if any(_plain(part)) else None
        return part[0] if wire is None else part[0] ^ bits[len(chosen) + wire]

    return builder.function(value, [*(inputs[i] for i in chosen), *wires])


def _multiplexer(builder: _Builder, f: Table, inputs: tuple[int, ...]) -> int:
    """Return x f1 or (not x) f0 from tables of two inputs, where none of three is to be had."""
    (i,) = min(combinations(range(len(inputs)), 1), key=lambda c: _size(f, c))
    zero, one = (_expand(builder, part, inputs[:i] + inputs[i + 1 :], 2) for part in _parts(f, (i,)))
    off = builder.add((0, 0, 1, 0), (inputs[i], zero))
    return builder.add((0, 1, 1, 1), (off, builder.add((0, 0, 0, 1), (inputs[i], one))))


def _parts(f: Table, chosen: tuple[int, ...]) -> list[Table]:
    """Return the cofactors of f for all values of the chosen inputs."""
    return [_cofactor(f, chosen, row) for row in _rows(len(chosen))]


def _size(f: Table, chosen: tuple[int, ...]) -> int:
    """Return on how many inputs the cofactors depend, all together."""
    return sum(len(_needed(g, tuple(range(len(g).bit_length() - 1)))[1]) for g in _distinct(_parts(f, chosen)))


def cofactor(f: Sequence[int], chosen: Sequence[int], bits: Sequence[int]) -> Table:
    """Return what a truth table becomes when the inputs `chosen` (in rising order) are held at `bits`.

    Raises TypeError or ValueError where these are no inputs of f, or not one bit for each.

    >>> cofactor([0, 1, 1, 0], [1], [1])  # the exclusive or with x_1 = 1
    (1, 0)
    """
    table, held = _bits(f, "f"), _bits(bits, "bits")
    n_inputs = table.size.bit_length() - 1
    if table.shape != (2**n_inputs,) or n_inputs < 1:
        raise ValueError(f"f must hold 2, 4, 8, ... bits, got shape {table.shape}")
    wanted = [checks.integer(i, "chosen", low=0, high=n_inputs - 1) for i in checks.plain(chosen, "chosen").ravel()]
    if wanted != sorted(set(wanted)):
        raise ValueError(f"chosen must be in rising order, got {wanted}")
    if held.shape != (len(wanted),):
        raise ValueError(f"bits must hold one bit for each of {len(wanted)} inputs, got shape {held.shape}")
    return _cofactor(tuple(table.tolist()), wanted, held.tolist())


def _cofactor(f: Sequence[int], chosen: Sequence[int], bits: Sequence[int]) -> Table:
    held = sum(bit << i for i, bit in zip(chosen, bits, strict=True))
    mask = sum(1 << i for i in chosen)
    return tuple(value for row, value in enumerate(f) if row & mask == held)


def _needed(f: Table, inputs: tuple[int, ...]) -> tuple[Table, tuple[int, ...]]:
    """Leave out the inputs on which f does not depend."""
    for i in reversed(range(len(inputs))):
        zero, one = _cofactor(f, (i,), (0,)), _cofactor(f, (i,), (1,))
        if zero == one:
            f, inputs = zero, inputs[:i] + inputs[i + 1 :]
    return f, inputs


def _plain(f: Table) -> Table:
    """Return f or its complement, whichever begins with 0."""
    return tuple(bit ^ f[0] for bit in f)


def _distinct(parts: Sequence[Table]) -> list[Table]:
    """Return the functions that need a wire: constants do not, and a complement needs none of its own."""
    return [g for g in dict.fromkeys(map(_plain, parts)) if any(g)]


def _rows(k: int) -> Iterator[tuple[int, ...]]:
    """Yield the 2^k rows of a truth table, the first input fastest."""
    for row in range(2**k):
        yield tuple(row >> i & 1 for i in range(k))

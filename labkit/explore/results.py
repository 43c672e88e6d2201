"""Tables of results on a page: HTML for readers, aligned text for the validation of notebooks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from labkit import checks, html


@dataclass(frozen=True, repr=False)
class Results:
    """A table of measured or computed values; the printed form holds the same rounded numbers as the HTML."""

    caption: str
    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.cells, strict=True)]
        lines = [self._line(row, widths) for row in (self.header, *self.cells)]
        return "\n".join([self.caption, *lines])

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        columns = zip(row, widths, self.numeric, strict=True)
        return "   ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in columns).rstrip()

    def _repr_html_(self) -> str:
        return html.table(self.header, self.cells, caption=self.caption, numeric=self.numeric)


def results(columns: Mapping[str, Sequence[Any]], *, caption: str, digits: int | Mapping[str, int] = 2) -> Results:
    """Return a table with one column per entry of `columns` (heading with unit -> n values).

    Integers get thousands separators, other numbers `digits` decimals (one int, or heading -> int); text stays as it
    is and None is shown as a dash. The first column heads the rows.

    Raises TypeError or ValueError for an empty table, columns of unequal length or an empty caption.

    >>> results({"rank": [1, 2], "error (%)": [12.345, 3.2]}, caption="Error by rank.", digits=1)
    Error by rank.
    rank   error (%)
       1        12.3
       2         3.2
    """
    if not checks.instance(caption, "caption", str).strip():
        raise ValueError(f"caption must not be empty, got {caption!r}")
    lengths = {name: len(values) for name, values in checks.instance(columns, "columns", Mapping).items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"columns must hold the same number of values, at least one, got lengths {lengths}")
    decimals = digits if isinstance(digits, Mapping) else dict.fromkeys(columns, digits)
    texts = [[_text(value, decimals.get(name, 2)) for value in values] for name, values in columns.items()]
    numeric = tuple(any(isinstance(v, Real) for v in values) for values in columns.values())
    return Results(caption, tuple(columns), tuple(zip(*texts, strict=True)), numeric)


def _text(value: Any, digits: int) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, Integral) else f"{value:,.{digits}f}"

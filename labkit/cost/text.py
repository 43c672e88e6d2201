"""Tables as text, and sizes as a reader says them."""

from collections.abc import Iterable, Sequence

from labkit import checks

PREFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi")


def readable(n: float, unit: str = "") -> str:
    """Return a size of at least 0 with one decimal and a binary prefix (1 Ki = 1024), as lecture 000:184-217 prints it.

    Raises TypeError or ValueError for anything but a finite number of at least 0. Chapter 4.

    >>> readable(7200, "B"), readable(819712), readable(96, "B")
    ('7.0 KiB', '800.5 Ki', '96.0 B')
    """
    value, step = checks.number(n, "n", low=0), 0
    while value >= 1024 and step < len(PREFIXES) - 1:
        value, step = value / 1024, step + 1
    return f"{value:.1f} {PREFIXES[step]}{unit}".rstrip()


def aligned(cells: Iterable[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Return rows of cells as lines with aligned columns; numeric columns stand right.

    >>> print(aligned([["a", "n"], ["bb", "10"]], [False, True]))
    a    n
    bb  10
    """
    rows = [list(row) for row in cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_pad(*cell) for cell in zip(row, widths, numeric, strict=True)).rstrip() for row in rows)


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)

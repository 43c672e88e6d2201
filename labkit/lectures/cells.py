"""Read one printed table cell: `4.2M`, `69.78±0.04`, `206kB/4.6MB`, `(24, 3, 5, 5)`, a tick or a dash."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

_COUNT = {"": 1, "k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "B": 10**9, "G": 10**9}
_BINARY = {"": 1, "Ki": 2**10, "Mi": 2**20, "MiOps": 2**20}
_BYTE = {"B": 1, "Kib": 2**10, "KiB": 2**10, "MiB": 2**20}
_TIMES = {"": 1, "x": 1, "X": 1, "×": 1}
_PLAIN = ("bit", "M", "M MAC", "G MAC", "kFLOP", "MFLOP", "TFLOP/s", "image/s", "batch/s", "images")

# Unit of a column -> the suffixes its cells may carry -> factor that turns the cell into that unit.
UNITS: dict[str, dict[str, Any]] = {
    **{unit: {"": 1} for unit in _PLAIN},
    **dict.fromkeys(("", "MAC", "FLOP"), _COUNT),
    "%": {"": 1, "%": 1},
    "pp": {"": 1, "%": 1},
    "×": _TIMES,
    "op": _BINARY,
    "B": _BYTE,
    "MB": {"": 1, "MB": 1, "KB": Decimal("0.001"), "kB": Decimal("0.001")},
    "pJ": {"": 1, "pJ": 1},
    "ms": {"": 1, "ms": 1},
    "s": {"s": 1, "ms": Decimal("0.001")},
    "Top/s": {"": 1, "T": 1},
    "by row": {**_COUNT, "%": 1},  # the row label names the quantity, so the unit changes from row to row
}

# What a slide prints where it has no number; `k` is the unnamed class count of two network tables.
MISSING = {"", "-", "–", "—", "/", "N.A", "N/A", "NA", "diverge", "Impossible", "k"}
_TRUE, _FALSE = {"✓", "yes", "Yes"}, {"✗", "no", "No", "-", ""}
_NUMBER = re.compile(r"~?([+-]?\d+(?:\.\d+)?(?:e\d+)?)(?: · 10\^(\d+))?\s*([A-Za-z%×]*)\*?\s*([±(].*)?")


def number(text: str, unit: str = "") -> float | None:
    """Return the number of a cell in the column's unit, or None where the slide prints none.

    A trailing note is ignored: `34.1 ( 1x, g = 3 )` reads 34.1.

    >>> number("4.2M"), number("1070 KB", "MB"), number("~32x", "×"), number("—")
    (4200000.0, 1.07, 32.0, None)
    """
    text = text.strip()
    if text in MISSING:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None or match[3] not in UNITS[unit]:
        raise ValueError(f"text must be a number in the unit {unit!r}, got {text!r}")
    factor = Decimal(UNITS[unit][match[3]]) * Decimal(10) ** int(match[2] or 0)
    return float(Decimal(match[1]) * factor)


def integer(text: str, unit: str = "") -> int | None:
    """Return the integer of a cell; a fraction is refused.

    >>> integer("1024"), integer("32 (float)"), integer("-")
    (1024, 32, None)
    """
    value = number(text, unit)
    if value is not None and value != int(value):
        raise ValueError(f"text must be an integer, got {text!r}")
    return None if value is None else int(value)


def numbers(text: str, unit: str = "") -> tuple[float | None, ...] | None:
    """Return the numbers of a cell such as `50.4/27.9` or `240MB -> 48MB`.

    >>> numbers("206kB/4.6MB", "MB"), numbers("– /49.8", "%")
    ((0.206, 4.6), (None, 49.8))
    """
    values = tuple(number(part, unit) for part in re.split(r"/|->", text))
    return None if set(values) == {None} else values


def integers(text: str, unit: str = "") -> tuple[int, ...] | None:
    """Return the integers of a cell: a shape, a pair of bit-widths, kept of total.

    >>> integers("(24, 3, 5, 5)"), integers("504/512 = 98.44%"), integers("32 × 4d")
    ((24, 3, 5, 5), (504, 512), (32, 4))
    """
    return tuple(int(digits) for digits in re.findall(r"\d+", text.split("=")[0])) or None


def boolean(text: str, unit: str = "") -> bool | None:
    """Return the truth of a tick, a cross or a word; None for a long dash (does not apply).

    >>> boolean("✓"), boolean("No"), boolean("—")
    (True, False, None)
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text == "—":
        return None
    raise ValueError(f"text must be a tick, a cross, yes or no, got {text!r}")


def words(text: str, unit: str = "") -> str | None:
    """Return the text of a cell, or None if it is empty."""
    return text or None


def spread(text: str) -> float | None:
    """Return the number after the plus-minus sign, or None if there is none.

    >>> spread("93.63 ( ± 0.16 )"), spread("72.56")
    (0.16, None)
    """
    match = re.search(r"±\s*(\d+(?:\.\d+)?)", text)
    return float(match[1]) if match else None


READERS: dict[str, Callable[..., Any]] = {
    "text": words,
    "bool": boolean,
    "int": integer,
    "float": number,
    "ints": integers,
    "floats": numbers,
}

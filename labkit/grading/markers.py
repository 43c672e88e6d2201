"""The two regions of a cell that students do not get, between marker lines of their own:

    ### BEGIN SOLUTION            ### BEGIN HIDDEN TESTS
    ### END SOLUTION              ### END HIDDEN TESTS

In a markdown cell the markers may be comments, `<!-- BEGIN SOLUTION -->`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from labkit.grading.errors import LabError
from labkit.grading.model import Cell

SOLUTION = "SOLUTION"
HIDDEN = "HIDDEN TESTS"
_MARKER = re.compile(rf"^(\s*)(?:###|<!--) (BEGIN|END) ({SOLUTION}|{HIDDEN})(?: -->)?\s*$")
_LOOKALIKE = re.compile(r"^\s*(#|<!--).*\b(begin|end)\b.*\b(solutions?|hidden)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Region:
    """The lines `first` to `last` of a cell, markers included, counted from 0."""

    kind: str
    indent: str
    first: int
    last: int


def regions(source: str, where: object = "the cell") -> list[Region]:
    """Return the regions of a cell in order.

    Raises LabError for a marker that is unbalanced, nested or misspelt, and for an empty region.

    >>> regions("### BEGIN SOLUTION\\nx = 1\\n### END SOLUTION")
    [Region(kind='SOLUTION', indent='', first=0, last=2)]
    """
    found: list[Region] = []
    start: Region | None = None
    for i, line in enumerate(source.splitlines()):
        match = _MARKER.match(line)
        if match is None:
            _refuse_lookalike(line, i, where)
        elif match[2] == "BEGIN":
            if start:
                raise LabError(
                    f"{where}: line {i + 1} begins {match[3]} inside the {start.kind} of line {start.first + 1}"
                )
            start = Region(match[3], match[1], i, i)
        else:
            found.append(_closed(start, match[3], i, where))
            start = None
    if start:
        raise LabError(f"{where}: ### BEGIN {start.kind} in line {start.first + 1} has no ### END {start.kind}")
    return found


def replace_regions(source: str, kind: str, substitute: Callable[[Region], list[str]]) -> str:
    """Return the text with each region of this kind replaced by the lines that `substitute` gives."""
    lines = source.splitlines()
    for region in reversed(regions(source)):
        if region.kind == kind:
            lines[region.first : region.last + 1] = substitute(region)
    return "\n".join(lines)


def inner(source: str, region: Region) -> str:
    """Return the text between the markers."""
    return "\n".join(source.splitlines()[region.first + 1 : region.last])


def as_released(cell: Cell) -> Cell:
    """Return a cell as students get it: no solution, no hidden tests.

    >>> as_released(Cell("c", "code", "x = 1\\n### BEGIN SOLUTION\\ny = 2\\n### END SOLUTION")).source
    'x = 1\\n...'
    """
    if cell.kind != "code":
        return cell.with_source(replace_regions(cell.source, SOLUTION, lambda region: ["*Write your answer here.*"]))
    source = replace_regions(cell.source, SOLUTION, lambda region: [f"{region.indent}..."])
    return cell.with_source(replace_regions(source, HIDDEN, _hidden_note))


def is_hidden(cell: Cell) -> bool:
    """Tell whether a check cell is hidden from its first line to its last: students get no such cell.

    >>> is_hidden(Cell("c", "code", "### BEGIN HIDDEN TESTS\\nsecret = 1\\n### END HIDDEN TESTS\\n", "check", "q1"))
    True
    """
    found = regions(cell.source.strip(), cell) if cell.role == "check" else []
    last = len(cell.source.strip().splitlines()) - 1
    return [(region.kind, region.first, region.last) for region in found] == [(HIDDEN, 0, last)]


def released(cells: Iterable[Cell]) -> list[Cell]:
    """Return what students get of some cells: no solution, no hidden tests, no cell that holds nothing else."""
    return [as_released(cell) for cell in cells if not is_hidden(cell)]


def announce_hidden(source: str) -> str:
    """Return a check cell that tells its `check` where hidden tests begin and end; line numbers do not change."""
    lines = source.splitlines()
    for region in regions(source):
        if region.kind == HIDDEN and region.indent:
            lines[region.first] = f"{region.indent}check.hidden = True"
            lines[region.last] = f"{region.indent}check.hidden = False"
    return "\n".join(lines)


def _hidden_note(region: Region) -> list[str]:
    return [f"{region.indent}# More checks run here at grading."]


def _closed(start: Region | None, kind: str, line: int, where: object) -> Region:
    if start is None or start.kind != kind:
        raise LabError(f"{where}: ### END {kind} in line {line + 1} has no ### BEGIN {kind}")
    if line == start.first + 1:
        raise LabError(f"{where}: the {kind} region of line {start.first + 1} is empty")
    return Region(kind, start.indent, start.first, line)


def _refuse_lookalike(line: str, i: int, where: object) -> None:
    if _LOOKALIKE.match(line):
        allowed = ", ".join(f"'### {edge} {kind}'" for kind in (SOLUTION, HIDDEN) for edge in ("BEGIN", "END"))
        raise LabError(
            f"{where}: line {i + 1} looks like a marker but is not: {line.strip()!r}; the markers are {allowed}"
        )

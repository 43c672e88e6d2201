"""Every numeric table of the lectures, with typed columns, units and provenance."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from labkit import checks, html
from labkit.lectures import cells
from labkit.lectures.structure import chapter_number, chapters
from labkit.paths import DATA


@dataclass(frozen=True, eq=False)
class Column:
    """One column: its values in the given unit, and the cells as the slide prints them."""

    name: str
    label: str
    dtype: str  # text, bool, int, float, ints or floats
    unit: str
    values: np.ndarray | tuple[Any, ...]
    printed: tuple[str, ...]

    @property
    def header(self) -> str:
        """The label, with the unit where the cells do not print their own."""
        bare = any(text and text[-1].isdigit() for text in self.printed)
        return f"{self.label} ({self.unit})" if self.unit not in ("", "by row") and bare else self.label


@dataclass(frozen=True, eq=False)
class Table:
    """One table of a lecture; shown in a notebook, it draws itself with caption and source."""

    slug: str
    title: str
    chapter: str
    lecture: str
    lines: str
    paper: str
    notes: str
    columns: tuple[Column, ...]

    def __repr__(self) -> str:
        return f"Table({self.slug!r}, {self.shape[0]} x {self.shape[1]})"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return len(self.columns[0].printed), len(self.columns)

    @property
    def source(self) -> str:
        """Where the table stands, as `lecture 003:1755-1764`."""
        return f"lecture {self.lecture}:{self.lines}"

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries of plain typed values."""
        columns = [c.values.tolist() if isinstance(c.values, np.ndarray) else c.values for c in self.columns]
        return [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]

    def column(self, name: str) -> np.ndarray | tuple[Any, ...]:
        """Return the typed values of a column, in the unit that `unit(name)` gives.

        Numbers come as a read-only array (NaN where the slide prints none), every other type as a tuple
        (None where the slide prints nothing). A name that does not exist raises a ValueError with near matches.

        >>> table("zhang_rank_selection").column("conv2")[:2]
        array([110,  83])
        """
        return self._find(name).values

    def unit(self, name: str) -> str:
        """Return the unit of a column; empty for a plain number or text.

        >>> table("deep_compression_results").unit("model_size")
        'MB'
        """
        return self._find(name).unit

    def spread(self, name: str) -> np.ndarray:
        """Return what the slide prints after the plus-minus sign of a column, NaN where there is none.

        >>> table("rethinking_slimming").spread("fine_tuned")[:2]
        array([0.16, 0.12])
        """
        return _frozen([cells.spread(text) for text in self._find(name).printed], "float")

    def to_html(self) -> str:
        """Return the table with caption, source, header scopes and units."""
        return html.table(
            [column.header for column in self.columns],
            zip(*(column.printed for column in self.columns), strict=True),
            caption=self.title,
            note=f"{self.source[0].upper()}{self.source[1:]}. {self.paper}. {self.notes}".rstrip(" .") + ".",
            label_column=next((j for j, column in enumerate(self.columns) if column.dtype == "text"), 0),
            numeric=[column.dtype not in ("text", "bool") for column in self.columns],
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def _find(self, name: str) -> Column:
        return self.columns[self.names.index(checks.choice(name, "name", self.names))]


def table(slug: str) -> Table:
    """Return the lecture table of this name; `tables()` lists all of them.

    slug: for example `zhang_rank_selection`. An unknown name raises a ValueError with near matches.

    >>> table("zhang_rank_selection")
    Table('zhang_rank_selection', 10 x 10)
    >>> table("zhang_rank_selection").source
    'lecture 003:1755-1764'
    """
    return _table(checks.choice(slug, "slug", _index()))


@cache
def _table(slug: str) -> Table:
    row = _index()[slug]
    about = {key: row[key] for key in ("slug", "title", "chapter", "lecture", "lines", "paper", "notes")}
    names, *body = _read(DATA / "tables" / f"{slug}.csv")
    printed = dict(zip(names, zip(*body, strict=True), strict=True))
    return Table(**about, columns=tuple(_column(spec, printed[spec["column"]]) for spec in _columns()[slug]))


def tables(chapter: str | int | None = None) -> list[Table]:
    """Return all tables, or those of one chapter (`5`, or `"A"` for the appendix), in lecture order.

    >>> len(tables()), tables(5)
    (124, [Table('zhang_rank_selection', 10 x 10)])
    """
    wanted = None if chapter is None else chapter_number(chapter)
    return [table(slug) for slug, row in _index().items() if wanted in (None, row["chapter"])]


def catalogue(pages: str = "tables-{part}") -> html.Page:
    """Return the searchable list of all tables; `pages` names the page that holds the tables of a part.

    >>> catalogue()
    Page('Tables of the lectures')
    """
    parts = {number: chapter.part for number, chapter in chapters().items()}
    header = ["Table", "Name", "Chapter", "Lecture", "Paper"]
    rows = [
        (
            html.link(t.title, pages.format(part=parts[t.chapter]), f"table-{t.slug}"),
            html.code(t.slug),
            t.chapter,
            f"{t.lecture}:{t.lines}",
            t.paper,
        )
        for t in tables()
    ]
    return html.searchable("Tables of the lectures", header, rows)


def _column(spec: dict[str, str], printed: tuple[str, ...]) -> Column:
    dtype, unit = spec["type"], spec["unit"]
    cell_values = [cells.READERS[dtype](text, unit) for text in printed]
    values = _frozen(cell_values, dtype) if dtype in ("int", "float") else tuple(cell_values)
    return Column(spec["column"], spec["label"], dtype, unit, values, printed)


def _frozen(values: Sequence[float | None], dtype: str) -> np.ndarray:
    whole = dtype == "int" and None not in values
    array = np.array(values, dtype=np.int64 if whole else np.float64)  # None becomes NaN
    array.setflags(write=False)  # the cache hands the same object to every caller
    return array


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@cache
def _index() -> dict[str, dict[str, str]]:
    names, *body = _read(DATA / "tables" / "INDEX.csv")
    return {row[0]: dict(zip(names, row, strict=True)) for row in body}


@cache
def _columns() -> dict[str, list[dict[str, str]]]:
    names, *body = _read(DATA / "tables" / "columns.csv")
    specs = [dict(zip(names, row, strict=True)) for row in body]
    return {slug: [spec for spec in specs if spec["slug"] == slug] for slug in _index()}

"""The chapters of the book and the small readers that every list of the lectures shares."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labkit import checks
from labkit.paths import DATA, ROOT

LECTURES = {
    "000": "Neural network approximation",
    "001": "Annual report 2017",
    "002": "Model compression",
    "003": "Model compression and acceleration",
    "004": "Abstracts of papers",
}


@dataclass(frozen=True)
class Chapter:
    """One chapter of the book and the part it belongs to."""

    chapter: str
    title: str
    part: str
    part_title: str

    @property
    def page(self) -> str | None:
        """Path of the chapter's page below `book/`, without suffix, or None while it is unwritten."""
        pattern = f"*/{self.chapter.lower():0>2}-*.ipynb"
        return next((str(path.relative_to(ROOT / "book").with_suffix("")) for path in _glob(pattern)), None)


@cache
def chapters() -> dict[str, Chapter]:
    """Return all chapters by number, in reading order; the appendix is `A`.

    >>> chapters()["5"].title
    'Singular value decomposition'
    """
    return {row["chapter"]: Chapter(**row) for row in records("chapters.csv")}


def chapter_number(value: str | int) -> str:
    """Return a chapter number as the lists write it; an unknown one raises a ValueError.

    >>> chapter_number(5), chapter_number("A")
    ('5', 'A')
    """
    return checks.choice(str(value), "chapter", chapters())


def records(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file of `data/lectures`.

    >>> records("errata.csv")[0]["id"]
    'E01'
    """
    with (DATA / "lectures" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def places(lecture: str, lines: str) -> list[tuple[str, str]]:
    """Return one (lecture, line range) pair for each range of two parallel lists.

    >>> places("000;003", "12-23;30,44-50")
    [('000', '12-23'), ('003', '30'), ('003', '44-50')]
    """
    pairs = zip(lecture.split(";"), lines.split(";"), strict=True)
    return [(number, span) for number, spans in pairs if number for span in spans.split(",")]


def source(lecture: str, lines: str) -> str:
    """Return where something stands, as docstrings write it.

    >>> source("000;003", "12-23;30")
    'lecture 000:12-23; 003:30'
    """
    pairs = zip(lecture.split(";"), lines.split(";"), strict=True)
    return "lecture " + "; ".join(f"{number}:{spans}" for number, spans in pairs) if lecture else ""


def _glob(pattern: str) -> Iterator[Path]:
    return (ROOT / "book").glob(pattern)

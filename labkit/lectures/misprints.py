"""Errors printed on the lecture slides, each with its correction and how sure it is."""

from dataclasses import dataclass
from functools import cache

from labkit import checks, html
from labkit.lectures.structure import chapter_number, records, source

CONFIDENCE = ("certain", "high", "open")


@dataclass(frozen=True)
class Erratum:
    """One misprint: what stands on the slide, what should stand there, and how we know."""

    id: str
    title: str
    chapter: str
    lecture: str
    lines: str
    printed: str
    correct: str
    confidence: str  # certain, high or open
    basis: str  # how it was found: arithmetic, computed, a source ...

    def __repr__(self) -> str:
        return f"Erratum({self.id!r}, {self.title!r})"

    @property
    def source(self) -> str:
        """Where the misprint stands, as `lecture 002:398`."""
        return source(self.lecture, self.lines)

    @property
    def certainty(self) -> str:
        """Confidence and basis in one phrase."""
        return f"{self.confidence} ({self.basis})" if self.basis else self.confidence

    def _repr_html_(self) -> str:
        rows = [("printed", self.printed), ("correct", self.correct), ("confidence", self.certainty)]
        note = f"{self.source[0].upper()}{self.source[1:]}. Chapter {self.chapter}."
        return html.table([], rows, caption=f"{self.id}. {self.title}", note=note)


@cache
def _errata() -> dict[str, Erratum]:
    return {row["id"]: Erratum(**row) for row in records("errata.csv")}


def errata(chapter: str | int | None = None) -> list[Erratum]:
    """Return all errata, or those that concern one chapter.

    >>> len(errata()), errata(5)[0]
    (59, Erratum('E05', 'Compression rate of the truncated SVD'))
    """
    wanted = None if chapter is None else chapter_number(chapter)
    return [erratum for erratum in _errata().values() if wanted in (None, erratum.chapter)]


def erratum(id: str) -> Erratum:
    """Return one erratum by its id; an unknown id raises a ValueError with near matches.

    >>> erratum("E05").correct
    'mn/(k(m+n+1)); singular values'
    """
    return _errata()[checks.choice(id, "id", _errata())]


def errata_page() -> html.Page:
    """Return the searchable list of all errata, each linked to its section on the same page.

    >>> errata_page()
    Page('Errata of the lectures')
    """
    header = ["Erratum", "Chapter", "Lecture", "Printed", "Correct", "Confidence"]
    rows = [
        (
            html.link(f"{e.id}. {e.title}", "", f"erratum-{e.id}"),
            e.chapter,
            e.source.removeprefix("lecture "),
            e.printed,
            e.correct,
            e.certainty,
        )
        for e in errata()
    ]
    return html.searchable("Errata of the lectures", header, rows)

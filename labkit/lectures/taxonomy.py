"""Where every method stands: one of five families, and what it does to the network that runs.

The families are those of lecture 001:44-50. Lecture 003:60-116 divides the static methods by their effect (smaller,
lower, faster) and puts dynamic execution beside them. `data/lectures/taxonomy.csv` gives both tags for each chapter
from 5 to 29, and again for the few methods that differ from their chapter. Chapter 1.
"""

from dataclasses import dataclass
from functools import cache

from labkit import checks, html
from labkit.lectures.mapping import Item, inventory
from labkit.lectures.structure import chapters, records

FAMILIES = {
    "low rank": "write a matrix or tensor as a product of smaller ones",
    "pruning": "leave out weights, channels or blocks",
    "quantization": "store and compute with fewer bits",
    "distillation": "let a large network teach a small one",
    "compact design": "build the layer so that it needs less from the start",
}
WAYS = {
    "smaller": "fewer weights",
    "lower": "lower precision",
    "faster": "fewer or cheaper operations",
    "dynamic": "work that depends on the input",
    "any": "trains the network that one of the others made",
}
TAGGED = ("method", "algorithm")  # the kinds of items that compress, or run what was compressed


@dataclass(frozen=True)
class Method:
    """One method of the lectures with its family (a key of `FAMILIES`) and its way (a key of `WAYS`)."""

    id: str
    name: str
    chapter: str
    family: str
    way: str

    def __repr__(self) -> str:
        return f"Method({self.id!r}, {self.name!r}, {self.family!r}, {self.way!r})"


@cache
def _tags() -> dict[str, tuple[str, str]]:
    """Return (family, way) by chapter number, and by id for a method unlike its chapter."""
    return {
        row["id"]: (checks.choice(row["family"], "family", FAMILIES), checks.choice(row["way"], "way", WAYS))
        for row in records("taxonomy.csv")
    }


@cache
def methods() -> dict[str, Method]:
    """Return every method of chapters 5 to 29 by id, each with exactly one family and one way.

    >>> methods()["19.08"]
    Method('19.08', 'Ternary weight networks (TWN)', 'quantization', 'lower')
    """
    return {item.id: _method(item) for item in inventory().values() if item.kind in TAGGED and item.chapter in _tags()}


def _method(item: Item) -> Method:
    return Method(item.id, item.name, item.chapter, *_tags().get(item.id, _tags()[item.chapter]))


def chapter_tags() -> dict[str, tuple[str, str]]:
    """Return (family, way) of each chapter from 5 to 29, in reading order.

    >>> chapter_tags()["28"]
    ('distillation', 'any')
    """
    return {number: _tags()[number] for number in chapters() if number in _tags()}


def taxonomy_page() -> html.Page:
    """Return the map of the book: families across ways, then each chapter with both and the number of its methods.

    >>> taxonomy_page()
    Page('The chapters by family and way')
    """
    title = "The chapters by family and way"
    rows = [
        (f"{number}. {chapters()[number].title}", family, way, str(_size(number)))
        for number, (family, way) in chapter_tags().items()
    ]
    header = ["Chapter", "Family", "Way", "Methods"]
    listed = html.table(
        header, rows, caption="Family, way and methods of each chapter", numeric=[False, False, False, True]
    )
    folded = f"<details><summary>Chapter by chapter</summary>{listed}</details>"
    return html.Page(title, html.table(["Family", *WAYS], _crossed(), caption=title) + folded)


def _crossed() -> list[tuple[str, ...]]:
    """Return a row for each family: the chapters that have methods of it, one cell for each way."""
    held = {(method.family, method.way, method.chapter) for method in methods().values()}
    return [
        (family, *(", ".join(n for n in chapter_tags() if (family, way, n) in held) or "–" for way in WAYS))
        for family in FAMILIES
    ]


def _size(chapter: str) -> int:
    return sum(method.chapter == chapter for method in methods().values())

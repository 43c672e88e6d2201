"""What the lectures hold, what of it is built, and where: from a line of a lecture to object, section and test."""

from dataclasses import dataclass
from functools import cache

from labkit import checks, html
from labkit.lectures.structure import LECTURES, chapter_number, chapters, places, records, source


@dataclass(frozen=True)
class Item:
    """One thing the lectures hold: a method, formula, table, claim; or the explorer or lab of a chapter."""

    id: str
    chapter: str
    kind: str
    name: str
    lecture: str
    lines: str
    acceptance: str

    def __repr__(self) -> str:
        return f"Item({self.id!r}, {self.name!r})"

    @property
    def source(self) -> str:
        """Where it stands, as `lecture 002:398`; empty for explorers and labs."""
        return source(self.lecture, self.lines)


@dataclass(frozen=True)
class Entry:
    """One item that is done: its object (`module:name`, `table:slug` or `file:path`), section anchor and tests.

    test: the tests that hold the acceptance check, separated by semicolons.
    """

    id: str
    name: str
    lecture: str
    lines: str
    kind: str
    object: str
    section: str
    test: str

    def __repr__(self) -> str:
        return f"Entry({self.id!r}, {self.object!r})"


@dataclass(frozen=True)
class Line:
    """One line range of one lecture, the item it holds and, if that is done, its entry."""

    lecture: str
    lines: str
    item: Item
    entry: Entry | None

    @property
    def status(self) -> str:
        """`done` or `to come`."""
        return "done" if self.entry else "to come"


@cache
def inventory() -> dict[str, Item]:
    """Return everything that the book is to hold, by id.

    >>> inventory()["5.04"]
    Item('5.04', 'SVD compression rate')
    """
    return {row["id"]: Item(**row) for row in records("inventory.csv")}


@cache
def register() -> dict[str, Entry]:
    """Return every item that is done, by id.

    >>> register()["5.10"]
    Entry('5.10', 'table:zhang_rank_selection')
    """
    return {row["id"]: Entry(**row) for row in records("register.csv")}


def lecture_map(lecture: str | None = None, *, chapter: str | int | None = None) -> list[Line]:
    """Return the lectures line by line: what each range holds and whether it is done.

    lecture: `"000"` to `"004"`, or None for all five; chapter: only items of that chapter.

    >>> [(line.lines, line.item.id, line.status) for line in lecture_map("002", chapter=5)][:2]
    [('386-398', '5.01', 'done'), ('386-398', '5.05', 'done')]
    """
    wanted = LECTURES if lecture is None else [checks.choice(lecture, "lecture", LECTURES)]
    number = None if chapter is None else chapter_number(chapter)
    found = [
        Line(place, lines, item, register().get(item.id))
        for item in inventory().values()
        if number in (None, item.chapter)
        for place, lines in places(item.lecture, item.lines)
        if place in wanted
    ]
    return sorted(found, key=_position)


def progress() -> dict[str, tuple[int, int]]:
    """Return for each chapter how many of its items are done, and how many there are.

    >>> progress()["5"]
    (12, 12)
    """
    ids = {number: [item.id for item in inventory().values() if item.chapter == number] for number in chapters()}
    return {number: (sum(id in register() for id in known), len(known)) for number, known in ids.items()}


def progress_page() -> html.Page:
    """Return the table of chapters with the items done and in all.

    >>> progress_page()
    Page('Items of the lectures by chapter')
    """
    counts = progress()
    rows = [[f"{n}. {chapters()[n].title}", str(done), str(total)] for n, (done, total) in counts.items()]
    rows.append(["all", *(str(sum(column)) for column in zip(*counts.values(), strict=True))])
    title = "Items of the lectures by chapter"
    return html.Page(title, html.table(["Chapter", "Done", "Items"], rows, caption=title, numeric=[False, True, True]))


def lecture_page(lecture: str) -> html.Page:
    """Return the searchable map of one lecture.

    >>> lecture_page("004")
    Page('Lecture 004: Abstracts of papers')
    """
    header = ["Lines", "Chapter", "Kind", "Item", "Status", "Object", "Section", "Test"]
    rows = [
        (line.lines, line.item.chapter, line.item.kind, line.item.name, line.status, *_where(line))
        for line in lecture_map(lecture)
    ]
    return html.searchable(f"Lecture {lecture}: {LECTURES[lecture]}", header, rows)


def _where(line: Line) -> tuple[str, str, str]:
    if line.entry is None:
        return "", "", ""
    page = chapters()[line.item.chapter].page
    section = html.link(line.entry.section, f"../{page}", line.entry.section) if page else line.entry.section
    return html.code(line.entry.object), section, html.code(line.entry.test.replace("tests/", "").replace(";", " "))


def _position(line: Line) -> tuple[str, int, str]:
    return line.lecture, int(line.lines.split("-")[0]), line.item.id

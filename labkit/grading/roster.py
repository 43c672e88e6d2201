"""The class list: roster.csv, or a gradebook that Canvas or Moodle exported."""

import csv
import io
import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from labkit.grading.errors import LabError
from labkit.grading.notebook import read_bytes

# What a column may be called, in lower case; the first that is found counts.
COLUMNS = {
    "id": ("id", "student id", "student_id", "identifier", "id number", "sis user id", "username", "login", "student"),
    "name": ("name", "full name", "student name", "student"),
    "first": ("first name", "firstname", "given name"),
    "last": ("last name", "lastname", "surname", "family name"),
    "email": ("email", "email address", "e-mail", "mail"),
    "login": ("login", "login id", "sis login id", "username", "user name"),
    "other": ("sis user id", "id number"),
}


@dataclass(frozen=True)
class Student:
    """One line of the roster; `keys` are the other words that stand for this student alone."""

    id: str
    name: str
    email: str = ""
    login: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roster:
    """The students of a class in the order of the file."""

    students: tuple[Student, ...]

    @cached_property
    def _by_key(self) -> dict[str, set[Student]]:
        found: dict[str, set[Student]] = defaultdict(set)
        for student in self.students:
            for key in (student.id, student.email, student.email.split("@")[0], student.login, *student.keys):
                found[key.casefold()].add(student)
        return found

    @cached_property
    def _by_name(self) -> dict[str, set[Student]]:
        found: dict[str, set[Student]] = defaultdict(set)
        for student in self.students:
            for key in name_keys(student.name):
                found[key].add(student)
        return found

    def with_key(self, key: str) -> Student | None:
        """Return the only student with this id, login or mail address."""
        return _only(self._by_key.get(key.casefold(), set())) if key else None

    def with_name(self, name: str) -> Student | None:
        """Return the only student with this name, its words in any order."""
        found = set().union(*(self._by_name.get(key, set()) for key in name_keys(name)))
        return _only(found)


def name_keys(name: str) -> frozenset[str]:
    """Return a name without marks and spaces, its words in other orders: "Ada King" -> adaking, kingada.

    >>> sorted(name_keys("King, Ada"))
    ['adaking', 'kingada']
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    words = [word for word in re.sub(r"[\W_]+", " ", plain).split() if word]
    turned = [words[i:] + words[:i] for i in range(len(words))]  # of a long name only the last names come to the front
    orders = itertools.permutations(words) if len(words) <= 4 else turned
    return frozenset("".join(order) for order in orders) - {""}


def read_roster(path: str | Path) -> Roster:
    """Return the class list in a CSV file (comma, semicolon or tab) with a header line.

    Needed is a column for the id; read as well are names (in one column or two), mail addresses and logins: see
    COLUMNS for what each may be called. Raises LabError, naming the line, for a file that is not like this.
    """
    path = Path(path)
    header, *rows = read_table(path)
    places = _places(header, path)
    students: dict[str, Student] = {}
    for i, row in enumerate(rows, start=2):
        if any(cell.strip() for cell in row) and not _is_note(row):
            student = _student(row, places, len(header), f"{path}, row {i}")
            if student.id.casefold() in students:
                raise LabError(f"{path}, row {i}: the id {student.id!r} is given twice")
            students[student.id.casefold()] = student
    if not students:
        raise LabError(f"{path} has a header line but no student")
    return Roster(tuple(students.values()))


def read_table(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file in UTF-8, with or without a byte-order mark; its header line is the first."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabError(f"{path} is not in UTF-8 (byte {error.start}); save it as 'CSV UTF-8'") from error
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text), strict=True))
    except csv.Error as error:
        raise LabError(f"{path} is not a CSV file: {error}") from error
    if not rows or not any(rows[0]):
        raise LabError(f"{path} is empty; the first line names the columns")
    return rows


def delimiter(text: str) -> str:
    """Return what separates the cells of a CSV file: a comma, a semicolon or a tab, by its first line."""
    return max(",;\t", key=text.split("\n", 1)[0].count)


def column(header: Sequence[str], names: Iterable[str]) -> int | None:
    """Return the place of the first of these names that heads a column."""
    plain = [cell.strip().casefold() for cell in header]
    return next((plain.index(name) for name in names if name in plain), None)


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    places = {field: place for field, names in COLUMNS.items() if (place := column(header, names)) is not None}
    if "id" not in places:
        allowed = ", ".join(map(repr, COLUMNS["id"]))
        raise LabError(f"{path} has no column for the id; it has {header}, and an id column is called one of {allowed}")
    return places


def _student(row: list[str], places: dict[str, int], width: int, where: str) -> Student:
    if len(row) != width:
        raise LabError(f"{where}: {len(row)} cells, but the header line has {width}")
    cells = {field: row[place].strip() for field, place in places.items()}
    if not cells["id"]:
        raise LabError(f"{where}: the id is empty")
    name = " ".join(filter(None, [cells.get("first"), cells.get("last")])) or cells.get("name") or cells["id"]
    number = cells["id"].removeprefix("Participant ")  # Moodle's own word for it
    return Student(
        number, name, cells.get("email", ""), cells.get("login", ""), tuple(filter(None, [cells.get("other")]))
    )


def _is_note(row: list[str]) -> bool:
    """Tell whether this is one of the two lines of a Canvas export that are no student."""
    return row[0].strip() in ("Points Possible", "Student, Test")


def _only(found: set[Student]) -> Student | None:
    return next(iter(found)) if len(found) == 1 else None

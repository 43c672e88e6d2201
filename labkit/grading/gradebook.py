"""The gradebook: grades.csv for people, and the files that Canvas and Moodle import.

| format | columns without a template | which column takes the points |
|---|---|---|
| plain | one row a file: student, name, ..., each question, late, total | |
| canvas | Student, ID, SIS User ID, SIS Login ID, Section, the lab | the one whose name begins with the lab's title |
| moodle | Identifier, Full name, Email address, Grade, Feedback comments | Grade |

A template is a gradebook as Canvas or Moodle exports it. Its columns and rows are kept, and one column is filled, so
that the file can be imported again. Points that a person has still to give are not in the totals; the column
`pending` of the plain format names them.
"""

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import checks, paths
from labkit.grading.errors import LabError
from labkit.grading.late import Late
from labkit.grading.results import Result
from labkit.grading.roster import COLUMNS, Roster, Student, column, read_table
from labkit.grading.text import visible

FORMATS = ("plain", "canvas", "moodle")
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("Identifier", "Full name", "Email address", "Grade", "Feedback comments")
_NONE: Mapping[str, Late] = {}


@dataclass(frozen=True)
class Grade:
    """A result and what lateness takes off it."""

    result: Result
    late: Late = Late()  # noqa: RUF009  frozen, so it can be shared

    @property
    def total(self) -> float:
        """The points that count."""
        return round(max(self.result.total - self.late.points, 0.0), 4)


def counted(results: Iterable[Result], late: Mapping[str, Late] = _NONE) -> dict[str, Grade]:
    """Return the grade of each student, by id: of several files, the one that is worth most after the deduction."""
    groups: dict[str, list[Grade]] = defaultdict(list)
    for result in results:
        groups[result.student].append(Grade(result, late.get(result.submission, Late())))
    return {student: min(groups[student], key=_best_first) for student in sorted(groups)}


def write_grades(
    path: str | Path,
    results: Iterable[Result],
    *,
    late: Mapping[str, Late] = _NONE,
    roster: Roster | None = None,
    format: str = "plain",
    title: str = "Lab",
    template: str | Path | None = None,
    column: str | None = None,
) -> list[str]:
    """Write the gradebook and return the ids of the students who have a grade but no row in the template.

    Parameters
    ----------
    late : what each file loses, from `labkit.grading.late.apply`
    format : "plain", "canvas" or "moodle", see the top of this module
    title : the lab's name, which heads its column in Canvas
    template, column : an exported gradebook, and the name of the column to fill if it cannot be guessed

    Raises LabError for a template without such a column, ValueError for an unknown format.
    """
    results = list(results)
    checks.choice(format, "format", FORMATS)
    if template is not None and format != "plain":
        rows, missing = _fill(Path(template), counted(results, late), column or _default(format, title))
    else:
        make = {"plain": _plain, "canvas": _canvas, "moodle": _moodle}[format]
        rows, missing = make(results, late, roster, title), []
    write_csv(path, rows)
    return missing


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV in UTF-8, without a byte-order mark, under a temporary name first; see `cell`."""
    with paths.replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)


def cell(value: Any) -> str:
    """Return a value as a spreadsheet may have it: text that would be a formula gets an apostrophe in front.

    >>> cell("=1+1"), cell(-1.50), cell("Ada")
    ("'=1+1", '-1.5', 'Ada')
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.10g}"
    text = str(value)
    first = unicodedata.normalize("NFKC", text.lstrip(" \xa0\u3000"))[:1]  # a full-width equals sign counts, too
    formula = first in tuple("=+-@\t\r\n") and text != "-"  # the dash alone is Moodle's word for no grade
    return ("'" if formula else "") + visible(text, keep="\n")


def _plain(results: list[Result], late: Mapping[str, Late], roster: Roster | None, title: str) -> list[list[Any]]:
    questions = list(dict.fromkeys(question for result in results for question in result.points))
    known = {student.id: student for student in roster.students} if roster else {}
    best = {grade.result.submission for grade in counted(results, late).values()}
    left = ["student", "name", "email", "file", "counts", "status"]
    right = ["automatic", "late", "total", "maximum", "pending", "flags", "submitted", "sha256"]
    rows: list[list[Any]] = [[*left, *questions, *right]]
    for result in sorted(results, key=lambda result: (result.student, result.submission)):
        grade = Grade(result, late.get(result.submission, Late()))
        email = known[result.student].email if result.student in known else ""
        counts = "yes" if result.submission in best else "no"
        scores = [result.scores.get(question, "") for question in questions]
        who = [result.student, result.name, email, result.submission, counts, result.status]
        rows.append(
            [*who, *scores, result.total, 0.0 - grade.late.points, grade.total, result.maximum, *_notes(result)]
        )
    absent = sorted(set(known) - {result.student for result in results})
    width = len(questions) + 8
    return rows + [[i, known[i].name, known[i].email, "", "no", "missing", *[""] * width] for i in absent]


def _notes(result: Result) -> list[str]:
    pending = ", ".join(f"{pending.question} ({pending.points:g})" for pending in result.pending)
    kinds = ", ".join(sorted({flag.kind for flag in result.flags}))
    return [pending, kinds, result.submitted or "", result.sha256]


def _canvas(results: list[Result], late: Mapping[str, Late], roster: Roster | None, title: str) -> list[list[Any]]:
    rows: list[list[Any]] = [[*CANVAS, title]]
    for student, grade in _everyone(results, late, roster):
        number = student.id if student.id.isdecimal() else ""
        login = student.login or student.email or ("" if number else student.id)
        rows.append([student.name, number, "", login, "", grade.total if grade else ""])
    return rows


def _moodle(results: list[Result], late: Mapping[str, Late], roster: Roster | None, title: str) -> list[list[Any]]:
    rows: list[list[Any]] = [list(MOODLE)]
    for student, grade in _everyone(results, late, roster):
        number = f"Participant {student.id}" if student.id.isdecimal() else student.id
        late_text = grade.late.text if grade else ""
        rows.append([number, student.name, student.email, grade.total if grade else "", late_text])
    return rows


def _everyone(
    results: list[Result], late: Mapping[str, Late], roster: Roster | None
) -> list[tuple[Student, Grade | None]]:
    """Return the students of the roster and those who handed in without being there, in the order of their ids."""
    grades = counted(results, late)
    students = {student: Student(student, grade.result.name) for student, grade in grades.items()}
    students |= {student.id: student for student in roster.students} if roster else {}
    return [(students[student], grades.get(student)) for student in sorted(students)]


def _fill(path: Path, grades: Mapping[str, Grade], wanted: str) -> tuple[list[list[Any]], list[str]]:
    """Return the rows of an exported gradebook with one column filled, and the students who are not in it."""
    header, *rows = read_table(path)
    target = _target(header, wanted, path)
    names = ("id", "login", "email", "other")
    ids = [place for name in names if (place := column(header, COLUMNS[name])) is not None]
    keys = {student.casefold(): student for student in grades}
    left = dict(grades)
    for row in rows:
        words = [row[place].strip().removeprefix("Participant ").casefold() for place in ids if place < len(row)]
        found = next((keys[word] for word in words if word in keys), None)
        if found and target < len(row):
            row[target] = cell(grades[found].total)
            left.pop(found, None)
    return [header, *rows], sorted(left)


def _target(header: Sequence[str], wanted: str, path: Path) -> int:
    plain = [name.strip().casefold() for name in header]
    found = [i for i, name in enumerate(plain) if name == wanted.casefold()]
    found = found or [i for i, name in enumerate(plain) if name.startswith(wanted.casefold())]
    if len(found) != 1:
        some = "several columns" if found else "no column"
        raise LabError(f"{path} has {some} for {wanted!r}; name one of {', '.join(map(repr, header))}")
    return found[0]


def _default(format: str, title: str) -> str:
    return "Grade" if format == "moodle" else title


def _best_first(grade: Grade) -> tuple[float, str, str]:
    return -grade.total, grade.result.submitted or "", grade.result.submission

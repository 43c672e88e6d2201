"""What a person gives: marks.csv, with a line for each answer that waits to be read.

| column | |
|---|---|
| student, question | as in grades.csv |
| points | empty as long as nobody has read the answer |
| comment | for the student, on the feedback page |
| name, file | to find the answer; with a file, the points are for that file alone |
| answer | a hash of the words that were read: other words, handed in later, wait again; empty: for any words |
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from labkit import checks, paths
from labkit.grading.errors import LabError
from labkit.grading.gradebook import cell, write_csv
from labkit.grading.results import Mark, Result, with_marks
from labkit.grading.roster import column, delimiter, read_table

MARKS = "marks.csv"
COLUMNS = ("student", "question", "points", "comment", "name", "file", "answer")
Key = tuple[str, str, str, str]  # student, question, file and answer as marks.csv spells them; two may be empty


def read_marks(path: str | Path) -> dict[Key, Mark]:
    """Return what a person gave; a line without points is one that is still to be marked.

    Raises LabError, naming the row, for a missing column and for points that are no number of at least 0.
    """
    path = Path(path)
    header, *rows = read_table(path)
    if None in (column(header, [name]) for name in COLUMNS[:3]):
        raise LabError(f"{path} needs the columns student, question and points, it has {header}")
    said = list(_values(header, rows))
    points = [_points(one["points"], f"{path}, row {i}") for i, one in enumerate(said, start=2)]
    return {_key(one): Mark(n, one["comment"]) for one, n in zip(said, points, strict=True) if n is not None}


def apply_marks(results: Iterable[Result], marks: Mapping[Key, Mark]) -> tuple[list[Result], list[Key]]:
    """Return the results with the points that a person gave, and the marks that are for no answer.

    Raises LabError for more points than a question has.
    """
    used: set[Key] = set()
    marked = [_marked(result, marks, used) for result in results]
    return marked, [key for key in marks if key not in used]


def extend_marks(path: str | Path, results: Iterable[Result]) -> None:
    """Add a line for each answer that waits and has none; the lines of a person, and their order, stay as they are."""
    path, waiting = Path(path), {key: name for result in results for key, name in _waiting(result).items()}
    if not path.exists():
        if waiting:
            write_csv(path, [COLUMNS, *(_row(key, name, COLUMNS) for key, name in waiting.items())])
        return
    header, *rows = read_table(path)
    known = {_key(one) for one in _values(header, rows)}
    new = [key for key in waiting if not known.intersection(_spellings(key))]
    if new:
        _append(path, [_row(key, waiting[key], header) for key in new])


def _marked(result: Result, marks: Mapping[Key, Mark], used: set[Key]) -> Result:
    found: dict[str, Mark] = {}
    for key in _waiting(result):
        for spelled in _spellings(key):
            if spelled in marks:
                used.add(spelled)
                found[key[1]] = marks[spelled]
    try:
        return with_marks(result, found)
    except ValueError as error:
        raise LabError(f"{MARKS}: the marks of {result.student!r}: {error}") from error


def _waiting(result: Result) -> dict[Key, str]:
    """Return the answers of a file that a person has to read, spelled as a spreadsheet may have them, and by whom."""
    person, file = cell(result.student), cell(result.submission)
    return {(person, p.question, file, _digest(p.answer)): result.name for p in result.pending}


def _digest(answer: str) -> str:
    """Return a short name of an answer's text that no spreadsheet takes for a number."""
    return "a" + hashlib.sha256(answer.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _spellings(key: Key) -> list[Key]:
    """Return the ways in which marks.csv may name an answer; what names it more closely comes later and wins."""
    person, question, file, answer = key
    return [(person, question, *place) for place in (("", ""), ("", answer), (file, ""), (file, answer))]


def _values(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yield what each row holds for each of COLUMNS; a column that is missing is empty."""
    places = {name: column(header, [name]) for name in COLUMNS}
    for row in rows:
        yield {name: row[j].strip() if j is not None and j < len(row) else "" for name, j in places.items()}


def _key(said: Mapping[str, str]) -> Key:
    return said["student"], said["question"], said["file"], said["answer"]


def _row(key: Key, name: str, header: Iterable[str]) -> list[str]:
    values = dict(zip(("student", "question", "file", "answer"), key, strict=True)) | {"name": cell(name)}
    return [values.get(title.strip().casefold(), "") for title in header]


def _append(path: Path, rows: Iterable[list[str]]) -> None:
    """Write lines below those of a CSV file, separated as they are."""
    text = path.read_bytes().decode("utf-8")
    lines = io.StringIO(newline="")
    csv.writer(lines, delimiter=delimiter(text), lineterminator="\n").writerows(rows)
    with paths.replacing(path) as temporary:
        temporary.write_bytes((text.rstrip("\r\n") + "\n" + lines.getvalue()).encode())


def _points(text: str, where: str) -> float | None:
    try:
        return checks.number(float(text.replace(",", ".")), "points", low=0) if text else None
    except ValueError as error:
        raise LabError(f"{where}: points must be a number of at least 0, got {text!r}") from error

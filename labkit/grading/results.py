"""What grading one file gives: a `Result`, and the file results.jsonl that holds one of them a line."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from labkit import checks, paths
from labkit.grading.errors import LabError
from labkit.grading.model import Receipt

RESULTS = "results.jsonl"
PERSON = "marked by a person"  # the receipt of points that no check gave

# timeout, crashed: graded as far as the code went; unreadable: no notebook; error: the grader's own fault
STATUSES = ("graded", "timeout", "crashed", "unreadable", "error")
FINISHED = ("graded", "timeout", "crashed")  # the same file would only get the same again


@dataclass(frozen=True)
class Flag:
    """Something that a person should look at; it never changes a mark. `text` is for the instructor."""

    kind: str
    question: str | None
    text: str


@dataclass(frozen=True)
class Pending:
    """The answer to a question that a person marks."""

    question: str
    points: float
    answer: str


@dataclass(frozen=True)
class Result:
    """One graded file.

    submission : the name of the file as it was handed in, unique in a class
    student, name : the id, the same for all files of a student, and the name to show
    sha256, assignment, environment : hashes of the file, of the instructor's side, and of the software that graded it
    points : what each question is worth, those included that a person marks
    scores : what each automatic question earned
    code : the source of the code cells, for the comparison between students
    submitted : ISO time, without an offset if the archive knew none; marked_late : what Canvas says, or None
    feedback_path : relative to the folder of the results; rung : the isolation that was in force
    """

    submission: str
    student: str
    name: str
    sha256: str
    assignment: str
    environment: str
    status: str
    points: dict[str, float]
    scores: dict[str, float] = field(default_factory=dict)
    receipts: tuple[Receipt, ...] = ()
    flags: list[Flag] = field(default_factory=list)
    pending: tuple[Pending, ...] = ()
    code: tuple[str, ...] = ()
    submitted: str | None = None
    marked_late: bool | None = None
    seconds: float = 0.0
    feedback_path: str = ""
    rung: str = ""

    def __post_init__(self) -> None:
        checks.choice(self.status, "status", STATUSES)
        for question, points in self.points.items():
            checks.number(points, f"points[{question!r}]", low=0)
        for question, score in self.scores.items():
            checks.choice(question, "a key of scores", self.points)
            checks.number(score, f"scores[{question!r}]", low=0, high=self.points[question])

    @property
    def key(self) -> tuple[str, str, str]:
        """What the marks depend on: a file with the same key need not be graded again."""
        return self.sha256, self.assignment, self.environment

    @property
    def total(self) -> float:
        """The points of the automatic questions."""
        return sum(self.scores.values())

    @property
    def maximum(self) -> float:
        """The points of all questions."""
        return sum(self.points.values())


def to_line(result: Result) -> str:
    """Return a result as one line of JSON, keys sorted; everything but `seconds` is the same for the same input.

    >>> result = Result("a.ipynb", "a", "Ada", "0f", "1e", "2d", "graded", {"q1": 2.0}, {"q1": 1.5})
    >>> from_line(to_line(result)) == result
    True
    """
    return json.dumps(asdict(checks.instance(result, "result", Result)), sort_keys=True, allow_nan=False)


def from_line(line: str) -> Result:
    """Return the result that `to_line` wrote; raises LabError if the line holds anything else."""
    try:
        raw = json.loads(line)
        parts = {"receipts": Receipt, "flags": Flag, "pending": Pending}
        found = {name: [kind(**item) for item in raw[name]] for name, kind in parts.items()}
        tuples = {name: tuple(found[name]) for name in ("receipts", "pending")} | {"code": tuple(raw["code"])}
        return Result(**_known(raw) | found | tuples)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LabError(f"not a result: {type(error).__name__}: {error}") from error


def read_results(path: str | Path) -> list[Result]:
    """Return the results in a file; a last line without its end is what an interrupted run leaves, and is left out.

    Raises LabError for any other line that is not a result. A file that does not exist holds no results.
    """
    path = Path(path)
    text = path.read_bytes().decode("utf-8", "replace") if path.exists() else ""
    found = []
    for i, line in enumerate(text.split("\n")[:-1]):
        try:
            found.append(from_line(line))
        except LabError as error:
            raise LabError(f"{path}, line {i + 1}: {error}") from error
    return found


def append_result(path: str | Path, result: Result) -> None:
    """Add one result to a file, after cutting off what an interrupted run left of its last line."""
    line = to_line(result) + "\n"
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell() and not _ends_a_line(file):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode())


def write_results(path: str | Path, results: Iterable[Result]) -> None:
    """Write all results, in the order of their file names, in place of what the file held."""
    lines = [to_line(result) for result in sorted(results, key=lambda result: result.submission)]
    with paths.replacing(Path(path)) as temporary:
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def finished(results: Iterable[Result]) -> dict[tuple[str, str, str], Result]:
    """Return the results that need not be computed again, by their key."""
    return {result.key: result for result in results if result.status in FINISHED}


class Mark(NamedTuple):
    """The points that a person gives for an answer, and a word to the student."""

    points: float
    comment: str = ""


def with_marks(result: Result, marks: Mapping[str, Mark]) -> Result:
    """Return a result with the points that a person gave, and a receipt; the questions marked are no longer pending.

    >>> result = Result("a.ipynb", "a", "Ada", "", "", "", "graded", {"q5": 2.0}, pending=(Pending("q5", 2.0, "Yes."),))
    >>> with_marks(result, {"q5": Mark(1.5)}).scores
    {'q5': 1.5}
    """
    for question in marks:
        checks.choice(question, "the question marked", [pending.question for pending in result.pending])
    left = tuple(pending for pending in result.pending if pending.question not in marks)
    receipts = tuple(Receipt(name, PERSON, points, points > 0, comment) for name, (points, comment) in marks.items())
    scores = result.scores | {name: mark.points for name, mark in marks.items()}
    return replace(result, scores=scores, pending=left, receipts=result.receipts + receipts)


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read() == b"\n"


def _known(raw: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(Result)}
    if set(raw) != names:
        raise ValueError(f"the keys differ: {sorted(names ^ set(raw))}")
    return raw

"""The data that the parts of the grader hand to each other. All of it is plain and frozen."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FORMAT = 1
ROLES = ("description", "setup", "solution", "check", "manual")
GRADED = ("check", "manual")  # the roles that carry the points


@dataclass(frozen=True)
class Cell:
    """A notebook cell without its outputs; `kind` is "code", "markdown" or "raw"."""

    id: str
    kind: str
    source: str
    role: str | None = None
    question: str | None = None
    points: float | None = None

    def with_source(self, source: str) -> "Cell":
        """Return the cell with other text."""
        return replace(self, source=source)

    def __str__(self) -> str:
        lines = self.source.strip().splitlines() or [""]
        return f"cell {self.id!r} ({lines[0][:60]})"


@dataclass(frozen=True)
class Question:
    """A graded question: its points, and the names that its solution cell defines."""

    name: str
    points: float
    manual: bool
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """An answer that the instructor listed: a wrong one loses points on its question, a right one keeps them all."""

    question: str
    right: bool
    title: str
    source: str

    def __str__(self) -> str:
        return f"{self.question} {'right' if self.right else 'wrong'}: {self.title}"


@dataclass(frozen=True)
class Lab:
    """An instructor's notebook that passed every test of `labkit.grading.lab.read_lab`."""

    folder: Path
    title: str
    cells: tuple[Cell, ...]
    questions: tuple[Question, ...]
    samples: tuple[Sample, ...] = ()

    @property
    def name(self) -> str:
        """The name of the lab's folder."""
        return self.folder.name

    @property
    def automatic(self) -> tuple[Question, ...]:
        """The questions that checks decide; the others wait for a person."""
        return tuple(question for question in self.questions if not question.manual)

    def question(self, name: str) -> Question:
        """Return the question called `name`."""
        return next(question for question in self.questions if question.name == name)

    def cell(self, role: str, question: str) -> Cell:
        """Return the first cell that has this role for this question."""
        return self.cells_for(role, question)[0]

    def cells_for(self, role: str, question: str) -> tuple[Cell, ...]:
        """Return the cells that have this role for this question: the checks of a question may fill several."""
        return tuple(cell for cell in self.cells if (cell.role, cell.question) == (role, question))


@dataclass(frozen=True)
class Receipt:
    """What one named check found. A check that left no receipt earned nothing.

    hidden : students see its name only; private : its message may hold what the student's code saw of hidden checks
    """

    question: str
    check: str
    points: float
    passed: bool
    message: str = ""
    hidden: bool = False
    private: bool = False

    @property
    def shown(self) -> str:
        """The message, if the student may see it."""
        return "" if self.hidden or self.private else self.message

    @property
    def earned(self) -> float:
        """The points, if the check passed."""
        return self.points if self.passed else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the receipt as JSON can hold it."""
        return dict(vars(self))

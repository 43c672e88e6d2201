"""Scoring: runs the instructor's check cells against an oracle and returns receipts. Marks come from here alone."""

import ast
import hmac
import inspect
import textwrap
from collections.abc import Callable, Iterable
from types import FunctionType, SimpleNamespace
from typing import Any

from labkit.grading.errors import LabError, StudentError
from labkit.grading.markers import announce_hidden
from labkit.grading.model import Cell, Lab, Receipt
from labkit.grading.oracle import Oracle, execute
from labkit.grading.sheet import run_question
from labkit.grading.student import generator


class Grader:
    """The instructor's side of one submission: the set-up, the reference answers and the checks.

    `seed` decides the random inputs of every check: a secret of the course mixed with the submission, see `seed_for`.
    """

    def __init__(self, lab: Lab, oracle: Oracle, *, seed: bytes) -> None:
        self.lab, self.oracle, self.seed = lab, oracle, seed
        self.names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, "display": print}
        self._ahead = [cell for cell in lab.cells if cell.role in ("setup", "solution", "check")]

    def check(self, question: str) -> list[Receipt]:
        """Run the check cell of a question against the oracle as it is now."""
        cell = self.lab.cell("check", question)
        self._prepare(cell)
        functions: dict[str, FunctionType] = {}
        execute(announce_hidden(cell.source), f"<check {cell.id}>", self._check_names(question, functions))
        arguments = {"rng": generator(self.seed, question), "reference": SimpleNamespace(**self.names)}
        receipts, error = run_question(functions[question], question, **arguments)
        return [*receipts, Receipt(question, "the checks ran to the end", 0, False, error, True)] if error else receipts

    def _prepare(self, check: Cell) -> None:
        """Run the instructor's own set-up and solution cells down to a check cell, once each."""
        while check in self._ahead:
            cell = self._ahead.pop(0)
            if cell.role != "check":
                execute(cell.source, f"<instructor {cell.id}>", self.names)

    def _check_names(self, question: str, functions: dict[str, FunctionType]) -> dict[str, Any]:
        """Return the names that a check cell sees: those of the set-up, with the student's answers in their places."""

        def register(name: str) -> Callable:
            return lambda function: functions.setdefault(name, function)

        answers = {name: self._answer(name) for name in self.lab.question(question).answers}
        return self.names | answers | {"question": register, "probe": self._probe}

    def _answer(self, name: str) -> Any:
        """Return a stand-in for a function of the student's, or the value itself if the reference is a value."""
        if callable(self.names[name]):
            return lambda *args, **kwargs: self.oracle.call(name, args, kwargs)
        try:
            return self.oracle.value(name)
        except StudentError:
            return None

    def _probe(self, function: FunctionType) -> Callable:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        tree.body[0].decorator_list = []  # type: ignore[attr-defined]
        source = ast.unparse(tree)
        return lambda *args, **kwargs: self.oracle.probe(source, function.__name__, args, kwargs)


def score(lab: Lab, cells: Iterable[Cell], oracle: Oracle, *, seed: bytes) -> dict[str, list[Receipt]]:
    """Run a submission's cells in order and return the receipts of every automatic question.

    A check runs where its cell stands; if points are missing it runs once more after the last cell, and the better
    of the two results counts. A question whose check cell is gone is checked at the end.
    """
    grader, results = Grader(lab, oracle, seed=seed), {}
    for cell in cells:
        if cell.role == "check" and cell.question:
            results[cell.question] = grader.check(cell.question)
        elif cell.kind == "code":
            oracle.run(cell.id, cell.source)
    for question in lab.automatic:
        first = results.get(question.name, [])
        if earned(first) < question.points:
            results[question.name] = max(first, grader.check(question.name), key=earned)
    return results


def earned(receipts: Iterable[Receipt]) -> float:
    """Return the points that receipts are worth."""
    return sum(receipt.earned for receipt in receipts)


def seed_for(course_key: bytes, submission: bytes) -> bytes:
    """Return the secret seed of one submission: HMAC-SHA256 of its content under the key of the course.

    >>> len(seed_for(b"the key of the course", b"a notebook"))
    32
    """
    if not course_key:
        raise LabError("the course key must not be empty: anyone could compute the inputs of the hidden checks")
    return hmac.digest(course_key, submission, "sha256")
